/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tier_cost - what tiered pools cost: a borrow, other pools during moves, and the monitor
 *
 *     pair       borrow + return of a resident buffer, beside an acquire + release of a plain pool; one thread
 *     shared     the same by 64 threads on one buffer, reading on the host: processor time of each pair, which is the
 *                same whether or not the threads have a processor each
 *     device     64 threads on one buffer, borrowing for the device
 *     moves      acquire + release of a plain pool while the monitor moves 1 GB, beside a time without moves
 *     monitor    processor time of the monitor over 200,000 buffers, period 500 ms, 4,000 touches a second: of a working
 *                set that fits into the upper tiers, and spread over all, so that thousands move every second
 *
 * It judges nothing: the numbers depend on the machine and on who else is using it. Medians of 9 for pairs. Takes about
 * a minute and a half with --monitor-seconds 20. Build it in the release preset.
 */
#include "base/atomic.h"

#include <dirent.h>
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/weir.h>

#define REPETITIONS  9
#define PAIRS        200000
#define THREADS      64
#define SHARED_PAIRS 20000
#define DEVICE_PAIRS 2000
#define NS_PER_S     UINT64_C(1000000000)
#define NS_PER_MS    UINT64_C(1000000)

#define MOVED_BYTES   ((size_t)1 << 30)
#define MOVED_BUFFERS 1024
#define MOVED_EACH    ((size_t)256 << 10)
#define SAMPLES_MAX   ((size_t)1 << 23)

#define TRACKED     200000
#define TRACK_BYTES 512

static struct weir_runtime *rt;

static void must(int err, const char *what)
{
    char text[512];
    if (err >= 0) return;
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "tier_cost: %s: %s\n", what, text);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- pairs ---- */

static void lease_once(struct weir_pool *pool)
{
    struct weir_buffer *buffer;
    must(weir_buffer_acquire(pool, WEIR_NOW, &buffer), "acquire");
    (void)weir_buffer_release(buffer);
}

static void borrow_once(struct weir_buffer *buffer)
{
    struct weir_view view;
    must(weir_buffer_borrow(buffer, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view), "borrow");
    (void)weir_view_return(&view);
}

static double lease_pairs(struct weir_pool *pool)
{
    uint64_t begin = cpu_ns();
    for (int i = 0; i < PAIRS; i++) lease_once(pool);
    return (double)(cpu_ns() - begin) / PAIRS;
}

static double borrow_pairs(struct weir_buffer *buffer)
{
    uint64_t begin = cpu_ns();
    for (int i = 0; i < PAIRS; i++) borrow_once(buffer);
    return (double)(cpu_ns() - begin) / PAIRS;
}

static void measure_pair(struct weir_pool *plain, struct weir_buffer *buffer)
{
    double lease[REPETITIONS], borrow[REPETITIONS], ratio[REPETITIONS];
    for (int i = -1; i < REPETITIONS; i++) { /* the first warms up */
        int at = i < 0 ? 0 : i;
        lease[at] = lease_pairs(plain);
        borrow[at] = borrow_pairs(buffer);
        ratio[at] = borrow[at] / lease[at];
    }
    printf("pair     acquire+release %.1f ns, borrow+return %.1f ns: %.2f x (asked: at most 2)\n",
           median(lease, REPETITIONS), median(borrow, REPETITIONS), median(ratio, REPETITIONS));
}

struct crowd {
    struct weir_buffer *buffer;
    pthread_barrier_t   begin;
    bool                device;
    _Atomic uint64_t    spent_ns; /* processor time of all */
};

static void device_once(struct weir_buffer *buffer, struct weir_stream *stream)
{
    struct weir_view view;
    must(weir_buffer_borrow(buffer, WEIR_WHERE_DEVICE, WEIR_READ, stream, WEIR_FOREVER, &view), "borrow for the device");
    (void)weir_view_return(&view);
}

static void *borrow_in_crowd(void *arg)
{
    struct crowd       *crowd = arg;
    struct weir_stream *stream = NULL;
    if (crowd->device) must(weir_stream_share(rt, WEIR_STREAM_COMPUTE, &stream), "stream");
    for (int i = 0; i < 100; i++) borrow_once(crowd->buffer); /* first calls make the thread's record */
    pthread_barrier_wait(&crowd->begin);
    uint64_t begin = cpu_ns();
    for (int i = 0; i < SHARED_PAIRS && !crowd->device; i++) borrow_once(crowd->buffer);
    for (int i = 0; i < DEVICE_PAIRS && crowd->device; i++) device_once(crowd->buffer, stream);
    (void)wi_add(&crowd->spent_ns, cpu_ns() - begin, relaxed);
    return NULL;
}

