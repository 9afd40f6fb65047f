/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cancel - threads that are cancelled at any moment, also inside weir
 *
 * Imitates a host that ends its threads with pthread_cancel(), or kills a session whose threads hold leases. A victim
 * acquires, waits, copies, makes and trims pools; somebody cancels it at a random moment. None of weir's calls may be
 * left half-way: a lock that a victim took with it would stop everybody else. A cleanup handler of the victim releases what
 * it holds, or it is released by others later.
 *
 * Run for 3 s as a smoke test, 5 min before a merge.
 */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>
#include <weir/stream.h>

#define BUFFER_BYTES 4096
#define HELD_MAX     3
#define NS_PER_S     UINT64_C(1000000000)
#define MS           UINT64_C(1000000)

static uint64_t buffers = 6;

static const struct stress_option options[] = {
    {"buffers", &buffers, "buffers of the pool"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "cancel",
    .imitates = "a host that ends threads with pthread_cancel() while they use weir",
    .seconds = 3,
    .threads = 6,
    .options = options,
};

struct victim {
    struct stress_thread self;
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    struct weir_pool    *own; /* a pool that it made */
    struct weir_stream  *stream;
    struct weir_buffer  *held[HELD_MAX];
    size_t               count;
    bool                 cleans_up; /* else its starter does */
    pthread_t            thread;
};

static struct weir_runtime *rt;
static _Atomic uint64_t     victims, cancelled, rounds;

static void release_all(void *arg)
{
    struct victim *victim = arg;
    while (victim->count > 0) {
        struct weir_buffer *buffer = victim->held[--victim->count];
        stress_put(&victim->self, buffer);
        stress_ok(weir_buffer_release(buffer));
    }
    stress_ok(weir_stream_release(victim->stream));
    victim->stream = NULL;
    weir_pool_destroy(victim->own);
    victim->own = NULL;
}

/*
 * What weir has handed over is noted before the next place at which a thread may be cancelled; so a victim and
 * its starter know what it holds. That holds only if weir is no such place itself.
 */
static void acquire(struct victim *victim)
{
    struct weir_buffer *buffer;
    uint64_t            deadline_ns =
        victim->count ? weir_deadline_after_ns(stress_below(&victim->self, MS)) : WEIR_FOREVER;
    int err = weir_buffer_acquire(victim->pool, deadline_ns, &buffer);
    if (err == WEIR_ETIMEDOUT) return;
    stress_ok(err);
    victim->held[victim->count++] = buffer;
    stress_take(&victim->self, buffer);
}

static void release(struct victim *victim)
{
    struct weir_buffer *buffer = victim->held[--victim->count];
    stress_put(&victim->self, buffer);
    stress_ok(weir_buffer_release(buffer));
}

static void use_stream(struct victim *victim)
{
    struct weir_stream *stream;
    stress_ok(weir_stream_acquire(victim->rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream));
    victim->stream = stream;
    stress_ok(weir_stream_delay(stream, stress_below(&victim->self, MS)));
    if (victim->count > 0) stress_ok(weir_buffer_guard(victim->held[0], stream));
    (void)!weir_stream_sync(stream, weir_deadline_after_ns(stress_below(&victim->self, MS)));
    victim->stream = NULL;
    stress_ok(weir_stream_release(stream));
}

static void use_own_pool(struct victim *victim)
{
    struct weir_pool *pool;
    if (victim->own) {
        pool = victim->own;
        victim->own = NULL;
        weir_pool_destroy(pool);
        return;
    }
    stress_ok(weir_pool_create(victim->rt,
                               WEIR_OPTS(pool, .name = "own", .buffer_bytes = BUFFER_BYTES,
                                         .buffers_min = 2, .buffers_max = 64),
                               &pool));
    victim->own = pool;
    stress_ok(weir_pool_reserve(pool, 3 + stress_below(&victim->self, 60)));
    (void)!weir_pool_trim(pool, 0, weir_deadline_after_ns(MS));
}

static void *suffer(void *arg)
{
    struct victim *victim = arg;
    pthread_cleanup_push(release_all, victim);
    while (true) {
        uint64_t roll = stress_below(&victim->self, 8);
        if (roll < 3 && victim->count < HELD_MAX) {
            acquire(victim);
        } else if (roll < 6 && victim->count > 0) {
            release(victim);
        } else if (roll == 6) {
            use_stream(victim);
        } else {
            use_own_pool(victim);
        }
        wi_add(&rounds, 1, relaxed);
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return NULL;
}

/* The same without a handler: the starter finds what the victim held. */
static void *suffer_and_leave(void *arg)
{
    struct victim *victim = arg;
    pthread_t      myself = pthread_self();
    uint64_t       end_ns = weir_deadline_after_ns(stress_below(&victim->self, 3 * MS));
    while (weir_clock_ns() < end_ns) {
        if (victim->count < HELD_MAX) acquire(victim);
        if (stress_below(&victim->self, 2) && victim->count > 0) release(victim);
    }
    stress_require(pthread_cancel(myself) == 0);
    pthread_testcancel();
    return NULL;
}

static void start_victims(struct stress_thread *self)
{
    static _Atomic uint32_t serial;
    while (stress_going(self)) {
        struct victim *victim = aligned_alloc(_Alignof(struct victim), sizeof(*victim));
        void          *result;
        stress_require(victim != NULL);
        *victim = (struct victim){.rt = rt, .pool = self->ctx, .cleans_up = stress_below(self, 2)};
        victim->self.random = stress_random(self);
        victim->self.index = 100000 + wi_add(&serial, 1, relaxed);
        stress_doing(self, victim->cleans_up ? "waiting for a victim with a handler"
                                             : "waiting for a victim without a handler");
        stress_require(pthread_create(&victim->thread, NULL,
                                      victim->cleans_up ? suffer : suffer_and_leave, victim) == 0);
        if (victim->cleans_up) {
            stress_sleep_ns(stress_below(self, 5 * MS));
            stress_require(pthread_cancel(victim->thread) == 0);
        }
        stress_require(pthread_join(victim->thread, &result) == 0);
        if (result == PTHREAD_CANCELED) wi_add(&cancelled, 1, relaxed);
        if (!victim->cleans_up) release_all(victim);
        stress_require(victim->count == 0);
        free(victim);
        wi_add(&victims, 1, relaxed);
        stress_step(self);
    }
}

int main(int count, char **words)
{
    struct weir_pool *pool;
    stress_begin(&spec, count, words);
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_pool_create(
        rt, WEIR_OPTS(pool, .name = "cancel", .buffer_bytes = BUFFER_BYTES, .buffers_min = buffers),
        &pool));
    stress_require(buffers >= stress_threads(), "there must be a buffer for each victim");
    stress_watch("cancel", pool, 0);
    stress_start(start_victims, pool, stress_threads());
    stress_join();
    stress_ok(weir_runtime_sync(rt, 0, weir_deadline_after_ns(30 * NS_PER_S)));
    stress_check_rest(pool);
    stress_note("victims", (double)wi_load(&victims, relaxed));
    stress_note("cancelled", (double)wi_load(&cancelled, relaxed));
    stress_note("rounds", (double)wi_load(&rounds, relaxed));
    stress_unwatch(pool);
    weir_pool_destroy(pool);

    struct weir_runtime_stats stats = {.struct_size = sizeof(stats)};
    uint64_t                  until_ns = weir_deadline_after_ns(30 * NS_PER_S);
    do {
        stress_sleep_ns(MS);
        stress_ok(weir_runtime_stats_read(rt, &stats));
    } while (stats.pinned_bytes > 0 && weir_clock_ns() < until_ns);
    stress_require(stats.pinned_bytes == 0, "%llu bytes stay",
                   (unsigned long long)stats.pinned_bytes);
    weir_runtime_destroy(rt);
    return stress_end();
}
