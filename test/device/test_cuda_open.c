/* SPDX-License-Identifier: Apache-2.0 */
/* test_cuda_open.c - opening, describing and closing a device; which streams may be adopted */
#include "cuda_fixture.h"
#include "device/cuda.h"
#include "device/cuda_device.h"

#include <weir/log.h>

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE ((size_t)4096)

Test(cuda_open, no_such_ordinal)
{
    struct cuda_fixture fixture;
    struct wi_device   *device = NULL;
    cuda_fixture_init(&fixture, "devices=2");
    cr_assert_eq(wi_device_open("cuda", 2, &device), WEIR_ENOENT);
    cr_assert_null(device);
    cr_assert_eq(cuda_fixture_error().limit_value, 2);
    cr_assert_eq(fixture.fake.calls("cuDevicePrimaryCtxRetain"), 0);
}

Test(cuda_open, no_unified_addressing)
{
    struct cuda_fixture fixture;
    struct wi_device   *device = NULL;
    cuda_fixture_init(&fixture, "unified=0");
    cr_assert_eq(wi_device_open("cuda", 0, &device), WEIR_ENOSYS);
    cr_assert_eq(fixture.fake.calls("cuDevicePrimaryCtxRetain"), 0);
}

/* Each call of an open fails once; what was retained is released, and the next open works. */
Test(cuda_open, failing_open_leaves_nothing)
{
    static const struct {
        const char *symbol;
        uint64_t    uses;
        uint32_t    result;
        int         code;
    } faults[] = {
        {"cuDeviceGetCount", 1, 4, WEIR_EDEVICE},
        {"cuDeviceGet", 1, 101, WEIR_ENOENT},
        {"cuDeviceGetName", 1, 1, WEIR_EINVAL},
        {"cuDeviceTotalMem", 1, 1, WEIR_EINVAL},
        {"cuDeviceGetAttribute", 1, 1, WEIR_EINVAL},
        {"cuDeviceGetAttribute", 2, 1, WEIR_EINVAL},
        {"cuDevicePrimaryCtxRetain", 1, 2, WEIR_EDEVMEM},
        {"cuDevicePrimaryCtxRetain", 1, 46, WEIR_EBUSY},
        {"cuCtxGetCurrent", 1, 1, WEIR_EINVAL},
        {"cuCtxPushCurrent", 1, 1, WEIR_EINVAL},
        {"cuCtxGetStreamPriorityRange", 1, 1, WEIR_EINVAL},
    };
    struct cuda_fixture fixture;
    cuda_fixture_init(&fixture, "");
    for (size_t i = 0; i < WI_ARRAY_COUNT(faults); i++) {
        struct fakecuda_fault fault = {
            .symbol = faults[i].symbol, .nth = faults[i].uses, .result = faults[i].result};
        struct fakecuda_live live;
        struct wi_device    *device = NULL;
        const struct wi_cu  *cu = NULL;
        cr_assert_eq(wi_cu_load(&cu), 0);
        fixture.fake.fail(&fault);
        cr_expect_eq(wi_device_open("cuda", 0, &device), faults[i].code, "%s", faults[i].symbol);
        cr_assert_null(device);
        cr_assert_str_eq(cuda_fixture_error().call, faults[i].symbol);
        fixture.fake.live(&live);
        cr_assert_eq(live.contexts, 0, "%s", faults[i].symbol);
    }
    cr_assert_eq(wi_device_open("cuda", 0, &fixture.device), 0);
    fixture.ops = fixture.device->ops;
    cuda_fixture_close(&fixture);
}

/* Where the bus number cannot be read, memory is not bound; that is no reason to fail. */
Test(cuda_open, opens_without_a_bus_number)
{
    struct cuda_fixture      fixture;
    struct weir_runtime_info info = {.struct_size = sizeof(info)};
    cuda_fixture_init(&fixture, "");
    struct fakecuda_fault fault = {.symbol = "cuDeviceGetPCIBusId", .nth = 1, .result = 1};
    fixture.fake.fail(&fault);
    cr_assert_eq(wi_device_open("cuda", 0, &fixture.device), 0);
    fixture.ops = fixture.device->ops;
    fixture.ops->info(fixture.device, &info);
    cr_assert_eq(info.numa_node, -1);
    cuda_fixture_close(&fixture);
}

Test(cuda_open, context_is_made_for_a_named_device_only)
{
    struct cuda_fixture  fixture;
    struct fakecuda_live live;
    struct wi_device    *second = NULL;
    cuda_fixture_open(&fixture, "devices=3");
    fixture.fake.live(&live);
    cr_assert_eq(live.contexts, 1);
    cr_assert_eq(wi_device_open("cuda", 0, &second), 0);
    cr_assert_eq(wi_cuda_context(second), wi_cuda_context(fixture.device));
    fixture.fake.live(&live);
    cr_assert_eq(live.contexts, 2);
    second->ops->close(second);
    cuda_fixture_close(&fixture);
}

static unsigned warnings;
static char     last_warning[256];

static void count_warning(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    (void)component;
    if (level > WEIR_LOG_WARN) return;
    warnings++;
    snprintf(last_warning, sizeof(last_warning), "%s", message);
}

