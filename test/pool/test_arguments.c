/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments that cannot be, of each call of the pool layer in turn; and each of these calls in a forked child. */
#include "pool/fixture.h"

#include "base/alloc.h"
#include "sync/records.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/async.h>
#include <weir/cuda.h>
#include <weir/tier.h>

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
    answers(weir_buffer_hold((void *)stream), KIND);
    answers(weir_buffer_to_host((struct weir_slice){.buffer = (void *)event, .bytes = 1}, stream, WEIR_NOW), KIND);
    /* The first of several errors is answered, and what can be released is. */
    ok(weir_buffers_acquire(pool, 2, WEIR_NOW, two));
    struct weir_buffer *mixed[] = {two[0], (void *)&stats, two[1], two[0]};
    answers(weir_buffers_release(mixed, 4), FOREIGN); /* and the last is released twice */
    close_all();
}

/* A record that is handed out and in no pool yet, and one of another kind. */
Test(arguments, a_record_of_no_pool_is_no_buffer)
{
    enum { MORE = 4096 }; /* than lie between others, so that the last one is new */
    struct wi_record_range  range;
    struct weir_buffer_info info = {.struct_size = sizeof info};
    open_all();
    ok(wi_records_reserve(MORE, &range));
    const char *last = (const char *)range.base + (MORE - 1) * WI_RECORD_BYTES;
    cr_assert(wi_record_valid(last));
    answers(weir_buffer_info_read((const void *)last, &info), FOREIGN);
    wi_records_return(&range);
    answers(weir_buffer_info_read((const void *)event, &info), FOREIGN);
    ok(weir_buffer_info_read(buffer, &info));
    close_all();
}

Test(arguments, of_tiered_buffers)
{
    struct weir_pool   *tiered;
    struct weir_buffer *moving;
    open_all();
    ok(weir_tier_create(rt,
                        WEIR_OPTS(tier, .buffer_bytes = 4096, .buffers_max = 2, .pinned_buffers = 1,
                                  .flags = WEIR_TIER_MANUAL),
                        &tiered));
    ok(weir_buffer_acquire(tiered, WEIR_NOW, &moving));
    answers(weir_pool_clear(tiered), KIND);
    answers(weir_stream_sync((void *)moving, WEIR_NOW), KIND);
    answers(weir_event_query((void *)moving), KIND);
    ok(weir_buffer_release(moving));
    weir_pool_destroy(tiered);
    close_all();
}

/* Behind a buffer is the rest of its stride, behind the last one the rest of the page: they are nobody's. */
Test(arguments, addresses_between_buffers_are_nobodys)
{
    struct weir_pool   *odd;
    struct weir_buffer *one;
    open_all();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 1000, .buffers_min = 3), &odd));
    ok(weir_buffer_acquire(odd, WEIR_NOW, &one));
    ok(weir_buffer_find(rt, (char *)one->host + 999, &other));
    cr_assert_eq(other->host, one->host);
    answers(weir_buffer_find(rt, (char *)one->host + 1000, &other), NOENT);
    ok(weir_buffer_release(one));
    weir_pool_destroy(odd);
    close_all();
}

Test(arguments, each_dtype_has_a_name_and_a_size)
{
    static const struct {
        const char *name;
        size_t      bytes;
    } known[] = {{"none", 0},     {"bool", 1},    {"uint8", 1},       {"int8", 1},
                 {"uint16", 2},   {"int16", 2},   {"uint32", 4},      {"int32", 4},
                 {"uint64", 8},   {"int64", 8},   {"float16", 2},     {"bfloat16", 2},
                 {"float32", 4},  {"float64", 8}, {"float8_e4m3", 1}, {"float8_e5m2", 1},
                 {"complex64", 8}};
    for (uint32_t dtype = 0; dtype < sizeof known / sizeof known[0]; dtype++) {
        cr_expect_str_eq(weir_dtype_name(dtype), known[dtype].name);
        cr_expect_eq(weir_dtype_bytes(dtype), known[dtype].bytes, "%s", known[dtype].name);
    }
    cr_expect_str_eq(weir_dtype_name(sizeof known / sizeof known[0]), "unknown");
    cr_expect_eq(weir_dtype_bytes(sizeof known / sizeof known[0]), 0);
}

