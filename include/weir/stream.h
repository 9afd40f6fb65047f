/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/stream.h - leased streams and events, and copies on them
 *
 * A stream is an ordered queue of device work, leased exclusively. A copy issued here marks its buffers
 * until the device has passed it; see weir/pool.h. An event marks a point in a stream.
 *
 * Three more kinds of stream are used through the same calls: shared ones (weir_stream_share()), the host program's
 * own (weir_stream_adopt()), and "the thread's current one", which is meant wherever a call is given NULL
 * as its stream (weir_stream_set_current()).
 *
 * What excludes what: one lease is used by one thread at a time; a shared stream by any number of threads. All
 * else runs beside each other.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 * Progress: may call the driver, and waits for no device work; on an adopted stream see weir_stream_adopt().
 *
 * Example, given struct weir_runtime *rt; struct weir_buffer *buffer; uint64_t device:
 *
 *     struct weir_stream *stream;
 *     int err = weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream);
 *     if (err < 0) return err;
 *     err = weir_stream_upload(stream, device, weir_slice_all(buffer));
 *     if (err == 0) err = weir_stream_sync(stream, weir_deadline_after_ns(1000000000));
 *     (void)weir_stream_release(stream);
 */
#ifndef WEIR_STREAM_H
#define WEIR_STREAM_H

#include <weir/base.h>
#include <weir/pool.h>

WEIR_BEGIN_DECLS

enum weir_stream_class {
    WEIR_STREAM_COMPUTE = 1, /* kernels                          */
    WEIR_STREAM_COMM,        /* transfers                        */
    WEIR_STREAM_HIGH,        /* latency-critical                 */
    WEIR_STREAM_ADOPTED      /* the host program's: for statistics and weir_runtime_sync(), never acquired */
};

/* What becomes of a stream that is released with work pending (weir_runtime_opts.stream_reuse). */
enum weir_stream_reuse {
    WEIR_STREAM_DRAINED = 1, /* it is leased again when its work is done                     */
    WEIR_STREAM_OLDEST       /* when no drained one is free, the one released longest ago is leased, busy as it is */
};

enum weir_affinity { WEIR_AFFINITY_ON = 1, WEIR_AFFINITY_OFF };

/* ---- leases ---- */

/*
 * weir_stream_acquire - lease a stream of a class
 *
 * Waits as weir_buffer_acquire() does. A drained stream that no affinity key is bound to is preferred.
 *
 * Thread:   any.
 * Progress: lock-free when a stream is free; may block otherwise.
 * Owner:    the caller, until weir_stream_release().
 * Fails:    AGAIN, TIMEDOUT, CLOSED, DEVICE, FORKED, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_acquire(struct weir_runtime *rt, uint32_t stream_class,
                                                 uint64_t deadline_ns, struct weir_stream **out);

struct weir_stream_opts {
    size_t   struct_size;
    uint64_t affinity_key; /* 0: none */
    uint32_t stream_class; /* enum weir_stream_class; 0: COMPUTE */
    uint32_t priority;     /* among waiters: enum weir_priority; 0: NORMAL */
};

/*
 * weir_stream_acquire_with - as weir_stream_acquire(), with options; NULL opts: all defaults. Fails also: OPTS.
 *
 * The first lease with an affinity key binds the key to its stream, per class. Later ones get that stream when it
 * is free and another one when it is not; the binding stays until it is forgotten, or evicted when more than
 * weir_runtime_opts.affinity_keys_max keys are in use.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_acquire_with(struct weir_runtime           *rt,
                                                      const struct weir_stream_opts *opts,
                                                      uint64_t deadline_ns, struct weir_stream **out);

/* weir_stream_clear_affinity - forget all keys; returns how many there were. Progress: wait-free.  Fails: INVAL. */
WEIR_API int weir_stream_clear_affinity(struct weir_runtime *rt);

/* weir_stream_set_affinity - enum weir_affinity; while OFF, keys are ignored and nothing is forgotten. Progress: wait-free.  Fails: INVAL. */
WEIR_API int weir_stream_set_affinity(struct weir_runtime *rt, uint32_t affinity);

