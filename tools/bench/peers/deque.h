/* SPDX-License-Identifier: Apache-2.0 */
/* deque.h - a ring of object pointers behind a mutex, as the mutex and polling peers use it */
#ifndef BENCH_DEQUE_H
#define BENCH_DEQUE_H

#include "object.h"

#include <errno.h>
#include <pthread.h>

/* Law: count <= capacity; the objects are at [head, head + count) modulo capacity. Under mutex. */
struct deque {
    pthread_mutex_t mutex;
    size_t head;
    size_t count;
    size_t capacity;
    void **at;
};

static inline int deque_init(struct deque *deque, size_t capacity)
{
    struct object *objects = objects_make(capacity);

    deque->at = calloc(capacity, sizeof *deque->at);
    if (objects == NULL || deque->at == NULL) return -ENOMEM;
    for (size_t i = 0; i < capacity; i++) deque->at[i] = &objects[i];
    deque->capacity = deque->count = capacity;
    return -pthread_mutex_init(&deque->mutex, NULL);
}

static inline void *deque_take_locked(struct deque *deque)
{
    if (deque->count == 0) return NULL;
    void *object = deque->at[deque->head];
    deque->head = deque->head + 1 == deque->capacity ? 0 : deque->head + 1;
    deque->count--;
    return object;
}

static inline void deque_put_locked(struct deque *deque, void *object)
{
    size_t end = deque->head + deque->count;

    deque->at[end >= deque->capacity ? end - deque->capacity : end] = object;
    deque->count++;
}

#endif
