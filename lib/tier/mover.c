/* SPDX-License-Identifier: Apache-2.0 */
/* mover.c - moving buffers between tiers while they are borrowed; the letter M names the steps of place.h */
#include "tier/place.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/trace.h"
#include "sync/reader.h"
#include "tier/copy.h"

#include <stdlib.h>
#include <string.h>

/* An old place that somebody may still read. */
struct wi_limbo {
    struct wi_limbo *next;
    uint64_t         place; /* tier and block */
    uint32_t         index; /* of the buffer */
    bool             unread; /* no hazard slot has named it since the swap */
    uint64_t        *marks; /* device work that may still touch it; taken when unread was found */
    size_t           marks_count;
};

/* A move on its way. */
struct flight {
    struct wi_move *move;
    uint64_t        word; /* as loaded in M1 */
    uint64_t        place; /* the new tier and block */
    bool            copied;
};

/* After a failure of the device. What was queued before may go on, so wait for it by all means. */
static WI_COLD void stop(struct wi_tier *tier)
{
    char text[256];
    (void)weir_error_text(text, sizeof text);
    wi_log(ERROR, "tier", "%s: a move failed, and no more are made: %s", tier->pool->name, text);
    wi_blame_keep(&tier->blame);
    tier->stopped = 1;
    if (wi_copy_drain(tier) < 0) tier->adrift = 1;
}

/* ---- blocks ---- */

static bool take_block(struct wi_arena *arena, uint32_t owner, uint32_t *out)
{
    if (!arena->slab || arena->spare_count == 0) return false;
    *out = arena->spare[--arena->spare_count];
    arena->owner[*out] = owner;
    arena->used++;
    return true;
}

static void give_block(struct wi_tier *tier, uint64_t place)
{
    uint32_t         in = wi_place_tier(place);
    struct wi_arena *arena = &tier->arena[in];
    if (in == WEIR_TIER_PAGEABLE) return; /* a home */
    arena->owner[wi_place_block(place)] = WI_NOBODY;
    arena->spare[arena->spare_count++] = wi_place_block(place);
    arena->used--;
}

/* ---- before the copy ---- */

static bool writes_passed(struct wi_tier *tier, struct wi_record *record, struct wi_place *place)
{
    if (wi_load(&place->flags, relaxed) & WI_PLACE_MANY_WRITERS) {
        if (!wi_marks_settled(record)) return false;
    }
    for (unsigned i = 0; i < WI_WRITE_MARKS; i++) {
        uint64_t mark = wi_load(&place->write_mark[i], relaxed);
        if (mark && !wi_mark_settled(tier->context, mark)) return false;
    }
    return true;
}

/* M1, M2, and a place to go to. Fills *flight, or answers why there is no move. */
static int prepare(struct wi_tier *tier, struct wi_move *move, struct flight *flight)
{
    struct wi_place  *place = &tier->place[move->index];
    struct wi_record *record = &tier->pool->store.records[move->index];
    uint32_t          block = move->index;
    uint64_t          word = wi_load(&place->word, acquire);
    if (wi_place_tier(word) == move->to) return 1;
    if (wi_load(&place->flags, seq_cst) & WI_PLACE_STAYS) return WEIR_EAGAIN;
    if (wi_place_tier(word) == WEIR_TIER_PAGEABLE) {
        /*
         * The home block is about to be what the buffer is. A writer sets dirty before it swaps the word: if it does so
         * after this store, the swap below fails or the flag stands.
         */
        wi_store(&place->dirty, 0, seq_cst);
        word = wi_load(&place->word, seq_cst);
    }
    if (word & WI_WRITER_MASK) return WEIR_EAGAIN; /* M1 */
    if (!writes_passed(tier, record, place)) return WEIR_EAGAIN; /* M2, after M1 */
    if (move->to != WEIR_TIER_PAGEABLE && !take_block(&tier->arena[move->to], move->index, &block)) return WEIR_EEXCEEDS;
    *flight = (struct flight){.move = move, .word = word, .place = wi_place_make(move->to, block)};
    bool keeps_homes = !(tier->opts.flags & WEIR_TIER_POISON);
    flight->copied = !(move->to == WEIR_TIER_PAGEABLE && keeps_homes && !wi_load(&place->dirty, seq_cst));
    return 0;
}

/* ---- after the copy ---- */