static double run_crowd(struct weir_buffer *buffer, bool device, unsigned threads)
{
    struct crowd crowd = {.buffer = buffer, .device = device};
    pthread_t    thread[THREADS];
    pthread_barrier_init(&crowd.begin, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, borrow_in_crowd, &crowd) != 0) exit(1);
    }
    for (unsigned i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&crowd.begin);
    return (double)wi_load(&crowd.spent_ns, relaxed) / threads / (device ? DEVICE_PAIRS : SHARED_PAIRS);
}

static void measure_crowds(struct weir_buffer *buffer)
{
    double one[REPETITIONS], all[REPETITIONS], ratio[REPETITIONS];
    for (int i = 0; i < REPETITIONS; i++) {
        one[i] = run_crowd(buffer, false, 1);
        all[i] = run_crowd(buffer, false, THREADS);
        ratio[i] = all[i] / one[i];
    }
    printf("shared   1 thread %.1f ns, %d threads %.1f ns: %.2f x (asked: at most 1.3)\n", median(one, REPETITIONS), THREADS,
           median(all, REPETITIONS), median(ratio, REPETITIONS));
    must(weir_buffer_prefetch(buffer, WEIR_TIER_DEVICE, WEIR_FOREVER), "prefetch");
    for (int i = 0; i < REPETITIONS; i++) {
        one[i] = run_crowd(buffer, true, 1);
        all[i] = run_crowd(buffer, true, THREADS);
    }
    printf("device   1 thread %.0f ns, %d threads %.0f ns, processor time of a pair\n", median(one, REPETITIONS), THREADS,
           median(all, REPETITIONS));
}

static void measure_pairs(void)
{
    struct weir_pool   *plain, *tiered;
    struct weir_buffer *buffer;
    must(weir_pool_create(rt, WEIR_OPTS(pool, .name = "plain", .buffer_bytes = 4096, .buffers_min = 64), &plain), "pool");
    must(weir_tier_create(rt, WEIR_OPTS(tier, .name = "hot", .buffer_bytes = 4096, .buffers_max = 64, .device_buffers = 8),
                          &tiered), "tiered pool");
    must(weir_buffer_acquire(tiered, WEIR_NOW, &buffer), "acquire");
    measure_pair(plain, buffer);
    measure_crowds(buffer);
    (void)weir_buffer_release(buffer);
    weir_pool_destroy(tiered);
    weir_pool_destroy(plain);
}

/* ---- other pools while the monitor moves ---- */

/* In each period what is on the device goes down, and the other half comes up. */
static uint8_t          tier_now[MOVED_BUFFERS];
static bool             known[MOVED_BUFFERS];
static _Atomic uint32_t moving;

static void swap_place(void *ctx, const struct weir_policy_place *place)
{
    (void)ctx;
    tier_now[place->object] = (uint8_t)place->tier;
    known[place->object] = true;
}

static void swap_remove(void *ctx, uint32_t object)
{
    (void)ctx;
    known[object] = false;
}

static void swap_resize(void *ctx, const size_t capacity[WEIR_BOUNDARIES])
{
    (void)ctx, (void)capacity;
}

static size_t swap_period(void *ctx, const struct weir_policy_period *period, struct weir_policy_move *moves)
{
    size_t count = 0, up = 0;
    (void)ctx;
    if (!wi_load(&moving, acquire) || period->moves_max < MOVED_BUFFERS) return 0;
    for (uint32_t i = 0; i < MOVED_BUFFERS; i++) {
        if (known[i] && tier_now[i] == WEIR_TIER_DEVICE)
            moves[count++] = (struct weir_policy_move){i, WEIR_TIER_DEVICE, WEIR_TIER_PAGEABLE};
    }
    for (uint32_t i = 0; i < MOVED_BUFFERS && up < MOVED_BUFFERS / 2; i++) {
        if (!known[i] || tier_now[i] == WEIR_TIER_DEVICE) continue;
        moves[count++] = (struct weir_policy_move){i, WEIR_TIER_PAGEABLE, WEIR_TIER_DEVICE};
        up++;
    }
    for (size_t i = 0; i < count; i++) tier_now[moves[i].object] = (uint8_t)moves[i].to;
    return count;
}

