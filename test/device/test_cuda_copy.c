/* SPDX-License-Identifier: Apache-2.0 */
/* test_cuda_copy.c - copies, batches in both forms of the driver call, and drivers without it */
#include "cuda_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

#define COUNT 600u
#define PIECE ((size_t)64)
#define BYTES (COUNT * PIECE)

struct transfer {
    struct cuda_fixture cuda;
    void               *stream;
    void               *event;
    uint8_t            *host; /* first half: source, second half: what came back */
    uint64_t            host_address;
    uint64_t            device;
};

static void begin(struct transfer *transfer, const char *config)
{
    cuda_fixture_open(&transfer->cuda, config);
    struct wi_device           *device = transfer->cuda.device;
    const struct wi_device_ops *ops = transfer->cuda.ops;
    void                       *host = NULL;
    cr_assert_eq(ops->stream_create(device, 0, &transfer->stream), 0);
    cr_assert_eq(ops->event_create(device, 0, &transfer->event), 0);
    cr_assert_eq(ops->host_alloc(device, 2 * BYTES, &host, &transfer->host_address), 0);
    cr_assert_eq(ops->device_alloc(device, BYTES, &transfer->device), 0);
    transfer->host = host;
    for (size_t i = 0; i < BYTES; i++) transfer->host[i] = (uint8_t)(i * 7 + i / 256);
    memset(transfer->host + BYTES, 0, BYTES);
}

static void finish(struct transfer *transfer, void *stream)
{
    struct wi_device *device = transfer->cuda.device;
    cr_assert_eq(transfer->cuda.ops->event_record(device, transfer->event, stream), 0);
    cr_assert_eq(transfer->cuda.ops->event_sync(device, transfer->event), 0);
}

static void end(struct transfer *transfer)
{
    struct wi_device           *device = transfer->cuda.device;
    const struct wi_device_ops *ops = transfer->cuda.ops;
    cr_assert_eq(ops->device_free(device, transfer->device), 0);
    cr_assert_eq(ops->host_free(device, transfer->host, 2 * BYTES), 0);
    cr_assert_eq(ops->event_destroy(device, transfer->event), 0);
    cr_assert_eq(ops->stream_destroy(device, transfer->stream), 0);
    cuda_fixture_close(&transfer->cuda);
}

/* The whole buffer to the device piece by piece in reverse, and back in one copy. */
static void batch_there_and_back(struct transfer *transfer, void *stream)
{
    static struct wi_copy       copies[COUNT];
    struct wi_device           *device = transfer->cuda.device;
    const struct wi_device_ops *ops = transfer->cuda.ops;
    for (size_t i = 0; i < COUNT; i++) {
        size_t at = (COUNT - 1 - i) * PIECE;
        copies[i] = (struct wi_copy){transfer->device + at, (uintptr_t)transfer->host + at, PIECE,
                                     WI_COPY_UP, 0};
    }
    const struct wi_copy back = {(uintptr_t)transfer->host + BYTES, transfer->device, BYTES,
                                 WI_COPY_DOWN, 0};
    cr_assert_eq(ops->copy_batch(device, copies, COUNT, stream), 0);
    cr_assert_eq(ops->copy(device, &back, stream), 0);
    finish(transfer, stream);
    cr_assert_arr_eq(transfer->host, transfer->host + BYTES, BYTES);
}

Test(cuda_copy, batch)
{
    struct transfer transfer;
    begin(&transfer, "version=13000");
    batch_there_and_back(&transfer, transfer.stream);
    /* 600 copies in calls of at most 256. */
    cr_expect_eq(transfer.cuda.fake.calls("cuMemcpyBatchAsync"), 3);
    cr_expect_eq(transfer.cuda.fake.calls("cuMemcpyHtoDAsync"), 0);
    end(&transfer);
}

Test(cuda_copy, batch_of_the_older_form)
{
    struct transfer transfer;
    begin(&transfer, "version=12080");
    batch_there_and_back(&transfer, transfer.stream);
    cr_expect_eq(transfer.cuda.fake.calls("cuMemcpyBatchAsync"), 3);
    end(&transfer);
}

Test(cuda_copy, failed_batch_of_the_older_form)
{
    struct transfer transfer;
    begin(&transfer, "version=12080");
    struct fakecuda_fault fault = {.symbol = "cuMemcpyBatchAsync", .nth = 2, .result = 1};
    const struct wi_copy  copy = {transfer.device, transfer.host_address, PIECE, WI_COPY_UP, 0};
    transfer.cuda.fake.fail(&fault);
    struct wi_device *device = transfer.cuda.device;
    cr_expect_eq(transfer.cuda.ops->copy_batch(device, &copy, 1, transfer.stream), 0);
    cr_expect_eq(transfer.cuda.ops->copy_batch(device, &copy, 1, transfer.stream), WEIR_EINVAL);
    finish(&transfer, transfer.stream);
    end(&transfer);
}

