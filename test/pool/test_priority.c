/* SPDX-License-Identifier: Apache-2.0 */
/* Strategies, headroom and preemption. */
#include "pool/fixture.h"

#include "base/alloc.h"
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
    static const int    order[] = {1, 4, 2, 0, 3};
    struct weir_buffer *buffer[5], *idle[5], *again;
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 5, .strategy = WEIR_STRATEGY_LEAST_RECENT));
    for (int i = 0; i < 5; i++) buffer[i] = take();
    for (int i = 0; i < 5; i++) {
        idle[i] = buffer[order[i]]; /* the one released longest ago is at the front */
        ok(weir_buffer_release(idle[i]));
    }
    for (int i = 0; i < 20; i++) {
        again = take();
        cr_assert(same(again, idle[0]), "round %d", i);
        ok(weir_buffer_release(again));
        memmove(idle, idle + 1, 4 * sizeof idle[0]);
        idle[4] = again;
    }
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

static _Atomic(struct weir_buffer *) came;

static void take_it(void *ctx, int result, struct weir_buffer *buffer)
{
    (void)ctx;
    cr_assert_eq(result, 0);
    wi_store(&came, buffer, release);
}

/* A lease that came by callback is asked for as any other, with its own priority and word. */
Test(preempt, who_acquired_by_callback_is_asked_too)
{
    struct weir_buffer *high = NULL;
    open_preempting(1);
    ok(weir_buffer_acquire_async(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_LOW, .user = 78), WEIR_FOREVER, take_it,
                                 NULL, NULL));
    eventually(wi_load(&came, acquire) != NULL);
    wi_store(&answer, WEIR_PREEMPT_NOW, relaxed);
    ok(want(WEIR_PRIORITY_HIGH, 60000 * MS, &high));
    cr_assert(same(high, wi_load(&came, relaxed)));
    cr_assert_eq(wi_load(&asked_user, relaxed), 78);
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

struct asker {
    uint32_t            priority;
    struct weir_buffer *got;
    pthread_t           thread;
};

static void *want_forever(void *arg)
{
    struct asker *asker = arg;
    ok(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = asker->priority), WEIR_FOREVER, &asker->got));
    return NULL;
}

static void start_asking(struct asker *asker, uint32_t priority)
{
    uint64_t waiting = pool_stats(pool).waiting;
    *asker = (struct asker){.priority = priority};
    cr_assert_eq(pthread_create(&asker->thread, NULL, want_forever, asker), 0);
    eventually(pool_stats(pool).waiting == waiting + 1);
}

Test(preempt, a_refusal_asks_the_next_and_never_an_equal)
{
    struct weir_buffer *held[3];
    struct asker        high, normal;
    open_preempting(3);
    held[0] = take_as(WEIR_PRIORITY_LOW, 1);
    held[1] = take_as(WEIR_PRIORITY_NORMAL, 2);
    held[2] = take_as(WEIR_PRIORITY_HIGH, 3);
    start_asking(&high, WEIR_PRIORITY_HIGH);
    eventually(wi_load(&asked, acquire) == 2);
    cr_assert_eq(wi_load(&asked_user, relaxed), 2, "the lowest is asked first");
    eventually(weir_buffer_wanted(held[1]) == 0);
    cr_assert_eq(weir_buffer_wanted(held[0]), 0);
    cr_assert_eq(weir_buffer_wanted(held[2]), 0);
    start_asking(&normal, WEIR_PRIORITY_NORMAL);
    nanosleep(&(struct timespec){.tv_nsec = 20 * MS}, NULL); /* for what must not come */
    cr_assert_eq(wi_load(&asked, acquire), 2, "who has refused is not asked again, and an equal never");
    ok(weir_buffer_release(held[2]));
    pthread_join(high.thread, NULL);
    ok(weir_buffer_release(held[1]));
    pthread_join(normal.thread, NULL);
    ok(weir_buffer_release(held[0]));
    ok(weir_buffer_release(high.got));
    ok(weir_buffer_release(normal.got));
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
    eventually(wi_load(&asked, acquire) == 1);
    cr_assert_eq(weir_buffer_wanted(low), 1);
    ok(weir_buffer_release(low));
    low = take_as(WEIR_PRIORITY_LOW, 2);
    cr_assert_eq(weir_buffer_wanted(low), 0, "a new lease was not asked for");
    ok(weir_buffer_release(low));
    close_pool();
}

