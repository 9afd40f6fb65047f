/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h - bounded FIFO of pointers with one producer and many consumers
 *
 * ck_ring in its single-producer form: an enqueue is wait-free, a dequeue is lock-free. The
 * multi-producer form is not used: a producer that is preempted between reserving and publishing stops
 * all the others. Holds capacity - 1 pointers; capacity is a power of two.
 *
 * Exclusion: enqueue excludes enqueue (the caller's promise); everything else runs beside everything.
 */
#ifndef WI_RING_H
#define WI_RING_H

#include "base/atomic.h"
#include "base/base.h"

#include <ck_ring.h>

struct wi_ring {
    ck_ring_t         ring;
    ck_ring_buffer_t *buffer; /* owned by whoever initialised the ring */
};

static inline void wi_ring_init(struct wi_ring *ring, ck_ring_buffer_t *buffer, unsigned capacity)
{
    wi_assert(capacity >= 2 && (capacity & (capacity - 1)) == 0);
    ring->buffer = buffer;
    ck_ring_init(&ring->ring, capacity);
}

/* False: full. */
static inline bool wi_ring_put_spmc(struct wi_ring *ring, void *value)
{
    WI_SCHED_POINT();
    return ck_ring_enqueue_spmc(&ring->ring, ring->buffer, value);
}

/* NULL: empty. */
static inline void *wi_ring_take_spmc(struct wi_ring *ring)
{
    void *value;
    WI_SCHED_POINT();
    return ck_ring_dequeue_spmc(&ring->ring, ring->buffer, &value) ? value : NULL;
}

static inline unsigned wi_ring_count(const struct wi_ring *ring)
{
    return ck_ring_size(&ring->ring);
}

#endif
