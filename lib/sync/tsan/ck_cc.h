/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ck_cc.h of the ThreadSanitizer build - found before Concurrency Kit's own, which it includes
 *
 * CK's inline functions read memory that others may be writing, and throw the value away when a later
 * compare-and-swap fails: ck_ring copies a slot before it knows that the slot is its own, ck_fifo clears
 * a node that a late reader may still look at. ThreadSanitizer must not check these plain accesses, so all of
 * CK's inline functions are left out of its instrumentation. Their atomic accesses stay visible
 * through this folder's ck_pr.h.
 *
 * gcc does not inline such a function into one that is checked, unless it must; so nothing but what CK forces
 * is inlined.
 */
#ifndef WI_TSAN_CK_CC_H
#define WI_TSAN_CK_CC_H

#include_next <ck_cc.h>

#undef CK_CC_INLINE
#undef CK_CC_FORCE_INLINE
#define CK_CC_INLINE       __attribute__((unused, noinline, no_sanitize("thread")))
#define CK_CC_FORCE_INLINE __attribute__((unused, always_inline, no_sanitize("thread"))) inline

#endif
