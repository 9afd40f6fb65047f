/* SPDX-License-Identifier: Apache-2.0 */
/* grow.h - how the number of objects of a pool changes; see pool.h for who runs it */
#ifndef WI_GROW_H
#define WI_GROW_H

#include "pool/pool.h"

/*
 * Make `count` more objects, on the list for the keeper. pool->lock is held. Blocks. progress may be NULL.
 * Fails: EXCEEDS, NOMEM, DEVMEM, DEVICE, CANCELED (by progress).
 */
int wi_pool_grow_locked(struct weir_pool *pool, size_t count, weir_progress_fn *progress);
/* Begin to retire stretches while at least `buffers` objects stay. Returns how many objects are on their way out. */
size_t wi_pool_shrink_locked(struct weir_pool *pool, size_t buffers);
/*
 * Begin to retire stretches that were charged to `budget`, of about `bytes` together, never below buffers_min. Returns
 * the bytes that are on their way out.
 */
uint64_t wi_pool_retire_bytes_locked(struct weir_pool *pool, const struct wi_budget *budget, uint64_t bytes);
/* Free what is empty. Returns how many objects are still on their way out. */
size_t wi_pool_settle_locked(struct weir_pool *pool);
/* pre: every object is GONE or QUARANTINED, and an epoch has passed. Stretches with quarantined objects stay mapped. */
void wi_pool_free_stretches(struct weir_pool *pool);
/* wi_store_owner.divert: takes a free or retiring record that the caller owns out of the pool. */
void wi_pool_divert(void *ctx, struct wi_record *record);

#endif
