/* SPDX-License-Identifier: Apache-2.0 */
/*
 * growth - a pool that grows and shrinks all the time, under a budget that is too small for its maximum
 *
 * Imitates a server with bursts: request threads take many buffers at once, leave some of them to the device, and
 * are idle for a while. The pool's cooldowns are a few milliseconds, so it grows, fails to grow, shrinks and
 * changes its mind under load; one thread reserves and trims at random; others look buffers up by address. A
 * buffer whose memory went away while it was leased, retiring or looked up would crash, or lose its stamps.
 *
 * Run for 4 s as a smoke test, 5 min before a merge, 1 h under ThreadSanitizer before a release.
 */
#include "harness.h"

#include <stdlib.h>
#include <weir/stream.h>

#define HELD_MAX 32
#define SEEN     256
#define NS_PER_S UINT64_C(1000000000)
#define MS       UINT64_C(1000000)

static uint64_t buffers_min = 2, buffers_max = 128, buffer_bytes = 8192, budget_percent = 75;

static const struct stress_option options[] = {
    {"min", &buffers_min, "buffers that the pool always has"},
    {"max", &buffers_max, "buffers that it may have"},
    {"bytes", &buffer_bytes, "bytes of a buffer"},
    {"budget", &budget_percent, "percent of the maximum that the budget allows"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "growth",
    .imitates = "bursts of requests on a pool that grows and shrinks all the time",
    .seconds = 4,
    .threads = 8,
    .options = options,
};

static struct weir_runtime *rt;
static _Atomic uintptr_t    seen[SEEN]; /* addresses of buffers, some of them long gone */
static _Atomic uint64_t     leases, found, gone, trims, reserves;

/* ---- requests ---- */

static void look_up_own(struct stress_thread *self, const struct weir_buffer *buffer)
{
    struct weir_buffer *same;
    const char         *at = (const char *)buffer->host + stress_below(self, buffer->bytes);
    stress_ok(weir_buffer_find(rt, at, &same));
    stress_require(same->host == buffer->host, "%p was looked for", (const void *)at);
}

static size_t take_burst(struct stress_thread *self, struct weir_buffer **held)
{
    struct weir_pool *pool = self->ctx;
    size_t            wanted = 1 + stress_below(self, HELD_MAX);
    size_t            count = 0;
    while (count < wanted) {
        uint64_t deadline_ns =
            count == 0 ? WEIR_FOREVER : weir_deadline_after_ns(stress_below(self, MS));
        stress_doing(self, "acquiring");
        int err = weir_buffer_acquire(pool, deadline_ns, &held[count]);
        if (err == WEIR_ETIMEDOUT) break;
        stress_ok(err);
        stress_take(self, held[count]);
        wi_store(&seen[stress_below(self, SEEN)], (uintptr_t)held[count]->host, relaxed);
        if (stress_below(self, 4) == 0) look_up_own(self, held[count]);
        count++;
        stress_step(self);
    }
    wi_add(&leases, count, relaxed);
    return count;
}

/* Some go home late: a stream is busy, and they are guarded by it. */
static void release_burst(struct stress_thread *self, struct weir_buffer **held, size_t count)
{
    struct weir_stream *stream = NULL;
    if (stress_below(self, 2) == 0)
        (void)!weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream);
    if (stream) stress_ok(weir_stream_delay(stream, stress_below(self, 2 * MS)));
    for (size_t at = 0; at < count; at++) {
        if (stream && stress_below(self, 2) == 0) stress_ok(weir_buffer_guard(held[at], stream));
        stress_put(self, held[at]);
        stress_ok(weir_buffer_release(held[at]));
    }
    if (stream) stress_ok(weir_stream_release(stream));
}

static void request(struct stress_thread *self)
{
    struct weir_buffer *held[HELD_MAX];
    while (stress_going(self)) {
        for (uint64_t bursts = stress_below(self, 8); bursts > 0 && stress_going(self); bursts--) {
            size_t count = take_burst(self, held);
            stress_pause(self);
            release_burst(self, held, count);
        }
        stress_sleep_ns(stress_below(self, 30 * MS));
        stress_step(self);
    }
}

/* ---- beside them ---- */

