/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - where a tiered buffer is, and the protocol by which it moves while it is borrowed
 *
 *   word (one atomic): block (28 bits) | tier (2) | writers (10) | version (24)
 *
 *   read borrow    load word; name the place in a hazard slot (sync/reader.h); load again: another place? again.
 *   write borrow   compare-and-swap writers + 1, version + 1: no move can succeed while writers is not 0.
 *   return         device use: mark the record (pool/ticks.h), writes also the place. Then clear the slot, or writers - 1.
 *   move           word with no writers; write marks passed; copy, seen complete; compare-and-swap the same word to the
 *                  new place with version + 1; membarrier; scan the slots; only then take the record's marks; when they
 *                  have passed the old block is free.
 *
 * A move that a writer crossed fails its compare-and-swap and is dropped, never torn. A version alone, raised at
 * both ends of a write, would lose writes; see test/models/moves.pml.
 *
 * Every buffer has a home block in pageable memory, with its own index. While it lives higher up, the home keeps the
 * bytes it was promoted from: if nothing was written since (dirty), it goes home without a copy.
 *
 * Orders: tier-word, reader-clear, tick-fence. Who may touch what: place.word by anyone; arenas, limbo and the
 * policy only under tier->lock (the monitor, weir_tier_step, or a budget change).
 */
#ifndef WI_PLACE_H
#define WI_PLACE_H

#include "pool/pool.h"

#include <weir/tier.h>

#define WI_BLOCK_BITS   28
#define WI_TIER_BITS    2
#define WI_WRITER_BITS  10
#define WI_PLACE_BITS   (WI_BLOCK_BITS + WI_TIER_BITS)
#define WI_WRITER_ONE   (UINT64_C(1) << WI_PLACE_BITS)
#define WI_WRITER_MASK  (((UINT64_C(1) << WI_WRITER_BITS) - 1) << WI_PLACE_BITS)
#define WI_VERSION_ONE  (UINT64_C(1) << (WI_PLACE_BITS + WI_WRITER_BITS))
#define WI_PLACE_MASK   ((UINT64_C(1) << WI_PLACE_BITS) - 1)
#define WI_WRITE_MARKS  4

_Static_assert(WI_PLACE_BITS + WI_WRITER_BITS + 24 == 64, "a version must not wrap within one copy");

/* ASKED: a demand that nobody waits for is in the inbox. */
enum wi_place_flags { WI_PLACE_STAYS = 1, WI_PLACE_MANY_WRITERS = 2, WI_PLACE_ASKED = 4 };

struct wi_place {
    _Atomic uint64_t word;
    _Atomic uint32_t dirty; /* 1: the home block is older than the buffer */
    _Atomic uint32_t flags;
    uint32_t         index;
    uint32_t         reserved;
    _Atomic uint64_t write_mark[WI_WRITE_MARKS]; /* as wi_record.mark, of device writes */
} __attribute__((aligned(WI_CACHELINE_BYTES)));

_Static_assert(sizeof(struct wi_place) == WI_CACHELINE_BYTES, "one line for each buffer");

static inline uint32_t wi_place_tier(uint64_t word)
{
    return (uint32_t)(word >> WI_BLOCK_BITS) & ((1u << WI_TIER_BITS) - 1);
}

static inline uint32_t wi_place_block(uint64_t word)
{
    return (uint32_t)(word & ((UINT64_C(1) << WI_BLOCK_BITS) - 1));
}

static inline uint64_t wi_place_make(uint32_t tier, uint32_t block)
{
    return (uint64_t)tier << WI_BLOCK_BITS | block;
}

/*
 * The blocks of one tier. Under tier->lock. The lowest tier's blocks are homes: never allocated, never freed. A slab has
 * some blocks more than the budget allows, because for a moment a move takes two.
 */
struct wi_arena {
    struct wi_slab *slab; /* NULL: the tier has no memory */
    uint32_t       *spare; /* stack of free blocks */
    uint32_t       *owner; /* of each block: the buffer's index, or WI_NOBODY */
    size_t          spare_count;
    _Atomic size_t  limit; /* budget in blocks: kept by the policy, and by demands; written under the lock */
    size_t          used;  /* blocks with an owner; in limbo ones included */
};

#define WI_NOBODY UINT32_MAX

struct wi_limbo;
struct wi_demand;

struct wi_tier {
    struct weir_pool   *pool;
    struct wi_context  *context;
    struct weir_tier_opts opts; /* with defaults filled in */
    uint64_t            name;    /* of this tiered pool in the process, above WI_PLACE_BITS: part of a hazard name */
    uint32_t            stopped; /* 1: a move failed, and no more are made */
    struct wi_blame     blame;   /* for that */
    _Atomic uint32_t    closed;  /* 1: the pool was destroyed: no demand is served any more */
    uint32_t            adrift;  /* 1: nobody can tell whether its copies have ended: its memory is never freed */

