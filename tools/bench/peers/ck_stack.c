/* SPDX-License-Identifier: Apache-2.0 */
/* ck_stack.c - peer: Concurrency Kit's stack with generation count */
#include "object.h"

#include <ck_stack.h>
#include <errno.h>

/* The stack's type asks for 8 bytes of alignment, but its pop exchanges 16. */
static ck_stack_t stack __attribute__((aligned(64)));

struct stacked {
    struct object    object;
    ck_stack_entry_t entry;
};

static int open_pool(const struct peer_config *config)
{
    struct stacked *all = aligned_alloc(_Alignof(struct stacked), config->buffers * sizeof *all);

    if (all == NULL) return -ENOMEM;
    memset(all, 0, config->buffers * sizeof *all);
    ck_stack_init(&stack);
    for (size_t i = 0; i < config->buffers; i++) ck_stack_push_mpmc(&stack, &all[i].entry);
    return 0;
}

static inline void *try(void)
{
    ck_stack_entry_t *entry = ck_stack_pop_mpmc(&stack);

    return entry == NULL ? NULL : &WI_CONTAINER(entry, struct stacked, entry)->object;
}

static inline void release(void *object)
{
    ck_stack_push_mpmc(&stack, &WI_CONTAINER(object, struct stacked, object)->entry);
}

PEER_LOOPS(try, try, release, object_owner)

const struct peer peer_here = {.name = "ck_stack",
                               .open = open_pool,
                               .try = try,
                               .release = release,
                               .try_loop = try_loop,
                               .try_checked_loop = try_checked_loop,
                               .held_loop = held_loop};
