/* SPDX-License-Identifier: Apache-2.0 */
#include "system_fault.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define POPULATE_WRITE 23

struct system_fault system_fault;

void system_fault_clear(void)
{
    memset((void *)&system_fault, 0, sizeof system_fault);
}

void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int   __real_munmap(void *at, size_t bytes);
int   __real_madvise(void *at, size_t bytes, int advice);
int   __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                            void *arg);

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int   __wrap_munmap(void *at, size_t bytes);
int   __wrap_madvise(void *at, size_t bytes, int advice);
int   __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                            void *arg);

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    uint64_t call = wi_add(&system_fault.mmap_calls, 1, relaxed) + 1;
    if (call == wi_load(&system_fault.mmap_fail_at, relaxed)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *base = __real_mmap(at, bytes, prot, flags, fd, offset);
    if (base != MAP_FAILED) (void)wi_add(&system_fault.mapped_bytes, (int64_t)bytes, relaxed);
    return base;
}

int __wrap_munmap(void *at, size_t bytes)
{
    uint64_t call = wi_add(&system_fault.munmap_calls, 1, relaxed) + 1;
    if (call == wi_load(&system_fault.munmap_fail_at, relaxed)) {
        errno = ENOMEM;
        return -1;
    }
    int rc = __real_munmap(at, bytes);
    if (rc == 0) (void)wi_sub(&system_fault.mapped_bytes, (int64_t)bytes, relaxed);
    return rc;
}

static int populate(void *at, size_t bytes)
{
    uint64_t call = wi_add(&system_fault.populate_calls, 1, relaxed) + 1;
    uint64_t fail_at = wi_load(&system_fault.populate_fail_at, relaxed);
    int      planned = wi_load(&system_fault.populate_errno, relaxed);
    uint64_t delay_ns = wi_load(&system_fault.populate_delay_ns, relaxed);
    (void)wi_or(&system_fault.populate_cpus, UINT64_C(1) << (sched_getcpu() & 63), relaxed);
    if (gettid() == getpid()) {
        (void)wi_add(&system_fault.populate_creator, 1, relaxed);
    } else {
        sigset_t blocked;
        pthread_sigmask(SIG_BLOCK, NULL, &blocked);
        if (!sigismember(&blocked, SIGUSR1)) (void)wi_add(&system_fault.signals_open, 1, relaxed);
    }
    if (delay_ns) {
        struct timespec delay = {.tv_sec = (time_t)(delay_ns / WI_NS_PER_S),
                                 .tv_nsec = (long)(delay_ns % WI_NS_PER_S)};
        (void)nanosleep(&delay, NULL);
    }
    if (planned && (fail_at == 0 || call == fail_at)) {
        errno = planned;
        return -1;
    }
    if (wi_load(&system_fault.populate_skip, relaxed)) return 0;
    return __real_madvise(at, bytes, POPULATE_WRITE);
}

int __wrap_madvise(void *at, size_t bytes, int advice)
{
    if (advice == POPULATE_WRITE) return populate(at, bytes);
    if (advice == MADV_NOHUGEPAGE) {
        (void)wi_add(&system_fault.nohugepage_calls, 1, relaxed);
        (void)wi_add(&system_fault.nohugepage_bytes, bytes, relaxed);
    }
    return __real_madvise(at, bytes, advice);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg)
{
    uint64_t call = wi_add(&system_fault.thread_calls, 1, relaxed) + 1;
    uint64_t from = wi_load(&system_fault.thread_fail_from, relaxed);
    if (from && call >= from) return EAGAIN;
    return __real_pthread_create(thread, attr, fn, arg);
}
