/* SPDX-License-Identifier: Apache-2.0 */
/*
 * r6_faults.c - R6: a process that loses its device, a forked child, and graph captures beside weir
 *
 * Each fault happens in a process of its own, because it does not come back from it. The program starts itself again
 * with --child, and before it has opened a driver: a child must not inherit one.
 */
#include "gpu.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES         (64 * KIB)
#define CHILD_SECONDS 60 /* one that takes longer hangs */

static struct weir_runtime *rt;
static struct weir_pool    *pool;

/* A broken promise in a child: a line of its own, and the end. */
#define PROMISE(holds, ...)                                                                        \
    do {                                                                                           \
        if (!(holds)) gpu_fatal(__VA_ARGS__);                                                      \
    } while (0)

static void open_all(void)
{
    rt = gpu_open(WEIR_OPTS(runtime, .streams_compute = 8));
    GPU_OK(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 8), &pool));
    gpu_attach();
}

/* ---- a lost device ---- */

static void crash_device(struct weir_stream *stream)
{
    struct gpu_crash_parameter crash = {.address = 8};
    struct CUstream_st        *raw = NULL;
    GPU_OK(weir_stream_cuda(stream, &raw));
    (void)gpu_launch(GPU_KERNEL_crash, 1, 1, raw, &crash);
}

static int child_lost(void)
{
    struct weir_buffer *held, *flying, *other;
    struct weir_stream *stream;
    uint64_t            device = 0;
    open_all();
    if (!gpu_load_kernels()) return GPU_EXIT_SKIP;
    GPU_OK(weir_device_alloc(rt, BYTES, &device));
    GPU_OK(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    GPU_OK(weir_buffer_acquire(pool, WEIR_NOW, &held));
    GPU_OK(weir_buffer_acquire(pool, WEIR_NOW, &flying));
    crash_device(stream);
    int err = weir_stream_upload(stream, device, weir_slice_all(flying));
    (void)weir_buffer_release(flying);
    uint64_t until_ns = weir_deadline_after_ns(20 * WI_NS_PER_S);
    while (err != WEIR_EDEVICE && weir_clock_ns() < until_ns) {
        (void)poll(NULL, 0, 5);
        err = weir_buffer_acquire(pool, WEIR_FOREVER, &other);
        if (err >= 0) {
            PROMISE(other->host != flying->host, "memory in flight on a lost device was handed out");
            int copied = weir_stream_upload(stream, device, weir_slice_all(other));
            (void)weir_buffer_release(other);
            if (copied == WEIR_EDEVICE) err = copied;
        }
    }
    PROMISE(err == WEIR_EDEVICE, "20 s after an illegal address an acquire answers %s", weir_errname(err));
    until_ns = weir_deadline_after_ns(5 * WI_NS_PER_S);
    while ((err = weir_buffer_acquire(pool, WEIR_FOREVER, &other)) >= 0 && weir_clock_ns() < until_ns)
        (void)weir_buffer_release(other);
    PROMISE(err == WEIR_EDEVICE, "an acquire on a lost device answers %s", weir_errname(err));
    PROMISE(weir_buffer_release(held) == 0, "a release on a lost device fails");
    (void)weir_stream_release(stream);
    (void)poll(NULL, 0, 20);
    uint64_t calls = gpu_calls(rt);
    weir_pool_destroy(pool);
    PROMISE(gpu_calls(rt) == calls, "destroying a pool on a lost device makes driver calls");
    weir_runtime_destroy(rt);
    fflush(stdout);
    _exit(0); /* what was made on the device stays with it, which a leak checker need not know */
}

/* ---- a forked child ---- */

static int child_fork(void)
{
    struct weir_buffer *buffer;
    int                 status = -1;
    open_all();
    GPU_OK(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    pid_t child = fork();
    if (child == 0) {
        struct weir_buffer  *other;
        struct weir_runtime *second;
        bool told = weir_buffer_acquire(pool, WEIR_NOW, &other) == WEIR_EFORKED &&
                    weir_buffer_release(buffer) == WEIR_EFORKED && weir_runtime_create(NULL, &second) == WEIR_EFORKED;
        weir_pool_destroy(pool);
        weir_runtime_destroy(rt);
        _exit(told ? 0 : 1);
    }
    PROMISE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0,
            "a forked child was not told so, or did not end well (status %x)", (unsigned)status);
    GPU_OK(weir_buffer_release(buffer));
    GPU_OK(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    GPU_OK(weir_buffer_release(buffer));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}

/* ---- captures ---- */

static void use_weir(struct gpu_worker *worker)
{
    uint64_t device = 0;
    GPU_OK(weir_device_alloc(rt, BYTES, &device));
    while (gpu_going(worker)) {
        struct weir_stream *stream;
        struct weir_buffer *buffer;
        GPU_OK(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream));
        GPU_OK(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        memset(buffer->host, (int)worker->steps, 64);
        GPU_OK(weir_stream_upload(stream, device, weir_slice_all(buffer)));
        GPU_OK(weir_buffer_release(buffer));
        if (worker->steps % 50 == 0) {
            struct weir_pool *own;
            GPU_OK(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 2), &own));
            weir_pool_destroy(own);
        }
        GPU_OK(weir_stream_sync(stream, WEIR_FOREVER));
        GPU_OK(weir_stream_release(stream));
        worker->steps++;
    }
    GPU_OK(weir_device_free(rt, device));
}

