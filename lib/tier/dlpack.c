/* SPDX-License-Identifier: Apache-2.0 */
/* dlpack.c - tensors shared through DLPack; each export holds the tensor until its deleter runs */
#include "tier/dlpack.h"

#include "base/alloc.h"
#include "tier/tensor.h"

#define FLAGS_ALL (WEIR_DLPACK_PINNED | WEIR_DLPACK_DEVICE | WEIR_DLPACK_READ_ONLY | WEIR_DLPACK_UNORDERED)

struct export {
    union {
        struct DLManagedTensor          plain;
        struct DLManagedTensorVersioned versioned;
    };
    struct weir_tensor *tensor;
    int64_t             shape[WEIR_RANK_MAX];
    int64_t             strides[WEIR_RANK_MAX];
};

static void end_export(struct export *export)
{
    wi_tensor_drop(export->tensor);
    wi_free(export);
}

static void delete_plain(struct DLManagedTensor *self)
{
    if (self) end_export(self->ctx);
}

static void delete_versioned(struct DLManagedTensorVersioned *self)
{
    if (self) end_export(self->ctx);
}

/* False: the standard has no code for it. */
static bool code_of(uint32_t dtype, bool versioned, uint8_t *out)
{
    switch (dtype) {
    case WEIR_DTYPE_BOOL: *out = WI_DLPACK_BOOL; return true;
    case WEIR_DTYPE_U8:
    case WEIR_DTYPE_U16:
    case WEIR_DTYPE_U32:
    case WEIR_DTYPE_U64: *out = WI_DLPACK_UINT; return true;
    case WEIR_DTYPE_I8:
    case WEIR_DTYPE_I16:
    case WEIR_DTYPE_I32:
    case WEIR_DTYPE_I64: *out = WI_DLPACK_INT; return true;
    case WEIR_DTYPE_F16:
    case WEIR_DTYPE_F32:
    case WEIR_DTYPE_F64: *out = WI_DLPACK_FLOAT; return true;
    case WEIR_DTYPE_BF16: *out = WI_DLPACK_BFLOAT; return true;
    case WEIR_DTYPE_C64: *out = WI_DLPACK_COMPLEX; return true;
    case WEIR_DTYPE_F8_E4M3: *out = WI_DLPACK_FLOAT8_E4M3FN; return versioned;
    case WEIR_DTYPE_F8_E5M2: *out = WI_DLPACK_FLOAT8_E5M2; return versioned;
    default: return false;
    }
}

static int locate_host(const struct weir_tensor *tensor, uint32_t flags, struct wi_dlpack_tensor *view)
{
    struct weir_buffer_info info = {.struct_size = sizeof info};
    WI_ENSURE(tensor->buffer->host, KIND, .detail = "expected WEIR_DLPACK_DEVICE: the tensor has no host view");
    WI_TRY(weir_buffer_info_read(tensor->buffer, &info));
    WI_ENSURE(!(flags & WEIR_DLPACK_PINNED) || info.memory == WEIR_MEMORY_PINNED, KIND,
              .detail = "expected a pool of pinned memory for WEIR_DLPACK_PINNED");
    view->data = tensor->buffer->host;
    view->place.type = flags & WEIR_DLPACK_PINNED ? WI_DLPACK_CUDA_HOST : WI_DLPACK_CPU;
    return 0;
}

static int locate_device(const struct weir_tensor *tensor, struct wi_dlpack_tensor *view)
{
    WI_ENSURE(tensor->device, NOENT, .detail = "the tensor has no device view yet");
    view->data = (void *)(uintptr_t)tensor->device;
    if (tensor->device_is_host) {
        view->place.type = WI_DLPACK_CPU;
    } else {
        view->place.type = WI_DLPACK_CUDA;
        view->place.ordinal = (int32_t)tensor->device_ordinal;
    }
    return 0;
}

static int check(const struct weir_tensor *tensor, uint32_t flags, bool versioned)
{
    WI_ENSURE(tensor, INVAL, .detail = "tensor is NULL");
    WI_ENSURE((flags & ~(uint32_t)FLAGS_ALL) == 0, OPTS, .detail = "flags has bits that are not in enum weir_dlpack_flags");
    WI_ENSURE(!(flags & WEIR_DLPACK_PINNED) || !(flags & WEIR_DLPACK_DEVICE), INVAL,
              .detail = "expected one of WEIR_DLPACK_PINNED and WEIR_DLPACK_DEVICE");
    WI_ENSURE(versioned || !(flags & WEIR_DLPACK_READ_ONLY), INVAL,
              .detail = "WEIR_DLPACK_READ_ONLY: expected a versioned export, others cannot say so");
    WI_ENSURE((flags & WEIR_DLPACK_UNORDERED) || !wi_tensor_in_use(tensor->buffer), BUSY,
              .detail = "device work still uses the tensor");
    return 0;
}

/* Everything but the deleter; the view's shape and strides lie in the export. */
static int make(struct weir_tensor *tensor, uint32_t flags, bool versioned, struct export **out)
{
    struct wi_dlpack_tensor view = {.dtype = {.lanes = 1}};
    WI_TRY(check(tensor, flags, versioned));
    if (!code_of(tensor->shape.dtype, versioned, &view.dtype.code))
        return WI_FAIL_TEXT(NOSYS, "DLPack %shas no %s", versioned ? "" : "before version 1 ",
                            weir_dtype_name(tensor->shape.dtype));
    view.dtype.bits = (uint8_t)(8 * weir_dtype_bytes(tensor->shape.dtype));
    WI_TRY(flags & WEIR_DLPACK_DEVICE ? locate_device(tensor, &view) : locate_host(tensor, flags, &view));

    struct export *export = wi_calloc(1, sizeof(*export));
    WI_ENSURE(export, NOMEM, .call = "calloc", .wanted = sizeof(*export));
    export->tensor = tensor;
    int64_t stride = 1;
    for (uint32_t i = tensor->shape.rank; i-- > 0;) {
        export->shape[i] = tensor->shape.extent[i];
        export->strides[i] = stride;
        stride *= tensor->shape.extent[i];
    }
    view.rank = (int32_t)tensor->shape.rank;
    view.shape = export->shape;
    view.strides = export->strides;
    if (versioned)
        export->versioned.tensor = view;
    else
        export->plain.tensor = view;
    wi_tensor_hold(tensor);
    *out = export;
    return 0;
}

int weir_tensor_dlpack(struct weir_tensor *tensor, uint32_t flags, struct DLManagedTensor **out)
{
    struct export *export;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(make(tensor, flags, false, &export));
    export->plain.ctx = export;
    export->plain.deleter = delete_plain;
    *out = &export->plain;
    return 0;
}

int weir_tensor_dlpack_versioned(struct weir_tensor *tensor, uint32_t flags, struct DLManagedTensorVersioned **out)
{
    struct export *export;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(make(tensor, flags, true, &export));
    export->versioned.version = (struct DLPackVersion){WI_DLPACK_MAJOR, WI_DLPACK_MINOR};
    export->versioned.flags = flags & WEIR_DLPACK_READ_ONLY ? WI_DLPACK_FLAG_READ_ONLY : 0;
    export->versioned.ctx = export;
    export->versioned.deleter = delete_versioned;
    *out = &export->versioned;
    return 0;
}
