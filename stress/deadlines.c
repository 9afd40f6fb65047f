/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deadlines - waits that end at their deadline, neither before nor much after it
 *
 * Imitates requests with a time limit on an overloaded server: threads wait for buffers, streams, and device work
 * with deadlines from now to some milliseconds away. A wait that times out must not end early; a hand-off
 * that meets a timeout must not get lost (the pool is whole at the end); a try must not wait for anybody. How late waits
 * end is reported beside clock_nanosleep() on threads of the same run.
 *
 * Run for 3 s as a smoke test, 5 min before a merge, 1 h under ThreadSanitizer before a release.
 */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <weir/stream.h>

#define BUFFER_BYTES 512
#define BATCH_MAX    3
#define CONTROLS     2
#define NS_PER_S     UINT64_C(1000000000)

static uint64_t buffers = 5, wait_max_ns = 3000000;

static const struct stress_option options[] = {
    {"buffers", &buffers, "buffers of the pool"},
    {"wait", &wait_max_ns, "nanoseconds to the latest deadline"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "deadlines",
    .imitates = "requests with a time limit that wait for buffers, streams and device work",
    .seconds = 3,
    .threads = 16,
    .options = options,
};

static struct weir_runtime *rt;

/* All threads' results; a thread adds its own at its end. */
static pthread_mutex_t         results_lock = PTHREAD_MUTEX_INITIALIZER;
static struct stress_histogram late, try_time, control_late;
static _Atomic uint64_t        had, timed_out, device_timed_out;

struct mine {
    struct stress_histogram late, try_time;
};

static void add_results(const struct mine *mine)
{
    pthread_mutex_lock(&results_lock);
    stress_histogram_merge(&late, &mine->late);
    stress_histogram_merge(&try_time, &mine->try_time);
    pthread_mutex_unlock(&results_lock);
}

/* A wait has ended with TIMEDOUT: was it time? */
static void note_late(struct mine *mine, uint64_t deadline_ns)
{
    uint64_t now_ns = weir_clock_ns();
    stress_require(now_ns >= deadline_ns, "%llu ns too early",
                   (unsigned long long)(deadline_ns - now_ns));
    stress_histogram_add(&mine->late, now_ns - deadline_ns);
}

/* ---- buffers ---- */

static void use(struct stress_thread *self, struct weir_buffer **held, size_t count)
{
    for (size_t at = 0; at < count; at++) stress_take(self, held[at]);
    if (stress_below(self, 3) == 0) {
        stress_sleep_ns(stress_below(self, 500000));
    } else {
        stress_spin_ns(stress_below(self, 20000));
    }
    for (size_t at = 0; at < count; at++) stress_put(self, held[at]);
    stress_ok(weir_buffers_release(held, count));
    wi_add(&had, count, relaxed);
}

static void wait_for_buffers(struct stress_thread *self, struct mine *mine, struct weir_pool *pool)
{
    struct weir_buffer *held[BATCH_MAX];
    size_t              count = stress_below(self, 8) == 0 ? BATCH_MAX : 1;
    uint64_t            deadline_ns = weir_deadline_after_ns(stress_below(self, wait_max_ns));
    int                 err = count == 1 ? weir_buffer_acquire(pool, deadline_ns, &held[0])
                                         : weir_buffers_acquire(pool, count, deadline_ns, held);
    if (err == WEIR_ETIMEDOUT) {
        note_late(mine, deadline_ns);
        wi_add(&timed_out, 1, relaxed);
        return;
    }
    stress_ok(err);
    use(self, held, count);
}

static void try_for_buffer(struct stress_thread *self, struct mine *mine, struct weir_pool *pool)
{
    struct weir_buffer *buffer;
    uint64_t            start_ns = weir_clock_ns();
    int                 err = weir_buffer_acquire(pool, WEIR_NOW, &buffer);
    stress_histogram_add(&mine->try_time, weir_clock_ns() - start_ns);
    if (err == WEIR_EAGAIN) return;
    stress_ok(err);
    use(self, &buffer, 1);
}

/* ---- streams and device work ---- */

/* The last of the work that is waited for. */
static void note_done(void *ctx)
{
    wi_store((_Atomic uint32_t *)ctx, 1, release);
}

static bool ended(struct mine *mine, int err, uint64_t deadline_ns)
{
    if (err != WEIR_ETIMEDOUT) {
        stress_ok(err);
        return true;
    }
    note_late(mine, deadline_ns);
    wi_add(&device_timed_out, 1, relaxed);
    return false;
}

static void wait_for_device(struct stress_thread *self, struct mine *mine, struct weir_pool *pool)
{
    struct weir_stream *stream;
    struct weir_event  *event;
    struct weir_buffer *buffer = NULL;
    _Atomic uint32_t    done = 0;
    uint64_t            deadline_ns = weir_deadline_after_ns(stress_below(self, wait_max_ns));
    int                 err = weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, deadline_ns, &stream);
    if (!ended(mine, err, deadline_ns)) return;
    uint64_t never_ns = weir_deadline_after_ns(30 * NS_PER_S);
    stress_ok(weir_event_acquire(rt, 0, never_ns, &event));
    if (stress_below(self, 4))
        stress_ok(weir_stream_delay(stream, stress_below(self, 2 * wait_max_ns)));
    stress_ok(weir_stream_call(stream, note_done, &done));
    stress_ok(weir_event_record(event, stream));
    deadline_ns = weir_deadline_after_ns(stress_below(self, wait_max_ns));
    switch (stress_below(self, 3)) {
    case 0:
        if (!ended(mine, weir_stream_sync(stream, deadline_ns), deadline_ns))
            stress_ok(weir_stream_sync(stream, never_ns));
        break;
    case 1:
        if (!ended(mine, weir_event_sync(event, deadline_ns), deadline_ns))
            stress_ok(weir_event_sync(event, never_ns));
        break;
    default:
        if (weir_buffer_acquire(pool, WEIR_NOW, &buffer) < 0) {
            stress_ok(weir_stream_sync(stream, never_ns));
            break;
        }
        stress_ok(weir_buffer_guard(buffer, stream));
        if (!ended(mine, weir_buffer_sync(buffer, deadline_ns), deadline_ns))
            stress_ok(weir_buffer_sync(buffer, never_ns));
        stress_ok(weir_buffer_release(buffer));
        wi_add(&had, 1, relaxed);
        break;
    }
    stress_require(wi_load(&done, acquire), "a wait has ended before the device's work");
    stress_ok(weir_event_release(event));
    stress_ok(weir_stream_release(stream));
}

