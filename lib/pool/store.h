/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the free store: who gets which free object, without a lock on a hit
 *
 *        release                                   acquire
 *           |                                         ^
 *           v                                         |
 *     slot of this CPU   a hint: record stays here while leased (home slots)
 *           |  displaced                              |
 *           v                                         |
 *       commons (ck_fifo) + count               lane (ck_ring), filled by the keeper only
 *
 * Operations and their progress
 *   acquire, hit   lock-free: a record that belongs to this CPU, by a plain store (bias.h); else
 *                  one compare-and-swap on the record's own word
 *   acquire, look  lock-free: lane, commons, everyone's slots
 *   acquire, slow  blocks: queue.c
 *   release        lock-free; one that becomes the holder of the queue's lock serves others, and its
 *                  work is bounded (WI_SERVE_ROUNDS) and the keeper goes on
 *
 * "Exact": an acquire never fails and never sleeps while an object is free (free: its release has
 * returned, and no other release is just moving it out of a slot; that one looks at the gate afterwards, so no
 * wake-up is lost). A look can miss an object that moves behind it, so "empty" is believed only by someone who is
 * queued, looks while leaving the queue's lock, and finds no release pending (queue.c).
 *
 * Home slots. A record that is HOME stays in its slot while it is leased, and is claimed by the
 * compare-and-swap on its own word; the slot is only a hint. So a hit and its release take two locked
 * operations on one line, check included. A homeless record (from the lane or the commons) goes, on
 * release, into the slot of the releaser's CPU if that is empty or its record is in use, displacing it.
 * Only the displacer clears the displaced record's HOME.
 *
 * When a thread stalls at the worst place: between its compare-and-swap and its enqueue one record
 * is out of sight; nobody waits for the thread. Holding the queue's lock, waiters wait; releases do not.
 *
 * Orders (named at both ends): claim, release-gate, count, hand-off, given; see store.c and queue.c.
 * The protocol was model-checked: test/models/store_home.pml, bias.pml.
 * Sources: per-CPU slots after Bonwick and Adams, "Magazines and Vmem" (USENIX 2001); the queue's
 * pending bit after Mellor-Crummey and Scott's and the futex literature (Drepper, "Futexes are tricky").
 */
#ifndef WI_STORE_H
#define WI_STORE_H

#include "base/atomic.h"
#include "base/base.h"
#include "base/histogram.h"
#include "pool/record.h"
#include "sync/cpu.h"
#include "sync/fifo.h"
#include "sync/ring.h"
#include "sync/thread.h"

enum {
    WI_GATE_QUEUED = (1 << 24) - 1, /* waiters queued now                               */
    WI_GATE_PERMITS = 1 << 24,      /* the pool has headroom: acquires pay permits      */
    WI_GATE_LONG = 1 << 29,         /* every acquire takes the long path: leases are kept book of */
    WI_GATE_CLOSED = 1 << 25,       /* acquires end with CLOSED; releases wake the collector */
    WI_GATE_DEAD = 1 << 26,         /* the runtime is gone: releases answer CLOSED           */
    WI_GATE_LOST = 1 << 27,         /* the device is lost: nothing is handed out        */
    WI_GATE_FORKED = 1 << 28,       /* this process is a forked child                   */
    WI_GATE_SHUT = WI_GATE_CLOSED | WI_GATE_DEAD | WI_GATE_LOST | WI_GATE_FORKED
};

#define WI_COMMONS_TRIES 8  /* a dequeue may lie: so often is it asked while the count is not zero */
#define WI_SECTION_TRIES 3 /* a section that is interrupted so often gives way to a revocation */
#ifndef WI_SERVE_ROUNDS
#define WI_SERVE_ROUNDS 64 /* a releaser that serves others stops here and leaves the rest to the keeper */
#endif
#define WI_NOW_ROUNDS    4096
#define WI_CLASSES       3
#define WI_SLOTS_MAX     1024u
#define WI_LANE_CAPACITY 4096u
/*
 * One hit in 2,048 is timed, and one acquire in 16 that had to look further: two clock reads and a shared counter cost more
 * than the hit, and one in 256 would be what its own p99.9 shows.
 */
#define WI_SAMPLE_MASK      2047u
#define WI_LOOK_SAMPLE_MASK 15u

struct wi_context;

struct wi_slot {
    _Atomic(struct wi_record *) record; /* a hint; see above */
    /* When to bias its record (bias.c); approximate. */
    _Atomic uint64_t since;    /* generation when it was biased */
    _Atomic uint32_t sour;     /* timed hits to go */
    _Atomic uint32_t patience; /* ... after the latest revocation */
} WI_CACHELINE;

