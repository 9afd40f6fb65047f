/* SPDX-License-Identifier: Apache-2.0 */
/* stream_copy.c - copies between buffers and device memory, one or many at a time; guards */
#include "base/alloc.h"
#include "pool/current.h"
#include "pool/stream_issue.h"
#include "pool/transfer.h"

#define COPIES_ON_STACK 32

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

static struct wi_copy copy_of(const struct wi_record *record, struct weir_slice slice, uint64_t address, uint32_t kind)
{
    uint64_t host = (uint64_t)(uintptr_t)record->face.host + slice.offset;
    return (struct wi_copy){.dst = kind == WI_COPY_UP ? address : host,
                            .src = kind == WI_COPY_UP ? host : address,
                            .bytes = slice.bytes,
                            .kind = kind};
}

static void count_copy(struct wi_stream *stream, uint64_t bytes, uint32_t kind)
{
    wi_add(&stream->stat.copies, 1, relaxed);
    wi_add(kind == WI_COPY_UP ? &stream->stat.bytes_up : &stream->stat.bytes_down, bytes, relaxed);
}

/* ---- one ---- */

static int issue_copy(struct weir_stream *given, struct weir_slice slice, uint64_t address, uint32_t kind)
{
    struct wi_stream *stream, *ticks;
    struct wi_record *record;
    WI_TRY(check_slice(slice, &record));
    WI_ENSURE(address, INVAL, .detail = "the device address is 0");
    WI_TRY(wi_issue_begin(given, &stream, &ticks));
    if (slice.bytes == 0) return 0;
    WI_TRY(wi_mark_reserve(record, ticks));

    struct wi_context *context = stream->context;
    struct wi_copy     copy = copy_of(record, slice, address, kind);
    struct wi_transfer transfer = {.record = record, .stream = stream, .offset = slice.offset,
                                   .bytes = slice.bytes, .kind = kind, .captured = ticks != stream};
    WI_TRY(wi_transfer_begin(&transfer));
    int err = context->device->ops->copy(context->device, &copy, stream->handle);
    if (err < 0) {
        wi_transfer_drop(&transfer);
        return wi_issue_failed(context, err);
    }
    wi_transfer_end(&transfer);
    wi_mark(record, ticks, slice.bytes);
    count_copy(stream, slice.bytes, kind);
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

/* ---- many ---- */

struct batch {
    struct wi_stream   *stream;
    struct wi_stream   *ticks;
    struct wi_copy     *copy;     /* count of them, those of no bytes left out */
    struct wi_transfer *transfer; /* of each */
    size_t              count;
    uint64_t            bytes;
    uint32_t            kind;
};

/* All that can be wrong is found here, before anything is queued. */
static int prepare(struct batch *batch, const struct weir_copy *copies, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct weir_slice slice = copies[i].slice;
        struct wi_record *record;
        WI_TRY(check_slice(slice, &record));
        WI_ENSURE(copies[i].device, INVAL, .detail = "a device address of the batch is 0");
        if (slice.bytes == 0) continue;
        WI_TRY(wi_mark_reserve(record, batch->ticks));
        struct wi_transfer transfer = {.record = record, .stream = batch->stream, .offset = slice.offset,
                                       .bytes = slice.bytes, .kind = batch->kind, .captured = batch->ticks != batch->stream,
                                       .position = batch->count};
        WI_TRY(wi_transfer_begin(&transfer));
        batch->copy[batch->count] = copy_of(record, slice, copies[i].device, batch->kind);
        batch->transfer[batch->count++] = transfer;
        batch->bytes += slice.bytes;
    }
    return 0;
}

/* Returns how the driver answered; *queued: how many copies may be on the stream now. */
static int queue(const struct batch *batch, size_t *queued)
{
    struct wi_device *device = batch->stream->context->device;
    void             *handle = batch->stream->handle;
    *queued = batch->count;
    /* Not every driver lets a batch be captured. */
    if (device->ops->copy_batch && batch->ticks == batch->stream)
        return device->ops->copy_batch(device, batch->copy, batch->count, handle);
    for (size_t i = 0; i < batch->count; i++) {
        int err = device->ops->copy(device, &batch->copy[i], handle);
        if (err < 0) {
            *queued = i;
            return err;
        }
    }
    return 0;
}

static int issue_prepared(const struct batch *batch)
{
    size_t queued = 0;
    if (batch->count == 0) return 0;
    int err = queue(batch, &queued);
    wi_transfer_share(&batch->transfer[0], batch->count, batch->bytes);
    for (size_t i = 0; i < batch->count; i++) {
        if (err < 0) {
            wi_transfer_drop(&batch->transfer[i]);
        } else {
            wi_transfer_end(&batch->transfer[i]);
            count_copy(batch->stream, batch->copy[i].bytes, batch->kind);
        }
    }
    for (size_t i = 0; i < queued; i++) wi_mark_also(batch->transfer[i].record, batch->ticks);
    /* One operation, whose tick is closed behind all marks. */
    if (queued > 0) wi_mark(batch->transfer[0].record, batch->ticks, batch->bytes);
    return err < 0 ? wi_issue_failed(batch->stream->context, err) : 0;
}

static int issue_batch(struct weir_stream *given, const struct weir_copy *copies, size_t count, uint32_t kind)
{
    struct wi_copy     copy[COPIES_ON_STACK];
    struct wi_transfer transfer[COPIES_ON_STACK];
    struct batch       batch = {.copy = copy, .transfer = transfer, .kind = kind};
    bool               large = count > COPIES_ON_STACK;
    int                err = 0;
    WI_ENSURE(copies || count == 0, INVAL, .detail = "copies is NULL");
    WI_TRY(wi_issue_begin(given, &batch.stream, &batch.ticks));
    if (large) {
        batch.copy = wi_calloc(count, sizeof copy[0]);
        batch.transfer = wi_calloc(count, sizeof transfer[0]);
    }
    if (!batch.copy || !batch.transfer)
        err = WI_FAIL(NOMEM, .call = "calloc", .detail = "a batch of copies", .wanted = count * sizeof copy[0]);
    if (err >= 0) {
        err = prepare(&batch, copies, count);
        if (err >= 0) {
            err = issue_prepared(&batch);
        } else {
            for (size_t i = 0; i < batch.count; i++) wi_transfer_drop(&batch.transfer[i]);
        }
    }
    if (large) {
        wi_free(batch.copy);
        wi_free(batch.transfer);
    }
    return err;
}

int weir_stream_upload_batch(struct weir_stream *stream, const struct weir_copy *copies, size_t count)
{
    return issue_batch(stream, copies, count, WI_COPY_UP);
}

int weir_stream_download_batch(struct weir_stream *stream, const struct weir_copy *copies, size_t count)
{
    return issue_batch(stream, copies, count, WI_COPY_DOWN);
}

/* ---- guards ---- */

int weir_buffer_guard(struct weir_buffer *buffer, struct weir_stream *given)
{
    struct wi_stream *stream, *ticks;
    struct wi_record *record;
    WI_TRY(wi_lease_buffer(buffer, &record));
    WI_TRY(wi_issue_begin(given, &stream, &ticks));
    WI_TRY(wi_mark_reserve(record, ticks));
    wi_mark(record, ticks, 0);
    return 0;
}

int weir_buffer_sync(struct weir_buffer *buffer, uint64_t deadline_ns)
{
    struct wi_record *record;
    WI_TRY(wi_lease_buffer(buffer, &record));
    return wi_marks_wait(record, deadline_ns);
}
