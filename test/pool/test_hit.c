/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hit makes no system call, no driver call and no allocation. The thread stays on one CPU: a buffer that belongs to
 * a CPU and is released on another one is taken back from it first, by a system call.
 */
#include "pool/fixture.h"

#include "base/alloc.h"
#include "base/atomic.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>

#define PAIRS     2000000
#define FAR_AHEAD UINT64_C(1000000000000)

static struct weir_pool    *pool;
static struct weir_runtime *rt;
static _Atomic uint32_t     done;
static uint64_t             allocations, driver_calls;

/* From here on any system call of this thread ends the process. */
static void forbid_system_calls(void)
{
    struct sock_filter kill_all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
    struct sock_fprog  program = {.len = 1, .filter = kill_all};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static uint64_t calls_of_driver(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    ok(weir_runtime_stats_read(rt, &stats));
    return stats.driver_calls;
}

static void *hit(void *arg)
{
    struct weir_buffer *buffer;
    uint32_t            bad = 0;
    (void)arg;
    stay_here();
    for (int i = 0; i < 5000; i++) { /* settle in this CPU's slot, and have it for its own */
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
        ok(weir_buffer_release(buffer));
    }
    driver_calls = calls_of_driver();
    (void)wi_alloc_fail_at(FAR_AHEAD);
    forbid_system_calls();
    for (int i = 0; i < PAIRS; i++) {
        bad |= (uint32_t)weir_buffer_acquire(pool, WEIR_FOREVER, &buffer);
        bad |= (uint32_t)weir_buffer_release(buffer);
    }
    allocations = FAR_AHEAD - wi_alloc_fail_at(0);
    wi_store(&done, bad ? 2 : 1, release);
    while (true) {
    } /* even to exit would be a system call: the process ends with the test */
}

Test(hit, makes_no_system_call_driver_call_or_allocation)
{
    pthread_t thread;
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "hit", .buffer_bytes = 4096, .buffers_min = 64),
                        &pool));
    cr_assert_eq(pthread_create(&thread, NULL, hit, NULL), 0);
    eventually(wi_load(&done, acquire));
    cr_assert_eq(wi_load(&done, relaxed), 1, "a hit failed");
    cr_assert_eq(allocations, 0);
    cr_assert_eq(calls_of_driver(), driver_calls);
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_geq(stats.acquires, PAIRS + 5000);
    cr_assert_eq(stats.acquires,
                 stats.slot_hits + stats.lane_hits + stats.commons_hits + stats.steal_hits);
}