static const struct weir_policy swapping = {.struct_size = sizeof swapping, .name = "swap", .place = swap_place,
                                            .remove = swap_remove, .resize = swap_resize, .period = swap_period};

static uint64_t moved_bytes(struct weir_pool *pool)
{
    struct weir_tier_stats stats = {.struct_size = sizeof stats};
    must(weir_tier_stats_read(pool, &stats), "stats");
    return stats.bytes_moved;
}

/*
 * Latencies of acquire + release until so many bytes have moved, or, if that is 0, for so long; of more than
 * SAMPLES_MAX the last ones. Answers how many there are.
 */
static size_t sample(struct weir_pool *plain, struct weir_pool *moved, uint64_t bytes, uint64_t ns, double *samples)
{
    uint64_t begin = weir_clock_ns(), before = moved_bytes(moved);
    size_t   count = 0;
    for (;;) {
        uint64_t from = weir_clock_ns();
        lease_once(plain);
        uint64_t to = weir_clock_ns();
        samples[count++ % SAMPLES_MAX] = (double)(to - from);
        if (count % 1024) continue;
        if (bytes && moved_bytes(moved) - before >= bytes) break;
        if (to - begin < ns) continue;
        if (!bytes) break;
        fprintf(stderr, "tier_cost: the monitor has moved %llu of %llu bytes in %llu s\n",
                (unsigned long long)(moved_bytes(moved) - before), (unsigned long long)bytes,
                (unsigned long long)(ns / NS_PER_S));
        exit(1);
    }
    return count < SAMPLES_MAX ? count : SAMPLES_MAX;
}

static void measure_moves(void)
{
    struct weir_pool *plain, *moved;
    double           *samples = malloc(SAMPLES_MAX * sizeof *samples);
    double            idle[REPETITIONS], busy[REPETITIONS], ratio[REPETITIONS], seconds[REPETITIONS];
    if (!samples) exit(1);
    must(weir_pool_create(rt, WEIR_OPTS(pool, .name = "other", .buffer_bytes = 4096, .buffers_min = 64), &plain), "pool");
    must(weir_tier_create(rt, WEIR_OPTS(tier, .name = "moved", .buffer_bytes = MOVED_EACH, .buffers_max = MOVED_BUFFERS,
                                        .device_percent = 50, .policy = &swapping, .period_ns = NS_PER_MS), &moved),
         "tiered pool");
    static struct weir_buffer *buffer[MOVED_BUFFERS];
    for (int i = 0; i < MOVED_BUFFERS; i++) {
        struct weir_view view;
        must(weir_buffer_acquire(moved, WEIR_NOW, &buffer[i]), "acquire");
        must(weir_buffer_borrow(buffer[i], WEIR_WHERE_HOST, WEIR_WRITE, NULL, WEIR_NOW, &view), "borrow");
        memset(view.host, i, view.bytes);
        (void)weir_view_return(&view);
    }
    for (int i = 0; i < REPETITIONS; i++) {
        wi_store(&moving, 1, release);
        uint64_t begin = weir_clock_ns();
        size_t   count = sample(plain, moved, MOVED_BYTES, 60 * NS_PER_S, samples);
        uint64_t spent = weir_clock_ns() - begin;
        wi_store(&moving, 0, release);
        qsort(samples, count, sizeof *samples, compare);
        busy[i] = samples[count * 999 / 1000];
        seconds[i] = (double)spent / (double)NS_PER_S;
        for (uint64_t before = 0, now; (now = moved_bytes(moved)) != before; before = now)
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        count = sample(plain, moved, 0, spent, samples);
        qsort(samples, count, sizeof *samples, compare);
        idle[i] = samples[count * 999 / 1000];
        ratio[i] = busy[i] / idle[i];
    }
    printf("moves    p99.9 of acquire+release %.0f ns at rest, %.0f ns while 1 GB moves in %.2f s: %.2f x (asked: at most 2)\n",
           median(idle, REPETITIONS), median(busy, REPETITIONS), median(seconds, REPETITIONS), median(ratio, REPETITIONS));
    free(samples);
    for (int i = 0; i < MOVED_BUFFERS; i++) (void)weir_buffer_release(buffer[i]);
    weir_pool_destroy(plain);
    weir_pool_destroy(moved);
}

/* ---- the monitor ---- */

