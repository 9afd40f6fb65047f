/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abi_check.c - lib/device/cuda_abi.h against the toolkit's own headers
 *
 * That this file compiles is the test. Without a toolkit it says so, and is skipped.
 */
#include <stdio.h>

#ifdef WEIR_HAS_TOOLKIT
#include <cuda.h>
#include <cudaTypedefs.h>

/* cuda.h renames symbols by macro; weir's table speaks of base names and versions. */
#include "device/cuda_abi.h"

#define SAME(a, b) __builtin_types_compatible_p(a, b)

/* cuda.h spells some constants as macros and others as enumerators; both are integers here. */
#define X(name, value, code, loses)                                                                \
    _Static_assert((unsigned)CUDA_ERROR_##name == (unsigned)WI_CU_##name, "result " #name);
WI_CU_RESULTS(X)
#undef X

#define X(name, value, driver_name)                                                                \
    _Static_assert((unsigned)(driver_name) == (unsigned)WI_CU_##name, "constant " #name);
WI_CU_CONSTANTS(X)
#undef X

_Static_assert(SAME(CUresult, wi_cu_result), "CUresult");
_Static_assert(SAME(CUdevice, wi_cu_device), "CUdevice");
_Static_assert(SAME(CUdeviceptr, wi_cu_address), "CUdeviceptr");
_Static_assert(SAME(CUhostFn, wi_cu_host_fn *), "CUhostFn");
_Static_assert(SAME(CUcontext, struct CUctx_st *), "CUcontext");
_Static_assert(SAME(CUstream, struct CUstream_st *), "CUstream");
_Static_assert(SAME(CUevent, struct CUevent_st *), "CUevent");
_Static_assert(sizeof(cuuint64_t) == sizeof(uint64_t), "cuuint64_t");

/* Two attributes, two statuses and a mode travel as unsigned. */
_Static_assert(SAME(CUdevice_attribute, unsigned), "CUdevice_attribute");
_Static_assert(SAME(CUstreamCaptureStatus, unsigned), "CUstreamCaptureStatus");
_Static_assert(SAME(CUstreamCaptureMode, unsigned), "CUstreamCaptureMode");
_Static_assert(SAME(CUdriverProcAddressQueryResult, unsigned), "CUdriverProcAddressQueryResult");

_Static_assert(sizeof(CUmemLocation) == sizeof(struct wi_cu_location), "CUmemLocation");
_Static_assert(offsetof(CUmemLocation, id) == offsetof(struct wi_cu_location, id), "id");
_Static_assert(sizeof(CUmemcpyAttributes) == sizeof(struct wi_cu_copy_attributes),
               "CUmemcpyAttributes");
_Static_assert(offsetof(CUmemcpyAttributes, srcAccessOrder) ==
                   offsetof(struct wi_cu_copy_attributes, source_order),
               "srcAccessOrder");
_Static_assert(offsetof(CUmemcpyAttributes, srcLocHint) ==
                   offsetof(struct wi_cu_copy_attributes, source),
               "srcLocHint");
_Static_assert(offsetof(CUmemcpyAttributes, dstLocHint) ==
                   offsetof(struct wi_cu_copy_attributes, destination),
               "dstLocHint");
_Static_assert(offsetof(CUmemcpyAttributes, flags) == offsetof(struct wi_cu_copy_attributes, flags),
               "flags");

/*
 * Each function's type, at the version that weir asks for. The batch copy takes a pointer to a struct with
 * another tag; its two forms are compared below. X pastes the symbol itself, because cuda.h renames most of
 * them by macro.
 */
#define BATCH_ROW(row) ((row) == WI_CU_ROW_copy_batch || (row) == WI_CU_ROW_copy_batch_12080)
#define X(field, symbol, version, need, arguments)                                                 \
    _Static_assert(BATCH_ROW(WI_CU_ROW_##field) ||                                                 \
                       SAME(PFN_##symbol##_v##version, __typeof__(((struct wi_cu *)0)->field)),    \
                   #symbol " at " #version);
WI_CU_SYMBOLS(X)
#undef X

/* One argument list, compared with the driver's struct in it and with weir's. */
#define BATCH(attributes, ...)                                                                     \
    unsigned (*)(unsigned long long *, unsigned long long *, size_t *, size_t, attributes *,       \
                 size_t *, size_t, ##__VA_ARGS__)
#define CHECK_BATCH(field, version, ...)                                                           \
    _Static_assert(                                                                                \
        SAME(PFN_cuMemcpyBatchAsync_v##version, BATCH(CUmemcpyAttributes, __VA_ARGS__)),           \
        "the driver's cuMemcpyBatchAsync at " #version);                                           \
    _Static_assert(SAME(__typeof__(((struct wi_cu *)0)->field),                                    \
                        BATCH(struct wi_cu_copy_attributes, __VA_ARGS__)),                         \
                   "weir's cuMemcpyBatchAsync at " #version);                                      \
    _Static_assert(WI_CU_VERSION_##field == (version), "the version of " #field)
CHECK_BATCH(copy_batch, 13000, struct CUstream_st *);
CHECK_BATCH(copy_batch_12080, 12080, size_t *, struct CUstream_st *);

_Static_assert(SAME(PFN_cuGetProcAddress_v12000, wi_cu_find_fn *), "cuGetProcAddress");

/* Compared as values of pointers: weir's names for the default streams. */
int main(void)
{
    return CU_STREAM_LEGACY == WI_CU_STREAM_LEGACY &&
                   CU_STREAM_PER_THREAD == WI_CU_STREAM_PER_THREAD
               ? 0
               : 1;
}
#else
int main(void)
{
    fprintf(stderr, "skipped: the CUDA Toolkit was not found at configure time (cudaTypedefs.h)\n");
    return 77;
}
#endif
