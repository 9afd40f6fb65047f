/* SPDX-License-Identifier: Apache-2.0 */
/* test_cuda_load.c - finding the driver: every way in which there is none, and each symbol's own version */
#include "cuda_fixture.h"
#include "device/cuda.h"
#include "device/cuda_load.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void expect_refusal(int code, const char *call, int driver_code, const char *text)
{
    struct wi_device *device = NULL;
    cr_assert_eq(wi_device_open("cuda", 0, &device), code);
    cr_assert_null(device);
    struct weir_error error = cuda_fixture_error();
    cr_assert_eq(error.code, code);
    cr_assert_str_eq(error.call, call);
    cr_assert_eq(error.driver_code, driver_code);
    cr_assert(strstr(error.detail, text), "\"%s\" lacks \"%s\"", error.detail, text);
}

Test(cuda_load, no_library)
{
    cuda_fixture_library("/nonexistent/libcuda.so.1");
    expect_refusal(WEIR_ENODRIVER, "dlopen", 0, "cannot open shared object file");
    /* Every caller learns the reason, and not only the first. */
    expect_refusal(WEIR_ENODRIVER, "dlopen", 0, "cannot open shared object file");
}

Test(cuda_load, stub_library)
{
    cuda_fixture_library(FAKECUDA_STUB_LIBRARY);
    expect_refusal(WEIR_ENODRIVER, "cuGetProcAddress", 34, "stub library");
}

Test(cuda_load, library_that_is_no_driver)
{
    cuda_fixture_library("libm.so.6");
    expect_refusal(WEIR_ENODRIVER, "dlsym", 0, "cuGetProcAddress_v2");
}

Test(cuda_load, no_device)
{
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "devices=0");
    expect_refusal(WEIR_ENODRIVER, "cuInit", 100, "no device is");
}

Test(cuda_load, driver_that_does_not_start)
{
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "init=803");
    expect_refusal(WEIR_ENODRIVER, "cuInit", 803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH");
}

Test(cuda_load, driver_with_an_unknown_problem)
{
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "init=12345");
    expect_refusal(WEIR_ENODRIVER, "cuInit", 12345, "result 12345");
}

Test(cuda_load, child_of_a_process_that_started_the_driver)
{
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "init=3");
    expect_refusal(WEIR_EFORKED, "cuInit", 3, "forked");
}

Test(cuda_load, driver_too_old)
{
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "version=9010");
    expect_refusal(WEIR_ENODRIVER, "cuGetProcAddress", 1, "is too old: it is of CUDA 9.1");
}

Test(cuda_load, choice_falls_back_only_without_a_driver)
{
    struct wi_device *device = NULL;
    cuda_fixture_library("/nonexistent/libcuda.so.1");
    cr_assert_eq(wi_device_open(NULL, 0, &device), 0);
    cr_assert_str_eq(device->ops->name, "host");
    device->ops->close(device);
}

Test(cuda_load, choice_prefers_the_driver)
{
    struct cuda_fixture fixture;
    struct wi_device   *device = NULL;
    cuda_fixture_init(&fixture, "");
    cr_assert_eq(wi_device_open(NULL, 0, &device), 0);
    cr_assert_str_eq(device->ops->name, "cuda");
    device->ops->close(device);
}

/* ---- one symbol missing ---- */

static int open_without(void *ctx)
{
    const struct wi_cu_symbol *symbol = ctx;
    struct cuda_fixture        fixture;
    char                       config[128];
    snprintf(config, sizeof(config), "hide=%s", symbol->name);
    cuda_fixture_init(&fixture, config);
    int err = wi_device_open("cuda", 0, &fixture.device);
    if (symbol->required) return err == WEIR_ENODRIVER && cuda_fixture_said(symbol->name) ? 0 : 1;
    if (err < 0) return 1;
    fixture.device->ops->close(fixture.device);
    return 0;
}

