/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments that cannot be, of each call of the pool layer in turn; and each of these calls in a forked child. */
#include "pool/fixture.h"

#include <sys/wait.h>
#include <unistd.h>
#include <weir/async.h>
#include <weir/cuda.h>

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_buffer  *buffer, *other;
static struct weir_stream  *stream;
static struct weir_event   *event;
static struct weir_request *request;
static struct weir_slice    slice;

static void open_all(void)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4), &pool));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    slice = weir_slice_all(buffer);
}

static void close_all(void)
{
    ok(weir_event_release(event));
    ok(weir_stream_release(stream));
    ok(weir_buffer_release(buffer));
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static void on_acquired(void *ctx, int result, struct weir_buffer *got)
{
    (void)ctx, (void)result, (void)got;
}

Test(arguments, of_pools_and_buffers)
{
    struct weir_acquire_opts        high = *WEIR_OPTS(acquire, .priority = 99), flags = *WEIR_OPTS(acquire, .flags = 1);
    struct weir_acquire_opts        cut = {.struct_size = 3};
    struct weir_buffer             *two[2] = {0};
    struct weir_buffer_info         info = {.struct_size = sizeof info};
    struct weir_pool_stats          stats = {.struct_size = sizeof stats};
    open_all();
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096), NULL), INVAL);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .strategy = 99), &pool), INVAL);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .grow_factor_percent = 100), &pool), INVAL);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_max = SIZE_MAX / 2), &pool), EXCEEDS);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2, .headroom = 2), &pool), INVAL);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .memory = WEIR_MEMORY_DEVICE,
                                           .flags = WEIR_POOL_SCRUB), &pool), INVAL);
    answers(weir_pool_reserve(NULL, 1), INVAL);
    answers(weir_pool_trim(NULL, 1, WEIR_NOW), INVAL);
    answers(weir_pool_clear(NULL), INVAL);
    answers(weir_pool_stats_read(NULL, &stats), INVAL);
    answers(weir_pool_stats_read(pool, NULL), INVAL);
    answers(weir_buffer_acquire(NULL, WEIR_NOW, &other), INVAL);
    answers(weir_buffer_acquire(pool, WEIR_NOW, NULL), INVAL);
    answers(weir_buffer_acquire_with(NULL, NULL, WEIR_NOW, &other), INVAL);
    answers(weir_buffer_acquire_with(pool, NULL, WEIR_NOW, NULL), INVAL);
    answers(weir_buffer_acquire_with(pool, &high, WEIR_NOW, &other), INVAL);
    answers(weir_buffer_acquire_with(pool, &flags, WEIR_NOW, &other), OPTS);
    answers(weir_buffer_acquire_with(pool, &cut, WEIR_NOW, &other), INVAL);
    answers(weir_buffers_acquire(NULL, 2, WEIR_NOW, two), INVAL);
    answers(weir_buffers_acquire(pool, 2, WEIR_NOW, NULL), INVAL);
    answers(weir_buffers_acquire(pool, 0, WEIR_NOW, two), INVAL);
    answers(weir_buffers_acquire(pool, (size_t)INT32_MAX + 1, WEIR_NOW, two), EXCEEDS);
    answers(weir_buffers_acquire_some(NULL, 2, two), INVAL);
    answers(weir_buffers_acquire_some(pool, 2, NULL), INVAL);
    answers(weir_buffers_acquire_some(pool, 0, two), INVAL);
    answers(weir_buffer_create(rt, 4096, 0, NULL), INVAL);
    answers(weir_buffer_write(buffer, 0, NULL, 1, WEIR_NOW), INVAL);
    answers(weir_buffer_read(buffer, 0, NULL, 1, WEIR_NOW), INVAL);
    ok(weir_buffer_write(buffer, 0, NULL, 0, WEIR_NOW)); /* nothing is written, from nowhere */
    ok(weir_buffer_read(buffer, 0, NULL, 0, WEIR_NOW));
    answers(weir_buffer_mirror(buffer, NULL), INVAL);
    answers(weir_buffer_mirror(NULL, &(uint64_t){0}), INVAL);
    answers(weir_buffer_hold(NULL), INVAL);
    answers(weir_buffer_info_read((const void *)"neither a buffer nor near one", &info), FOREIGN);
    answers(weir_buffer_info_read((const void *)stream, &info), FOREIGN);
    answers(weir_buffer_find(NULL, buffer->host, &other), INVAL);
    answers(weir_buffer_find(rt, buffer->host, NULL), INVAL);
    answers(weir_buffer_to_device((struct weir_slice){0}, stream, WEIR_NOW), INVAL);
    ok(weir_buffer_release(NULL));
    close_all();
}

Test(arguments, of_requests)
{
    struct weir_acquire_opts high = *WEIR_OPTS(acquire, .priority = 99), flags = *WEIR_OPTS(acquire, .flags = 1);
    struct weir_acquire_opts cut = {.struct_size = 3};
    open_all();
    answers(weir_buffer_acquire_async(NULL, NULL, WEIR_NOW, on_acquired, NULL, &request), INVAL);
    answers(weir_buffer_acquire_async(pool, NULL, WEIR_NOW, NULL, NULL, &request), INVAL);
    answers(weir_buffer_acquire_async(pool, &high, WEIR_NOW, on_acquired, NULL, &request), INVAL);
    answers(weir_buffer_acquire_async(pool, &flags, WEIR_NOW, on_acquired, NULL, &request), OPTS);
    answers(weir_buffer_acquire_async(pool, &cut, WEIR_NOW, on_acquired, NULL, &request), INVAL);
    answers(weir_buffer_acquire_eventfd(NULL, NULL, WEIR_NOW, 1, &request), INVAL);
    answers(weir_buffer_acquire_eventfd(pool, NULL, WEIR_NOW, 1, NULL), INVAL);
    answers(weir_buffer_acquire_eventfd(pool, NULL, WEIR_NOW, -1, &request), INVAL);
    answers(weir_request_take(NULL, &other), INVAL);
    answers(weir_request_cancel(NULL), INVAL);
    close_all();
}

