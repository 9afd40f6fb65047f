/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_storm - many threads take and give back buffers of one pool in every way there is
 *
 * Imitates a server whose request threads all stage through one pool: some try, some wait a while, some wait
 * for ever, some want several at once, some matter more than others, and all are preempted at the worst
 * moments. Every buffer is claimed by an owner word and stamped; at the end nothing is missing.
 *
 *     --exact 1   each thread only tries, and holds at most one of at least as many buffers as threads: an
 *                 answer of AGAIN is then a broken promise
 *
 * pool_storm_paused is the same over a library that pauses inside its scans (pauses.c).
 *
 * Run for 5 s as a smoke test, 5 min before a merge, also with WEIR_SLOTS=0 and 256; --exact 1 --pairs
 * 100000000 at 2, 8 and 64 threads, and 1 h under ThreadSanitizer, before a release.
 */
#include "harness.h"

#include <sched.h>
#include <stdlib.h>

#define HELD_MAX 16

static uint64_t exact, pairs, buffers = 24, buffer_bytes = 512,
                              strategy = WEIR_STRATEGY_MOST_RECENT;
static uint64_t headroom, held_max = 4;

static const struct stress_option options[] = {
    {"exact", &exact, "1: only tries that must succeed"},
    {"pairs", &pairs, "pairs of acquire and release in all; 0: until the time is over"},
    {"buffers", &buffers, "buffers of the pool"},
    {"bytes", &buffer_bytes, "bytes of a buffer"},
    {"strategy", &strategy, "enum weir_strategy"},
    {"headroom", &headroom, "of PRIORITY: buffers for the high class"},
    {"held", &held_max, "buffers that a thread holds at most"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "pool_storm",
    .imitates = "request threads that take and give back staging buffers in every way there is",
    .seconds = 4,
    .threads = 16,
    .options = options,
};

static _Atomic uint64_t pairs_made, empty, late, batches, false_empty;

/* ---- exact ---- */

static void try_exactly(struct stress_thread *self)
{
    struct weir_pool *pool = self->ctx;
    uint64_t          made = 0;
    uint64_t          share =
        pairs ? pairs / stress_threads() + (self->number < pairs % stress_threads()) : UINT64_MAX;
    for (; made < share && stress_going(self); made++) {
        struct weir_buffer *buffer;
        int                 err = weir_buffer_acquire(pool, WEIR_NOW, &buffer);
        if (err == WEIR_EAGAIN) { /* counted, so that the end can tell how often */
            wi_add(&false_empty, 1, relaxed);
            continue;
        }
        stress_ok(err);
        stress_take(self, buffer);
        if (stress_random(self) % 8192 == 0) sched_yield();
        stress_put(self, buffer);
        stress_ok(weir_buffer_release(buffer));
        if (made % 64 == 0) stress_step(self);
    }
    wi_add(&pairs_made, made, relaxed);
}

/* ---- mixed ---- */

struct held {
    struct weir_buffer *buffer[HELD_MAX];
    size_t              count;
};

static void release_one(struct stress_thread *self, struct held *held)
{
    size_t              at = stress_below(self, held->count);
    struct weir_buffer *buffer = held->buffer[at];
    held->buffer[at] = held->buffer[--held->count];
    stress_put(self, buffer);
    stress_ok(weir_buffer_release(buffer));
}

static void keep(struct stress_thread *self, struct held *held, size_t count)
{
    for (size_t at = 0; at < count; at++) stress_take(self, held->buffer[held->count++]);
    wi_add(&pairs_made, count, relaxed);
}

/* Nobody may hold and wait without end: a thread with a buffer in its hands only tries, or waits a little. */
static uint64_t some_deadline(struct stress_thread *self, const struct held *held)
{
    switch (stress_below(self, 4)) {
    case 0:
        return WEIR_NOW;
    case 1:
        return held->count == 0 ? WEIR_FOREVER : WEIR_NOW;
    default:
        return weir_deadline_after_ns(stress_below(self, 3000000));
    }
}

/* Count an acquire that ended empty-handed; anything but patience running out is a failure. */
static void count_empty(int err, uint64_t deadline_ns)
{
    bool expected = deadline_ns == WEIR_NOW ? err == WEIR_EAGAIN : err == WEIR_ETIMEDOUT;
    stress_require(expected && deadline_ns != WEIR_FOREVER, "acquire answered %s",
                   weir_errname(err));
    if (deadline_ns == WEIR_NOW) {
        wi_add(&empty, 1, relaxed);
        return;
    }
    stress_require(weir_clock_ns() >= deadline_ns, "the deadline is not over");
    wi_add(&late, 1, relaxed);
}

static void acquire_one(struct stress_thread *self, struct held *held)
{
    struct weir_pool *pool = self->ctx;
    uint64_t          deadline_ns = some_deadline(self, held);
    int               err;
    if (stress_below(self, 2) == 0) {
        err = weir_buffer_acquire(pool, deadline_ns, &held->buffer[held->count]);
    } else {
        uint32_t priority = (uint32_t)stress_below(self, WEIR_PRIORITY_HIGH + 1);
        err = weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = priority), deadline_ns,
                                       &held->buffer[held->count]);
    }
    if (err < 0) {
        count_empty(err, deadline_ns);
    } else {
        keep(self, held, 1);
    }
}