Test(cuda_load, each_symbol_missing)
{
    static const struct wi_cu_symbol symbols[] = {
#define NEED_REQUIRED                              true
#define NEED_OPTIONAL                              false
#define X(field, symbol, version, need, arguments) {#symbol, version, NEED_##need, false, 0, 0},
        WI_CU_SYMBOLS(X)
#undef X
    };
    size_t required = 0;
    for (size_t i = 0; i < WI_ARRAY_COUNT(symbols); i++) {
        int status = cuda_fixture_child(open_without, (void *)&symbols[i]);
        cr_expect_eq(status, 0, "without %s: %d", symbols[i].name, status);
        required += symbols[i].required;
    }
    cr_assert_gt(required, 30);
    cr_assert_lt(required, WI_ARRAY_COUNT(symbols));
}

/* ---- each symbol at its own version ---- */

/* The exported name whose arguments are those that weir declares. */
static const struct {
    size_t      row;
    const char *exported;
} exports[] = {
    {WI_CU_ROW_init, "cuInit"},
    {WI_CU_ROW_driver_version, "cuDriverGetVersion"},
    {WI_CU_ROW_device_count, "cuDeviceGetCount"},
    {WI_CU_ROW_device, "cuDeviceGet"},
    {WI_CU_ROW_device_name, "cuDeviceGetName"},
    {WI_CU_ROW_device_bytes, "cuDeviceTotalMem_v2"},
    {WI_CU_ROW_device_attribute, "cuDeviceGetAttribute"},
    {WI_CU_ROW_device_bus_id, "cuDeviceGetPCIBusId"},
    {WI_CU_ROW_context_retain, "cuDevicePrimaryCtxRetain"},
    {WI_CU_ROW_context_release, "cuDevicePrimaryCtxRelease_v2"},
    {WI_CU_ROW_context_current, "cuCtxGetCurrent"},
    {WI_CU_ROW_context_push, "cuCtxPushCurrent_v2"},
    {WI_CU_ROW_context_pop, "cuCtxPopCurrent_v2"},
    {WI_CU_ROW_priority_range, "cuCtxGetStreamPriorityRange"},
    {WI_CU_ROW_host_alloc, "cuMemHostAlloc"},
    {WI_CU_ROW_host_free, "cuMemFreeHost"},
    {WI_CU_ROW_host_register, "cuMemHostRegister_v2"},
    {WI_CU_ROW_host_unregister, "cuMemHostUnregister"},
    {WI_CU_ROW_host_address, "cuMemHostGetDevicePointer_v2"},
    {WI_CU_ROW_memory_info, "cuMemGetInfo_v2"},
    {WI_CU_ROW_device_alloc, "cuMemAlloc_v2"},
    {WI_CU_ROW_device_free, "cuMemFree_v2"},
    {WI_CU_ROW_copy_up, "cuMemcpyHtoDAsync_v2"},
    {WI_CU_ROW_copy_down, "cuMemcpyDtoHAsync_v2"},
    {WI_CU_ROW_copy_device, "cuMemcpyDtoDAsync_v2"},
    {WI_CU_ROW_copy_batch, "cuMemcpyBatchAsync_v2"},
    {WI_CU_ROW_copy_batch_12080, "cuMemcpyBatchAsync"},
    {WI_CU_ROW_fill, "cuMemsetD8Async"},
    {WI_CU_ROW_stream_create, "cuStreamCreateWithPriority"},
    {WI_CU_ROW_stream_priority, "cuStreamGetPriority"},
    {WI_CU_ROW_stream_destroy, "cuStreamDestroy_v2"},
    {WI_CU_ROW_stream_query, "cuStreamQuery"},
    {WI_CU_ROW_stream_wait, "cuStreamWaitEvent"},
    {WI_CU_ROW_stream_capturing, "cuStreamIsCapturing"},
    {WI_CU_ROW_stream_context, "cuStreamGetCtx"},
    {WI_CU_ROW_capture_mode, "cuThreadExchangeStreamCaptureMode"},
    {WI_CU_ROW_event_create, "cuEventCreate"},
    {WI_CU_ROW_event_destroy, "cuEventDestroy_v2"},
    {WI_CU_ROW_event_record, "cuEventRecord"},
    {WI_CU_ROW_event_query, "cuEventQuery"},
    {WI_CU_ROW_event_sync, "cuEventSynchronize"},
    {WI_CU_ROW_event_elapsed, "cuEventElapsedTime"},
    {WI_CU_ROW_call, "cuLaunchHostFunc"},
};

