/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_copy.c - copies and fills
 *
 * Each kind of copy goes through the driver call of its kind, which takes the host side as a pointer: the
 * address that the device sees may be another.
 */
#include "base/log.h"
#include "device/cuda_device.h"

/* Copies in one driver call: 6 KiB of stack for three arrays. */
#define BATCH_MAX 256

static inline void *host_pointer(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

/* One driver call; the caller has entered. */
static wi_cu_result queue_copy(const struct wi_cu *cu, const struct wi_copy *copy,
                               struct CUstream_st *stream, const char **call)
{
    switch (copy->kind) {
    case WI_COPY_UP:
        *call = "cuMemcpyHtoDAsync";
        return cu->copy_up(copy->dst, host_pointer(copy->src), copy->bytes, stream);
    case WI_COPY_DOWN:
        *call = "cuMemcpyDtoHAsync";
        return cu->copy_down(host_pointer(copy->dst), copy->src, copy->bytes, stream);
    default:
        *call = "cuMemcpyDtoDAsync";
        return cu->copy_device(copy->dst, copy->src, copy->bytes, stream);
    }
}

int wi_cuda_copy(struct wi_device *device, const struct wi_copy *copy, void *stream)
{
    struct wi_cuda_scope scope;
    const char          *call = "";
    wi_assert(copy->kind >= WI_COPY_UP && copy->kind <= WI_COPY_DEVICE);
    WI_TRY(wi_cuda_enter(device, WI_CUDA_CONTEXT, &scope));
    wi_cu_result result = queue_copy(scope.cu, copy, stream, &call);
    return wi_cuda_leave(&scope, WI_CUDA_WORK, call, result);
}

/* At most BATCH_MAX copies in one driver call. */
static int copy_some(struct wi_device *device, const struct wi_copy *copies, size_t count,
                     struct CUstream_st *stream)
{
    struct wi_cuda_scope scope;
    wi_cu_address        dsts[BATCH_MAX];
    wi_cu_address        srcs[BATCH_MAX];
    size_t               bytes[BATCH_MAX];
    size_t               first = 0;
    wi_cu_result         result;
    /* Stream order: a source is read when the stream gets there. Any other order may read it too early. */
    struct wi_cu_copy_attributes attributes = {.source_order = WI_CU_SOURCE_ORDER_STREAM};

    wi_assert(count > 0 && count <= BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        dsts[i] = copies[i].dst;
        srcs[i] = copies[i].src;
        bytes[i] = copies[i].bytes;
    }
    WI_TRY(wi_cuda_enter(device, WI_CUDA_CONTEXT, &scope));
    if (scope.cu->copy_batch != NULL) {
        result = scope.cu->copy_batch(dsts, srcs, bytes, count, &attributes, &first, 1, stream);
    } else {
        size_t failed = SIZE_MAX;
        result = scope.cu->copy_batch_12080(dsts, srcs, bytes, count, &attributes, &first, 1,
                                            &failed, stream);
        if (result != WI_CU_SUCCESS && failed < count)
            wi_log(DEBUG, "cuda", "copy %zu of a batch of %zu was refused", failed, count);
    }
    return wi_cuda_leave(&scope, WI_CUDA_WORK, "cuMemcpyBatchAsync", result);
}

/*
 * A failure leaves the copies of earlier driver calls queued. The two default streams, which only adopted
 * handles can be, are refused by the batch call and get single copies.
 */
int wi_cuda_copy_batch(struct wi_device *device, const struct wi_copy *copies, size_t count,
                       void *stream)
{
    if (stream == WI_CU_STREAM_LEGACY || stream == WI_CU_STREAM_PER_THREAD) {
        for (size_t i = 0; i < count; i++)
            WI_TRY(wi_cuda_copy(device, &copies[i], stream));
        return 0;
    }
    while (count > 0) {
        size_t some = count < BATCH_MAX ? count : BATCH_MAX;
        WI_TRY(copy_some(device, copies, some, stream));
        copies += some;
        count -= some;
    }
    return 0;
}

int wi_cuda_fill(struct wi_device *device, uint64_t dst, uint8_t byte, size_t bytes, void *stream)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, WI_CUDA_CONTEXT, &scope));
    wi_cu_result result = scope.cu->fill(dst, byte, bytes, stream);
    return wi_cuda_leave(&scope, WI_CUDA_WORK, "cuMemsetD8Async", result);
}