    /* Read by every borrow. */
    struct wi_place  *place;   /* one for each buffer */
    _Atomic uint32_t *touched; /* period number of the last borrow */
    _Atomic uint32_t  period WI_CACHELINE;

    pthread_mutex_t lock;
    struct wi_arena arena[WEIR_TIERS];

    struct weir_policy       policy;
    void                    *policy_ctx;
    uint32_t                *seen;        /* touched, as of the last period */
    _Atomic uint32_t        *touches;     /* periods in which the buffer was touched */
    uint8_t                 *known;       /* 1: the policy knows the buffer */
    uint32_t                *list;        /* touched buffers of a period */
    uint8_t                 *target;      /* scratch: tier + 1 where a buffer is to go, 0 */
    struct weir_policy_move *moves;
    uint64_t                 now_ns;      /* the policy's clock */
    uint64_t                 due_ns;      /* next period */

    /* Buffers that were released: index + 1, newest first. What they held is of no use any more. */
    _Atomic uint32_t  released;
    _Atomic uint32_t *next_released;
    uint64_t         *released_word;

    struct wi_limbo             *limbo;
    struct wi_copies            *copies; /* gathered and not yet issued; copy.c */
    _Atomic(struct wi_demand *)  demands;

    struct {
        _Atomic uint64_t periods, promotions_device, promotions_pinned, demotions, demotions_clean;
        _Atomic uint64_t moves_dropped, demands, bytes_moved, limbo, buffers[WEIR_TIERS];
    } stat;
};

static inline struct wi_tier *wi_tier_of(const struct wi_record *record)
{
    return wi_pool_of(record)->tier;
}

static inline struct wi_block wi_tier_block(const struct wi_tier *tier, uint64_t word)
{
    return wi_slab_block(tier->arena[wi_place_tier(word)].slab, wi_place_block(word));
}

/* What a hazard slot holds while a place is being read. Never 0. */
static inline uint64_t wi_place_name(const struct wi_tier *tier, uint64_t word)
{
    return tier->name | (word & WI_PLACE_MASK);
}

/* ---- mover.c; tier->lock is held ---- */

struct wi_move {
    uint32_t index;
    uint32_t to;
    size_t   source; /* for the caller */
    int      result; /* 0 moved or there already; AGAIN crossed by a writer or by device work; EXCEEDS no room; DEVICE */
};

/* Make the moves, in batches of opts.bytes_in_flight. Blocks until the copies have landed. */
void wi_mover_run_locked(struct wi_tier *tier, struct wi_move *moves, size_t count);
/* Free old places that nobody reads any more. */
void wi_limbo_settle_locked(struct wi_tier *tier);
/* Is a block of the tier still being read or written by somebody though no buffer lives there? */
bool wi_limbo_holds(const struct wi_tier *tier, uint32_t in);
/* Put a released buffer home without a copy. */
void wi_mover_drop_locked(struct wi_tier *tier, uint32_t index, uint64_t word);
/* Free everything in limbo. pre: nobody borrows any more, device work is done. */
void wi_limbo_end(struct wi_tier *tier);

/* ---- hottest.c ---- */

struct wi_hot {
    uint64_t id;      /* as weir_buffer_info.id */
    uint64_t touches; /* periods in which the buffer was touched */
    uint32_t tier;    /* enum weir_tier */
    uint32_t reserved;
};
/* The leased buffers that were touched in most periods, most first. Returns how many, at most `room`. Any thread. */
size_t wi_tier_hottest(const struct weir_pool *pool, struct wi_hot *out, size_t room);

/* ---- demand.c ---- */

/* Have the buffer in a tier between `fastest` and `slowest`. Fails: AGAIN (WEIR_NOW), TIMEDOUT, EXCEEDS, DEVICE, NOMEM. */
struct wi_want {
    uint32_t index;
    uint32_t fastest;
    uint32_t slowest;
    uint64_t deadline_ns;
};
int  wi_demand_wait(struct wi_tier *tier, const struct wi_want *want);
void wi_demands_serve_locked(struct wi_tier *tier);
/* Have the buffer moved, and do not wait: a failure is nobody's. Fails: NOMEM. */
int wi_demand_ask(struct wi_tier *tier, const struct wi_want *want);
/* End every demand with a code. */
void wi_demands_end_locked(struct wi_tier *tier, int result);

/* Budgets in buffers, however they were given. Fails: INVAL. */
int wi_tier_budget_count(const struct weir_tier_budget *budget, const struct weir_tier_opts *pool,
                         size_t out[WEIR_BOUNDARIES]);

#endif
