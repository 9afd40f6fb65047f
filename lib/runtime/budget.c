/* SPDX-License-Identifier: Apache-2.0 */
/* budget.c - a runtime's budgets, changed while it runs */
#include "base/cancel.h"
#include "pool/grow.h"
#include "pool/watch.h"
#include "runtime/runtime.h"
#include "sync/futex.h"

#define LOOK_NS (10 * WI_NS_PER_MS)

static int find_budget(struct weir_runtime *rt, uint32_t memory, struct wi_budget **out)
{
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_TRY(wi_process_check());
    WI_ENSURE(memory >= WEIR_MEMORY_PINNED && memory <= WEIR_MEMORY_PAGEABLE, INVAL, .wanted = memory,
              .detail = "memory is not one of enum weir_memory");
    *out = wi_context_budget(&rt->context, memory);
    return 0;
}

int weir_runtime_set_budget(struct weir_runtime *rt, uint32_t memory, uint64_t bytes)
{
    struct wi_budget *budget;
    WI_TRY(find_budget(rt, memory, &budget));
    wi_store(&budget->bytes_max, bytes, relaxed);
    return 0;
}

/*
 * Let pools retire so much more memory; the monitor frees it. Returns the bytes that are on their way out, those before
 * included. A pool that is just being pinned or cleared is passed by: the keeper waits for pools_lock, and must not wait for that.
 */
static uint64_t retire(struct weir_runtime *rt, const struct wi_budget *budget, uint64_t more, bool *passed_by)
{
    uint64_t leaving = 0;
    *passed_by = false;
    pthread_mutex_lock(&rt->pools_lock);
    for (struct weir_pool *pool = rt->pools; pool; pool = pool->next) {
        if (pool->kind != WI_POOL_BUFFERS) continue;
        if (pthread_mutex_trylock(&pool->lock) != 0) {
            *passed_by = true;
            continue;
        }
        if (pool->life == WI_POOL_OPEN) {
            uint64_t before = wi_pool_retire_bytes_locked(pool, budget, 0);
            uint64_t after = more > 0 ? wi_pool_retire_bytes_locked(pool, budget, before + more) : before;
            more -= after - before < more ? after - before : more;
            leaving += after;
        }
        pthread_mutex_unlock(&pool->lock);
    }
    pthread_mutex_unlock(&rt->pools_lock);
    return leaving;
}

int weir_runtime_trim(struct weir_runtime *rt, uint32_t memory, uint64_t bytes, uint64_t deadline_ns)
{
    struct wi_budget *budget;
    WI_UNCANCELLABLE;
    WI_TRY(find_budget(rt, memory, &budget));
    for (;;) {
        uint64_t charged = wi_load(&budget->bytes, relaxed);
        if (charged <= bytes) return 0;
        /* What leaves is counted before what is charged is read: what goes between the two is then not made up for. */
        bool     passed_by;
        uint64_t leaving = retire(rt, budget, 0, &passed_by);
        charged = wi_load(&budget->bytes, acquire);
        if (charged > bytes + leaving) leaving = retire(rt, budget, charged - bytes - leaving, &passed_by);
        if (leaving == 0 && !passed_by && wi_load(&budget->bytes, relaxed) > bytes)
            return WI_FAIL(BUSY, .limit = budget->name, .limit_value = wi_load(&budget->bytes, relaxed), .wanted = bytes,
                           .setting = "weir_pool_opts.buffers_min", .detail = "no pool has more memory to give");
        wi_kick(&rt->context.monitor);
        uint32_t seen = wi_load(&rt->context.monitor.word, acquire);
        uint64_t now_ns = weir_clock_ns();
        if (now_ns >= deadline_ns)
            return WI_FAIL(TIMEDOUT, .limit = budget->name, .limit_value = charged, .wanted = bytes,
                           .setting = "a later deadline", .detail = "buffers are still leased or in flight");
        /* A cold call that waits for the monitor: its kick word changes as buffers come home. */
        uint64_t look_ns = now_ns + LOOK_NS;
        (void)wi_futex_wait(&rt->context.monitor.word, seen, look_ns < deadline_ns ? look_ns : deadline_ns);
    }
}
