/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.c - driver calls of uploads through weir, and event queries of a reap
 *
 *     --case steady   lease, upload, release, on and on, on the runtime's streams for transfers
 *     --case bursts   64 uploads on one stream, then wait for it
 *     --case adopted  as steady, on a stream of the host program (cuda only)
 *     --case reap     10,000 buffers released while the device still reads them
 *
 * All calls that weir makes to the driver in the meantime are counted, also those of its threads. What
 * an upload issues is its copy, its share of event records, and on adopted streams the capture query:
 * these are all calls but the event queries by which the keeper learns what has passed, which are reported
 * beside them. Prints one line of JSON as the peers do.
 */
#include "../peer_parts.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/cuda.h>
#include <weir/weir.h>

/* A library that was built without the cuda backend has no such calls. */
#pragma weak weir_runtime_cuda
#pragma weak weir_stream_adopt_cuda

enum {
    UPLOAD_BYTES = 65536,
    POOL_BUFFERS = 256,
    BURST = 64,
    WARM_UPLOADS = 1024,
    UPLOADS = 16384,
    REAP_BUFFERS = 10000,
    REAP_BYTES = 512,
    STREAMS = 2,
    EXIT_NO_SUCH_CASE = 3
};
_Static_assert(UPLOADS % (BURST * STREAMS) == 0, "bursts and streams divide the uploads");

static struct weir_runtime *runtime;
static struct weir_pool *pool;
static struct weir_stream *streams[STREAMS];
static uint64_t device;

/* Everything here must work: the first failure ends the program. */
static void need(int err, const char *call)
{
    char text[512];

    if (err >= 0) return;
    if (weir_error_text(text, sizeof text) <= 0) snprintf(text, sizeof text, "%s", weir_errname(err));
    fprintf(stderr, "weir-peer-transfer: %s: %s\n", call, text);
    _exit(EXIT_FAILURE);
}

#define NEED(call) need((call), #call)

static void open_all(size_t buffers, size_t buffer_bytes)
{
    NEED(weir_runtime_create(WEIR_OPTS(runtime), &runtime));
    NEED(weir_pool_create(runtime,
                          WEIR_OPTS(pool, .name = "transfer", .buffer_bytes = buffer_bytes,
                                    .buffers_min = buffers, .buffers_max = buffers),
                          &pool));
    NEED(weir_device_alloc(runtime, buffer_bytes, &device));
    for (size_t i = 0; i < STREAMS; i++)
        NEED(weir_stream_acquire(runtime, WEIR_STREAM_COMM, WEIR_NOW, &streams[i]));
}

static struct weir_runtime_stats read_stats(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};

    NEED(weir_runtime_stats_read(runtime, &stats));
    return stats;
}

static struct weir_pool_stats read_pool(void)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};

    NEED(weir_pool_stats_read(pool, &stats));
    return stats;
}

