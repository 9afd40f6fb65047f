/* SPDX-License-Identifier: Apache-2.0 */
/* test_cuda_context.c - the caller's context and capture mode, fork and exit */
#include "cuda_fixture.h"
#include "device/cuda.h"
#include "device/cuda_load.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)

/* Every operation once, each expected to succeed. */
static void use_everything(struct cuda_fixture *fixture)
{
    struct wi_device           *device = fixture->device;
    const struct wi_device_ops *ops = fixture->ops;
    void                       *stream = NULL;
    void                       *event = NULL;
    void                       *late = NULL;
    void                       *pinned = NULL;
    uint64_t                    pinned_address = 0;
    uint64_t                    address = 0;
    uint64_t                    registered_address = 0;
    uint64_t                    bytes[2];
    uint64_t                    ns = 0;
    bool                        capturing = true;
    void *registered = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(registered, MAP_FAILED);
    cr_assert_eq(ops->memory(device, &bytes[0], &bytes[1]), 0);
    cr_assert_eq(ops->host_register(device, registered, PAGE, &registered_address), 0);
    cr_assert_eq(ops->host_alloc(device, PAGE, &pinned, &pinned_address), 0);
    cr_assert_eq(ops->device_alloc(device, PAGE, &address), 0);
    cr_assert_eq(ops->stream_create(device, 0, &stream), 0);
    cr_assert_eq(ops->event_create(device, WI_EVENT_TIMING, &event), 0);
    cr_assert_eq(ops->event_create(device, WI_EVENT_TIMING, &late), 0);
    cr_assert_eq(ops->stream_capture(device, stream, &capturing), 0);
    cr_assert_not(capturing);

    const struct wi_copy copies[] = {
        {address, (uintptr_t)registered, 1024, WI_COPY_UP, 0},
        {address + 1024, (uintptr_t)pinned, 1024, WI_COPY_UP, 0},
    };
    const struct wi_copy down = {(uintptr_t)pinned + 2048, address, 1024, WI_COPY_DOWN, 0};
    const struct wi_copy inside = {address + 2048, address, 1024, WI_COPY_DEVICE, 0};
    cr_assert_eq(ops->event_record(device, event, stream), 0);
    cr_assert_eq(ops->copy_batch(device, copies, 2, stream), 0);
    cr_assert_eq(ops->copy(device, &copies[0], stream), 0);
    cr_assert_eq(ops->copy(device, &inside, stream), 0);
    cr_assert_eq(ops->copy(device, &down, stream), 0);
    cr_assert_eq(ops->fill(device, address, 7, 64, stream), 0);
    cr_assert_eq(ops->delay(device, 1000, stream), 0);
    cr_assert_eq(ops->event_record(device, late, stream), 0);
    cr_assert_eq(ops->stream_wait(device, stream, event), 0);
    cr_assert_eq(ops->event_sync(device, late), 0);
    cr_assert_eq(ops->event_query(device, late), 0);
    cr_assert_eq(ops->event_elapsed(device, event, late, &ns), 0);
    while (ops->stream_query(device, stream) == WEIR_EAGAIN) continue;
    cr_assert_eq(wi_cuda_stream_check(device, stream), 0);

    cr_assert_eq(ops->event_destroy(device, event), 0);
    cr_assert_eq(ops->event_destroy(device, late), 0);
    cr_assert_eq(ops->stream_destroy(device, stream), 0);
    cr_assert_eq(ops->device_free(device, address), 0);
    cr_assert_eq(ops->host_free(device, pinned, PAGE), 0);
    cr_assert_eq(ops->host_unregister(device, registered, PAGE), 0);
    munmap(registered, PAGE);
}

static struct CUctx_st *current(struct cuda_fixture *fixture)
{
    struct CUctx_st *context = NULL;
    cr_assert_eq(fixture->app.context_current(&context), 0);
    return context;
}

Test(cuda_context, caller_without_a_context_keeps_none)
{
    struct cuda_fixture fixture;
    cuda_fixture_open(&fixture, "");
    cr_assert_null(current(&fixture));
    use_everything(&fixture);
    cr_assert_null(current(&fixture));
    cuda_fixture_close(&fixture);
}

Test(cuda_context, caller_keeps_another_context)
{
    struct cuda_fixture fixture;
    struct CUctx_st    *other = NULL;
    struct CUctx_st    *popped = NULL;
    cuda_fixture_open(&fixture, "devices=2");
    cr_assert_eq(fixture.app.context_retain(&other, 1), 0);
    cr_assert_eq(fixture.app.context_push(other), 0);
    use_everything(&fixture);
    cr_assert_eq(current(&fixture), other);
    /* And nothing was left below or above it. */
    cr_assert_eq(fixture.app.context_pop(&popped), 0);
    cr_assert_eq(popped, other);
    cr_assert_null(current(&fixture));
    cr_assert_eq(fixture.app.context_release(1), 0);
    cuda_fixture_close(&fixture);
}

Test(cuda_context, current_context_is_not_pushed_again)
{
    struct cuda_fixture fixture;
    cuda_fixture_open(&fixture, "");
    cr_assert_eq(fixture.app.context_push(wi_cuda_context(fixture.device)), 0);
    uint64_t pushes = fixture.fake.calls("cuCtxPushCurrent");
    use_everything(&fixture);
    cr_assert_eq(fixture.fake.calls("cuCtxPushCurrent"), pushes);
    cr_assert_eq(fixture.fake.calls("cuCtxSetCurrent"), 0);
    cr_assert_eq(current(&fixture), wi_cuda_context(fixture.device));
    struct CUctx_st *popped = NULL;
    cr_assert_eq(fixture.app.context_pop(&popped), 0);
    cuda_fixture_close(&fixture);
}

