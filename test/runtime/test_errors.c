/* SPDX-License-Identifier: Apache-2.0 */
/* Every code of weir/error.h: it can be provoked, and its text names the limit, the setting, or what was wrong. */
#include "pool/stream_fixture.h"

#include "base/alloc.h"
#include "device/host.h"
#include "pool/context.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream;
static uint64_t             target;

/* On the host backend, whose faults and model the tests below know. */
static void open_pool(size_t buffers)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "host"), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = buffers), &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_device_alloc(rt, 8192, &target));
}

static struct weir_buffer *take(void)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    return buffer;
}

static void set_fault(uint32_t op, int32_t code)
{
    struct wi_emu_fault fault = {.op = op, .nth = 1, .code = code};
    cr_assert_eq(wi_emu_fault_set(wi_host_emu(wi_context_of(rt)->device), &fault), 0);
}

/* `names` is what the text must contain, besides the code's own name and text. */
static void assert_told(int answer, int code, const char *name, const char *names)
{
    struct weir_error error = {.struct_size = sizeof error};
    char              text[512];
    cr_assert_eq(answer, code, "answered %s", weir_errname(answer));
    ok(weir_last_error(&error));
    cr_assert_eq(error.code, code);
    cr_assert_gt(weir_error_text(text, sizeof text), 0);
    cr_assert_eq(strncmp(text, name, strlen(name)), 0, "%s", text);
    cr_assert_not_null(strstr(text, weir_strerror(code)), "%s", text);
    cr_assert_not_null(strstr(text, names), "\"%s\" is not in: %s", names, text);
    cr_assert_str_eq(weir_errname(code), name);
    cr_assert_neq(weir_remedy_of(code), WEIR_REMEDY_NONE);
}

#define PROVOKE(name, names)                                                                       \
    static int provoke_##name(void);                                                               \
    Test(errors, name) { assert_told(provoke_##name(), WEIR_E##name, #name, names); }              \
    static int provoke_##name(void)

/* Codes of parts that are built where their libraries are found, and have tests of their own. */
#define ELSEWHERE(name, where)                                                                     \
    static int provoke_##name(void) { return WEIR_E##name; }                                       \
    Test(errors, name) { cr_skip_test(#name " is provoked " where); }

PROVOKE(AGAIN, "weir_pool_opts.buffers_max")
{
    struct weir_buffer *none;
    open_pool(1);
    (void)take();
    return weir_buffer_acquire(pool, WEIR_NOW, &none);
}

PROVOKE(TIMEDOUT, "weir_pool_opts.buffers_max")
{
    struct weir_buffer *none;
    open_pool(1);
    (void)take();
    return weir_buffer_acquire(pool, weir_deadline_after_ns(MS), &none);
}

PROVOKE(BUSY, "device work still uses the buffer")
{
    open_pool(1);
    struct weir_buffer *buffer = take();
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    return weir_buffer_write(buffer, 0, "x", 1, WEIR_NOW);
}

Test(errors, BUSY_of_trim_names_the_budget)
{
    open_pool(1);
    assert_told(weir_runtime_trim(rt, WEIR_MEMORY_PINNED, 0, WEIR_NOW), WEIR_EBUSY, "BUSY", "pinned_bytes_max");
}

static int cancel(void *ctx, size_t ready, size_t total)
{
    (void)ctx, (void)ready, (void)total;
    return 1;
}

PROVOKE(CANCELED, "progress")
{
    open_pool(1);
    return weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .progress = cancel), &pool);
}

PROVOKE(NOMEM, "calloc")
{
    open_pool(1);
    (void)wi_alloc_fail_at(1);
    int err = weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096), &pool);
    (void)wi_alloc_fail_at(0);
    return err;
}

PROVOKE(INVAL, "weir_pool_opts.buffers_max")
{
    open_pool(1);
    return weir_pool_create(rt, WEIR_OPTS(pool, .buffers_min = 8, .buffers_max = 4), &pool);
}

PROVOKE(NOENT, "WI_HOST_DEVICES_COUNT 4, wanted 99")
{
    return weir_runtime_create(WEIR_OPTS(runtime, .backend = "host", .device = 99), &rt);
}

/* A device that can neither register host memory nor allocate it. */
PROVOKE(NOSYS, "host_alloc")
{
    open_pool(1);
    set_fault(WI_EMU_HOST_REGISTER, WEIR_ENOSYS);
    set_fault(WI_EMU_HOST_ALLOC, WEIR_ENOSYS);
    return weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096), &pool);
}

PROVOKE(RANGE, "bytes of the buffer 4096, wanted 4097; raise weir_pool_opts.buffer_bytes")
{
    open_pool(1);
    return weir_stream_upload(stream, target, weir_slice(take(), 4000, 97));
}

PROVOKE(DEVMEM, "WEIR_HOST_MODEL")
{
    setenv("WEIR_HOST_MODEL", "memory=1M", 1);
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "host", .device_bytes_max = UINT64_C(1) << 30), &rt));
    return weir_device_alloc(rt, 2 << 20, &target);
}

