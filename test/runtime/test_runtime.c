/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime's life: leases out at its end, silence when idle, forks, the process-wide runtime. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Test(runtime, refuses_an_unknown_backend_and_device)
{
    struct weir_runtime *rt;
    answers(weir_runtime_create(WEIR_OPTS(runtime, .backend = "abacus"), &rt), INVAL);
    answers(weir_runtime_create(WEIR_OPTS(runtime, .backend = "host", .device = 99), &rt), NOENT);
    answers(weir_runtime_create(WEIR_OPTS(runtime, .flags = 1), &rt), OPTS);
}

/* What a machine without a GPU gets when it asks for nothing: the host backend, and bytes that arrive. */
Test(runtime, works_where_there_is_no_driver)
{
    struct weir_runtime     *rt;
    struct weir_pool        *pool;
    struct weir_buffer      *buffer;
    struct weir_runtime_info info = {.struct_size = sizeof info};
    static unsigned char     sent[4096], came[4096];
    cr_assert_eq(setenv("WEIR_CUDA_LIBRARY", "/nonexistent/libcuda.so.1", 1), 0);
    cr_assert_eq(unsetenv("WEIR_BACKEND"), 0);
    ok(weir_runtime_create(NULL, &rt));
    ok(weir_runtime_info_read(rt, &info));
    cr_assert_str_eq(info.backend, "host");
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = sizeof sent, .buffers_min = 2), &pool));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    struct weir_stream *stream;
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    for (size_t i = 0; i < sizeof sent; i++) sent[i] = (unsigned char)(i * 7 + 1);
    memcpy(buffer->host, sent, sizeof sent);
    uint64_t target;
    ok(weir_device_alloc(rt, sizeof sent, &target));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    memset(buffer->host, 0, sizeof sent);
    ok(weir_stream_download(stream, weir_slice_all(buffer), target));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    memcpy(came, buffer->host, sizeof came);
    cr_assert_arr_eq(came, sent, sizeof sent);
    ok(weir_buffer_release(buffer));
    ok(weir_stream_release(stream));
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(runtime, destroyed_with_leases_out_leaves_them_mapped)
{
    struct weir_runtime *rt = make_runtime();
    struct weir_pool    *pool;
    struct weir_buffer  *buffer;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2), &pool));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    weir_runtime_destroy(rt);
    memset(buffer->host, 1, buffer->bytes);
    answers(weir_buffer_release(buffer), CLOSED);
}

static char told[1024];

static void hear(void *ctx, uint32_t level, const char *component, const char *message)
{
    size_t used = strlen(told);
    (void)ctx;
    (void)component;
    if (level == WEIR_LOG_WARN) (void)snprintf(told + used, sizeof told - used, "%s\n", message);
}

static __attribute__((noinline)) struct weir_buffer *lose_one(struct weir_pool *pool)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    return buffer;
}

static void lose_one_and_be_told(void)
{
    struct weir_pool *pool;
    cr_assert_eq(setenv("WEIR_LEAKS", "1", 1), 0);
    struct weir_runtime *rt = make_runtime();
    ok(weir_pool_create(
        rt, WEIR_OPTS(pool, .name = "staging", .buffer_bytes = 4096, .buffers_min = 2), &pool));
    struct weir_buffer *buffer = lose_one(pool);
    weir_log_set(hear, NULL);
    weir_runtime_destroy(rt);
    weir_log_set(NULL, NULL);
    cr_assert(strstr(told, "staging: 1 leases still out"), "%s", told);
    const char *at = strstr(told, "was acquired at ");
    cr_assert(at, "%s", told);
    uintptr_t site = (uintptr_t)strtoull(at + strlen("was acquired at "), NULL, 16);
    cr_assert(site > (uintptr_t)lose_one && site < (uintptr_t)lose_one + 4096, "%s", told);
    answers(weir_buffer_release(buffer), CLOSED);
}

Test(runtime, a_leak_is_reported_with_its_call_site)
{
    lose_one_and_be_told();
}

/* The two ways to watch are apart: a site needs no lease faces. */
Test(runtime, a_leak_is_reported_with_its_call_site_unchecked)
{
    cr_assert_eq(setenv("WEIR_CHECK", "0", 1), 0);
    lose_one_and_be_told();
}

