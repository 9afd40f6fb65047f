/* SPDX-License-Identifier: Apache-2.0 */
/*
 * r1_hot_path.c - R1: acquire and release, beside a busy device and beside threads that hold the driver's locks
 *
 * Each pair is timed by itself, so every number has the cost of two clock readings in it; the row "nothing" says how much
 * that is. The peers are the driver's own calls, which is what a program without a pool makes.
 */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGGRESSOR_BYTES (256 * MIB)
#define OWN_BYTES       MIB

static struct weir_runtime *rt;
static struct weir_pool    *small_pool, *large_pool;

/* ---- what is timed ---- */

static void time_nothing(struct gpu_worker *worker)
{
    (void)worker;
}

static void time_buffer(struct weir_pool *pool)
{
    struct weir_buffer *buffer;
    GPU_OK(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    GPU_OK(weir_buffer_release(buffer));
}

static void time_small(struct gpu_worker *worker)
{
    (void)worker;
    time_buffer(small_pool);
}

static void time_large(struct gpu_worker *worker)
{
    (void)worker;
    time_buffer(large_pool);
}

static void time_stream(struct gpu_worker *worker)
{
    struct weir_stream *stream;
    (void)worker;
    GPU_OK(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream));
    GPU_OK(weir_stream_release(stream));
}

static void time_event(struct gpu_worker *worker)
{
    struct weir_event *event;
    (void)worker;
    GPU_OK(weir_event_acquire(rt, 0, WEIR_FOREVER, &event));
    GPU_OK(weir_event_release(event));
}

static void time_raw_event(struct gpu_worker *worker)
{
    struct CUevent_st *event = NULL;
    (void)worker;
    GPU_CU(gpu.cu->event_create(&event, WI_CU_EVENT_DISABLE_TIMING));
    GPU_CU(gpu.cu->event_destroy(event));
}

static void time_raw_stream(struct gpu_worker *worker)
{
    struct CUstream_st *stream = NULL;
    (void)worker;
    GPU_CU(gpu.cu->stream_create(&stream, WI_CU_STREAM_NON_BLOCKING, 0));
    GPU_CU(gpu.cu->stream_destroy(stream));
}

static void time_raw_pinned(size_t bytes)
{
    void *pinned = NULL;
    GPU_CU(gpu.cu->host_alloc(&pinned, bytes, WI_CU_HOST_ALLOC_PORTABLE));
    GPU_CU(gpu.cu->host_free(pinned));
}

static void time_raw_small(struct gpu_worker *worker)
{
    (void)worker;
    time_raw_pinned(64 * KIB);
}

static void time_raw_large(struct gpu_worker *worker)
{
    (void)worker;
    time_raw_pinned(MIB);
}

static const struct kind {
    const char *name;
    const char *by; /* "weir", "driver" or "control" */
    void      (*pair)(struct gpu_worker *worker);
} kinds[] = {
    {"nothing", "control", time_nothing},     {"buffer 64 KiB", "weir", time_small},
    {"buffer 1 MiB", "weir", time_large},     {"stream", "weir", time_stream},
    {"event", "weir", time_event},            {"event", "driver", time_raw_event},
    {"stream", "driver", time_raw_stream},    {"buffer 64 KiB", "driver", time_raw_small},
    {"buffer 1 MiB", "driver", time_raw_large},
};

static void work(struct gpu_worker *worker)
{
    const struct kind *kind = worker->ctx;
    while (gpu_going(worker)) {
        uint64_t begin_ns = weir_clock_ns();
        kind->pair(worker);
        wi_histogram_add(&worker->latency, weir_clock_ns() - begin_ns);
        worker->steps++;
    }
}

/* ---- what goes on beside ---- */

static struct CUstream_st *busy_stream;
static void               *busy_host;
static wi_cu_address       busy_device;
static bool                has_kernels;

static void keep_busy(void *ctx)
{
    struct gpu_spin_parameter spin = {.ns = 200000};
    (void)ctx;
    GPU_CU(gpu.cu->copy_up(busy_device, busy_host, OWN_BYTES, busy_stream));
    if (has_kernels) GPU_CU(gpu_launch(GPU_KERNEL_spin, 1, 32, busy_stream, &spin));
    GPU_CU(gpu.cu->copy_down(busy_host, busy_device, OWN_BYTES, busy_stream));
    GPU_CU(gpu.stream_sync(busy_stream));
}

static void keep_pinning(void *ctx)
{
    void  *pinned = NULL;
    size_t bytes = gpu_options.quick ? MIB : AGGRESSOR_BYTES;
    (void)ctx;
    GPU_CU(gpu.cu->host_alloc(&pinned, bytes, WI_CU_HOST_ALLOC_PORTABLE));
    GPU_CU(gpu.cu->host_free(pinned));
}

static void keep_making(void *ctx)
{
    struct CUstream_st *stream = NULL;
    wi_cu_address       address = 0;
    (void)ctx;
    GPU_CU(gpu.cu->stream_create(&stream, WI_CU_STREAM_NON_BLOCKING, 0));
    GPU_CU(gpu.cu->device_alloc(&address, 4 * MIB));
    GPU_CU(gpu.cu->device_free(address));
    GPU_CU(gpu.cu->stream_destroy(stream));
}