Test(cuda_context, failed_call_restores_too)
{
    struct cuda_fixture fixture;
    uint64_t            address = 0;
    unsigned            mode = WI_CU_CAPTURE_THREAD_LOCAL;
    cuda_fixture_open(&fixture, "");
    cr_assert_eq(fixture.app.capture_mode(&mode), 0);
    struct fakecuda_fault fault = {.symbol = "cuMemAlloc", .nth = 1, .result = 2};
    fixture.fake.fail(&fault);
    cr_assert_eq(fixture.ops->device_alloc(fixture.device, PAGE, &address), WEIR_EDEVMEM);
    cr_assert_null(current(&fixture));
    mode = WI_CU_CAPTURE_GLOBAL;
    cr_assert_eq(fixture.app.capture_mode(&mode), 0);
    cr_assert_eq(mode, WI_CU_CAPTURE_THREAD_LOCAL);
    cuda_fixture_close(&fixture);
}

/* Entering may fail half-way: pushed, but not relaxed. */
Test(cuda_context, failed_entry_restores_too)
{
    struct cuda_fixture fixture;
    uint64_t            address = 0;
    cuda_fixture_open(&fixture, "");
    struct fakecuda_fault fault = {
        .symbol = "cuThreadExchangeStreamCaptureMode", .nth = 1, .result = 1};
    fixture.fake.fail(&fault);
    cr_assert_eq(fixture.ops->device_alloc(fixture.device, PAGE, &address), WEIR_EINVAL);
    cr_assert_str_eq(cuda_fixture_error().call, "cuThreadExchangeStreamCaptureMode");
    cr_assert_null(current(&fixture));
    cr_assert_eq(fixture.ops->device_alloc(fixture.device, PAGE, &address), 0);
    cr_assert_eq(fixture.ops->device_free(fixture.device, address), 0);
    cuda_fixture_close(&fixture);
}

static void *use_on_another_thread(void *ctx)
{
    struct cuda_fixture *fixture = ctx;
    for (int i = 0; i < 20; i++) use_everything(fixture);
    return current(fixture);
}

Test(cuda_context, many_threads)
{
    struct cuda_fixture fixture;
    pthread_t           threads[4];
    cuda_fixture_open(&fixture, "latency=0ns");
    for (size_t i = 0; i < WI_ARRAY_COUNT(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, use_on_another_thread, &fixture), 0);
    for (size_t i = 0; i < WI_ARRAY_COUNT(threads); i++) {
        void *left = &fixture;
        cr_assert_eq(pthread_join(threads[i], &left), 0);
        cr_assert_null(left);
    }
    cuda_fixture_close(&fixture);
}

/* ---- fork and exit ---- */

static int use_in_child(void *ctx)
{
    struct cuda_fixture *fixture = ctx;
    struct wi_device    *device = NULL;
    const struct wi_cu  *cu = NULL;
    uint64_t             calls = fixture->fake.calls(NULL);
    uint64_t             address = 0;
    void                *stream = NULL;
    if (fixture->ops->device_alloc(fixture->device, PAGE, &address) != WEIR_EFORKED) return 1;
    if (fixture->ops->stream_create(fixture->device, 0, &stream) != WEIR_EFORKED) return 2;
    if (wi_device_open("cuda", 0, &device) != WEIR_EFORKED) return 3;
    if (wi_device_open(NULL, 0, &device) != WEIR_EFORKED) return 4;
    if (wi_cu_load(&cu) != WEIR_EFORKED) return 5;
    fixture->ops->close(fixture->device);
    /* The child's copy of the driver was not entered, not even to close. */
    return fixture->fake.calls(NULL) == calls ? 0 : 6;
}

Test(cuda_context, forked_child_makes_no_driver_call)
{
    struct cuda_fixture fixture;
    cuda_fixture_open(&fixture, "");
    cr_assert_eq(cuda_fixture_child(use_in_child, &fixture), 0);
    use_everything(&fixture);
    cuda_fixture_close(&fixture);
}

static int leave_without_closing(void *ctx)
{
    /* Static, so that a leak checker finds what is left. */
    static struct cuda_fixture fixture;
    static void               *stream;
    (void)ctx;
    cuda_fixture_open(&fixture, "");
    exit(fixture.ops->stream_create(fixture.device, 0, &stream) == 0 ? 0 : 1);
}

/* The double aborts on a call from an exit handler or a destructor. */
Test(cuda_context, exit_makes_no_driver_call)
{
    cr_assert_eq(cuda_fixture_child(leave_without_closing, NULL), 0);
}

Test(cuda_context, counts_driver_calls)
{
    struct cuda_fixture fixture;
    void               *stream = NULL;
    void               *event = NULL;
    cuda_fixture_open(&fixture, "");
    cr_assert_eq(fixture.ops->stream_create(fixture.device, 0, &stream), 0);
    cr_assert_eq(fixture.ops->event_create(fixture.device, 0, &event), 0);
    uint64_t before = wi_load(&fixture.device->calls, relaxed);
    cr_assert_eq(fixture.ops->event_record(fixture.device, event, stream), 0);
    cr_assert_eq(fixture.ops->event_sync(fixture.device, event), 0);
    cr_assert_eq(fixture.ops->event_query(fixture.device, event), 0);
    cr_assert_eq(wi_load(&fixture.device->calls, relaxed) - before, 3);
    cr_assert_eq(fixture.ops->event_destroy(fixture.device, event), 0);
    cr_assert_eq(fixture.ops->stream_destroy(fixture.device, stream), 0);
    cuda_fixture_close(&fixture);
}
