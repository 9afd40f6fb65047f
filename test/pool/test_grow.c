/* SPDX-License-Identifier: Apache-2.0 */
/* Growth ahead of demand, and shrinking that gives memory back to the system. */
#include "pool/fixture.h"

#include "base/alloc.h"
#include "base/atomic.h"
#include "pool/grow.h"
#include "sync/records.h"
#include "sync/thread.h"

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
    /* Of 60 MiB that came; a sanitizer keeps an eighth of what was ever written as its own. */
    eventually(resident_bytes() < before + 16 * MIB);
    cr_assert_geq(pool_stats(pool).shrinks, 1);
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(shrink, never_goes_below_the_minimum)
{
    open_pool(4, 64);
    ok(weir_pool_reserve(pool, 16));
    ok(weir_pool_trim(pool, 0, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).total, 4);
    ok(weir_pool_trim(pool, 0, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).total, 4);
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
    eventually(pool_stats(pool).grow_failures >= 1);
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

/* ---- the knobs ---- */

Test(grow, what_was_reserved_is_free_at_once)
{
    struct weir_buffer *buffer[64];
    open_pool(1, 64);
    for (int i = 0; i < 20; i++) {
        ok(weir_pool_reserve(pool, 64));
        assert_law(pool);
        ok(weir_buffers_acquire(pool, 64, WEIR_NOW, buffer));
        ok(weir_buffers_release(buffer, 64));
        ok(weir_pool_trim(pool, 1, WEIR_FOREVER));
    }
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static struct weir_buffer *take_one(void)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    return buffer;
}

static void open_with(const struct weir_pool_opts *opts)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, opts, &pool));
}

static void close_pool(void)
{
    eventually(pool_stats(pool).free == pool_stats(pool).total); /* the keeper has seen what was made last */
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* Growth ahead of demand: nobody has found the pool empty. */
Test(grow, begins_at_the_low_water_mark)
{
    struct weir_buffer *buffer[8];
    open_with(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 8, .buffers_max = 64, .low_water_percent = 50));
    for (int i = 0; i < 4; i++) buffer[i] = take_one();
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    cr_assert_eq(pool_stats(pool).total, 8, "half of it is free");
    for (int i = 4; i < 7; i++) buffer[i] = take_one();
    eventually(pool_stats(pool).total == 16);
    cr_assert_eq(pool_stats(pool).handoffs + pool_stats(pool).timeouts, 0);
    ok(weir_buffers_release(buffer, 7));
    close_pool();
}

Test(grow, goes_by_its_factor_up_to_its_maximum)
{
    struct weir_buffer *buffer[13];
    static const size_t total[] = {4, 6, 9, 13}; /* 150 %, 20 is never reached */
    open_with(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4, .buffers_max = 13, .grow_factor_percent = 150,
                        .low_water_percent = 1, .grow_cooldown_ns = 1));
    for (size_t i = 0; i < 13; i++) {
        buffer[i] = take_one();
        size_t now = pool_stats(pool).total, step = 0;
        while (step < 4 && total[step] != now) step++;
        cr_assert(step < 4 && now > i, "%zu after %zu leases", now, i + 1);
    }
    cr_assert_eq(pool_stats(pool).total, 13);
    cr_assert_eq(pool_stats(pool).grows, 3);
    ok(weir_buffers_release(buffer, 13));
    close_pool();
}

Test(grow, waits_for_its_cooldown)
{
    struct weir_buffer *buffer[8];
    uint64_t begin_ns = weir_clock_ns(); /* 2 become 4 after this, and 8 a cooldown later */
    open_with(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2, .buffers_max = 8, .grow_cooldown_ns = 200000000));
    for (int i = 0; i < 5; i++) buffer[i] = take_one();
    cr_assert_geq(weir_clock_ns() - begin_ns, 200000000, "grown again too soon");
    ok(weir_buffers_release(buffer, 5));
    close_pool();
}

Test(shrink, waits_for_its_threshold_and_cooldown)
{
    struct weir_buffer *buffer[16];
    open_with(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4, .buffers_max = 16, .shrink_percent = 25,
                        .shrink_cooldown_ns = 100000000));
    for (int i = 0; i < 16; i++) buffer[i] = take_one();
    cr_assert_eq(pool_stats(pool).total, 16);
    ok(weir_buffers_release(buffer + 4, 12)); /* a quarter is in use: not below the threshold */
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    cr_assert_eq(pool_stats(pool).total, 16);
    uint64_t quiet_ns = weir_clock_ns();
    ok(weir_buffers_release(buffer, 4));
    eventually(pool_stats(pool).total < 16);
    cr_assert_geq(weir_clock_ns() - quiet_ns, 100000000, "shrunk before the cooldown");
    eventually(pool_stats(pool).total == 4);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    cr_assert_eq(pool_stats(pool).total, 4, "below the initial count");
    close_pool();
}

