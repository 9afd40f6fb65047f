/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system_fault.h - system calls of the memory layer, counted and made to fail
 *
 * The linker puts these in the place of mmap, munmap, madvise and pthread_create wherever the
 * library and the test refer to them (-Wl,--wrap); libc's own calls are not touched.
 */
#ifndef SYSTEM_FAULT_H
#define SYSTEM_FAULT_H

#include "base/atomic.h"
#include "base/base.h"

struct system_fault {
    /* Set by the test. The call of that number, counted from 1, fails; 0: none. */
    _Atomic uint64_t mmap_fail_at;
    _Atomic uint64_t munmap_fail_at;
    _Atomic uint64_t thread_fail_from; /* this one and all later ones */
    _Atomic uint64_t populate_fail_at;
    _Atomic int
        populate_errno; /* of every MADV_POPULATE_WRITE, if not 0 and populate_fail_at is 0 */
    _Atomic uint64_t populate_delay_ns;
    _Atomic uint64_t populate_skip; /* 1: MADV_POPULATE_WRITE answers 0 and does nothing */

    /* Read by the test. */
    _Atomic uint64_t mmap_calls;
    _Atomic uint64_t munmap_calls;
    _Atomic uint64_t thread_calls;
    _Atomic uint64_t populate_calls;
    _Atomic uint64_t nohugepage_calls;
    _Atomic uint64_t nohugepage_bytes;
    _Atomic int64_t  mapped_bytes;     /* mapped and not unmapped */
    _Atomic uint64_t populate_cpus;    /* bit per CPU on which a piece was populated */
    _Atomic uint64_t populate_creator; /* pieces populated by the first thread       */
    _Atomic uint64_t
        signals_open; /* calls from other threads than the first with a signal not blocked */
};

extern struct system_fault system_fault;

void system_fault_clear(void);

#endif
