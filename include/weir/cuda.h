/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/cuda.h - weir's streams and events as CUDA's own handles, and CUDA's as weir's
 *
 * Needs no toolkit. struct CUstream_st * is CUstream and cudaStream_t, struct CUevent_st * is CUevent and
 * cudaEvent_t, struct CUctx_st * is CUcontext: in a file that includes cuda.h, no cast is needed.
 *
 * weir works in the device's primary context, which is also the one of the CUDA runtime. Handles of other
 * contexts are refused.
 *
 * What excludes what: weir_stream_release() of an adopted stream must have returned before the host
 * program destroys that stream; the same holds for events. All other calls run beside each other.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 * Progress: wait-free.
 *
 * Example, given struct weir_stream *stream; struct weir_buffer *buffer; void launch(struct CUstream_st *on, uint64_t address):
 *
 *     struct CUstream_st *handle;
 *     int err = weir_stream_cuda(stream, &handle);
 *     if (err < 0) return err;
 *     launch(handle, buffer->device);
 *     err = weir_buffer_guard(buffer, stream);
 *     (void)weir_buffer_release(buffer);
 */
#ifndef WEIR_CUDA_H
#define WEIR_CUDA_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

struct CUctx_st;
struct CUstream_st;
struct CUevent_st;

/*
 * weir_runtime_cuda - the context that a runtime works in
 *
 * Retained until weir_runtime_destroy(). Not made current on the calling thread.
 *
 * Thread: any.  Owner: the runtime.
 * Fails:  KIND (the runtime is not of the cuda backend), INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_runtime_cuda(const struct weir_runtime *rt,
                                               struct CUctx_st          **out);

/*
 * weir_stream_cuda - a leased stream as CUDA's handle, for launching kernels on it
 *
 * Valid while the lease lasts; must not be destroyed. weir does not see what is launched on it: call
 * weir_buffer_guard() behind the launch for each buffer that the kernel uses. From here on, weir asks the
 * driver before each operation whether the stream is being captured into a graph, and each operation records an
 * event of its own on the calling thread.
 *
 * Thread: the holder of the lease.  Owner: weir.
 * Fails:  KIND (not of the cuda backend), NOTLEASED, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_cuda(struct weir_stream *stream, struct CUstream_st **out);

/*
 * weir_event_cuda - a leased event as CUDA's handle
 *
 * Valid while the lease lasts; must not be destroyed. An event that was recorded through the handle counts
 * as never recorded for weir_event_query() and weir_event_sync().
 *
 * Thread: the holder of the lease.  Owner: weir.
 * Fails:  KIND, NOTLEASED, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_event_cuda(struct weir_event *event, struct CUevent_st **out);

/*
 * weir_stream_adopt_cuda - use a stream of the host program through weir
 *
 * The two default streams are adopted by their explicit handles 0x1 (legacy) and 0x2 (per thread); NULL
 * means one or the other, depending on how a file was compiled, and is refused. On an adopted stream each
 * operation and each guard records an event of its own on the calling thread.
 *
 * The per-thread default stream is another stream to each thread, so its lease is used only by the thread that
 * adopted it: others are answered INVAL.
 *
 * weir_stream_release() and weir_stream_disown() end the adoption: the handle is never used again.
 *
 * Thread: any.  Progress: two driver calls.
 * Owner:  the handle stays the host program's; the lease is the caller's until weir_stream_release().
 * Fails:  INVAL (NULL, or a stream of another context), KIND (the runtime is not of the cuda backend),
 *         EXCEEDS, NOMEM, DEVICE, FORKED, CLOSED.
 */
WEIR_API WEIR_MUST_CHECK int weir_stream_adopt_cuda(struct weir_runtime *rt,
                                                    struct CUstream_st  *handle,
                                                    struct weir_stream **out);

/*
 * weir_event_adopt_cuda - use an event of the host program through weir
 *
 * flags: WEIR_EVENT_TIMING if it was made with timing, else 0. weir cannot tell whether it was recorded
 * before, so that mark is not seen: record it again through weir. weir_event_release() ends the adoption.
 *
 * Progress: takes a lock.
 * Owner:    the handle stays the host program's; the lease is the caller's until weir_event_release().
 * Fails:    INVAL (NULL), OPTS (unknown flags), KIND, EXCEEDS, NOMEM, DEVICE, FORKED, CLOSED.
 */
WEIR_API WEIR_MUST_CHECK int weir_event_adopt_cuda(struct weir_runtime *rt,
                                                   struct CUevent_st *handle, uint32_t flags,
                                                   struct weir_event **out);

WEIR_END_DECLS

#endif
