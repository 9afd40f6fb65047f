/* SPDX-License-Identifier: Apache-2.0 */
/* test_cuda_errors.c - what the driver's results become, and the lost device */
#include "cuda_fixture.h"
#include "device/cuda_load.h"

#include <weir/log.h>

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)

/* A fresh device for each row, because a row may lose it. */
static int record_failing_with(struct cuda_fixture *fixture, uint32_t result, bool *lost)
{
    struct wi_device *device = NULL;
    void             *stream = NULL;
    void             *event = NULL;
    cr_assert_eq(wi_device_open("cuda", 0, &device), 0);
    cr_assert_eq(device->ops->stream_create(device, 0, &stream), 0);
    cr_assert_eq(device->ops->event_create(device, 0, &event), 0);
    struct fakecuda_fault fault = {.symbol = "cuEventRecord", .nth = 1, .result = result};
    fixture->fake.fail(&fault);
    int err = device->ops->event_record(device, event, stream);
    *lost = wi_load(&device->lost, acquire) != 0;
    if (!*lost) {
        cr_assert_eq(device->ops->event_destroy(device, event), 0);
        cr_assert_eq(device->ops->stream_destroy(device, stream), 0);
    }
    device->ops->close(device);
    return err;
}

Test(cuda_errors, each_result)
{
    /* Written out and not taken from the backend's own table: this is the promise. */
    static const struct {
        uint32_t result;
        int      code;
        bool     lost;
    } rows[] = {
        {1, WEIR_EINVAL, false},     {2, WEIR_ENOMEM, false},     {3, WEIR_EFORKED, false},
        {4, WEIR_EDEVICE, true},     {46, WEIR_EBUSY, false},     {201, WEIR_EDEVICE, true},
        {214, WEIR_EDEVICE, true},   {220, WEIR_EDEVICE, true},   {226, WEIR_EDEVICE, true},
        {304, WEIR_ENOSYS, false},   {400, WEIR_EINVAL, false},   {700, WEIR_EDEVICE, true},
        {702, WEIR_EDEVICE, true},   {709, WEIR_EDEVICE, true},   {710, WEIR_EDEVICE, true},
        {712, WEIR_EINVAL, false},   {713, WEIR_EINVAL, false},   {714, WEIR_EDEVICE, true},
        {715, WEIR_EDEVICE, true},   {716, WEIR_EDEVICE, true},   {717, WEIR_EDEVICE, true},
        {718, WEIR_EDEVICE, true},   {719, WEIR_EDEVICE, true},   {721, WEIR_EDEVICE, true},
        {800, WEIR_EINVAL, false},   {801, WEIR_ENOSYS, false},   {810, WEIR_EDEVICE, true},
        {900, WEIR_ECAPTURE, false}, {901, WEIR_ECAPTURE, false}, {905, WEIR_ECAPTURE, false},
        {906, WEIR_ECAPTURE, false}, {907, WEIR_ECAPTURE, false}, {911, WEIR_EDEVICE, true},
        {999, WEIR_EDEVICE, true},   {12345, WEIR_EDEVICE, true},
    };
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "");
    for (size_t i = 0; i < WI_ARRAY_COUNT(rows); i++) {
        bool lost = false;
        int  err = record_failing_with(&fixture, rows[i].result, &lost);
        cr_expect_eq(err, rows[i].code, "result %u: %s", rows[i].result, weir_errname(err));
        cr_expect_eq(lost, rows[i].lost, "result %u", rows[i].result);
        struct weir_error error = cuda_fixture_error();
        cr_expect_eq(error.code, err);
        cr_expect_eq(error.driver_code, (int32_t)rows[i].result);
        cr_expect_str_eq(error.call, "cuEventRecord");
        cr_expect_neq(error.detail[0], '\0');
        cr_expect(strstr(error.file, "cuda_stream.c"), "recorded at the call: %s", error.file);
    }
}

/* ---- results that depend on what the call was about ---- */

static void *map_page(void)
{
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(page, MAP_FAILED);
    return page;
}

