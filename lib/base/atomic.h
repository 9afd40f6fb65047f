/* SPDX-License-Identifier: Apache-2.0 */
/*
 * atomic.h - the only way into <stdatomic.h>
 *
 * Every access names its order, because a default hides whether anyone thought. Orders are written
 * relaxed, acquire, release, acq_rel, seq_cst:  wi_load(&pool->gate, acquire).
 */
#ifndef WI_ATOMIC_H
#define WI_ATOMIC_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Two test builds hook in before every atomic step. WI_SCHED calls wi_sched_point(), which pauses a thread there
 * (stress/pauses.c). WI_SCHEDULE is the deterministic scheduler, which takes every access over (test/schedule).
 */
#ifdef WI_SCHEDULE
#include "schedule/steps.h"
#define WI_SCHED_POINT() ((void)0)
#else

#ifdef WI_SCHED
void wi_sched_point(void);
#define WI_SCHED_POINT() wi_sched_point()
#else
#define WI_SCHED_POINT() ((void)0)
#endif

#define wi_load(p, order) (WI_SCHED_POINT(), atomic_load_explicit((p), memory_order_##order))
#define wi_store(p, value, order)                                                                  \
    (WI_SCHED_POINT(), atomic_store_explicit((p), (value), memory_order_##order))
#define wi_exchange(p, value, order)                                                               \
    (WI_SCHED_POINT(), atomic_exchange_explicit((p), (value), memory_order_##order))
#define wi_add(p, value, order)                                                                    \
    (WI_SCHED_POINT(), atomic_fetch_add_explicit((p), (value), memory_order_##order))
#define wi_sub(p, value, order)                                                                    \
    (WI_SCHED_POINT(), atomic_fetch_sub_explicit((p), (value), memory_order_##order))
#define wi_or(p, value, order)                                                                     \
    (WI_SCHED_POINT(), atomic_fetch_or_explicit((p), (value), memory_order_##order))
#define wi_and(p, value, order)                                                                    \
    (WI_SCHED_POINT(), atomic_fetch_and_explicit((p), (value), memory_order_##order))
/* Compare and swap: on failure *expected holds what was there. Failure order is relaxed unless said. */
#define wi_cas(p, expected, desired, order)                                                        \
    (WI_SCHED_POINT(), atomic_compare_exchange_strong_explicit(                                    \
                           (p), (expected), (desired), memory_order_##order, memory_order_relaxed))
#define wi_fence(order) (WI_SCHED_POINT(), atomic_thread_fence(memory_order_##order))

#endif /* not WI_SCHEDULE */

/* Keeps the compiler, not the processor, from reordering. */
#define wi_compiler_fence() atomic_signal_fence(memory_order_seq_cst)

/* A counter with one writer: no locked operation, and readers see whole values. */
#define wi_bump(p, by)                                                                             \
    atomic_store_explicit((p), atomic_load_explicit((p), memory_order_relaxed) + (by),             \
                          memory_order_relaxed)

#endif
