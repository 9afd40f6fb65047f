/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side.h - what a buffer may need beside its record: its device mirror, and counts that no hit touches
 *
 * Made when the buffer is first copied, mirrored or reset, and kept until the pool's records go back, so that a
 * snapshot may read it at any time.
 *
 * Written by the holder of the lease. The timed counts are added to by whoever reads a sample (transfer.h).
 */
#ifndef WI_SIDE_H
#define WI_SIDE_H

#include "pool/record.h"

struct wi_side {
    _Atomic uint64_t mirror;     /* device address; 0: not made. mirror.c */
    uint64_t         mirror_lease; /* generation that has scrubbed the mirror; pools that scrub */
    _Atomic uint64_t transfers;  /* copies to and from the device */
    _Atomic uint64_t bytes_up;
    _Atomic uint64_t bytes_down;
    _Atomic uint64_t peak_bytes; /* greatest end of a copy */
    _Atomic uint64_t last_ns;    /* when the latest copy was queued */
    _Atomic uint64_t timed;      /* copies whose device time is in timed_ns */
    _Atomic uint64_t timed_bytes;
    _Atomic uint64_t timed_ns;
    _Atomic uint64_t acquires_before; /* leases before the counts were last zeroed */
    uint64_t         sample_due;      /* 1: the next copy is to be timed */
};

static inline struct wi_side *wi_side_of(const struct wi_record *record)
{
    /* order(side): acquire; pairs with the compare-and-swap in wi_side_make(). */
    return wi_load(&record->side, acquire);
}

/* Fails: NOMEM. */
int  wi_side_make(struct wi_record *record, struct wi_side **out);
/* Zero the counts; the mirror stays. pre: the caller owns the record. */
void wi_side_zero(struct wi_record *record);
/* pre: no mirror, and nobody looks at the record. */
void wi_side_free(struct wi_record *record);

#endif
