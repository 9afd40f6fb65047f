/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - the time stamp counter, and its rate
 *
 * One acquire takes about ten nanoseconds, so it is timed by the counter that the CPU has for it. The
 * serialising forms keep the measured call from overlapping the reading of the counter; what they
 * cost is the same for every peer, also for the control loop that they are compared with.
 */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>

static inline uint64_t bench_ticks(void)
{
    return __rdtsc();
}

static inline uint64_t bench_ticks_begin(void)
{
    _mm_lfence();
    uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

static inline uint64_t bench_ticks_end(void)
{
    unsigned cpu;
    uint64_t ticks = __rdtscp(&cpu);
    _mm_lfence();
    return ticks;
}
#elif defined(__aarch64__)
static inline uint64_t bench_ticks(void)
{
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
}

static inline uint64_t bench_ticks_begin(void)
{
    uint64_t ticks;
    __asm__ volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(ticks) : : "memory");
    return ticks;
}

static inline uint64_t bench_ticks_end(void)
{
    return bench_ticks_begin();
}
#else
#error "weir bench needs the time stamp counter of this processor: add it here"
#endif

static inline uint64_t bench_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t bench_now_ns(void)
{
    return bench_clock_ns(CLOCK_MONOTONIC);
}

static inline void bench_sleep_until_ns(uint64_t deadline_ns)
{
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                                .tv_nsec = (long)(deadline_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL) != 0) {
    }
}

#endif