static void fail_next(struct cuda_fixture *fixture, const char *symbol, uint32_t result)
{
    struct fakecuda_fault fault = {.symbol = symbol, .nth = 1, .result = result};
    fixture->fake.fail(&fault);
}

Test(cuda_errors, out_of_memory_of_either_kind)
{
    struct cuda_fixture fixture;
    void               *page = map_page();
    void               *base = NULL;
    uint64_t            address = 0;
    cuda_fixture_open(&fixture, "memory=1M");
    struct wi_device           *device = fixture.device;
    const struct wi_device_ops *ops = fixture.ops;
    cr_expect_eq(ops->device_alloc(device, (size_t)2 << 20, &address), WEIR_EDEVMEM);
    cr_expect_str_eq(cuda_fixture_error().call, "cuMemAlloc");
    fail_next(&fixture, "cuMemHostRegister", 2);
    cr_expect_eq(ops->host_register(device, page, PAGE, &address), WEIR_ENOMEM);
    fail_next(&fixture, "cuMemHostAlloc", 2);
    cr_expect_eq(ops->host_alloc(device, PAGE, &base, &address), WEIR_ENOMEM);
    cr_expect_eq(wi_load(&device->lost, acquire), 0);
    cr_expect_eq(address, 0);
    cr_expect_null(base);
    cuda_fixture_close(&fixture);
    munmap(page, PAGE);
}

/* A registration that fails in an unknown way has no work queued: the fallback may be tried. */
Test(cuda_errors, unknown_result_of_an_allocation_loses_nothing)
{
    struct cuda_fixture fixture;
    void               *page = map_page();
    uint64_t            address = 0;
    cuda_fixture_open(&fixture, "");
    fail_next(&fixture, "cuMemHostRegister", 999);
    cr_expect_eq(fixture.ops->host_register(fixture.device, page, PAGE, &address), WEIR_ENOSYS);
    cr_expect_eq(wi_load(&fixture.device->lost, acquire), 0);
    cr_expect_eq(fixture.ops->host_register(fixture.device, page, PAGE, &address), 0);
    cr_expect_eq(address, (uintptr_t)page);
    cr_expect_eq(fixture.ops->host_register(fixture.device, page, PAGE, &address), WEIR_EINVAL);
    cr_expect_eq(cuda_fixture_error().driver_code, 712);
    cr_expect_eq(fixture.ops->host_unregister(fixture.device, page, PAGE), 0);
    cr_expect_eq(fixture.ops->host_unregister(fixture.device, page, PAGE), WEIR_EINVAL);
    cr_expect_eq(cuda_fixture_error().driver_code, 713);
    cuda_fixture_close(&fixture);
    munmap(page, PAGE);
}

/* Registered, but the device's address cannot be had: the registration must not stay behind. */
Test(cuda_errors, registration_without_an_address_is_undone)
{
    struct cuda_fixture  fixture;
    struct fakecuda_live live;
    void                *page = map_page();
    void                *base = NULL;
    uint64_t             address = 0;
    cuda_fixture_open(&fixture, "host_pointer=0");
    fail_next(&fixture, "cuMemHostGetDevicePointer", 1);
    cr_expect_eq(fixture.ops->host_register(fixture.device, page, PAGE, &address), WEIR_EINVAL);
    fail_next(&fixture, "cuMemHostGetDevicePointer", 1);
    cr_expect_eq(fixture.ops->host_alloc(fixture.device, PAGE, &base, &address), WEIR_EINVAL);
    fixture.fake.live(&live);
    cr_expect_eq(live.registrations + live.host_allocations, 0);
    cr_expect_eq(address, 0);
    cr_assert_eq(fixture.ops->host_register(fixture.device, page, PAGE, &address), 0);
    cr_expect_eq(address, (uintptr_t)page);
    cr_expect_eq(fixture.fake.calls("cuMemHostGetDevicePointer"), 3);
    cr_assert_eq(fixture.ops->host_unregister(fixture.device, page, PAGE), 0);
    cuda_fixture_close(&fixture);
    munmap(page, PAGE);
}

