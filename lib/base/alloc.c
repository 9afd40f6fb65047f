/* SPDX-License-Identifier: Apache-2.0 */
/* alloc.c - allocation with a planned failure */
#include "base/alloc.h"

#include "base/atomic.h"

#include <stdlib.h>
#include <string.h>

/* Allocations until the planned failure; 0: none is planned. */
static _Atomic uint64_t fail_countdown;

static WI_COLD bool fail_countdown_step(void)
{
    uint64_t left = wi_load(&fail_countdown, relaxed);

    while (left != 0) {
        if (wi_cas(&fail_countdown, &left, left - 1, relaxed)) return left == 1;
    }
    return false;
}

static bool fails_now(void)
{
    return WI_UNLIKELY(wi_load(&fail_countdown, relaxed) != 0) && fail_countdown_step();
}

uint64_t wi_alloc_fail_at(uint64_t nth)
{
    return wi_exchange(&fail_countdown, nth, relaxed);
}

void *wi_alloc(size_t bytes)
{
    return fails_now() ? NULL : malloc(bytes);
}

void *wi_calloc(size_t count, size_t bytes)
{
    return fails_now() ? NULL : calloc(count, bytes);
}

void *wi_calloc_aligned(size_t alignment, size_t count, size_t bytes)
{
    void  *memory = NULL;
    size_t total;

    wi_assert(alignment != 0 && (alignment & (alignment - 1)) == 0);
    if (fails_now() || __builtin_mul_overflow(count, bytes, &total)) return NULL;
    if (alignment < sizeof(void *)) alignment = sizeof(void *);
    if (posix_memalign(&memory, alignment, total) != 0) return NULL;
    return memset(memory, 0, total);
}

char *wi_strdup(const char *text)
{
    return fails_now() ? NULL : strdup(text);
}

void wi_free(void *memory)
{
    free(memory);
}
