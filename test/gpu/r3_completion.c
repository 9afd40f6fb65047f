/* SPDX-License-Identifier: Apache-2.0 */
/*
 * r3_completion.c - R3: how a host thread learns that a copy is done
 *
 * A small download, then a mark behind it, then the wait for the mark, in several ways. Also: whether a mark is ever seen
 * before the bytes that it vouches for.
 */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES          (4 * KIB)
#define EVENT_BLOCKING 1u /* CU_EVENT_BLOCKING_SYNC */

static struct weir_runtime *rt;

static struct {
    struct CUstream_st *stream;
    struct CUevent_st  *event;
    struct CUevent_st  *blocking;
    unsigned char      *host;
    uint64_t            host_address;
    _Atomic uint32_t   *word;
    wi_cu_address       word_address;
    wi_cu_address       device;
    uint32_t            turn;
    struct weir_pool   *pool;
    struct weir_stream *weir_stream;
    struct weir_event  *weir_event;
    struct weir_buffer *buffer;
} set;

/* ---- marks ---- */

static void mark_event(void)
{
    GPU_CU(gpu.cu->event_record(set.event, set.stream));
}

static void await_event(void)
{
    wi_cu_result result;
    while ((result = gpu.cu->event_query(set.event)) == WI_CU_NOT_READY) continue;
    if (result != WI_CU_SUCCESS) gpu_fatal_cu("cuEventQuery", result);
}

static void mark_blocking(void)
{
    GPU_CU(gpu.cu->event_record(set.blocking, set.stream));
}

static void await_blocking(void)
{
    GPU_CU(gpu.cu->event_sync(set.blocking));
}

static void mark_word(void)
{
    GPU_CU(gpu.write_word(set.stream, set.word_address, set.turn, 0));
}

static void await_word(void)
{
    while (wi_load(set.word, acquire) != set.turn) continue;
}

static void store_word(void *ctx)
{
    wi_store(set.word, (uint32_t)(uintptr_t)ctx, release);
}

static void mark_function(void)
{
    GPU_CU(gpu.cu->call(set.stream, store_word, (void *)(uintptr_t)set.turn));
}

/* ---- weir's own ---- */

static void copy_raw(void)
{
    GPU_CU(gpu.cu->copy_down(set.host, set.device, BYTES, set.stream));
}

static void copy_weir(void)
{
    GPU_OK(weir_stream_download(set.weir_stream, weir_slice(set.buffer, 0, BYTES), set.device));
}

static void mark_nothing(void)
{
}

static void await_buffer(void)
{
    GPU_OK(weir_buffer_sync(set.buffer, WEIR_FOREVER));
}

static void mark_weir_event(void)
{
    GPU_OK(weir_event_record(set.weir_event, set.weir_stream));
}

static void await_weir_event(void)
{
    GPU_OK(weir_event_sync(set.weir_event, WEIR_FOREVER));
}

static const struct method {
    const char *name;
    void      (*copy)(void);
    void      (*mark)(void);
    void      (*await)(void);
    bool        keeps_bytes; /* the bytes are in set.host */
    bool        needs_word;
} methods[] = {
    {"event, queried all the time", copy_raw, mark_event, await_event, true, false},
    {"event, blocking in the driver", copy_raw, mark_blocking, await_blocking, true, false},
    {"word written by the stream, polled", copy_raw, mark_word, await_word, true, true},
    {"host function that writes a word, polled", copy_raw, mark_function, await_word, true, false},
    {"weir_buffer_sync", copy_weir, mark_nothing, await_buffer, false, false},
    {"weir_event_sync", copy_weir, mark_weir_event, await_weir_event, false, false},
};

static bool can(const struct method *method)
{
    if (!method->needs_word || gpu.write_word) return true;
    gpu_skip(method->name, "the driver lacks cuStreamWriteValue32 of CUDA 11.7");
    return false;
}

/* ---- measurements ---- */

static uint64_t cpu_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * WI_NS_PER_S + (uint64_t)now.tv_nsec;
}

