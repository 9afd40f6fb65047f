/* SPDX-License-Identifier: Apache-2.0 */
/* fake_memory.c - pinned host memory, device memory, copies and fills */
#include "fake_state.h"

#include <stdlib.h>

#define MEMORY_NEEDS (FAKE_CONTEXT | FAKE_UNSAFE)

static struct wi_emu *current_emu(void)
{
    return fake_current_device()->emu;
}

FAKE_API wi_cu_result cuMemHostAlloc(void **base, size_t bytes, unsigned flags)
{
    wi_cu_result result = fake_enter(FAKE_cuMemHostAlloc, MEMORY_NEEDS);
    if (result != WI_CU_SUCCESS) return result;
    if (flags & ~7u) return WI_CU_INVALID_VALUE;
    return fake_result(wi_emu_host_alloc(current_emu(), bytes, base), WI_CU_INVALID_VALUE);
}

FAKE_API wi_cu_result cuMemFreeHost(void *base)
{
    wi_cu_result result = fake_enter(FAKE_cuMemFreeHost, MEMORY_NEEDS);
    if (result != WI_CU_SUCCESS) return result;
    return fake_result(wi_emu_host_free(current_emu(), base), WI_CU_INVALID_VALUE);
}

FAKE_API wi_cu_result cuMemHostRegister_v2(void *base, size_t bytes, unsigned flags)
{
    wi_cu_result result = fake_enter(FAKE_cuMemHostRegister_v2, MEMORY_NEEDS);
    if (result != WI_CU_SUCCESS) return result;
    if (flags & ~15u) return WI_CU_INVALID_VALUE;
    int err = wi_emu_host_register(current_emu(), base, bytes);
    if (err == WEIR_EBUSY) return WI_CU_HOST_MEMORY_ALREADY_REGISTERED;
    return fake_result(err, WI_CU_INVALID_VALUE);
}

FAKE_API wi_cu_result cuMemHostUnregister(void *base)
{
    wi_cu_result result = fake_enter(FAKE_cuMemHostUnregister, MEMORY_NEEDS);
    if (result != WI_CU_SUCCESS) return result;
    int err = wi_emu_host_unregister(current_emu(), base, 0);
    return fake_result(err, WI_CU_HOST_MEMORY_NOT_REGISTERED);
}