PROVOKE(PRESSURE, "priority LOW is refused")
{
    char                 path[] = "/tmp/weir-errors-XXXXXX";
    struct weir_pressure now = {.struct_size = sizeof now};
    struct weir_buffer  *none;
    int                  file = mkstemp(path);
    open_pool(1);
    cr_assert_gt(dprintf(file, "some avg10=99.00 avg60=99.00 avg300=99.00 total=5\n"), 0);
    close(file);
    ok(weir_pressure_set(rt, WEIR_OPTS(pressure, .psi_path = path)));
    ok(weir_pressure_read(rt, &now));
    cr_assert_eq(now.level, WEIR_CRITICAL);
    unlink(path);
    return weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_LOW), WEIR_NOW, &none);
}

static void *wait_until_closed(void *arg)
{
    struct weir_buffer *none;
    int                 err = weir_buffer_acquire(pool, WEIR_FOREVER, &none);
    if (err == WEIR_ECLOSED) assert_told(err, WEIR_ECLOSED, "CLOSED", "the pool or its runtime was destroyed");
    *(int *)arg = err;
    return NULL;
}

PROVOKE(CLOSED, "after its runtime was destroyed")
{
    pthread_t thread;
    int       answer = 0;
    open_pool(1);
    struct weir_buffer *buffer = take();
    cr_assert_eq(pthread_create(&thread, NULL, wait_until_closed, &answer), 0);
    eventually(pool_stats(pool).waiting == 1);
    weir_runtime_destroy(rt);
    pthread_join(thread, NULL);
    cr_assert_eq(answer, WEIR_ECLOSED);
    return weir_buffer_release(buffer);
}

PROVOKE(OPTS, "flags")
{
    open_pool(1);
    return weir_pool_create(rt, WEIR_OPTS(pool, .flags = 1u << 31), &pool);
}

Test(errors, OPTS_of_a_newer_caller_names_the_struct)
{
    struct {
        struct weir_pool_opts opts;
        uint64_t              newer;
    } opts = {.opts = {.struct_size = sizeof opts}, .newer = 1};
    open_pool(1);
    assert_told(weir_pool_create(rt, &opts.opts, &pool), WEIR_EOPTS, "OPTS", "weir_pool_opts");
}

/* In the child, which tells by its exit code. */
static int provoke_FORKED(void)
{
    open_pool(1);
    struct weir_buffer *buffer = take();
    pid_t               child = fork();
    if (child == 0) {
        char text[512];
        int  err = weir_buffer_release(buffer);
        (void)weir_error_text(text, sizeof text);
        bool told = strncmp(text, "FORKED: ", 8) == 0 && strstr(text, "a forked child may only exec");
        leave_child(err == WEIR_EFORKED && told ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", (unsigned)status);
    return WEIR_EFORKED;
}

Test(errors, FORKED) { cr_assert_eq(provoke_FORKED(), WEIR_EFORKED); }

PROVOKE(DEVICE, "lost")
{
    struct weir_buffer *none;
    open_pool(2);
    (void)take();
    wi_emu_lose(wi_host_emu(wi_context_of(rt)->device));
    answers(weir_stream_upload(stream, target, weir_slice_all(take())), DEVICE);
    int err;
    eventually((err = weir_buffer_acquire(pool, WEIR_NOW, &none)) != WEIR_EAGAIN);
    return err;
}

/* The emulation refuses what a driver would leave undefined. */
PROVOKE(INTERNAL, "device_free")
{
    open_pool(1);
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(take())));
    return weir_device_free(rt, target);
}

PROVOKE(EXCEEDS, "pinned_bytes_max 1048576, wanted 2097152; raise WEIR_PINNED_BYTES_MAX")
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "host", .pinned_bytes_max = 1 << 20), &rt));
    return weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 1 << 20, .buffers_min = 2), &pool);
}

PROVOKE(CAPTURE, "weir_stream_capture_into()")
{
    struct weir_stream *adopted;
    open_pool(1);
    void *handle = make_handle(rt);
    ok(weir_stream_adopt(rt, handle, &adopted));
    wi_emu_capture_begin(wi_host_emu(wi_context_of(rt)->device), handle);
    return weir_stream_delay(adopted, 1);
}

PROVOKE(NODRIVER, "WEIR_CUDA_LIBRARY")
{
    setenv("WEIR_CUDA_LIBRARY", "/nonexistent/libcuda.so.1", 1);
    return weir_runtime_create(WEIR_OPTS(runtime, .backend = "cuda"), &rt);
}

ELSEWHERE(PEER, "between processes: the ucx library")

PROVOKE(NOTLEASED, "released twice")
{
    open_pool(2);
    struct weir_buffer *buffer = take();
    ok(weir_buffer_release(buffer));
    return weir_buffer_release(buffer);
}

PROVOKE(FOREIGN, "not a buffer")
{
    struct weir_buffer local = {0};
    open_pool(1);
    return weir_buffer_release(&local);
}

PROVOKE(STALE, "another owner")
{
    setenv("WEIR_CHECK", "2", 1);
    open_pool(1);
    struct weir_buffer *buffer = take();
    ok(weir_buffer_release(buffer));
    (void)take();
    return weir_buffer_release(buffer);
}

PROVOKE(KIND, "another kind")
{
    open_pool(1);
    return weir_stream_release((struct weir_stream *)take());
}

/* A code without a line above does not compile. */
static int (*const all[])(void) = {
#define X(name, value, remedy, text) provoke_##name,
    WEIR_ERROR_MAP(X)
#undef X
};

Test(errors, all_are_here)
{
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) cr_assert_not_null(all[i]);
}
