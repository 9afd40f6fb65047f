/* SPDX-License-Identifier: Apache-2.0 */
/* Strategies, headroom and preemption. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <string.h>

#define MS UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;

static void open_pool(const struct weir_pool_opts *opts)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, opts, &pool));
}

static void close_pool(void)
{
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static struct weir_buffer *take(void)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    return buffer;
}

Test(strategy, round_robin_takes_each_in_turn)
{
    struct weir_buffer *seen[4];
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4, .strategy = WEIR_STRATEGY_ROUND_ROBIN));
    for (int i = 0; i < 4; i++) {
        seen[i] = take();
        for (int j = 0; j < i; j++) cr_assert_not(same(seen[i], seen[j]));
        ok(weir_buffer_release(seen[i]));
    }
    for (int i = 0; i < 12; i++) {
        struct weir_buffer *buffer = take();
        cr_assert(same(buffer, seen[i % 4]));
        ok(weir_buffer_release(buffer));
    }
    close_pool();
}

Test(strategy, least_recent_takes_the_one_released_longest_ago)
{
    struct weir_buffer *buffer[3], *again[3];
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 3, .strategy = WEIR_STRATEGY_LEAST_RECENT));
    for (int i = 0; i < 3; i++) buffer[i] = take();
    ok(weir_buffer_release(buffer[1]));
    ok(weir_buffer_release(buffer[2]));
    ok(weir_buffer_release(buffer[0]));
    for (int i = 0; i < 3; i++) again[i] = take();
    cr_assert(same(again[0], buffer[1]) && same(again[1], buffer[2]) && same(again[2], buffer[0]));
    ok(weir_buffers_release(again, 3));
    close_pool();
}

Test(strategy, most_recent_takes_the_one_released_last)
{
    const char *slots = getenv("WEIR_SLOTS");
    if (slots && strcmp(slots, "0") == 0) cr_skip_test("without slots everything is first in, first out");
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 8));
    struct weir_buffer *last = take();
    ok(weir_buffer_release(last));
    unsigned again = 0;
    for (int i = 0; i < 1000; i++) {
        struct weir_buffer *buffer = take();
        again += same(buffer, last);
        ok(weir_buffer_release(buffer));
        last = buffer;
    }
    cr_assert_geq(again, 400, "%u", again); /* but for moves to another CPU, whose slot is another */
    close_pool();
}

Test(strategy, priority_keeps_headroom_for_the_high_class)
{
    struct weir_buffer *buffer[4];
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4, .strategy = WEIR_STRATEGY_PRIORITY, .headroom = 2));
    for (int round = 0; round < 3; round++) {
        buffer[0] = take();
        buffer[1] = take();
        answers(weir_buffer_acquire(pool, WEIR_NOW, &buffer[2]), AGAIN);
        answers(weir_buffer_acquire(pool, weir_deadline_after_ns(MS), &buffer[2]), TIMEDOUT);
        for (int i = 2; i < 4; i++)
            ok(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_HIGH), WEIR_NOW, &buffer[i]));
        ok(weir_buffers_release(buffer, 4));
    }
    close_pool();
}

/* ---- preemption ---- */

static _Atomic uint32_t asked, answer = WEIR_PREEMPT_REFUSE;
static _Atomic uint64_t asked_user;

static uint32_t on_preempt(void *ctx, struct weir_buffer *buffer, uint64_t user)
{
    cr_assert_eq(ctx, &asked);
    cr_assert_not_null(buffer->host);
    wi_store(&asked_user, user, relaxed);
    wi_add(&asked, 1, release);
    return wi_load(&answer, relaxed);
}

static void open_preempting(size_t buffers)
{
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = buffers, .strategy = WEIR_STRATEGY_PRIORITY,
                        .preempt = on_preempt, .preempt_ctx = &asked));
}

static struct weir_buffer *take_as(uint32_t priority, uint64_t user)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = priority, .user = user), WEIR_NOW, &buffer));
    return buffer;
}

static int want(uint32_t priority, uint64_t timeout_ns, struct weir_buffer **out)
{
    return weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = priority), weir_deadline_after_ns(timeout_ns), out);
}