/*
 * weir_stream_release - give a stream back; its pending work goes on. As weir_buffer_release().
 *
 * Makes no driver call, but for streams whose handle is known outside weir: there it records a last event. Of an adopted
 * stream it ends the adoption, of a shared one it gives back one weir_stream_share().
 */
WEIR_API int weir_stream_release(struct weir_stream *stream);

/*
 * weir_compute_acquire, weir_comm_acquire, weir_high_acquire - lease a stream of the process-wide runtime of
 * device 0, which is made if there is none. affinity_key 0: none.
 *
 * Progress: takes a lock, and blocks in the driver when the runtime is made; else as weir_stream_acquire().
 * Owner:    the caller, until weir_stream_release().
 * Fails:    as weir_runtime_default() and weir_stream_acquire().
 */
WEIR_API WEIR_MUST_CHECK int weir_compute_acquire(uint64_t affinity_key, uint64_t deadline_ns,
                                                  struct weir_stream **out);
WEIR_API WEIR_MUST_CHECK int weir_comm_acquire(uint64_t affinity_key, uint64_t deadline_ns,
                                               struct weir_stream **out);
WEIR_API WEIR_MUST_CHECK int weir_high_acquire(uint64_t deadline_ns, struct weir_stream **out);

/*
 * weir_stream_share - a stream that several callers issue on, for who only needs an ordering domain
 *
 * weir_runtime_opts.streams_shared of each class, in turn; each is made on first use and never leased exclusively.
 * May be used by any number of threads at once, until the runtime ends. weir_stream_release() is optional, and
 * only counted: more releases than shares are NOTLEASED.
 *
 * Progress: wait-free, but for the first use of each.
 * Fails:    INVAL, CLOSED, DEVICE, FORKED, NOMEM, EXCEEDS.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_share(struct weir_runtime *rt, uint32_t stream_class,
                                               struct weir_stream **out);

/*
 * weir_stream_adopt - use a stream of the host program through weir
 *
 * `handle` is the driver's: a CUstream on the cuda backend (weir/cuda.h has the typed form, which also checks it). On
 * an adopted stream each operation and each guard records an event of its own on the calling thread, and waits for
 * the device when WEIR_EVENTS_IN_FLIGHT of them are pending. weir's helper threads never use the handle.
 *
 * The adoption ends with weir_stream_disown() or weir_stream_release(): only then may the host program destroy the
 * stream. Work that weir has seen on it goes on protecting its buffers.
 *
 * Progress: takes a lock.  Owner: the handle stays the host program's; the lease is the caller's.
 * Fails:    INVAL, EXCEEDS (weir_runtime_opts.streams_adopted_max), NOMEM, CLOSED, DEVICE, FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_adopt(struct weir_runtime *rt, void *handle,
                                               struct weir_stream **out);

#define WEIR_EVENTS_IN_FLIGHT 64

/*
 * weir_stream_disown - end an adoption
 *
 * Returns when weir will not use the handle any more.
 * Thread: the holder of the lease.  Progress: takes a lock; waits for no device work.
 * Fails:  NOTLEASED (disowned before), KIND (not adopted), FOREIGN, STALE, CLOSED, FORKED.
 */
WEIR_API int weir_stream_disown(struct weir_stream *stream);

/* ---- the thread's current stream ---- */

/*
 * weir_stream_set_current - the stream that this thread means by NULL
 *
 * Every call of this header and weir_buffer_guard() take it where they are given NULL as a stream, releases and
 * weir_stream_disown() excepted. It is no lease of its own: when the lease ends, calls with NULL answer NOTLEASED.
 * stream NULL: none. previous, if not NULL, is given what was set before, or NULL. See weir_current_scope() in
 * weir/scope.h.
 *
 * Progress: wait-free.  Fails: FOREIGN, KIND, NOTLEASED, STALE.
 */
WEIR_API int weir_stream_set_current(struct weir_stream *stream, struct weir_stream **previous);

/* weir_stream_current - this thread's current stream. Progress: wait-free.  Fails: NOENT (none is set), NOTLEASED (its lease has ended). */
WEIR_API WEIR_MUST_CHECK int weir_stream_current(struct weir_stream **out);

/* ---- copies ---- */

