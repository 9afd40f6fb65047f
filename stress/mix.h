/* SPDX-License-Identifier: Apache-2.0 */
/* mix.h - what the two halves of mix.c share */
#ifndef STRESS_MIX_H
#define STRESS_MIX_H

#include "harness.h"

#define MIX_BUFFER_BYTES 8192
#define MIX_BODY_BYTES   (MIX_BUFFER_BYTES - 2 * STRESS_STAMP_BYTES)
#define MIX_THREADS_MAX  256
#define MIX_HANDLES      8 /* streams of the host program, to be adopted */
#define MIX_MS           UINT64_C(1000000)

enum { MIX_RECENT, MIX_ROBIN, MIX_OLDEST, MIX_PRIORITY, MIX_GROWING, MIX_SCRUBBED, MIX_POOLS };

struct mix {
    struct weir_runtime *rt;
    struct weir_pool    *pool[MIX_POOLS];
    struct weir_pool    *preempting;
    struct weir_pool    *tensors;
    struct weir_pool    *tiers;
    uint64_t             device[MIX_THREADS_MAX]; /* MIX_BUFFER_BYTES of each thread's own */
    void                *handle[MIX_HANDLES];
    _Atomic uint32_t     handle_taken[MIX_HANDLES];
    _Atomic uint64_t     outstanding; /* asynchronous requests that have not ended */
};

extern struct mix mix;

/* An operation, and how often in 1000 turns it comes. */
struct mix_op {
    const char *name;
    void (*run)(struct stress_thread *self);
    unsigned weight;
};

extern const struct mix_op mix_device_ops[]; /* each list ends with a nameless one */
extern const struct mix_op mix_array_ops[];

/* How an operation ended that may find nothing in time: true: with success. Anything else fails the run. */
bool mix_got(struct stress_thread *self, int err);

/* A moment from now, soon or at once. */
uint64_t mix_soon(struct stress_thread *self);

/* A buffer of one of the pools, stamped; NULL: there was none in time. */
struct weir_buffer *mix_take(struct stress_thread *self, struct weir_pool *pool);
void                mix_put(struct stress_thread *self, struct weir_buffer *buffer);
struct weir_pool   *mix_any_pool(struct stress_thread *self);

static inline struct weir_slice mix_body(struct weir_buffer *buffer)
{
    return weir_slice(buffer, STRESS_STAMP_BYTES, MIX_BODY_BYTES);
}

static inline uint64_t mix_far(void)
{
    return weir_deadline_after_ns(UINT64_C(60000000000));
}

#endif