Test(arguments, of_streams_and_events)
{
    struct weir_stream_opts   cut = {.struct_size = 3};
    struct weir_stream       *got;
    struct weir_event        *made;
    struct weir_graph        *graph;
    struct weir_stream_totals totals = {.struct_size = sizeof totals};
    open_all();
    answers(weir_stream_acquire(NULL, WEIR_STREAM_COMPUTE, WEIR_NOW, &got), INVAL);
    answers(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, NULL), INVAL);
    answers(weir_stream_acquire_with(rt, &cut, WEIR_NOW, &got), INVAL);
    answers(weir_stream_acquire_with(rt, NULL, WEIR_NOW, NULL), INVAL);
    answers(weir_stream_acquire_with(NULL, NULL, WEIR_NOW, &got), INVAL);
    answers(weir_stream_clear_affinity(NULL), INVAL);
    answers(weir_stream_share(NULL, WEIR_STREAM_COMPUTE, &got), INVAL);
    answers(weir_stream_share(rt, WEIR_STREAM_COMPUTE, NULL), INVAL);
    answers(weir_stream_share(rt, 0, &got), INVAL);
    answers(weir_stream_share(rt, WEIR_STREAM_ADOPTED, &got), INVAL);
    answers(weir_stream_adopt(NULL, &got, &got), INVAL);
    answers(weir_stream_adopt(rt, &got, NULL), INVAL);
    answers(weir_event_adopt(NULL, &made, 0, &made), INVAL);
    answers(weir_event_adopt(rt, &made, 0, NULL), INVAL);
    answers(weir_stream_adopt_cuda(NULL, NULL, &got), INVAL);
    answers(weir_stream_adopt_cuda(rt, NULL, NULL), INVAL);
    answers(weir_event_adopt_cuda(NULL, NULL, 0, &made), INVAL);
    answers(weir_event_adopt_cuda(rt, NULL, 0, NULL), INVAL);
    answers(weir_runtime_cuda(NULL, NULL), INVAL);
    answers(weir_runtime_cuda(rt, NULL), INVAL);
    answers(weir_stream_cuda(stream, NULL), INVAL);
    answers(weir_event_cuda(event, NULL), INVAL);
    answers(weir_stream_current(NULL), INVAL);
    answers(weir_event_acquire(NULL, 0, WEIR_NOW, &made), INVAL);
    answers(weir_event_acquire(rt, 0, WEIR_NOW, NULL), INVAL);
    answers(weir_stream_call(stream, NULL, NULL), INVAL);
    answers(weir_runtime_sync(NULL, 0, WEIR_NOW), INVAL);
    answers(weir_stream_totals_read(NULL, 0, &totals), INVAL);
    answers(weir_stream_totals_read(rt, 0, NULL), INVAL);
    answers(weir_stream_totals_read(rt, 99, &totals), INVAL);
    answers(weir_graph_create(NULL, &graph), INVAL);
    answers(weir_graph_create(rt, NULL), INVAL);
    weir_graph_destroy(NULL);
    ok(weir_graph_create(rt, &graph));
    answers(weir_graph_retain(graph, NULL), INVAL);
    answers(weir_stream_capture_into(NULL, graph), INVAL);
    weir_graph_destroy(graph);
    close_all();
}

/* A call of the child; its number is what the child answers with when it was not told. */
#define TOLD(call)                                                                                 \
    do {                                                                                           \
        number++;                                                                                  \
        if ((call) != WEIR_EFORKED) leave_child(number);                                                 \
    } while (0)

Test(arguments, in_a_forked_child_each_call_says_so)
{
    open_all();
    pid_t child = fork();
    if (child == 0) {
        int                 number = 0;
        struct weir_buffer *two[2];
        struct weir_stream *got;
        struct weir_event  *made;
        TOLD(weir_buffer_acquire_with(pool, NULL, WEIR_NOW, &other));
        TOLD(weir_buffer_acquire_with(pool, NULL, WEIR_FOREVER, &other));
        TOLD(weir_buffers_acquire(pool, 2, WEIR_NOW, two));
        TOLD(weir_buffers_acquire_some(pool, 2, two));
        TOLD(weir_buffers_release(&buffer, 1));
        TOLD(weir_buffer_acquire_async(pool, NULL, WEIR_FOREVER, on_acquired, NULL, &request));
        TOLD(weir_buffer_hold(buffer));
        TOLD(weir_buffer_unhold(buffer));
        TOLD(weir_pool_reserve(pool, 8));
        TOLD(weir_pool_trim(pool, 1, WEIR_NOW));
        TOLD(weir_pool_clear(pool));
        TOLD(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &got));
        TOLD(weir_stream_share(rt, WEIR_STREAM_COMM, &got));
        TOLD(weir_stream_sync(stream, WEIR_NOW));
        TOLD(weir_stream_upload(stream, 4096, slice));
        TOLD(weir_stream_release(stream));
        TOLD(weir_event_acquire(rt, 0, WEIR_NOW, &made));
        TOLD(weir_event_record(event, stream));
        TOLD(weir_event_release(event));
        TOLD(weir_event_clear(rt));
        TOLD(weir_runtime_sync(rt, 0, WEIR_NOW));
        leave_child(0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status), "signal %d", WTERMSIG(status));
    cr_assert_eq(WEXITSTATUS(status), 0, "call %d was not told", WEXITSTATUS(status));
    close_all();
}
