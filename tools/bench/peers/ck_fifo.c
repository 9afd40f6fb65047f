/* SPDX-License-Identifier: Apache-2.0 */
/* ck_fifo.c - peer: Concurrency Kit's Michael-Scott queue. A dequeue gives back another node than the object's. */
#include "object.h"

#include <ck_fifo.h>
#include <errno.h>

static ck_fifo_mpmc_t fifo CK_CC_CACHELINE;

static int open_pool(const struct peer_config *config)
{
    struct object *objects = objects_make(config->buffers);
    ck_fifo_mpmc_entry_t *nodes = aligned_alloc(64, (config->buffers + 1) * 64);

    if (objects == NULL || nodes == NULL) return -ENOMEM;
    _Static_assert(sizeof *nodes <= 64, "a node fits its cache line");
    memset(nodes, 0, (config->buffers + 1) * 64);
    ck_fifo_mpmc_init(&fifo, nodes);
    for (size_t i = 0; i < config->buffers; i++) {
        void *node = (char *)nodes + (i + 1) * 64;
        ck_fifo_mpmc_enqueue(&fifo, node, &objects[i]);
    }
    return 0;
}

static inline void *try(void)
{
    ck_fifo_mpmc_entry_t *garbage;
    struct object *object;

    if (!ck_fifo_mpmc_dequeue(&fifo, &object, &garbage)) return NULL;
    object->node = garbage;
    return object;
}

static inline void release(void *released)
{
    struct object *object = released;

    ck_fifo_mpmc_enqueue(&fifo, object->node, object);
}

PEER_LOOPS(try, try, release, object_owner)

const struct peer peer_here = {.name = "ck_fifo",
                               .open = open_pool,
                               .try = try,
                               .release = release,
                               .try_loop = try_loop,
                               .try_checked_loop = try_checked_loop,
                               .held_loop = held_loop};
