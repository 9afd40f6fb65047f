/* SPDX-License-Identifier: Apache-2.0 */
/* What a pool counts, and that its law holds at rest after all sorts of use. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <stdio.h>
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
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    return buffer;
}

Test(stats, counts_by_state)
{
    struct weir_stream *stream;
    open_pool(WEIR_OPTS(pool, .name = "counts", .buffer_bytes = 4096, .buffers_min = 5));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    struct weir_buffer *held = take(), *flying = take();
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_buffer_guard(flying, stream));
    ok(weir_buffer_release(flying));
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_str_eq(stats.name, "counts");
    cr_assert_eq(stats.buffer_bytes, 4096);
    cr_assert_eq(stats.total, 5);
    cr_assert_eq(stats.leased, 1);
    cr_assert_eq(stats.retiring, 1);
    cr_assert_eq(stats.free, 3);
    cr_assert_eq(stats.quarantined, 0);
    assert_law(pool);
    eventually(pool_stats(pool).free == 4);
    stats = pool_stats(pool);
    cr_assert_eq(stats.retires, 1);
    cr_assert_eq(stats.reaps, 1);
    ok(weir_buffer_release(held));
    ok(weir_stream_release(stream));
    close_pool();
}

/* Of each batch at most one buffer comes from the own slot, so what another level did not count would be too many hits there. */
Test(stats, every_acquire_was_served_by_some_level)
{
    struct weir_buffer *buffer[4];
    stay_here();
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 8));
    for (int i = 0; i < 1000; i++) {
        ok(weir_buffers_acquire(pool, 1 + (size_t)i % 4, WEIR_FOREVER, buffer));
        ok(weir_buffers_release(buffer, 1 + (size_t)i % 4));
    }
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.acquires, 2500);
    cr_assert_eq(stats.acquires, stats.slot_hits + stats.lane_hits + stats.commons_hits + stats.steal_hits);
    cr_assert_leq(stats.slot_hits, 1000);
    cr_assert_eq(stats.lane_hits, 8, "new ones lie in the lane");
    close_pool();
}

static void *wait_a_while(void *arg)
{
    struct weir_buffer *buffer;
    (void)arg;
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    ok(weir_buffer_release(buffer));
    return NULL;
}

Test(stats, waits_and_contention)
{
    struct weir_buffer *none;
    pthread_t           thread;
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1));
    for (int i = 0; i < 10; i++) {
        struct weir_buffer *held = take();
        cr_assert_eq(pthread_create(&thread, NULL, wait_a_while, NULL), 0);
        eventually(pool_stats(pool).waiting == 1);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        ok(weir_buffer_release(held));
        pthread_join(thread, NULL);
    }
    struct weir_buffer *held = take();
    answers(weir_buffer_acquire(pool, weir_deadline_after_ns(3 * MS), &none), TIMEDOUT);
    ok(weir_buffer_release(held));
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.handoffs, 10);
    cr_assert_eq(stats.timeouts, 1);
    cr_assert_eq(stats.acquires, 21);
    cr_assert_geq(stats.misses, 11);
    cr_assert_eq(stats.contention_ppm, stats.misses * 1000000 / stats.acquires);
    cr_assert_eq(stats.wait.count, 11);
    cr_assert_geq(stats.wait.p50_ns, 2 * MS);
    cr_assert(stats.wait.p50_ns <= stats.wait.p90_ns && stats.wait.p90_ns <= stats.wait.p99_ns &&
              stats.wait.p99_ns <= stats.wait.p999_ns && stats.wait.p999_ns <= stats.wait.p9999_ns &&
              stats.wait.p9999_ns <= stats.wait.max_ns);
    cr_assert_geq(stats.wait.max_ns, 3 * MS);
    close_pool();
}

Test(stats, growth_and_shrinking)
{
    struct weir_buffer *buffer[16];
    ok(weir_runtime_create(WEIR_OPTS(runtime, .pinned_bytes_max = 16 * 4096), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4, .buffers_max = 32), &pool));
    for (int i = 0; i < 16; i++) buffer[i] = take();
    struct weir_buffer *none;
    answers(weir_buffer_acquire(pool, weir_deadline_after_ns(50 * MS), &none), TIMEDOUT);
    eventually(pool_stats(pool).grow_failures >= 1);
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.total, 16);
    cr_assert_geq(stats.grows, 2);
    ok(weir_buffers_release(buffer, 16));
    ok(weir_pool_trim(pool, 4, WEIR_FOREVER));
    cr_assert_geq(pool_stats(pool).shrinks, 2);
    cr_assert_eq(pool_stats(pool).total, 4);
    close_pool();
}