static const struct beside {
    const char *name;
    void      (*turn)(void *ctx); /* NULL: nothing */
} besides[] = {
    {"idle", NULL},
    {"device busy", keep_busy},
    {"thread pinning", keep_pinning},
    {"thread making objects", keep_making},
};

/* ---- the measurement ---- */

static struct gpu_outcome measure(const struct kind *kind, unsigned threads)
{
    struct gpu_crew crew = {.count = threads, .duration_ns = 400 * MS, .steps_quick = 30, .work = work, .ctx = (void *)kind};
    return gpu_run(&crew);
}

static void judge(const struct kind *kind, const struct beside *beside, unsigned threads,
                  const struct gpu_outcome *outcome, uint64_t calls)
{
    char name[128];
    if (strcmp(kind->by, "weir") != 0) return;
    snprintf(name, sizeof(name), "%s, %u threads, %s", kind->name, threads, beside->name);
    gpu_target(name, calls == 0, "%lu driver calls meanwhile, for %lu pairs", (unsigned long)calls, (unsigned long)outcome->steps);
    if (beside->turn == keep_pinning && threads <= 16)
        gpu_target(name, outcome->latency.p999_ns <= 2000, "p99.9 %lu ns, wanted at most 2000 ns",
                   (unsigned long)outcome->latency.p999_ns);
}

static void measure_all(const struct beside *beside)
{
    static const unsigned counts[] = {1, 2, 4, 8, 16};
    gpu_table(beside->name, "one pair of acquire and release, or of create and destroy");
    for (size_t i = 0; i < WI_ARRAY_COUNT(kinds); i++) {
        for (size_t j = 0; j < WI_ARRAY_COUNT(counts); j++) {
            if (gpu_options.quick && j % 3 != 0) continue;
            struct gpu_aside aside;
            if (beside->turn) gpu_aside_start(&aside, beside->turn, NULL);
            (void)measure(&kinds[i], counts[j]); /* pools come to rest, caches fill */
            uint64_t           before = gpu_calls(rt);
            struct gpu_outcome outcome = measure(&kinds[i], counts[j]);
            uint64_t           calls = gpu_calls(rt) - before;
            if (beside->turn) gpu_aside_stop(&aside);
            gpu_row();
            gpu_text("what", kinds[i].name);
            gpu_text("by", kinds[i].by);
            gpu_number("threads", counts[j]);
            gpu_number("pairs_per_s", (double)outcome.steps * 1e9 / (double)outcome.wall_ns);
            gpu_number("cpu_ns_per_pair", (double)outcome.cpu_ns / (double)(outcome.steps ? outcome.steps : 1));
            gpu_latency("pair", &outcome.latency);
            if (beside->turn) gpu_number("turns_beside", (double)aside.turns);
            judge(&kinds[i], beside, counts[j], &outcome, calls);
        }
    }
}

/* As many at once as threads will ever hold, so that nothing has to be made later. */
static void hold_many(void)
{
    struct weir_stream *stream[16];
    struct weir_event  *event[16];
    for (int i = 0; i < 16; i++) {
        GPU_OK(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream[i]));
        GPU_OK(weir_event_acquire(rt, 0, WEIR_FOREVER, &event[i]));
    }
    for (int i = 0; i < 16; i++) {
        GPU_OK(weir_stream_release(stream[i]));
        GPU_OK(weir_event_release(event[i]));
    }
}

int main(int argc, char **argv)
{
    gpu_begin("R1", "the hot path beside a busy device and busy driver locks", argc, argv);
    rt = gpu_open(WEIR_OPTS(runtime, .streams_compute = 64, .events_max = 256));
    GPU_OK(weir_pool_create(rt, WEIR_OPTS(pool, .name = "small", .buffer_bytes = 64 * KIB, .buffers_min = 64), &small_pool));
    GPU_OK(weir_pool_create(rt, WEIR_OPTS(pool, .name = "large", .buffer_bytes = MIB, .buffers_min = 64), &large_pool));
    has_kernels = gpu_load_kernels();
    GPU_CU(gpu.cu->stream_create(&busy_stream, WI_CU_STREAM_NON_BLOCKING, 0));
    GPU_CU(gpu.cu->host_alloc(&busy_host, OWN_BYTES, WI_CU_HOST_ALLOC_PORTABLE));
    GPU_CU(gpu.cu->device_alloc(&busy_device, OWN_BYTES));
    hold_many();
    for (size_t i = 0; i < WI_ARRAY_COUNT(besides); i++) measure_all(&besides[i]);
    GPU_CU(gpu.cu->stream_destroy(busy_stream));
    GPU_CU(gpu.cu->host_free(busy_host));
    GPU_CU(gpu.cu->device_free(busy_device));
    weir_pool_destroy(small_pool);
    weir_pool_destroy(large_pool);
    weir_runtime_destroy(rt);
    return gpu_end();
}
