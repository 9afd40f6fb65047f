/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range.h - reserved addresses, in which slabs come and go
 *
 * A slab has its addresses from the system; here it is given them, and when it goes they stay reserved. Steps are
 * equal pieces of the range; each is free, has a slab (several steps can share one), is just being worked on, or was
 * abandoned to a lost device.
 *
 * Exclusion: no two calls work on the same steps at once: the second answers BUSY. Lookups are lock-free, and the
 * caller keeps a slab that it looks into from going meanwhile.
 */
#ifndef WI_RANGE_H
#define WI_RANGE_H

#include "memory/memory.h"

#include <pthread.h>

struct wi_range {
    /* Fixed while it is reserved. */
    char  *base;
    size_t bytes;
    size_t step_bytes;
    size_t steps;

    /* Changed under the lock. */
    pthread_mutex_t             lock;
    _Atomic(struct wi_slab *)  *slab; /* of each step; see range.c for what is no slab */
    _Atomic uint64_t            bytes_committed;
    _Atomic uint64_t            bytes_committed_peak;
    _Atomic uint64_t            bytes_abandoned;
    _Atomic uint64_t            commits, decommits, failures;
};

/* pre: step_bytes is a power of two of whole pages, bytes whole steps. Fails: EXCEEDS (a limit of the system), NOMEM. */
int wi_range_reserve(struct wi_range *range, size_t bytes, size_t step_bytes);
/* Takes the slabs with it. What was abandoned stays mapped. */
void wi_range_release(struct wi_range *range);
/* As above; all slabs are left to the device. */
void wi_range_abandon(struct wi_range *range);

struct wi_steps {
    size_t first;
    size_t count;
};

/* Make a slab in free steps; opts are a slab's, whose place and size are filled in here. Fails: BUSY, as wi_slab_create(). */
int wi_range_commit(struct wi_range *range, struct wi_steps steps, const struct wi_slab_opts *opts);
/* Let whole slabs go. Fails: NOENT (not whole slabs). */
int wi_range_decommit(struct wi_range *range, struct wi_steps steps);
/* The slab of a step; NULL: none. */
const struct wi_slab *wi_range_find(const struct wi_range *range, size_t step);

#endif
