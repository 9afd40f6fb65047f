/* SPDX-License-Identifier: Apache-2.0 */
/* kick.h - waking a helper thread that may be asleep, without a system call when it is not */
#ifndef WI_KICK_H
#define WI_KICK_H

#include "base/atomic.h"
#include "base/base.h"

/* A word to sleep on. Kicks while the sleeper is awake cost no system call. */
struct wi_kick {
    _Atomic uint32_t word;   /* grows with each kick */
    _Atomic uint32_t asleep; /* 1: the sleeper needs a futex wake; written by the sleeper only */
} WI_CACHELINE;

/* Any thread, wait-free but for at most one futex wake. */
void wi_kick(struct wi_kick *kick);
/* The sleeper: returns the word to compare with; then looks for work; then sleeps unless the word has moved. */
uint32_t wi_kick_begin(struct wi_kick *kick);
void     wi_kick_sleep(struct wi_kick *kick, uint32_t seen, uint64_t deadline_ns);

#endif
