/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system.c - the calls of the library that would leave the process or stop the thread, done on fibers
 *
 * The linker sends them here (-Wl,--wrap). A system call drains the caller's store buffer, as the kernel's own locked
 * accesses do; membarrier drains everybody's.
 */
#include "schedule/engine.h"

#include <ck_epoch.h>
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- syscall(2): futex, membarrier ---- */

static long futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *at)
{
    const struct schedule_site *site = SCHEDULE_SITE(SCHEDULE_RMW, SCHEDULE_seq_cst, "futex wait");
    uint64_t deadline_ns = at ? (uint64_t)at->tv_sec * WI_NS_PER_S + (uint64_t)at->tv_nsec : WEIR_FOREVER;
    (void)schedule_step(site, word, sizeof *word);
    if (atomic_load_explicit(word, memory_order_seq_cst) != value) {
        errno = EAGAIN;
        return -1;
    }
    if (deadline_ns <= sched->now_ns) {
        errno = ETIMEDOUT;
        return -1;
    }
    if (!engine_sleep(word, deadline_ns, site)) return 0;
    errno = ETIMEDOUT;
    return -1;
}

long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    if (number == SYS_membarrier) {
        va_end(args);
        (void)schedule_step(SCHEDULE_SITE(SCHEDULE_FENCE, SCHEDULE_seq_cst, "membarrier"), NULL, 0);
        engine_flush_all();
        return 0;
    }
    _Atomic uint32_t      *word = va_arg(args, _Atomic uint32_t *);
    int                    operation = va_arg(args, int);
    uint32_t               value = va_arg(args, uint32_t);
    const struct timespec *at = va_arg(args, const struct timespec *);
    va_end(args);
    if (number != SYS_futex || sched->current == NOBODY) {
        errno = ENOSYS;
        return -1;
    }
    if ((operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET) return futex_wait(word, value, at);
    (void)schedule_step(SCHEDULE_SITE(SCHEDULE_RMW, SCHEDULE_seq_cst, "futex wake"), word, sizeof *word);
    return engine_wake(word, value);
}

/* ---- mutexes ---- */

static int *owner_of(const void *mutex)
{
    for (int i = 0; i < MUTEXES_MAX; i++) {
        if (!sched->mutex[i].mutex) {
            sched->mutex[i].mutex = mutex;
            sched->mutex[i].owner = NOBODY;
        }
        if (sched->mutex[i].mutex == mutex) return &sched->mutex[i].owner;
    }
    abort();
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    if (sched->current == NOBODY) return 0;
    (void)schedule_step(SCHEDULE_SITE(SCHEDULE_RMW, SCHEDULE_seq_cst, "mutex trylock"), mutex, 8);
    int *owner = owner_of(mutex);
    if (*owner != NOBODY) return EBUSY;
    *owner = sched->current;
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (sched->current == NOBODY) return 0;
    const struct schedule_site *site = SCHEDULE_SITE(SCHEDULE_RMW, SCHEDULE_seq_cst, "mutex lock");
    (void)schedule_step(site, mutex, 8);
    int *owner = owner_of(mutex);
    while (*owner != NOBODY) (void)engine_sleep(mutex, WEIR_FOREVER, site);
    *owner = sched->current;
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (sched->current == NOBODY) return 0;
    (void)schedule_step(SCHEDULE_SITE(SCHEDULE_RMW, SCHEDULE_seq_cst, "mutex unlock"), mutex, 8);
    int *owner = owner_of(mutex);
    schedule_require(*owner == sched->current, "a mutex is unlocked by who does not hold it");
    *owner = NOBODY;
    (void)engine_wake(mutex, 1);
    return 0;
}

/* ---- the rest ---- */

int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
    schedule_yield();
    return 0;
}

/* Time passes only when a deadline does. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    now->tv_sec = (time_t)(sched->now_ns / WI_NS_PER_S);
    now->tv_nsec = (long)(sched->now_ns % WI_NS_PER_S);
    return 0;
}

long __real_sysconf(int name);
long __wrap_sysconf(int name);
long __wrap_sysconf(int name)
{
    if (name == _SC_NPROCESSORS_CONF) return 2; /* on every machine the same schedules */
    return __real_sysconf(name);
}

unsigned wi_cpu_hint(void)
{
    return sched->current == NOBODY ? 0 : sched->scenario->fibers[sched->current].cpu;
}

/* libck's own code is no sequence of steps: the wait for a grace period is one, but for its yielding. */
void __real_ck_epoch_synchronize_wait(ck_epoch_t *epoch, ck_epoch_wait_cb_t *wait, void *ctx);
void __wrap_ck_epoch_synchronize_wait(ck_epoch_t *epoch, ck_epoch_wait_cb_t *wait, void *ctx);
void __wrap_ck_epoch_synchronize_wait(ck_epoch_t *epoch, ck_epoch_wait_cb_t *wait, void *ctx)
{
    (void)schedule_step(SCHEDULE_SITE(SCHEDULE_RMW, SCHEDULE_seq_cst, "wait for a grace period"), epoch, 8);
    __real_ck_epoch_synchronize_wait(epoch, wait, ctx);
}

void wi_panic(const char *file, unsigned line, const char *what)
{
    schedule_fail(file, line, what, " (panic)");
}
