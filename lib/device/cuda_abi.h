/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_abi.h - the part of the CUDA driver's binary interface that weir uses
 *
 * Declared here so that weir builds with no toolkit. Where a toolkit is found, test/device/abi_check.c
 * compares every line with cuda.h and cudaTypedefs.h. Enumerations travel as unsigned, which is what they are in
 * GNU C; handles keep the driver's struct tags, so that a CUstream or a cudaStream_t needs no cast.
 *
 * A symbol is asked for at the version that fixed the argument list below, never at "newest": a newer
 * version may add arguments (cuStreamGetCtx at 12050, cuMemcpyBatchAsync at 13000 against 12080).
 */
#ifndef WI_CUDA_ABI_H
#define WI_CUDA_ABI_H

#include <stddef.h>
#include <stdint.h>

struct CUctx_st;
struct CUstream_st;
struct CUevent_st;

typedef unsigned           wi_cu_result;  /* CUresult    */
typedef int                wi_cu_device;  /* CUdevice    */
typedef unsigned long long wi_cu_address; /* CUdeviceptr */
typedef void               wi_cu_host_fn(void *ctx);

/* CUmemLocation and CUmemcpyAttributes. */
struct wi_cu_location {
    unsigned type;
    int      id;
};

struct wi_cu_copy_attributes {
    unsigned              source_order; /* WI_CU_SOURCE_ORDER_STREAM */
    struct wi_cu_location source;       /* hints for managed memory: left zero */
    struct wi_cu_location destination;
    unsigned              flags;
};

/* clang-format off */
/*
 * X(name, value, code, loses). `code` is what weir answers. `loses` is 1 where the driver documents that
 * the context answers the same from then on, or where the context or what it holds is gone.
 */
#define WI_CU_RESULTS(X)                                                                           \
    X(INVALID_VALUE, 1, INVAL, 0)                                                                  \
    X(OUT_OF_MEMORY, 2, NOMEM, 0)                                                                  \
    X(NOT_INITIALIZED, 3, FORKED, 0)                                                               \
    X(DEINITIALIZED, 4, DEVICE, 1)                                                                 \
    X(STUB_LIBRARY, 34, NODRIVER, 0)                                                               \
    X(DEVICE_UNAVAILABLE, 46, BUSY, 0)                                                             \
    X(NO_DEVICE, 100, NODRIVER, 0)                                                                 \
    X(INVALID_DEVICE, 101, NOENT, 0)                                                               \
    X(INVALID_CONTEXT, 201, DEVICE, 1)                                                             \
    X(ECC_UNCORRECTABLE, 214, DEVICE, 1)                                                           \
    X(NVLINK_UNCORRECTABLE, 220, DEVICE, 1)                                                        \
    X(CONTAINED, 226, DEVICE, 1)                                                                   \
    X(OPERATING_SYSTEM, 304, NOSYS, 0)                                                             \
    X(INVALID_HANDLE, 400, INVAL, 0)                                                               \
    X(NOT_FOUND, 500, NOSYS, 0)                                                                    \
    X(NOT_READY, 600, AGAIN, 0)                                                                    \
    X(ILLEGAL_ADDRESS, 700, DEVICE, 1)                                                             \
    X(LAUNCH_TIMEOUT, 702, DEVICE, 1)                                                              \
    X(CONTEXT_IS_DESTROYED, 709, DEVICE, 1)                                                        \
    X(ASSERT, 710, DEVICE, 1)                                                                      \
    X(HOST_MEMORY_ALREADY_REGISTERED, 712, INVAL, 0)                                               \
    X(HOST_MEMORY_NOT_REGISTERED, 713, INVAL, 0)                                                   \
    X(HARDWARE_STACK_ERROR, 714, DEVICE, 1)                                                        \
    X(ILLEGAL_INSTRUCTION, 715, DEVICE, 1)                                                         \
    X(MISALIGNED_ADDRESS, 716, DEVICE, 1)                                                          \
    X(INVALID_ADDRESS_SPACE, 717, DEVICE, 1)                                                       \
    X(INVALID_PC, 718, DEVICE, 1)                                                                  \
    X(LAUNCH_FAILED, 719, DEVICE, 1)                                                               \
    X(TENSOR_MEMORY_LEAK, 721, DEVICE, 1)                                                          \
    X(NOT_PERMITTED, 800, INVAL, 0)                                                                \
    X(NOT_SUPPORTED, 801, NOSYS, 0)                                                                \
    X(SYSTEM_NOT_READY, 802, NODRIVER, 0)                                                          \
    X(SYSTEM_DRIVER_MISMATCH, 803, NODRIVER, 0)                                                    \
    X(COMPAT_NOT_SUPPORTED_ON_DEVICE, 804, NODRIVER, 0)                                            \
    X(MPS_CLIENT_TERMINATED, 810, DEVICE, 1)                                                       \
    X(STREAM_CAPTURE_UNSUPPORTED, 900, CAPTURE, 0)                                                 \
    X(STREAM_CAPTURE_INVALIDATED, 901, CAPTURE, 0)                                                 \
    X(STREAM_CAPTURE_MERGE, 902, CAPTURE, 0)                                                       \
    X(STREAM_CAPTURE_UNMATCHED, 903, CAPTURE, 0)                                                   \
    X(STREAM_CAPTURE_UNJOINED, 904, CAPTURE, 0)                                                    \
    X(STREAM_CAPTURE_ISOLATION, 905, CAPTURE, 0)                                                   \
    X(STREAM_CAPTURE_IMPLICIT, 906, CAPTURE, 0)                                                    \
    X(CAPTURED_EVENT, 907, CAPTURE, 0)                                                             \
    X(STREAM_CAPTURE_WRONG_THREAD, 908, CAPTURE, 0)                                                \
    X(EXTERNAL_DEVICE, 911, DEVICE, 1)                                                             \
    X(UNKNOWN, 999, NOSYS, 0)

