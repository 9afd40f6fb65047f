/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlpack.h - the structs of the DLPack standard, as far as an export needs them
 *
 * Names and layout are the standard's, https://dmlc.github.io/dlpack: major version 1, and before it the unversioned
 * struct, which most consumers still take. No header of DLPack is needed to build.
 */
#ifndef WI_DLPACK_H
#define WI_DLPACK_H

#include <stddef.h>
#include <stdint.h>

enum wi_dlpack_device { WI_DLPACK_CPU = 1, WI_DLPACK_CUDA = 2, WI_DLPACK_CUDA_HOST = 3 };

enum wi_dlpack_code {
    WI_DLPACK_INT = 0,
    WI_DLPACK_UINT = 1,
    WI_DLPACK_FLOAT = 2,
    WI_DLPACK_BFLOAT = 4,
    WI_DLPACK_COMPLEX = 5,
    WI_DLPACK_BOOL = 6,
    WI_DLPACK_FLOAT8_E4M3FN = 10, /* these two since version 1.1 */
    WI_DLPACK_FLOAT8_E5M2 = 12
};

#define WI_DLPACK_MAJOR          1
#define WI_DLPACK_MINOR          1
#define WI_DLPACK_FLAG_READ_ONLY UINT64_C(1)

struct DLPackVersion {
    uint32_t major;
    uint32_t minor;
};

struct wi_dlpack_place {
    int32_t type; /* enum wi_dlpack_device */
    int32_t ordinal;
};

struct wi_dlpack_dtype {
    uint8_t  code; /* enum wi_dlpack_code */
    uint8_t  bits;
    uint16_t lanes;
};

struct wi_dlpack_tensor {
    void                  *data;
    struct wi_dlpack_place place;
    int32_t                rank;
    struct wi_dlpack_dtype dtype;
    int64_t               *shape;
    int64_t               *strides; /* in elements */
    uint64_t               byte_offset;
};

struct DLManagedTensor {
    struct wi_dlpack_tensor tensor;
    void                   *ctx;
    void (*deleter)(struct DLManagedTensor *self);
};

struct DLManagedTensorVersioned {
    struct DLPackVersion version;
    void                *ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t                flags;
    struct wi_dlpack_tensor tensor;
};

_Static_assert(sizeof(struct wi_dlpack_tensor) == 48, "layout of DLTensor");
_Static_assert(offsetof(struct DLManagedTensor, deleter) == 56, "layout of DLManagedTensor");
_Static_assert(offsetof(struct DLManagedTensorVersioned, tensor) == 32, "layout of DLManagedTensorVersioned");

#endif