static void request(struct stress_thread *self)
{
    struct weir_pool *pool = self->ctx;
    struct mine      *mine = calloc(1, sizeof(*mine));
    stress_require(mine != NULL);
    while (stress_going(self)) {
        uint64_t roll = stress_below(self, 16);
        if (roll == 0) {
            stress_doing(self, "waiting for the device");
            wait_for_device(self, mine, pool);
        } else if (roll < 4) {
            stress_doing(self, "trying");
            try_for_buffer(self, mine, pool);
        } else {
            stress_doing(self, "waiting for a buffer");
            wait_for_buffers(self, mine, pool);
        }
        stress_step(self);
    }
    add_results(mine);
    free(mine);
}

static void sleep_instead(struct stress_thread *self)
{
    struct stress_histogram mine = {.count = 0};
    while (stress_going(self)) {
        uint64_t        deadline_ns = weir_deadline_after_ns(stress_below(self, wait_max_ns));
        struct timespec at = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
                              .tv_nsec = (long)(deadline_ns % NS_PER_S)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0) {
        }
        stress_histogram_add(&mine, weir_clock_ns() - deadline_ns);
        stress_step(self);
    }
    pthread_mutex_lock(&results_lock);
    stress_histogram_merge(&control_late, &mine);
    pthread_mutex_unlock(&results_lock);
}

int main(int count, char **words)
{
    struct weir_pool *pool;
    stress_begin(&spec, count, words);
    stress_require(buffers >= BATCH_MAX);
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_pool_create(
        rt,
        WEIR_OPTS(pool, .name = "deadlines", .buffer_bytes = BUFFER_BYTES, .buffers_min = buffers),
        &pool));
    stress_watch("deadlines", pool, BATCH_MAX - 1);
    stress_spin_ns(0);
    stress_start(request, pool, stress_threads());
    stress_start(sleep_instead, NULL, CONTROLS);
    stress_join();
    stress_ok(weir_runtime_sync(rt, 0, weir_deadline_after_ns(30 * NS_PER_S)));
    stress_check_rest(pool);

    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    stress_require(stats.acquires == wi_load(&had, relaxed), "%llu leases",
                   (unsigned long long)stats.acquires);
    stress_note("leases", (double)stats.acquires);
    stress_note("timed_out", (double)wi_load(&timed_out, relaxed));
    stress_note("device_timed_out", (double)wi_load(&device_timed_out, relaxed));
    stress_note("late_p50_ns", (double)stress_histogram_quantile(&late, 0.5));
    stress_note("late_p999_ns", (double)stress_histogram_quantile(&late, 0.999));
    stress_note("late_max_ns", (double)late.max_ns);
    stress_note("control_late_p50_ns", (double)stress_histogram_quantile(&control_late, 0.5));
    stress_note("control_late_p999_ns", (double)stress_histogram_quantile(&control_late, 0.999));
    stress_note("control_late_max_ns", (double)control_late.max_ns);
    stress_note("try_p50_ns", (double)stress_histogram_quantile(&try_time, 0.5));
    stress_note("try_p999_ns", (double)stress_histogram_quantile(&try_time, 0.999));
    stress_unwatch(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return stress_end();
}