/* The driver's batch call refuses the default streams; adopted ones may be those. */
Test(cuda_copy, batch_on_default_streams)
{
    struct transfer transfer;
    begin(&transfer, "");
    batch_there_and_back(&transfer, WI_CU_STREAM_LEGACY);
    memset(transfer.host + BYTES, 0, BYTES);
    batch_there_and_back(&transfer, WI_CU_STREAM_PER_THREAD);
    cr_expect_eq(transfer.cuda.fake.calls("cuMemcpyBatchAsync"), 0);
    cr_expect_eq(transfer.cuda.fake.calls("cuMemcpyHtoDAsync"), 2 * COUNT);
    end(&transfer);
}

Test(cuda_copy, driver_without_a_batch_call)
{
    struct transfer          transfer;
    struct weir_runtime_info info = {.struct_size = sizeof(info)};
    begin(&transfer, "hide=cuMemcpyBatchAsync");
    cr_expect_null(transfer.cuda.ops->copy_batch);
    transfer.cuda.ops->info(transfer.cuda.device, &info);
    cr_expect_eq(info.flags & WEIR_INFO_COPY_BATCH, 0);
    cr_expect_eq(wi_device_cuda.open, transfer.cuda.ops->open);
    end(&transfer);
}

Test(cuda_copy, one_driver_call_for_each_kind)
{
    struct transfer transfer;
    begin(&transfer, "");
    const struct wi_copy copies[] = {
        {transfer.device, (uintptr_t)transfer.host, PIECE, WI_COPY_UP, 0},
        {transfer.device + PIECE, transfer.device, PIECE, WI_COPY_DEVICE, 0},
        {(uintptr_t)transfer.host + BYTES, transfer.device + PIECE, PIECE, WI_COPY_DOWN, 0},
    };
    uint64_t before = wi_load(&transfer.cuda.device->calls, relaxed);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(transfer.cuda.ops->copy(transfer.cuda.device, &copies[i], transfer.stream), 0);
    cr_expect_eq(wi_load(&transfer.cuda.device->calls, relaxed) - before, 3);
    finish(&transfer, transfer.stream);
    cr_expect_arr_eq(transfer.host, transfer.host + BYTES, PIECE);
    cr_expect_eq(transfer.cuda.fake.calls("cuMemcpyHtoDAsync"), 1);
    cr_expect_eq(transfer.cuda.fake.calls("cuMemcpyDtoDAsync"), 1);
    cr_expect_eq(transfer.cuda.fake.calls("cuMemcpyDtoHAsync"), 1);
    end(&transfer);
}

Test(cuda_copy, fill)
{
    struct transfer transfer;
    begin(&transfer, "");
    const struct wi_copy back = {(uintptr_t)transfer.host + BYTES, transfer.device, BYTES,
                                 WI_COPY_DOWN, 0};
    struct wi_device    *device = transfer.cuda.device;
    cr_assert_eq(transfer.cuda.ops->fill(device, transfer.device, 0xa5, BYTES, transfer.stream), 0);
    cr_assert_eq(transfer.cuda.ops->copy(device, &back, transfer.stream), 0);
    finish(&transfer, transfer.stream);
    for (size_t i = 0; i < BYTES; i++) cr_assert_eq(transfer.host[BYTES + i], 0xa5);
    end(&transfer);
}

/* The source is read when the stream reaches the copy, in a batch too. */
Test(cuda_copy, source_is_read_late)
{
    struct transfer transfer;
    begin(&transfer, "clock=virtual");
    struct wi_device    *device = transfer.cuda.device;
    const struct wi_copy copies[] = {
        {transfer.device, (uintptr_t)transfer.host, PIECE, WI_COPY_UP, 0},
        {transfer.device + PIECE, (uintptr_t)transfer.host, PIECE, WI_COPY_UP, 0},
    };
    const struct wi_copy back = {(uintptr_t)transfer.host + BYTES, transfer.device + PIECE, PIECE,
                                 WI_COPY_DOWN, 0};
    cr_assert_eq(transfer.cuda.ops->copy_batch(device, copies, 2, transfer.stream), 0);
    memset(transfer.host, 0x11, PIECE);
    cr_assert_eq(transfer.cuda.ops->copy(device, &back, transfer.stream), 0);
    finish(&transfer, transfer.stream);
    cr_expect_eq(transfer.host[BYTES], 0x11);
    end(&transfer);
}
