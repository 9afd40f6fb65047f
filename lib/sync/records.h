/* SPDX-License-Identifier: Apache-2.0 */
/*
 * records.h - the arena of records: type-stable memory in one range of addresses
 *
 * Every lease is a pointer to a record of WI_RECORD_BYTES in one process-wide reserved range. So a
 * pointer that is not weir's is told by its value, without looking at what it points to; and a
 * stale pointer may always be read, because records are never given back to the system.
 *
 *     base                     used           records_max
 *     |xxxx|    |xxxxxxxx|xxxxx|..............|       x lent, blank returned, . not yet readable
 *
 * Faces. With WEIR_CHECK=2 the arena is one memory object mapped at 16 consecutive ranges: each
 * record has 16 addresses. Which one a lease carries tells which lease it was (pool/watch.h).
 *
 * Fork. A child has a copy of its own: what it writes never reaches the parent, faces or not. It is
 * only meant to exec.
 *
 * Thread: any; no two calls exclude each other. Progress: wi_record_valid() is wait-free; reserve
 * and return take a lock. Order: records.
 */
#ifndef WI_RECORDS_H
#define WI_RECORDS_H

#include "base/atomic.h"
#include "base/base.h"

#define WI_RECORD_BYTES ((size_t)128)
#define WI_RECORD_FACES 16u

struct wi_record;

struct wi_record_range {
    struct wi_record *base;
    size_t            count;
};

/*
 * Read on every release; written under the arena's lock when it grows.
 * Law: used records from the base on are readable; base is fixed before used first leaves 0.
 */
struct wi_record_arena {
    _Atomic uint64_t  used; /* records; 0 where there are faces: the cold check decides */
    _Atomic uintptr_t base;
} WI_CACHELINE;

extern struct wi_record_arena wi_record_arena;

/*
 * Hand out count consecutive records: zeroed, or as their last owner returned them, so that a
 * generation goes on growing. Fails: EXCEEDS (names WEIR_RECORDS_MAX), NOMEM.
 */
int wi_records_reserve(size_t count, struct wi_record_range *out);
/* Give back exactly what a reserve handed out, for a later one. Cannot fail. */
void wi_records_return(const struct wi_record_range *range);

WI_COLD bool wi_record_valid_cold(const void *lease);

/*
 * The number of the record that begins `offset` bytes behind the first, and at least
 * WI_RECORD_NO_NUMBER where none begins there: the rotation divides by 128, and puts what is not a
 * multiple of it above every quotient.
 */
#define WI_RECORD_NO_NUMBER (UINT64_MAX / 128 + 1)

static inline uint64_t wi_record_number(uint64_t offset)
{
    return offset >> 7 | offset << 57;
}

/* Does the pointer name a record that has been handed out, by its first address? Does not look at what it points to. */
static inline bool wi_record_near(const void *lease)
{
    /*
     * order(records): acquire; pairs with the store in extend_locked(). With used the base is
     * visible. Nothing else is needed: whoever hands out a lease makes its record visible.
     */
    uint64_t used = wi_load(&wi_record_arena.used, acquire);
    uint64_t base = wi_load(&wi_record_arena.base, relaxed);
    return wi_record_number((uintptr_t)lease - base) < used;
}

/* The same, by any of its addresses. */
static inline bool wi_record_valid(const void *lease)
{
    return WI_LIKELY(wi_record_near(lease)) || wi_record_valid_cold(lease);
}

/* pre: wi_record_valid(). The record itself; *face (may be NULL): which address it came by. */
struct wi_record *wi_record_plain(const void *lease, unsigned *face);
/* The record's address number `face`; the record itself where there are no faces. */
void *wi_record_face(struct wi_record *record, unsigned face);
/* A number that is the record's for the life of the process. */
uint64_t wi_record_index(const struct wi_record *record);

#endif
