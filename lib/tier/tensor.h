/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor.h - what tensors, their exports and the objects built on them share
 *
 * A tensor is counted: its creator holds it, and so does each export and each struct weir_rows. The last one to let
 * go releases the lease and frees the tensor, on whatever thread; nobody else touches it then.
 */
#ifndef WI_TENSOR_H
#define WI_TENSOR_H

#include "base/atomic.h"
#include "base/base.h"

#include <weir/tensor.h>

/* Checked: dtype and rank are known, all dimensions positive, and bytes is their product. */
struct wi_shape {
    size_t   bytes;
    uint32_t dtype;
    uint32_t rank;
    int64_t  extent[WEIR_RANK_MAX]; /* zero beyond rank */
};

#define WI_SHAPE_TEXT_BYTES 224 /* "float8_e4m3[-9223372036854775808, ...]" of WEIR_RANK_MAX */

/* For a message, such as "float32[4, 8]". Returns text. */
const char *wi_shape_text(const struct wi_shape *shape, char text[WI_SHAPE_TEXT_BYTES]);

/*
 * The shape that a caller gave, for arrays in buffers of the pool. Fails: INVAL, KIND (dtype, or a tiered pool), EXCEEDS.
 */
int wi_shape_check(const struct weir_pool *pool, const struct wi_shape *given, struct wi_shape *out);

struct weir_tensor {
    _Atomic uint32_t holders;

    /* Fixed. */
    uint32_t            device_ordinal;
    bool                device_is_host; /* its memory is plain memory of this process */
    struct weir_buffer *buffer;
    struct wi_shape     shape;

    /* Written by the tensor's one user. 0: not made yet. */
    uint64_t device;
};

void wi_tensor_hold(struct weir_tensor *tensor);
void wi_tensor_drop(struct weir_tensor *tensor);

/* The device view, made if there is none. Fails: as weir_buffer_mirror(). */
int wi_tensor_device(struct weir_tensor *tensor, uint64_t *out);

/* Does device work that weir knows of use the lease? Asks the driver. */
bool wi_tensor_in_use(const struct weir_buffer *buffer);

#endif
