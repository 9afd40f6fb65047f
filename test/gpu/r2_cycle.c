/* SPDX-License-Identifier: Apache-2.0 */
/*
 * r2_cycle.c - R2: the whole transfer, against a ring of raw driver calls that somebody wrote by hand
 *
 * The rival is the best that a program does without a pool: each thread has a stream and a ring of pinned slots with one
 * event each, waits for a slot's event before it writes into the slot again, copies, and records. weir: acquire,
 * upload on a stream of the thread's own, release. Both write a few bytes of each buffer and wait for the device only when
 * they are out of buffers. They take turns, and the medians of the turns are compared.
 */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS     8 /* buffers for each thread, of both */
#define TURNS_MAX 5

static struct weir_runtime *rt;

struct place {
    struct weir_pool   *pool; /* weir's */
    size_t              bytes;
    wi_cu_address       device[16];
    struct weir_stream *stream[16];
    struct CUstream_st *raw_stream[16];
    void               *slot[16][SLOTS];
    struct CUevent_st  *event[16][SLOTS];
};

static void touch(void *host, uint64_t step, size_t bytes)
{
    memcpy(host, &step, sizeof(step));
    memcpy((char *)host + bytes - sizeof(step), &step, sizeof(step));
}

/* ---- weir ---- */

static void begin_weir(struct gpu_worker *worker)
{
    struct place *place = worker->ctx;
    GPU_OK(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &place->stream[worker->number]));
}

static void work_weir(struct gpu_worker *worker)
{
    struct place       *place = worker->ctx;
    struct weir_stream *stream = place->stream[worker->number];
    while (gpu_going(worker)) {
        struct weir_buffer *buffer;
        uint64_t            begin_ns = weir_clock_ns();
        GPU_OK(weir_buffer_acquire(place->pool, WEIR_FOREVER, &buffer));
        touch(buffer->host, worker->steps, place->bytes);
        GPU_OK(weir_stream_upload(stream, place->device[worker->number], weir_slice_all(buffer)));
        GPU_OK(weir_buffer_release(buffer));
        wi_histogram_add(&worker->latency, weir_clock_ns() - begin_ns);
        worker->steps++;
        worker->bytes += place->bytes;
    }
    GPU_OK(weir_stream_sync(stream, WEIR_FOREVER));
}

static void end_weir(struct gpu_worker *worker)
{
    struct place *place = worker->ctx;
    GPU_OK(weir_stream_release(place->stream[worker->number]));
}

/* ---- the ring ---- */

static void begin_ring(struct gpu_worker *worker)
{
    struct place *place = worker->ctx;
    unsigned      at = worker->number;
    GPU_CU(gpu.cu->stream_create(&place->raw_stream[at], WI_CU_STREAM_NON_BLOCKING, 0));
    for (int i = 0; i < SLOTS; i++) {
        GPU_CU(gpu.cu->host_alloc(&place->slot[at][i], place->bytes, WI_CU_HOST_ALLOC_PORTABLE));
        GPU_CU(gpu.cu->event_create(&place->event[at][i], WI_CU_EVENT_DISABLE_TIMING));
        memset(place->slot[at][i], 0, place->bytes);
    }
}

static void work_ring(struct gpu_worker *worker)
{
    struct place       *place = worker->ctx;
    unsigned            at = worker->number;
    struct CUstream_st *stream = place->raw_stream[at];
    while (gpu_going(worker)) {
        uint64_t           begin_ns = weir_clock_ns();
        unsigned           slot = (unsigned)(worker->steps % SLOTS);
        struct CUevent_st *event = place->event[at][slot];
        if (worker->steps >= SLOTS) {
            wi_cu_result result = gpu.cu->event_query(event);
            if (result == WI_CU_NOT_READY) result = gpu.cu->event_sync(event);
            if (result != WI_CU_SUCCESS) gpu_fatal_cu("cuEventSynchronize", result);
        }
        touch(place->slot[at][slot], worker->steps, place->bytes);
        GPU_CU(gpu.cu->copy_up(place->device[at], place->slot[at][slot], place->bytes, stream));
        GPU_CU(gpu.cu->event_record(event, stream));
        wi_histogram_add(&worker->latency, weir_clock_ns() - begin_ns);
        worker->steps++;
        worker->bytes += place->bytes;
    }
    GPU_CU(gpu.stream_sync(stream));
}

static void end_ring(struct gpu_worker *worker)
{
    struct place *place = worker->ctx;
    unsigned      at = worker->number;
    for (int i = 0; i < SLOTS; i++) {
        GPU_CU(gpu.cu->event_destroy(place->event[at][i]));
        GPU_CU(gpu.cu->host_free(place->slot[at][i]));
    }
    GPU_CU(gpu.cu->stream_destroy(place->raw_stream[at]));
}

