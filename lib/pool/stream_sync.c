/* SPDX-License-Identifier: Apache-2.0 */
/* stream_sync.c - order and time: waiting for streams, host functions and pauses on them */
#include "base/cancel.h"
#include "pool/current.h"
#include "pool/stream_issue.h"
#include "pool/watch.h"
#include "sync/futex.h"

int weir_stream_wait_event(struct weir_stream *given, struct weir_event *event_lease)
{
    struct wi_stream *stream, *ticks;
    struct wi_event  *event;
    WI_TRY(wi_lease_event(event_lease, &event));
    WI_ENSURE(wi_load(&event->recorded, relaxed), INVAL, .detail = "the event was never recorded in this lease");
    WI_TRY(wi_issue_begin(given, &stream, &ticks));
    struct wi_context *context = stream->context;
    int                err = context->device->ops->stream_wait(context->device, stream->handle, event->handle);
    if (err < 0) return wi_issue_failed(context, err);
    wi_stream_touch(ticks);
    return 0;
}

int weir_stream_call(struct weir_stream *given, weir_stream_fn *fn, void *ctx)
{
    struct wi_stream *stream, *ticks;
    WI_ENSURE(fn, INVAL, .detail = "fn is NULL");
    WI_TRY(wi_issue_begin(given, &stream, &ticks));
    struct wi_context *context = stream->context;
    int                err = context->device->ops->call(context->device, fn, ctx, stream->handle);
    if (err < 0) return wi_issue_failed(context, err);
    wi_stream_touch(ticks);
    return 0;
}

int weir_stream_delay(struct weir_stream *given, uint64_t duration_ns)
{
    struct wi_stream *stream, *ticks;
    WI_TRY(wi_issue_begin(given, &stream, &ticks));
    struct wi_context *context = stream->context;
    int                err = context->device->ops->delay(context->device, duration_ns, stream->handle);
    if (err < 0) return wi_issue_failed(context, err);
    wi_stream_touch(ticks);
    return 0;
}

/* Nothing but the context, which stays, is touched after the count. order(syncs): seq_cst; pairs with wi_syncs_end(). */
static void leave_sync(struct wi_context *context)
{
    if (wi_sub(&context->syncs, 1, seq_cst) == 1) wi_futex_wake(&context->syncs, INT32_MAX);
}

/* A shared stream is no lease: what keeps it while its runtime is destroyed is the count. */
static int wait_counted(struct wi_stream *stream, uint64_t tick, uint64_t deadline_ns)
{
    struct wi_context *context = stream->context;
    WI_UNCANCELLABLE;
    wi_add(&context->syncs, 1, relaxed);
    int err = wi_stream_wait(stream, tick, deadline_ns);
    leave_sync(context);
    return err;
}

int weir_stream_sync(struct weir_stream *given, uint64_t deadline_ns)
{
    struct wi_stream *stream;
    uint64_t          tick;
    WI_TRY(wi_stream_given(given, &stream));
    WI_TRY(wi_issue_fence(stream, &tick));
    wi_add(&stream->stat.syncs, 1, relaxed);
    if (wi_load(&stream->passed, acquire) >= tick) return 0;
    return wait_counted(stream, tick, deadline_ns);
}

int weir_stream_query(struct weir_stream *given)
{
    struct wi_stream *stream;
    WI_TRY(wi_stream_given(given, &stream));
    WI_TRY(wi_issue_check(stream));
    /* What was queued through a raw handle has no tick: there the driver is always asked. */
    if (!wi_load(&stream->outside, relaxed) && !wi_stream_busy(stream)) return 0;
    struct wi_context *context = stream->context;
    int                err = context->device->ops->stream_query(context->device, stream->handle);
    return err == WEIR_EAGAIN ? err : wi_issue_failed(context, err);
}

static int sync_streams(struct wi_context *context, uint32_t class_mask, uint64_t deadline_ns)
{
    uint32_t streams = wi_load(&context->streams, acquire);
    for (uint32_t i = 0; i < streams; i++) {
        struct wi_stream *stream = wi_load(&context->stream[i], acquire);
        uint64_t          tick;
        if (class_mask && !(class_mask >> stream->stream_class & 1)) continue;
        WI_TRY(wi_issue_fence(stream, &tick));
        WI_TRY(wi_stream_wait(stream, tick, deadline_ns));
    }
    return 0;
}

int weir_runtime_sync(struct weir_runtime *rt, uint32_t class_mask, uint64_t deadline_ns)
{
    WI_UNCANCELLABLE;
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_TRY(wi_process_check());
    struct wi_context *context = wi_context_of(rt);
    wi_add(&context->syncs, 1, relaxed);
    int err = sync_streams(context, class_mask, deadline_ns);
    leave_sync(context);
    return err;
}

void wi_syncs_end(struct wi_context *context)
{
    uint32_t streams = wi_load(&context->streams, acquire);
    for (uint32_t i = 0; i < streams; i++) wi_stream_wake(wi_load(&context->stream[i], acquire));
    for (uint32_t inside; (inside = wi_load(&context->syncs, seq_cst)) != 0;) /* order(syncs) */
        (void)wi_futex_wait(&context->syncs, inside, WEIR_FOREVER);
}
