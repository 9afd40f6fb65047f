/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marks.h - a record's marks: which stream uses the buffer, and up to which of its ticks
 *
 * Two are in the record, for a buffer that is filled by one stream and read by another. More streams at once make
 * pieces of fifteen, which the record keeps as long as its pool lives.
 */
#ifndef WI_MARKS_H
#define WI_MARKS_H

#include "pool/record.h"
#include "pool/ticks.h"

#define WI_MORE_MARKS 15

struct wi_record_more {
    _Atomic uint64_t                 mark[WI_MORE_MARKS];
    _Atomic(struct wi_record_more *) more;
};

static inline uint64_t wi_mark_make(uint32_t number, uint64_t tick)
{
    return ((uint64_t)(number + 1) << WI_TICK_BITS) | tick;
}

static inline uint32_t wi_mark_stream(uint64_t mark)
{
    return (uint32_t)(mark >> WI_TICK_BITS) - 1;
}

static inline uint64_t wi_mark_tick(uint64_t mark)
{
    return mark & ((UINT64_C(1) << WI_TICK_BITS) - 1);
}

/* A record's marks, a piece at a time: those in the record, then those of each struct wi_record_more. */
struct wi_marks {
    _Atomic uint64_t                 *mark;
    unsigned                          count;
    _Atomic(struct wi_record_more *) *more;
};

static inline struct wi_marks wi_marks_first(struct wi_record *record)
{
    return (struct wi_marks){record->mark, WI_MARKS, &record->more};
}

static inline bool wi_marks_next(struct wi_marks *piece)
{
    /* order(more): acquire; pairs with the compare-and-swap in add_piece(). It is filled first. */
    struct wi_record_more *more = wi_load(piece->more, acquire);
    if (!more) return false;
    *piece = (struct wi_marks){more->mark, WI_MORE_MARKS, &more->more};
    return true;
}

#endif
