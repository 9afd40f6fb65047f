/* SPDX-License-Identifier: Apache-2.0 */
/* Growth ahead of demand, and shrinking that gives memory back to the system. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static struct weir_runtime *rt;
static struct weir_pool    *pool;

static size_t resident_bytes(void)
{
    size_t pages = 0;
    FILE  *file = fopen("/proc/self/statm", "r");
    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%*s %zu", &pages), 1);
    (void)fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void open_pool(size_t min, size_t max)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "grow", .buffer_bytes = MIB, .buffers_min = min, .buffers_max = max,
                                      .shrink_cooldown_ns = 50000000), &pool));
}

Test(grow, a_waiter_brings_growth_about)
{
    struct weir_buffer *buffer[64];
    open_pool(4, 64);
    for (int i = 0; i < 64; i++) ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i]));
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < i; j++) cr_assert_not(same(buffer[i], buffer[j]));
    answers(weir_buffer_acquire(pool, weir_deadline_after_ns(20000000), &buffer[0]), TIMEDOUT);
    cr_assert_eq(pool_stats(pool).total, 64);
    cr_assert_geq(pool_stats(pool).grows, 4);
    ok(weir_buffers_release(buffer, 64));
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(grow, memory_returns_to_the_system)
{
    struct weir_buffer *buffer[64];
    open_pool(4, 64);
    size_t before = resident_bytes();
    for (int i = 0; i < 64; i++) ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i]));
    for (int i = 0; i < 64; i++) memset(buffer[i]->host, 1, MIB);
    size_t full = resident_bytes();
    cr_assert_geq(full, before + 55 * MIB);
    ok(weir_buffers_release(buffer, 64));
    eventually(pool_stats(pool).total == 4);
    eventually(resident_bytes() < before + 8 * MIB);
    cr_assert_geq(pool_stats(pool).shrinks, 1);
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(grow, trim_leaves_leases_alone)
{
    struct weir_buffer *buffer[16], *held;
    open_pool(4, 16);
    ok(weir_pool_reserve(pool, 16));
    for (int i = 0; i < 16; i++) ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i]));
    held = buffer[15]; /* the last one made: in the stretch that goes first */
    memset(held->host, 3, MIB);
    ok(weir_buffers_release(buffer, 15));
    answers(weir_pool_trim(pool, 4, weir_deadline_after_ns(50000000)), TIMEDOUT);
    for (size_t i = 0; i < MIB; i++) cr_assert_eq(((char *)held->host)[i], 3);
    ok(weir_buffer_release(held));
    ok(weir_pool_trim(pool, 4, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).total, 4);
    answers(weir_pool_reserve(pool, 17), EXCEEDS);
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(grow, failure_leaves_the_pool_serving)
{
    struct weir_buffer *buffer[8], *none;
    ok(weir_runtime_create(WEIR_OPTS(runtime, .pinned_bytes_max = 6 * MIB), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 4, .buffers_max = 64), &pool));
    for (int i = 0; i < 4; i++) ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[i]));
    answers(weir_buffer_acquire(pool, weir_deadline_after_ns(50000000), &none), TIMEDOUT);
    cr_assert_geq(pool_stats(pool).grow_failures, 1);
    ok(weir_buffer_release(buffer[3]));
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[3]));
    ok(weir_buffers_release(buffer, 4));
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static _Atomic uint32_t stop;

static void *churn(void *arg)
{
    unsigned            seed = (unsigned)(uintptr_t)arg;
    struct weir_buffer *buffer[8];
    while (!wi_load(&stop, relaxed)) {
        size_t count = 1 + (seed = seed * 1103515245 + 12345) / 65536 % 8;
        for (size_t i = 0; i < count; i++) {
            ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i]));
            memset(buffer[i]->host, (int)seed, 4096);
        }
        for (size_t i = 0; i < count; i++) {
            for (size_t j = 0; j < 4096; j++) cr_assert_eq(((char *)buffer[i]->host)[j], (char)seed);
            ok(weir_buffer_release(buffer[i]));
        }
    }
    return NULL;
}

Test(grow, under_load_loses_nothing)
{
    pthread_t thread[8];
    open_pool(4, 128);
    for (uintptr_t i = 0; i < 8; i++) cr_assert_eq(pthread_create(&thread[i], NULL, churn, (void *)i), 0);
    for (int i = 0; i < 30; i++) {
        int err = weir_pool_reserve(pool, (size_t)(8 + i % 4 * 40));
        cr_assert(err == 0 || err == WEIR_EEXCEEDS);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        err = weir_pool_trim(pool, 4, weir_deadline_after_ns(10000000));
        cr_assert(err == 0 || err == WEIR_ETIMEDOUT);
    }
    wi_store(&stop, 1, relaxed);
    for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
    ok(weir_pool_trim(pool, 4, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).free, pool_stats(pool).total);
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}