struct captures {
    unsigned         mode;
    _Atomic uint32_t done;
    _Atomic uint32_t broken;
    wi_cu_result     result;
};

/* One capture, of some launches if there are kernels, that lasts a little. */
static void capture(void *ctx)
{
    struct captures          *captures = ctx;
    struct gpu_spin_parameter spin = {.ns = 1000};
    struct CUstream_st       *stream = NULL;
    struct CUgraph_st        *graph = NULL;
    GPU_CU(gpu.cu->stream_create(&stream, WI_CU_STREAM_NON_BLOCKING, 0));
    GPU_CU(gpu.begin_capture(stream, captures->mode));
    for (int i = 0; i < 8; i++) {
        wi_cu_result result = gpu_launch(GPU_KERNEL_spin, 1, 32, stream, &spin);
        if (result != WI_CU_SUCCESS) captures->result = result;
        gpu_pause_ns(200000);
    }
    wi_cu_result result = gpu.end_capture(stream, &graph);
    if (result != WI_CU_SUCCESS) {
        captures->result = result;
        wi_add(&captures->broken, 1, relaxed);
    } else {
        GPU_CU(gpu.graph_destroy(graph));
    }
    GPU_CU(gpu.cu->stream_destroy(stream));
    wi_add(&captures->done, 1, relaxed);
}

static int child_capture(void)
{
    static const char *const modes[] = {"global", "of the thread", "relaxed"};
    open_all();
    if (!gpu_load_kernels() || !gpu.begin_capture || !gpu.end_capture || !gpu.graph_destroy) return GPU_EXIT_SKIP;
    for (unsigned mode = 0; mode < 3; mode++) {
        struct captures captures = {.mode = mode};
        struct gpu_aside aside;
        struct gpu_crew crew = {.count = 4, .duration_ns = 3000 * MS, .steps_quick = 60, .work = use_weir};
        gpu_aside_start(&aside, capture, &captures);
        struct gpu_outcome outcome = gpu_run(&crew);
        gpu_aside_stop(&aside);
        PROMISE(wi_load(&captures.done, relaxed) > 0 && outcome.steps > 0, "nothing was captured, or nothing used");
        PROMISE(wi_load(&captures.broken, relaxed) == 0, "%u of %u captures (%s) were broken: %u, %s",
                wi_load(&captures.broken, relaxed), wi_load(&captures.done, relaxed), modes[mode], captures.result,
                wi_cu_meaning_of(captures.result)->name);
        printf("  %u captures (%s) beside %lu transfers\n", wi_load(&captures.done, relaxed), modes[mode],
               (unsigned long)outcome.steps);
    }
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}

/* ---- the parent ---- */

static const struct child {
    const char *name;
    const char *promise;
    int       (*main)(void);
} children[] = {
    {"lost", "a process whose kernel wrote to an illegal address: told so, releases work, it ends", child_lost},
    {"fork", "a forked child is told so and ends; its parent goes on", child_fork},
    {"capture", "graphs captured in each mode while four threads use weir", child_capture},
};

static int run_child(const char *name)
{
    int   status = -1;
    pid_t child = fork();
    if (child == 0) {
        const char *quick = gpu_options.quick ? "--quick" : NULL;
        (void)alarm(CHILD_SECONDS); /* outlives the exec */
        execl("/proc/self/exe", "r6_faults", "--child", name, quick, (char *)NULL);
        _exit(127);
    }
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

/* The parent's own device must be well after all that its children went through. */
static void try_own_device(void)
{
    struct weir_buffer *buffer;
    struct weir_stream *stream;
    uint64_t            device = 0;
    open_all();
    GPU_OK(weir_device_alloc(rt, BYTES, &device));
    GPU_OK(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    GPU_OK(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    GPU_OK(weir_stream_upload(stream, device, weir_slice_all(buffer)));
    GPU_OK(weir_buffer_release(buffer));
    int err = weir_stream_sync(stream, WEIR_FOREVER);
    gpu_check("the device afterwards", err == 0, "an upload answers %s", err < 0 ? weir_errname(err) : "OK");
    GPU_OK(weir_stream_release(stream));
    GPU_OK(weir_device_free(rt, device));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

int main(int argc, char **argv)
{
    gpu_begin("R6 faults", "a lost device, a forked child, captures", argc, argv);
    for (size_t i = 0; gpu_options.child && i < WI_ARRAY_COUNT(children); i++)
        if (strcmp(children[i].name, gpu_options.child) == 0) return children[i].main();
    for (size_t i = 0; i < WI_ARRAY_COUNT(children); i++) {
        int status = run_child(children[i].name);
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        if (code == GPU_EXIT_SKIP)
            gpu_skip(children[i].name, "no driver, no kernels, or no captures");
        else
            gpu_check(children[i].name, code == 0, "%s (%s %d)", children[i].promise,
                      WIFSIGNALED(status) ? "ended by signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : code);
    }
    try_own_device();
    return gpu_end();
}