/* ---- the law, after everything ---- */

static _Atomic uint32_t stop;

static void *mixed(void *arg)
{
    uint32_t            seed = (uint32_t)(uintptr_t)arg * 31 + 7;
    struct weir_stream *stream = NULL;
    uint64_t            target;
    ok(weir_device_alloc(rt, 4096, &target));
    while (!wi_load(&stop, relaxed)) {
        struct weir_buffer *buffer[3];
        seed = seed * 1664525 + 1013904223;
        size_t count = 1 + seed / 65536 % 3;
        int    err = weir_buffers_acquire(pool, count, weir_deadline_after_ns(seed % 3 * MS), buffer);
        if (err < 0) continue;
        if (!stream && weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream) < 0) stream = NULL;
        for (size_t i = 0; i < count; i++) {
            if (stream && seed >> 20 & 1) ok(weir_stream_upload(stream, target, weir_slice_all(buffer[i])));
            if (seed >> 21 & 1) (void)!weir_buffer_write(buffer[i], 0, &seed, sizeof seed, WEIR_NOW);
        }
        ok(weir_buffers_release(buffer, count));
        if (stream && seed >> 23 & 1) {
            ok(weir_stream_release(stream));
            stream = NULL;
        }
    }
    if (stream) {
        ok(weir_stream_sync(stream, WEIR_FOREVER));
        ok(weir_stream_release(stream));
    }
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    ok(weir_device_free(rt, target));
    return NULL;
}

Test(stats, the_law_holds_at_rest_after_mixed_use, .timeout = 240)
{
    pthread_t thread[6];
    open_pool(WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4, .buffers_max = 12, .grow_cooldown_ns = MS,
                        .shrink_cooldown_ns = 5 * MS));
    for (uintptr_t i = 0; i < 6; i++) cr_assert_eq(pthread_create(&thread[i], NULL, mixed, (void *)i), 0);
    for (int i = 0; i < 40; i++) {
        struct weir_pool_stats stats = pool_stats(pool);
        cr_assert_leq(stats.total, 12);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        (void)!weir_pool_trim(pool, 4, WEIR_NOW);
    }
    wi_store(&stop, 1, relaxed);
    for (int i = 0; i < 6; i++) pthread_join(thread[i], NULL);
    eventually(pool_stats(pool).free == pool_stats(pool).total);
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.leased + stats.retiring + stats.quarantined + stats.waiting, 0);
    cr_assert_eq(stats.retires, stats.reaps);
    close_pool();
}

/* One list makes the struct and both texts. */
Test(stats, every_field_is_in_both_texts)
{
    static char              json[1 << 16], prometheus[1 << 18];
    static const char *const name[] = {
#define X(name, help) #name,
        WEIR_POOL_GAUGES(X) WEIR_POOL_COUNTERS(X) WEIR_POOL_RATES(X)
#undef X
    };
    open_pool(WEIR_OPTS(pool, .name = "a \"pool\"", .buffer_bytes = 4096, .buffers_min = 2));
    ok(weir_buffer_release(take()));
    int64_t length = weir_stats_format(rt, WEIR_FORMAT_JSON, json, sizeof json);
    cr_assert(length > 0 && (size_t)length < sizeof json);
    length = weir_stats_format(rt, WEIR_FORMAT_PROMETHEUS, prometheus, sizeof prometheus);
    cr_assert(length > 0 && (size_t)length < sizeof prometheus);
    const char *mine = strstr(json, "a \\\"pool\\\"");
    cr_assert_not_null(mine);
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        char field[64];
        snprintf(field, sizeof field, "\"%s\":", name[i]);
        cr_assert_not_null(strstr(mine, field), "%s", field);
        /* Units in words: ns is seconds there, ppm a ratio. */
        size_t stem = strlen(name[i]) - (strstr(name[i], "_ns") ? 3 : strstr(name[i], "_ppm") ? 4 : strstr(name[i], "_per_s") ? 2 : 0);
        snprintf(field, sizeof field, "# TYPE weir_pool_%.*s", (int)stem, name[i]);
        cr_assert_not_null(strstr(prometheus, field), "%s", field);
    }
    cr_assert_not_null(strstr(prometheus, "weir_pool_acquires_total{device=\"0\",pool=\"a \\\"pool\\\"\",kind=\"buffers\"} 1\n"));
    close_pool();
}
