/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - did the host write into a buffer while the device was reading it?
 *
 * With WEIR_POOL_CHECK_WRITES, or WEIR_CHECK=3 for every pool, an upload sums the bytes that the copy will read, and
 * queues a host function behind the copy that sums them again. Whoever learns from the stream that the copy is done
 * learns it after that function has run, so a write that waited is never reported, and one that did not wait is, if
 * it changed a byte and left it changed. Costs two passes over the bytes, and the stream waits for the second.
 *
 * A copy on a stream that is being captured is not checked: the graph may run later, and more than once.
 */
#ifndef WI_CHECK_H
#define WI_CHECK_H

#include "pool/pool.h"

struct wi_seal;

static inline bool wi_check_writes(const struct weir_pool *pool)
{
    /* Where guards are ignored, nothing keeps the bytes until they are summed again. */
    return (pool->opts.flags & (WEIR_POOL_CHECK_WRITES | WEIR_POOL_IGNORE_GUARDS)) == WEIR_POOL_CHECK_WRITES;
}

/* Before the copy is queued. pre: it is not captured. Fails: NOMEM. */
int  wi_seal_make(const struct wi_transfer *transfer, struct wi_seal **out);
/* Behind the copy, before the buffer is marked. */
void wi_seal_queue(struct wi_transfer *transfer);
/* One that was not queued. NULL is accepted. A queued one frees itself, or goes with the lost device. */
void wi_seal_free(struct wi_seal *seal);

#endif