Test(cuda_errors, pending_is_an_answer_and_no_failure)
{
    struct cuda_fixture fixture;
    struct weir_error   error = {.struct_size = sizeof(error)};
    void               *stream = NULL;
    void               *event = NULL;
    cuda_fixture_open(&fixture, "clock=virtual");
    cr_assert_eq(fixture.ops->stream_create(fixture.device, 0, &stream), 0);
    cr_assert_eq(fixture.ops->event_create(fixture.device, 0, &event), 0);
    cr_assert_eq(fixture.ops->event_query(fixture.device, event), 0);
    cr_assert_eq(fixture.ops->delay(fixture.device, 1000, stream), 0);
    cr_assert_eq(fixture.ops->event_record(fixture.device, event, stream), 0);
    cr_assert_eq(fixture.ops->event_query(fixture.device, event), WEIR_EAGAIN);
    cr_assert_eq(fixture.ops->stream_query(fixture.device, stream), WEIR_EAGAIN);
    cr_assert_eq(weir_last_error(&error), WEIR_ENOENT);
    fixture.fake.run();
    cr_assert_eq(fixture.ops->event_query(fixture.device, event), 0);
    cr_assert_eq(fixture.ops->event_destroy(fixture.device, event), 0);
    cr_assert_eq(fixture.ops->stream_destroy(fixture.device, stream), 0);
    cuda_fixture_close(&fixture);
}

/* ---- lost ---- */

struct handles {
    void    *stream;
    void    *event;
    void    *pinned;
    void    *page;
    uint64_t address;
    uint64_t pinned_address;
    uint64_t page_address;
};

static void make_handles(struct cuda_fixture *fixture, struct handles *made)
{
    struct wi_device           *device = fixture->device;
    const struct wi_device_ops *ops = fixture->ops;
    made->page = map_page();
    cr_assert_eq(ops->stream_create(device, 0, &made->stream), 0);
    cr_assert_eq(ops->event_create(device, WI_EVENT_TIMING, &made->event), 0);
    cr_assert_eq(ops->host_alloc(device, PAGE, &made->pinned, &made->pinned_address), 0);
    cr_assert_eq(ops->host_register(device, made->page, PAGE, &made->page_address), 0);
    cr_assert_eq(ops->device_alloc(device, PAGE, &made->address), 0);
}

static void ignore(void *ctx)
{
    (void)ctx;
}

#define OPERATIONS 21

/* The i-th operation of the contract, on outputs that must stay as they are. */
static int operate(struct cuda_fixture *fixture, const struct handles *on, size_t i)
{
    struct wi_device           *device = fixture->device;
    const struct wi_device_ops *ops = fixture->ops;
    const struct wi_copy        up = {on->address, (uintptr_t)on->pinned, PAGE, WI_COPY_UP, 0};
    struct {
        uint64_t u64[2];
        void    *pointer;
        bool     flag;
    } out = {{7, 7}, &out, true}, before = out;
    int err = 0;
    switch (i) {
    case 0:
        err = ops->memory(device, &out.u64[0], &out.u64[1]);
        break;
    case 1:
        err = ops->host_alloc(device, PAGE, &out.pointer, &out.u64[0]);
        break;
    case 2:
        err = ops->device_alloc(device, PAGE, &out.u64[0]);
        break;
    case 3:
        err = ops->stream_create(device, 0, &out.pointer);
        break;
    case 4:
        err = ops->stream_query(device, on->stream);
        break;
    case 5:
        err = ops->stream_wait(device, on->stream, on->event);
        break;
    case 6:
        err = ops->stream_capture(device, on->stream, &out.flag);
        break;
    case 7:
        err = ops->event_create(device, 0, &out.pointer);
        break;
    case 8:
        err = ops->event_record(device, on->event, on->stream);
        break;
    case 9:
        err = ops->event_query(device, on->event);
        break;
    case 10:
        err = ops->event_sync(device, on->event);
        break;
    case 11:
        err = ops->event_elapsed(device, on->event, on->event, &out.u64[0]);
        break;
    case 12:
        err = ops->copy(device, &up, on->stream);
        break;
    case 13:
        err = ops->copy_batch(device, &up, 1, on->stream);
        break;
    case 14:
        err = ops->fill(device, on->address, 0, PAGE, on->stream);
        break;
    case 15:
        err = ops->call(device, ignore, NULL, on->stream);
        break;
    case 16:
        err = ops->event_destroy(device, on->event);
        break;
    case 17:
        err = ops->stream_destroy(device, on->stream);
        break;
    case 18:
        err = ops->host_free(device, on->pinned, PAGE);
        break;
    case 19:
        err = ops->host_unregister(device, on->page, PAGE);
        break;
    case 20:
        err = ops->device_free(device, on->address);
        break;
    }
    cr_expect_eq(out.u64[0], before.u64[0], "operation %zu", i);
    cr_expect_eq(out.u64[1], before.u64[1], "operation %zu", i);
    cr_expect_eq(out.pointer, before.pointer, "operation %zu", i);
    cr_expect_eq(out.flag, before.flag, "operation %zu", i);
    return err;
}

