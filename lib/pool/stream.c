/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - the public face of streams: leases, copies, waiting; how buffers are protected is in ticks.h */
#include "pool/lease.h"
#include "pool/runtime_pools.h"
#include "pool/watch.h"

#include <weir/stream.h>

/* ---- leases ---- */

int weir_stream_acquire(struct weir_runtime *rt, uint32_t stream_class, uint64_t deadline_ns,
                        struct weir_stream **out)
{
    struct wi_record *record;
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_ENSURE(stream_class >= WEIR_STREAM_COMPUTE && stream_class <= WEIR_STREAM_HIGH, INVAL,
              .detail = "stream_class is not one of enum weir_stream_class");
    struct weir_pool *pool = wi_runtime_stream_pool(rt, stream_class);
    if (!(record = wi_store_hit(&pool->store))) {
        struct wi_ask ask = {.deadline_ns = deadline_ns, .priority = 1, .need = 1};
        int           err = wi_store_acquire_slow(&pool->store, &ask, &record);
        if (err == WEIR_EAGAIN || err == WEIR_ETIMEDOUT) {
            static const char *const setting[] = {"", "weir_runtime_opts.streams_compute",
                                                  "weir_runtime_opts.streams_comm",
                                                  "weir_runtime_opts.streams_high"};
            struct wi_cause cause = {.limit = "streams of the class", .limit_value = pool->opts.buffers_max,
                                     .wanted = 1, .setting = setting[stream_class]};
            return wi_fail_at(err, __FILE__, __LINE__, &cause);
        }
        if (err < 0) return err;
    }
    *out = wi_watch_lease(record, __builtin_return_address(0));
    return 0;
}

int weir_stream_release(struct weir_stream *lease)
{
    struct wi_stream *stream;
    if (!lease) return 0;
    WI_TRY(wi_lease_stream(lease, &stream));
    /* A stream with work pending retires on its own queue: it is free again when it has drained. */
    if (wi_stream_busy(stream)) {
        WI_TRY(wi_mark_reserve(stream->record, stream));
        wi_mark_also(stream->record, stream);
    }
    return wi_lease_release(lease, WI_POOL_STREAMS);
}

/* ---- copies ---- */

static int check_slice(struct weir_slice slice, struct wi_record **out)
{
    WI_TRY(wi_lease_buffer(slice.buffer, out));
    const struct weir_buffer *face = &(*out)->face;
    WI_ENSURE(face->host, KIND, .detail = "the buffer has no host memory to copy from or to");
    WI_ENSURE(slice.offset <= face->bytes && slice.bytes <= face->bytes - slice.offset, RANGE,
              .limit = "bytes of the buffer", .limit_value = face->bytes, .wanted = slice.offset + slice.bytes,
              .setting = "weir_pool_opts.buffer_bytes");
    return 0;
}

static int issue_copy(struct weir_stream *lease, struct weir_slice slice, uint64_t address, uint32_t kind)
{
    struct wi_stream *stream;
    struct wi_record *record;
    WI_TRY(wi_lease_stream(lease, &stream));
    WI_TRY(check_slice(slice, &record));
    WI_ENSURE(address, INVAL, .detail = "the device address is 0");
    if (slice.bytes == 0) return 0;
    WI_TRY(wi_mark_reserve(record, stream));

    struct wi_context *context = stream->context;
    struct wi_transfer transfer = {.record = record, .stream = stream, .offset = slice.offset,
                                   .bytes = slice.bytes, .kind = kind};
    uint64_t           host = (uint64_t)(uintptr_t)record->face.host + slice.offset;
    struct wi_copy     copy = {.dst = kind == WI_COPY_UP ? address : host,
                               .src = kind == WI_COPY_UP ? host : address,
                               .bytes = slice.bytes,
                               .kind = kind};
    WI_TRY(wi_transfer_begin(&transfer));
    int err = context->device->ops->copy(context->device, &copy, stream->handle);
    if (err < 0) {
        wi_transfer_drop(&transfer);
        return wi_issue_failed(context, err);
    }
    wi_transfer_end(&transfer);
    wi_mark(record, stream, slice.bytes);
    return 0;
}

int weir_stream_upload(struct weir_stream *stream, uint64_t device_dst, struct weir_slice src)
{
    return issue_copy(stream, src, device_dst, WI_COPY_UP);
}

int weir_stream_download(struct weir_stream *stream, struct weir_slice dst, uint64_t device_src)
{
    return issue_copy(stream, dst, device_src, WI_COPY_DOWN);
}

int weir_buffer_guard(struct weir_buffer *buffer, struct weir_stream *lease)
{
    struct wi_stream *stream;
    struct wi_record *record;
    WI_TRY(wi_lease_buffer(buffer, &record));
    WI_TRY(wi_lease_stream(lease, &stream));
    WI_TRY(wi_mark_reserve(record, stream));
    wi_mark(record, stream, 0);
    return 0;
}

