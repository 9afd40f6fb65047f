/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slabs - slabs made, used and destroyed by several threads under one budget, and what making one
 * costs
 *
 *     slabs [seconds] [threads] [seed]
 *     slabs measure [MiB]
 *
 * Imitates the start and the growth of several pools at once: each thread makes a slab of a random
 * shape, some of them cancelled on the way, writes a pattern to both ends of every block, looks
 * each up by address, and destroys it. At the end the budget must be back at 0 and nothing
 * registered. Run for 5 s as a smoke test, under ThreadSanitizer for 1 min before a release.
 *
 * `measure` prints how long populating, registering and destroying take, by threads and chunk
 * length. On the host backend registering is an entry in a table, so the times are those of the
 * memory alone.
 */
#include "device/host.h"
#include "memory/memory.h"
#include "memory/populate.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB         ((size_t)1 << 20)
#define THREADS_MAX 64

static struct wi_device *device;
static struct wi_budget  budget;
static _Atomic uint64_t  made, cancelled, refused;
static uint64_t          deadline_ns;

struct worker {
    pthread_t thread;
    uint64_t  seed;
    uint32_t  progress_left; /* calls until it cancels; 0: never */
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static int on_progress(void *ctx, size_t bytes_ready, size_t bytes_total)
{
    struct worker *worker = ctx;
    wi_require(bytes_ready <= bytes_total);
    return worker->progress_left > 0 && --worker->progress_left == 0;
}

static void use(struct wi_slab *slab, uint64_t stamp)
{
    for (size_t index = 0; index < slab->blocks; index++) {
        char *host = wi_slab_block(slab, index).host;
        memcpy(host, &stamp, sizeof(stamp));
        memcpy(host + slab->block_bytes - sizeof(stamp), &index, sizeof(index));
    }
    for (size_t index = 0; index < slab->blocks; index++) {
        char  *host = wi_slab_block(slab, index).host;
        size_t last;
        wi_require(memcmp(host, &stamp, sizeof(stamp)) == 0);
        memcpy(&last, host + slab->block_bytes - sizeof(last), sizeof(last));
        wi_require(last == index);
        wi_require(wi_slab_find(slab, host) == index);
        wi_require(wi_slab_find(slab, host + slab->block_bytes - 1) == index);
    }
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    while (weir_clock_ns() < deadline_ns) {
        uint64_t        roll = next_random(&worker->seed);
        size_t          block_bytes = 16 + roll % 3000000;
        struct wi_slab *slab = NULL;
        worker->progress_left = roll >> 62 == 0 ? 1 + (uint32_t)(roll >> 32) % 8 : 0;
        int err = wi_slab_create(
            &(struct wi_slab_opts){
                .device = device,
                .budget = &budget,
                .block_bytes = block_bytes,
                .blocks = 1 + (size_t)(roll >> 24) % 64,
                .memory = (roll >> 60 & 1) ? WEIR_MEMORY_PINNED : WEIR_MEMORY_PAGEABLE,
                .chunk_bytes_max = 8 * MIB,
                .progress = on_progress,
                .ctx = worker,
            },
            &slab);
        wi_require(err == 0 || err == WEIR_EEXCEEDS || err == WEIR_ECANCELED);
        if (err == WEIR_EEXCEEDS) (void)wi_add(&refused, 1, relaxed);
        if (err == WEIR_ECANCELED) (void)wi_add(&cancelled, 1, relaxed);
        if (err < 0) continue;
        (void)wi_add(&made, 1, relaxed);
        use(slab, roll);
        wi_slab_destroy(slab);
    }
    return NULL;
}

static int stress(unsigned seconds, unsigned threads, uint64_t seed)
{
    static struct worker worker[THREADS_MAX];
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    printf("slabs: %u threads for %u s, seed %llu\n", threads, seconds, (unsigned long long)seed);
    /* So small that the threads are in each other's way. */
    wi_budget_init(&budget, "pinned_bytes_max", "WEIR_PINNED_BYTES_MAX", 384 * MIB);
    deadline_ns = weir_deadline_after_ns(seconds * WI_NS_PER_S);
    for (unsigned at = 0; at < threads; at++) {
        worker[at].seed = (seed + at) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        wi_require(pthread_create(&worker[at].thread, NULL, work, &worker[at]) == 0);
    }
    for (unsigned at = 0; at < threads; at++)
        wi_require(pthread_join(worker[at].thread, NULL) == 0);

    struct wi_emu_stats stats;
    wi_emu_stats_read(wi_host_emu(device), &stats);
    printf("slabs: %llu made, %llu cancelled, %llu refused by the budget\n",
           (unsigned long long)wi_load(&made, relaxed),
           (unsigned long long)wi_load(&cancelled, relaxed),
           (unsigned long long)wi_load(&refused, relaxed));
    wi_require(wi_load(&budget.bytes, relaxed) == 0);
    wi_require(stats.registrations == 0 && stats.misuses == 0);
    wi_require(wi_slab_abandoned_bytes() == 0);
    return wi_load(&made, relaxed) > 0 ? 0 : 1;
}

struct cost {
    uint64_t create_ns;
    uint64_t destroy_ns;
};

static struct cost measure_one(size_t bytes, uint32_t threads, size_t chunk_bytes)
{
    struct wi_slab *slab = NULL;
    uint64_t        start_ns = weir_clock_ns();
    int             err = wi_slab_create(&(struct wi_slab_opts){.device = device,
                                                                .budget = &budget,
                                                                .block_bytes = MIB,
                                                                .blocks = bytes / MIB,
                                                                .threads_max = threads,
                                                                .chunk_bytes_max = chunk_bytes},
                                         &slab);
    uint64_t        made_ns = weir_clock_ns();
    wi_require(err == 0);
    wi_slab_destroy(slab);
    return (struct cost){made_ns - start_ns, weir_clock_ns() - made_ns};
}

static int compare(const void *a, const void *b)
{
    uint64_t left = ((const struct cost *)a)->create_ns,
             right = ((const struct cost *)b)->create_ns;
    return (left > right) - (left < right);
}

#define REPEATS 7

static int measure(size_t bytes)
{
    static const size_t   chunks[] = {64 * MIB, 256 * MIB, 1024 * MIB};
    static const uint32_t threads[] = {1, 2, 4, 8, 16};
    wi_budget_init(&budget, "pinned_bytes_max", "WEIR_PINNED_BYTES_MAX", bytes);
    printf("%zu MiB, medians of %d\n", bytes / MIB, REPEATS);
    printf("threads  chunk MiB  create ms (least, most)   destroy ms\n");
    for (size_t at = 0; at < WI_ARRAY_COUNT(threads); at++) {
        if (wi_populate_threads(bytes, threads[at]) != threads[at]) continue;
        for (size_t chunk = 0; chunk < WI_ARRAY_COUNT(chunks); chunk++) {
            struct cost cost[REPEATS];
            for (size_t repeat = 0; repeat < REPEATS; repeat++)
                cost[repeat] = measure_one(bytes, threads[at], chunks[chunk]);
            qsort(cost, REPEATS, sizeof(cost[0]), compare);
            const struct cost *median = &cost[REPEATS / 2];
            printf("%7u  %9zu  %9.1f (%.1f, %.1f)   %.1f\n", threads[at], chunks[chunk] / MIB,
                   (double)median->create_ns / 1e6, (double)cost[0].create_ns / 1e6,
                   (double)cost[REPEATS - 1].create_ns / 1e6, (double)median->destroy_ns / 1e6);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    wi_require(wi_device_open("host", 0, &device) == 0);
    int rc;
    if (argc > 1 && strcmp(argv[1], "measure") == 0) {
        rc = measure((argc > 2 ? strtoull(argv[2], NULL, 0) : 1024) * MIB);
    } else {
        unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 5;
        unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 4;
        rc = stress(seconds, threads, argc > 3 ? strtoull(argv[3], NULL, 0) : weir_clock_ns());
    }
    device->ops->close(device);
    return rc;
}
