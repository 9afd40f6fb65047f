/* SPDX-License-Identifier: Apache-2.0 */
/*
 * records.h - the arena of records: type-stable memory in one range of addresses
 *
 * Every lease is a pointer to a record of WI_RECORD_BYTES in one process-wide reserved range. So a pointer that
 * is not weir's is told by its value, without looking at what it points to; and a stale pointer may always
 * be read, because records are never given back to the system.
 *
 * Faces. With WEIR_CHECK=2 the arena is one memory object mapped at 16 consecutive ranges: each record has
 * 16 addresses. Which one a lease carries tells which lease it was (pool/watch.h). Those mappings are shared, so
 * they are left out of a forked child.
 *
 * Thread: any. Progress: wi_record_valid() is wait-free; reserve and return take a lock.
 */
#ifndef WI_RECORDS_H
#define WI_RECORDS_H

#include "base/atomic.h"
#include "base/base.h"

#define WI_RECORD_BYTES ((size_t)192)
#define WI_RECORD_FACES 16u

struct wi_record;

struct wi_record_range {
    struct wi_record *base;
    size_t            count;
};

/* Read on every release; written under the arena's lock, only ever growing. */
struct wi_record_arena {
    uintptr_t        base;
    _Atomic uint64_t used_bytes; /* handed out so far; 0 in face mode: the cold check decides */
};

extern struct wi_record_arena wi_record_arena;

/*
 * Hand out count consecutive records: zeroed, or as their last owner returned them. Fails: EXCEEDS (names
 * WEIR_RECORDS_MAX), NOMEM.
 */
int  wi_records_reserve(size_t count, struct wi_record_range *out);
/* Give a range back for a later reserve. Its records must be as a fresh owner expects them. */
void wi_records_return(const struct wi_record_range *range);

WI_COLD bool wi_record_valid_cold(const void *lease);

/* Does the pointer name a record that has been handed out? Does not look at what it points to. */
static inline bool wi_record_valid(const void *lease)
{
    uint64_t offset = (uintptr_t)lease - wi_record_arena.base;
    if (WI_LIKELY(offset < wi_load(&wi_record_arena.used_bytes, relaxed)))
        return WI_LIKELY(offset % WI_RECORD_BYTES == 0);
    return wi_record_valid_cold(lease);
}

/* pre: wi_record_valid(). The record itself; *face (may be NULL): through which address it came. */
struct wi_record *wi_record_plain(const void *lease, unsigned *face);
/* The record's address number `face`; the record itself where there are no faces. */
void *wi_record_face(struct wi_record *record, unsigned face);
/* A number that is the record's for the life of the process. */
uint64_t wi_record_index(const struct wi_record *record);

#endif
