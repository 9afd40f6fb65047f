/* SPDX-License-Identifier: Apache-2.0 */
/* Staged row writes: all arrive, nothing else changes, the last write of a row counts, and neighbours travel together. */
#include "base/alloc.h"
#include "base/atomic.h"
#include "device/host.h"
#include "pool/context.h"
#include "pool/fixture.h"

#include <string.h>
#include <weir/scope.h>

#define MS      UINT64_C(1000000)
#define ROWS    64
#define COLUMNS 16

static struct weir_runtime *rt;
static struct weir_pool    *pool, *staging;
static struct weir_stream  *stream;
static struct weir_tensor  *tensor;
static struct weir_rows    *rows;
static int32_t              expected[ROWS][COLUMNS];

static void begin(size_t rows_staged)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = sizeof expected, .buffers_min = 1), &pool));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = rows_staged * sizeof expected[0], .buffers_min = 1),
                        &staging));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_tensor_create(pool, WEIR_OPTS(tensor, .dtype = WEIR_DTYPE_I32, .rank = 2, .shape = {ROWS, COLUMNS}),
                          WEIR_NOW, &tensor));
    for (int i = 0; i < ROWS * COLUMNS; i++) expected[i / COLUMNS][i % COLUMNS] = i;
    ok(weir_tensor_fill(tensor, expected, sizeof expected, WEIR_NOW));
    ok(weir_tensor_to_device(tensor, stream));
    ok(weir_rows_create(staging, WEIR_OPTS(rows, .tensor = tensor), &rows));
}

