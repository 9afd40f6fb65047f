/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counter.h - numbers that one thread changes while others look
 *
 * All orders are relaxed: a counter says how many, never that something else has become visible.
 */
#ifndef WEIR_TOOL_COUNTER_H
#define WEIR_TOOL_COUNTER_H

#include <stdint.h>

static inline uint64_t counter_read(const uint64_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* Thread: any. Returns the value before. */
static inline uint64_t counter_add(uint64_t *at, uint64_t by)
{
    return __atomic_fetch_add(at, by, __ATOMIC_RELAXED);
}

/* Raise to at least value. Thread: any. */
static inline void counter_raise(uint64_t *at, uint64_t value)
{
    uint64_t seen = counter_read(at);

    while (seen < value &&
           !__atomic_compare_exchange_n(at, &seen, value, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

#endif
