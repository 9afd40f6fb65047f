/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that fail while a pool is made. */
#include "pool/fixture.h"

#include "memory/system_fault.h"

#include <string.h>

static uint32_t refuse(void *ctx, struct weir_buffer *buffer, uint64_t user)
{
    (void)ctx, (void)buffer, (void)user;
    return WEIR_PREEMPT_REFUSE;
}

/* Holders are asked on a thread of its own, which is started with the first pool that preempts. */
Test(pool_faults, a_pool_that_preempts_needs_a_thread)
{
    struct weir_pool         *pool = NULL;
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    struct weir_runtime      *rt = make_runtime();
    struct weir_pool_opts     opts =
        *WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .preempt = refuse);
    char text[512];
    wi_store(&system_fault.thread_fail_from, wi_load(&system_fault.thread_calls, relaxed) + 1,
             relaxed);
    answers(weir_pool_create(rt, &opts, &pool), NOMEM);
    cr_assert_gt(weir_error_text(text, sizeof text), 0);
    cr_assert_not_null(strstr(text, "pthread_create"), "%s", text);
    cr_assert_null(pool);
    ok(weir_runtime_stats_read(rt, &stats));
    cr_assert_eq(stats.pools, 0);
    cr_assert_eq(stats.pinned_bytes, 0);
    system_fault_clear();
    ok(weir_pool_create(rt, &opts, &pool));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}
