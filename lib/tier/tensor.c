/* SPDX-License-Identifier: Apache-2.0 */
/* tensor.c - a leased buffer and its mirror with a shape and a type */
#include "tier/tensor.h"

#include "base/alloc.h"
#include "base/options.h"
#include "pool/pool.h"

#include <string.h>
#include <weir/runtime.h>
#include <weir/stream.h>

/* ---- life ---- */

void wi_tensor_hold(struct weir_tensor *tensor)
{
    uint32_t before = wi_add(&tensor->holders, 1, relaxed); /* the caller holds it already */
    wi_assert(before > 0);
    (void)before;
}

void wi_tensor_drop(struct weir_tensor *tensor)
{
    /*
     * order(tensor-drop): release, of what this holder did with the tensor
     * order(tensor-drop): acquire, by the last one, of what all the others did; pairs with the line above
     */
    if (wi_sub(&tensor->holders, 1, acq_rel) > 1) return;
    (void)weir_buffer_release(tensor->buffer); /* CLOSED after the runtime: its memory stays as it is */
    wi_free(tensor);
}

bool wi_tensor_in_use(const struct weir_buffer *buffer)
{
    struct weir_buffer_info info = {.struct_size = sizeof info};
    return weir_buffer_info_read(buffer, &info) >= 0 && info.state == WEIR_BUFFER_COPYING;
}

static int describe_device(const struct weir_pool *pool, struct weir_tensor *tensor)
{
    struct weir_runtime_info info = {.struct_size = sizeof info};
    WI_TRY(weir_runtime_info_read(pool->rt, &info));
    tensor->device_is_host = info.flags & WEIR_INFO_DEVICE_IS_HOST;
    tensor->device_ordinal = pool->context->device->ordinal;
    return 0;
}

int weir_tensor_create(struct weir_pool *pool, const struct weir_tensor_opts *opts, uint64_t deadline_ns,
                       struct weir_tensor **out)
{
    struct weir_tensor_opts given;
    struct wi_shape         shape;
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_tensor_opts"));
    struct wi_shape asked = {.dtype = given.dtype, .rank = given.rank};
    memcpy(asked.extent, given.shape, sizeof asked.extent);
    WI_TRY(wi_shape_check(pool, &asked, &shape));

    struct weir_tensor *tensor = wi_calloc(1, sizeof(*tensor));
    WI_ENSURE(tensor, NOMEM, .call = "calloc", .wanted = sizeof(*tensor));
    tensor->shape = shape;
    wi_store(&tensor->holders, 1, relaxed);
    int err = describe_device(pool, tensor);
    if (err >= 0) err = weir_buffer_acquire(pool, deadline_ns, &tensor->buffer);
    if (err < 0) {
        wi_free(tensor);
        return err;
    }
    if (!tensor->buffer->host) tensor->device = tensor->buffer->device; /* a pool of device memory */
    *out = tensor;
    return 0;
}

void weir_tensor_destroy(struct weir_tensor *tensor)
{
    if (tensor) wi_tensor_drop(tensor);
}

/* ---- bytes of the host ---- */

static int check_bytes(const struct weir_tensor *tensor, size_t bytes)
{
    char text[WI_SHAPE_TEXT_BYTES];
    WI_ENSURE(tensor, INVAL, .detail = "tensor is NULL");
    if (bytes != tensor->shape.bytes)
        return WI_FAIL_TEXT(INVAL, "%zu bytes: expected %zu, those of %s", bytes, tensor->shape.bytes,
                            wi_shape_text(&tensor->shape, text));
    return 0;
}

int weir_tensor_fill(struct weir_tensor *tensor, const void *data, size_t bytes, uint64_t deadline_ns)
{
    WI_TRY(check_bytes(tensor, bytes));
    return weir_buffer_write(tensor->buffer, 0, data, bytes, deadline_ns);
}

int weir_tensor_fill_array(struct weir_tensor *tensor, const struct weir_array *array, uint64_t deadline_ns)
{
    char expected[WI_SHAPE_TEXT_BYTES], text[WI_SHAPE_TEXT_BYTES];
    WI_ENSURE(tensor, INVAL, .detail = "tensor is NULL");
    WI_ENSURE(array, INVAL, .detail = "array is NULL");
    const struct wi_shape *shape = &tensor->shape;
    struct wi_shape        its = {.dtype = array->dtype, .rank = array->rank};
    memcpy(its.extent, array->shape, sizeof its.extent);
    if (its.rank != shape->rank || its.dtype != shape->dtype ||
        memcmp(its.extent, shape->extent, shape->rank * sizeof its.extent[0]) != 0)
        return WI_FAIL_TEXT(INVAL, "the array is %s: expected %s", wi_shape_text(&its, text),
                            wi_shape_text(shape, expected));
    return weir_buffer_write(tensor->buffer, 0, array->data, shape->bytes, deadline_ns);
}

int weir_tensor_read(struct weir_tensor *tensor, void *data, size_t bytes, uint64_t deadline_ns)
{
    WI_TRY(check_bytes(tensor, bytes));
    return weir_buffer_read(tensor->buffer, 0, data, bytes, deadline_ns);
}

/* ---- the device view ---- */

int wi_tensor_device(struct weir_tensor *tensor, uint64_t *out)
{
    if (!tensor->device) WI_TRY(weir_buffer_mirror(tensor->buffer, &tensor->device));
    *out = tensor->device;
    return 0;
}

int weir_tensor_to_device(struct weir_tensor *tensor, struct weir_stream *stream)
{
    uint64_t device;
    WI_ENSURE(tensor, INVAL, .detail = "tensor is NULL");
    WI_TRY(wi_tensor_device(tensor, &device));
    return weir_stream_upload(stream, device, weir_slice(tensor->buffer, 0, tensor->shape.bytes));
}

int weir_tensor_to_host(struct weir_tensor *tensor, struct weir_stream *stream)
{
    WI_ENSURE(tensor, INVAL, .detail = "tensor is NULL");
    WI_ENSURE(tensor->device, NOENT, .detail = "the tensor has no device view yet");
    return weir_stream_download(stream, weir_slice(tensor->buffer, 0, tensor->shape.bytes), tensor->device);
}

int weir_tensor_guard(struct weir_tensor *tensor, struct weir_stream *stream)
{
    WI_ENSURE(tensor, INVAL, .detail = "tensor is NULL");
    return weir_buffer_guard(tensor->buffer, stream);
}

int weir_tensor_sync(struct weir_tensor *tensor, uint64_t deadline_ns)
{
    WI_ENSURE(tensor, INVAL, .detail = "tensor is NULL");
    return weir_buffer_sync(tensor->buffer, deadline_ns);
}

int weir_tensor_info_read(const struct weir_tensor *tensor, struct weir_tensor_info *out)
{
    WI_ENSURE(tensor, INVAL, .detail = "tensor is NULL");
    struct weir_tensor_info info = {.buffer = tensor->buffer,
                                    .host = tensor->buffer->host,
                                    .device = tensor->device,
                                    .bytes = tensor->shape.bytes,
                                    .dtype = tensor->shape.dtype,
                                    .rank = tensor->shape.rank};
    memcpy(info.shape, tensor->shape.extent, sizeof info.shape);
    return wi_snapshot_export(out, &info, sizeof info);
}
