/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - the life of a pool: making objects, growing, shrinking, closing
 *
 * Buffers, the streams of one class, and events are all pools: a free store plus a way to make objects.
 *
 * Who runs what
 *   requests   acquire and release (buffer.c, stream.c, event.c); never here
 *   the keeper wi_pool_keep(): puts new objects into the lane, serves waiters
 *   the monitor wi_pool_tend(): grows ahead of demand, retires stretches, frees closed pools
 *
 * Growing: the monitor makes a stretch (a slab and its records) and hands the records to the keeper through a
 * list; only the keeper fills the lane. Shrinking: the newest stretch is marked DIVERT; its records leave the
 * store as they come home (or are claimed where they lie); when all are GONE, one epoch later, its memory goes
 * back to the system.
 *
 * A closing pool is out of the runtime's list, so the keeper does not visit it any more.
 *
 * Locks: `lock` (rank: pool) guards stretches and life cycle, against monitor, reserve, trim, destroy and stats.
 * Never taken by acquire or release.
 *
 * Pool blocks are type-stable: a late release may still look at one. They are recycled through a list.
 */
#ifndef WI_POOL_H
#define WI_POOL_H

#include "pool/context.h"
#include "pool/store.h"
#include "pool/ticks.h"
#include "pool/transfer.h"
#include "sync/records.h"

#include <weir/stats.h>

#define WI_POOL_NAME_BYTES 32

enum wi_pool_kind { WI_POOL_BUFFERS, WI_POOL_TIERED, WI_POOL_STREAMS, WI_POOL_EVENTS };
enum wi_pool_life { WI_POOL_OPEN, WI_POOL_CLOSING, WI_POOL_ENDED };

/* A slab and the records of its blocks. */
struct wi_stretch {
    struct wi_stretch *next;    /* newest first */
    struct wi_slab    *slab;
    struct wi_record **record;  /* slab->blocks of them, in block order */
    bool               retiring; /* being emptied for shrink */
};

struct wi_tier;

/* What the layer above adds to a pool. Any may be NULL. */
struct wi_pool_hooks {
    void     (*released)(struct weir_pool *pool, struct wi_record *record); /* about to be free; caller owns it */
    uint64_t (*tend)(struct weir_pool *pool, uint64_t now_ns);  /* the monitor; returns when to call again */
    void     (*close)(struct weir_pool *pool);                  /* the gate has been shut; nobody tends it any more */
    void     (*end)(struct weir_pool *pool);                    /* all objects are GONE; before they are dropped */
    bool     (*stays)(const struct wi_record *record);          /* is the buffer kept where it is? NULL: always */
};

struct weir_pool {
    struct wi_store store; /* first: a hit needs no further pointer */

    /* Fixed while open. */
    struct weir_runtime    *rt;
    struct wi_context      *context;
    char                    name[WI_POOL_NAME_BYTES];
    enum wi_pool_kind       kind;
    uint32_t                stream_class;
    uint32_t                event_flags;
    struct weir_pool_opts   opts; /* buffers: with defaults filled in */
    struct weir_memory_source source; /* where opts.source points, if anywhere */
    struct wi_stream_class *streams; /* of stream pools: stream_class.h */
    struct wi_record_range  range;
    _Atomic uint64_t        leases_before; /* leases given on these records in earlier pools, or before a clear */
    /* Make one object for record->object and drop it again; streams and events. */
    int  (*make)(struct weir_pool *pool, struct wi_record *record);
    void (*drop)(struct weir_pool *pool, struct wi_record *record);
    struct wi_pool_hooks hooks;
    struct wi_tier      *tier; /* tiered pools only */
    bool                 single; /* made by weir_buffer_create() */

    pthread_mutex_t    lock;
    enum wi_pool_life  life;       /* under lock */
    struct wi_stretch *stretches;  /* under lock; readers of address lookup: epoch (directory.c) */
    _Atomic uint64_t   total;      /* objects that exist */
    _Atomic uint32_t   memory;     /* enum weir_memory: the actual kind; written under lock, read by stats */
    bool               revived;    /* under lock: a retiring stretch was kept after all */
    uint64_t           grown_ns;   /* monitor: time of the last growth, shrink, and of the first quiet period */
    uint64_t           shrunk_ns;
    uint64_t           quiet_ns;
    struct weir_pool  *next;       /* in the runtime's list, under its lock */
    uint32_t           visits;     /* under that lock: who looks at the pool now, and keeps it in the list */
    uint32_t           twin;       /* fixed once in the list: 2 or more tells it from others of its name in statistics */

