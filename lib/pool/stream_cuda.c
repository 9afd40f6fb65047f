/* SPDX-License-Identifier: Apache-2.0 */
/* stream_cuda.c - weir's streams and events as CUDA's own handles, and CUDA's as weir's */
#include "pool/adopt.h"
#include "pool/current.h"
#include "pool/watch.h"

#include <weir/cuda.h>

#ifdef WI_CUDA
#include "device/cuda.h"
#include "device/cuda_abi.h"
#include "sync/thread.h"

static int check_backend(const struct wi_context *context)
{
    WI_ENSURE(wi_cuda_is(context->device), KIND, .detail = "the runtime is not of the cuda backend");
    return 0;
}

int weir_runtime_cuda(const struct weir_runtime *rt, struct CUctx_st **out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    const struct wi_context *context = (const struct wi_context *)rt; /* first member */
    WI_TRY(check_backend(context));
    *out = wi_cuda_context(context->device);
    return 0;
}

int weir_stream_cuda(struct weir_stream *given, struct CUstream_st **out)
{
    struct wi_stream *stream;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_stream_given(given, &stream));
    WI_TRY(check_backend(stream->context));
    wi_stream_expose(stream);
    *out = stream->handle;
    return 0;
}

int weir_event_cuda(struct weir_event *lease, struct CUevent_st **out)
{
    struct wi_event *event;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_lease_event(lease, &event));
    WI_TRY(check_backend(wi_pool_of(wi_record_plain(lease, NULL))->context));
    *out = event->handle;
    return 0;
}

int weir_stream_adopt_cuda(struct weir_runtime *rt, struct CUstream_st *handle, struct weir_stream **out)
{
    struct wi_stream *stream;
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_TRY(check_backend(wi_context_of(rt)));
    WI_TRY(wi_cuda_stream_check(wi_context_of(rt)->device, handle));
    WI_TRY(weir_stream_adopt(rt, handle, out));
    /* Every thread means another stream by this handle, so ticks of two threads would be in no order. */
    WI_TRY(wi_lease_stream(*out, &stream));
    if (handle == WI_CU_STREAM_PER_THREAD) stream->thread = wi_thread_self();
    return 0;
}

int weir_event_adopt_cuda(struct weir_runtime *rt, struct CUevent_st *handle, uint32_t flags, struct weir_event **out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_TRY(check_backend(wi_context_of(rt)));
    return weir_event_adopt(rt, handle, flags, out);
}

#else

static int refuse(void)
{
    return WI_FAIL(KIND, .detail = "this weir was built without the cuda backend");
}

int weir_runtime_cuda(const struct weir_runtime *rt, struct CUctx_st **out)
{
    (void)rt;
    (void)out;
    return refuse();
}

int weir_stream_cuda(struct weir_stream *stream, struct CUstream_st **out)
{
    (void)stream;
    (void)out;
    return refuse();
}

int weir_event_cuda(struct weir_event *event, struct CUevent_st **out)
{
    (void)event;
    (void)out;
    return refuse();
}

int weir_stream_adopt_cuda(struct weir_runtime *rt, struct CUstream_st *handle, struct weir_stream **out)
{
    (void)rt;
    (void)handle;
    (void)out;
    return refuse();
}

int weir_event_adopt_cuda(struct weir_runtime *rt, struct CUevent_st *handle, uint32_t flags, struct weir_event **out)
{
    (void)rt;
    (void)handle;
    (void)flags;
    (void)out;
    return refuse();
}

#endif
