/* SPDX-License-Identifier: Apache-2.0 */
/* Many small copies in one call: the bytes arrive, every buffer is protected, and the driver is called once. */
#include "pool/stream_fixture.h"

#include "base/alloc.h"
#include "device/host.h"

#include <stdio.h>
#include <string.h>

#define PIECES 500
#define BYTES  4096

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream;
static uint64_t             target;
static struct weir_buffer  *buffer[8];
static struct wi_device_ops single; /* the device's operations without the batch */

static void open_all(bool with_batch)
{
    rt = make_runtime();
    struct wi_device *device = wi_context_of(rt)->device;
    if (!with_batch) {
        single = *device->ops;
        single.copy_batch = NULL;
        device->ops = &single;
    }
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 8, .sample_every = UINT64_MAX), &pool));
    ok(weir_device_alloc(rt, 8 * BYTES, &target));
    stream = acquire_stream(rt, WEIR_STREAM_COMM);
    for (int i = 0; i < 8; i++) {
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[i]));
        for (unsigned j = 0; j < BYTES; j++) ((unsigned char *)buffer[i]->host)[j] = (unsigned char)(i * 31 + j);
    }
}

static void close_all(void)
{
    ok(weir_stream_release(stream));
    assert_law(pool);
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* Pieces of 8 bytes, those of no byte among them, from all buffers to the mirrored places. */
static size_t make_pieces(struct weir_copy *copies)
{
    for (size_t i = 0; i < PIECES; i++) {
        size_t which = i % 8, at = i / 8 * 8;
        copies[i] = (struct weir_copy){weir_slice(buffer[which], at, i % 50 == 49 ? 0 : 8), target + which * BYTES + at};
    }
    return PIECES;
}

static void round_trip(void)
{
    struct weir_copy copies[PIECES];
    unsigned char    kept[8][BYTES];
    size_t           count = make_pieces(copies);
    for (int i = 0; i < 8; i++) memcpy(kept[i], buffer[i]->host, BYTES);
    ok(weir_stream_upload_batch(stream, copies, count));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    for (int i = 0; i < 8; i++) memset(buffer[i]->host, 0xee, BYTES);
    ok(weir_stream_download_batch(stream, copies, count));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    for (size_t i = 0; i < PIECES; i++) {
        const unsigned char *now = (unsigned char *)buffer[i % 8]->host + i / 8 * 8;
        for (int j = 0; j < 8; j++) cr_assert_eq(now[j], i % 50 == 49 ? 0xee : kept[i % 8][i / 8 * 8 + (size_t)j]);
    }
    struct weir_stream_info info = stream_info(stream);
    cr_assert_eq(info.copies, 2 * 490);
    cr_assert_eq(info.bytes_up, 490 * 8);
    cr_assert_eq(info.bytes_down, 490 * 8);
    cr_assert_eq(pool_stats(pool).bytes_up, 490 * 8);
    cr_assert_eq(pool_stats(pool).uploads, 490);
    for (int i = 0; i < 8; i++) ok(weir_buffer_release(buffer[i]));
}

Test(batch, bytes_arrive)
{
    open_all(true);
    round_trip();
    close_all();
}

/* A driver without the batch call: the same result. */
Test(batch, bytes_arrive_one_by_one)
{
    open_all(false);
    round_trip();
    close_all();
}

static uint64_t calls_of_upload(size_t count)
{
    struct weir_copy copies[PIECES];
    (void)make_pieces(copies);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    nanosleep(&(struct timespec){.tv_nsec = 5 * MS}, NULL); /* the keeper has nothing to do any more */
    uint64_t calls = driver_calls(rt);
    ok(weir_stream_upload_batch(stream, copies, count));
    return driver_calls(rt) - calls;
}

Test(batch, it_is_one_driver_call)
{
    open_all(true);
    struct weir_runtime_info info = {.struct_size = sizeof info};
    ok(weir_runtime_info_read(rt, &info));
    (void)calls_of_upload(49); /* the first use of a buffer may cost a sample */
    if (info.flags & WEIR_INFO_COPY_BATCH) cr_assert_leq(calls_of_upload(49), 2, "a batch, and its share of an event");
    for (int i = 0; i < 8; i++) ok(weir_buffer_release(buffer[i]));
    close_all();
}

Test(batch, without_the_batch_call_it_is_as_many_as_copies)
{
    open_all(false);
    (void)calls_of_upload(49);
    uint64_t calls = calls_of_upload(49);
    cr_assert(calls >= 49 && calls <= 50, "%lu", (unsigned long)calls);
    for (int i = 0; i < 8; i++) ok(weir_buffer_release(buffer[i]));
    close_all();
}

/* Every buffer of the batch waits for it, the first, the last and those between. */
Test(batch, every_buffer_is_marked)
{
    for (int with_batch = 0; with_batch < 2; with_batch++) {
        struct weir_copy        copies[PIECES];
        struct weir_buffer_info info = {.struct_size = sizeof info};
        open_all(with_batch);
        uint64_t until_ns = weir_deadline_after_ns(240 * MS);
        ok(weir_stream_delay(stream, 250 * MS));
        ok(weir_stream_upload_batch(stream, copies, make_pieces(copies)));
        for (int i = 0; i < 8; i++) {
            ok(weir_buffer_info_read(buffer[i], &info));
            cr_assert_eq(info.state, WEIR_BUFFER_COPYING);
            ok(weir_buffer_release(buffer[i]));
        }
        cr_assert_eq(pool_stats(pool).retiring, 8);
        eventually(pool_stats(pool).free == 8);
        cr_assert_geq(weir_clock_ns(), until_ns);
        close_all();
    }
}

/* What is wrong with one copy is found before any is queued. */
Test(batch, is_checked_before_anything_is_queued)
{
    open_all(true);
    struct weir_copy good = {weir_slice_all(buffer[0]), target};
    struct weir_copy range[] = {good, {weir_slice(buffer[1], BYTES - 4, 8), target}};
    struct weir_copy none[] = {good, {weir_slice_all(buffer[1]), 0}};
    struct weir_copy gone[] = {good, {weir_slice_all(buffer[2]), target}};
    ok(weir_buffer_release(buffer[2]));
    answers(weir_stream_upload_batch(stream, range, 2), RANGE);
    answers(weir_stream_upload_batch(stream, none, 2), INVAL);
    answers(weir_stream_upload_batch(stream, gone, 2), NOTLEASED);
    answers(weir_stream_upload_batch(stream, NULL, 2), INVAL);
    ok(weir_stream_upload_batch(stream, NULL, 0));
    cr_assert_eq(stream_info(stream).copies, 0);
    cr_assert_eq(pool_stats(pool).uploads, 0);
    ok(weir_stream_upload_batch(stream, &good, 1));
    for (int i = 0; i < 8; i++) {
        if (i != 2) ok(weir_buffer_release(buffer[i]));
    }
    close_all();
}

/* More copies than fit on the stack allocate, before anything is queued. */
Test(batch, without_memory_nothing_is_queued)
{
    struct weir_copy copies[PIECES];
    open_all(true);
    size_t count = make_pieces(copies);
    wi_alloc_fail_at(1);
    answers(weir_stream_upload_batch(stream, copies, count), NOMEM);
    cr_assert_eq(wi_alloc_fail_at(0), 0);
    ok(weir_stream_query(stream));
    round_trip();
    close_all();
}

/* The driver refuses in the middle: what may be queued keeps its buffers all the same. */
Test(batch, a_refusal_midway_leaves_buffers_marked)
{
    open_all(false);
    struct wi_device *device = wi_context_of(rt)->device;
    if (strcmp(device->ops->name, "host") != 0) cr_skip_test("the fault is planted into the host backend");
    struct wi_emu_fault fault = {.op = WI_EMU_COPY, .nth = 3, .code = WEIR_EINVAL};
    struct weir_copy    copies[8];
    for (int i = 0; i < 8; i++) copies[i] = (struct weir_copy){weir_slice_all(buffer[i]), target + (uint64_t)i * BYTES};
    device->ops = &wi_device_host;
    struct wi_emu *emu = wi_host_emu(device);
    device->ops = &single;
    ok(weir_stream_delay(stream, 250 * MS));
    ok(wi_emu_fault_set(emu, &fault));
    answers(weir_stream_upload_batch(stream, copies, 8), INVAL);
    for (int i = 0; i < 8; i++) ok(weir_buffer_release(buffer[i]));
    cr_assert_eq(pool_stats(pool).retiring, 2, "two copies were queued before the one that was refused");
    eventually(pool_stats(pool).free == 8);
    device->ops = &wi_device_host;
    close_all();
}

static char told[4096];

static void hear(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    (void)level;
    (void)component;
    size_t length = strlen(told);
    snprintf(told + length, sizeof told - length, "%s\n", message);
}

/* A pool whose last buffer is in flight when its runtime ends: the device is closed with nothing alive. */
Test(batch, a_pool_that_is_closing_leaves_nothing_on_the_device)
{
    weir_log_set(hear, NULL);
    for (int i = 0; i < 20; i++) {
        open_all(true);
        ok(weir_stream_upload(stream, target, weir_slice_all(buffer[0])));
        ok(weir_stream_delay(stream, 5 * MS));
        ok(weir_buffer_guard(buffer[1], stream));
        for (int j = 0; j < 8; j++) ok(weir_buffer_release(buffer[j]));
        ok(weir_stream_release(stream));
        weir_pool_destroy(pool);
        ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
        ok(weir_device_free(rt, target));
        weir_runtime_destroy(rt);
    }
    weir_log_set(NULL, NULL);
    cr_assert_null(strstr(told, "alive"), "%s", told);
}