/*
 * weir_stream_upload - queue a copy from a buffer to device memory
 *
 * The device reads src when the stream reaches the copy; src is marked until then, so it may be
 * released at once but not overwritten while leased (see weir_buffer_sync()).
 *
 * Thread: the holder of both leases.
 * Fails:  RANGE (slice outside the buffer), NOTLEASED, KIND, DEVICE, CAPTURE, NOMEM, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_upload(struct weir_stream *stream, uint64_t device_dst,
                                                struct weir_slice src);

/* weir_stream_download - queue a copy from device memory into a buffer. As weir_stream_upload(). */
WEIR_API WEIR_MUST_CHECK int weir_stream_download(struct weir_stream *stream, struct weir_slice dst,
                                                  uint64_t device_src);

/* One of many copies: between part of a buffer and device memory. */
struct weir_copy {
    struct weir_slice slice;
    uint64_t          device;
};

/*
 * weir_stream_upload_batch - queue count independent copies, in one driver call where the driver has one
 *
 * They may run in any order among themselves. Everything is checked before anything is queued. If the driver refuses
 * midway, some may be queued: all their buffers are marked all the same. More than 32 copies allocate.
 *
 * Thread: the holder of all leases.  Fails: as weir_stream_upload().
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_upload_batch(struct weir_stream     *stream,
                                                      const struct weir_copy *copies, size_t count);

/* weir_stream_download_batch - as weir_stream_upload_batch(), from device memory */
WEIR_API WEIR_MUST_CHECK int weir_stream_download_batch(struct weir_stream     *stream,
                                                        const struct weir_copy *copies, size_t count);

/* ---- order and time ---- */

/*
 * weir_stream_sync - wait until all work queued so far is done
 *
 * Covers what was launched through a raw handle, too.
 * Progress: sleeps until deadline_ns; the keeper asks the driver, with pauses.
 * Fails:    TIMEDOUT, DEVICE, NOTLEASED, CAPTURE, CLOSED (the runtime ended before the work).
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_sync(struct weir_stream *stream, uint64_t deadline_ns);

/* weir_stream_query - 0: drained. Fails: AGAIN (work is pending), DEVICE, CAPTURE, NOTLEASED. */
WEIR_API WEIR_MUST_CHECK int weir_stream_query(struct weir_stream *stream);

/* weir_stream_wait_event - what is queued later runs after the event. Fails: NOTLEASED, INVAL (never recorded), DEVICE, CAPTURE. */
WEIR_API WEIR_MUST_CHECK int weir_stream_wait_event(struct weir_stream *stream, struct weir_event *event);

/*
 * weir_stream_call - queue a host function behind the stream's work
 *
 * fn runs on a thread of the device's driver: it must not call the driver or weir's blocking calls, and
 * must be short. It is not called if the device is lost before.
 * Fails: INVAL, NOTLEASED, CAPTURE, NOMEM, DEVICE.
 */
typedef void weir_stream_fn(void *ctx);
WEIR_API WEIR_MUST_CHECK int weir_stream_call(struct weir_stream *stream, weir_stream_fn *fn, void *ctx);

/*
 * weir_stream_delay - keep the stream busy for a time, as a kernel of that length would
 *
 * For load generators and tests. Exact on the host backend; on CUDA a host function that sleeps.
 * Fails: NOTLEASED, CAPTURE, NOMEM, DEVICE.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_delay(struct weir_stream *stream, uint64_t duration_ns);

/*
 * weir_runtime_sync - wait for all streams whose class bit (1 << class) is set; 0: all
 *
 * Shared streams belong to their class.
 * Progress: sleeps until deadline_ns.
 * Fails:    TIMEDOUT, DEVICE, CAPTURE (a stream is being captured), INVAL, FORKED, CLOSED (the runtime ended before the work).
 */
WEIR_API WEIR_MUST_CHECK int weir_runtime_sync(struct weir_runtime *rt, uint32_t class_mask,
                                               uint64_t deadline_ns);

/* ---- events ---- */

enum weir_event_flags { WEIR_EVENT_TIMING = 1 /* the event can be given to weir_event_elapsed_ns() */ };

