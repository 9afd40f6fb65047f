/* SPDX-License-Identifier: Apache-2.0 */
/*
 * r4_pinning.c - R4: what pinning costs, and what it costs others
 *
 * Several ways to come by the same amount of pinned memory, each with a victim beside it: a thread that copies
 * 64 KiB every millisecond and notes how long each took. Pinning holds a lock of the whole driver, so the victim's longest
 * copy says for how long at a time.
 */
#include "gpu.h"

#include "memory/memory.h"
#include "pool/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK_BYTES  (16 * MIB)
#define VICTIM_BYTES (64 * KIB)

static struct weir_runtime *rt;
static struct wi_device    *device;

/* ---- ways ---- */

static void *whole; /* what a way holds */

static void driver_alloc(size_t bytes, size_t chunk)
{
    (void)chunk;
    GPU_CU(gpu.cu->host_alloc(&whole, bytes, WI_CU_HOST_ALLOC_PORTABLE | WI_CU_HOST_ALLOC_MAPPED));
}

static void driver_free(size_t bytes)
{
    (void)bytes;
    GPU_CU(gpu.cu->host_free(whole));
}

static void touch_and_register(size_t bytes, size_t chunk)
{
    (void)chunk;
    whole = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED) gpu_fatal("mmap of %zu MiB", bytes / MIB);
    for (size_t at = 0; at < bytes; at += 4096) ((volatile char *)whole)[at] = 0;
    GPU_CU(gpu.cu->host_register(whole, bytes, WI_CU_HOST_REGISTER_PORTABLE | WI_CU_HOST_REGISTER_MAPPED));
}

static void unregister(size_t bytes)
{
    GPU_CU(gpu.cu->host_unregister(whole));
    (void)munmap(whole, bytes);
}

static struct wi_budget budget;

static void make_slab(size_t bytes, size_t chunk)
{
    struct wi_slab_opts opts = {.device = device, .budget = &budget, .block_bytes = BLOCK_BYTES,
                                .blocks = bytes / BLOCK_BYTES, .memory = WEIR_MEMORY_PINNED, .chunk_bytes_max = chunk};
    struct wi_slab     *slab = NULL;
    GPU_OK(wi_slab_create(&opts, &slab));
    whole = slab;
}

static void end_slab(size_t bytes)
{
    (void)bytes;
    wi_slab_destroy(whole);
}

static void make_pool(size_t bytes, size_t chunk)
{
    struct weir_pool *pool;
    (void)chunk;
    GPU_OK(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BLOCK_BYTES, .buffers_min = bytes / BLOCK_BYTES), &pool));
    whole = pool;
}

static void end_pool(size_t bytes)
{
    (void)bytes;
    weir_pool_destroy(whole);
}

static const struct way {
    const char *name;
    size_t      chunk;
    void      (*pin)(size_t bytes, size_t chunk);
    void      (*unpin)(size_t bytes);
} ways[] = {
    {"cuMemHostAlloc, one call", 0, driver_alloc, driver_free},
    {"touched by one thread, registered whole", 0, touch_and_register, unregister},
    {"weir's slab, registered whole", SIZE_MAX / 2, make_slab, end_slab},
    {"weir's slab, chunks of 1 GiB", GIB, make_slab, end_slab},
    {"weir's slab, chunks of 256 MiB", 256 * MIB, make_slab, end_slab},
    {"weir's slab, chunks of 64 MiB", 64 * MIB, make_slab, end_slab},
    {"weir_pool_create", 0, make_pool, end_pool},
};

/* ---- the victim ---- */

static struct {
    struct CUstream_st *stream;
    struct CUevent_st  *event;
    void               *host;
    wi_cu_address       device;
    struct wi_histogram latency;
} victim;

static void suffer(void *ctx)
{
    wi_cu_result result;
    (void)ctx;
    uint64_t begin_ns = weir_clock_ns();
    GPU_CU(gpu.cu->copy_up(victim.device, victim.host, VICTIM_BYTES, victim.stream));
    GPU_CU(gpu.cu->event_record(victim.event, victim.stream));
    while ((result = gpu.cu->event_query(victim.event)) == WI_CU_NOT_READY) continue;
    if (result != WI_CU_SUCCESS) gpu_fatal_cu("cuEventQuery", result);
    wi_histogram_add(&victim.latency, weir_clock_ns() - begin_ns);
    gpu_pause_ns(MS);
}

static void make_victim(void)
{
    GPU_CU(gpu.cu->stream_create(&victim.stream, WI_CU_STREAM_NON_BLOCKING, 0));
    GPU_CU(gpu.cu->event_create(&victim.event, WI_CU_EVENT_DISABLE_TIMING));
    GPU_CU(gpu.cu->host_alloc(&victim.host, VICTIM_BYTES, WI_CU_HOST_ALLOC_PORTABLE));
    GPU_CU(gpu.cu->device_alloc(&victim.device, VICTIM_BYTES));
}

static void end_victim(void)
{
    GPU_CU(gpu.cu->device_free(victim.device));
    GPU_CU(gpu.cu->host_free(victim.host));
    GPU_CU(gpu.cu->event_destroy(victim.event));
    GPU_CU(gpu.cu->stream_destroy(victim.stream));
}

