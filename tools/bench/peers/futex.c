/* SPDX-License-Identifier: Apache-2.0 */
/* futex.c - peer of one object on a bare futex: the floor of waking a waiter */
#include "object.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 1: the object is here. */
static WI_CACHELINE _Atomic uint32_t here = 1;
static struct object *object;

static int open_pool(const struct peer_config *config)
{
    if (config->buffers != 1) return -EINVAL;
    object = objects_make(1);
    return object == NULL ? -ENOMEM : 0;
}

static void *try(void)
{
    return wi_exchange(&here, 0, acquire) != 0 ? object : NULL;
}

static void *wait(void)
{
    while (try() == NULL) syscall(SYS_futex, &here, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return object;
}

static void release(void *released)
{
    (void)released;
    wi_store(&here, 1, release);
    syscall(SYS_futex, &here, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

PEER_LOOPS(try, wait, release, object_owner)

const struct peer peer_here = {.name = "futex",
                               .open = open_pool,
                               .try = try,
                               .wait = wait,
                               .release = release,
                               .try_loop = try_loop,
                               .wait_loop = wait_loop,
                               .try_checked_loop = try_checked_loop,
                               .wait_checked_loop = wait_checked_loop,
                               .held_loop = held_loop};