/* The driver has newer forms with other arguments of three of these; asking for the newest would get them. */
Test(cuda_load, each_symbol_at_its_own_version)
{
    struct cuda_fixture fixture;
    const struct wi_cu *cu = NULL;
    cuda_fixture_init(&fixture, "version=13000");
    cr_assert_eq(wi_cu_load(&cu), 0);
    cr_assert_eq(WI_ARRAY_COUNT(exports), WI_CU_SYMBOLS_COUNT);
    void *const *found = (void *const *)cu;
    for (size_t i = 0; i < WI_ARRAY_COUNT(exports); i++) {
        cr_assert_eq(exports[i].row, i);
        cr_expect_eq(found[i], dlsym(fixture.fake.library, exports[i].exported), "%s",
                     exports[i].exported);
    }
    cr_assert_neq((void *)cu->stream_context, dlsym(fixture.fake.library, "cuStreamGetCtx_v2"));
    cr_assert_neq((void *)cu->event_elapsed, dlsym(fixture.fake.library, "cuEventElapsedTime_v2"));
}

Test(cuda_load, batch_of_the_older_form)
{
    struct cuda_fixture fixture;
    const struct wi_cu *cu = NULL;
    cuda_fixture_init(&fixture, "version=12080");
    cr_assert_eq(wi_cu_load(&cu), 0);
    cr_assert_null(cu->copy_batch);
    cr_assert_eq((void *)cu->copy_batch_12080, dlsym(fixture.fake.library, "cuMemcpyBatchAsync"));
}

Test(cuda_load, loaded_once)
{
    struct cuda_fixture fixture;
    struct wi_device   *second = NULL;
    cuda_fixture_open(&fixture, "");
    cr_assert_eq(wi_device_open("cuda", 0, &second), 0);
    cr_assert_eq(fixture.fake.calls("cuInit"), 1);
    cr_assert_eq(fixture.fake.calls("cuGetProcAddress"), WI_CU_SYMBOLS_COUNT);
    second->ops->close(second);
    cuda_fixture_close(&fixture);
}

/* ---- weir info ---- */

static bool described(const char *text)
{
    char           lines[2048];
    struct wi_text out;
    wi_text_init(&out, lines, sizeof(lines));
    wi_cuda_describe(&out);
    cr_assert_lt(out.length, sizeof(lines));
    return strstr(lines, text) != NULL;
}

Test(cuda_load, describes_a_new_driver_without_a_context)
{
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "");
    cr_assert(described("library: " FAKECUDA_LIBRARY "\n"));
    cr_assert(described("driver: CUDA 13.0\n"));
    cr_assert(
        described("many copies in one driver call: yes, by cuMemcpyBatchAsync of CUDA 13.0\n"));
    cr_assert_eq(fixture.fake.calls("cuDevicePrimaryCtxRetain"), 0);
}

Test(cuda_load, describes_an_old_driver)
{
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "version=12040");
    cr_assert(described("driver: CUDA 12.4\n"));
    cr_assert(described("missing: cuMemcpyBatchAsync of CUDA 12.8 is newer than the driver; "));
}

Test(cuda_load, describes_a_missing_symbol)
{
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "hide=cuThreadExchangeStreamCaptureMode");
    cr_assert(
        described("missing: cuThreadExchangeStreamCaptureMode of CUDA 10.1 is not in the driver"));
}

Test(cuda_load, describes_no_driver)
{
    cuda_fixture_library("/nonexistent/libcuda.so.1");
    cr_assert(described("library: /nonexistent/libcuda.so.1\nnot usable: no driver library: "));
}
