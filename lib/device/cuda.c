/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda.c - the cuda backend: opening a device and describing it
 *
 * weir works in the device's primary context, which is the one that the CUDA runtime uses, so that streams,
 * events and addresses can be passed to and fro. It is retained at open and made current around calls
 * only. Nothing here runs at process exit or in a destructor: the driver may be gone by then.
 */
#include "device/cuda.h"

#include "base/alloc.h"
#include "base/log.h"
#include "device/cuda_device.h"

#include <string.h>

static int  cuda_open(uint32_t ordinal, struct wi_device **out);
static void cuda_close(struct wi_device *device);
static void cuda_info(struct wi_device *device, struct weir_runtime_info *out);

/* One table for drivers with a batch copy, one for those without; all else is the same. */
#define OPERATIONS                                                                                 \
    .name = "cuda", .open = cuda_open, .close = cuda_close, .info = cuda_info,                     \
    .memory = wi_cuda_memory, .host_register = wi_cuda_host_register,                              \
    .host_unregister = wi_cuda_host_unregister, .host_alloc = wi_cuda_host_alloc,                  \
    .host_free = wi_cuda_host_free, .device_alloc = wi_cuda_device_alloc,                          \
    .device_free = wi_cuda_device_free, .stream_create = wi_cuda_stream_create,                    \
    .stream_priority = wi_cuda_stream_priority, .stream_destroy = wi_cuda_stream_destroy,          \
    .stream_query = wi_cuda_stream_query,                                                          \
    .stream_wait = wi_cuda_stream_wait, .stream_capture = wi_cuda_stream_capture,                  \
    .event_create = wi_cuda_event_create, .event_destroy = wi_cuda_event_destroy,                  \
    .event_record = wi_cuda_event_record, .event_query = wi_cuda_event_query,                      \
    .event_sync = wi_cuda_event_sync, .event_elapsed = wi_cuda_event_elapsed,                      \
    .copy = wi_cuda_copy, .fill = wi_cuda_fill, .call = wi_cuda_call, .delay = wi_cuda_delay

const struct wi_device_ops        wi_device_cuda = {OPERATIONS, .copy_batch = wi_cuda_copy_batch};
static const struct wi_device_ops cuda_without_batch = {OPERATIONS, .copy_batch = NULL};

static int32_t node_of(const struct wi_cu *cu, wi_cu_device device)
{
    char         bus_id[32] = "";
    int          node = -1;
    int32_t      found = -1;
    wi_cu_result result = WI_CU_SUCCESS;
    if (cu->device_bus_id != NULL)
        result = cu->device_bus_id(bus_id, (int)sizeof(bus_id), device);
    if (result != WI_CU_SUCCESS)
        wi_log(DEBUG, "cuda", "device %d: cuDeviceGetPCIBusId answered %u", device, result);
    else
        found = wi_cuda_numa_node(WI_PCI_DEVICES, bus_id);
    if (found >= 0) return found;
    /* Devices with a CPU of their own are not on a PCI bus that has a node. */
    result = cu->device_attribute(&node, WI_CU_HOST_NUMA_ID, device);
    if (result == WI_CU_SUCCESS && node >= 0) return node;
    if (result != WI_CU_SUCCESS)
        wi_log(DEBUG, "cuda", "device %d: cuDeviceGetAttribute of the NUMA node answered %u", device, result);
    return -1;
}

static int check_ordinal(struct wi_cuda *cuda)
{
    int          count = 0;
    wi_cu_result result = cuda->cu->device_count(&count);
    if (result != WI_CU_SUCCESS)
        return wi_cuda_failed(cuda, WI_CUDA_OBJECT, "cuDeviceGetCount", result);
    WI_ENSURE(cuda->base.ordinal < (uint32_t)count, NOENT, .call = "cuDeviceGetCount",
              .detail = "no device has this ordinal", .limit = "devices",
              .setting = "CUDA_VISIBLE_DEVICES", .limit_value = (uint64_t)count,
              .wanted = cuda->base.ordinal);
    return 0;
}

