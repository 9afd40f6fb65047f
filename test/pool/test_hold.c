/* SPDX-License-Identifier: Apache-2.0 */
/* Holds: a buffer that something outside uses is not reused before each use has ended. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <string.h>

static struct weir_runtime *rt;
static struct weir_pool    *pool;

static void open_pool(size_t min, size_t max)
{
    rt = make_runtime();
    ok(weir_pool_create(rt,
                        WEIR_OPTS(pool, .name = "hold", .buffer_bytes = 4096, .buffers_min = min,
                                  .buffers_max = max),
                        &pool));
}

static void close_pool(void)
{
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static uint32_t state_of(const struct weir_buffer *buffer)
{
    struct weir_buffer_info info = {.struct_size = sizeof info};
    ok(weir_buffer_info_read(buffer, &info));
    return info.state;
}

Test(hold, a_released_buffer_retires_until_the_last_hold_ends)
{
    struct weir_buffer *buffer, *other;
    open_pool(1, 1);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_buffer_hold(buffer));
    ok(weir_buffer_hold(buffer));
    cr_assert_eq(state_of(buffer), WEIR_BUFFER_COPYING);
    ok(weir_buffer_release(buffer));
    cr_assert_eq(state_of(buffer), WEIR_BUFFER_RETIRING);
    answers(weir_buffer_release(buffer), NOTLEASED);
    answers(weir_buffer_acquire(pool, WEIR_NOW, &other), AGAIN);
    assert_law(pool);
    ok(weir_buffer_unhold(buffer));
    answers(weir_buffer_acquire(pool, WEIR_NOW, &other), AGAIN);
    cr_assert_eq(pool_stats(pool).retiring, 1);
    ok(weir_buffer_unhold(buffer));
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &other));
    cr_assert(same(buffer, other));
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.retires, 1);
    cr_assert_eq(stats.reaps, 1);
    ok(weir_buffer_release(other));
    assert_law(pool);
    close_pool();
}

Test(hold, a_hold_that_ends_in_time_leaves_nothing)
{
    struct weir_buffer *buffer;
    open_pool(1, 1);
    for (int i = 0; i < 1000; i++) {
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        ok(weir_buffer_hold(buffer));
        ok(weir_buffer_unhold(buffer));
        ok(weir_buffer_release(buffer));
    }
    cr_assert_eq(pool_stats(pool).retires, 0);
    cr_assert_eq(pool_stats(pool).free, 1);
    close_pool();
}

Test(hold, device_work_and_holds_are_both_waited_for)
{
    struct weir_buffer *buffer, *other;
    struct weir_stream *stream;
    uint64_t            device;
    open_pool(1, 1);
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));
    ok(weir_device_alloc(rt, 4096, &device));
    for (int i = 0; i < 50; i++) {
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        ok(weir_stream_upload(stream, device, weir_slice_all(buffer)));
        ok(weir_buffer_hold(buffer));
        ok(weir_buffer_release(buffer));
        if (i % 2) ok(weir_stream_sync(stream, WEIR_FOREVER));
        answers(weir_buffer_acquire(pool, WEIR_NOW, &other), AGAIN);
        ok(weir_buffer_unhold(buffer));
    }
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    ok(weir_buffer_release(buffer));
    ok(weir_device_free(rt, device));
    ok(weir_stream_release(stream));
    assert_law(pool);
    close_pool();
}

Test(hold, a_lost_use_quarantines)
{
    struct weir_buffer *buffer, *other;
    open_pool(2, 2);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_buffer_hold(buffer));
    ok(weir_buffer_hold(buffer));
    ok(weir_buffer_unhold_lost(buffer));
    cr_assert_eq(state_of(buffer), WEIR_BUFFER_COPYING, "its holder may still use it");
    ok(weir_buffer_release(buffer));
    cr_assert_eq(state_of(buffer), WEIR_BUFFER_RETIRING);
    ok(weir_buffer_unhold(buffer));
    cr_assert_eq(state_of(buffer), WEIR_BUFFER_QUARANTINED);
    cr_assert_eq(pool_stats(pool).quarantined, 1);
    assert_law(pool);

    ok(weir_buffer_acquire(pool, WEIR_NOW, &other)); /* ended before the release, too */
    cr_assert_not(same(buffer, other));
    ok(weir_buffer_hold(other));
    ok(weir_buffer_unhold_lost(other));
    ok(weir_buffer_release(other));
    cr_assert_eq(pool_stats(pool).quarantined, 2);
    answers(weir_buffer_acquire(pool, WEIR_NOW, &other), AGAIN);
    assert_law(pool);
    close_pool();
}

Test(hold, misuse_is_named)
{
    struct weir_buffer *buffer;
    struct weir_pool   *tiered;
    int                 local;
    open_pool(1, 1);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    answers(weir_buffer_unhold(buffer), NOTLEASED);
    answers(weir_buffer_hold(NULL), INVAL);
    answers(weir_buffer_unhold(NULL), INVAL);
    answers(weir_buffer_unhold((struct weir_buffer *)&local), FOREIGN);
    for (int i = 0; i < 32767; i++) ok(weir_buffer_hold(buffer));
    answers(weir_buffer_hold(buffer), EXCEEDS);
    ok(weir_buffer_release(buffer));
    for (int i = 0; i < 32767; i++) ok(weir_buffer_unhold(buffer));
    answers(weir_buffer_unhold(buffer), NOTLEASED);
    answers(weir_buffer_hold(buffer), NOTLEASED);
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .buffer_bytes = 4096, .buffers_max = 2), &tiered));
    ok(weir_buffer_acquire(tiered, WEIR_NOW, &buffer));
    answers(weir_buffer_hold(buffer), KIND);
    ok(weir_buffer_release(buffer));
    weir_pool_destroy(tiered);
    close_pool();
}

Test(hold, the_pool_ends_when_the_last_hold_does)
{
    struct weir_buffer *buffer;
    open_pool(2, 2);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_buffer_hold(buffer));
    ok(weir_buffer_release(buffer));
    weir_pool_destroy(pool);
    memset(buffer->host, 1, 4096); /* mapped still */
    ok(weir_buffer_unhold(buffer));
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    eventually((weir_runtime_stats_read(rt, &stats) == 0) && stats.pinned_bytes == 0);
    weir_runtime_destroy(rt);
}

/* ---- an engine on another thread, that writes into what it holds ---- */

#define RING   16
#define ROUNDS 20000

static _Atomic(struct weir_buffer *) ring[RING];

static void *engine(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct weir_buffer *buffer;
        while (!(buffer = wi_exchange(&ring[i % RING], NULL, acquire))) sched_yield();
        uint64_t *word = buffer->host;
        uint64_t  value = *word;
        for (size_t at = 0; at < 64; at++)
            cr_assert_eq(word[at], value, "it went to another owner while it was held");
        (void)weir_buffer_unhold(buffer);
    }
    return NULL;
}

Test(hold, nobody_gets_what_the_engine_still_reads)
{
    pthread_t thread;
    open_pool(8, 8);
    cr_assert_eq(pthread_create(&thread, NULL, engine, NULL), 0);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct weir_buffer *buffer, *none = NULL;
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        for (size_t at = 0; at < 64; at++) ((uint64_t *)buffer->host)[at] = i;
        ok(weir_buffer_hold(buffer));
        while (!wi_cas(&ring[i % RING], &none, buffer, release)) {
            none = NULL;
            sched_yield();
        }
        ok(weir_buffer_release(buffer));
    }
    pthread_join(thread, NULL);
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.free, 8);
    cr_assert_eq(stats.retires, stats.reaps);
    assert_law(pool);
    close_pool();
}
