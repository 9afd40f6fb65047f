/* SPDX-License-Identifier: Apache-2.0 */
/* mutex.c - peer: mutex, deque and condition variable, as most pools are written */
#include "deque.h"

static struct deque deque;
static pthread_cond_t put = PTHREAD_COND_INITIALIZER;

static int open_pool(const struct peer_config *config)
{
    return deque_init(&deque, config->buffers);
}

static void *try(void)
{
    pthread_mutex_lock(&deque.mutex);
    void *object = deque_take_locked(&deque);
    pthread_mutex_unlock(&deque.mutex);
    return object;
}

static void *wait(void)
{
    void *object;

    pthread_mutex_lock(&deque.mutex);
    while ((object = deque_take_locked(&deque)) == NULL) pthread_cond_wait(&put, &deque.mutex);
    pthread_mutex_unlock(&deque.mutex);
    return object;
}

static void release(void *object)
{
    pthread_mutex_lock(&deque.mutex);
    deque_put_locked(&deque, object);
    pthread_cond_signal(&put);
    pthread_mutex_unlock(&deque.mutex);
}

PEER_LOOPS(try, wait, release, object_owner)

const struct peer peer_here = {.name = "mutex",
                               .open = open_pool,
                               .try = try,
                               .wait = wait,
                               .release = release,
                               .try_loop = try_loop,
                               .wait_loop = wait_loop,
                               .try_checked_loop = try_checked_loop,
                               .wait_checked_loop = wait_checked_loop,
                               .held_loop = held_loop};
