/* SPDX-License-Identifier: Apache-2.0 */
/* weir/cuda.h over the driver double: raw handles out, the host program's handles in, captures of both. */
#include "device/cuda_fixture.h"
#include "pool/stream_fixture.h"

#include <pthread.h>
#include <weir/cuda.h>

static struct cuda_fixture  driver;
static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_buffer  *buffer;
static struct CUctx_st     *context;
static uint64_t             target;

static void open_all(void)
{
    cuda_fixture_init(&driver, "");
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "cuda", .streams_high = 1), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2), &pool));
    ok(weir_device_alloc(rt, 4096, &target));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    /* The host program works in the device's primary context, as the CUDA runtime does. */
    cr_assert_eq(driver.app.context_retain(&context, 0), WI_CU_SUCCESS);
    cr_assert_eq(driver.app.context_push(context), WI_CU_SUCCESS);
}

static void close_all(void)
{
    struct fakecuda_live live;
    struct CUctx_st     *popped = NULL;
    assert_law(pool);
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    cr_assert_eq(driver.app.context_pop(&popped), WI_CU_SUCCESS);
    cr_assert_eq(driver.app.context_release(0), WI_CU_SUCCESS);
    driver.fake.live(&live);
    cr_assert_eq(live.contexts + live.streams + live.events + live.registrations + live.device_allocations, 0);
}

static struct CUstream_st *make_stream(void)
{
    struct CUstream_st *stream = NULL;
    cr_assert_eq(driver.app.stream_create(&stream, WI_CU_STREAM_NON_BLOCKING, -1), WI_CU_SUCCESS);
    return stream;
}

Test(stream_cuda, the_host_backend_has_no_cuda_handles)
{
    struct weir_stream *stream;
    struct weir_event  *event;
    struct CUctx_st    *none = NULL;
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "host"), &rt));
    stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    answers(weir_runtime_cuda(rt, &none), KIND);
    answers(weir_stream_cuda(stream, &(struct CUstream_st *){NULL}), KIND);
    answers(weir_event_cuda(event, &(struct CUevent_st *){NULL}), KIND);
    answers(weir_stream_adopt_cuda(rt, (struct CUstream_st *)2, &stream), KIND);
    answers(weir_event_adopt_cuda(rt, (struct CUevent_st *)64, 0, &event), KIND);
    cr_assert_null(none);
    ok(weir_stream_release(stream));
    ok(weir_event_release(event));
    weir_runtime_destroy(rt);
}

Test(stream_cuda, raw_handles_are_the_drivers_and_cover_what_is_launched_on_them)
{
    struct CUctx_st    *mine = NULL;
    struct CUstream_st *raw = NULL;
    struct CUevent_st  *raw_event = NULL;
    struct weir_event  *event;
    int                 priority = 0;
    open_all();
    ok(weir_runtime_cuda(rt, &mine));
    cr_assert_eq(mine, context);
    struct weir_stream *stream = acquire_stream(rt, WEIR_STREAM_HIGH), *next;
    ok(weir_stream_delay(stream, 1000));
    ok(weir_stream_cuda(stream, &raw));
    uint64_t            records = driver.fake.calls("cuEventRecord");
    struct CUstream_st *again = NULL;
    ok(weir_stream_cuda(stream, &again)); /* it is known outside already */
    cr_assert_eq(again, raw);
    cr_assert_eq(driver.fake.calls("cuEventRecord"), records);
    cr_assert_eq(driver.stream_priority(raw, &priority), WI_CU_SUCCESS);
    cr_assert_eq(stream_info(stream).priority, priority);
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    ok(weir_event_cuda(event, &raw_event));
    cr_assert_eq(driver.app.event_record(raw_event, raw), WI_CU_SUCCESS);
    answers(weir_event_query(event), INVAL); /* weir has not seen it */
    ok(weir_event_release(event));

    driver.fake.hold(raw); /* a kernel that runs on */
    cr_assert_eq(driver.app.fill(target, 7, 64, raw), WI_CU_SUCCESS);
    cr_assert_eq(weir_stream_query(stream), WEIR_EAGAIN);
    answers(weir_stream_sync(stream, weir_deadline_after_ns(MS)), TIMEDOUT);
    ok(weir_buffer_guard(buffer, stream));
    ok(weir_buffer_release(buffer));
    ok(weir_stream_release(stream));
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_BUSY);
    cr_assert_eq(pool_stats(pool).retiring, 1);
    answers(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_NOW, &next), AGAIN);
    driver.fake.release(raw);
    ok(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_FOREVER, &next));
    ok(weir_stream_release(next));
    eventually(pool_stats(pool).free == 2);
    close_all();
}

Test(stream_cuda, adopted_handles)
{
    struct weir_stream *stream;
    struct weir_event  *event;
    struct CUevent_st  *theirs = NULL;
    open_all();
    struct CUstream_st *handle = make_stream();
    answers(weir_stream_adopt_cuda(rt, NULL, &stream), INVAL);
    ok(weir_stream_adopt_cuda(rt, handle, &stream));
    cr_assert_eq(stream_info(stream).priority, -1, "the real one");
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    cr_assert_eq(driver.app.event_create(&theirs, 0), WI_CU_SUCCESS);
    ok(weir_event_adopt_cuda(rt, theirs, WEIR_EVENT_TIMING, &event));
    ok(weir_event_record(event, stream));
    ok(weir_event_sync(event, WEIR_FOREVER));
    cr_assert_eq(driver.app.event_query(theirs), WI_CU_SUCCESS);
    ok(weir_event_disown(event));
    cr_assert_eq(driver.app.event_destroy(theirs), WI_CU_SUCCESS);
    ok(weir_stream_disown(stream));
    cr_assert_eq(driver.app.stream_destroy(handle), WI_CU_SUCCESS); /* whoever uses it now ends the process */
    ok(weir_buffer_release(buffer));
    eventually(pool_stats(pool).free == 2);
    close_all();
}