static void acquire_batch(struct stress_thread *self, struct held *held)
{
    struct weir_pool *pool = self->ctx;
    size_t            count = 1 + stress_below(self, held_max - held->count);
    if (stress_below(self, 4) == 0) {
        int had = weir_buffers_acquire_some(pool, count, &held->buffer[held->count]);
        if (had < 0) {
            count_empty(had, WEIR_NOW);
        } else {
            keep(self, held, (size_t)had);
        }
        return;
    }
    uint64_t deadline_ns = some_deadline(self, held);
    int      err = weir_buffers_acquire(pool, count, deadline_ns, &held->buffer[held->count]);
    if (err < 0) {
        count_empty(err, deadline_ns);
    } else {
        keep(self, held, count);
        wi_add(&batches, 1, relaxed);
    }
}

static void storm(struct stress_thread *self)
{
    struct held held = {.count = 0};
    while (stress_going(self)) {
        uint64_t roll = stress_below(self, 16);
        if (held.count > 0 && (roll < 8 || held.count >= held_max)) {
            stress_doing(self, "releasing");
            release_one(self, &held);
        } else if (roll < 15) {
            stress_doing(self, "acquiring");
            acquire_one(self, &held);
        } else {
            stress_doing(self, "acquiring a batch");
            acquire_batch(self, &held);
        }
        stress_step(self);
        stress_pause(self);
    }
    while (held.count > 0) release_one(self, &held);
}

int main(int count, char **words)
{
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    stress_begin(&spec, count, words);
    stress_require(held_max >= 1 && held_max <= HELD_MAX);
    stress_require(exact || held_max <= buffers - headroom, "a batch must fit");
    stress_require(!exact || stress_threads() <= buffers, "exact needs a buffer for each thread");

    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(
        weir_pool_create(rt,
                         WEIR_OPTS(pool, .name = "storm", .buffer_bytes = buffer_bytes,
                                   .buffers_min = buffers, .buffers_max = buffers,
                                   .strategy = (uint32_t)strategy, .headroom = (uint32_t)headroom),
                         &pool));
    stress_watch("storm", pool, headroom + held_max);
    stress_start(exact ? try_exactly : storm, pool, stress_threads());
    uint64_t start_ns = weir_clock_ns();
    stress_join();
    double seconds = (double)(weir_clock_ns() - start_ns) / 1e9;
    stress_check_rest(pool);

    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    uint64_t made = wi_load(&pairs_made, relaxed);
    stress_require(stats.acquires == made, "the pool counts %llu leases, the threads %llu",
                   (unsigned long long)stats.acquires, (unsigned long long)made);
    stress_require(wi_load(&false_empty, relaxed) == 0,
                   "%llu tries found nothing, with a buffer for each thread",
                   (unsigned long long)wi_load(&false_empty, relaxed));
    stress_require(pairs == 0 || !exact || made == pairs, "the time was too short for all pairs");
    stress_note("pairs", (double)made);
    stress_note("pairs_per_s", (double)made / seconds);
    stress_note("false_empty", (double)wi_load(&false_empty, relaxed));
    stress_note("empty", (double)wi_load(&empty, relaxed));
    stress_note("timed_out", (double)wi_load(&late, relaxed));
    stress_note("batches", (double)wi_load(&batches, relaxed));
    stress_note("handoffs", (double)stats.handoffs);
    stress_note("commons_hits", (double)stats.commons_hits);
    stress_note("steal_hits", (double)stats.steal_hits);
    stress_note("acquire_p999_ns", (double)stats.acquire.p999_ns);
    stress_note("wait_p999_ns", (double)stats.wait.p999_ns);
    stress_unwatch(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return stress_end();
}
