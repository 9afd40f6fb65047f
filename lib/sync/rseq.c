/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/rseq.h"

#ifdef WI_HAVE_SECTIONS

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where the C library has registered no thread, each reads this area, whose CPU number matches nothing. */
static __thread struct {
    uint32_t cpu_start;
    uint32_t cpu;
    uint64_t section;
    uint64_t reserved[2];
} unregistered __attribute__((aligned(32))) = {.cpu = UINT32_MAX};

ptrdiff_t wi_rseq_offset;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool           usable;

static void start(void)
{
    if (__rseq_size == 0) {
        /* unreached: the C library of the tests registers rseq for each thread. */
        wi_rseq_offset = (char *)&unregistered - (char *)__builtin_thread_pointer();
        return;
    }
    wi_rseq_offset = __rseq_offset;
    usable = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0) == 0;
}

bool wi_rseq_start(void)
{
    pthread_once(&once, start);
    return usable;
}

void wi_rseq_fence(uint32_t cpu)
{
    unsigned flags = cpu == WI_RSEQ_EVERY_CPU ? 0 : MEMBARRIER_CMD_FLAG_CPU;
    wi_fence(seq_cst);
    /* Once registered, only a filter of system calls that was put up since can refuse it: see WEIR_BIAS. */
    wi_require(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, flags, cpu) == 0);
    wi_fence(seq_cst);
}

uint32_t wi_rseq_cpu(void)
{
    const char *area = (const char *)__builtin_thread_pointer() + wi_rseq_offset;
    return *(const volatile uint32_t *)(area + 4);
}

#else

bool wi_rseq_start(void)
{
    return false;
}

void wi_rseq_fence(uint32_t cpu)
{
    (void)cpu;
    wi_require(!"a fence for sections that this build does not have");
}

uint32_t wi_rseq_cpu(void)
{
    return UINT32_MAX;
}

#endif
