/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/tier.h - pools whose buffers move: device, pinned and pageable memory under one budget each
 *
 * A tiered buffer is leased like any other, but has no fixed address: it is reached through a view, which is
 * borrowed and returned. While nobody borrows it, and also while somebody only reads it, weir may move it between
 * the tiers; where it belongs is decided by a policy (weir/policy.h) from what was touched.
 *
 * A borrow for reading stores two words of the thread's own: many threads that read one hot buffer share no
 * written cache line. Writers exclude moves, not each other.
 *
 * A borrow sees every write that ended before it began. A read view that is held across a move may miss writes that
 * begin later. Several views of one buffer, by several threads, may be held at once; one view is used by one
 * thread at a time, and may be returned by another.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 *
 * Example, given struct weir_runtime *rt; struct weir_pool *pool; struct weir_buffer *block:
 *
 *     struct weir_view view;
 *     int err = weir_tier_create(rt, WEIR_OPTS(tier, .buffers_max = 4096, .device_percent = 10, .pinned_percent = 30), &pool);
 *     if (err == 0) err = weir_buffer_acquire(pool, WEIR_NOW, &block);
 *     if (err == 0) err = weir_buffer_borrow(block, WEIR_WHERE_HOST, WEIR_WRITE, NULL, WEIR_FOREVER, &view);
 *     if (err < 0) return err;
 *     memset(view.host, 0, view.bytes);
 *     err = weir_view_return(&view);
 */
#ifndef WEIR_TIER_H
#define WEIR_TIER_H

#include <weir/base.h>
#include <weir/policy.h>
#include <weir/pool.h>

WEIR_BEGIN_DECLS

enum weir_tier_flags {
    WEIR_TIER_MANUAL = 1, /* periods run only in weir_tier_step(), not on the monitor: for replays and tests */
    WEIR_TIER_POISON = 2  /* overwrite memory that a move has left behind; a clean lower copy is then never kept */
};

struct weir_tier_opts {
    size_t                    struct_size;
    const char               *name;
    size_t                    buffer_bytes;    /* of each buffer; 0: 64 KiB */
    size_t                    buffers_max;     /* all made at once, in pageable memory; 0: 1024 */
    size_t                    device_buffers;  /* budget of the device tier, in buffers; 0: none, unless given below */
    size_t                    pinned_buffers;  /* budget of the pinned tier; likewise */
    uint64_t                  period_ns;       /* of the policy; 0: 500 ms */
    double                    cost_device;     /* of a promotion to the device, in hits; 0: 0.05 */
    double                    cost_pinned;     /* of a promotion to pinned memory, in hits; 0: 0.05 */
    const struct weir_policy *policy;          /* NULL: "hazard" */
    uint64_t                  bytes_in_flight; /* of moves at one time; 0: 64 MiB */
    uint32_t                  moves_max;       /* in one period; 0: 65536 */
    uint32_t                  flags;           /* enum weir_tier_flags */
    /* A tier's budget may be given in one of two other ways instead: */
    size_t                    device_bytes;    /* as many whole buffers as fit, at most buffers_max */
    size_t                    pinned_bytes;
    double                    device_percent;  /* of buffers_max, rounded down; above 0, at most 100 */
    double                    pinned_percent;
};

/*
 * weir_tier_create - make a tiered pool
 *
 * Acquire, release, destroy and stats are those of weir/pool.h.
 * Progress: blocks (makes memory).  Owner: the caller, until weir_pool_destroy().
 * Fails:    as weir_pool_create(); INVAL (a budget is given twice, or is less than one buffer).
 */
WEIR_API WEIR_MUST_CHECK int weir_tier_create(struct weir_runtime *rt, const struct weir_tier_opts *opts,
                                              struct weir_pool **out);

/*
 * Budgets, at most what the pool was created with: each in one of three ways, as in weir_tier_opts. All 0: nothing of the
 * pool may be in that tier.
 */
struct weir_tier_budget {
    size_t device_buffers;
    size_t pinned_buffers;
    size_t device_bytes;
    size_t pinned_bytes;
    double device_percent; /* of buffers_max */
    double pinned_percent;
};

/*
 * weir_tier_set_budget - change the budgets; the next periods bring the tiers within them
 *
 * Progress: takes a lock, which a policy period holds while its moves are made.  Fails: EXCEEDS, INVAL, KIND.
 */
WEIR_API WEIR_MUST_CHECK int weir_tier_set_budget(struct weir_pool *pool, struct weir_tier_budget budget);

/*
 * weir_tier_step - run one policy period now, moves included; for pools with WEIR_TIER_MANUAL
 *
 * now_ns is the clock that the policy sees; it must not decrease.
 * Thread: one at a time.  Progress: blocks until the moves have landed.  Fails: KIND, INVAL, DEVICE.
 */
WEIR_API WEIR_MUST_CHECK int weir_tier_step(struct weir_pool *pool, uint64_t now_ns);

enum weir_access {
    WEIR_READ = 1,
    WEIR_WRITE = 2,
    WEIR_PEEK = 4 /* with the others: the policy does not hear of this borrow */
};

