/* SPDX-License-Identifier: Apache-2.0 */
/* futex.h - sleep on a word until it changes, with an absolute deadline (futex(2), CLOCK_MONOTONIC) */
#ifndef WI_FUTEX_H
#define WI_FUTEX_H

#include "base/atomic.h"
#include "base/base.h"

/*
 * Sleep while *word == value. Returns 0 when woken, when the word differs, or without reason: look
 * again; -ETIMEDOUT when deadline_ns has passed. WEIR_FOREVER: no deadline.
 */
int wi_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);

/* Wake up to count sleepers. The word may belong to memory that has another use by now: type-stable memory only. */
void wi_futex_wake(_Atomic uint32_t *word, unsigned count);

#endif