static const char *const calls_of[OPERATIONS] = {
    "cuMemGetInfo",      "cuMemHostAlloc",     "cuMemAlloc",          "cuStreamCreateWithPriority",
    "cuStreamQuery",     "cuStreamWaitEvent",  "cuStreamIsCapturing", "cuEventCreate",
    "cuEventRecord",     "cuEventQuery",       "cuEventSynchronize",  "cuEventElapsedTime",
    "cuMemcpyHtoDAsync", "cuMemcpyBatchAsync", "cuMemsetD8Async",     "cuLaunchHostFunc",
    "cuEventDestroy",    "cuStreamDestroy",    "cuMemFreeHost",       "cuMemHostUnregister",
    "cuMemFree",
};

/* Each operation meets a failure: it says which call, writes no output, and the next use works. */
Test(cuda_errors, each_operation_fails_cleanly)
{
    struct cuda_fixture fixture;
    struct handles      made;
    cuda_fixture_open(&fixture, "");
    make_handles(&fixture, &made);
    for (size_t i = 0; i < OPERATIONS; i++) {
        fail_next(&fixture, calls_of[i], 1);
        cr_expect_eq(operate(&fixture, &made, i), WEIR_EINVAL, "%s", calls_of[i]);
        struct weir_error error = cuda_fixture_error();
        cr_expect_str_eq(error.call, calls_of[i]);
        cr_expect_eq(error.driver_code, 1);
    }
    cr_assert_eq(wi_load(&fixture.device->lost, acquire), 0);
    for (size_t i = 16; i < OPERATIONS; i++)
        cr_expect_eq(operate(&fixture, &made, i), 0, "%s", calls_of[i]);
    munmap(made.page, PAGE);
    cuda_fixture_close(&fixture);
}

Test(cuda_errors, lost_device_answers_without_the_driver)
{
    struct cuda_fixture fixture;
    struct handles      made;
    cuda_fixture_open(&fixture, "");
    make_handles(&fixture, &made);
    fixture.fake.lose(719);
    cr_expect_eq(fixture.ops->event_record(fixture.device, made.event, made.stream), WEIR_EDEVICE);
    cr_expect_eq(cuda_fixture_error().driver_code, 719);

    uint64_t calls = fixture.fake.calls(NULL);
    for (size_t i = 0; i < OPERATIONS; i++) {
        cr_expect_eq(operate(&fixture, &made, i), WEIR_EDEVICE, "%s", calls_of[i]);
        /* The cause stays the one that lost it. */
        cr_expect_eq(cuda_fixture_error().driver_code, 719);
    }
    fixture.ops->close(fixture.device);
    cr_expect_eq(fixture.fake.calls(NULL), calls);
}

