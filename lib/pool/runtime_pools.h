/* SPDX-License-Identifier: Apache-2.0 */
/* runtime_pools.h - the pools of streams and events that each runtime has; the runtime layer provides the lookups */
#ifndef WI_RUNTIME_POOLS_H
#define WI_RUNTIME_POOLS_H

#include "pool/pool.h"

#include <weir/stream.h>

/* In place of event flags: the pool of the host program's events. */
#define WI_EVENTS_ADOPTED 2u

struct wi_stream_pool_opts {
    uint32_t stream_class; /* WI_STREAMS_SHARED, or enum weir_stream_class */
    uint32_t count;        /* streams; those of the shared and the adopted are made on first use */
    uint32_t reuse;        /* enum weir_stream_reuse */
    uint32_t affinity;     /* enum weir_affinity */
    uint32_t affinity_keys_max;
    uint32_t priority[WEIR_STREAM_HIGH + 1]; /* enum weir_priority, by class */
};

int wi_stream_pool_make(struct weir_runtime *rt, const struct wi_stream_pool_opts *opts, struct weir_pool **out);
/* flags: enum weir_event_flags, or WI_EVENTS_ADOPTED. */
int wi_event_pool_make(struct weir_runtime *rt, uint32_t flags, uint32_t count_min, uint32_t count_max,
                       struct weir_pool **out);

/* pre: a valid class, or WI_STREAMS_SHARED. Never NULL. */
struct weir_pool *wi_runtime_stream_pool(const struct weir_runtime *rt, uint32_t stream_class);
/* pre: enum weir_event_flags, or WI_EVENTS_ADOPTED. Never NULL. */
struct weir_pool *wi_runtime_event_pool(const struct weir_runtime *rt, uint32_t flags);

#endif