#define WI_SLOT_SHIFT 7
_Static_assert(sizeof(struct wi_slot) == 1 << WI_SLOT_SHIFT, "a section finds its slot by a shift");

/* What the store asks of its owner. Called on no lock, from acquirers. May be NULL. */
struct wi_store_owner {
    void (*reap)(void *ctx);   /* bring finished objects home if that is possible now */
    void (*starved)(void *ctx); /* little or nothing is free: grow if you may */
    void (*contend)(void *ctx, uint32_t priority); /* an acquire of this class waits */
    void (*kick)(void *ctx);   /* the keeper should call wi_store_serve() soon, or the collector collect; wait-free */
    /* Take a free record that is marked DIVERT; the caller owns it. May be NULL where no record is ever marked so. */
    void (*divert)(void *ctx, struct wi_record *record);
    void  *ctx;
};

struct wi_store {
    /* Read on every hit; written when waiters come and go. */
    _Atomic uint32_t gate WI_CACHELINE;
    _Atomic uint32_t period;      /* the monitor's period number */
    uint32_t         slot_factor; /* maps a CPU number to a slot, 16.16 fixed point */
    uint32_t         slots;       /* 0: everything goes through the commons */
    uint32_t         slots_capacity; /* that `slot` has; fixed with the store's memory */
    uint32_t         sample_mask; /* of the generation: a hit on a record that is not biased is timed when all these bits are set */
    struct wi_slot  *slot;        /* at least one, also when slots is 0 (then always empty) */

    /* Fixed after init. */
    struct wi_store_owner owner;
    struct wi_context    *context;
    struct wi_record     *records; /* index 0 .. records_max-1 */
    uint32_t              records_max;
    uint32_t              headroom;
    bool                  bias;      /* records may belong to one CPU for a while; bias.h */
    uint32_t              low_water; /* owner.starved is called when a miss finds the commons below this */
    uint64_t              age_ns;    /* a waiter that has waited longer moves up a class */

    /* Objects published and not promised; pools with headroom only. */
    _Atomic int64_t available WI_CACHELINE;

    /* The commons. Law: count >= objects in it, always. */
    struct wi_fifo  fifo WI_CACHELINE;
    _Atomic int64_t count WI_CACHELINE;

    struct wi_ring lane WI_CACHELINE;

    /* The queue. `lock` by anyone; the rest only under it. */
    _Atomic uint32_t   lock WI_CACHELINE;
    _Atomic uint32_t   biased; /* records that are, at most; read by who raises the gate */
    struct wi_waiter  *head[WI_CLASSES];
    struct wi_waiter  *tail[WI_CLASSES];
    size_t             pile_count;

    struct wi_record **pile; /* gathered for the head waiter; room for records_max */
    _Atomic uint64_t   handoffs; /* a statistic, here because only who serves adds to it */
    struct wi_fifo_node *nodes; /* records_max + 1, for the commons; owned */

    /* Statistics; all off the hit path. */
    struct {
        _Atomic uint64_t misses, lane_hits, commons_hits, steal_hits;
        _Atomic uint64_t timeouts, misuses, lies, ungiven, grants, revokes;
    } stat WI_CACHELINE;
    struct wi_histogram acquire;
    struct wi_histogram wait;
};

struct wi_store_opts {
    struct wi_context    *context;
    struct wi_record     *records; /* records_max records, all GONE */
    size_t                records_max;
    uint32_t              slots; /* wi_store_slots(), or any number up to the store's capacity */
    uint32_t              headroom;
    uint32_t              low_water;
    uint64_t              age_ns;
    uint32_t              gate; /* WI_GATE_LONG or 0 */
    bool                  bias; /* where this system can */
    struct wi_store_owner owner;
};

/*
 * A store is type-stable: a releaser may still look at the gate of a store whose pool is gone. So its memory is
 * made once (wi_store_make), and its lock, lists and slots stay valid through any number of init and fini.
 * `slot` points at `slots` zeroed slots.
 */
void     wi_store_make(struct wi_store *store, struct wi_slot *slot, uint32_t slots);
uint32_t wi_store_slots_capacity(void);
/* Fails: NOMEM. */
int      wi_store_init(struct wi_store *store, const struct wi_store_opts *opts);
/* pre: closed, wi_store_collect() answered 0, and an epoch has passed since. */
void     wi_store_fini(struct wi_store *store);

/* Slots for a pool of at most records_max objects: as many as CPUs, at most half the objects, at least 1; WEIR_SLOTS wins. */
uint32_t wi_store_slots(size_t records_max);

