/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.h - the number of the CPU this thread runs on, as a hint
 *
 * The thread may move right after: nothing may depend on the number but speed. With glibc 2.35 or
 * newer it is one load from the thread's rseq area (Linux restartable sequences, Desnoyers); else a vDSO call.
 */
#ifndef WI_CPU_H
#define WI_CPU_H

#include "base/atomic.h"
#include "base/base.h"

#include <sched.h>
#if defined(__has_include)
#if __has_include(<sys/rseq.h>) && !defined(WI_SCHED)
#include <sys/rseq.h>
#define WI_HAVE_RSEQ 1
#endif
#endif

/* A pause inside a bounded spin. */
static inline void wi_pause(void)
{
#ifdef WI_SCHEDULE
    schedule_yield();
#elif defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

unsigned wi_cpu_count(void); /* CPUs that the system has configured, at least 1 */

#ifdef WI_SCHED
unsigned wi_cpu_hint(void); /* the deterministic scheduler places its fibers itself */
#else
static inline unsigned wi_cpu_hint(void)
{
#ifdef WI_HAVE_RSEQ
    if (WI_LIKELY(__rseq_size != 0)) {
        const char *area = (const char *)__builtin_thread_pointer() + __rseq_offset;
        return *(const volatile uint32_t *)area; /* cpu_id_start: always a valid number */
    }
#endif
    /* unreached: the C library of the tests registers rseq for each thread. */
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (unsigned)cpu;
}
#endif

#endif
