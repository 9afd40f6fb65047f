/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planted.c - peers with one fault each, which the benchmark must find
 *
 * PLANTED is the fault: `slow` (works five microseconds under its mutex, and makes a system call), `twice`
 * (hands the same object to everybody), `shy` (says that it is empty each sixteenth time).
 */
#include "peers/deque.h"

#include <sys/syscall.h>
#include <unistd.h>

#define TEXT_OF(word) #word
#define TEXT(word)    TEXT_OF(word)

enum fault { FAULT_slow, FAULT_twice, FAULT_shy };
#define FAULT_OF(word)    FAULT_##word
#define FAULT_NAMED(word) FAULT_OF(word)

static const enum fault fault = FAULT_NAMED(PLANTED);
static struct deque deque;
static _Atomic uint64_t tries;

static int open_pool(const struct peer_config *config)
{
    return deque_init(&deque, config->buffers);
}

static void *try(void)
{
    if (fault == FAULT_twice) return deque.at[0];
    if (fault == FAULT_shy && wi_add(&tries, 1, relaxed) % 16 == 15) return NULL;
    pthread_mutex_lock(&deque.mutex);
    void *object = deque_take_locked(&deque);
    pthread_mutex_unlock(&deque.mutex);
    return object;
}

static void release(void *object)
{
    if (fault == FAULT_twice) return;
    pthread_mutex_lock(&deque.mutex);
    if (fault == FAULT_slow) {
        peer_work(20000);
        syscall(SYS_getppid);
    }
    deque_put_locked(&deque, object);
    pthread_mutex_unlock(&deque.mutex);
}

PEER_LOOPS(try, try, release, object_owner)

const struct peer peer_here = {.name = TEXT(PLANTED),
                               .open = open_pool,
                               .try = try,
                               .release = release,
                               .try_loop = try_loop,
                               .try_checked_loop = try_checked_loop,
                               .held_loop = held_loop};
