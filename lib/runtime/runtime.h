/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - the runtime object: its pools, its two helper threads, and how they end
 *
 *   keeper   reaps finished device work, fills lanes, serves waiters; the only driver calls it makes are
 *            event record and query. Sleeps without a timeout when nothing is pending.
 *   monitor  pins, grows, shrinks and frees; may block in the driver. Sleeps without a timeout when no pool wants it.
 *
 * Locks, in order: registry (runtime.c) > pools_lock > pool->lock > the store's queue; pool->lock > slab_hooks.lock.
 * The keeper takes pools_lock only for short visits; the monitor never holds it while it works on a pool, but
 * raises that pool's `visits`, and a pool leaves the list when nobody visits it.
 */
#ifndef WI_RUNTIME_H
#define WI_RUNTIME_H

#include "pool/pool.h"
#include "pool/runtime_pools.h"
#include "tier/pressure.h"

#include <weir/stream.h>

#define WI_MONITOR_IDLE_PERIODS 2 /* after so many quiet periods the monitor sleeps until it is kicked */

struct wi_allocation;
struct wi_page;

struct weir_runtime {
    struct wi_context context; /* first: wi_context_of() */

    /* Fixed after create. */
    struct weir_runtime_opts opts; /* with defaults filled in */
    struct weir_runtime_info info;
    uint64_t                 period_ns;
    uint64_t                 begin_ns; /* period 0 began here */
    struct weir_pool        *stream_pool[WEIR_STREAM_ADOPTED + 1]; /* [0]: the shared ones */
    struct weir_pool        *event_pool[WI_EVENTS_ADOPTED + 1];

    pthread_mutex_t   pools_lock;
    pthread_cond_t    pools_changed;
    struct weir_pool *pools;   /* open */
    struct weir_pool *closing; /* destroyed by the caller, with objects still out */

    pthread_t        keeper_thread;
    pthread_t        monitor_thread;
    bool             keeper_started;
    bool             monitor_started;
    _Atomic uint32_t stop; /* 1: the monitor is to end; 2: the keeper, too */
    bool             lost_declared; /* keeper */
    struct wi_poll  *polls;         /* keeper: events that somebody sleeps for */
    _Atomic uint64_t keeper_wakeups;
    _Atomic uint64_t monitor_wakeups;
    struct wi_page  *page;          /* monitor: the live page; NULL: none */

    /* weir_device_alloc() */
    pthread_mutex_t       allocations_lock;
    struct wi_allocation *allocations;

    /* Under its lock; runtime/pressure.c. */
    struct {
        pthread_mutex_t          lock;
        struct wi_pressure_state state;
        struct weir_pressure     last;
        struct weir_watch       *watches;
        char                    *psi_path, *cgroup_path; /* NULL: the system's own */
        uint64_t                 period_ns;
        bool                     asked; /* weir_pressure_set() was called */
    } pressure;

    struct weir_runtime *next; /* in the process's list of runtimes */
};

int  wi_keeper_start(struct weir_runtime *rt);
int  wi_monitor_start(struct weir_runtime *rt);
/* Stop and join. Afterwards the caller is the keeper: wi_keeper_round(). */
void wi_helpers_stop(struct weir_runtime *rt);
/* One round of the keeper's work. Returns true while device work is pending. *homed: records that came home. */
bool wi_keeper_round(struct weir_runtime *rt, uint64_t *homed);

/*
 * The pool after `last`, or the first: it stays in the list until the next call, which takes it as `last`. NULL: there is
 * no further one. No lock is held meanwhile. Any thread.
 */
struct weir_pool *wi_runtime_visit(struct weir_runtime *rt, struct weir_pool *last);

/* Free what device allocations are left; returns how many there were. */
size_t wi_allocations_end(struct weir_runtime *rt);

#endif
