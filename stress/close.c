/* SPDX-License-Identifier: Apache-2.0 */
/*
 * close - pools and runtimes that end while they are in use
 *
 * Imitates a server that loads and unloads models: each team has a leader that makes a pool, now and then on a
 * new runtime, and members that use it hard. Then the leader takes all buffers but those that some members keep, and
 * when every other member waits inside acquire, it destroys the pool, or the runtime. Who waits must be told CLOSED;
 * who holds a lease releases it afterwards, and its memory must still be there; nobody's memory is lost. A runtime, with
 * leases out or without, is destroyed while others sync it: they are told CLOSED, or that the work is done.
 *
 * Run for 3 s as a smoke test, 5 min before a merge, 1 h under ThreadSanitizer before a release.
 */
#include "harness.h"

#include "pool/context.h"

#include <pthread.h>
#include <stdlib.h>
#include <weir/stream.h>

#define MEMBERS      4
#define BUFFER_BYTES 4096
#define NS_PER_S     UINT64_C(1000000000)
#define MS           UINT64_C(1000000)

static const struct stress_spec spec = {
    .name = "close",
    .imitates = "a server that unloads models while requests still use their buffers",
    .seconds = 3,
    .threads = 2,
};

/* One leader and its members; the barriers make what is plain here visible. */
struct team {
    pthread_barrier_t    met;
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    uint64_t             buffers;
    bool                 keeps[MEMBERS]; /* this member still holds a lease when the pool ends */
    bool                 over;
    bool                 runtime_too;
    _Atomic bool         closing; /* no further call, but for the last one */
    _Atomic uint32_t     ready;   /* members that hold what they keep */
};

static _Atomic uint64_t pools, runtimes, told_closed, late_releases, leases, syncs;

static void use_hard(struct stress_thread *self, struct team *team)
{
    while (!wi_load(&team->closing, relaxed)) {
        struct weir_buffer *buffer;
        uint64_t deadline_ns = stress_below(self, 2) ? WEIR_NOW : weir_deadline_after_ns(MS / 4);
        int      err = weir_buffer_acquire(team->pool, deadline_ns, &buffer);
        if (err == WEIR_EAGAIN || err == WEIR_ETIMEDOUT) continue;
        stress_ok(err);
        stress_take(self, buffer);
        stress_pause(self);
        stress_put(self, buffer);
        stress_ok(weir_buffer_release(buffer));
        stress_step(self);
        wi_add(&leases, 1, relaxed);
    }
}

static void follow(struct stress_thread *self)
{
    struct team *team = (struct team *)self->ctx + self->number / MEMBERS;
    unsigned     member = self->number % MEMBERS;
    while (true) {
        struct weir_buffer *buffer;
        stress_doing(self, "meeting for a pool");
        pthread_barrier_wait(&team->met);
        if (team->over) break;
        stress_doing(self, "using the pool");
        use_hard(self, team);
        stress_doing(self, "keeping a buffer");
        if (team->keeps[member]) {
            stress_ok(weir_buffer_acquire(team->pool, WEIR_FOREVER, &buffer));
            stress_take(self, buffer);
        }
        wi_add(&team->ready, 1, seq_cst);
        if (!team->keeps[member]) {
            stress_doing(self, "waiting to be told");
            pthread_barrier_wait(&team->met); /* the leader holds the rest from here on */
            int err = weir_buffer_acquire(team->pool, WEIR_FOREVER, &buffer);
            stress_require(err == WEIR_ECLOSED, "a waiter was told %s", weir_errname(err));
            wi_add(&told_closed, 1, relaxed);
            pthread_barrier_wait(&team->met);
        } else {
            pthread_barrier_wait(&team->met);
            stress_doing(self, "waiting for the end of the pool");
            pthread_barrier_wait(&team->met); /* the pool has ended */
            stress_put(self, buffer);
            int err = weir_buffer_release(buffer);
            stress_require(err == (team->runtime_too ? WEIR_ECLOSED : 0),
                           "a late release was told %s", weir_errname(err));
            wi_add(&late_releases, 1, relaxed);
        }
        pthread_barrier_wait(&team->met); /* all have released */
        stress_step(self);
    }
}

/* All that is charged goes back, once the last lease is home. */
static void wait_for_memory(struct weir_runtime *rt)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof(stats)};
    uint64_t                  until_ns = weir_deadline_after_ns(30 * NS_PER_S);
    do {
        stress_ok(weir_runtime_stats_read(rt, &stats));
        if (stats.pinned_bytes == 0) return;
        stress_sleep_ns(MS);
    } while (weir_clock_ns() < until_ns);
    stress_require(stats.pinned_bytes == 0, "%llu bytes stay",
                   (unsigned long long)stats.pinned_bytes);
}

/* Guard some of the leader's leases with device work, so that they come home late. */
static void load_device(struct stress_thread *self, struct team *team, struct weir_buffer **held,
                        size_t count)
{
    struct weir_stream *stream;
    stress_ok(weir_stream_acquire(team->rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream));
    stress_ok(weir_stream_delay(stream, stress_below(self, 5 * MS)));
    for (size_t at = 0; at < count; at++) {
        if (stress_below(self, 2)) stress_ok(weir_buffer_guard(held[at], stream));
    }
    stress_ok(weir_stream_release(stream));
}

static void wait_until_asleep(struct weir_pool *pool, uint64_t waiting)
{
    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    do {
        stress_sleep_ns(MS / 10);
        stress_ok(weir_pool_stats_read(pool, &stats));
    } while (stats.waiting < waiting);
}