static void tend(struct stress_thread *self)
{
    struct weir_pool *pool = self->ctx;
    while (stress_going(self)) {
        size_t buffers = stress_below(self, buffers_max + 1);
        if (stress_below(self, 3) == 0) {
            stress_doing(self, "reserving");
            int err = weir_pool_reserve(pool, buffers);
            stress_require(err == 0 || err == WEIR_EEXCEEDS, "reserve answered %s",
                           weir_errname(err));
            wi_add(&reserves, 1, relaxed);
        } else {
            stress_doing(self, "trimming");
            int err =
                weir_pool_trim(pool, buffers, weir_deadline_after_ns(stress_below(self, 20 * MS)));
            stress_require(err == 0 || err == WEIR_ETIMEDOUT, "trim answered %s",
                           weir_errname(err));
            wi_add(&trims, 1, relaxed);
        }
        stress_sleep_ns(stress_below(self, 10 * MS));
    }
}

static void look_up(struct stress_thread *self)
{
    struct weir_buffer *buffer;
    while (stress_going(self)) {
        uintptr_t at = wi_load(&seen[stress_below(self, SEEN)], relaxed);
        int       err =
            weir_buffer_find(rt, (const void *)(at + stress_below(self, buffer_bytes)), &buffer);
        stress_require(err == 0 || err == WEIR_ENOENT, "find answered %s", weir_errname(err));
        wi_add(err == 0 ? &found : &gone, 1, relaxed);
        stress_pause(self);
    }
}

/* Nobody uses the pool any more, but a growth that was asked for before may still come. */
static void trim_to_min(struct weir_pool *pool)
{
    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    uint64_t               until_ns = weir_deadline_after_ns(30 * NS_PER_S);
    do {
        stress_ok(weir_pool_trim(pool, 0, until_ns));
        stress_ok(weir_pool_stats_read(pool, &stats));
        if (stats.total == buffers_min) return;
        stress_sleep_ns(10 * MS);
    } while (weir_clock_ns() < until_ns);
    stress_require(stats.total == buffers_min, "%llu buffers stay", (unsigned long long)stats.total);
}

int main(int count, char **words)
{
    struct weir_pool *pool;
    stress_begin(&spec, count, words);
    uint64_t budget = buffers_max * buffer_bytes * budget_percent / 100;
    stress_ok(weir_runtime_create(WEIR_OPTS(runtime, .pinned_bytes_max = budget), &rt));
    stress_ok(weir_pool_create(rt,
                               WEIR_OPTS(pool, .name = "growth", .buffer_bytes = buffer_bytes,
                                         .buffers_min = buffers_min, .buffers_max = buffers_max,
                                         .low_water_percent = 50, .shrink_percent = 60,
                                         .grow_cooldown_ns = MS / 2, .shrink_cooldown_ns = 3 * MS),
                               &pool));
    stress_watch("growth", pool, 0);
    stress_start(request, pool, stress_threads());
    stress_start(tend, pool, 1);
    stress_start(look_up, pool, 2);
    stress_join();
    stress_ok(weir_runtime_sync(rt, 0, weir_deadline_after_ns(30 * NS_PER_S)));
    trim_to_min(pool);
    stress_check_rest(pool);

    struct weir_pool_stats    stats = {.struct_size = sizeof(stats)};
    struct weir_runtime_stats runtime = {.struct_size = sizeof(runtime)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    stress_require(stats.acquires == wi_load(&leases, relaxed), "%llu leases",
                   (unsigned long long)stats.acquires);
    stress_note("leases", (double)stats.acquires);
    stress_note("grows", (double)stats.grows);
    stress_note("grow_failures", (double)stats.grow_failures);
    stress_note("shrinks", (double)stats.shrinks);
    stress_note("reserves", (double)wi_load(&reserves, relaxed));
    stress_note("trims", (double)wi_load(&trims, relaxed));
    stress_note("addresses_found", (double)wi_load(&found, relaxed));
    stress_note("addresses_gone", (double)wi_load(&gone, relaxed));
    stress_unwatch(pool);
    weir_pool_destroy(pool);
    stress_ok(weir_runtime_stats_read(rt, &runtime));
    stress_require(runtime.pinned_bytes == 0, "%llu bytes are charged for nothing",
                   (unsigned long long)runtime.pinned_bytes);
    weir_runtime_destroy(rt);
    return stress_end();
}