/* Its record stays, and says that nobody has it. */
Test(arguments, a_shared_stream_is_nobodys_after_its_runtime)
{
    struct weir_stream *shared;
    open_all();
    ok(weir_stream_share(rt, WEIR_STREAM_COMM, &shared));
    ok(weir_stream_sync(shared, WEIR_FOREVER));
    ok(weir_stream_release(shared));
    close_all();
    answers(weir_stream_sync(shared, WEIR_NOW), NOTLEASED);
    answers(weir_stream_release(shared), NOTLEASED);
}

/* What makes an allocation when it is first done: it fails with the allocation, and goes well afterwards. */
#define NEEDS_MEMORY(call)                                                                         \
    do {                                                                                           \
        (void)wi_alloc_fail_at(1);                                                                 \
        answers(call, NOMEM);                                                                      \
        cr_assert_eq(wi_alloc_fail_at(0), 0, "%s made no allocation", #call);                      \
        ok(call);                                                                                  \
    } while (0)

Test(arguments, where_there_is_no_memory)
{
    enum { STREAMS = 3, COPIES = 200 };
    struct weir_stream *streams[STREAMS];
    struct weir_copy    copies[COPIES];
    uint64_t            target;
    open_all();
    ok(weir_device_alloc(rt, 4096, &target));
    NEEDS_MEMORY(weir_buffer_reset(buffer, WEIR_FOREVER));
    for (int i = 0; i < STREAMS; i++) ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &streams[i]));
    for (int i = 0; i < STREAMS - 1; i++) {
        ok(weir_stream_delay(streams[i], 250 * UINT64_C(1000000)));
        ok(weir_buffer_guard(buffer, streams[i]));
    }
    NEEDS_MEMORY(weir_stream_upload(streams[STREAMS - 1], target, slice)); /* a third mark, while two are pending */
    for (int i = 0; i < COPIES; i++) copies[i] = (struct weir_copy){.device = target, .slice = slice};
    NEEDS_MEMORY(weir_stream_upload_batch(streams[0], copies, COPIES));
    ok(weir_event_record(event, streams[0]));
    NEEDS_MEMORY(weir_event_sync(event, WEIR_FOREVER));
    for (int i = 0; i < STREAMS; i++) {
        ok(weir_stream_sync(streams[i], WEIR_FOREVER));
        ok(weir_stream_release(streams[i]));
    }
    ok(weir_device_free(rt, target));
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
    /* The pool is full: both wait. */
    struct weir_buffer *rest[3];
    ok(weir_buffers_acquire(pool, 3, WEIR_NOW, rest));
    ok(weir_buffer_acquire_async(pool, NULL, WEIR_FOREVER, on_acquired, NULL, &request));
    answers(weir_request_take(request, &other), INVAL); /* it has a callback */
    answers(weir_request_take(request, NULL), INVAL);
    ok(weir_request_cancel(request));
    ok(weir_buffers_release(rest, 3));
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
    answers(weir_stream_set_affinity(NULL, WEIR_AFFINITY_ON), INVAL);
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
    weir_graph_destroy((void *)stream); /* is none */
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    ok(weir_stream_release(NULL));
    ok(weir_event_release(NULL));
    answers(weir_stream_release((void *)event), KIND);
    answers(weir_event_release((void *)stream), KIND);
    answers(weir_stream_sync((void *)event, WEIR_NOW), KIND);
    answers(weir_stream_cuda((void *)event, NULL), INVAL);
    answers(weir_stream_capture_into((void *)event, NULL), KIND);
    answers(weir_event_elapsed_ns(event, event, &(uint64_t){0}), INVAL);
    ok(weir_stream_upload(stream, 4096, (struct weir_slice){.buffer = buffer})); /* no bytes: nothing is queued */
    close_all();
}

Test(arguments, of_copies_without_host_memory)
{
    struct weir_pool   *device;
    struct weir_buffer *there;
    uint64_t            target;
    open_all();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .memory = WEIR_MEMORY_DEVICE), &device));
    ok(weir_buffer_acquire(device, WEIR_NOW, &there));
    ok(weir_device_alloc(rt, 4096, &target));
    answers(weir_stream_upload(stream, target, weir_slice_all(there)), KIND);
    answers(weir_buffer_mirror(there, &target), KIND);
    ok(weir_device_free(rt, target));
    ok(weir_buffer_release(there));
    ok(weir_pool_clear(device));
    weir_pool_destroy(device);
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
        TOLD(weir_buffers_release(&buffer, 1)); /* without lease faces the first has made it free */
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
