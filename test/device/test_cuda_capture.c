/* SPDX-License-Identifier: Apache-2.0 */
/* test_cuda_capture.c - weir beside a graph capture of the host program, which it must not break */
#include "cuda_fixture.h"
#include "device/cuda.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>

#define PAGE ((size_t)4096)

/* Another thread of the host program that captures a stream from when `begun` is posted until `over` is. */
struct capturer {
    struct cuda_fixture *cuda;
    struct CUstream_st  *stream;
    unsigned             mode;
    wi_cu_result         ended;
    sem_t                begun;
    sem_t                over;
    pthread_t            thread;
};

static void *capture(void *ctx)
{
    struct capturer     *capturer = ctx;
    struct cuda_fixture *cuda = capturer->cuda;
    struct CUgraph_st   *graph = NULL;
    struct CUctx_st     *popped = NULL;
    cuda->app.context_push(wi_cuda_context(cuda->device));
    cuda->app.stream_create(&capturer->stream, 1, 0);
    cuda->begin_capture(capturer->stream, capturer->mode);
    sem_post(&capturer->begun);
    sem_wait(&capturer->over);
    capturer->ended = cuda->end_capture(capturer->stream, &graph);
    if (graph != NULL) cuda->destroy_graph(graph);
    cuda->app.stream_destroy(capturer->stream);
    cuda->app.context_pop(&popped);
    return NULL;
}

static void begin(struct capturer *capturer, struct cuda_fixture *cuda, unsigned mode)
{
    *capturer = (struct capturer){.cuda = cuda, .mode = mode, .ended = 12345};
    sem_init(&capturer->begun, 0, 0);
    sem_init(&capturer->over, 0, 0);
    cr_assert_eq(pthread_create(&capturer->thread, NULL, capture, capturer), 0);
    sem_wait(&capturer->begun);
}

/* What the capture ended with: 0, or 901 if something broke it. */
static wi_cu_result end(struct capturer *capturer)
{
    sem_post(&capturer->over);
    cr_assert_eq(pthread_join(capturer->thread, NULL), 0);
    return capturer->ended;
}

Test(cuda_capture, reclaim_and_growth_beside_a_global_capture)
{
    struct cuda_fixture cuda;
    struct capturer     capturer;
    void               *stream = NULL;
    void               *event = NULL;
    void               *pinned = NULL;
    uint64_t            address = 0;
    uint64_t            pinned_address = 0;
    uint64_t            ns = 0;
    cuda_fixture_open(&cuda, "");
    const struct wi_device_ops *ops = cuda.ops;
    cr_assert_eq(ops->stream_create(cuda.device, 0, &stream), 0);
    begin(&capturer, &cuda, WI_CU_CAPTURE_GLOBAL);
    cr_expect_eq(ops->event_create(cuda.device, WI_EVENT_TIMING, &event), 0);
    cr_expect_eq(ops->event_record(cuda.device, event, stream), 0);
    cr_expect_eq(ops->event_sync(cuda.device, event), 0);
    cr_expect_eq(ops->event_query(cuda.device, event), 0);
    cr_expect_eq(ops->event_elapsed(cuda.device, event, event, &ns), 0);
    cr_expect_eq(ops->stream_query(cuda.device, stream), 0);
    cr_expect_eq(ops->device_alloc(cuda.device, PAGE, &address), 0);
    cr_expect_eq(ops->host_alloc(cuda.device, PAGE, &pinned, &pinned_address), 0);
    cr_expect_eq(ops->host_free(cuda.device, pinned, PAGE), 0);
    cr_expect_eq(ops->device_free(cuda.device, address), 0);
    cr_expect_eq(ops->event_destroy(cuda.device, event), 0);
    cr_expect_eq(ops->stream_destroy(cuda.device, stream), 0);
    cr_expect_eq(end(&capturer), 0);
    cuda_fixture_close(&cuda);
}

/* The control: without the exchange the driver refuses, and the capture is broken. */
Test(cuda_capture, driver_without_the_exchange)
{
    struct cuda_fixture cuda;
    struct capturer     capturer;
    void               *event = NULL;
    cuda_fixture_open(&cuda, "hide=cuThreadExchangeStreamCaptureMode");
    cr_assert_eq(cuda.ops->event_create(cuda.device, 0, &event), 0);
    begin(&capturer, &cuda, WI_CU_CAPTURE_GLOBAL);
    cr_expect_eq(cuda.ops->event_query(cuda.device, event), WEIR_ECAPTURE);
    cr_expect_eq(cuda_fixture_error().driver_code, 900);
    cr_expect_eq(end(&capturer), 901);
    cr_expect_eq(wi_load(&cuda.device->lost, acquire), 0);
    cr_expect_eq(cuda.ops->event_query(cuda.device, event), 0);
    cr_expect_eq(cuda.ops->event_destroy(cuda.device, event), 0);
    cuda_fixture_close(&cuda);
}

/* On the capturing thread itself, weir's calls are let through as well, and its mode is put back. */
Test(cuda_capture, thread_that_captures)
{
    struct cuda_fixture cuda;
    struct CUctx_st    *popped = NULL;
    struct CUgraph_st  *graph = NULL;
    void               *stream = NULL;
    void               *event = NULL;
    uint64_t            address = 0;
    unsigned            mode = WI_CU_CAPTURE_THREAD_LOCAL;
    bool                capturing = false;
    cuda_fixture_open(&cuda, "");
    cr_assert_eq(cuda.app.capture_mode(&mode), 0);
    cr_assert_eq(cuda.ops->stream_create(cuda.device, 0, &stream), 0);
    cr_assert_eq(cuda.ops->event_create(cuda.device, 0, &event), 0);
    cr_assert_eq(cuda.app.context_push(wi_cuda_context(cuda.device)), 0);

    cr_expect_eq(cuda.ops->stream_capture(cuda.device, stream, &capturing), 0);
    cr_expect_not(capturing);
    cr_assert_eq(cuda.begin_capture(stream, WI_CU_CAPTURE_THREAD_LOCAL), 0);
    cr_expect_eq(cuda.ops->stream_capture(cuda.device, stream, &capturing), 0);
    cr_expect(capturing);
    cr_expect_eq(cuda.ops->device_alloc(cuda.device, PAGE, &address), 0);
    /* Recorded in the capture, the event marks a place in the graph and no moment: it cannot be asked. */
    cr_expect_eq(cuda.ops->event_record(cuda.device, event, stream), 0);
    cr_expect_eq(cuda.ops->event_query(cuda.device, event), WEIR_ECAPTURE);
    cr_expect_eq(cuda_fixture_error().driver_code, 907);
    cr_expect_eq(cuda.end_capture(stream, &graph), 0);
    cr_expect_eq(cuda.destroy_graph(graph), 0);
    cr_expect_eq(cuda.ops->stream_capture(cuda.device, stream, &capturing), 0);
    cr_expect_not(capturing);

    mode = WI_CU_CAPTURE_GLOBAL;
    cr_assert_eq(cuda.app.capture_mode(&mode), 0);
    cr_expect_eq(mode, WI_CU_CAPTURE_THREAD_LOCAL);
    cr_assert_eq(cuda.app.context_pop(&popped), 0);
    cr_assert_eq(cuda.ops->device_free(cuda.device, address), 0);
    cr_assert_eq(cuda.ops->event_destroy(cuda.device, event), 0);
    cr_assert_eq(cuda.ops->stream_destroy(cuda.device, stream), 0);
    cuda_fixture_close(&cuda);
}