/*
 * weir_event_acquire - lease an event; flags: enum weir_event_flags
 *
 * Progress: lock-free when an event is free; else waits, as weir_buffer_acquire() does.
 * Owner:    the caller, until weir_event_release().
 * Fails:    AGAIN, TIMEDOUT, CLOSED, DEVICE, FORKED, OPTS (unknown flags), INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_event_acquire(struct weir_runtime *rt, uint32_t flags,
                                                uint64_t deadline_ns, struct weir_event **out);

/* weir_event_release - give an event back; waits queued on it stay valid. As weir_buffer_release(). Ends an adoption. */
WEIR_API int weir_event_release(struct weir_event *event);

/*
 * weir_event_record - mark the stream's present end
 *
 * Recording again before the earlier point has passed is BUSY: the earlier waiters would be cheated.
 * Thread: the holder of both leases.  Fails: BUSY, NOTLEASED, FOREIGN, DEVICE, CAPTURE.
 */
WEIR_API WEIR_MUST_CHECK int weir_event_record(struct weir_event *event, struct weir_stream *stream);

/* weir_event_query - 0: passed. Fails: AGAIN (not yet), INVAL (never recorded in this lease), NOTLEASED, DEVICE. */
WEIR_API WEIR_MUST_CHECK int weir_event_query(struct weir_event *event);

/*
 * weir_event_sync - wait until the point has passed
 *
 * Progress: sleeps until deadline_ns.
 * Fails:    TIMEDOUT, INVAL (never recorded), NOTLEASED, DEVICE, CLOSED (the runtime ended before it passed).
 */
WEIR_API WEIR_MUST_CHECK int weir_event_sync(struct weir_event *event, uint64_t deadline_ns);

/* weir_event_elapsed_ns - device time between two recorded timing events. Fails: KIND (no timing), AGAIN, INVAL, NOTLEASED. */
WEIR_API WEIR_MUST_CHECK int weir_event_elapsed_ns(struct weir_event *start, struct weir_event *end,
                                                   uint64_t *out_ns);

/*
 * weir_event_clear - destroy the free events beyond weir_runtime_opts.events_min of each kind, and zero the counts
 *
 * Leased events are not touched. Returns how many of those there are.
 * Thread: any, one at a time with itself.  Progress: blocks in the driver.  Fails: INVAL, FORKED.
 */
WEIR_API int weir_event_clear(struct weir_runtime *rt);

/*
 * weir_event_adopt - use an event of the host program through weir
 *
 * flags: WEIR_EVENT_TIMING if it was made with timing. A record made before is not seen: record it again through
 * weir. weir_event_disown() or weir_event_release() ends the adoption; it may wait for one query of the keeper.
 * Progress: takes a lock.  Owner: the handle stays the host program's; the lease is the caller's.
 * Fails:    INVAL, OPTS (unknown flags), EXCEEDS (weir_runtime_opts.events_adopted_max), NOMEM, CLOSED, DEVICE, FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_event_adopt(struct weir_runtime *rt, void *handle, uint32_t flags,
                                              struct weir_event **out);

/*
 * weir_event_disown - end an adoption of an event: weir will not use the handle any more
 *
 * Thread: the holder of the lease.  Progress: takes a lock; may wait for one query of the keeper.
 * Fails:  NOTLEASED, KIND (not adopted), FOREIGN, STALE, CLOSED, FORKED.
 */
WEIR_API int weir_event_disown(struct weir_event *event);

/* ---- graphs ---- */

/*
 * A stream whose handle is known outside weir may be captured into a graph by its owner. On a captured stream every
 * call here answers CAPTURE before anything is queued, unless the caller has named an object that keeps the graph's buffers:
 *
 *     weir_graph_create(rt, &graph);
 *     weir_stream_capture_into(stream, graph);
 *     cuStreamBeginCapture(...);  weir_stream_upload(stream, ...);  cuStreamEndCapture(...);
 *     weir_buffer_release(buffer);       retires: the graph will read it each time that it is launched
 *     ... launches ...
 *     weir_graph_destroy(graph);         the graph is gone: the buffers come home
 */
struct weir_graph;