/* A kernel or copy that breaks is noticed by whoever asks next, whatever that call is. */
Test(cuda_errors, lost_by_queued_work)
{
    struct cuda_fixture fixture;
    struct handles      made;
    cuda_fixture_open(&fixture, "");
    make_handles(&fixture, &made);
    const struct wi_copy up = {made.address, made.pinned_address, PAGE, WI_COPY_UP, 0};
    fixture.fake.fail_work(1, 700);
    fixture.fake.hold(made.stream);
    cr_assert_eq(fixture.ops->copy(fixture.device, &up, made.stream), 0);
    cr_assert_eq(fixture.ops->event_record(fixture.device, made.event, made.stream), 0);
    fixture.fake.release(made.stream);
    cr_expect_eq(fixture.ops->event_sync(fixture.device, made.event), WEIR_EDEVICE);
    cr_expect_eq(cuda_fixture_error().driver_code, 700);
    cr_expect_eq(wi_load(&fixture.device->lost, acquire), 1);
    fixture.ops->close(fixture.device);
}

static unsigned errors_logged;

static void count_errors(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    (void)message;
    if (level == WEIR_LOG_ERROR && strcmp(component, "cuda") == 0) errors_logged++;
}

Test(cuda_errors, loss_is_logged_once)
{
    struct cuda_fixture fixture;
    struct handles      made;
    cuda_fixture_open(&fixture, "");
    make_handles(&fixture, &made);
    weir_log_set(count_errors, NULL);
    fixture.fake.lose(702);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(fixture.ops->event_query(fixture.device, made.event), WEIR_EDEVICE);
    fixture.ops->close(fixture.device);
    weir_log_set(NULL, NULL);
    cr_expect_eq(errors_logged, 1);
}

static void *query_slowly(void *ctx)
{
    struct cuda_fixture *fixture = ctx;
    void                *event = NULL;
    cr_assert_eq(fixture->ops->event_create(fixture->device, 0, &event), 0);
    struct fakecuda_fault slow = {
        .symbol = "cuEventQuery", .nth = 1, .result = 714, .flags = FAKECUDA_STALL};
    fixture->fake.fail(&slow);
    return (void *)(intptr_t)fixture->ops->event_query(fixture->device, event);
}

/* Two calls under way fail together: the first to come back names the cause, and there is one log line. */
Test(cuda_errors, first_cause_stays)
{
    struct cuda_fixture fixture;
    struct handles      made;
    pthread_t           thread;
    void               *answer = NULL;
    cuda_fixture_open(&fixture, "");
    make_handles(&fixture, &made);
    weir_log_set(count_errors, NULL);
    cr_assert_eq(pthread_create(&thread, NULL, query_slowly, &fixture), 0);
    while (fixture.fake.stalled() == 0) sched_yield();
    fixture.fake.lose(702);
    cr_expect_eq(fixture.ops->stream_query(fixture.device, made.stream), WEIR_EDEVICE);
    fixture.fake.resume();
    cr_assert_eq(pthread_join(thread, &answer), 0);
    weir_log_set(NULL, NULL);
    cr_expect_eq((intptr_t)answer, WEIR_EDEVICE);
    cr_expect_eq(fixture.ops->stream_query(fixture.device, made.stream), WEIR_EDEVICE);
    cr_expect_eq(cuda_fixture_error().driver_code, 702);
    cr_expect_eq(errors_logged, 1);
    fixture.ops->close(fixture.device);
}

/* Two runtimes of one device: each learns of the loss by itself. */
Test(cuda_errors, two_devices_of_one_ordinal)
{
    struct cuda_fixture fixture;
    struct wi_device   *second = NULL;
    struct handles      made;
    void               *event = NULL;
    cuda_fixture_open(&fixture, "");
    cr_assert_eq(wi_device_open("cuda", 0, &second), 0);
    make_handles(&fixture, &made);
    cr_assert_eq(second->ops->event_create(second, 0, &event), 0);
    fixture.fake.lose(715);
    cr_expect_eq(fixture.ops->stream_query(fixture.device, made.stream), WEIR_EDEVICE);
    cr_expect_eq(wi_load(&second->lost, acquire), 0);
    cr_expect_eq(second->ops->event_query(second, event), WEIR_EDEVICE);
    cr_expect_eq(wi_load(&second->lost, acquire), 1);
    second->ops->close(second);
    fixture.ops->close(fixture.device);
}