static void *use_anothers(void *stream)
{
    return (void *)(intptr_t)weir_stream_delay(stream, 1000);
}

static void *sync_all(void *runtime)
{
    return (void *)(intptr_t)weir_runtime_sync(runtime, 0, WEIR_FOREVER);
}

/* 0x2 is another stream to each thread, so its ticks would be in no order. */
Test(stream_cuda, default_streams)
{
    struct weir_stream *legacy, *mine;
    pthread_t           thread;
    void               *answer;
    open_all();
    ok(weir_stream_adopt_cuda(rt, WI_CU_STREAM_LEGACY, &legacy));
    ok(weir_stream_adopt_cuda(rt, WI_CU_STREAM_PER_THREAD, &mine));
    ok(weir_stream_upload(legacy, target, weir_slice_all(buffer)));
    ok(weir_stream_download(mine, weir_slice_all(buffer), target));
    ok(weir_stream_sync(legacy, WEIR_FOREVER));
    ok(weir_stream_sync(mine, WEIR_FOREVER));
    cr_assert_eq(pthread_create(&thread, NULL, use_anothers, mine), 0);
    pthread_join(thread, &answer);
    cr_assert_eq((int)(intptr_t)answer, WEIR_EINVAL);
    cr_assert_eq(pthread_create(&thread, NULL, use_anothers, legacy), 0);
    pthread_join(thread, &answer);
    cr_assert_eq((int)(intptr_t)answer, 0);
    uint64_t records = driver.fake.calls("cuEventRecord");
    cr_assert_eq(pthread_create(&thread, NULL, sync_all, rt), 0);
    pthread_join(thread, &answer);
    cr_assert_eq((int)(intptr_t)answer, 0, "another thread's sync of all passes over it");
    cr_assert_eq(driver.fake.calls("cuEventRecord"), records + 1,
                 "only the legacy stream's end was recorded");
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    cr_assert_eq(driver.fake.calls("cuEventRecord"), records + 3);
    ok(weir_buffer_release(buffer));
    ok(weir_stream_disown(legacy));
    ok(weir_stream_disown(mine));
    close_all();
}

/* The host program captures weir's own stream by its raw handle. weir adds nothing but the copy, and breaks nothing. */
Test(stream_cuda, a_capture_of_a_raw_handle)
{
    struct CUstream_st *raw = NULL;
    struct CUgraph_st  *captured = NULL;
    struct weir_graph  *graph;
    open_all();
    struct weir_stream *stream = acquire_stream(rt, WEIR_STREAM_HIGH);
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer))); /* before: its tick is closed as the handle goes out */
    ok(weir_stream_cuda(stream, &raw));
    ok(weir_graph_create(rt, &graph));
    cr_assert_eq(driver.begin_capture(raw, WI_CU_CAPTURE_GLOBAL), WI_CU_SUCCESS);
    answers(weir_stream_upload(stream, target, weir_slice_all(buffer)), CAPTURE);
    ok(weir_stream_capture_into(stream, graph));
    uint64_t records = driver.fake.calls("cuEventRecord");
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    ok(weir_buffer_release(buffer));
    nanosleep(&(struct timespec){.tv_nsec = 5 * MS}, NULL);
    cr_assert_eq(driver.fake.calls("cuEventRecord"), records, "an event got into the graph");
    cr_assert_eq(driver.end_capture(raw, &captured), WI_CU_SUCCESS, "the capture was broken");
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).retiring, 1);
    cr_assert_eq(driver.destroy_graph(captured), WI_CU_SUCCESS);
    weir_graph_destroy(graph);
    eventually(pool_stats(pool).free == 2);
    ok(weir_stream_release(stream));
    close_all();
}

Test(stream_cuda, a_capture_of_an_adopted_stream)
{
    struct weir_stream *stream;
    struct CUgraph_st  *captured = NULL;
    open_all();
    struct CUstream_st *handle = make_stream();
    ok(weir_stream_adopt_cuda(rt, handle, &stream));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    ok(weir_buffer_release(buffer)); /* the keeper reaps it while the capture goes on, and does not break it */
    cr_assert_eq(driver.begin_capture(handle, WI_CU_CAPTURE_GLOBAL), WI_CU_SUCCESS);
    answers(weir_stream_delay(stream, 1000), CAPTURE);
    eventually(pool_stats(pool).free == 2);
    cr_assert_eq(driver.end_capture(handle, &captured), WI_CU_SUCCESS);
    cr_assert_eq(driver.destroy_graph(captured), WI_CU_SUCCESS);
    ok(weir_stream_delay(stream, 1000));
    ok(weir_stream_disown(stream));
    cr_assert_eq(driver.app.stream_destroy(handle), WI_CU_SUCCESS);
    close_all();
}