/* Uploads all eight behind a delay, gives them back, and trims. Returns false if the delay was over before that. */
static bool trim_beside_uploads(struct weir_stream *stream, uint64_t target, uint64_t delay_ns)
{
    struct weir_buffer *buffer[8];
    ok(weir_pool_reserve(pool, 8));
    ok(weir_stream_delay(stream, delay_ns));
    for (uint64_t i = 0; i < 8; i++) {
        buffer[i] = take_one();
        memset(buffer[i]->host, (int)i + 1, 4096);
        ok(weir_stream_upload(stream, target + i * 4096, weir_slice_all(buffer[i])));
    }
    ok(weir_buffers_release(buffer, 8));
    int err = weir_pool_trim(pool, 2, weir_deadline_after_ns(1000000));
    if (weir_stream_query(stream) == 0) return false;
    cr_assert_eq(err, WEIR_ETIMEDOUT);
    return true;
}

/* The newest memory goes first; here the device is still reading it. */
Test(shrink, never_takes_a_block_in_flight)
{
    struct weir_buffer *check;
    struct weir_stream *stream;
    uint64_t            target, delay_ns = 100000000;
    open_with(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2, .buffers_max = 8));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_device_alloc(rt, 8 * 4096, &target));
    while (!trim_beside_uploads(stream, target, delay_ns)) delay_ns *= 2; /* a busy machine */
    ok(weir_pool_trim(pool, 2, WEIR_FOREVER));
    cr_assert_eq(weir_stream_query(stream), 0, "its memory was freed while the device was reading it");
    cr_assert_eq(pool_stats(pool).total, 2);
    check = take_one();
    for (uint64_t i = 0; i < 8; i++) {
        ok(weir_stream_download(stream, weir_slice_all(check), target + i * 4096));
        ok(weir_buffer_sync(check, WEIR_FOREVER));
        for (int j = 0; j < 4096; j++) cr_assert_eq(((char *)check->host)[j], (char)(i + 1));
    }
    ok(weir_buffer_release(check));
    ok(weir_device_free(rt, target));
    ok(weir_stream_release(stream));
    close_pool();
}

/* Who looks an address up, or at a buffer, while its memory goes, is never hurt: it finds the buffer or nothing. */
static _Atomic uint64_t looked_up;

static void *look_up(void *arg)
{
    struct weir_buffer *found;
    while (!wi_load(&stop, relaxed)) {
        for (int i = 0; i < 16; i++) {
            int err = weir_buffer_find(rt, ((void **)arg)[i], &found);
            cr_assert(err == 0 || err == WEIR_ENOENT);
            if (err < 0) continue;
            struct weir_buffer_info info = {.struct_size = sizeof info};
            ok(weir_buffer_info_read(found, &info));
            wi_add(&looked_up, 1, relaxed);
        }
    }
    return NULL;
}

static uint64_t pinned_bytes(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    ok(weir_runtime_stats_read(rt, &stats));
    return stats.pinned_bytes;
}

static void *trim_to_four(void *arg)
{
    (void)arg;
    ok(weir_pool_trim(pool, 4, WEIR_FOREVER));
    return NULL;
}

/* Who is inside a section of an epoch may have found the slab before it left the directory. */
Test(shrink, waits_for_who_may_have_found_the_slab)
{
    pthread_t thread;
    open_with(WEIR_OPTS(pool, .buffer_bytes = 65536, .buffers_min = 4, .buffers_max = 16,
                        .shrink_cooldown_ns = UINT64_C(3600000000000)));
    ok(weir_pool_reserve(pool, 16));
    uint64_t before = pinned_bytes();
    wi_epoch_begin(wi_thread_self());
    cr_assert_eq(pthread_create(&thread, NULL, trim_to_four, NULL), 0);
    eventually(pool_stats(pool).total == 4);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    cr_assert_eq(pinned_bytes(), before, "unmapped under a reader");
    wi_epoch_end(wi_thread_self());
    pthread_join(thread, NULL);
    cr_assert_lt(pinned_bytes(), before);
    close_pool();
}

static _Atomic int grown;

static void *grow_to_sixteen(void *arg)
{
    (void)arg;
    ok(weir_pool_reserve(pool, 16));
    wi_store(&grown, 1, release);
    return NULL;
}

static size_t count_found(const void *const host[16])
{
    struct weir_buffer *buffer;
    size_t              found = 0;
    for (int i = 0; i < 16; i++) found += weir_buffer_find(rt, host[i], &buffer) == 0;
    return found;
}

/* Who left the directory locked would stop the growth after it. */
Test(shrink, a_slab_leaves_the_directory_also_without_memory_for_a_smaller_one)
{
    struct weir_buffer *buffer[16];
    const void         *host[16];
    pthread_t           thread;
    open_with(WEIR_OPTS(pool, .buffer_bytes = 65536, .buffers_min = 4, .buffers_max = 16,
                        .shrink_cooldown_ns = UINT64_C(3600000000000)));
    ok(weir_pool_reserve(pool, 16));
    ok(weir_buffers_acquire(pool, 16, WEIR_FOREVER, buffer));
    for (int i = 0; i < 16; i++) host[i] = buffer[i]->host;
    ok(weir_buffers_release(buffer, 16));
    cr_assert_eq(count_found(host), 16);
    wi_alloc_fail_at(1);
    ok(weir_pool_trim(pool, 4, WEIR_FOREVER));
    cr_assert_eq(wi_alloc_fail_at(0), 0, "no allocation failed");
    cr_assert_eq(count_found(host), 4);
    cr_assert_eq(pthread_create(&thread, NULL, grow_to_sixteen, NULL), 0);
    eventually(wi_load(&grown, acquire));
    pthread_join(thread, NULL);
    close_pool();
}

