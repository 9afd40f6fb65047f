/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor_rows.c - writes to rows of a device tensor: packed into one leased buffer, applied as one batch of copies
 *
 * Copies of a batch run in any order, so a row must not be in it twice: staging it again overwrites its bytes. Where a
 * row is packed is kept as a sparse set, which needs no clearing: row r is staged if place[r] < staged and
 * row[place[r]] == r.
 */
#include "base/alloc.h"
#include "base/options.h"
#include "pool/pool.h"
#include "tier/tensor.h"

#include <string.h>
#include <weir/stream.h>

struct weir_rows {
    /* Fixed. */
    struct weir_pool   *pool;
    struct weir_tensor *tensor; /* held; NULL: the device memory is the caller's */
    uint64_t            device;
    size_t              rows;
    size_t              row_bytes;
    size_t              room; /* rows that fit into a buffer */

    struct weir_buffer *buffer; /* leased while rows are staged */
    bool                torn;   /* an apply failed: some of its copies may be under way */
    size_t              staged;
    uint32_t           *row;   /* the n-th staged row */
    uint32_t           *place; /* of a row among the staged */
    struct weir_copy   *copies;
    size_t              copies_room;
};

static void fini(struct weir_rows *rows)
{
    (void)weir_buffer_release(rows->buffer);
    if (rows->tensor) wi_tensor_drop(rows->tensor);
    wi_free(rows->copies);
    wi_free(rows->place);
    wi_free(rows->row);
    wi_free(rows);
}

/* What is written: the tensor's device view, or the caller's memory. */
static int find_target(const struct weir_rows_opts *given, struct weir_rows *rows)
{
    struct weir_tensor *tensor = given->tensor;
    if (!tensor) {
        WI_ENSURE(given->device, INVAL, .detail = "expected a tensor or a device address");
        WI_ENSURE(given->rows > 0 && given->row_bytes > 0, INVAL, .detail = "expected rows and row_bytes above 0");
        rows->device = given->device;
        rows->rows = given->rows;
        rows->row_bytes = given->row_bytes;
        return 0;
    }
    WI_ENSURE(!given->device && given->rows == 0 && given->row_bytes == 0, INVAL,
              .detail = "expected a tensor or device memory, not both");
    WI_ENSURE(tensor->shape.rank > 0, INVAL, .detail = "expected a tensor of rank 1 or more");
    WI_TRY(wi_tensor_device(tensor, &rows->device));
    rows->rows = (size_t)tensor->shape.extent[0];
    rows->row_bytes = tensor->shape.bytes / rows->rows;
    wi_tensor_hold(tensor);
    rows->tensor = tensor;
    return 0;
}

static int init(const struct weir_rows_opts *given, struct weir_rows *rows)
{
    WI_TRY(find_target(given, rows));
    WI_ENSURE(rows->rows < UINT32_MAX, EXCEEDS, .limit = "rows", .limit_value = UINT32_MAX - 1, .wanted = rows->rows);
    size_t room = rows->pool->opts.buffer_bytes / rows->row_bytes;
    WI_ENSURE(room > 0, EXCEEDS, .limit = "buffer_bytes", .limit_value = rows->pool->opts.buffer_bytes,
              .wanted = rows->row_bytes, .setting = "weir_pool_opts.buffer_bytes");
    rows->room = room < rows->rows ? room : rows->rows;
    rows->row = wi_calloc(rows->room, sizeof(*rows->row));
    rows->place = wi_calloc(rows->rows, sizeof(*rows->place));
    WI_ENSURE(rows->row && rows->place, NOMEM, .call = "calloc", .wanted = rows->rows * sizeof(*rows->place));
    return 0;
}

int weir_rows_create(struct weir_pool *pool, const struct weir_rows_opts *opts, struct weir_rows **out)
{
    struct weir_rows_opts given;
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_rows_opts"));
    WI_ENSURE(pool->kind == WI_POOL_BUFFERS && pool->opts.memory != WEIR_MEMORY_DEVICE, KIND,
              .detail = "expected a pool of host memory whose buffers do not move");
    struct weir_rows *rows = wi_calloc(1, sizeof(*rows));
    WI_ENSURE(rows, NOMEM, .call = "calloc", .wanted = sizeof(*rows));
    rows->pool = pool;
    int err = init(&given, rows);
    if (err < 0) {
        fini(rows);
        return err;
    }
    *out = rows;
    return 0;
}