/* What can be known before there is a context. */
static int read_device(struct wi_cuda *cuda)
{
    const struct wi_cu *cu = cuda->cu;
    size_t              bytes = 0;
    int                 unified = 0;
    int                 same = 0;
    const char         *call = "cuDeviceGet";
    wi_cu_result        result = cu->device(&cuda->device, (int)cuda->base.ordinal);
    if (result == WI_CU_SUCCESS) {
        call = "cuDeviceGetName";
        result = cu->device_name(cuda->name, (int)sizeof(cuda->name), cuda->device);
    }
    if (result == WI_CU_SUCCESS) {
        call = "cuDeviceTotalMem";
        result = cu->device_bytes(&bytes, cuda->device);
    }
    if (result == WI_CU_SUCCESS) {
        call = "cuDeviceGetAttribute";
        result = cu->device_attribute(&unified, WI_CU_UNIFIED_ADDRESSING, cuda->device);
    }
    if (result == WI_CU_SUCCESS)
        result = cu->device_attribute(&same, WI_CU_CAN_USE_HOST_POINTER, cuda->device);
    if (result != WI_CU_SUCCESS) return wi_cuda_failed(cuda, WI_CUDA_OBJECT, call, result);
    WI_ENSURE(unified != 0, NOSYS, .call = "cuDeviceGetAttribute",
              .detail = "the device does not share an address space with the host");
    cuda->name[sizeof(cuda->name) - 1] = '\0';
    cuda->bytes_total = bytes;
    cuda->host_is_address = same != 0;
    cuda->numa_node = node_of(cu, cuda->device);
    return 0;
}

/* Calls outside a scope must not break another thread's capture either: the mode to go back to, or -1. */
static int relax(const struct wi_cu *cu)
{
    unsigned mode = WI_CU_CAPTURE_RELAXED;
    if (cu->capture_mode == NULL) return -1;
    wi_cu_result result = cu->capture_mode(&mode);
    if (result == WI_CU_SUCCESS) return (int)mode;
    wi_log(DEBUG, "cuda", "cuThreadExchangeStreamCaptureMode answered %u", result);
    return -1;
}

static void restore(const struct wi_cu *cu, int mode)
{
    unsigned     before = (unsigned)mode;
    wi_cu_result result = mode >= 0 ? cu->capture_mode(&before) : WI_CU_SUCCESS;
    if (result != WI_CU_SUCCESS)
        wi_log(WARN, "cuda", "the thread's capture mode stays relaxed: cuThreadExchangeStreamCaptureMode answered %u",
               result);
}

static wi_cu_result release_context(const struct wi_cuda *cuda)
{
    int          mode = relax(cuda->cu);
    wi_cu_result result = cuda->cu->context_release(cuda->device);
    restore(cuda->cu, mode);
    return result;
}

/* Makes the context unless the process has one already; the slowest step. */
static int retain_context(struct wi_cuda *cuda)
{
    int          mode = relax(cuda->cu);
    wi_cu_result result = cuda->cu->context_retain(&cuda->context, cuda->device);
    restore(cuda->cu, mode);
    if (result != WI_CU_SUCCESS)
        return wi_cuda_failed(cuda, WI_CUDA_DEVICE_MEMORY, "cuDevicePrimaryCtxRetain", result);
    return 0;
}

static int read_context(struct wi_cuda *cuda)
{
    struct wi_cuda_scope scope;
    int                  least = 0;
    int                  greatest = 0;
    WI_TRY(wi_cuda_enter(&cuda->base, WI_CUDA_CONTEXT, &scope));
    wi_cu_result result = scope.cu->priority_range(&least, &greatest);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_OBJECT, "cuCtxGetStreamPriorityRange", result));
    cuda->priority_least = least;
    cuda->priority_greatest = greatest;
    return 0;
}

