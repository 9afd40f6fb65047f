/* SPDX-License-Identifier: Apache-2.0 */
/*
 * r6_soak.c - R6: does the device ever see bytes that are not those that were sent?
 *
 * Threads take buffers, stamp every word, and give the buffer back at once, while the device is still to read it:
 *
 *   copied     upload, release, and a kernel that checks the copy on the device
 *   in place   a kernel that reads the pinned memory by its address; guard, release
 *
 * There are fewer buffers than transfers in flight want, so each is reused as soon as weir allows it. An error is a
 * word that the device read and that was not the stamp's. --plant early-reuse lets the pool ignore the marks: then there
 * must be errors.
 */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX  (256 * KIB)
#define THREADS    16
#define SLOTS      4 /* device blocks of each thread, used in turn */

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static wi_cu_address        errors; /* a counter of each thread, 256 bytes apart */
static _Atomic uint64_t     stamps;

struct lane {
    struct weir_stream *stream;
    struct CUstream_st *raw;
    wi_cu_address       block[SLOTS];
    uint64_t            random;
};

static struct lane lanes[THREADS];

static uint64_t draw(struct lane *lane)
{
    lane->random ^= lane->random << 13;
    lane->random ^= lane->random >> 7;
    lane->random ^= lane->random << 17;
    return lane->random;
}

static void begin(struct gpu_worker *worker)
{
    struct lane *lane = &lanes[worker->number];
    lane->random = 0x9e3779b97f4a7c15u * (worker->number + 1);
    GPU_OK(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &lane->stream));
    GPU_OK(weir_stream_cuda(lane->stream, &lane->raw));
    for (int i = 0; i < SLOTS; i++) GPU_CU(gpu.cu->device_alloc(&lane->block[i], BYTES_MAX));
}

static void end(struct gpu_worker *worker)
{
    struct lane *lane = &lanes[worker->number];
    GPU_OK(weir_stream_sync(lane->stream, WEIR_FOREVER));
    for (int i = 0; i < SLOTS; i++) GPU_CU(gpu.cu->device_free(lane->block[i]));
    GPU_OK(weir_stream_release(lane->stream));
}

static void check_words(struct gpu_worker *worker, uint64_t words, uint64_t count, uint64_t stamp)
{
    struct gpu_check_parameter check = {.words = words, .count = count, .stamp = stamp,
                                        .errors = errors + 256u * worker->number};
    GPU_CU(gpu_launch(GPU_KERNEL_check, 16, 256, lanes[worker->number].raw, &check));
}

static void transfer(struct gpu_worker *worker)
{
    struct lane        *lane = &lanes[worker->number];
    struct weir_buffer *buffer;
    uint64_t            chance = draw(lane);
    size_t              bytes = (1 + chance % (BYTES_MAX / 4096)) * 4096;
    uint64_t            stamp = (wi_add(&stamps, 1, relaxed) + 1) << 32;
    GPU_OK(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    for (uint64_t i = 0; i < bytes / 8; i++) ((uint64_t *)buffer->host)[i] = stamp + i;
    if ((chance >> 32) % 4 != 0) {
        wi_cu_address block = lane->block[worker->steps % SLOTS];
        GPU_OK(weir_stream_upload(lane->stream, block, weir_slice(buffer, 0, bytes)));
        GPU_OK(weir_buffer_release(buffer));
        check_words(worker, block, bytes / 8, stamp);
    } else {
        check_words(worker, buffer->device, bytes / 8, stamp);
        GPU_OK(weir_buffer_guard(buffer, lane->stream));
        GPU_OK(weir_buffer_release(buffer));
    }
    worker->steps++;
    worker->bytes += bytes;
}

static void work(struct gpu_worker *worker)
{
    while (gpu_going(worker)) transfer(worker);
}

int main(int argc, char **argv)
{
    gpu_begin("R6 soak", "stamped buffers, checked on the device", argc, argv);
    bool planted = gpu_options.plant && strcmp(gpu_options.plant, "early-reuse") == 0;
    rt = gpu_open(WEIR_OPTS(runtime, .streams_compute = THREADS));
    if (!gpu_load_kernels()) return gpu_end();
    GPU_OK(weir_pool_create(rt, WEIR_OPTS(pool, .name = "soak", .buffer_bytes = BYTES_MAX, .buffers_min = 24,
                                          .flags = planted ? WEIR_POOL_IGNORE_GUARDS : 0), &pool));
    GPU_CU(gpu.cu->device_alloc(&errors, 256 * THREADS));
    uint32_t *counters = calloc(THREADS, 256);
    if (!counters) gpu_fatal("no memory");
    gpu_write(errors, counters, 256 * THREADS);

    uint64_t        seconds = gpu_options.seconds ? gpu_options.seconds : 300;
    struct gpu_crew crew = {.count = THREADS, .duration_ns = seconds * WI_NS_PER_S, .steps_quick = 40,
                            .begin = begin, .work = work, .end = end};
    struct gpu_outcome outcome = gpu_run(&crew);

    gpu_read(errors, counters, 256 * THREADS);
    uint64_t wrong = 0;
    for (int i = 0; i < THREADS; i++) wrong += counters[i * 64];
    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    GPU_OK(weir_pool_stats_read(pool, &stats));
    gpu_table("soak", "16 threads, 24 buffers of up to 256 KiB, released while the device is to read them");
    gpu_row();
    gpu_number("transfers", (double)outcome.steps);
    gpu_number("gib", (double)outcome.bytes / GIB);
    gpu_number("retired", (double)stats.retires);
    gpu_number("waited", (double)stats.handoffs);
    gpu_number("wrong_words", (double)wrong);
    gpu_number("driver_calls_per_transfer", (double)gpu_calls(rt) / (double)(outcome.steps ? outcome.steps : 1));
    gpu_check("bytes", wrong == 0, "%lu wrong words in %lu transfers", (unsigned long)wrong, (unsigned long)outcome.steps);
    gpu_target("reuse", stats.retires > outcome.steps / 2, "%lu of %lu buffers were released in flight",
              (unsigned long)stats.retires, (unsigned long)outcome.steps);
    gpu_check("law", stats.leased == 0 && stats.quarantined == 0,
              "total %lu, free %lu, retiring %lu, quarantined %lu", (unsigned long)stats.total, (unsigned long)stats.free,
              (unsigned long)stats.retiring, (unsigned long)stats.quarantined);
    gpu_target("a million transfers", outcome.steps >= 1000000, "%lu", (unsigned long)outcome.steps);
    free(counters);
    GPU_CU(gpu.cu->device_free(errors));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return gpu_end();
}