/* ---- turns ---- */

struct series {
    double gb_per_s[TURNS_MAX];
    double cpu_ns[TURNS_MAX]; /* for one transfer */
    double p50_ns[TURNS_MAX];
    double p99_ns[TURNS_MAX];
    double calls[TURNS_MAX]; /* of the driver, for one transfer; weir only */
};

static void note(struct series *series, size_t turn, const struct gpu_outcome *outcome, uint64_t calls)
{
    double steps = (double)(outcome->steps ? outcome->steps : 1);
    series->gb_per_s[turn] = (double)outcome->bytes / (double)outcome->wall_ns;
    series->cpu_ns[turn] = (double)outcome->cpu_ns / steps;
    series->p50_ns[turn] = (double)outcome->latency.p50_ns;
    series->p99_ns[turn] = (double)outcome->latency.p99_ns;
    series->calls[turn] = (double)calls / steps;
}

static double show(const char *by, size_t bytes, unsigned threads, struct series *series, size_t turns)
{
    double gb_per_s = gpu_median(series->gb_per_s, turns);
    gpu_row();
    gpu_text("by", by);
    gpu_number("kib", (double)(bytes / KIB));
    gpu_number("threads", threads);
    gpu_number("gb_per_s", gb_per_s);
    gpu_number("gb_per_s_least", series->gb_per_s[0]);
    gpu_number("gb_per_s_most", series->gb_per_s[turns - 1]);
    gpu_number("cpu_ns_per_transfer", gpu_median(series->cpu_ns, turns));
    gpu_number("issue_p50_ns", gpu_median(series->p50_ns, turns));
    gpu_number("issue_p99_ns", gpu_median(series->p99_ns, turns));
    return gb_per_s;
}

static void compare(size_t bytes, unsigned threads)
{
    struct place  place = {.bytes = bytes};
    struct series weir = {0}, ring = {0};
    size_t        turns = gpu_pick(TURNS_MAX, 1);
    char          name[64];
    GPU_OK(weir_pool_create(rt, WEIR_OPTS(pool, .name = "cycle", .buffer_bytes = bytes, .buffers_min = SLOTS * threads),
                            &place.pool));
    for (unsigned i = 0; i < threads; i++) GPU_CU(gpu.cu->device_alloc(&place.device[i], bytes));
    for (size_t turn = 0; turn < turns; turn++) {
        struct gpu_crew by_weir = {threads, 300 * MS, 2 * SLOTS + 4, begin_weir, work_weir, end_weir, &place};
        struct gpu_crew by_ring = {threads, 300 * MS, 2 * SLOTS + 4, begin_ring, work_ring, end_ring, &place};
        uint64_t           before = gpu_calls(rt);
        struct gpu_outcome outcome = gpu_run(&by_weir);
        note(&weir, turn, &outcome, gpu_calls(rt) - before);
        outcome = gpu_run(&by_ring);
        note(&ring, turn, &outcome, 0);
    }
    double rate = show("weir", bytes, threads, &weir, turns);
    double calls = gpu_median(weir.calls, turns);
    gpu_number("driver_calls_per_transfer", calls);
    double raw = show("ring of raw calls", bytes, threads, &ring, turns);
    snprintf(name, sizeof(name), "%zu KiB, %u threads", bytes / KIB, threads);
    gpu_target(name, calls <= 2, "%.3f driver calls for each upload, wanted at most 2", calls);
    if (bytes >= MIB)
        gpu_target(name, rate >= 0.98 * raw, "%.3f of the ring's bandwidth, wanted 0.98", raw > 0 ? rate / raw : 0);
    for (unsigned i = 0; i < threads; i++) GPU_CU(gpu.cu->device_free(place.device[i]));
    weir_pool_destroy(place.pool);
}

int main(int argc, char **argv)
{
    static const size_t   sizes[] = {64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB};
    static const unsigned counts[] = {1, 2, 4, 8, 16};
    gpu_begin("R2", "whole transfers, against a hand-written ring of raw driver calls", argc, argv);
    rt = gpu_open(WEIR_OPTS(runtime, .streams_comm = 16));
    gpu_attach();
    gpu_table("uploads", "acquire, write, upload, release; and wait, write, copy, record");
    for (size_t i = 0; i < WI_ARRAY_COUNT(sizes); i++) {
        for (size_t j = 0; j < WI_ARRAY_COUNT(counts); j++) {
            bool large = sizes[i] * SLOTS * counts[j] > 16 * MIB;
            if (gpu_options.quick && (i % 2 != 0 || j % 2 != 0 || large)) continue;
            compare(sizes[i], counts[j]);
        }
    }
    weir_runtime_destroy(rt);
    return gpu_end();
}
