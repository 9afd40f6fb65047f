/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - the record behind every lease: buffer, stream or event
 *
 * A record lives as long as the process (type-stable, lib/sync/records.h): a stale pointer to it may always be
 * read. Its one atomic word is the truth about who owns the object:
 *
 *     generation (48 bits) | CPU (10 bits) | BIASED | HOME | state
 *
 *     GONE         no memory behind it: not made yet, or shrunk away. Held by the pool.
 *     FREE|HOME    free, and whoever has a pointer to it may claim it by compare-and-swap.
 *     FREE         free, but in somebody's hand, the lane or the commons: only its taker may lease it.
 *     LEASED       held by a caller. With HOME its slot still points at it.
 *     RETIRING     released; its device work is pending. Held by the retire queue.
 *     QUARANTINED  its device work failed. Never leaves this state.
 *
 * BIASED (FREE|HOME and LEASED|HOME only): the word is written by plain stores on that CPU; see bias.h before comparing
 * and swapping it.
 *
 * HOME says "a slot may point here". It is set before the record enters a slot and cleared only by the one
 * who took it out of the slot. The generation grows with every lease, so the sum over a pool's records is the
 * number of leases given, and a hit needs no counter.
 */
#ifndef WI_RECORD_H
#define WI_RECORD_H

#include "base/atomic.h"
#include "base/base.h"

#include <weir/pool.h>

enum wi_state {
    WI_GONE = 0,
    WI_FREE = 1,
    WI_LEASED = 2,
    WI_RETIRING = 3,
    WI_QUARANTINED = 4,
    WI_STATE_MASK = 7,
    WI_HOME = 8,
    WI_BIASED = 16
};

#define WI_BIAS_CPU_SHIFT   6
#define WI_BIAS_CPU_MASK    0xffc0u
#define WI_BIAS_CPU_MOST    1023u
#define WI_GENERATION_SHIFT 16 /* 48 bits: 20 days of one record's hits */
#define WI_GENERATION_ONE   (UINT64_C(1) << WI_GENERATION_SHIFT)

/* Why a release must leave its short path. Any bit set: look. */
enum wi_attention {
    WI_ATTENTION_GUARD = 1,  /* the buffer was marked by device work in this lease */
    WI_ATTENTION_DIVERT = 2, /* its slab is being retired: it goes to the pool, not to the free store */
    WI_ATTENTION_SCRUB = 4,  /* its bytes must be zeroed before it is free */
    WI_ATTENTION_FRESH = 8,  /* made, and on the list for the keeper: GONE, but not for taking */
    WI_ATTENTION_ASKED = 16, /* this lease's holder was asked to give it up ... */
    WI_ATTENTION_WANTED = 32, /* ... and has not refused */
    WI_ATTENTION_TIERED = 64, /* several threads may mark it at once; its release concerns its tiers */
    WI_ATTENTION_PARKED = 128, /* released, and the device is done: the last hold to end brings it home */
    WI_ATTENTION_LOST = 256,  /* a hold ended without its use being over: to quarantine */
    WI_ATTENTION_HOLD = 1 << 16 /* one hold; the bits from here on count them */
};

#define WI_HOLDS_MAX ((1u << 15) - 1)

/* Holds of a record, given its attention; hold.c. */
static inline uint32_t wi_holds(uint32_t attention)
{
    return attention / WI_ATTENTION_HOLD;
}

#define WI_MARKS 2

struct wi_store;
struct wi_slab;
struct wi_record_more;
struct wi_side;

struct wi_record {
    /* Line 1: all that a hit touches. */
    struct weir_buffer   face;      /* written while the record is GONE; read by its holder */
    _Atomic uint64_t     word;
    struct wi_store     *store;     /* fixed while the record belongs to a store */
    _Atomic uint32_t     attention; /* enum wi_attention; a release by a section wants it and the next 0 */
    _Atomic uint32_t     stops;     /* who is revoking its bias; bias.h */
    uint32_t             node;      /* number of a commons node; belongs to whoever owns the record */
    uint32_t             index;     /* in its store; fixed */
    _Atomic uint32_t     preempt;   /* in pools that preempt: which lease has which priority; preempt.c */
    _Atomic uint32_t     period;    /* monitor period of the last acquire; any thread, approximate */

    /*
     * Line 2: written by the holder, or by its retire queue's reaper.
     * A mark is stream number + 1 (16 bits) | tick (48 bits): the device is done when that stream has
     * passed that tick. 0: none.
     */
    _Atomic uint64_t       mark[WI_MARKS];
    _Atomic(struct wi_record_more *) more; /* marks beyond WI_MARKS; made on first need, kept */
    struct wi_record      *next;   /* in a retire queue or a divert list */
    void                  *object; /* struct wi_stretch of a buffer, struct wi_stream of a stream, struct wi_event of an event */
    _Atomic(struct wi_side *) side; /* side.h; made on first need, kept */
    const void            *lease_site; /* return address of the acquire, for the leak report */
    _Atomic uint64_t       user;       /* of the lease, in pools that preempt */
};

_Static_assert(sizeof(struct weir_buffer) == 24, "the public prefix is part of the hot line");
_Static_assert(offsetof(struct wi_record, stops) == offsetof(struct wi_record, attention) + 4,
               "a section looks at both at once");
_Static_assert(offsetof(struct wi_record, mark) == WI_CACHELINE_BYTES, "a hit touches one line");
_Static_assert(sizeof(struct wi_record) == 2 * WI_CACHELINE_BYTES, "lib/sync/records.h hands out 128 bytes");

static inline uint64_t wi_word_state(uint64_t word)
{
    return word & WI_STATE_MASK;
}

static inline uint64_t wi_word_with(uint64_t word, uint64_t state)
{
    return (word & ~(uint64_t)WI_STATE_MASK) | state;
}

#endif