static void count_move(struct wi_tier *tier, uint32_t from, uint32_t to, bool copied)
{
    if (to == WEIR_TIER_DEVICE) wi_bump(&tier->stat.promotions_device, 1);
    if (to == WEIR_TIER_PINNED && from == WEIR_TIER_PAGEABLE) wi_bump(&tier->stat.promotions_pinned, 1);
    if (to > from) {
        WI_TRACE_POINT(demote, tier->pool, tier->pool->name, from, to, copied);
        wi_bump(&tier->stat.demotions, 1);
    } else {
        WI_TRACE_POINT(promote, tier->pool, tier->pool->name, from, to);
    }
    if (to > from && !copied) wi_bump(&tier->stat.demotions_clean, 1);
    if (copied) wi_bump(&tier->stat.bytes_moved, tier->opts.buffer_bytes);
    wi_add(&tier->stat.buffers[from], (uint64_t)-1, relaxed);
    wi_add(&tier->stat.buffers[to], 1, relaxed);
}

/* M4, M5. */
static int swap(struct wi_tier *tier, const struct flight *flight, struct wi_limbo *limbo)
{
    struct wi_place *place = &tier->place[flight->move->index];
    uint64_t         word = flight->word;
    uint64_t         moved = ((word & ~WI_PLACE_MASK) | flight->place) + WI_VERSION_ONE;
    /* order(tier-word): seq_cst; pairs with the loads of a borrow. It sees the bytes at the new place. */
    if (!wi_cas(&place->word, &word, moved, seq_cst)) return WEIR_EAGAIN;
    count_move(tier, wi_place_tier(flight->word), flight->move->to, flight->copied);
    if (flight->move->to == WEIR_TIER_PAGEABLE) wi_store(&place->dirty, 0, relaxed);
    *limbo = (struct wi_limbo){.next = tier->limbo, .place = flight->word & WI_PLACE_MASK, .index = flight->move->index};
    tier->limbo = limbo;
    wi_bump(&tier->stat.limbo, 1);
    const struct wi_record *record = &tier->pool->store.records[flight->move->index];
    __builtin_prefetch(record); /* for M8, of all that move together and not of one after the other */
    __builtin_prefetch((const void *)record->mark);
    return 0;
}

/* ---- limbo ---- */

struct names {
    uint64_t *name;
    size_t    count, capacity;
    bool      incomplete;
};

static void note_name(void *ctx, uint64_t name)
{
    struct names *names = ctx;
    if (names->count < names->capacity) {
        names->name[names->count++] = name;
    } else {
        names->incomplete = true;
    }
}

