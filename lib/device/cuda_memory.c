/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_memory.c - pinned host memory and device memory
 *
 * Slow calls: they take locks of the driver that other threads and other processes wait for. Memory is made
 * portable, so that every context of the process may copy from it.
 */
#include "device/cuda_device.h"

#define MEMORY_NEEDS (WI_CUDA_CONTEXT | WI_CUDA_RELAXED)

int wi_cuda_memory(struct wi_device *device, uint64_t *bytes_free, uint64_t *bytes_total)
{
    struct wi_cuda_scope scope;
    size_t               now_free = 0;
    size_t               total = 0;
    WI_TRY(wi_cuda_enter(device, MEMORY_NEEDS, &scope));
    wi_cu_result result = scope.cu->memory_info(&now_free, &total);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_DEVICE_MEMORY, "cuMemGetInfo", result));
    *bytes_free = now_free;
    *bytes_total = total;
    return 0;
}

/* The address of pinned memory on the device. */
static int address_of(struct wi_device *device, void *base, uint64_t *address)
{
    if (wi_cuda_of(device)->host_is_address) {
        *address = (uintptr_t)base;
        return 0;
    }
    struct wi_cuda_scope scope;
    wi_cu_address        found = 0;
    WI_TRY(wi_cuda_enter(device, MEMORY_NEEDS, &scope));
    wi_cu_result result = scope.cu->host_address(&found, base, 0);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_HOST_MEMORY, "cuMemHostGetDevicePointer", result));
    *address = found;
    return 0;
}

static int unregister(struct wi_device *device, void *base)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, MEMORY_NEEDS, &scope));
    wi_cu_result result = scope.cu->host_unregister(base);
    return wi_cuda_leave_ending(&scope, WI_CUDA_HOST_MEMORY, "cuMemHostUnregister", result);
}

int wi_cuda_host_register(struct wi_device *device, void *base, size_t bytes, uint64_t *address)
{
    struct wi_cuda_scope scope;
    uint64_t             found = 0;
    WI_TRY(wi_cuda_enter(device, MEMORY_NEEDS, &scope));
    wi_cu_result result = scope.cu->host_register(
        base, bytes, WI_CU_HOST_REGISTER_PORTABLE | WI_CU_HOST_REGISTER_MAPPED);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_HOST_MEMORY, "cuMemHostRegister", result));
    int err = address_of(device, base, &found);
    if (err < 0) {
        /* Undone as far as possible; the code that the caller gets is that of the missing address. */
        (void)unregister(device, base);
        return err;
    }
    wi_cuda_made(wi_cuda_of(device));
    *address = found;
    return 0;
}

int wi_cuda_host_unregister(struct wi_device *device, void *base, size_t bytes)
{
    (void)bytes; /* the driver knows the range by its base */
    WI_TRY(unregister(device, base));
    wi_cuda_gave_back(wi_cuda_of(device));
    return 0;
}

static int free_pinned(struct wi_device *device, void *base)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, MEMORY_NEEDS, &scope));
    wi_cu_result result = scope.cu->host_free(base);
    return wi_cuda_leave_ending(&scope, WI_CUDA_HOST_MEMORY, "cuMemFreeHost", result);
}

int wi_cuda_host_alloc(struct wi_device *device, size_t bytes, void **base, uint64_t *address)
{
    struct wi_cuda_scope scope;
    void                *made = NULL;
    uint64_t             found = 0;
    WI_TRY(wi_cuda_enter(device, MEMORY_NEEDS, &scope));
    wi_cu_result result =
        scope.cu->host_alloc(&made, bytes, WI_CU_HOST_ALLOC_PORTABLE | WI_CU_HOST_ALLOC_MAPPED);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_HOST_MEMORY, "cuMemHostAlloc", result));
    int err = address_of(device, made, &found);
    if (err < 0) {
        (void)free_pinned(device, made);
        return err;
    }
    wi_cuda_made(wi_cuda_of(device));
    *base = made;
    *address = found;
    return 0;
}

int wi_cuda_host_free(struct wi_device *device, void *base, size_t bytes)
{
    (void)bytes;
    WI_TRY(free_pinned(device, base));
    wi_cuda_gave_back(wi_cuda_of(device));
    return 0;
}

int wi_cuda_device_alloc(struct wi_device *device, size_t bytes, uint64_t *address)
{
    struct wi_cuda_scope scope;
    wi_cu_address        made = 0;
    WI_TRY(wi_cuda_enter(device, MEMORY_NEEDS, &scope));
    wi_cu_result result = scope.cu->device_alloc(&made, bytes);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_DEVICE_MEMORY, "cuMemAlloc", result));
    wi_assert(made % 256 == 0);
    wi_cuda_made(wi_cuda_of(device));
    *address = made;
    return 0;
}

int wi_cuda_device_free(struct wi_device *device, uint64_t address)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, MEMORY_NEEDS, &scope));
    wi_cu_result result = scope.cu->device_free(address);
    WI_TRY(wi_cuda_leave_ending(&scope, WI_CUDA_DEVICE_MEMORY, "cuMemFree", result));
    wi_cuda_gave_back(wi_cuda_of(device));
    return 0;
}
