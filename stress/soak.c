/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak - everything at once, for a long time
 *
 * Imitates a serving process over days: pools of each strategy, one that grows and shrinks, uploads, downloads and
 * guards, requests with and without limits of time, threads that come and go, pools that come and go, and somebody who
 * reads the statistics all the while. Every so often the process's memory, its open files and weir's own
 * books are looked at: after the first half none of them may go on growing.
 *
 * Run for 4 s as a smoke test, 5 min before a merge, overnight before a release: --seconds 36000.
 */
#include "harness.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/stream.h>

#define POOLS        4
#define BUFFER_BYTES 8192
#define BODY_BYTES   (BUFFER_BYTES - 2 * STRESS_STAMP_BYTES)
#define HELD_MAX     4
#define THREADS_MAX  256
#define NS_PER_S     UINT64_C(1000000000)
#define MS           UINT64_C(1000000)
#define SLACK_BYTES                                                                                \
    (UINT64_C(48) << 20) /* allocators keep what they had: this much drift is theirs */
#define SLACK_FILES 8

static uint64_t report_s = 60;

static const struct stress_option options[] = {
    {"report", &report_s, "seconds between two lines about the process; 0: none"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "soak",
    .imitates = "a serving process over days, with everything that it does",
    .seconds = 4,
    .threads = 6,
    .options = options,
};

static struct weir_runtime *rt;
static struct weir_pool    *pools[POOLS];
static uint64_t             address[THREADS_MAX];
static _Atomic uint64_t     leases, transfers, guests, own_pools, texts;

/* ---- requests ---- */

static struct weir_slice body_of(struct weir_buffer *buffer)
{
    return weir_slice(buffer, STRESS_STAMP_BYTES, BODY_BYTES);
}

/* The last of what a request queues before it waits. */
static void note_done(void *ctx)
{
    wi_store((_Atomic uint32_t *)ctx, 1, relaxed);
}

static void transfer(struct stress_thread *self, struct weir_buffer *buffer)
{
    _Atomic uint32_t    done = 0;
    struct weir_stream *stream;
    uint32_t stream_class = WEIR_STREAM_COMPUTE + (uint32_t)stress_below(self, WEIR_STREAM_HIGH);
    if (weir_stream_acquire(rt, stream_class, weir_deadline_after_ns(5 * MS), &stream) < 0) return;
    uint64_t mine = address[self->number];
    switch (stress_below(self, 4)) {
    case 0:
        stress_ok(weir_stream_delay(stream, stress_below(self, MS / 2)));
        break;
    case 1:
        stress_ok(weir_stream_upload(stream, mine, body_of(buffer)));
        break;
    case 2:
        stress_ok(weir_stream_download(stream, body_of(buffer), mine));
        break;
    default:
        break;
    }
    stress_ok(weir_stream_call(stream, note_done, &done));
    stress_ok(weir_buffer_guard(buffer, stream));
    /* Two streams may not touch this thread's device memory at once. */
    stress_ok(weir_stream_sync(stream, weir_deadline_after_ns(60 * NS_PER_S)));
    stress_require(wi_load(&done, relaxed), "a sync has ended before the stream's work");
    if (stress_below(self, 4) == 0)
        stress_ok(weir_stream_delay(stream, stress_below(self, MS / 2)));
    stress_ok(weir_buffer_guard(buffer, stream));
    stress_ok(weir_stream_release(stream));
    wi_add(&transfers, 1, relaxed);
}

static void serve_request(struct stress_thread *self)
{
    struct weir_pool   *pool = pools[stress_below(self, POOLS)];
    struct weir_buffer *held[HELD_MAX];
    uint32_t            priority = (uint32_t)stress_below(self, WEIR_PRIORITY_HIGH + 1);
    size_t              count = stress_below(self, 8) == 0 ? 1 + stress_below(self, HELD_MAX) : 1;
    uint64_t            deadline_ns =
        stress_below(self, 2) ? WEIR_FOREVER : weir_deadline_after_ns(stress_below(self, 2 * MS));
    stress_doing(self, "acquiring");
    int err = count > 1 ? weir_buffers_acquire(pool, count, deadline_ns, held)
                        : weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = priority),
                                                   deadline_ns, &held[0]);
    if (err == WEIR_ETIMEDOUT) return;
    stress_ok(err);
    for (size_t at = 0; at < count; at++) stress_take(self, held[at]);
    stress_doing(self, "transferring");
    if (stress_below(self, 3) == 0) transfer(self, held[0]);
    stress_pause(self);
    for (size_t at = 0; at < count; at++) {
        stress_put(self, held[at]);
        stress_ok(weir_buffer_release(held[at]));
    }
    wi_add(&leases, count, relaxed);
}