int weir_buffer_sync(struct weir_buffer *buffer, uint64_t deadline_ns)
{
    struct wi_record *record;
    WI_TRY(wi_lease_buffer(buffer, &record));
    return wi_marks_wait(record, deadline_ns);
}

/* ---- order and time ---- */

int weir_stream_wait_event(struct weir_stream *lease, struct weir_event *event_lease)
{
    struct wi_stream *stream;
    struct wi_event  *event;
    WI_TRY(wi_lease_stream(lease, &stream));
    WI_TRY(wi_lease_event(event_lease, &event));
    WI_ENSURE(wi_load(&event->recorded, relaxed), INVAL, .detail = "the event was never recorded in this lease");
    struct wi_context *context = stream->context;
    int                err = context->device->ops->stream_wait(context->device, stream->handle, event->handle);
    if (err < 0) return wi_issue_failed(context, err);
    wi_stream_touch(stream);
    return 0;
}

int weir_stream_call(struct weir_stream *lease, weir_stream_fn *fn, void *ctx)
{
    struct wi_stream *stream;
    WI_TRY(wi_lease_stream(lease, &stream));
    WI_ENSURE(fn, INVAL, .detail = "fn is NULL");
    struct wi_context *context = stream->context;
    int                err = context->device->ops->call(context->device, fn, ctx, stream->handle);
    if (err < 0) return wi_issue_failed(context, err);
    wi_stream_touch(stream);
    return 0;
}

int weir_stream_delay(struct weir_stream *lease, uint64_t duration_ns)
{
    struct wi_stream *stream;
    WI_TRY(wi_lease_stream(lease, &stream));
    struct wi_context *context = stream->context;
    int                err = context->device->ops->delay(context->device, duration_ns, stream->handle);
    if (err < 0) return wi_issue_failed(context, err);
    wi_stream_touch(stream);
    return 0;
}

int weir_stream_sync(struct weir_stream *lease, uint64_t deadline_ns)
{
    struct wi_stream *stream;
    WI_TRY(wi_lease_stream(lease, &stream));
    return wi_stream_wait(stream, wi_stream_end_tick(stream), deadline_ns);
}

int weir_stream_query(struct weir_stream *lease)
{
    struct wi_stream *stream;
    WI_TRY(wi_lease_stream(lease, &stream));
    uint64_t tick = wi_stream_end_tick(stream);
    if (tick == 0) return 0;
    struct wi_context *context = stream->context;
    int                err = context->device->ops->stream_query(context->device, stream->handle);
    return err == WEIR_EAGAIN ? err : wi_issue_failed(context, err);
}

int weir_runtime_sync(struct weir_runtime *rt, uint32_t class_mask, uint64_t deadline_ns)
{
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_TRY(wi_process_check());
    struct wi_context *context = wi_context_of(rt);
    uint32_t           streams = wi_load(&context->streams, acquire);
    for (uint32_t i = 0; i < streams; i++) {
        struct wi_stream *stream = wi_load(&context->stream[i], acquire);
        if (!stream || (class_mask && !(class_mask >> stream->stream_class & 1))) continue;
        WI_TRY(wi_stream_wait(stream, wi_stream_end_tick(stream), deadline_ns));
    }
    return 0;
}

/* ---- making ---- */

static int make_stream(struct weir_pool *pool, struct wi_record *record)
{
    struct wi_stream          *stream;
    struct weir_runtime_info   info;
    const struct wi_device_ops *ops = pool->context->device->ops;
    ops->info(pool->context->device, &info);
    bool    urgent = pool->stream_class == WEIR_STREAM_HIGH;
    int32_t priority = urgent ? info.stream_priority_greatest : info.stream_priority_least;
    WI_TRY(wi_stream_make(pool->context, pool->stream_class, priority, &stream));
    stream->record = record;
    record->object = stream;
    return 0;
}

static void drop_stream(struct weir_pool *pool, struct wi_record *record)
{
    struct wi_stream *stream = record->object;
    (void)pool;
    /* Its memory stays in the context's table, where the keeper may be looking; the runtime frees it in the end. */
    if (!wi_load(&stream->gone, relaxed)) wi_stream_end(stream);
    stream->record = NULL;
    record->object = NULL;
}

int wi_stream_pool_make(struct weir_runtime *rt, uint32_t stream_class, uint32_t count, struct weir_pool **out)
{
    static const char *const name[] = {"", "compute", "comm", "high"};
    struct weir_pool_opts    opts = {.name = name[stream_class], .buffers_min = count, .buffers_max = count,
                                     .strategy = WEIR_STRATEGY_LEAST_RECENT, .grow_factor_percent = 200};
    struct wi_pool_spec      spec = {.rt = rt, .kind = WI_POOL_STREAMS, .stream_class = stream_class,
                                     .opts = &opts, .make = make_stream, .drop = drop_stream};
    return wi_pool_make(&spec, out);
}