static void measure(const struct method *method)
{
    static struct wi_histogram mark, whole;
    struct weir_latency        mark_read, whole_read;
    uint64_t                   turns = gpu_pick(20000, 100);
    wi_histogram_clear(&mark);
    wi_histogram_clear(&whole);
    uint64_t begin_ns = weir_clock_ns(), begin_cpu_ns = cpu_ns();
    for (uint64_t i = 0; i < turns; i++) {
        set.turn++;
        uint64_t copied_ns = weir_clock_ns();
        method->copy();
        uint64_t marking_ns = weir_clock_ns();
        method->mark();
        uint64_t marked_ns = weir_clock_ns();
        method->await();
        wi_histogram_add(&mark, marked_ns - marking_ns);
        wi_histogram_add(&whole, weir_clock_ns() - copied_ns);
    }
    double wall_ns = (double)(weir_clock_ns() - begin_ns);
    wi_histogram_read(&mark, &mark_read);
    wi_histogram_read(&whole, &whole_read);
    gpu_row();
    gpu_text("method", method->name);
    gpu_latency("mark", &mark_read);
    gpu_latency("copy_and_wait", &whole_read);
    gpu_number("cpu_percent", 100.0 * (double)(cpu_ns() - begin_cpu_ns) / wall_ns);
}

/* The device's bytes are another each time, so an early mark shows older ones. */
static void look_for_early_marks(const struct method *method)
{
    uint64_t turns = gpu_pick(1000000, 300), early = 0;
    for (uint64_t i = 0; i < turns; i++) {
        unsigned char byte = (unsigned char)(1 + i % 251);
        set.turn++;
        GPU_CU(gpu.cu->fill(set.device, byte, BYTES, set.stream));
        method->copy();
        method->mark();
        method->await();
        early += set.host[0] != byte || set.host[BYTES / 2] != byte || set.host[BYTES - 1] != byte;
    }
    gpu_row();
    gpu_text("method", method->name);
    gpu_number("turns", (double)turns);
    gpu_number("early", (double)early);
    gpu_check(method->name, early == 0, "%lu of %lu marks were seen before their bytes", (unsigned long)early,
              (unsigned long)turns);
}

static void open_all(void)
{
    void *host = NULL;
    rt = gpu_open(NULL);
    gpu_attach();
    GPU_CU(gpu.cu->stream_create(&set.stream, WI_CU_STREAM_NON_BLOCKING, 0));
    GPU_CU(gpu.cu->event_create(&set.event, WI_CU_EVENT_DISABLE_TIMING));
    GPU_CU(gpu.cu->event_create(&set.blocking, WI_CU_EVENT_DISABLE_TIMING | EVENT_BLOCKING));
    GPU_CU(gpu.cu->host_alloc(&host, 2 * BYTES, WI_CU_HOST_ALLOC_PORTABLE | WI_CU_HOST_ALLOC_MAPPED));
    GPU_CU(gpu.cu->device_alloc(&set.device, BYTES));
    set.host = host;
    set.word = (_Atomic uint32_t *)(set.host + BYTES);
    GPU_CU(gpu.cu->host_address(&set.word_address, set.host + BYTES, 0));
    GPU_OK(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 2), &set.pool));
    GPU_OK(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &set.weir_stream));
    GPU_OK(weir_event_acquire(rt, 0, WEIR_NOW, &set.weir_event));
    GPU_OK(weir_buffer_acquire(set.pool, WEIR_NOW, &set.buffer));
}

static void close_all(void)
{
    GPU_OK(weir_buffer_release(set.buffer));
    GPU_OK(weir_event_release(set.weir_event));
    GPU_OK(weir_stream_release(set.weir_stream));
    weir_pool_destroy(set.pool);
    GPU_CU(gpu.stream_sync(set.stream));
    GPU_CU(gpu.cu->device_free(set.device));
    GPU_CU(gpu.cu->host_free(set.host));
    GPU_CU(gpu.cu->event_destroy(set.event));
    GPU_CU(gpu.cu->event_destroy(set.blocking));
    GPU_CU(gpu.cu->stream_destroy(set.stream));
    weir_runtime_destroy(rt);
}

int main(int argc, char **argv)
{
    const char *connections = getenv("CUDA_DEVICE_MAX_CONNECTIONS");
    gpu_begin("R3", "ways to learn that a copy is done", argc, argv);
    gpu_fact("CUDA_DEVICE_MAX_CONNECTIONS", "%s", connections ? connections : "not set");
    open_all();
    gpu_table("methods", "a download of 4 KiB, a mark behind it, and the wait for it");
    for (size_t i = 0; i < WI_ARRAY_COUNT(methods); i++)
        if (can(&methods[i])) measure(&methods[i]);
    gpu_table("early marks", "a fill, a download, a mark: are the bytes there when the mark is seen?");
    for (size_t i = 0; i < WI_ARRAY_COUNT(methods); i++)
        if (methods[i].keeps_bytes && (!methods[i].needs_word || gpu.write_word)) look_for_early_marks(&methods[i]);
    close_all();
    return gpu_end();
}
