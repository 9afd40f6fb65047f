/* SPDX-License-Identifier: Apache-2.0 */
/* buffer_copy.c - bytes into and out of a leased buffer, from the host and through its mirror */
#include "pool/lease.h"
#include "pool/mirror.h"
#include "pool/side.h"

#include <string.h>
#include <weir/stream.h>

/* A lease that has host memory, and that no device work uses. */
static int lease_at_rest(struct weir_buffer *buffer, uint64_t deadline_ns, struct wi_record **out)
{
    WI_TRY(wi_lease_buffer(buffer, out));
    struct wi_record *record = *out;
    WI_ENSURE(record->face.host, KIND, .detail = "the buffer has no host memory");
    if (!wi_marks_pending(record) || wi_marks_settled(record)) return 0;
    WI_ENSURE(deadline_ns != WEIR_NOW, BUSY, .detail = "device work still uses the buffer");
    return wi_marks_wait(record, deadline_ns);
}

static int check_range(const struct wi_record *record, size_t offset, size_t bytes)
{
    size_t room = record->face.bytes;
    WI_ENSURE(offset <= room && bytes <= room - offset, RANGE, .limit = "bytes of the buffer", .limit_value = room,
              .wanted = offset + bytes, .setting = "weir_pool_opts.buffer_bytes");
    return 0;
}

int weir_buffer_write(struct weir_buffer *buffer, size_t offset, const void *src, size_t bytes, uint64_t deadline_ns)
{
    struct wi_record *record;
    WI_ENSURE(src || bytes == 0, INVAL, .detail = "src is NULL");
    WI_TRY(lease_at_rest(buffer, deadline_ns, &record));
    WI_TRY(check_range(record, offset, bytes));
    if (bytes > 0) memcpy((char *)record->face.host + offset, src, bytes);
    return 0;
}

int weir_buffer_read(struct weir_buffer *buffer, size_t offset, void *dst, size_t bytes, uint64_t deadline_ns)
{
    struct wi_record *record;
    WI_ENSURE(dst || bytes == 0, INVAL, .detail = "dst is NULL");
    WI_TRY(lease_at_rest(buffer, deadline_ns, &record));
    WI_TRY(check_range(record, offset, bytes));
    if (bytes > 0) memcpy(dst, (const char *)record->face.host + offset, bytes);
    return 0;
}

int weir_buffer_reset(struct weir_buffer *buffer, uint64_t deadline_ns)
{
    struct wi_record *record;
    struct wi_side   *side;
    WI_TRY(lease_at_rest(buffer, deadline_ns, &record));
    WI_TRY(wi_side_make(record, &side)); /* remembers how many leases there were */
    memset(record->face.host, 0, record->face.bytes);
    wi_side_zero(record);
    return 0;
}

static int finish(struct weir_stream *stream, uint64_t deadline_ns)
{
    return deadline_ns == WEIR_NOW ? 0 : weir_stream_sync(stream, deadline_ns);
}

int weir_buffer_to_device(struct weir_slice part, struct weir_stream *stream, uint64_t deadline_ns)
{
    struct wi_record *record;
    uint64_t          mirror;
    WI_TRY(wi_lease_buffer(part.buffer, &record));
    WI_TRY(wi_mirror_make(record, &mirror));
    WI_TRY(weir_stream_upload(stream, mirror + part.offset, part));
    return finish(stream, deadline_ns);
}

int weir_buffer_to_host(struct weir_slice part, struct weir_stream *stream, uint64_t deadline_ns)
{
    struct wi_record *record;
    WI_TRY(wi_lease_buffer(part.buffer, &record));
    const struct wi_side *side = wi_side_of(record);
    uint64_t              mirror = side ? wi_load(&side->mirror, relaxed) : 0;
    WI_ENSURE(mirror, NOENT, .detail = "the buffer has no device mirror yet");
    WI_TRY(weir_stream_download(stream, part, mirror + part.offset));
    return finish(stream, deadline_ns);
}
