/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - the one clock of weir, and deadlines on it */
#include "base/base.h"

#include <time.h>

uint32_t weir_version(void)
{
    return WEIR_VERSION_MAJOR << 16 | WEIR_VERSION_MINOR << 8 | WEIR_VERSION_PATCH;
}

uint64_t weir_clock_ns(void)
{
    struct timespec now;

    /* Cannot fail: CLOCK_MONOTONIC exists on every Linux, and `now` is ours. */
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * WI_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t weir_deadline_after_ns(uint64_t timeout_ns)
{
    uint64_t deadline_ns;

    if (__builtin_add_overflow(weir_clock_ns(), timeout_ns, &deadline_ns)) return WEIR_FOREVER;
    return deadline_ns;
}