static void upload_steadily(size_t uploads)
{
    for (size_t i = 0; i < uploads; i++) {
        struct weir_buffer *buffer;
        NEED(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        NEED(weir_stream_upload(streams[i % STREAMS], device, weir_slice_all(buffer)));
        NEED(weir_buffer_release(buffer));
    }
}

static void upload_in_bursts(size_t uploads)
{
    struct weir_buffer *buffers[BURST];

    for (size_t i = 0; i < uploads / BURST; i++) {
        struct weir_stream *stream = streams[i % STREAMS];
        NEED(weir_buffers_acquire(pool, BURST, WEIR_FOREVER, buffers));
        for (size_t b = 0; b < BURST; b++)
            NEED(weir_stream_upload(stream, device, weir_slice_all(buffers[b])));
        NEED(weir_buffers_release(buffers, BURST));
        NEED(weir_stream_sync(stream, WEIR_FOREVER));
    }
}

static _Noreturn void lack(const char *reason)
{
    fprintf(stderr, "weir-peer-transfer: %s\n", reason);
    _exit(EXIT_NO_SUCH_CASE);
}

/* The driver that weir itself opened. */
static void *open_driver(void)
{
    const char *given = getenv("WEIR_CUDA_LIBRARY");
    void *driver = dlopen(given != NULL ? given : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

    if (driver == NULL) lack(dlerror());
    return driver;
}

/* A call of the driver in the form that CUDA 12.0 has, by the driver's own table. */
static void *driver_call(void *driver, const char *name)
{
    int (*find)(const char *, void **, int, uint64_t, int *) =
        (int (*)(const char *, void **, int, uint64_t, int *))dlsym(driver, "cuGetProcAddress_v2");
    void *call = NULL;
    int status;

    if (find == NULL || find(name, &call, 12000, 1 /* legacy default stream */, &status) != 0 || call == NULL) lack(name);
    return call;
}

/* As a host program would: its own streams, in the context that weir works in. */
static void adopt_streams(void)
{
    struct weir_runtime_info info = {.struct_size = sizeof info};
    struct CUstream_st *handle;
    struct CUctx_st *context;

    NEED(weir_runtime_info_read(runtime, &info));
    if (strcmp(info.backend, "cuda") != 0) lack("only the cuda backend adopts streams");
    if (weir_runtime_cuda == NULL || weir_stream_adopt_cuda == NULL)
        lack("this weir adopts no streams");
    void *driver = open_driver();
    int (*push)(struct CUctx_st *) =
        (int (*)(struct CUctx_st *))driver_call(driver, "cuCtxPushCurrent");
    int (*create)(struct CUstream_st **, unsigned, int) =
        (int (*)(struct CUstream_st **, unsigned, int))driver_call(driver,
                                                                   "cuStreamCreateWithPriority");
    NEED(weir_runtime_cuda(runtime, &context));
    if (push(context) != 0) lack("cuCtxPushCurrent failed");
    for (size_t i = 0; i < STREAMS; i++) {
        weir_stream_release(streams[i]);
        if (create(&handle, 1 /* not in step with the default stream */, 0) != 0)
            lack("cuStreamCreateWithPriority failed");
        NEED(weir_stream_adopt_cuda(runtime, handle, &streams[i]));
    }
}

static void measure_uploads(void (*upload)(size_t uploads), bool adopted)
{
    open_all(POOL_BUFFERS, UPLOAD_BYTES);
    if (adopted) adopt_streams();
    upload(WARM_UPLOADS);
    struct weir_runtime_stats before = read_stats();
    upload(UPLOADS);
    struct weir_runtime_stats after = read_stats();

    uint64_t calls = after.driver_calls - before.driver_calls;
    uint64_t queries = after.ticks_queried - before.ticks_queried;
    peer_line_u64("uploads", UPLOADS);
    peer_line_u64("driver_calls", calls);
    peer_line_u64("ticks_recorded", after.ticks_recorded - before.ticks_recorded);
    peer_line_u64("ticks_queried", queries);
    peer_line_number("driver_calls_per_upload", (double)calls / UPLOADS);
    peer_line_number("issue_calls_per_upload", (double)(calls - queries) / UPLOADS);
}

/*
 * Both streams are kept busy while all buffers are uploaded and released, so that all of them retire.
 * Then nothing acquires: only the keeper asks the device, once per stream in each of its passes.
 */
static void measure_reap(void)
{
    static struct weir_buffer *buffers[REAP_BUFFERS];

    open_all(REAP_BUFFERS, REAP_BYTES);
    for (size_t i = 0; i < REAP_BUFFERS; i++)
        NEED(weir_buffer_acquire(pool, WEIR_NOW, &buffers[i]));
    for (size_t i = 0; i < STREAMS; i++)
        NEED(weir_stream_delay(streams[i], 200 * WI_NS_PER_MS));
    for (size_t i = 0; i < REAP_BUFFERS; i++)
        NEED(weir_stream_upload(streams[i % STREAMS], device, weir_slice_all(buffers[i])));
    struct weir_runtime_stats before = read_stats();
    NEED(weir_buffers_release(buffers, REAP_BUFFERS));
    uint64_t retired = read_pool().retiring;
    uint64_t deadline_ns = bench_now_ns() + 20 * WI_NS_PER_S;
    while (read_pool().retiring > 0 && bench_now_ns() < deadline_ns)
        bench_sleep_until_ns(bench_now_ns() + WI_NS_PER_MS);
    struct weir_runtime_stats after = read_stats();

    if (retired < REAP_BUFFERS || read_pool().free != REAP_BUFFERS) {
        fprintf(stderr, "weir-peer-transfer: %llu of %d buffers retired, %llu came home\n",
                (unsigned long long)retired, REAP_BUFFERS, (unsigned long long)read_pool().free);
        _exit(EXIT_FAILURE);
    }
    uint64_t queries = after.ticks_queried - before.ticks_queried;
    uint64_t passes = after.keeper_wakeups - before.keeper_wakeups;
    peer_line_u64("buffers", REAP_BUFFERS);
    peer_line_u64("ticks_queried", queries);
    peer_line_u64("keeper_passes", passes);
    peer_line_number("queries_per_buffer", (double)queries / REAP_BUFFERS);
    if (passes > 0)
        peer_line_number("queries_per_stream_and_pass",
                         (double)queries / ((double)passes * STREAMS));
}

int main(int count, char **arguments)
{
    const char *which = count == 3 && strcmp(arguments[1], "--case") == 0 ? arguments[2] : "";

    peer_line_text("peer", "transfer");
    peer_line_text("case", which);
    if (strcmp(which, "steady") == 0) {
        measure_uploads(upload_steadily, false);
    } else if (strcmp(which, "bursts") == 0) {
        measure_uploads(upload_in_bursts, false);
    } else if (strcmp(which, "adopted") == 0) {
        measure_uploads(upload_steadily, true);
    } else if (strcmp(which, "reap") == 0) {
        measure_reap();
    } else {
        lack("usage: weir-peer-transfer --case steady|bursts|adopted|reap");
    }
    struct weir_runtime_info info = {.struct_size = sizeof info};
    NEED(weir_runtime_info_read(runtime, &info));
    peer_line_text("note", info.model[0] != '\0' ? info.model : info.device_name);
    int err = peer_line_end();
    _exit(err < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