/* Which pointer a borrow asks for. */
enum weir_where {
    WEIR_WHERE_HOST = 1, /* view.host; a device-resident buffer is copied down first            */
    WEIR_WHERE_DEVICE,   /* view.device; a pageable buffer is moved up first                     */
    WEIR_WHERE_ANY       /* whichever the buffer's present tier has; never moves, never waits    */
};

/* Valid from borrow to return. */
struct weir_view {
    struct weir_buffer *buffer;
    void               *host;   /* NULL: not addressable by the host     */
    uint64_t            device; /* 0: not addressable by the device      */
    size_t              bytes;
    struct weir_stream *stream; /* of a device borrow                    */
    uint32_t            tier;   /* enum weir_tier: where it was found    */
    uint32_t            access; /* enum weir_access                      */
    uint64_t            token;  /* private                               */
};

/*
 * weir_buffer_borrow - a view of a tiered buffer
 *
 * stream: where the device will use it, for WEIR_WHERE_DEVICE; else NULL. WEIR_NOW never moves anything.
 *
 * Thread:   any, also several at once on one lease.
 * Progress: lock-free when no move is needed, without a system call; else blocks until deadline_ns.
 * Fails:    AGAIN (WEIR_NOW, in the wrong tier), TIMEDOUT, BUSY (pinned to another tier), CLOSED (the pool was
 *           destroyed and the buffer would have to move), NOTLEASED, KIND (not a tiered buffer), INVAL,
 *           EXCEEDS (the tier has no room), DEVICE, NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_borrow(struct weir_buffer *buffer, enum weir_where where,
                                                enum weir_access access, struct weir_stream *stream,
                                                uint64_t deadline_ns, struct weir_view *out);

/*
 * weir_view_return - end a borrow
 *
 * A device borrow is a guard: the buffer counts as in use by all that is queued on the stream so far. The view is
 * cleared; returning a cleared view is nothing.
 * Progress: lock-free.  Fails: INVAL (NULL), NOTLEASED, DEVICE.
 */
WEIR_API int weir_view_return(struct weir_view *view);

/*
 * weir_buffer_prefetch - have the buffer in `tier` or a faster one, by deadline_ns
 *
 * WEIR_NOW asks and does not wait (AGAIN if it is not there yet).
 * Thread: the holder of the lease.  Progress: blocks until deadline_ns.
 * Fails:  AGAIN, TIMEDOUT, EXCEEDS, KIND, NOTLEASED, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_prefetch(struct weir_buffer *buffer, enum weir_tier tier,
                                                  uint64_t deadline_ns);

/*
 * weir_buffer_set_pinned - 1: the buffer stays in the tier where it is; 0: it may move again
 *
 * Thread: the holder of the lease.  Progress: takes a lock: a move under way ends first.  Fails: KIND, NOTLEASED.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_set_pinned(struct weir_buffer *buffer, int pinned);

struct weir_place_info {
    size_t   struct_size;
    uint32_t tier;     /* enum weir_tier, now */
    uint32_t pinned;   /* 1: stays there */
    uint64_t touches;  /* periods in which it was touched: the access count that the policy goes by */
};

/* weir_buffer_place_read - where a tiered buffer is. Set out->struct_size first. Progress: wait-free.  Fails: KIND, FOREIGN, INVAL. */
WEIR_API int weir_buffer_place_read(const struct weir_buffer *buffer, struct weir_place_info *out);

/* X(name, type, help): one list makes the struct and the texts. */
#define WEIR_TIER_COUNTERS(X)                                                                      \
    X(buffers_device, "gauge", "buffers in device memory")                                         \
    X(buffers_pinned, "gauge", "buffers in pinned memory")                                         \
    X(buffers_pageable, "gauge", "buffers in pageable memory")                                     \
    X(budget_device, "gauge", "buffers that may be in device memory")                              \
    X(budget_pinned, "gauge", "buffers that may be in pinned memory")                              \
    X(periods, "counter", "policy periods")                                                        \
    X(promotions_device, "counter", "moves up into device memory")                                 \
    X(promotions_pinned, "counter", "moves up into pinned memory")                                 \
    X(demotions, "counter", "moves down")                                                          \
    X(demotions_clean, "counter", "moves down that needed no copy, because nothing was written")   \
    X(moves_dropped, "counter", "moves given up because a writer or device work crossed them")     \
    X(demands, "counter", "moves that a borrow or prefetch waited for")                            \
    X(bytes_moved, "counter", "bytes copied by moves")                                             \
    X(limbo, "gauge", "old places that somebody still reads")

struct weir_tier_stats {
    size_t struct_size;
#define X(name, type, help) uint64_t name;
    WEIR_TIER_COUNTERS(X)
#undef X
};

/* weir_tier_stats_read - counts of a tiered pool; set out->struct_size first. Progress: wait-free.  Fails: KIND, INVAL. */
WEIR_API int weir_tier_stats_read(struct weir_pool *pool, struct weir_tier_stats *out);

WEIR_END_DECLS

#endif
