/* SPDX-License-Identifier: Apache-2.0 */
/* tensor_shape.c - shapes: checked, and as text */
#include "base/text.h"
#include "pool/pool.h"
#include "tier/tensor.h"

const char *wi_shape_text(const struct wi_shape *shape, char text[WI_SHAPE_TEXT_BYTES])
{
    struct wi_text out;
    wi_text_init(&out, text, WI_SHAPE_TEXT_BYTES);
    wi_text_add(&out, "%s[", weir_dtype_name(shape->dtype));
    for (uint32_t i = 0; i < shape->rank && i < WEIR_RANK_MAX; i++)
        wi_text_add(&out, "%s%lld", i > 0 ? ", " : "", (long long)shape->extent[i]);
    wi_text_add(&out, "]");
    return text;
}

static int count_bytes(struct wi_shape *shape)
{
    char text[WI_SHAPE_TEXT_BYTES];
    shape->bytes = weir_dtype_bytes(shape->dtype);
    for (uint32_t i = 0; i < shape->rank; i++) {
        if (shape->extent[i] < 1)
            return WI_FAIL_TEXT(INVAL, "%s: expected every dimension to be at least 1", wi_shape_text(shape, text));
        if (__builtin_mul_overflow(shape->bytes, (size_t)shape->extent[i], &shape->bytes))
            return WI_FAIL_TEXT(INVAL, "%s: expected fewer bytes than a size_t counts", wi_shape_text(shape, text));
    }
    return 0;
}

int wi_shape_check(const struct weir_pool *pool, const struct wi_shape *given, struct wi_shape *out)
{
    char            text[WI_SHAPE_TEXT_BYTES];
    uint32_t        pools = pool->opts.dtype;
    struct wi_shape shape = *given;
    WI_ENSURE(pool->kind == WI_POOL_BUFFERS, KIND, .detail = "expected a pool of buffers that do not move");
    if (shape.dtype == WEIR_DTYPE_NONE) shape.dtype = pools;
    if (weir_dtype_bytes(shape.dtype) == 0)
        return WI_FAIL_TEXT(INVAL, "dtype %u: expected one of enum weir_dtype", shape.dtype);
    if (shape.rank > WEIR_RANK_MAX)
        return WI_FAIL_TEXT(INVAL, "rank %u: expected at most %u", shape.rank, WEIR_RANK_MAX);
    if (pools != WEIR_DTYPE_NONE && pools != shape.dtype)
        return WI_FAIL_TEXT(KIND, "dtype %s: expected %s, which the pool %s is of", weir_dtype_name(shape.dtype),
                            weir_dtype_name(pools), pool->name);
    WI_TRY(count_bytes(&shape));
    if (shape.bytes > pool->opts.buffer_bytes)
        return WI_FAIL_TEXT(EXCEEDS, "%s takes %zu bytes: expected at most %zu, the buffer_bytes of the pool %s",
                            wi_shape_text(&shape, text), shape.bytes, pool->opts.buffer_bytes, pool->name);
    for (uint32_t i = shape.rank; i < WEIR_RANK_MAX; i++) shape.extent[i] = 0;
    *out = shape;
    return 0;
}
