/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread of the host program captures a graph while others use weir in every way. Nothing that weir does may
 * break the capture, and nothing may fail because of it.
 */
#include "device/cuda_fixture.h"
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <string.h>
#include <weir/tier.h>

#define THREADS 4
#define ROUNDS  25
#define BYTES   ((size_t)16 << 10)

static struct cuda_fixture  driver;
static struct weir_runtime *rt;
static struct weir_pool    *pool;

/* ---- the host program's capture ---- */

struct capture {
    struct CUctx_st    *context;
    struct CUstream_st *stream;
};

static struct capture begin_capture(unsigned mode)
{
    struct capture capture = {0};
    cr_assert_eq(driver.app.context_retain(&capture.context, 0), WI_CU_SUCCESS);
    cr_assert_eq(driver.app.context_push(capture.context), WI_CU_SUCCESS);
    cr_assert_eq(driver.app.stream_create(&capture.stream, 1, 0), WI_CU_SUCCESS);
    cr_assert_eq(driver.begin_capture(capture.stream, mode), WI_CU_SUCCESS);
    return capture;
}

static void end_capture(struct capture *capture)
{
    struct CUgraph_st *graph = NULL;
    struct CUctx_st   *popped = NULL;
    cr_assert_eq(driver.end_capture(capture->stream, &graph), WI_CU_SUCCESS, "the capture was broken");
    cr_assert_eq(driver.destroy_graph(graph), WI_CU_SUCCESS);
    cr_assert_eq(driver.app.stream_destroy(capture->stream), WI_CU_SUCCESS);
    cr_assert_eq(driver.app.context_pop(&popped), WI_CU_SUCCESS);
    cr_assert_eq(driver.app.context_release(0), WI_CU_SUCCESS);
}

/* ---- what the others do ---- */

static void use_streams(uint64_t device, int seed)
{
    struct weir_buffer *up, *down;
    struct weir_stream *stream;
    struct weir_event  *event;
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream));
    ok(weir_event_acquire(rt, 0, WEIR_FOREVER, &event));
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &up));
    memset(up->host, seed, BYTES);
    ok(weir_stream_upload(stream, device, weir_slice_all(up)));
    ok(weir_buffer_release(up));
    ok(weir_event_record(event, stream));
    ok(weir_event_sync(event, WEIR_FOREVER));
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &down));
    ok(weir_stream_download(stream, weir_slice_all(down), device));
    ok(weir_buffer_sync(down, WEIR_FOREVER));
    cr_assert_eq(((unsigned char *)down->host)[BYTES - 1], (unsigned char)seed);
    ok(weir_buffer_release(down));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    ok(weir_event_release(event));
    ok(weir_stream_release(stream));
}

static void use_memory(void)
{
    struct weir_pool *own;
    uint64_t          device;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 2, .buffers_max = 8), &own));
    ok(weir_pool_reserve(own, 4));
    ok(weir_pool_trim(own, 2, WEIR_FOREVER));
    ok(weir_device_alloc(rt, BYTES, &device));
    ok(weir_device_free(rt, device));
    weir_pool_destroy(own);
}

static void use_tiers(void)
{
    struct weir_pool   *tiers;
    struct weir_buffer *buffer;
    struct weir_view    view;
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .buffer_bytes = 4096, .buffers_max = 4, .device_buffers = 2,
                                      .pinned_buffers = 1, .flags = WEIR_TIER_MANUAL), &tiers));
    ok(weir_buffer_acquire(tiers, WEIR_NOW, &buffer));
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_WRITE, NULL, WEIR_FOREVER, &view));
    memset(view.host, 0x5a, view.bytes);
    ok(weir_view_return(&view));
    ok(weir_buffer_prefetch(buffer, WEIR_TIER_DEVICE, WEIR_FOREVER));
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_FOREVER, &view));
    cr_assert_eq(((unsigned char *)view.host)[4095], 0x5a);
    ok(weir_view_return(&view));
    ok(weir_buffer_release(buffer));
    weir_pool_destroy(tiers);
}

static void use_a_runtime(void)
{
    struct weir_runtime *other;
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "cuda", .events_max = 4), &other));
    weir_runtime_destroy(other);
}

static void *use_weir(void *arg)
{
    int      number = (int)(intptr_t)arg;
    uint64_t device;
    ok(weir_device_alloc(rt, BYTES, &device));
    for (int round = 0; round < ROUNDS; round++) {
        use_streams(device, number * ROUNDS + round);
        if (round % 5 == 0) use_memory();
        if (round % 5 == 1) use_tiers();
        if (round % 10 == 2 && number == 0) use_a_runtime();
    }
    ok(weir_device_free(rt, device));
    return NULL;
}

static void use_beside_a_capture(unsigned mode)
{
    pthread_t thread[THREADS];
    cuda_fixture_init(&driver, "latency=0us");
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "cuda"), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 4, .buffers_max = 16), &pool));
    struct capture capture = begin_capture(mode);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, use_weir, (void *)(intptr_t)i), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    end_capture(&capture);
    eventually(pool_stats(pool).retiring == 0);
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    struct fakecuda_live live;
    driver.fake.live(&live);
    cr_assert_eq(live.contexts + live.streams + live.events + live.registrations + live.device_allocations, 0);
}

Test(capture, global, .timeout = 240)
{
    use_beside_a_capture(WI_CU_CAPTURE_GLOBAL);
}

Test(capture, of_the_thread, .timeout = 240)
{
    use_beside_a_capture(WI_CU_CAPTURE_THREAD_LOCAL);
}

Test(capture, relaxed, .timeout = 240)
{
    use_beside_a_capture(WI_CU_CAPTURE_RELAXED);
}

/* The same by the thread that captures: a global or thread-local capture bars its own thread from more. */
Test(capture, on_the_thread_that_captures, .timeout = 240)
{
    cuda_fixture_init(&driver, "latency=0us");
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "cuda"), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 4, .buffers_max = 16), &pool));
    struct capture capture = begin_capture(WI_CU_CAPTURE_GLOBAL);
    (void)use_weir(NULL);
    end_capture(&capture);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* The test would notice: a call that is not relaxed breaks the capture. */
Test(capture, is_broken_by_an_unguarded_call)
{
    struct CUgraph_st *graph = NULL;
    cuda_fixture_init(&driver, "");
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "cuda"), &rt));
    struct capture capture = begin_capture(WI_CU_CAPTURE_GLOBAL);
    cr_assert_eq(driver.app.stream_query(capture.stream), WI_CU_STREAM_CAPTURE_UNSUPPORTED);
    cr_assert_eq(driver.end_capture(capture.stream, &graph), WI_CU_STREAM_CAPTURE_INVALIDATED);
}