static int cuda_open(uint32_t ordinal, struct wi_device **out)
{
    const struct wi_cu *cu = NULL;
    WI_TRY(wi_cu_load(&cu));
    struct wi_cuda *cuda = wi_calloc(1, sizeof(*cuda));
    WI_ENSURE(cuda != NULL, NOMEM, .call = "calloc", .wanted = sizeof(*cuda));
    bool has_batch = cu->copy_batch != NULL || cu->copy_batch_12080 != NULL;
    cuda->base.ops = has_batch ? &wi_device_cuda : &cuda_without_batch;
    cuda->base.ordinal = ordinal;
    cuda->cu = cu;

    int err = check_ordinal(cuda);
    if (err < 0) goto free_device;
    err = read_device(cuda);
    if (err < 0) goto free_device;
    err = retain_context(cuda);
    if (err < 0) goto free_device;
    err = read_context(cuda);
    if (err < 0) goto release_context;
    *out = &cuda->base;
    return 0;

release_context:
    if (wi_load(&cuda->base.lost, relaxed) == 0) (void)release_context(cuda);
free_device:
    wi_free(cuda);
    return err;
}

/*
 * The context is kept if something in it was not given back, because releasing the last reference frees
 * memory that someone may still hold. A lost device and a forked child get no driver call.
 */
static void cuda_close(struct wi_device *device)
{
    struct wi_cuda *cuda = wi_cuda_of(device);
    uint64_t        live = wi_load(&cuda->live, relaxed);
    bool            reachable = wi_load(&device->lost, acquire) == 0 && !wi_cu_forked();
    if (reachable && live > 0) {
        wi_log(WARN, "cuda", "device %u: its context stays, %llu objects were not given back",
               device->ordinal, (unsigned long long)live);
    } else if (reachable) {
        wi_cu_result result = release_context(cuda);
        if (result != WI_CU_SUCCESS)
            wi_log(WARN, "cuda", "device %u: cuDevicePrimaryCtxRelease answered %u, %s",
                   device->ordinal, result, wi_cu_meaning_of(result)->name);
    }
    wi_free(cuda);
}

static void cuda_info(struct wi_device *device, struct weir_runtime_info *out)
{
    const struct wi_cuda *cuda = wi_cuda_of(device);
    size_t                struct_size = out->struct_size;
    *out = (struct weir_runtime_info){
        .struct_size = struct_size,
        .backend = "cuda",
        .device_bytes_total = cuda->bytes_total,
        .stream_priority_least = cuda->priority_least,
        .stream_priority_greatest = cuda->priority_greatest,
        .numa_node = cuda->numa_node,
        .flags = device->ops->copy_batch != NULL ? WEIR_INFO_COPY_BATCH : 0,
    };
    _Static_assert(sizeof(out->device_name) == sizeof(cuda->name), "a name fits");
    memcpy(out->device_name, cuda->name, sizeof(out->device_name));
}

bool wi_cuda_is(const struct wi_device *device)
{
    return device->ops->open == cuda_open;
}

struct CUctx_st *wi_cuda_context(const struct wi_device *device)
{
    wi_assert(wi_cuda_is(device));
    return ((const struct wi_cuda *)device)->context;
}

int wi_cuda_stream_check(struct wi_device *device, struct CUstream_st *stream)
{
    struct wi_cuda_scope scope;
    struct CUctx_st     *owner = NULL;
    wi_assert(wi_cuda_is(device));
    WI_ENSURE(stream != NULL, INVAL,
              .detail = "NULL means one default stream or the other: pass the handle 0x1 or 0x2");
    WI_TRY(wi_cuda_enter(device, WI_CUDA_CONTEXT, &scope));
    wi_cu_result result = scope.cu->stream_context(stream, &owner);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_OBJECT, "cuStreamGetCtx", result));
    WI_ENSURE(owner == wi_cuda_context(device), INVAL, .call = "cuStreamGetCtx",
              .detail = "the stream belongs to another context than the runtime's device");
    return 0;
}
