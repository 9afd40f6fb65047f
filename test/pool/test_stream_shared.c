/* SPDX-License-Identifier: Apache-2.0 */
/* Shared streams: an ordering domain for several callers, given out in turn and never leased. */
#include "pool/stream_fixture.h"

#include "base/atomic.h"

#include <pthread.h>

static struct weir_runtime *rt;

static struct weir_stream *share(uint32_t stream_class)
{
    struct weir_stream *stream;
    ok(weir_stream_share(rt, stream_class, &stream));
    return stream;
}

Test(shared, streams_are_given_out_in_turn)
{
    struct weir_stream *stream[6];
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_shared = 3), &rt));
    uint64_t calls = driver_calls(rt);
    for (int i = 0; i < 3; i++) stream[i] = share(WEIR_STREAM_COMPUTE);
    cr_assert_gt(driver_calls(rt), calls, "they are made on first use");
    calls = driver_calls(rt);
    for (int i = 3; i < 6; i++) stream[i] = share(WEIR_STREAM_COMPUTE);
    cr_assert_eq(driver_calls(rt), calls);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(stream[i], stream[i + 3]);
        for (int j = 0; j < i; j++) cr_assert_neq(stream[i], stream[j]);
    }
    cr_assert_neq(share(WEIR_STREAM_COMM), stream[0]);
    cr_assert_eq(stream_info(stream[0]).flags, WEIR_STREAM_IS_SHARED);
    cr_assert_eq(stream_info(stream[0]).stream_class, WEIR_STREAM_COMPUTE);
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_COMPUTE).shared, 3);
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_COMM).shared, 1);
    answers(weir_stream_share(rt, WEIR_STREAM_ADOPTED, &stream[0]), INVAL);
    weir_runtime_destroy(rt);
}

Test(shared, their_class_has_its_priority)
{
    struct weir_runtime_info info = {.struct_size = sizeof info};
    ok(weir_runtime_create(NULL, &rt));
    ok(weir_runtime_info_read(rt, &info));
    cr_assert_eq(stream_info(share(WEIR_STREAM_HIGH)).priority, info.stream_priority_greatest);
    weir_runtime_destroy(rt);
}

/* All shares are out, and every stream of the class can be leased: none of them is a shared one. */
Test(shared, they_are_never_leased)
{
    struct weir_stream *leased[2], *none;
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_comm = 2, .streams_shared = 2), &rt));
    struct weir_stream *shared[] = {share(WEIR_STREAM_COMM), share(WEIR_STREAM_COMM)};
    for (int i = 0; i < 2; i++) {
        leased[i] = acquire_stream(rt, WEIR_STREAM_COMM);
        cr_assert_neq(leased[i], shared[0]);
        cr_assert_neq(leased[i], shared[1]);
    }
    answers(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &none), AGAIN);
    for (int i = 0; i < 2; i++) ok(weir_stream_release(leased[i]));
    weir_runtime_destroy(rt);
}

Test(shared, releases_are_counted)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_shared = 1), &rt));
    struct weir_stream *stream = share(WEIR_STREAM_COMPUTE);
    cr_assert_eq(share(WEIR_STREAM_COMPUTE), stream);
    cr_assert_eq(stream_info(stream).shares, 2);
    cr_assert_eq(stream_info(stream).acquires, 2);
    ok(weir_stream_release(stream));
    ok(weir_stream_release(stream));
    answers(weir_stream_release(stream), NOTLEASED);
    ok(weir_stream_delay(stream, 1000)); /* it is there as long as the runtime */
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    weir_runtime_destroy(rt);
}

Test(shared, not_giving_them_back_is_no_leak)
{
    ok(weir_runtime_create(NULL, &rt));
    weir_runtime_destroy(rt);
    ok(weir_runtime_default(0, &rt));
    ok(weir_stream_delay(share(WEIR_STREAM_COMM), 1000));
    cr_assert_eq(weir_runtime_reset(0, WEIR_FOREVER), 0);
}

Test(shared, state_tells_of_pending_work)
{
    ok(weir_runtime_create(NULL, &rt));
    struct weir_stream *stream = share(WEIR_STREAM_COMPUTE);
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_FREE);
    ok(weir_stream_delay(stream, 250 * MS));
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_BUSY);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_FREE);
    weir_runtime_destroy(rt);
}

/*
 * Several threads issue on one stream and release what they used at once. Each upload reads a buffer that the device must
 * not see overwritten: whoever gets the buffer next fills it with another pattern.
 */
#define THREADS 4
#define ROUNDS  300
#define BYTES   4096

static struct weir_pool   *pool;
static struct weir_stream *common;
static uint64_t            target;
static _Atomic uint32_t    next_place;

static void fill(struct weir_buffer *buffer, uint32_t place)
{
    uint32_t *words = buffer->host;
    for (unsigned i = 0; i < BYTES / 4; i++) words[i] = place;
}

static void *issue(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct weir_buffer *buffer;
        uint32_t            place = wi_add(&next_place, 1, relaxed);
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        fill(buffer, place);
        ok(weir_stream_upload(common, target + (uint64_t)place * BYTES, weir_slice_all(buffer)));
        if (i % 3 == 0) ok(weir_buffer_guard(buffer, common));
        ok(weir_buffer_release(buffer));
    }
    return NULL;
}

Test(shared, guards_hold_when_threads_issue_on_one_stream)
{
    pthread_t           thread[THREADS];
    struct weir_buffer *buffer;
    ok(weir_runtime_create(NULL, &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 6), &pool));
    ok(weir_device_alloc(rt, (size_t)THREADS * ROUNDS * BYTES, &target));
    common = share(WEIR_STREAM_COMM);
    for (int i = 0; i < THREADS; i++) cr_assert_eq(pthread_create(&thread[i], NULL, issue, NULL), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    ok(weir_stream_sync(common, WEIR_FOREVER));
    cr_assert_eq(stream_info(common).copies, THREADS * ROUNDS);
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    for (uint32_t place = 0; place < THREADS * ROUNDS; place++) {
        ok(weir_stream_download(common, weir_slice_all(buffer), target + (uint64_t)place * BYTES));
        ok(weir_buffer_sync(buffer, WEIR_FOREVER));
        const uint32_t *words = buffer->host;
        for (unsigned i = 0; i < BYTES / 4; i++) cr_assert_eq(words[i], place, "upload %u was overwritten", place);
    }
    ok(weir_buffer_release(buffer));
    eventually(pool_stats(pool).free == 6);
    assert_law(pool);
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}