/* Those that sync a runtime while it ends. */
struct syncers {
    pthread_t            thread[2];
    struct weir_runtime *rt;
    _Atomic uint32_t     returned;
};

static void *sync_all(void *arg)
{
    struct syncers *syncers = arg;
    int             err = weir_runtime_sync(syncers->rt, 0, WEIR_FOREVER);
    stress_require(err == 0 || err == WEIR_ECLOSED, "a sync was told %s", weir_errname(err));
    wi_add(&syncers->returned, 1, seq_cst);
    return NULL;
}

static void destroy_beside_syncs(struct weir_runtime *rt)
{
    struct syncers syncers = {.rt = rt};
    for (int at = 0; at < 2; at++)
        stress_require(pthread_create(&syncers.thread[at], NULL, sync_all, &syncers) == 0, "a thread");
    for (uint32_t back = 0; back + wi_load(&wi_context_of(rt)->syncs, seq_cst) < 2; back = wi_load(&syncers.returned, seq_cst))
        stress_sleep_ns(MS / 20); /* who has returned is read first: he must not count twice */
    weir_runtime_destroy(rt);
    for (int at = 0; at < 2; at++) pthread_join(syncers.thread[at], NULL);
    wi_add(&syncs, 2, relaxed);
}

/* Nothing is leased: its streams are freed. */
static void end_runtime_at_work(struct stress_thread *self)
{
    struct weir_runtime *rt;
    struct weir_stream  *stream;
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream));
    stress_ok(weir_stream_delay(stream, stress_below(self, 2 * MS)));
    stress_ok(weir_stream_release(stream));
    destroy_beside_syncs(rt);
}

static void end_once(struct stress_thread *self, struct team *team)
{
    struct weir_buffer *held[2 * MEMBERS];
    uint64_t            kept = 0;
    if (!team->rt) {
        stress_ok(weir_runtime_create(NULL, &team->rt));
        wi_add(&runtimes, 1, relaxed);
    }
    for (unsigned at = 0; at < MEMBERS; at++) kept += team->keeps[at] = stress_below(self, 3) == 0;
    team->runtime_too = stress_below(self, 16) == 0;
    team->buffers = kept + 1 + stress_below(self, MEMBERS);
    uint32_t strategy = 1 + (uint32_t)stress_below(self, WEIR_STRATEGY_LEAST_RECENT);
    stress_ok(weir_pool_create(team->rt,
                               WEIR_OPTS(pool, .name = "close", .buffer_bytes = BUFFER_BYTES,
                                         .buffers_min = team->buffers, .strategy = strategy),
                               &team->pool));
    wi_add(&pools, 1, relaxed);
    wi_store(&team->closing, false, relaxed);
    wi_store(&team->ready, 0, relaxed);
    pthread_barrier_wait(&team->met);
    stress_sleep_ns(stress_below(self, 3 * MS));
    wi_store(&team->closing, true, relaxed);
    while (wi_load(&team->ready, seq_cst) < MEMBERS) stress_sleep_ns(MS / 20);

    uint64_t rest = team->buffers - kept;
    stress_ok(weir_buffers_acquire(team->pool, rest, WEIR_FOREVER, held));
    for (size_t at = 0; at < rest; at++) stress_take(self, held[at]);
    bool guarded = stress_below(self, 2);
    if (guarded) load_device(self, team, held, rest);
    pthread_barrier_wait(&team->met);
    wait_until_asleep(team->pool, MEMBERS - kept);
    if (!team->runtime_too) weir_pool_destroy(team->pool);
    if (team->runtime_too) destroy_beside_syncs(team->rt);
    pthread_barrier_wait(&team->met);
    for (size_t at = 0; at < rest; at++) {
        stress_put(self, held[at]);
        int err = weir_buffer_release(held[at]);
        stress_require(err == (team->runtime_too ? WEIR_ECLOSED : 0), "a late release was told %s",
                       weir_errname(err));
    }
    wi_add(&late_releases, rest, relaxed);
    pthread_barrier_wait(&team->met);
    if (team->runtime_too) {
        end_runtime_at_work(self);
        team->rt = NULL;
    } else {
        wait_for_memory(team->rt);
    }
}

static void lead(struct stress_thread *self)
{
    struct team *team = (struct team *)self->ctx + self->number;
    while (stress_going(self)) {
        stress_doing(self, "making and ending a pool");
        end_once(self, team);
        stress_step(self);
    }
    team->over = true;
    pthread_barrier_wait(&team->met);
    weir_runtime_destroy(team->rt);
}

int main(int count, char **words)
{
    stress_begin(&spec, count, words);
    struct team *teams = calloc(stress_threads(), sizeof(*teams));
    stress_require(teams != NULL);
    for (uint64_t at = 0; at < stress_threads(); at++)
        pthread_barrier_init(&teams[at].met, NULL, MEMBERS + 1);
    stress_start(lead, teams, stress_threads());
    stress_start(follow, teams, stress_threads() * MEMBERS);
    stress_join();
    for (uint64_t at = 0; at < stress_threads(); at++) pthread_barrier_destroy(&teams[at].met);
    free(teams);
    stress_note("pools", (double)wi_load(&pools, relaxed));
    stress_note("runtimes", (double)wi_load(&runtimes, relaxed));
    stress_note("leases", (double)wi_load(&leases, relaxed));
    stress_note("told_closed", (double)wi_load(&told_closed, relaxed));
    stress_note("late_releases", (double)wi_load(&late_releases, relaxed));
    stress_note("syncs", (double)wi_load(&syncs, relaxed));
    return stress_end();
}
