/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting: a storm of threads over few buffers, with deadlines that hit before, at and after a release. No wake-up is
 * early, none is lost, nobody gets what another holds.
 */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MS      UINT64_C(1000000)
#define THREADS 24
#define BUFFERS 3

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static _Atomic uint32_t     owner[64]; /* by id modulo: 1 while somebody holds the buffer */
static _Atomic uint64_t     given, timed_out, tried;
static _Atomic uint32_t     stop;

static void open_pool(size_t buffers)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = buffers), &pool));
}

static void close_pool(void)
{
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static _Atomic uint32_t *owner_of(const struct weir_buffer *buffer)
{
    struct weir_buffer_info info = {.struct_size = sizeof info};
    ok(weir_buffer_info_read(buffer, &info));
    return &owner[info.id % 64];
}

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void hold(struct weir_buffer *buffer, uint32_t *seed)
{
    _Atomic uint32_t *word = owner_of(buffer);
    cr_assert_eq(wi_exchange(word, 1, acquire), 0, "a buffer was given out twice");
    if (next(seed) % 4 == 0) nanosleep(&(struct timespec){.tv_nsec = next(seed) % 60000}, NULL);
    wi_store(word, 0, release);
    ok(weir_buffer_release(buffer));
    wi_add(&given, 1, relaxed);
}

static void *storm(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg * 7919 + 1;
    while (!wi_load(&stop, relaxed)) {
        static const uint64_t timeout_ns[] = {0, 1, 1000, 20000, 50000, 100000, 300000, 2000000};
        struct weir_buffer   *buffer;
        uint32_t              kind = next(&seed) % 10;
        uint64_t deadline_ns = kind == 9 ? WEIR_FOREVER : kind == 8 ? WEIR_NOW : weir_deadline_after_ns(timeout_ns[kind]);
        uint32_t priority = next(&seed) % 4;
        int      err = weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = priority), deadline_ns, &buffer);
        if (err == 0) {
            hold(buffer, &seed);
        } else if (err == WEIR_ETIMEDOUT) {
            cr_assert_geq(weir_clock_ns(), deadline_ns, "an early wake-up");
            wi_add(&timed_out, 1, relaxed);
        } else {
            cr_assert_eq(err, WEIR_EAGAIN);
            cr_assert_eq(deadline_ns, WEIR_NOW);
            wi_add(&tried, 1, relaxed);
        }
    }
    return NULL;
}

static void run_storm(void *(*main)(void *), unsigned threads, uint64_t duration_ns)
{
    pthread_t thread[64];
    for (uintptr_t i = 0; i < threads; i++) cr_assert_eq(pthread_create(&thread[i], NULL, main, (void *)i), 0);
    nanosleep(&(struct timespec){.tv_sec = (time_t)(duration_ns / 1000000000),
                                 .tv_nsec = (long)(duration_ns % 1000000000)}, NULL);
    wi_store(&stop, 1, relaxed);
    for (unsigned i = 0; i < threads; i++) pthread_join(thread[i], NULL); /* a lost wake-up hangs here */
}

Test(wait, storm_with_deadlines, .timeout = 240)
{
    open_pool(BUFFERS);
    run_storm(storm, THREADS, 1500 * MS);
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.free, BUFFERS);
    cr_assert_eq(stats.waiting, 0);
    cr_assert_eq(stats.acquires, wi_load(&given, relaxed));
    cr_assert_eq(stats.timeouts, wi_load(&timed_out, relaxed) + wi_load(&tried, relaxed));
    cr_assert_gt(wi_load(&timed_out, relaxed), 0);
    cr_assert_gt(stats.handoffs, 0);
    close_pool();
}

/* As many buffers as can be held at once: a try never finds the pool empty. */
static void *try_only(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg + 1;
    while (!wi_load(&stop, relaxed)) {
        struct weir_buffer *buffer;
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
        hold(buffer, &seed);
    }
    return NULL;
}

Test(wait, a_try_is_exact, .timeout = 240)
{
    open_pool(8);
    run_storm(try_only, 8, 500 * MS);
    cr_assert_eq(pool_stats(pool).timeouts, 0);
    close_pool();
}

/* Batches that want nearly everything, beside single ones: none starves the other, none deadlocks. */
static void *batches(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg + 1;
    while (!wi_load(&stop, relaxed)) {
        struct weir_buffer *buffer[4];
        size_t              count = 1 + next(&seed) % 4;
        int err = weir_buffers_acquire(pool, count, next(&seed) % 2 ? WEIR_FOREVER : weir_deadline_after_ns(100000), buffer);
        if (err == WEIR_ETIMEDOUT) continue;
        ok(err);
        for (size_t i = 0; i < count; i++) hold(buffer[i], &seed);
    }
    return NULL;
}

Test(wait, batches_do_not_deadlock, .timeout = 240)
{
    open_pool(4);
    run_storm(batches, 12, 500 * MS);
    cr_assert_eq(pool_stats(pool).free, 4);
    close_pool();
}

static void *wait_forever(void *arg)
{
    struct weir_buffer *buffer;
    (void)arg;
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    ok(weir_buffer_release(buffer));
    wi_add(&given, 1, relaxed);
    return NULL;
}

/* One release wakes a queue of waiters, each handing on to the next. */
Test(wait, one_release_serves_a_whole_queue, .timeout = 240)
{
    pthread_t           thread[32];
    struct weir_buffer *buffer;
    open_pool(1);
    for (int round = 0; round < 5; round++) {
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
        for (int i = 0; i < 32; i++) cr_assert_eq(pthread_create(&thread[i], NULL, wait_forever, NULL), 0);
        eventually(pool_stats(pool).waiting == 32);
        cr_assert_eq(wi_load(&given, relaxed), (uint64_t)round * 32, "somebody got what was held");
        ok(weir_buffer_release(buffer));
        for (int i = 0; i < 32; i++) pthread_join(thread[i], NULL);
    }
    cr_assert_eq(pool_stats(pool).handoffs, 5 * 32);
    close_pool();
}

/*
 * A waiter of the lowest class is not starved by a stream of high ones: it moves up when it has waited long. At each
 * release a high one is queued, so nothing but its age can bring the low one its turn.
 */
Test(wait, nobody_starves, .timeout = 240)
{
    struct weir_request *low, *high = NULL;
    struct weir_buffer  *held, *lows = NULL;
    unsigned             passed_by = 0;
    int                  told = eventfd(0, EFD_CLOEXEC), err;
    setenv("WEIR_WAITER_AGE_MS", "20", 1);
    open_pool(1);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &held));
    ok(weir_buffer_acquire_eventfd(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_LOW), WEIR_FOREVER, told, &low));
    uint64_t until_ns = weir_deadline_after_ns(20000 * MS);
    while (!lows) {
        cr_assert(weir_clock_ns() < until_ns, "passed by %u times", passed_by);
        ok(weir_buffer_acquire_eventfd(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_HIGH), WEIR_FOREVER, told,
                                       &high));
        ok(weir_buffer_release(held));
        held = NULL;
        eventually((err = weir_request_take(high, &held)) != WEIR_EAGAIN ||
                   (err = weir_request_take(low, &lows)) != WEIR_EAGAIN);
        ok(err);
        passed_by += held != NULL;
    }
    cr_assert_gt(passed_by, 0, "a high one goes first");
    ok(weir_buffer_release(lows));
    eventually(weir_request_take(high, &held) == 0);
    ok(weir_buffer_release(held));
    close(told);
    close_pool();
}
