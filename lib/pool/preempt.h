/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preempt.h - asking the holder of a lease of lower priority to give it up
 *
 * The asker picks a victim and posts the question to the callback thread; it then waits in the queue like everybody,
 * so a holder that never answers delays nobody but the asker, whose deadline still holds. What is given up takes the
 * ordinary way home: guards included.
 */
#ifndef WI_PREEMPT_H
#define WI_PREEMPT_H

#include "pool/pool.h"

/* Keep book of a lease just given. */
void wi_preempt_note(struct wi_record *record, uint32_t priority, uint64_t user);
/* wi_store_owner.contend. ctx is the pool. Asks one holder, if any has a lower priority and was not asked yet. */
void wi_preempt_ask(void *ctx, uint32_t priority);
/* pre: the gate is shut. Returns when the callback is not running and will not run any more. */
void wi_preempt_quiesce(struct weir_pool *pool);

#endif