    _Atomic(struct wi_record *) fresh; /* made by the monitor, for the keeper's lane */
    _Atomic uint32_t wants_growth;     /* an acquire found little or nothing */
    _Atomic uint32_t wants_service;    /* the keeper should serve */
    /*
     * Whom to kick: the same as context. Atomic, because a late release may kick while the block becomes another
     * pool; it then kicks that one's runtime, which does no harm.
     */
    _Atomic(struct wi_context *) kicked;
    _Atomic uint32_t asking;           /* the preempt callback is running or about to */

    struct {
        _Atomic uint64_t retires, reaps, grows, grow_failures, shrinks, bytes_up, bytes_down;
        _Atomic uint64_t uploads, downloads, timed, timed_bytes, timed_ns, hazards;
    } stat;
    struct wi_sample sample[WI_SAMPLES];
    _Atomic uint64_t samples_missed;
};

struct wi_pool_spec {
    struct weir_runtime         *rt;
    enum wi_pool_kind            kind;
    uint32_t                     stream_class;
    uint32_t                     event_flags;
    const struct weir_pool_opts *opts; /* with defaults filled in */
    struct wi_stream_class      *streams;
    uint32_t                     slots; /* 0: by strategy and WEIR_SLOTS */
    int  (*make)(struct weir_pool *pool, struct wi_record *record);
    void (*drop)(struct weir_pool *pool, struct wi_record *record);
    struct wi_pool_hooks hooks;
    struct wi_tier      *tier;
};

/* Bytes in a second. 0 where no time was measured. */
static inline uint64_t wi_rate(uint64_t bytes, uint64_t ns)
{
    return ns ? (uint64_t)((unsigned __int128)bytes * WI_NS_PER_S / ns) : 0;
}

/* Leases given on the pool's records since they were first used. */
uint64_t wi_pool_leases(const struct weir_pool *pool);
/* Zero the counters. What is counted meanwhile may survive. */
void wi_pool_zero_stat(struct weir_pool *pool);

/* Make a pool with opts->buffers_min objects. Blocks. On failure nothing is left behind. */
int wi_pool_make(const struct wi_pool_spec *spec, struct weir_pool **out);

/* Close the gate and free what can be freed now. Returns how many objects are still out; the monitor frees the rest later. */
size_t wi_pool_close(struct weir_pool *pool);

/* Free a closing pool if everything has come home. True: the block has been recycled; the caller has unlinked it before. */
bool wi_pool_collect(struct weir_pool *pool);
void wi_pool_recycle(struct weir_pool *pool);

/* True on a keeper's thread. */
extern __thread bool wi_is_keeper;
/* What was made is free when this returns. For who has grown the pool himself. pool->lock is held. */
void wi_pool_show(struct weir_pool *pool);
/* The keeper. Returns true when it should be called again soon. */
bool wi_pool_keep(struct weir_pool *pool);
/* The monitor. Returns when it wants to be called again, WEIR_FOREVER: only when kicked. */
uint64_t wi_pool_tend(struct weir_pool *pool, uint64_t now_ns);

/* A record whose device work is done comes home; wi_reaper.home. */
void wi_pool_home(struct wi_reaper *reaper, struct wi_record *record);

/* Release of a record that needs attention: marks, divert, scrub. Returns 0 or NOTLEASED. */
WI_COLD int wi_pool_release_attentive(struct wi_record *record);
/* As above, for the lease of one generation only, on behalf of its holder. */
int wi_pool_release_generation(struct wi_record *record, uint64_t generation);
/* The last hold of a parked record has ended: what its release left undone. Returns as a release does. */
int wi_pool_unpark(struct wi_record *record);

void wi_pool_read_stats(struct weir_pool *pool, struct weir_pool_stats *out);

static inline struct weir_pool *wi_pool_of(const struct wi_record *record)
{
    return (struct weir_pool *)record->store; /* first member */
}

/* What the runtime layer provides: its list of pools, and its clock of periods. */
void wi_runtime_add_pool(struct weir_runtime *rt, struct weir_pool *pool);
void wi_runtime_remove_pool(struct weir_runtime *rt, struct weir_pool *pool);
/* A pool that has been removed and closed: free it now if everything is home, else leave it to the monitor. */
void wi_runtime_bury_pool(struct weir_runtime *rt, struct weir_pool *pool);
/* The monitor period of a time, and when a period began, on CLOCK_MONOTONIC. */
uint32_t wi_runtime_period(const struct weir_runtime *rt, uint64_t now_ns);
uint64_t wi_runtime_period_start_ns(const struct weir_runtime *rt, uint32_t period);

#endif
