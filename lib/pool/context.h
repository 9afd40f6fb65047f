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
#include "memory/slab_hooks.h"
#include "pool/callback.h"
#include "sync/kick.h"

#include <pthread.h>

#define WI_STREAMS_MAX 1024 /* numbers for the streams of one runtime; adopted ones use theirs again */

struct wi_stream;
struct wi_poll;
struct wi_record;
struct wi_reaper;

struct wi_context {
    struct wi_device *device;
    struct wi_budget  pinned;
    struct wi_budget  device_memory;
    struct wi_budget  pageable;
    struct wi_slab_hooks slab_hooks;

    /* Streams by number. Slots are filled under stream_lock and never change while the runtime lives. */
    _Atomic(struct wi_stream *) stream[WI_STREAMS_MAX];
    _Atomic uint32_t            streams;
    pthread_mutex_t             stream_lock;

    /* The stream that moves tiered buffers; made on first use. */
    struct wi_stream *mover;
    pthread_mutex_t   mover_lock;
    _Atomic uint32_t  mover_used; /* 1: buffers live in device memory */

    _Atomic uint32_t pressure; /* enum weir_pressure_level, as the monitor last found it */
    _Atomic uint32_t closed; /* 1: destroy has begun; 2: no driver call any more, nobody sleeps for work */
    _Atomic uint32_t syncs;  /* futex: threads that wait for streams and may hold no lease; streams are freed after them */

    /* How a record comes home whose device work is done: wi_pool_home(). */
    void (*home)(struct wi_reaper *reaper, struct wi_record *record);
    _Atomic(struct wi_poll *) polls; /* inbox of the keeper: events that somebody sleeps for; poll.h */
    pthread_mutex_t           poll_lock; /* held while the keeper queries them: who destroys an event takes it first */

    struct wi_kick      keeper;
    struct wi_kick      monitor;
    struct wi_callbacks callbacks;

    /* Statistics. */
    _Atomic uint64_t ticks_recorded;
    _Atomic uint64_t ticks_queried;
};

/* memory is one of enum weir_memory. */
static inline struct wi_budget *wi_context_budget(struct wi_context *context, uint32_t memory)
{
    switch (memory) {
    case WEIR_MEMORY_DEVICE: return &context->device_memory;
    case WEIR_MEMORY_PAGEABLE: return &context->pageable;
    default: return &context->pinned;
    }
}

static inline struct wi_context *wi_context_of(struct weir_runtime *rt)
{
    return (struct wi_context *)rt; /* first member */
}

#endif