static int compare_names(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* M7. Returns false when nothing can be said, for want of memory. */
static bool scan_slots(struct names *names)
{
    for (size_t capacity = 1024;; capacity *= 4) {
        *names = (struct names){.name = wi_alloc(capacity * sizeof *names->name), .capacity = capacity};
        if (!names->name) return false;
        wi_reader_scan(note_name, names);
        if (!names->incomplete) break;
        wi_free(names->name);
    }
    qsort(names->name, names->count, sizeof *names->name, compare_names);
    return true;
}

/* M8: only now, because a device borrow marks the record before its slot is cleared. */
static bool take_marks(struct wi_tier *tier, struct wi_limbo *limbo)
{
    struct wi_record *record = &tier->pool->store.records[limbo->index];
    return wi_marks_copy(record, &limbo->marks, &limbo->marks_count);
}

static bool marks_settled(struct wi_tier *tier, struct wi_limbo *limbo)
{
    while (limbo->marks_count > 0) {
        if (!wi_mark_settled(tier->context, limbo->marks[limbo->marks_count - 1])) return false;
        limbo->marks_count--;
    }
    return true;
}

static void free_limbo(struct wi_tier *tier, struct wi_limbo *limbo)
{
    if (tier->opts.flags & WEIR_TIER_POISON) {
        /* The home of a buffer that has gone home again meanwhile is what the buffer is: leave it. */
        uint64_t word = wi_load(&tier->place[limbo->index].word, acquire);
        if ((word & WI_PLACE_MASK) != limbo->place) wi_copy_poison(tier, limbo->place);
    }
    give_block(tier, limbo->place);
    wi_free(limbo->marks);
    wi_free(limbo);
    wi_bump(&tier->stat.limbo, (uint64_t)-1);
}

void wi_limbo_settle_locked(struct wi_tier *tier)
{
    struct names names;
    bool         any_unscanned = false;
    for (struct wi_limbo *limbo = tier->limbo; limbo; limbo = limbo->next) any_unscanned |= !limbo->unread;
    if (any_unscanned) {
        wi_membarrier(); /* M6: after every swap, before the scan */
        if (!scan_slots(&names)) return;
        for (struct wi_limbo *limbo = tier->limbo; limbo; limbo = limbo->next) {
            if (limbo->unread) continue;
            uint64_t name = wi_place_name(tier, limbo->place);
            if (bsearch(&name, names.name, names.count, sizeof name, compare_names)) continue;
            limbo->unread = take_marks(tier, limbo);
        }
        wi_free(names.name);
    }
    struct wi_limbo **link = &tier->limbo;
    while (*link) {
        struct wi_limbo *limbo = *link;
        if (!limbo->unread || !marks_settled(tier, limbo)) {
            link = &limbo->next;
            continue;
        }
        *link = limbo->next;
        free_limbo(tier, limbo); /* M9 */
    }
    if (wi_copy_flush(tier) < 0) stop(tier); /* poison, if any */
}

bool wi_limbo_holds(const struct wi_tier *tier, uint32_t in)
{
    for (const struct wi_limbo *limbo = tier->limbo; limbo; limbo = limbo->next) {
        if (wi_place_tier(limbo->place) == in) return true;
    }
    return false;
}

void wi_limbo_end(struct wi_tier *tier)
{
    while (tier->limbo) {
        struct wi_limbo *limbo = tier->limbo;
        tier->limbo = limbo->next;
        wi_free(limbo->marks);
        wi_free(limbo);
    }
}

/* ---- a batch ---- */

static size_t batch_limit(const struct wi_tier *tier)
{
    size_t limit = tier->opts.bytes_in_flight / tier->opts.buffer_bytes;
    return limit < 1 ? 1 : limit;
}

static void land(struct wi_tier *tier, struct flight *flight)
{
    struct wi_limbo *limbo = wi_calloc(1, sizeof *limbo);
    int              err = limbo ? swap(tier, flight, limbo) : WEIR_ENOMEM;
    if (err < 0) {
        wi_free(limbo);
        give_block(tier, flight->place);
        if (err == WEIR_EAGAIN) wi_bump(&tier->stat.moves_dropped, 1);
    }
    flight->move->result = err;
}

/* Returns how many of the moves it has dealt with. */
static size_t run_batch(struct wi_tier *tier, struct wi_move *moves, size_t count, struct flight *flights)
{
    size_t limit = batch_limit(tier), done = 0, flying = 0;
    int    err = 0;
    for (; done < count && flying < limit && err >= 0; done++) {
        struct flight *flight = &flights[flying];
        int            answer = prepare(tier, &moves[done], flight);
        if (answer == WEIR_EEXCEEDS && flying > 0) break; /* a move in this batch may make room: land it first */
        if (answer == WEIR_EEXCEEDS && tier->limbo) {
            wi_limbo_settle_locked(tier);
            answer = prepare(tier, &moves[done], flight);
        }
        moves[done].result = answer < 0 ? answer : 0;
        if (answer == WEIR_EAGAIN) wi_bump(&tier->stat.moves_dropped, 1);
        if (answer != 0) continue;
        flying++;
        if (flight->copied) err = wi_copy_issue(tier, flight->word, flight->place);
    }
    if (err >= 0) err = wi_copy_wait(tier); /* M3 */
    for (size_t i = 0; i < flying; i++) {
        if (err >= 0) {
            land(tier, &flights[i]);
        } else {
            /* The device is lost or refuses: what it may still write to is never used again. */
            flights[i].move->result = err;
        }
    }
    if (err < 0) stop(tier);
    return done;
}

void wi_mover_run_locked(struct wi_tier *tier, struct wi_move *moves, size_t count)
{
    size_t         limit = batch_limit(tier) < count ? batch_limit(tier) : count;
    struct flight *flights = wi_calloc(limit ? limit : 1, sizeof *flights);
    size_t         done = 0;
    while (flights && done < count && !tier->stopped) {
        done += run_batch(tier, moves + done, count - done, flights);
        wi_limbo_settle_locked(tier);
    }
    for (; done < count; done++) moves[done].result = flights ? WEIR_EDEVICE : WEIR_ENOMEM;
    wi_free(flights);
}

void wi_mover_drop_locked(struct wi_tier *tier, uint32_t index, uint64_t word)
{
    struct wi_move  move = {.index = index, .to = WEIR_TIER_PAGEABLE};
    struct flight   flight = {.move = &move, .word = word, .place = wi_place_make(WEIR_TIER_PAGEABLE, index)};
    if (wi_place_tier(word) == WEIR_TIER_PAGEABLE || (word & WI_WRITER_MASK)) return;
    if (wi_load(&tier->place[index].flags, seq_cst) & WI_PLACE_STAYS) return; /* leased and pinned again meanwhile */
    /* The swap succeeds only if nobody has borrowed it for writing since its release: then its bytes are nobody's. */
    struct wi_limbo *limbo = wi_calloc(1, sizeof *limbo);
    if (limbo && swap(tier, &flight, limbo) < 0) wi_free(limbo);
}
