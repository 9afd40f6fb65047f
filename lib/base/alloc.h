/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc.h - the library's own memory: records, tables, names. Never on a hit.
 *
 * Everything in lib/ allocates here and not with malloc, so that a test can make the n-th allocation
 * fail. A failure is not recorded here, because the caller knows what the memory was for:
 *
 *     table = wi_calloc(count, sizeof(*table));
 *     if (!table) return WI_FAIL(NOMEM, .call = "calloc", .wanted = count * sizeof(*table));
 *
 * Thread: any.  Owner: the caller, until wi_free(), which accepts NULL.
 */
#ifndef WI_ALLOC_H
#define WI_ALLOC_H

#include "base/base.h"

#define WI_ALLOC __attribute__((malloc, warn_unused_result))

WI_ALLOC void *wi_alloc(size_t bytes);
/* Zeroed. NULL also where count * bytes overflows. */
WI_ALLOC void *wi_calloc(size_t count, size_t bytes);
/* Zeroed, at a multiple of `alignment`, a power of two. For what has WI_CACHELINE members. */
WI_ALLOC void *wi_calloc_aligned(size_t alignment, size_t count, size_t bytes);
WI_ALLOC char *wi_strdup(const char *text);
void           wi_free(void *memory);

/*
 * wi_alloc_fail_at - let the n-th allocation from now fail, once, on whichever thread; 0: none
 *
 * Answers how many allocations the failure set before was still away: 0 if it has happened. So a sweep is
 *
 *     for (n = 1;; n++) {
 *         wi_alloc_fail_at(n);
 *         err = operation();
 *         if (wi_alloc_fail_at(0) != 0) break;     operation made fewer than n allocations
 *         it must have failed cleanly, or have done without
 *     }
 */
uint64_t wi_alloc_fail_at(uint64_t nth);

#endif