/* Processor time of a thread of this process by name. */
static uint64_t thread_cpu_ns(const char *name)
{
    DIR           *tasks = opendir("/proc/self/task");
    uint64_t       spent = 0;
    bool           seen = false;
    struct dirent *task;
    while (tasks && (task = readdir(tasks))) {
        char path[320], text[128] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        bool found = fgets(text, sizeof text, file) && strncmp(text, name, strlen(name)) == 0;
        fclose(file);
        if (!found) continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", task->d_name);
        file = fopen(path, "r");
        if (file && fgets(text, sizeof text, file)) {
            spent = strtoull(text, NULL, 10);
            seen = true;
        }
        if (file) fclose(file);
    }
    if (tasks) closedir(tasks);
    if (!seen) {
        fprintf(stderr, "tier_cost: /proc/self/task tells nothing of a thread called %s\n", name);
        exit(1);
    }
    return spent;
}

/* 4,000 borrows a second for so long, of the first `among` buffers, low numbers more often. */
static void touch_for(struct weir_buffer *const *buffer, uint64_t among, unsigned seconds)
{
    static uint64_t seed = 1;
    for (uint64_t begin = weir_clock_ns(); weir_clock_ns() - begin < seconds * NS_PER_S;) {
        for (int i = 0; i < 400; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            uint64_t drawn = (seed >> 33) % among;
            borrow_once(buffer[drawn * drawn / among]);
        }
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}

static struct weir_tier_stats tier_stats(struct weir_pool *pool)
{
    struct weir_tier_stats stats = {.struct_size = sizeof stats};
    must(weir_tier_stats_read(pool, &stats), "stats");
    return stats;
}

static void watch_monitor(struct weir_pool *pool, struct weir_buffer *const *buffer, uint64_t among, unsigned seconds)
{
    touch_for(buffer, among, seconds); /* until it has settled */
    struct weir_tier_stats before = tier_stats(pool);
    uint64_t               begin = weir_clock_ns(), spent = thread_cpu_ns("weir-monitor");
    touch_for(buffer, among, seconds);
    double                 length_s = (double)(weir_clock_ns() - begin) / (double)NS_PER_S;
    struct weir_tier_stats after = tier_stats(pool);
    spent = thread_cpu_ns("weir-monitor") - spent;
    uint64_t moves = after.promotions_device + after.promotions_pinned + after.demotions - before.promotions_device -
                     before.promotions_pinned - before.demotions;
    printf("monitor  %.2f %% of a core over %d buffers, %llu of them in use, %.0f moves a second (asked: under 2 %%)\n",
           (double)spent / length_s / (double)NS_PER_S * 100, TRACKED, (unsigned long long)among, (double)moves / length_s);
}

static void measure_monitor(unsigned seconds)
{
    struct weir_pool    *pool;
    struct weir_buffer **buffer = calloc(TRACKED, sizeof *buffer);
    if (!buffer) exit(1);
    must(weir_tier_create(rt, WEIR_OPTS(tier, .name = "tracked", .buffer_bytes = TRACK_BYTES, .buffers_max = TRACKED,
                                        .device_percent = 5, .pinned_percent = 20, .period_ns = 500 * NS_PER_MS), &pool),
         "tiered pool");
    for (int i = 0; i < TRACKED; i++) {
        must(weir_buffer_acquire(pool, WEIR_NOW, &buffer[i]), "acquire");
        borrow_once(buffer[i]);
    }
    watch_monitor(pool, buffer, TRACKED / 25, seconds);
    watch_monitor(pool, buffer, TRACKED, seconds);
    for (int i = 0; i < TRACKED; i++) (void)weir_buffer_release(buffer[i]);
    free(buffer);
    weir_pool_destroy(pool);
}

static bool chosen(const char *part, const char *name)
{
    return !part || strcmp(part, name) == 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"monitor-seconds", required_argument, NULL, 'm'},
                                            {"part", required_argument, NULL, 'p'},
                                            {NULL, 0, NULL, 0}};
    unsigned                   seconds = 20;
    const char                *part = NULL;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'p') {
            part = optarg;
        } else if (c != 'm' || (seconds = (unsigned)strtoul(optarg, NULL, 10)) == 0) {
            fprintf(stderr, "usage: tier_cost [--part pairs|moves|monitor] [--monitor-seconds n]\n");
            return 2;
        }
    }
    must(weir_runtime_create(NULL, &rt), "runtime");
    if (chosen(part, "pairs")) measure_pairs();
    fflush(stdout);
    if (chosen(part, "moves")) measure_moves();
    fflush(stdout);
    if (chosen(part, "monitor")) measure_monitor(seconds);
    weir_runtime_destroy(rt);
    return 0;
}
