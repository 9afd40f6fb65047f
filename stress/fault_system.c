/* SPDX-License-Identifier: Apache-2.0 */
#include "fault_system.h"

#include "base/alloc.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[] = {
#define X(name, text) #name,
    FAULT_CALLS(X)
#undef X
};

/* Uses of `armed` until the failure; 0: none is planned. */
static _Atomic uint32_t armed;
static _Atomic uint64_t countdown;
static _Atomic uint64_t fired;
static _Atomic int32_t  fired_thread;
static _Atomic int64_t  blocks_live;
static _Atomic int64_t  bytes_mapped;

const char *fault_call_name(enum fault_call call)
{
    return names[call];
}

void fault_system_arm(enum fault_call call, uint64_t nth)
{
    wi_store(&countdown, 0, relaxed);
    wi_store(&armed, call, relaxed);
    wi_store(&countdown, nth, release);
}

uint64_t fault_system_fired(int32_t *thread)
{
    uint64_t count = wi_load(&fired, acquire);
    *thread = wi_load(&fired_thread, relaxed);
    return count;
}

int64_t fault_blocks_live(void)
{
    return wi_load(&blocks_live, relaxed);
}

int64_t fault_bytes_mapped(void)
{
    return wi_load(&bytes_mapped, relaxed);
}

static bool fails_now(enum fault_call call)
{
    uint64_t left = wi_load(&countdown, acquire);
    while (left != 0 && wi_load(&armed, relaxed) == (uint32_t)call) {
        if (!wi_cas(&countdown, &left, left - 1, relaxed)) continue;
        if (left != 1) return false;
        wi_store(&fired_thread, gettid(), relaxed);
        wi_add(&fired, 1, release);
        return true;
    }
    return false;
}

/* ---- memory of the library ---- */

void *__real_wi_alloc(size_t bytes);
void *__real_wi_calloc(size_t count, size_t bytes);
void *__real_wi_calloc_aligned(size_t alignment, size_t count, size_t bytes);
char *__real_wi_strdup(const char *text);
void  __real_wi_free(void *memory);

void *__wrap_wi_alloc(size_t bytes);
void *__wrap_wi_calloc(size_t count, size_t bytes);
void *__wrap_wi_calloc_aligned(size_t alignment, size_t count, size_t bytes);
char *__wrap_wi_strdup(const char *text);
void  __wrap_wi_free(void *memory);

static void *counted(void *memory)
{
    if (memory) wi_add(&blocks_live, 1, relaxed);
    return memory;
}

void *__wrap_wi_alloc(size_t bytes)
{
    return fails_now(FAULT_allocation) ? NULL : counted(__real_wi_alloc(bytes));
}

void *__wrap_wi_calloc(size_t count, size_t bytes)
{
    return fails_now(FAULT_allocation) ? NULL : counted(__real_wi_calloc(count, bytes));
}

void *__wrap_wi_calloc_aligned(size_t alignment, size_t count, size_t bytes)
{
    return fails_now(FAULT_allocation) ? NULL : counted(__real_wi_calloc_aligned(alignment, count, bytes));
}

char *__wrap_wi_strdup(const char *text)
{
    return fails_now(FAULT_allocation) ? NULL : counted(__real_wi_strdup(text));
}

void __wrap_wi_free(void *memory)
{
    if (memory) wi_sub(&blocks_live, 1, relaxed);
    __real_wi_free(memory);
}

/* ---- mappings ---- */

void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int   __real_munmap(void *at, size_t bytes);
int   __real_madvise(void *at, size_t bytes, int advice);
int   __real_memfd_create(const char *name, unsigned flags);

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int   __wrap_munmap(void *at, size_t bytes);
int   __wrap_madvise(void *at, size_t bytes, int advice);
int   __wrap_memfd_create(const char *name, unsigned flags);

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    if (fails_now(FAULT_mmap)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *base = __real_mmap(at, bytes, prot, flags, fd, offset);
    /* A fixed one goes over a mapping that was counted before. */
    if (base != MAP_FAILED && !(flags & MAP_FIXED)) wi_add(&bytes_mapped, (int64_t)bytes, relaxed);
    return base;
}

int __wrap_munmap(void *at, size_t bytes)
{
    if (fails_now(FAULT_munmap)) {
        errno = ENOMEM;
        return -1;
    }
    int rc = __real_munmap(at, bytes);
    if (rc == 0) wi_sub(&bytes_mapped, (int64_t)bytes, relaxed);
    return rc;
}

int __wrap_madvise(void *at, size_t bytes, int advice)
{
    if (fails_now(FAULT_madvise)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_madvise(at, bytes, advice);
}

int __wrap_memfd_create(const char *name, unsigned flags)
{
    if (fails_now(FAULT_memfd_create)) {
        errno = EMFILE;
        return -1;
    }
    return __real_memfd_create(name, flags);
}

int __real_ftruncate(int fd, off_t bytes);
int __real_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

int __wrap_ftruncate(int fd, off_t bytes);
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

int __wrap_ftruncate(int fd, off_t bytes)
{
    if (fails_now(FAULT_ftruncate)) {
        errno = ENOSPC;
        return -1;
    }
    return __real_ftruncate(fd, bytes);
}

/* clang links ThreadSanitizer into the program, and it comes here before it can watch anything. */
#ifdef __clang__
__attribute__((disable_sanitizer_instrumentation))
#endif
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    if (wi_load(&countdown, relaxed) == 0) return __real_pthread_atfork(prepare, parent, child);
    return fails_now(FAULT_pthread_atfork) ? ENOMEM : __real_pthread_atfork(prepare, parent, child);
}

/* ---- threads, waiting, waking ---- */

int     __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
long    __real_syscall(long number, ...);
ssize_t __real_write(int fd, const void *bytes, size_t count);

int     __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
long    __wrap_syscall(long number, ...);
ssize_t __wrap_write(int fd, const void *bytes, size_t count);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    return fails_now(FAULT_pthread_create) ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

long __wrap_syscall(long number, ...)
{
    va_list list;
    long    argument[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) argument[i] = va_arg(list, long);
    va_end(list);
    bool waits = number == SYS_futex && (argument[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
    if (waits && fails_now(FAULT_futex)) {
        errno = EINTR;
        return -1;
    }
    bool registers = number == SYS_membarrier && argument[0] == MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
    if (registers && fails_now(FAULT_membarrier)) {
        errno = EPERM;
        return -1;
    }
    return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}

/* Eight bytes go to an eventfd; log lines are longer. */
ssize_t __wrap_write(int fd, const void *bytes, size_t count)
{
    if (count == sizeof(uint64_t) && fails_now(FAULT_write)) {
        errno = EAGAIN;
        return -1;
    }
    return __real_write(fd, bytes, count);
}
