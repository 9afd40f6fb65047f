/* SPDX-License-Identifier: Apache-2.0 */
/* runtime_pools.h - the pools of streams and events that each runtime has; the runtime layer provides the lookups */
#ifndef WI_RUNTIME_POOLS_H
#define WI_RUNTIME_POOLS_H

#include "pool/pool.h"

int wi_stream_pool_make(struct weir_runtime *rt, uint32_t stream_class, uint32_t count, struct weir_pool **out);
int wi_event_pool_make(struct weir_runtime *rt, uint32_t flags, uint32_t count_max, struct weir_pool **out);

/* pre: a valid class. Never NULL. */
struct weir_pool *wi_runtime_stream_pool(const struct weir_runtime *rt, uint32_t stream_class);
struct weir_pool *wi_runtime_event_pool(const struct weir_runtime *rt, uint32_t flags);

#endif