/* Someone still holds that memory: releasing the last reference would take it away. */
Test(cuda_open, close_keeps_the_context_of_what_is_leased)
{
    struct cuda_fixture  fixture;
    struct fakecuda_live live;
    void                *pinned = NULL;
    uint64_t             address = 0;
    cuda_fixture_open(&fixture, "");
    cr_assert_eq(fixture.ops->host_alloc(fixture.device, PAGE, &pinned, &address), 0);
    weir_log_set(count_warning, NULL);
    fixture.ops->close(fixture.device);
    weir_log_set(NULL, NULL);
    fixture.fake.live(&live);
    cr_assert_eq(live.contexts, 1);
    cr_assert_eq(live.host_allocations, 1);
    cr_assert_eq(warnings, 1);
    cr_assert(strstr(last_warning, "its context stays, 1 objects"), "%s", last_warning);
    memset(pinned, 1, PAGE);
}

Test(cuda_open, info)
{
    struct cuda_fixture      fixture;
    struct weir_runtime_info info = {.struct_size = 12345};
    cuda_fixture_open(&fixture, "memory=3G");
    fixture.ops->info(fixture.device, &info);
    cr_assert_eq(info.struct_size, 12345);
    cr_assert_str_eq(info.backend, "cuda");
    cr_assert_str_eq(info.device_name, "weir test double 0");
    cr_assert_str_eq(info.model, "");
    cr_assert_eq(info.device_bytes_total, UINT64_C(3) << 30);
    cr_assert_eq(info.stream_priority_least, 0);
    cr_assert_eq(info.stream_priority_greatest, -5);
    cr_assert_eq(info.flags, WEIR_INFO_COPY_BATCH);
    cuda_fixture_close(&fixture);
}

Test(cuda_open, priorities_are_clamped)
{
    static const int32_t wanted[][2] = {{-3, -3}, {-100, -5}, {100, 0}};
    struct cuda_fixture  fixture;
    cuda_fixture_open(&fixture, "");
    cr_assert_eq(fixture.app.context_push(wi_cuda_context(fixture.device)), 0);
    for (size_t i = 0; i < WI_ARRAY_COUNT(wanted); i++) {
        void *stream = NULL;
        int   priority = 1;
        cr_assert_eq(fixture.ops->stream_create(fixture.device, wanted[i][0], &stream), 0);
        cr_assert_eq(fixture.stream_priority(stream, &priority), 0);
        cr_assert_eq(priority, wanted[i][1]);
        cr_assert_eq(fixture.ops->stream_destroy(fixture.device, stream), 0);
    }
    struct CUctx_st *popped = NULL;
    cr_assert_eq(fixture.app.context_pop(&popped), 0);
    cuda_fixture_close(&fixture);
}

/* ---- the node next to the device ---- */

static void write_node(const char *root, const char *id, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", root, id);
    cr_assert_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/%s/numa_node", root, id);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

Test(cuda_open, numa_node)
{
    char root[] = "/tmp/weir-numa-XXXXXX";
    cr_assert_not_null(mkdtemp(root));
    write_node(root, "0000:3b:00.0", "1\n");
    write_node(root, "0000:3c:00.0", "-1\n");
    write_node(root, "0000:3d:00.0", "none\n");
    /* The driver's spelling has capitals, the kernel's has not. */
    cr_expect_eq(wi_cuda_numa_node(root, "0000:3B:00.0"), 1);
    cr_expect_eq(wi_cuda_numa_node(root, "0000:3C:00.0"), -1);
    cr_expect_eq(wi_cuda_numa_node(root, "0000:3D:00.0"), -1);
    cr_expect_eq(wi_cuda_numa_node(root, "0000:3E:00.0"), -1);
    cr_expect_eq(wi_cuda_numa_node(root, ""), -1);
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", root);
    cr_assert_eq(system(command), 0);
}

/* ---- adopting ---- */

Test(cuda_open, adoptable_streams)
{
    struct cuda_fixture fixture;
    struct CUctx_st    *other = NULL;
    struct CUctx_st    *popped = NULL;
    struct CUstream_st *foreign = NULL;
    cuda_fixture_open(&fixture, "devices=2");
    cr_expect_eq(wi_cuda_stream_check(fixture.device, NULL), WEIR_EINVAL);
    cr_expect_eq(wi_cuda_stream_check(fixture.device, WI_CU_STREAM_LEGACY), 0);
    cr_expect_eq(wi_cuda_stream_check(fixture.device, WI_CU_STREAM_PER_THREAD), 0);

    cr_assert_eq(fixture.app.context_retain(&other, 1), 0);
    cr_assert_eq(fixture.app.context_push(other), 0);
    cr_assert_eq(fixture.app.stream_create(&foreign, 1, 0), 0);
    cr_expect_eq(wi_cuda_stream_check(fixture.device, foreign), WEIR_EINVAL);
    cr_expect(cuda_fixture_said("another context"));
    cr_assert_eq(fixture.app.stream_destroy(foreign), 0);
    cr_assert_eq(fixture.app.context_pop(&popped), 0);
    cr_assert_eq(fixture.app.context_release(1), 0);
    cuda_fixture_close(&fixture);
}

Test(cuda_open, tells_backends_apart)
{
    struct cuda_fixture fixture;
    struct wi_device   *host = NULL;
    cuda_fixture_open(&fixture, "");
    cr_assert_eq(wi_device_open("host", 0, &host), 0);
    cr_assert(wi_cuda_is(fixture.device));
    cr_assert_not(wi_cuda_is(host));
    host->ops->close(host);
    cuda_fixture_close(&fixture);
}
