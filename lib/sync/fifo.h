/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fifo.h - unbounded lock-free FIFO of pointers, many producers and consumers
 *
 * ck_fifo_mpmc, after Michael and Scott, "Simple, Fast, and Practical Non-Blocking and Blocking Concurrent
 * Queue Algorithms" (PODC 1996), with a double-width compare-and-swap against ABA.
 *
 * Two properties of CK 0.7 that callers must know:
 *   - take() may answer "empty" although the queue never was: keep a count beside it, raised before put()
 *     and lowered after a successful take(), and believe "empty" only when the count is zero.
 *   - take() gives back a node that is not the one the value was put with. Nodes are type-stable, 16-byte
 *     aligned, belong to one queue for life, and there is one more of them than there are values.
 */
#ifndef WI_FIFO_H
#define WI_FIFO_H

#include "base/atomic.h"
#include "base/base.h"

#include <ck_fifo.h>

#ifndef CK_F_FIFO_MPMC
#error "weir needs a double-width compare-and-swap: x86-64 or aarch64"
#endif

/* Half a line. Two neighbours may be written by different threads; a queue of as many nodes as records is memory first. */
struct wi_fifo_node {
    ck_fifo_mpmc_entry_t entry;
} __attribute__((aligned(32)));

struct wi_fifo {
    ck_fifo_mpmc_t fifo;
};

_Static_assert(_Alignof(struct wi_fifo_node) >= 16, "cmpxchg16b wants 16-byte alignment");

static inline void wi_fifo_init(struct wi_fifo *fifo, struct wi_fifo_node *stub)
{
    ck_fifo_mpmc_init(&fifo->fifo, &stub->entry);
}

/* Lock-free. The node is the queue's until a take gives one back. */
static inline void wi_fifo_put(struct wi_fifo *fifo, struct wi_fifo_node *node, void *value)
{
    WI_SCHED_POINT();
    ck_fifo_mpmc_enqueue(&fifo->fifo, &node->entry, value);
}

/* Lock-free. NULL: empty, or a lie; else *node is a node for the caller to keep. */
static inline void *wi_fifo_take(struct wi_fifo *fifo, struct wi_fifo_node **node)
{
    void                 *value;
    ck_fifo_mpmc_entry_t *entry;
    WI_SCHED_POINT();
    if (!ck_fifo_mpmc_dequeue(&fifo->fifo, &value, &entry)) return NULL;
    *node = WI_CONTAINER(entry, struct wi_fifo_node, entry);
    return value;
}

#endif