/* The acquire that misses, waits, or is sampled. Fails: AGAIN, TIMEDOUT, CLOSED, DEVICE, FORKED. */
struct wi_ask {
    uint64_t deadline_ns;
    uint32_t priority; /* 0 high, 1 normal, 2 low */
    uint32_t need;
};
WI_COLD int wi_store_acquire_slow(struct wi_store *store, const struct wi_ask *ask, struct wi_record **out);

/* Publish a record that the caller owns (LEASED, RETIRING or GONE, as `from` says). Fails: NOTLEASED when the word says otherwise. */
WI_COLD int wi_store_publish(struct wi_store *store, struct wi_record *record, enum wi_state from);
/* As wi_store_publish without a look at the gate: for the holder of the queue's lock. */
int  wi_store_put(struct wi_store *store, struct wi_record *record, enum wi_state from);
/* As wi_store_publish, by the lane. The keeper only. */
void wi_store_publish_lane(struct wi_store *store, struct wi_record *record, enum wi_state from);

/*
 * Claim one free record by its own word, wherever its slot is; it becomes GONE or RETIRING, as `to` says. False: not
 * free, or not HOME. For retiring a slab, and for clearing.
 */
bool wi_store_take(struct wi_store *store, struct wi_record *record, enum wi_state to);
/* How many objects are in the lane and the commons, about. */
int64_t wi_store_elsewhere(const struct wi_store *store);
/* Take one object out of the lane or the commons, as wi_store_take() does. NULL: there is none. Blocks. */
struct wi_record *wi_store_pull(struct wi_store *store, enum wi_state to);
/* Zero the statistics. What is counted meanwhile may survive. */
void wi_store_zero(struct wi_store *store);
/* Put records marked DIVERT out of the commons and the lane, by owner.divert; nobody sees a false "empty" meanwhile. Blocks. */
void wi_store_sweep(struct wi_store *store);
/*
 * pre: the gate is shut. Take every free object out of the store: it becomes GONE. Returns how many objects
 * are still with their holders or on their way; call again when owner.kick says that one came home. One
 * collector at a time.
 */
size_t wi_store_collect(struct wi_store *store);

/* ---- queue.c ---- */

/* Hand what is free to who waits. Any thread; wait-free when somebody else is serving. */
void wi_store_serve(struct wi_store *store);
/* Raise gate bits (CLOSED, LOST): waiters end with their answer. Blocks for the queue's lock. */
void wi_store_shut(struct wi_store *store, uint32_t bits);

int  wi_queue_wait(struct wi_store *store, const struct wi_ask *ask, struct wi_waiter *waiter,
                   struct wi_record **out);
/*
 * Queue an asynchronous waiter. waiter->notify is called when it ends, maybe before this returns, maybe
 * under the queue's lock: it must only note the fact and wake someone. Fails: CLOSED, DEVICE, FORKED.
 */
int  wi_queue_submit(struct wi_store *store, const struct wi_ask *ask, struct wi_waiter *waiter,
                     struct wi_record **out);
/* Take an asynchronous waiter out again: 0 (notify is not called), or BUSY: it has ended already. */
int  wi_queue_cancel(struct wi_store *store, struct wi_waiter *waiter);

bool wi_queue_permit(struct wi_store *store, const struct wi_ask *ask);
void wi_queue_unpermit(struct wi_store *store, uint32_t count);
void wi_queue_enter(struct wi_store *store);
void wi_queue_leave(struct wi_store *store);

/* Look through lane, commons and slots. *lied: the count said that something is there. Used by store.c and queue.c. */
struct wi_record *wi_store_look(struct wi_store *store, bool *lied);
struct wi_record *wi_store_claim_own(struct wi_store *store);
/* Claim what slot `at` points to. NULL: not free. The caller has read the gate as 0. */
struct wi_record *wi_store_claim_at(struct wi_store *store, uint32_t at);
/* Make `record`, which is GONE, the one of an empty slot: from then on it is HOME and never elsewhere. */
void wi_store_settle(struct wi_store *store, struct wi_record *record, uint32_t at);

static inline struct wi_slot *wi_store_own_slot(const struct wi_store *store)
{
    uint32_t at = (uint32_t)(((uint64_t)wi_cpu_hint() * store->slot_factor) >> 16);
    return &store->slot[WI_LIKELY(at < store->slots) ? at : 0];
}

/* The release that is not short: hit.h. `word` is what the caller saw. */
WI_COLD int wi_store_release_slow(struct wi_record *record, uint64_t word);
WI_COLD int wi_store_gated(struct wi_store *store);

#endif