/*
 * weir_graph_create - an object that keeps buffers
 *
 * Progress: takes a lock.  Owner: the caller, until weir_graph_destroy().  Fails: as weir_stream_adopt().
 */
WEIR_API WEIR_MUST_CHECK int weir_graph_create(struct weir_runtime *rt, struct weir_graph **out);

/*
 * weir_stream_capture_into - what is captured from this stream belongs to graph; NULL: to none
 *
 * Ends with the lease. While the stream is not being captured it changes nothing.
 * Thread: the holder of both.  Progress: wait-free.  Fails: KIND, NOTLEASED, FOREIGN, STALE, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_capture_into(struct weir_stream *stream, struct weir_graph *graph);

/*
 * weir_graph_retain - the graph uses the buffer, too; for the caller's own captured kernels
 *
 * Until it is forgotten, a wait for the buffer answers CAPTURE, for weir cannot know when the graph runs.
 * Thread: the holder of both.  Progress: no driver call.  Fails: KIND, NOTLEASED, FOREIGN, STALE, NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_graph_retain(struct weir_graph *graph, struct weir_buffer *buffer);

/*
 * weir_graph_forget - nothing that was captured or retained so far will run again, nor is running
 *
 * The caller vouches for it: the graph was destroyed, and its last launch waited for.
 * Thread: one at a time with captures into the graph.  Fails: KIND, NOTLEASED, FOREIGN, STALE.
 */
WEIR_API int weir_graph_forget(struct weir_graph *graph);

/* weir_graph_destroy - forget, and end the object. NULL is accepted. Cannot fail.  Thread: the holder, once. */
WEIR_API void weir_graph_destroy(struct weir_graph *graph);

/* ---- looking ---- */

enum weir_stream_state {
    WEIR_STREAM_FREE = 1,
    WEIR_STREAM_ACQUIRED,
    WEIR_STREAM_BUSY,  /* released, with work pending; a shared stream: with work pending */
    WEIR_STREAM_FAILED /* recording or querying on it failed: never reused */
};

enum weir_stream_flags {
    WEIR_STREAM_IS_SHARED = 1,
    WEIR_STREAM_IS_ADOPTED = 2
};

struct weir_stream_info {
    size_t   struct_size;
    uint64_t id;                /* stable for the life of the runtime */
    uint64_t acquires;          /* leases; of a shared stream: shares */
    uint64_t active_ns;         /* time that it was leased, the present lease included */
    uint64_t active_average_ns; /* of one lease */
    uint64_t last_use_ns;       /* begin or end of its latest lease, on CLOCK_MONOTONIC; 0: never used */
    uint64_t copies;
    uint64_t bytes_up;
    uint64_t bytes_down;
    uint64_t events_recorded; /* by weir_event_record() */
    uint64_t syncs;           /* by weir_stream_sync() */
    uint64_t shares;          /* shares that were not given back */
    uint32_t stream_class;    /* enum weir_stream_class */
    uint32_t state;           /* enum weir_stream_state; 0: it does not exist now */
    int32_t  priority;        /* as the driver has it: lower is more urgent; see weir_runtime_info */
    uint32_t flags;           /* enum weir_stream_flags */
};

/*
 * weir_stream_info_read - what a stream is and has done, also of a released one; set out->struct_size first
 *
 * Progress: wait-free.  Fails: FOREIGN, KIND, INVAL, CLOSED (its runtime was destroyed).
 */
WEIR_API int weir_stream_info_read(const struct weir_stream *stream, struct weir_stream_info *out);

/* ---- device memory ---- */

/*
 * weir_device_alloc, weir_device_free - plain device memory under the runtime's budget
 *
 * Free waits for nothing: the caller must know that the device is done with it.
 *
 * Progress: a driver call, which may block in the driver.  Owner: the caller, until weir_device_free().
 * Fails:    EXCEEDS (names the budget), DEVMEM, NOMEM, INVAL, DEVICE, FORKED; free: NOENT.
 */
WEIR_API WEIR_MUST_CHECK int weir_device_alloc(struct weir_runtime *rt, size_t bytes, uint64_t *out);
WEIR_API int weir_device_free(struct weir_runtime *rt, uint64_t address);

WEIR_END_DECLS

#endif
