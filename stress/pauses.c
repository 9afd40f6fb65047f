/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pauses.c - threads that stop at the worst places, and never know which CPU they run on
 *
 * The library is compiled once more with WI_SCHED, so that every atomic step calls wi_sched_point() first. Here
 * a step in stress_pause_one_in pauses: mostly a yield or a short spin, at times a sleep that is longer
 * than a time slice. So a thread is stopped between any two steps of a scan, a hand-off or a release. The CPU number is
 * a random one at times, so that slots are shared and missed as on a machine that moves threads about.
 *
 * It uses nothing of lib/, which would call it again.
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>

extern uint64_t stress_pause_one_in;

void     wi_sched_point(void);
unsigned wi_cpu_hint(void);

static __thread uint64_t state;

static uint64_t next_random(void)
{
    if (state == 0) state = (uint64_t)(uintptr_t)&state; /* differs from thread to thread */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* The pause must not make the library a cancellation point. */
static void sleep_ns(long ns)
{
    int before;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    (void)nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
    (void)pthread_setcancelstate(before, &before);
}

void wi_sched_point(void)
{
    uint64_t one_in = stress_pause_one_in;
    if (one_in == 0) return;
    uint64_t roll = next_random();
    if (roll % one_in != 0) return;
    roll = next_random() >> 20;
    switch (roll % 16) {
    case 0:
        sleep_ns((long)(roll >> 4) % 300000);
        break;
    case 1:
    case 2:
    case 3:
        for (uint64_t left = (roll >> 4) % 5000; left > 0; left--)
            __asm__ volatile("" ::: "memory");
        break;
    default:
        sched_yield();
        break;
    }
}

unsigned wi_cpu_hint(void)
{
    uint64_t roll = next_random();
    if (roll % 8 == 0) return (unsigned)(roll >> 20) % 64;
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (unsigned)cpu;
}