Test(runtime, idle_it_wakes_nobody)
{
    struct weir_runtime      *rt = make_runtime();
    struct weir_pool         *pool;
    struct weir_buffer       *buffer;
    struct weir_runtime_stats before = {.struct_size = sizeof before}, after = before;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2), &pool));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_buffer_release(buffer));
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    ok(weir_runtime_stats_read(rt, &before));
    nanosleep(&(struct timespec){.tv_sec = 5}, NULL);
    ok(weir_runtime_stats_read(rt, &after));
    cr_assert_eq(after.keeper_wakeups, before.keeper_wakeups);
    cr_assert_eq(after.monitor_wakeups, before.monitor_wakeups);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(runtime, a_forked_child_is_told_so)
{
    struct weir_runtime *rt = make_runtime();
    struct weir_pool    *pool;
    struct weir_buffer  *buffer, *other;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2), &pool));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    pid_t child = fork();
    if (child == 0) {
        struct weir_runtime *second;
        struct weir_stream  *stream;
        struct weir_event   *event;
        int bad = weir_buffer_acquire(pool, WEIR_NOW, &other) != WEIR_EFORKED;
        bad |= (weir_buffer_acquire(pool, WEIR_FOREVER, &other) != WEIR_EFORKED) << 1;
        bad |= (weir_buffer_release(buffer) != WEIR_EFORKED) << 2;
        bad |= (weir_runtime_create(NULL, &second) != WEIR_EFORKED) << 3;
        bad |= (weir_pool_create(rt, NULL, &pool) != WEIR_EFORKED) << 4;
        bad |= (weir_stream_share(rt, WEIR_STREAM_COMPUTE, &stream) != WEIR_EFORKED) << 5;
        bad |= (weir_stream_adopt(rt, &second, &stream) != WEIR_EFORKED) << 6;
        bad |= (weir_event_adopt(rt, &second, 0, &event) != WEIR_EFORKED) << 7;
        weir_pool_destroy(pool);
        weir_runtime_destroy(rt);
        leave_child(bad);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    ok(weir_buffer_release(buffer)); /* the parent goes on */
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* A pool that was destroyed with a lease out. Without checks nothing but its gate tells. */
Test(runtime, a_forked_child_is_told_so_by_a_pool_that_was_closing)
{
    cr_assert_eq(setenv("WEIR_CHECK", "0", 1), 0);
    struct weir_runtime *rt = make_runtime();
    struct weir_pool    *pool;
    struct weir_buffer  *buffer;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2), &pool));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    weir_pool_destroy(pool);
    pid_t child = fork();
    if (child == 0) leave_child(weir_buffer_release(buffer) != WEIR_EFORKED);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    ok(weir_buffer_release(buffer));
    weir_runtime_destroy(rt);
}

static struct weir_runtime *seen[64];
static pthread_barrier_t    start;

static void *ask_for_default(void *arg)
{
    (void)pthread_barrier_wait(&start);
    ok(weir_runtime_default(0, arg));
    return NULL;
}

Test(runtime, the_default_is_made_once_and_reset_reports_leases)
{
    pthread_t           thread[64];
    struct weir_stream *stream;
    pthread_barrier_init(&start, NULL, 64);
    for (int i = 0; i < 64; i++) cr_assert_eq(pthread_create(&thread[i], NULL, ask_for_default, &seen[i]), 0);
    for (int i = 0; i < 64; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 64; i++) cr_assert_eq(seen[i], seen[0]);
    ok(weir_stream_acquire(seen[0], WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    cr_assert_eq(weir_runtime_reset(0, WEIR_FOREVER), 1);
    answers(weir_stream_release(stream), CLOSED);
    cr_assert_eq(weir_runtime_reset(0, WEIR_FOREVER), 0);
}

Test(runtime, a_hundred_lives_leave_nothing_behind)
{
    for (int i = 0; i < 100; i++) {
        struct weir_runtime *rt = make_runtime();
        struct weir_pool    *pool;
        struct weir_buffer  *buffer;
        ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4), &pool));
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
        ok(weir_buffer_release(buffer));
        weir_pool_destroy(pool);
        weir_runtime_destroy(rt);
    }
}

Test(runtime, each_device_has_a_default_of_its_own)
{
    struct weir_runtime *first, *second, *again;
    ok(weir_runtime_default(0, &first));
    int err = weir_runtime_default(1, &second);
    if (err == WEIR_ENOENT) cr_skip_test("there is one device");
    ok(err);
    cr_assert_neq(first, second);
    ok(weir_runtime_default(1, &again));
    cr_assert_eq(again, second);
    cr_assert_eq(weir_runtime_reset(1, WEIR_FOREVER), 0);
    ok(weir_runtime_default(0, &again));
    cr_assert_eq(again, first, "the other one stays");
    cr_assert_eq(weir_runtime_reset(0, WEIR_FOREVER), 0);
}
