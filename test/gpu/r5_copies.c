/* SPDX-License-Identifier: Apache-2.0 */
/*
 * r5_copies.c - R5: copies by size, many at once, both ways at once, behind each other; and reading pinned memory in place
 *
 * The memory is weir's; the copies are issued through weir's table of the device, so that a batch is one driver call
 * where the driver has one.
 */
#include "gpu.h"

#include "pool/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS 5
#define SMALL   (64 * KIB)

static struct weir_runtime        *rt;
static struct wi_device           *device;
static const struct wi_device_ops *ops;
static void                       *stream[2], *event[2];
static unsigned char              *host;   /* pinned, size_max bytes for each direction */
static wi_cu_address               target; /* device memory, the same */
static size_t                      size_max;
static bool                        has_kernels;

static void must(int err, const char *what)
{
    if (err < 0) gpu_fatal_weir(what);
}

static void issue(size_t offset, size_t bytes, uint32_t kind, void *on)
{
    struct wi_copy copy = {.bytes = bytes, .kind = kind};
    copy.dst = kind == WI_COPY_UP ? target + offset : (uintptr_t)host + offset;
    copy.src = kind == WI_COPY_UP ? (uintptr_t)host + offset : target + offset;
    must(ops->copy(device, &copy, on), "copy");
}

static void await(int at)
{
    must(ops->event_record(device, event[at], stream[at]), "event_record");
    must(ops->event_sync(device, event[at]), "event_sync");
}

/* ---- one after the other ---- */

static double rate_of(size_t bytes, uint32_t kind)
{
    double   rates[REPEATS];
    uint64_t most = gpu_pick(256, 8) * MIB;
    size_t   count = most / bytes < 1 ? 1 : most / bytes > 2000 ? 2000 : most / bytes;
    for (int turn = 0; turn < REPEATS; turn++) {
        uint64_t begin_ns = weir_clock_ns();
        for (size_t i = 0; i < count; i++) issue(0, bytes, kind, stream[0]);
        await(0);
        rates[turn] = (double)(bytes * count) / (double)(weir_clock_ns() - begin_ns);
    }
    return gpu_median(rates, REPEATS);
}

static void by_size(void)
{
    gpu_table("by size", "copies one after the other on one stream");
    for (size_t bytes = KIB; bytes <= size_max; bytes *= 4) {
        gpu_row();
        gpu_number("kib", (double)bytes / KIB);
        gpu_number("up_gb_per_s", rate_of(bytes, WI_COPY_UP));
        gpu_number("down_gb_per_s", rate_of(bytes, WI_COPY_DOWN));
    }
}

/* ---- many small ones ---- */

static double batch_ns(size_t bytes, size_t count, bool batched)
{
    double          ns[REPEATS];
    struct wi_copy *copies = calloc(count, sizeof(*copies));
    if (!copies) gpu_fatal("no memory for %zu copies", count);
    for (size_t i = 0; i < count; i++)
        copies[i] = (struct wi_copy){target + i * bytes, (uintptr_t)host + i * bytes, bytes, WI_COPY_UP, 0};
    for (int turn = 0; turn < REPEATS; turn++) {
        uint64_t begin_ns = weir_clock_ns();
        if (batched) {
            must(ops->copy_batch(device, copies, count, stream[0]), "copy_batch");
        } else {
            for (size_t i = 0; i < count; i++) must(ops->copy(device, &copies[i], stream[0]), "copy");
        }
        await(0);
        ns[turn] = (double)(weir_clock_ns() - begin_ns);
    }
    free(copies);
    return gpu_median(ns, REPEATS);
}

static void in_batches(void)
{
    static const size_t sizes[] = {KIB, 4 * KIB, 16 * KIB, 64 * KIB};
    static const size_t counts[] = {16, 256, 1024, 4096};
    if (ops->copy_batch == NULL) {
        gpu_skip("batches", "the driver lacks cuMemcpyBatchAsync of CUDA 12.8");
        return;
    }
    gpu_table("batches", "many uploads in one driver call, and in one call each");
    for (size_t i = 0; i < WI_ARRAY_COUNT(sizes); i++) {
        for (size_t j = 0; j < WI_ARRAY_COUNT(counts); j++) {
            if (sizes[i] * counts[j] > size_max || (gpu_options.quick && j > 1)) continue;
            double loop = batch_ns(sizes[i], counts[j], false), batch = batch_ns(sizes[i], counts[j], true);
            gpu_row();
            gpu_number("kib", (double)sizes[i] / KIB);
            gpu_number("copies", (double)counts[j]);
            gpu_number("one_call_each_us", loop / 1000);
            gpu_number("one_call_us", batch / 1000);
            gpu_number("times_as_fast", loop / batch);
        }
    }
}

/* ---- both ways ---- */

static void both_ways(void)
{
    double up[REPEATS], down[REPEATS], both[REPEATS];
    size_t bytes = size_max / 4;
    for (int turn = 0; turn < REPEATS; turn++) {
        uint64_t begin_ns = weir_clock_ns();
        issue(0, bytes, WI_COPY_UP, stream[0]);
        await(0);
        uint64_t middle_ns = weir_clock_ns();
        issue(bytes, bytes, WI_COPY_DOWN, stream[1]);
        await(1);
        uint64_t apart_ns = weir_clock_ns();
        issue(0, bytes, WI_COPY_UP, stream[0]);
        issue(bytes, bytes, WI_COPY_DOWN, stream[1]);
        await(0);
        await(1);
        up[turn] = (double)bytes / (double)(middle_ns - begin_ns);
        down[turn] = (double)bytes / (double)(apart_ns - middle_ns);
        both[turn] = 2.0 * (double)bytes / (double)(weir_clock_ns() - apart_ns);
    }
    gpu_table("both ways", "an upload and a download, apart and at once");
    gpu_row();
    gpu_number("mib", (double)bytes / MIB);
    gpu_number("up_gb_per_s", gpu_median(up, REPEATS));
    gpu_number("down_gb_per_s", gpu_median(down, REPEATS));
    gpu_number("together_gb_per_s", gpu_median(both, REPEATS));
}

