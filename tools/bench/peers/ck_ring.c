/* SPDX-License-Identifier: Apache-2.0 */
/* ck_ring.c - peer: Concurrency Kit's ring, many producers and many consumers */
#include "object.h"

#include <ck_ring.h>
#include <errno.h>

static ck_ring_t ring CK_CC_CACHELINE;
static ck_ring_buffer_t *slots;

static int open_pool(const struct peer_config *config)
{
    struct object *objects = objects_make(config->buffers);
    size_t capacity = 4;

    /* A ring of n slots holds n - 1, and n is a power of two. */
    while (capacity < config->buffers + 1) capacity *= 2;
    slots = calloc(capacity, sizeof *slots);
    if (objects == NULL || slots == NULL) return -ENOMEM;
    ck_ring_init(&ring, (unsigned)capacity);
    for (size_t i = 0; i < config->buffers; i++)
        if (!ck_ring_enqueue_mpmc(&ring, slots, &objects[i])) return -ENOBUFS;
    return 0;
}

static inline void *try(void)
{
    void *object;

    return ck_ring_dequeue_mpmc(&ring, slots, &object) ? object : NULL;
}

static inline void release(void *object)
{
    /* The ring is large enough for all, but its test for being full is a snapshot. */
    while (!ck_ring_enqueue_mpmc(&ring, slots, object)) ck_pr_stall();
}

PEER_LOOPS(try, try, release, object_owner)

const struct peer peer_here = {.name = "ck_ring",
                               .open = open_pool,
                               .try = try,
                               .release = release,
                               .try_loop = try_loop,
                               .try_checked_loop = try_checked_loop,
                               .held_loop = held_loop};