FAKE_API wi_cu_result cuMemHostGetDevicePointer_v2(wi_cu_address *address, void *host,
                                                   unsigned flags)
{
    wi_cu_result result = fake_enter(FAKE_cuMemHostGetDevicePointer_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct wi_emu_range_info range;
    if (flags != 0) return WI_CU_INVALID_VALUE;
    if (wi_emu_range_find(current_emu(), (uintptr_t)host, &range) < 0) return WI_CU_INVALID_VALUE;
    if (range.kind == WI_EMU_RANGE_DEVICE) return WI_CU_INVALID_VALUE;
    *address = (uintptr_t)host;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuMemGetInfo_v2(size_t *bytes_free, size_t *bytes_total)
{
    wi_cu_result result = fake_enter(FAKE_cuMemGetInfo_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    uint64_t now_free = 0;
    uint64_t total = 0;
    result = fake_result(wi_emu_memory(current_emu(), &now_free, &total), WI_CU_INVALID_VALUE);
    if (result != WI_CU_SUCCESS) return result;
    *bytes_free = now_free;
    *bytes_total = total;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuMemAlloc_v2(wi_cu_address *address, size_t bytes)
{
    wi_cu_result result = fake_enter(FAKE_cuMemAlloc_v2, MEMORY_NEEDS);
    if (result != WI_CU_SUCCESS) return result;
    uint64_t made = 0;
    result = fake_result(wi_emu_device_alloc(current_emu(), bytes, &made), WI_CU_INVALID_VALUE);
    if (result == WI_CU_SUCCESS) *address = made;
    return result;
}

FAKE_API wi_cu_result cuMemFree_v2(wi_cu_address address)
{
    wi_cu_result result = fake_enter(FAKE_cuMemFree_v2, MEMORY_NEEDS);
    if (result != WI_CU_SUCCESS) return result;
    return fake_result(wi_emu_device_free(current_emu(), address), WI_CU_INVALID_VALUE);
}

/* ---- copies ---- */

/* The copy would touch what belongs to somebody else. */
static bool crosses_edge(struct wi_emu *emu, uint64_t address, size_t bytes)
{
    struct wi_emu_range_info first;
    struct wi_emu_range_info last;
    bool                     has_first = wi_emu_range_find(emu, address, &first) == 0;
    bool                     has_last = wi_emu_range_find(emu, address + bytes - 1, &last) == 0;
    if (bytes > 0 && has_first == has_last && (!has_first || first.base == last.base)) return false;
    if (!fake.edges_refused)
        fake_misuse(
            "a copy of %zu bytes at %#lx is empty, or crosses the edge of a registration or "
            "an allocation",
            bytes, (unsigned long)address);
    return true;
}

/* The device's side must be memory of the device, or a driver would answer invalid value. */
static bool is_addressable(struct wi_emu *emu, uint64_t address)
{
    struct wi_emu_range_info range;
    return wi_emu_range_find(emu, address, &range) == 0;
}

static wi_cu_result queue_copy(const struct wi_copy *copy, struct CUstream_st *handle)
{
    wi_cu_result        result = WI_CU_SUCCESS;
    struct CUstream_st *stream = fake_stream_here(handle, &result);
    if (stream == NULL) return result;
    struct wi_emu *emu = stream->device->emu;
    if (copy->kind != WI_COPY_DOWN && !is_addressable(emu, copy->dst)) return WI_CU_INVALID_VALUE;
    if (copy->kind != WI_COPY_UP && !is_addressable(emu, copy->src)) return WI_CU_INVALID_VALUE;
    if (crosses_edge(emu, copy->dst, copy->bytes)) return WI_CU_INVALID_VALUE;
    if (crosses_edge(emu, copy->src, copy->bytes)) return WI_CU_INVALID_VALUE;
    return fake_result(wi_emu_copy(emu, copy, stream->emu), WI_CU_INVALID_VALUE);
}

FAKE_API wi_cu_result cuMemcpyHtoDAsync_v2(wi_cu_address dst, const void *src, size_t bytes,
                                           struct CUstream_st *stream)
{
    wi_cu_result result = fake_enter(FAKE_cuMemcpyHtoDAsync_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct wi_copy copy = {dst, (uintptr_t)src, bytes, WI_COPY_UP, 0};
    return queue_copy(&copy, stream);
}

FAKE_API wi_cu_result cuMemcpyDtoHAsync_v2(void *dst, wi_cu_address src, size_t bytes,
                                           struct CUstream_st *stream)
{
    wi_cu_result result = fake_enter(FAKE_cuMemcpyDtoHAsync_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct wi_copy copy = {(uintptr_t)dst, src, bytes, WI_COPY_DOWN, 0};
    return queue_copy(&copy, stream);
}

FAKE_API wi_cu_result cuMemcpyDtoDAsync_v2(wi_cu_address dst, wi_cu_address src, size_t bytes,
                                           struct CUstream_st *stream)
{
    wi_cu_result result = fake_enter(FAKE_cuMemcpyDtoDAsync_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct wi_copy copy = {dst, src, bytes, WI_COPY_DEVICE, 0};
    return queue_copy(&copy, stream);
}

/* The batch call is not told the direction: it follows from where the two addresses lie. */
static uint32_t kind_of(struct wi_emu *emu, uint64_t dst, uint64_t src)
{
    struct wi_emu_range_info range;
    bool to_device = wi_emu_range_find(emu, dst, &range) == 0 && range.kind == WI_EMU_RANGE_DEVICE;
    bool from_device =
        wi_emu_range_find(emu, src, &range) == 0 && range.kind == WI_EMU_RANGE_DEVICE;
    if (to_device && from_device) return WI_COPY_DEVICE;
    return from_device ? WI_COPY_DOWN : WI_COPY_UP;
}

static wi_cu_result queue_batch(const wi_cu_address *dsts, const wi_cu_address *srcs,
                                const size_t *bytes, size_t count,
                                const struct wi_cu_copy_attributes *attributes, const size_t *first,
                                size_t attributes_count, struct CUstream_st *handle)
{
    if (count == 0 || attributes_count != 1 || first[0] != 0) return WI_CU_INVALID_VALUE;
    if (attributes->source_order == 0 || attributes->source_order > 3) return WI_CU_INVALID_VALUE;
    if (attributes->source_order != WI_CU_SOURCE_ORDER_STREAM)
        fake_misuse("a batch that may read its sources before the stream gets there");
    if (handle == WI_CU_STREAM_LEGACY || handle == WI_CU_STREAM_PER_THREAD)
        return WI_CU_INVALID_VALUE;
    wi_cu_result        result = WI_CU_SUCCESS;
    struct CUstream_st *stream = fake_stream_here(handle, &result);
    if (stream == NULL) return result;
    struct wi_copy *copies = calloc(count, sizeof(*copies));
    if (copies == NULL) return WI_CU_OUT_OF_MEMORY;
    struct wi_emu *emu = stream->device->emu;
    bool           crosses = false;
    for (size_t i = 0; i < count; i++) {
        copies[i] = (struct wi_copy){dsts[i], srcs[i], bytes[i], kind_of(emu, dsts[i], srcs[i]), 0};
        crosses |= crosses_edge(emu, dsts[i], bytes[i]) || crosses_edge(emu, srcs[i], bytes[i]);
    }
    int err = crosses ? WEIR_EINVAL : wi_emu_copy_batch(emu, copies, count, stream->emu);
    free(copies);
    return fake_result(err, WI_CU_INVALID_VALUE);
}

FAKE_API wi_cu_result cuMemcpyBatchAsync_v2(wi_cu_address *dsts, wi_cu_address *srcs, size_t *bytes,
                                            size_t count, struct wi_cu_copy_attributes *attributes,
                                            size_t *first, size_t attributes_count,
                                            struct CUstream_st *stream)
{
    wi_cu_result result = fake_enter(FAKE_cuMemcpyBatchAsync_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    return queue_batch(dsts, srcs, bytes, count, attributes, first, attributes_count, stream);
}

/* The older form has one argument more; a caller that mixes them up passes a stream that is none. */
FAKE_API wi_cu_result cuMemcpyBatchAsync(wi_cu_address *dsts, wi_cu_address *srcs, size_t *bytes,
                                         size_t count, struct wi_cu_copy_attributes *attributes,
                                         size_t *first, size_t attributes_count, size_t *failed,
                                         struct CUstream_st *stream)
{
    wi_cu_result result = fake_enter(FAKE_cuMemcpyBatchAsync, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    result = queue_batch(dsts, srcs, bytes, count, attributes, first, attributes_count, stream);
    if (result != WI_CU_SUCCESS) *failed = SIZE_MAX;
    return result;
}

FAKE_API wi_cu_result cuMemsetD8Async(wi_cu_address dst, unsigned char byte, size_t bytes,
                                      struct CUstream_st *handle)
{
    wi_cu_result result = fake_enter(FAKE_cuMemsetD8Async, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct CUstream_st *stream = fake_stream_here(handle, &result);
    if (stream == NULL) return result;
    if (crosses_edge(stream->device->emu, dst, bytes)) return WI_CU_INVALID_VALUE;
    return fake_result(wi_emu_fill(stream->device->emu, dst, byte, bytes, stream->emu),
                       WI_CU_INVALID_VALUE);
}
