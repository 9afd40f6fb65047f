/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.h - what pools, streams and events share: the device, the budgets, the streams by number, and how to
 * reach the helper threads
 *
 * It is the first member of struct weir_runtime, so that the pool layer needs no knowledge of the runtime.
 * It lives as long as the process once made: a late release may still look at it.
 */
#ifndef WI_CONTEXT_H
#define WI_CONTEXT_H

#include "base/atomic.h"
#include "base/base.h"
#include "device/device.h"
#include "memory/memory.h"

#include <pthread.h>

#define WI_STREAMS_MAX 1024 /* leased and adopted streams of one runtime, over its whole life */

struct wi_stream;
struct wi_poll;

/* A word to sleep on. Kicks while the sleeper is awake cost no system call. */
struct wi_kick {
    _Atomic uint32_t word;   /* grows with each kick */
    _Atomic uint32_t asleep; /* 1: the sleeper needs a futex wake */
} WI_CACHELINE;

struct wi_context {
    struct wi_device *device;
    struct wi_budget  pinned;
    struct wi_budget  device_memory;
    struct wi_budget  pageable;

    /* Streams by number. Slots are filled under stream_lock and never change while the runtime lives. */
    _Atomic(struct wi_stream *) stream[WI_STREAMS_MAX];
    _Atomic uint32_t            streams;
    pthread_mutex_t             stream_lock;

    _Atomic uint32_t closed; /* 1: destroy has begun; 2: it has ended, no driver call any more */

    _Atomic(struct wi_poll *) polls; /* inbox of the keeper: events that somebody sleeps for; poll.h */

    struct wi_kick keeper;
    struct wi_kick monitor;

    /* Statistics. */
    _Atomic uint64_t ticks_recorded;
    _Atomic uint64_t ticks_queried;
};

static inline struct wi_context *wi_context_of(struct weir_runtime *rt)
{
    return (struct wi_context *)rt; /* first member */
}

/* Any thread, wait-free but for at most one futex wake. */
void wi_kick(struct wi_kick *kick);
/* The sleeper: returns the word to compare with; then looks for work; then sleeps unless the word has moved. */
uint32_t wi_kick_begin(struct wi_kick *kick);
void     wi_kick_sleep(struct wi_kick *kick, uint32_t seen, uint64_t deadline_ns);

#endif