/* ---- the measurement ---- */

struct cost {
    double pin_ms, unpin_ms;
    double stall_ms;
};

static struct cost measure(const struct way *way, size_t bytes)
{
    struct weir_latency latency;
    struct gpu_aside    aside;
    struct cost         cost;
    wi_histogram_clear(&victim.latency);
    gpu_aside_start(&aside, suffer, NULL);
    gpu_pause_ns(5 * MS);
    uint64_t begin_ns = weir_clock_ns();
    way->pin(bytes, way->chunk);
    uint64_t pinned_ns = weir_clock_ns();
    way->unpin(bytes);
    cost.pin_ms = (double)(pinned_ns - begin_ns) / 1e6;
    cost.unpin_ms = (double)(weir_clock_ns() - pinned_ns) / 1e6;
    gpu_aside_stop(&aside);
    wi_histogram_read(&victim.latency, &latency);
    cost.stall_ms = (double)latency.max_ns / 1e6;
    return cost;
}

static double measure_way(const struct way *way, size_t bytes)
{
    double pin[3], unpin[3], stall = 0;
    size_t turns = gpu_pick(3, 1);
    for (size_t i = 0; i < turns; i++) {
        struct cost cost = measure(way, bytes);
        pin[i] = cost.pin_ms;
        unpin[i] = cost.unpin_ms;
        if (cost.stall_ms > stall) stall = cost.stall_ms;
    }
    double pin_ms = gpu_median(pin, turns);
    gpu_row();
    gpu_text("way", way->name);
    gpu_number("mib", (double)(bytes / MIB));
    gpu_number("pin_ms", pin_ms);
    gpu_number("pin_gb_per_s", (double)bytes / 1e6 / pin_ms);
    gpu_number("unpin_ms", gpu_median(unpin, turns));
    gpu_number("victim_longest_ms", stall);
    return pin_ms;
}

static uint64_t memory_available(void)
{
    unsigned long kib = 0;
    char          line[128];
    FILE         *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, (int)sizeof(line), file))
        if (sscanf(line, "MemAvailable: %lu kB", &kib) == 1) break;
    if (file) fclose(file);
    return (uint64_t)kib * KIB;
}

/* ---- the lock limit ---- */

/* A process with a small limit that registers more than that. */
static int child_with_memlock(void)
{
    struct rlimit small = {.rlim_cur = 64 * KIB, .rlim_max = 64 * KIB};
    size_t        bytes = 64 * MIB;
    if (setrlimit(RLIMIT_MEMLOCK, &small) != 0) return 2;
    rt = gpu_open(NULL);
    gpu_attach();
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 2;
    wi_cu_result result = gpu.cu->host_register(memory, bytes, WI_CU_HOST_REGISTER_PORTABLE);
    if (result == WI_CU_SUCCESS) GPU_CU(gpu.cu->host_unregister(memory));
    weir_runtime_destroy(rt);
    return result == WI_CU_SUCCESS ? 0 : 3;
}

static void ask_memlock(void)
{
    int   status = -1;
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "r4_pinning", "--child", "memlock", (char *)NULL);
        _exit(2);
    }
    (void)waitpid(child, &status, 0);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    gpu_fact("memlock", "with a limit of 64 KiB, registering 64 MiB as user %u %s", getuid(),
             code == 0   ? "works: the limit does not bind the driver"
             : code == 3 ? "is refused"
                         : "could not be tried");
}

int main(int argc, char **argv)
{
    gpu_begin("R4", "what pinning costs, and what it costs others", argc, argv);
    if (gpu_options.child && strcmp(gpu_options.child, "memlock") == 0) return child_with_memlock();
    ask_memlock(); /* before this process has a driver: a child must not inherit one */
    uint64_t most = gpu_pick(gpu_options.bytes_max ? gpu_options.bytes_max : 16 * GIB, 32 * MIB);
    if (most > memory_available() / 4) most = memory_available() / 4;
    rt = gpu_open(WEIR_OPTS(runtime, .pinned_bytes_max = most + GIB));
    gpu_attach();
    device = wi_context_of(rt)->device;
    wi_budget_init(&budget, "the suite's own", "--gib", most + GIB);
    make_victim();
    gpu_table("ways", "the same memory pinned in several ways, with a victim beside");
    for (size_t bytes = gpu_options.quick ? most : GIB; bytes <= most; bytes *= 4) {
        double pin_ms[WI_ARRAY_COUNT(ways)];
        for (size_t i = 0; i < WI_ARRAY_COUNT(ways); i++) pin_ms[i] = measure_way(&ways[i], bytes / BLOCK_BYTES * BLOCK_BYTES);
        double faster = pin_ms[0] / pin_ms[WI_ARRAY_COUNT(ways) - 1];
        char   name[64];
        snprintf(name, sizeof(name), "pinning %zu MiB", bytes / MIB);
        gpu_target(name, faster >= 2.5, "weir_pool_create is %.2f times as fast as cuMemHostAlloc, wanted 2.5", faster);
    }
    end_victim();
    weir_runtime_destroy(rt);
    return gpu_end();
}