enum wi_cu_results {
    WI_CU_SUCCESS = 0,
#define X(name, value, code, loses) WI_CU_##name = (value),
    WI_CU_RESULTS(X)
#undef X
};

/* X(name, value, the driver's name) */
#define WI_CU_CONSTANTS(X)                                                                         \
    X(PROC_LEGACY_STREAM, 1, CU_GET_PROC_ADDRESS_LEGACY_STREAM)                                    \
    X(PROC_FOUND, 0, CU_GET_PROC_ADDRESS_SUCCESS)                                                  \
    X(PROC_NOT_FOUND, 1, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND)                                     \
    X(PROC_VERSION, 2, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT)                                 \
    X(UNIFIED_ADDRESSING, 41, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING)                              \
    X(CAN_USE_HOST_POINTER, 91, CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM)       \
    X(HOST_NUMA_ID, 134, CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID)                                         \
    X(HOST_ALLOC_PORTABLE, 1, CU_MEMHOSTALLOC_PORTABLE)                                            \
    X(HOST_ALLOC_MAPPED, 2, CU_MEMHOSTALLOC_DEVICEMAP)                                             \
    X(HOST_REGISTER_PORTABLE, 1, CU_MEMHOSTREGISTER_PORTABLE)                                      \
    X(HOST_REGISTER_MAPPED, 2, CU_MEMHOSTREGISTER_DEVICEMAP)                                       \
    X(STREAM_NON_BLOCKING, 1, CU_STREAM_NON_BLOCKING)                                              \
    X(EVENT_DISABLE_TIMING, 2, CU_EVENT_DISABLE_TIMING)                                            \
    X(CAPTURE_NONE, 0, CU_STREAM_CAPTURE_STATUS_NONE)                                              \
    X(CAPTURE_GLOBAL, 0, CU_STREAM_CAPTURE_MODE_GLOBAL)                                            \
    X(CAPTURE_THREAD_LOCAL, 1, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)                                \
    X(CAPTURE_RELAXED, 2, CU_STREAM_CAPTURE_MODE_RELAXED)                                          \
    X(SOURCE_ORDER_STREAM, 1, CU_MEMCPY_SRC_ACCESS_ORDER_STREAM)

