/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/stream.h - leased streams and events, and copies on them
 *
 * A stream is an ordered queue of device work, leased exclusively. A copy issued here marks its buffers
 * until the device has passed it; see weir/pool.h. An event marks a point in a stream.
 */
#ifndef WEIR_STREAM_H
#define WEIR_STREAM_H

#include <weir/base.h>
#include <weir/pool.h>

WEIR_BEGIN_DECLS

enum weir_stream_class {
    WEIR_STREAM_COMPUTE = 1, /* kernels; normal priority   */
    WEIR_STREAM_COMM,        /* transfers; normal priority */
    WEIR_STREAM_HIGH         /* latency-critical; the device's greatest priority */
};

/*
 * weir_stream_acquire - lease a stream of a class
 *
 * Waits as weir_buffer_acquire() does. A released stream may have work pending; it is leased again
 * drained streams first.
 *
 * Fails: AGAIN, TIMEDOUT, CLOSED, DEVICE, FORKED, INVAL.  Owner: the caller, until weir_stream_release().
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_acquire(struct weir_runtime *rt, uint32_t stream_class,
                                                 uint64_t deadline_ns, struct weir_stream **out);

/* weir_stream_release - give a stream back; its pending work goes on. As weir_buffer_release(). */
WEIR_API int weir_stream_release(struct weir_stream *stream);

/*
 * weir_stream_upload - queue a copy from a buffer to device memory
 *
 * The device reads src when the stream reaches the copy; src is marked until then, so it may be
 * released at once but not overwritten while leased (see weir_buffer_sync()).
 *
 * Thread: the holder of both leases.  Fails: RANGE (slice outside the buffer), NOTLEASED, KIND, DEVICE, CAPTURE, NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_upload(struct weir_stream *stream, uint64_t device_dst,
                                                struct weir_slice src);

/* weir_stream_download - queue a copy from device memory into a buffer. As weir_stream_upload(). */
WEIR_API WEIR_MUST_CHECK int weir_stream_download(struct weir_stream *stream, struct weir_slice dst,
                                                  uint64_t device_src);

/* weir_stream_sync - wait until all work queued so far is done. Fails: TIMEDOUT, DEVICE. Sleeps; never spins on the driver. */
WEIR_API WEIR_MUST_CHECK int weir_stream_sync(struct weir_stream *stream, uint64_t deadline_ns);

/* weir_stream_query - 0: drained; AGAIN: work is pending; DEVICE */
WEIR_API WEIR_MUST_CHECK int weir_stream_query(struct weir_stream *stream);

/* weir_stream_wait_event - what is queued later runs after the event. Fails: NOTLEASED, INVAL (never recorded), DEVICE. */
WEIR_API WEIR_MUST_CHECK int weir_stream_wait_event(struct weir_stream *stream, struct weir_event *event);

/*
 * weir_stream_call - queue a host function behind the stream's work
 *
 * fn runs on a thread of the device's driver: it must not call the driver or weir's blocking calls, and
 * must be short. It is not called if the device is lost before.
 */
typedef void weir_stream_fn(void *ctx);
WEIR_API WEIR_MUST_CHECK int weir_stream_call(struct weir_stream *stream, weir_stream_fn *fn, void *ctx);

/*
 * weir_stream_delay - keep the stream busy for a time, as a kernel of that length would
 *
 * For load generators and tests. Exact on the host backend; on CUDA a host function that sleeps.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_delay(struct weir_stream *stream, uint64_t duration_ns);

enum weir_event_flags { WEIR_EVENT_TIMING = 1 /* the event can be given to weir_event_elapsed_ns() */ };

/* weir_event_acquire - lease an event. Waits as weir_buffer_acquire(). Fails: AGAIN, TIMEDOUT, CLOSED, DEVICE, FORKED, INVAL. */
WEIR_API WEIR_MUST_CHECK int weir_event_acquire(struct weir_runtime *rt, uint32_t flags,
                                                uint64_t deadline_ns, struct weir_event **out);

/* weir_event_release - give an event back; waits queued on it stay valid. As weir_buffer_release(). */
WEIR_API int weir_event_release(struct weir_event *event);

/*
 * weir_event_record - mark the stream's present end
 *
 * Recording again before the earlier point has passed is BUSY: the earlier waiters would be cheated.
 * Fails: BUSY, NOTLEASED, FOREIGN, DEVICE.
 */
WEIR_API WEIR_MUST_CHECK int weir_event_record(struct weir_event *event, struct weir_stream *stream);

/* weir_event_query - 0: passed; AGAIN: not yet; INVAL: never recorded in this lease; NOTLEASED */
WEIR_API WEIR_MUST_CHECK int weir_event_query(struct weir_event *event);

/* weir_event_sync - wait until the point has passed. Fails: TIMEDOUT, INVAL (never recorded), NOTLEASED, DEVICE. */
WEIR_API WEIR_MUST_CHECK int weir_event_sync(struct weir_event *event, uint64_t deadline_ns);

/* weir_event_elapsed_ns - device time between two recorded timing events. Fails: KIND (no timing), AGAIN, INVAL, NOTLEASED. */
WEIR_API WEIR_MUST_CHECK int weir_event_elapsed_ns(struct weir_event *start, struct weir_event *end,
                                                   uint64_t *out_ns);

/* weir_runtime_sync - wait for all streams whose class bit (1 << class) is set; 0: all. Fails: TIMEDOUT, DEVICE. */
WEIR_API WEIR_MUST_CHECK int weir_runtime_sync(struct weir_runtime *rt, uint32_t class_mask,
                                               uint64_t deadline_ns);

/*
 * weir_device_alloc, weir_device_free - plain device memory under the runtime's budget
 *
 * Free waits for nothing: the caller must know that the device is done with it.
 * Fails: EXCEEDS, DEVMEM, DEVICE; free: NOENT.
 */
WEIR_API WEIR_MUST_CHECK int weir_device_alloc(struct weir_runtime *rt, size_t bytes, uint64_t *out);
WEIR_API int weir_device_free(struct weir_runtime *rt, uint64_t address);

WEIR_END_DECLS

#endif