static void serve(struct stress_thread *self)
{
    while (stress_going(self)) {
        serve_request(self);
        stress_step(self);
        if (stress_below(self, 512) == 0)
            stress_sleep_ns(stress_below(self, 40 * MS)); /* the pools shrink */
    }
}

/* ---- beside them ---- */

static void *visit(void *arg)
{
    struct stress_thread *guest = arg;
    serve_request(guest);
    return NULL;
}

/* Threads and pools that come and go. */
static void come_and_go(struct stress_thread *self)
{
    while (stress_going(self)) {
        struct stress_thread guest = {
            .index = 100000 + self->index,
            .number = THREADS_MAX - 1 - self->number, /* device memory of its own */
            .random = stress_random(self),
        };
        pthread_t thread;
        stress_require(pthread_create(&thread, NULL, visit, &guest) == 0);
        stress_require(pthread_join(thread, NULL) == 0);
        wi_add(&guests, 1, relaxed);
        struct weir_pool   *pool;
        struct weir_buffer *buffer;
        stress_ok(
            weir_pool_create(rt,
                             WEIR_OPTS(pool, .name = "short-lived", .buffer_bytes = BUFFER_BYTES,
                                       .buffers_min = 1 + stress_below(self, 8)),
                             &pool));
        stress_ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
        stress_take(self, buffer);
        weir_pool_destroy(pool);
        stress_put(self, buffer);
        stress_ok(weir_buffer_release(buffer));
        wi_add(&own_pools, 1, relaxed);
        stress_step(self);
        stress_sleep_ns(stress_below(self, 4 * MS));
    }
}

static void read_statistics(struct stress_thread *self)
{
    size_t capacity = 1 << 16;
    char  *text = malloc(capacity);
    stress_require(text != NULL);
    while (stress_going(self)) {
        uint32_t format = stress_below(self, 2) ? WEIR_FORMAT_JSON : WEIR_FORMAT_PROMETHEUS;
        int64_t  length = weir_stats_format(rt, format, text, capacity);
        stress_require(length > 0 && (size_t)length < capacity, "%lld", (long long)length);
        stress_require(strlen(text) == (size_t)length);
        wi_add(&texts, 1, relaxed);
        stress_sleep_ns(stress_below(self, 20 * MS));
    }
    free(text);
}

/* ---- the process ---- */

struct process {
    uint64_t resident_bytes;
    uint64_t files;
};

static struct process look_at_process(void)
{
    struct process     now = {0};
    unsigned long long pages = 0;
    FILE              *file = fopen("/proc/self/statm", "re");
    stress_require(file && fscanf(file, "%*u %llu", &pages) == 1);
    fclose(file);
    now.resident_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    DIR *folder = opendir("/proc/self/fd");
    stress_require(folder != NULL);
    while (readdir(folder)) now.files++;
    closedir(folder);
    return now;
}

static struct process most, last; /* the most in the first half, and what there is now */

static void look_after(struct stress_thread *self)
{
    uint64_t start_ns = weir_clock_ns();
    uint64_t half_ns = start_ns + stress_seconds() * NS_PER_S / 2;
    uint64_t next_ns = start_ns + report_s * NS_PER_S;
    while (stress_going(self)) {
        stress_sleep_ns(50 * MS);
        last = look_at_process();
        uint64_t now_ns = weir_clock_ns();
        if (now_ns < half_ns) {
            if (last.resident_bytes > most.resident_bytes)
                most.resident_bytes = last.resident_bytes;
            if (last.files > most.files) most.files = last.files;
        }
        if (report_s == 0 || now_ns < next_ns) continue;
        next_ns = now_ns + report_s * NS_PER_S;
        printf("  %6.0f s: %llu leases, %llu transfers, %llu MiB resident, %llu files\n",
               (double)(now_ns - start_ns) / 1e9, (unsigned long long)wi_load(&leases, relaxed),
               (unsigned long long)wi_load(&transfers, relaxed),
               (unsigned long long)last.resident_bytes >> 20, (unsigned long long)last.files);
        fflush(stdout);
    }
}