void weir_rows_destroy(struct weir_rows *rows)
{
    if (rows) fini(rows);
}

size_t weir_rows_staged(const struct weir_rows *rows)
{
    return rows ? rows->staged : 0;
}

/* ---- staging ---- */

static bool is_staged(const struct weir_rows *rows, size_t row)
{
    uint32_t place = rows->place[row];
    return place < rows->staged && rows->row[place] == row;
}

static int prepare_buffer(struct weir_rows *rows, uint64_t deadline_ns)
{
    if (!rows->buffer) return weir_buffer_acquire(rows->pool, deadline_ns, &rows->buffer);
    if (!rows->torn) return 0;
    WI_ENSURE(!wi_tensor_in_use(rows->buffer), BUSY, .detail = "copies of an apply that failed are under way");
    rows->torn = false;
    return 0;
}

int weir_rows_stage(struct weir_rows *rows, size_t row, const void *data, size_t bytes, uint64_t deadline_ns)
{
    WI_ENSURE(rows, INVAL, .detail = "rows is NULL");
    WI_ENSURE(data, INVAL, .detail = "data is NULL");
    if (row >= rows->rows) return WI_FAIL_TEXT(RANGE, "row %zu: expected one below %zu", row, rows->rows);
    if (bytes != rows->row_bytes)
        return WI_FAIL_TEXT(INVAL, "%zu bytes: expected %zu, those of a row", bytes, rows->row_bytes);
    bool again = is_staged(rows, row);
    if (!again && rows->staged == rows->room)
        return WI_FAIL_TEXT(EXCEEDS, "%zu rows are staged, as many as a buffer of the pool %s holds: apply them first",
                            rows->staged, rows->pool->name);
    WI_TRY(prepare_buffer(rows, deadline_ns));
    if (!again) {
        rows->place[row] = (uint32_t)rows->staged;
        rows->row[rows->staged++] = (uint32_t)row;
    }
    memcpy((char *)rows->buffer->host + rows->place[row] * rows->row_bytes, data, bytes);
    return 0;
}

/* ---- applying ---- */

/* One copy for each run of rows that are neighbours here and there. Returns how many. */
static size_t gather(const struct weir_rows *rows, struct weir_copy *copies)
{
    size_t count = 0;
    for (size_t i = 0; i < rows->staged; i++) {
        if (i > 0 && rows->row[i] == rows->row[i - 1] + 1) {
            if (copies) copies[count - 1].slice.bytes += rows->row_bytes;
            continue;
        }
        if (copies)
            copies[count] = (struct weir_copy){
                .slice = weir_slice(rows->buffer, i * rows->row_bytes, rows->row_bytes),
                .device = rows->device + (uint64_t)rows->row[i] * rows->row_bytes};
        count++;
    }
    return count;
}

static int make_copies_room(struct weir_rows *rows, size_t count)
{
    if (count <= rows->copies_room) return 0;
    struct weir_copy *copies = wi_calloc(count, sizeof(*copies));
    WI_ENSURE(copies, NOMEM, .call = "calloc", .wanted = count * sizeof(*copies));
    wi_free(rows->copies);
    rows->copies = copies;
    rows->copies_room = count;
    return 0;
}

static int guard_target(const struct weir_rows *rows, struct weir_stream *stream)
{
    return rows->tensor ? weir_buffer_guard(rows->tensor->buffer, stream) : 0;
}

int weir_rows_apply(struct weir_rows *rows, struct weir_stream *stream)
{
    WI_ENSURE(rows, INVAL, .detail = "rows is NULL");
    if (rows->staged == 0) return 0;
    size_t count = gather(rows, NULL);
    WI_TRY(make_copies_room(rows, count));
    (void)gather(rows, rows->copies);
    /* Twice: what the second needs is made by the first, so that no queued copy goes unguarded for want of memory. */
    WI_TRY(guard_target(rows, stream));
    int err = weir_stream_upload_batch(stream, rows->copies, count);
    int guarded = guard_target(rows, stream); /* also after a failure: some may be queued */
    if (err >= 0) err = guarded;
    if (err < 0) {
        rows->torn = true;
        return err;
    }
    (void)weir_buffer_release(rows->buffer); /* retires until the device has read it */
    rows->buffer = NULL;
    rows->staged = 0;
    return 0;
}
