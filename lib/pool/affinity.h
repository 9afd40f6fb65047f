/* SPDX-License-Identifier: Apache-2.0 */
/*
 * affinity.h - which stream a key was given last: a bounded table that is read without a lock
 *
 * Sets of WI_AFFINITY_WAYS entries. An entry is one word: the upper 48 bits of the key's hash, and the stream's
 * index + 1. The hash is a permutation of the key, so that two keys of one set are told apart unless 48 bits agree;
 * then they share a stream, which is allowed.
 *
 * A key keeps its stream until the key is evicted or forgotten. A full set gives up one of its entries in turn.
 *
 *     operation   thread   progress
 *     find        any      wait-free: WI_AFFINITY_WAYS relaxed loads
 *     bind        any      lock-free: one compare-and-swap, repeated only when others bind in the same set
 *     clear       any      wait-free
 *
 * No order is needed: an entry is only a hint which record to claim, and the claim itself decides. Two threads that
 * bind one new key at once may leave two entries; the first is found, the other is evicted in time.
 *
 * Law at rest: keys = sum of bound = entries that are not 0.
 */
#ifndef WI_AFFINITY_H
#define WI_AFFINITY_H

#include "base/atomic.h"
#include "base/base.h"

#define WI_AFFINITY_WAYS 8u
#define WI_AFFINITY_NONE UINT32_MAX

struct wi_affinity {
    /* Fixed after init. */
    uint32_t          sets; /* a power of two */
    uint32_t          streams;
    _Atomic uint64_t *entry; /* sets * WI_AFFINITY_WAYS */
    _Atomic int32_t  *bound; /* by stream: how many keys name it */

    _Atomic uint32_t enabled;
    _Atomic uint32_t turn; /* which way an eviction takes next */
    _Atomic int64_t  keys;
    _Atomic uint64_t hits, misses, evictions;
};

/* Room for at least keys_max keys. Fails: NOMEM. */
int  wi_affinity_init(struct wi_affinity *affinity, uint32_t keys_max, uint32_t streams);
void wi_affinity_fini(struct wi_affinity *affinity);

/* The stream that the key is bound to, or WI_AFFINITY_NONE. */
uint32_t wi_affinity_find(const struct wi_affinity *affinity, uint64_t key);
/* pre: find answered NONE a moment ago. */
void wi_affinity_bind(struct wi_affinity *affinity, uint64_t key, uint32_t stream);
/* Forget all keys; returns how many there were. */
uint32_t wi_affinity_clear(struct wi_affinity *affinity);

#endif
