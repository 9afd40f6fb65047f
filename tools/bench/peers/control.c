/* SPDX-License-Identifier: Apache-2.0 */
/* control.c - peer that touches no pool: what the loop and the machine cost by themselves */
#include "object.h"

#include <errno.h>

static struct object *objects;
static __thread struct object *own;

static int open_pool(const struct peer_config *config)
{
    objects = objects_make(config->threads);
    return objects == NULL ? -ENOMEM : 0;
}

static void enter(unsigned thread)
{
    own = &objects[thread];
}

static void *try(void)
{
    void *object = own;

    __asm__ volatile("" : "+r"(object) : : "memory");
    return object;
}

static void release(void *object)
{
    __asm__ volatile("" : : "r"(object) : "memory");
}

PEER_LOOPS(try, try, release, object_owner)

const struct peer peer_here = {.name = "control",
                               .open = open_pool,
                               .enter = enter,
                               .try = try,
                               .release = release,
                               .try_loop = try_loop,
                               .wait_loop = wait_loop,
                               .try_checked_loop = try_checked_loop,
                               .held_loop = held_loop};