/* Leases of a batch have the class NORMAL, and can be asked for. */
Test(preempt, a_lease_of_a_batch_is_asked_for)
{
    struct weir_buffer *batch[2], *high;
    open_preempting(2);
    ok(weir_buffers_acquire(pool, 2, WEIR_NOW, batch));
    wi_store(&answer, WEIR_PREEMPT_NOW, relaxed);
    ok(want(WEIR_PRIORITY_HIGH, 10000 * MS, &high));
    cr_assert(same(high, batch[0]) || same(high, batch[1]));
    ok(weir_buffer_release(same(high, batch[0]) ? batch[1] : batch[0]));
    ok(weir_buffer_release(high));
    close_pool();
}

/* The asker waits as it would without preemption, and the holder may be asked later. */
Test(preempt, without_memory_nobody_is_asked_and_nothing_is_lost)
{
    struct weir_buffer *low, *none;
    open_preempting(1);
    low = take_as(WEIR_PRIORITY_LOW, 5);
    (void)wi_alloc_fail_at(1);
    answers(want(WEIR_PRIORITY_HIGH, 5 * MS, &none), TIMEDOUT);
    cr_assert_eq(wi_alloc_fail_at(0), 0, "the question needed memory");
    cr_assert_eq(wi_load(&asked, acquire), 0);
    cr_assert_eq(weir_buffer_wanted(low), 0);
    wi_store(&answer, WEIR_PREEMPT_NOW, relaxed);
    ok(want(WEIR_PRIORITY_HIGH, 10000 * MS, &none));
    cr_assert_eq(wi_load(&asked_user, relaxed), 5);
    ok(weir_buffer_release(none));
    close_pool();
}

/* A holder that never answers: its callback does not return. Whoever has not asked it is served all the same. */
static _Atomic uint32_t let_answer;

static uint32_t never_answer(void *ctx, struct weir_buffer *buffer, uint64_t user)
{
    (void)ctx, (void)buffer, (void)user;
    wi_add(&asked, 1, release);
    while (!wi_load(&let_answer, acquire)) nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    return WEIR_PREEMPT_REFUSE;
}

Test(preempt, a_holder_that_never_answers_delays_only_the_asker)
{
    struct weir_buffer *held[2], *other, *none;
    struct weir_pool   *elsewhere;
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2, .preempt = never_answer));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &elsewhere));
    for (int i = 0; i < 2; i++) held[i] = take_as(WEIR_PRIORITY_LOW, 1);
    uint64_t deadline_ns = weir_deadline_after_ns(30 * MS);
    answers(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_HIGH), deadline_ns, &none),
            TIMEDOUT);
    cr_assert_geq(weir_clock_ns(), deadline_ns);
    eventually(wi_load(&asked, acquire) == 1); /* and it stays there until the end of this test */
    ok(weir_buffer_release(held[1]));
    for (int i = 0; i < 100; i++) {
        ok(weir_buffer_acquire(pool, WEIR_NOW, &other));
        ok(weir_buffer_release(other));
        ok(weir_buffer_acquire(elsewhere, WEIR_NOW, &other));
        ok(weir_buffer_release(other));
    }
    ok(weir_buffer_release(held[0])); /* no lock is held while it is asked */
    ok(weir_pool_trim(pool, 0, WEIR_NOW));
    assert_law(pool);
    wi_store(&let_answer, 1, release);
    weir_pool_destroy(elsewhere);
    close_pool();
}

static _Atomic uint32_t destroyed;

static void *destroy(void *arg)
{
    weir_pool_destroy(arg);
    wi_store(&destroyed, 1, release);
    return NULL;
}

Test(preempt, a_pool_ends_only_when_its_callback_has_returned)
{
    pthread_t           thread;
    struct weir_buffer *held, *none;
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .preempt = never_answer));
    held = take_as(WEIR_PRIORITY_LOW, 1);
    answers(want(WEIR_PRIORITY_HIGH, 10 * MS, &none), TIMEDOUT);
    eventually(wi_load(&asked, acquire) == 1);
    cr_assert_eq(pthread_create(&thread, NULL, destroy, pool), 0);
    nanosleep(&(struct timespec){.tv_nsec = 100 * MS}, NULL);
    cr_assert_eq(wi_load(&destroyed, acquire), 0, "destroyed while its holder is being asked");
    wi_store(&let_answer, 1, release);
    pthread_join(thread, NULL);
    (void)weir_buffer_release(held);
    weir_runtime_destroy(rt);
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