Test(shrink, address_lookup_beside_it_is_safe)
{
    pthread_t           thread;
    struct weir_buffer *buffer[16];
    void               *host[16];
    open_with(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2, .buffers_max = 16));
    ok(weir_pool_reserve(pool, 16));
    for (int i = 0; i < 16; i++) {
        buffer[i] = take_one();
        host[i] = buffer[i]->host;
    }
    ok(weir_buffers_release(buffer, 16));
    cr_assert_eq(pthread_create(&thread, NULL, look_up, host), 0);
    for (int i = 0; i < 100; i++) {
        ok(weir_pool_trim(pool, 2, WEIR_FOREVER));
        ok(weir_pool_reserve(pool, 16));
    }
    eventually(wi_load(&looked_up, relaxed) > 0);
    wi_store(&stop, 1, relaxed);
    pthread_join(thread, NULL);
    close_pool();
}

/* A hundredth of four is nothing, and one more is what was asked for. */
Test(grow, by_one_at_least)
{
    struct weir_buffer *buffer[6];
    rt = make_runtime();
    ok(weir_pool_create(rt,
                        WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4, .buffers_max = 6,
                                  .grow_factor_percent = 101, .grow_cooldown_ns = 1),
                        &pool));
    for (int i = 0; i < 6; i++) ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i]));
    cr_assert_eq(pool_stats(pool).total, 6);
    eventually(pool_stats(pool).grows == 2); /* counted after its buffer is there */
    ok(weir_buffers_release(buffer, 6));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static int grow_by(size_t count)
{
    pthread_mutex_lock(&pool->lock);
    int err = wi_pool_grow_locked(pool, count, NULL);
    pthread_mutex_unlock(&pool->lock);
    return err;
}

/* More than there is room for: as far as it goes, and that may be nowhere. */
Test(grow, no_further_than_the_most)
{
    open_pool(2, 4);
    ok(grow_by(100));
    cr_assert_eq(pool_stats(pool).total, 4);
    ok(grow_by(1));
    cr_assert_eq(pool_stats(pool).total, 4);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(shrink, to_more_than_there_are_is_nothing)
{
    open_pool(2, 8);
    ok(weir_pool_reserve(pool, 6));
    ok(weir_pool_trim(pool, 1000, WEIR_NOW));
    ok(weir_pool_trim(pool, SIZE_MAX, WEIR_NOW));
    cr_assert_eq(pool_stats(pool).total, 6);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/*
 * A release has seen that its buffer's stretch is on its way out, and demand comes back before it has done what follows
 * from that: the buffer ends up outside of a stretch that stays. The monitor puts it back.
 */
Test(shrink, what_leaves_a_moment_too_late_comes_back)
{
    struct weir_buffer *buffer[4];
    open_pool(2, 4);
    ok(weir_pool_reserve(pool, 4));
    ok(weir_buffers_acquire(pool, 4, WEIR_NOW, buffer));
    answers(weir_pool_trim(pool, 2, WEIR_NOW), TIMEDOUT);
    ok(grow_by(1)); /* nothing has left yet, so all that it does is to keep the stretch */
    struct wi_record *late = NULL;
    for (int i = 0; i < 4; i++) {
        struct wi_record *record = wi_record_plain(buffer[i], NULL);
        if (!late &&
            record->object == pool->stretches) { /* of the youngest stretch, which was to go */
            late = record;
        } else {
            ok(weir_buffer_release(buffer[i]));
        }
    }
    cr_assert_not_null(late);
    wi_store(&late->word, (wi_load(&late->word, relaxed) & ~(uint64_t)WI_STATE_MASK) | WI_RETIRING,
             seq_cst);
    wi_pool_divert(pool, late); /* the rest of that release */
    eventually(pool_stats(pool).free == 4);
    assert_law(pool);
    ok(weir_buffers_acquire(pool, 4, WEIR_FOREVER, buffer));
    ok(weir_buffers_release(buffer, 4));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* Made, and not yet seen by the keeper: it goes with the pool. */
Test(grow, what_is_fresh_is_freed_with_the_pool)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    rt = make_runtime();
    for (int i = 0; i < 50; i++) {
        ok(weir_pool_create(
            rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .buffers_max = 64), &pool));
        ok(grow_by(63));
        weir_pool_destroy(pool);
    }
    eventually(weir_runtime_stats_read(rt, &stats) == 0 && stats.pinned_bytes == 0);
    weir_runtime_destroy(rt);
}