static void make_pools(void)
{
    static const uint32_t strategy[POOLS] = {WEIR_STRATEGY_MOST_RECENT, WEIR_STRATEGY_ROUND_ROBIN,
                                             WEIR_STRATEGY_PRIORITY, WEIR_STRATEGY_MOST_RECENT};
    static const char *const name[POOLS] = {"recent", "robin", "priority", "growing"};
    for (unsigned at = 0; at < POOLS; at++) {
        stress_ok(
            weir_pool_create(rt,
                             WEIR_OPTS(pool, .name = name[at], .buffer_bytes = BUFFER_BYTES,
                                       .buffers_min = at == 3 ? HELD_MAX : 8,
                                       .buffers_max = at == 3 ? 64 : 8, .strategy = strategy[at],
                                       .headroom = at == 2 ? 2 : 0, .low_water_percent = 50,
                                       .grow_cooldown_ns = MS, .shrink_cooldown_ns = 10 * MS),
                             &pools[at]));
        stress_watch(name[at], pools[at], HELD_MAX + 2);
    }
}

int main(int count, char **words)
{
    stress_begin(&spec, count, words);
    stress_require(stress_threads() < THREADS_MAX - 8); /* the last places are for guests */
    stress_ok(weir_runtime_create(NULL, &rt));
    make_pools();
    for (unsigned at = 0; at < THREADS_MAX; at++)
        stress_ok(weir_device_alloc(rt, BODY_BYTES, &address[at]));
    stress_start(serve, NULL, stress_threads());
    stress_start(come_and_go, NULL, 2);
    stress_start(read_statistics, NULL, 1);
    stress_start(look_after, NULL, 1);
    stress_join();
    stress_ok(weir_runtime_sync(rt, 0, weir_deadline_after_ns(60 * NS_PER_S)));
    for (unsigned at = 0; at < POOLS; at++) stress_check_rest(pools[at]);
    stress_require(last.files <= most.files + SLACK_FILES, "%llu files, and %llu before",
                   (unsigned long long)last.files, (unsigned long long)most.files);
    stress_require(last.resident_bytes <= most.resident_bytes + SLACK_BYTES,
                   "%llu bytes, and %llu before", (unsigned long long)last.resident_bytes,
                   (unsigned long long)most.resident_bytes);

    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pools[3], &stats));
    stress_note("leases", (double)wi_load(&leases, relaxed));
    stress_note("transfers", (double)wi_load(&transfers, relaxed));
    stress_note("threads_come_and_gone", (double)wi_load(&guests, relaxed));
    stress_note("pools_come_and_gone", (double)wi_load(&own_pools, relaxed));
    stress_note("statistics_read", (double)wi_load(&texts, relaxed));
    stress_note("grows", (double)stats.grows);
    stress_note("shrinks", (double)stats.shrinks);
    stress_note("resident_bytes_first_half", (double)most.resident_bytes);
    stress_note("resident_bytes_last", (double)last.resident_bytes);
    for (unsigned at = 0; at < THREADS_MAX; at++) stress_ok(weir_device_free(rt, address[at]));
    for (unsigned at = 0; at < POOLS; at++) {
        stress_unwatch(pools[at]);
        weir_pool_destroy(pools[at]);
    }
    struct weir_runtime_stats runtime = {.struct_size = sizeof(runtime)};
    /* What was still in flight when its pool was destroyed comes home, and the monitor frees it. */
    for (unsigned tries = 0; tries < 1000; tries++) {
        stress_ok(weir_runtime_stats_read(rt, &runtime));
        if (runtime.pinned_bytes == 0 && runtime.device_bytes == 0) break;
        stress_sleep_ns(10 * UINT64_C(1000000));
    }
    stress_require(runtime.pinned_bytes == 0 && runtime.device_bytes == 0,
                   "%llu pinned, %llu device bytes stay", (unsigned long long)runtime.pinned_bytes,
                   (unsigned long long)runtime.device_bytes);
    weir_runtime_destroy(rt);
    return stress_end();
}