Test(preempt, a_holder_that_gives_up_now_serves_the_asker)
{
    struct weir_buffer *low, *high = NULL;
    open_preempting(1);
    low = take_as(WEIR_PRIORITY_LOW, 77);
    wi_store(&answer, WEIR_PREEMPT_NOW, relaxed);
    ok(want(WEIR_PRIORITY_HIGH, 10000 * MS, &high));
    cr_assert(same(high, low));
    cr_assert_eq(wi_load(&asked_user, relaxed), 77);
    ok(weir_buffer_release(high));
    close_pool();
}

Test(preempt, what_the_device_still_uses_is_waited_for)
{
    struct weir_buffer *low, *high = NULL;
    struct weir_stream *stream;
    open_preempting(1);
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    low = take_as(WEIR_PRIORITY_LOW, 1);
    ok(weir_stream_delay(stream, 50 * MS));
    ok(weir_buffer_guard(low, stream));
    wi_store(&answer, WEIR_PREEMPT_NOW, relaxed);
    ok(want(WEIR_PRIORITY_HIGH, 10000 * MS, &high));
    cr_assert_eq(weir_stream_query(stream), 0, "handed over before the device was done");
    ok(weir_buffer_release(high));
    ok(weir_stream_release(stream));
    close_pool();
}

Test(preempt, a_refusal_asks_the_next_and_never_an_equal)
{
    struct weir_buffer *held[3], *none;
    open_preempting(3);
    held[0] = take_as(WEIR_PRIORITY_LOW, 1);
    held[1] = take_as(WEIR_PRIORITY_NORMAL, 2);
    held[2] = take_as(WEIR_PRIORITY_HIGH, 3);
    answers(want(WEIR_PRIORITY_HIGH, 100 * MS, &none), TIMEDOUT);
    cr_assert_eq(wi_load(&asked, acquire), 2);
    cr_assert_eq(weir_buffer_wanted(held[0]), 0);
    answers(want(WEIR_PRIORITY_NORMAL, 5 * MS, &none), TIMEDOUT);
    cr_assert_eq(wi_load(&asked, acquire), 2, "who has refused is not asked again");
    ok(weir_buffers_release(held, 3));
    close_pool();
}

Test(preempt, later_is_seen_by_the_holder_and_the_deadline_holds)
{
    struct weir_buffer *low, *none;
    open_preempting(1);
    low = take_as(WEIR_PRIORITY_LOW, 1);
    cr_assert_eq(weir_buffer_wanted(low), 0);
    wi_store(&answer, WEIR_PREEMPT_LATER, relaxed);
    answers(want(WEIR_PRIORITY_HIGH, 30 * MS, &none), TIMEDOUT); /* this holder does nothing about it */
    cr_assert_eq(wi_load(&asked, acquire), 1);
    cr_assert_eq(weir_buffer_wanted(low), 1);
    ok(weir_buffer_release(low));
    low = take_as(WEIR_PRIORITY_LOW, 2);
    cr_assert_eq(weir_buffer_wanted(low), 0, "a new lease was not asked for");
    ok(weir_buffer_release(low));
    close_pool();
}

static void *hold_and_poll(void *arg)
{
    struct weir_buffer *buffer = take_as(WEIR_PRIORITY_LOW, 9);
    *(struct weir_buffer *volatile *)arg = buffer;
    eventually(weir_buffer_wanted(buffer) == 1);
    ok(weir_buffer_release(buffer));
    return NULL;
}

Test(preempt, a_polling_holder_releases_itself)
{
    pthread_t                    thread;
    struct weir_buffer *volatile held = NULL;
    struct weir_buffer          *high;
    open_preempting(1);
    wi_store(&answer, WEIR_PREEMPT_LATER, relaxed);
    cr_assert_eq(pthread_create(&thread, NULL, hold_and_poll, (void *)&held), 0);
    eventually(held != NULL);
    ok(want(WEIR_PRIORITY_HIGH, 10000 * MS, &high));
    pthread_join(thread, NULL);
    ok(weir_buffer_release(high));
    close_pool();
}