static void end(void)
{
    weir_rows_destroy(rows);
    weir_tensor_destroy(tensor);
    ok(weir_stream_release(stream));
    weir_pool_destroy(staging);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static void stage(size_t row, int32_t value)
{
    int32_t data[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) data[i] = expected[row][i] = value + i;
    ok(weir_rows_stage(rows, row, data, sizeof data, WEIR_FOREVER));
    memset(data, 0xee, sizeof data); /* staging copies */
}

static void assert_device(void)
{
    int32_t                 back[ROWS][COLUMNS];
    struct weir_tensor_info info = {.struct_size = sizeof info};
    ok(weir_tensor_sync(tensor, WEIR_FOREVER));
    ok(weir_tensor_info_read(tensor, &info));
    memset(info.host, 0, info.bytes);
    ok(weir_tensor_to_host(tensor, stream));
    ok(weir_tensor_read(tensor, back, sizeof back, WEIR_FOREVER));
    for (int row = 0; row < ROWS; row++) cr_assert_arr_eq(back[row], expected[row], sizeof back[row], "row %d", row);
}

Test(rows, all_arrive_and_nothing_else_changes)
{
    begin(ROWS);
    ok(weir_rows_apply(rows, stream)); /* nothing staged */
    for (int round = 0; round < 20; round++) {
        unsigned seed = (unsigned)round * 2654435761u + 1;
        for (int i = 0; i < 30; i++) {
            seed = seed * 1103515245u + 12345u;
            stage(seed >> 16 & (ROWS - 1), (int32_t)(seed >> 4));
        }
        ok(weir_rows_apply(rows, stream));
        cr_assert_eq(weir_rows_staged(rows), 0);
        assert_device();
    }
    end();
}

Test(rows, nothing_is_written_before_the_apply)
{
    begin(ROWS);
    int32_t before[COLUMNS], after[COLUMNS];
    memcpy(before, expected[5], sizeof before);
    stage(5, -100);
    memcpy(after, expected[5], sizeof after);
    memcpy(expected[5], before, sizeof before);
    assert_device();
    memcpy(expected[5], after, sizeof after);
    ok(weir_rows_apply(rows, stream));
    assert_device();
    end();
}

Test(rows, of_several_writes_to_a_row_the_last_counts)
{
    begin(4);
    for (int i = 0; i < 1000; i++) stage((size_t)(i % 3), i);
    cr_assert_eq(weir_rows_staged(rows), 3, "a row is staged once");
    ok(weir_rows_apply(rows, stream));
    assert_device();
    end();
}

Test(rows, neighbours_travel_as_one_copy)
{
    struct weir_stream_info before = {.struct_size = sizeof before}, after = before;
    begin(ROWS);
    ok(weir_stream_info_read(stream, &before));
    for (size_t row = 10; row < 20; row++) stage(row, (int32_t)row);
    for (size_t row = 40; row < 50; row++) stage(row, (int32_t)row);
    stage(0, 1);
    ok(weir_rows_apply(rows, stream));
    ok(weir_stream_info_read(stream, &after));
    cr_assert_eq(after.copies - before.copies, 3, "two runs and a row made %lu copies",
                 (unsigned long)(after.copies - before.copies));
    cr_assert_eq(after.bytes_up - before.bytes_up, 21 * sizeof expected[0]);
    assert_device();
    end();
}

Test(rows, the_tensor_is_guarded_and_staging_is_not_reused_in_flight)
{
    begin(2);
    ok(weir_tensor_sync(tensor, WEIR_FOREVER));
    ok(weir_stream_delay(stream, 250 * MS));
    stage(1, 1);
    stage(2, 2);
    ok(weir_rows_apply(rows, stream));
    answers(weir_tensor_sync(tensor, WEIR_NOW), TIMEDOUT);
    int32_t data[COLUMNS] = {0};
    answers(weir_rows_stage(rows, 3, data, sizeof data, WEIR_NOW), AGAIN);
    stage(3, 3); /* waits for the one staging buffer */
    ok(weir_rows_apply(rows, stream));
    assert_device();
    end();
}

Test(rows, hold_the_tensor)
{
    begin(2);
    stage(1, 1);
    weir_tensor_destroy(tensor);
    cr_assert_eq(pool_stats(pool).leased, 1);
    ok(weir_rows_apply(rows, stream));
    weir_rows_destroy(rows);
    cr_assert_eq(pool_stats(pool).leased, 0);
    cr_assert_eq(pool_stats(staging).leased, 0);
    rows = NULL;
    tensor = NULL;
    end();
}

Test(rows, plain_device_memory_can_be_written_too)
{
    uint64_t            device;
    struct weir_buffer *buffer;
    struct weir_rows   *plain;
    begin(4);
    ok(weir_device_alloc(rt, 8 * 64, &device));
    ok(weir_rows_create(staging, WEIR_OPTS(rows, .device = device, .rows = 8, .row_bytes = 64), &plain));
    char row[64];
    memset(row, 'x', sizeof row);
    ok(weir_rows_stage(plain, 7, row, sizeof row, WEIR_FOREVER));
    ok(weir_rows_apply(plain, stream));
    weir_rows_destroy(plain);
    ok(weir_tensor_sync(tensor, WEIR_FOREVER));
    ok(weir_buffer_create(rt, 64, 0, &buffer));
    ok(weir_stream_download(stream, weir_slice_all(buffer), device + 7 * 64));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_arr_eq((char *)buffer->host, row, sizeof row);
    weir_buffer_destroy(buffer);
    ok(weir_device_free(rt, device));
    end();
}

Test(rows, what_is_wrong_is_refused)
{
    struct weir_rows *other = NULL;
    int32_t           data[COLUMNS] = {0};
    begin(2);
    answers(weir_rows_stage(rows, ROWS, data, sizeof data, WEIR_NOW), RANGE);
    answers(weir_rows_stage(rows, 0, data, sizeof data - 4, WEIR_NOW), INVAL);
    answers(weir_rows_stage(rows, 0, NULL, sizeof data, WEIR_NOW), INVAL);
    cr_assert_eq(pool_stats(staging).leased, 0);
    stage(0, 0);
    stage(9, 9);
    answers(weir_rows_stage(rows, 1, data, sizeof data, WEIR_NOW), EXCEEDS);
    stage(9, 10); /* a staged row is no further one */
    answers(weir_rows_create(staging, WEIR_OPTS(rows, .rows = 1), &other), INVAL);
    answers(weir_rows_create(staging, WEIR_OPTS(rows, .tensor = tensor, .rows = 1), &other), INVAL);
    answers(weir_rows_create(staging, WEIR_OPTS(rows, .device = 4096, .rows = 1, .row_bytes = 4096), &other), EXCEEDS);
    for (uint64_t n = 1; n <= 3; n++) {
        wi_alloc_fail_at(n);
        answers(weir_rows_create(staging, WEIR_OPTS(rows, .tensor = tensor), &other), NOMEM);
        wi_alloc_fail_at(0);
    }
    cr_assert_null(other);
    struct weir_stream *released;
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &released));
    ok(weir_stream_release(released));
    answers(weir_rows_apply(rows, released), NOTLEASED);
    cr_assert_eq(weir_rows_staged(rows), 2, "after a failure all rows are still staged");
    ok(weir_rows_apply(rows, stream));
    assert_device();
    end();
}

static _Atomic int gate;

static void wait_for_gate(void *ctx)
{
    (void)ctx;
    while (!wi_load(&gate, acquire)) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

Test(rows, nothing_is_staged_over_what_an_apply_that_failed_may_still_read)
{
    int32_t data[COLUMNS] = {0};
    begin(ROWS);
    struct wi_device   *device = wi_context_of(rt)->device;
    struct wi_emu_fault fault = {.op = WI_EMU_COPY_BATCH, .nth = 1, .code = WEIR_EINTERNAL};
    if (device->ops != &wi_device_host) cr_skip_test("faults are the host backend's");
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    stage(3, 1000);
    ok(weir_stream_call(stream, wait_for_gate, NULL));
    cr_assert_eq(wi_emu_fault_set(wi_host_emu(device), &fault), 0);
    answers(weir_rows_apply(rows, stream), INTERNAL);
    answers(weir_rows_stage(rows, 5, data, sizeof data, WEIR_NOW), BUSY);
    wi_store(&gate, 1, release);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    stage(5, 2000);
    ok(weir_rows_apply(rows, stream));
    assert_device();
    end();
}