/* ---- behind a large one ---- */

static double behind_us(size_t large, size_t piece)
{
    double us[REPEATS];
    for (int turn = 0; turn < REPEATS; turn++) {
        for (size_t at = 0; at < large; at += piece) issue(at, piece, WI_COPY_UP, stream[0]);
        uint64_t begin_ns = weir_clock_ns();
        issue(large, SMALL, WI_COPY_UP, stream[1]);
        await(1);
        us[turn] = (double)(weir_clock_ns() - begin_ns) / 1000;
        await(0);
    }
    return gpu_median(us, REPEATS);
}

static void behind(void)
{
    size_t       large = size_max / 2;
    const size_t pieces[] = {large, 32 * MIB, 8 * MIB, 2 * MIB};
    gpu_table("behind", "64 KiB on one stream, right after a large upload on another that is whole or in pieces");
    for (size_t i = 0; i < WI_ARRAY_COUNT(pieces); i++) {
        if (i > 0 && pieces[i] >= large) continue;
        gpu_row();
        gpu_number("large_mib", (double)large / MIB);
        gpu_number("pieces_mib", (double)pieces[i] / MIB);
        gpu_number("small_us", behind_us(large, pieces[i]));
    }
}

/* ---- in place ---- */

static double sum_ns(size_t bytes, bool in_place, wi_cu_address out, uint64_t host_address)
{
    double ns[REPEATS];
    for (int turn = 0; turn < REPEATS; turn++) {
        struct gpu_sum_parameter sum = {.words = in_place ? host_address : target, .count = bytes / 8, .out = out};
        unsigned blocks = bytes / 8 / 256 < 1 ? 1 : bytes / 8 / 256 > 1024 ? 1024 : (unsigned)(bytes / 8 / 256);
        uint64_t zero = 0, got = 0;
        gpu_write(out, &zero, sizeof(zero));
        uint64_t begin_ns = weir_clock_ns();
        if (!in_place) issue(0, bytes, WI_COPY_UP, stream[0]);
        GPU_CU(gpu_launch(GPU_KERNEL_sum, blocks, 256, stream[0], &sum));
        await(0);
        ns[turn] = (double)(weir_clock_ns() - begin_ns);
        gpu_read(out, &got, sizeof(got));
        uint64_t expected = 0;
        for (size_t i = 0; i < bytes / 8; i++) expected += ((uint64_t *)(void *)host)[i];
        if (got != expected) gpu_fatal("the sum of %zu bytes %s is wrong", bytes, in_place ? "in place" : "copied");
    }
    return gpu_median(ns, REPEATS);
}

static void in_place(void)
{
    wi_cu_address out = 0, host_address = 0;
    double        crossover = 0;
    if (!has_kernels) return;
    GPU_CU(gpu.cu->device_alloc(&out, 256));
    GPU_CU(gpu.cu->host_address(&host_address, host, 0));
    for (size_t i = 0; i < size_max / 8; i++) ((uint64_t *)(void *)host)[i] = i * 2654435761u;
    gpu_table("in place", "a kernel adds words up: from pinned memory by its address, and from a copy of it");
    for (size_t bytes = 4 * KIB; bytes <= size_max; bytes *= 4) {
        double direct = sum_ns(bytes, true, out, host_address), copied = sum_ns(bytes, false, out, host_address);
        if (direct < copied) crossover = (double)bytes / KIB;
        gpu_row();
        gpu_number("kib", (double)bytes / KIB);
        gpu_number("in_place_us", direct / 1000);
        gpu_number("copied_us", copied / 1000);
    }
    gpu_check("sums", true, "every sum was right, in place and copied");
    gpu_fact("in place", "faster up to %.0f KiB", crossover);
    GPU_CU(gpu.cu->device_free(out));
}

int main(int argc, char **argv)
{
    gpu_begin("R5", "copies, and reading pinned memory in place", argc, argv);
    rt = gpu_open(NULL);
    gpu_attach();
    device = wi_context_of(rt)->device;
    ops = device->ops;
    size_max = gpu_pick(512, 16) * MIB;
    has_kernels = gpu_load_kernels();
    uint64_t host_address = 0;
    must(ops->host_alloc(device, size_max, (void **)&host, &host_address), "host_alloc");
    must(ops->device_alloc(device, size_max, (uint64_t *)&target), "device_alloc");
    for (int i = 0; i < 2; i++) {
        must(ops->stream_create(device, 0, &stream[i]), "stream_create");
        must(ops->event_create(device, 0, &event[i]), "event_create");
    }
    memset(host, 1, size_max);
    by_size();
    in_batches();
    both_ways();
    behind();
    in_place();
    for (int i = 0; i < 2; i++) {
        must(ops->event_destroy(device, event[i]), "event_destroy");
        must(ops->stream_destroy(device, stream[i]), "stream_destroy");
    }
    must(ops->device_free(device, target), "device_free");
    must(ops->host_free(device, host, size_max), "host_free");
    weir_runtime_destroy(rt);
    return gpu_end();
}