enum wi_cu_constants {
#define X(name, value, driver_name) WI_CU_##name = (value),
    WI_CU_CONSTANTS(X)
#undef X
};

/* clang-format on */

/* The two default streams have numbers for handles. NULL means one or the other, so weir never accepts it. */
#define WI_CU_STREAM_LEGACY     ((struct CUstream_st *)0x1)
#define WI_CU_STREAM_PER_THREAD ((struct CUstream_st *)0x2)

/* The only symbol that is looked up by name; it finds the others. Its driver must be of CUDA 12.0 or newer. */
typedef wi_cu_result wi_cu_find_fn(const char *symbol, void **function, int version, uint64_t flags,
                                   unsigned *status);

/* clang-format off */
/*
 * X(field, symbol, version, need, arguments): needs are REQUIRED and OPTIONAL. An optional symbol that is
 * missing leaves its field NULL.
 */
#define WI_CU_SYMBOLS(X)                                                                           \
    X(init, cuInit, 2000, REQUIRED, (unsigned flags))                                              \
    X(driver_version, cuDriverGetVersion, 2020, REQUIRED, (int *version))                          \
    X(device_count, cuDeviceGetCount, 2000, REQUIRED, (int *count))                                \
    X(device, cuDeviceGet, 2000, REQUIRED, (wi_cu_device *device, int ordinal))                    \
    X(device_name, cuDeviceGetName, 2000, REQUIRED, (char *name, int bytes, wi_cu_device device))  \
    X(device_bytes, cuDeviceTotalMem, 3020, REQUIRED, (size_t *bytes, wi_cu_device device))        \
    X(device_attribute, cuDeviceGetAttribute, 2000, REQUIRED,                                      \
      (int *value, unsigned attribute, wi_cu_device device))                                       \
    X(device_bus_id, cuDeviceGetPCIBusId, 4010, OPTIONAL,                                          \
      (char *text, int bytes, wi_cu_device device))                                                \
    X(context_retain, cuDevicePrimaryCtxRetain, 7000, REQUIRED,                                    \
      (struct CUctx_st **context, wi_cu_device device))                                            \
    X(context_release, cuDevicePrimaryCtxRelease, 11000, REQUIRED, (wi_cu_device device))          \
    X(context_current, cuCtxGetCurrent, 4000, REQUIRED, (struct CUctx_st **context))               \
    X(context_push, cuCtxPushCurrent, 4000, REQUIRED, (struct CUctx_st *context))                  \
    X(context_pop, cuCtxPopCurrent, 4000, REQUIRED, (struct CUctx_st **context))                   \
    X(priority_range, cuCtxGetStreamPriorityRange, 5050, REQUIRED, (int *least, int *greatest))    \
    X(host_alloc, cuMemHostAlloc, 2020, REQUIRED, (void **base, size_t bytes, unsigned flags))     \
    X(host_free, cuMemFreeHost, 2000, REQUIRED, (void *base))                                      \
    X(host_register, cuMemHostRegister, 6050, REQUIRED, (void *base, size_t bytes, unsigned flags)) \
    X(host_unregister, cuMemHostUnregister, 4000, REQUIRED, (void *base))                          \
    X(host_address, cuMemHostGetDevicePointer, 3020, REQUIRED,                                     \
      (wi_cu_address *address, void *host, unsigned flags))                                        \
    X(memory_info, cuMemGetInfo, 3020, REQUIRED, (size_t *bytes_free, size_t *bytes_total))        \
    X(device_alloc, cuMemAlloc, 3020, REQUIRED, (wi_cu_address *address, size_t bytes))            \
    X(device_free, cuMemFree, 3020, REQUIRED, (wi_cu_address address))                             \
    X(copy_up, cuMemcpyHtoDAsync, 3020, REQUIRED,                                                  \
      (wi_cu_address dst, const void *src, size_t bytes, struct CUstream_st *stream))              \
    X(copy_down, cuMemcpyDtoHAsync, 3020, REQUIRED,                                                \
      (void *dst, wi_cu_address src, size_t bytes, struct CUstream_st *stream))                    \
    X(copy_device, cuMemcpyDtoDAsync, 3020, REQUIRED,                                              \
      (wi_cu_address dst, wi_cu_address src, size_t bytes, struct CUstream_st *stream))            \
    X(copy_batch, cuMemcpyBatchAsync, 13000, OPTIONAL,                                             \
      (wi_cu_address *dsts, wi_cu_address *srcs, size_t *bytes, size_t count,                      \
       struct wi_cu_copy_attributes *attributes, size_t *first, size_t attributes_count,           \
       struct CUstream_st *stream))                                                                \
    X(copy_batch_12080, cuMemcpyBatchAsync, 12080, OPTIONAL,                                       \
      (wi_cu_address *dsts, wi_cu_address *srcs, size_t *bytes, size_t count,                      \
       struct wi_cu_copy_attributes *attributes, size_t *first, size_t attributes_count,           \
       size_t *failed, struct CUstream_st *stream))                                                \
    X(fill, cuMemsetD8Async, 3020, REQUIRED,                                                       \
      (wi_cu_address dst, unsigned char byte, size_t bytes, struct CUstream_st *stream))           \
    X(stream_create, cuStreamCreateWithPriority, 5050, REQUIRED,                                   \
      (struct CUstream_st **stream, unsigned flags, int priority))                                 \
    X(stream_priority, cuStreamGetPriority, 5050, REQUIRED,                                        \
      (struct CUstream_st *stream, int *priority))                                                 \
    X(stream_destroy, cuStreamDestroy, 4000, REQUIRED, (struct CUstream_st *stream))               \
    X(stream_query, cuStreamQuery, 2000, REQUIRED, (struct CUstream_st *stream))                   \
    X(stream_wait, cuStreamWaitEvent, 3020, REQUIRED,                                              \
      (struct CUstream_st *stream, struct CUevent_st *event, unsigned flags))                      \
    X(stream_capturing, cuStreamIsCapturing, 10000, REQUIRED,                                      \
      (struct CUstream_st *stream, unsigned *status))                                              \
    X(stream_context, cuStreamGetCtx, 9020, REQUIRED,                                              \
      (struct CUstream_st *stream, struct CUctx_st **context))                                     \
    X(capture_mode, cuThreadExchangeStreamCaptureMode, 10010, OPTIONAL, (unsigned *mode))          \
    X(event_create, cuEventCreate, 2000, REQUIRED, (struct CUevent_st **event, unsigned flags))    \
    X(event_destroy, cuEventDestroy, 4000, REQUIRED, (struct CUevent_st *event))                   \
    X(event_record, cuEventRecord, 2000, REQUIRED,                                                 \
      (struct CUevent_st *event, struct CUstream_st *stream))                                      \
    X(event_query, cuEventQuery, 2000, REQUIRED, (struct CUevent_st *event))                       \
    X(event_sync, cuEventSynchronize, 2000, REQUIRED, (struct CUevent_st *event))                  \
    X(event_elapsed, cuEventElapsedTime, 2000, REQUIRED,                                           \
      (float *milliseconds, struct CUevent_st *start, struct CUevent_st *end))                     \
    X(call, cuLaunchHostFunc, 10000, REQUIRED,                                                     \
      (struct CUstream_st *stream, wi_cu_host_fn *fn, void *ctx))

/* The driver's functions. Fixed once loaded. */
struct wi_cu {
#define X(field, symbol, version, need, arguments) wi_cu_result (*field) arguments;
    WI_CU_SYMBOLS(X)
#undef X
};

enum wi_cu_symbol_row {
#define X(field, symbol, version, need, arguments) WI_CU_ROW_##field,
    WI_CU_SYMBOLS(X)
#undef X
    WI_CU_SYMBOLS_COUNT
};

/* The version at which a field's symbol is asked for. */
enum wi_cu_symbol_version {
#define X(field, symbol, version, need, arguments) WI_CU_VERSION_##field = (version),
    WI_CU_SYMBOLS(X)
#undef X
};

/* clang-format on */

#endif
