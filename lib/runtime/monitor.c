/* SPDX-License-Identifier: Apache-2.0 */
/* monitor.c - the thread that may block in the driver: growth, shrinking, freeing; see runtime.h */
#include "base/log.h"
#include "base/settings.h"
#include "base/trace.h"
#include "runtime/page.h"
#include "runtime/pressure.h"
#include "sync/start.h"

#include <sys/prctl.h>

static void bury_closing(struct weir_runtime *rt)
{
    pthread_mutex_lock(&rt->pools_lock);
    struct weir_pool **link = &rt->closing;
    while (*link) {
        struct weir_pool *pool = *link;
        if (!wi_pool_collect(pool)) {
            link = &pool->next;
            continue;
        }
        *link = pool->next;
        pthread_mutex_unlock(&rt->pools_lock);
        wi_log(INFO, "pool", "%s: its last lease came home; its memory is freed", pool->name);
        wi_pool_recycle(pool);
        pthread_mutex_lock(&rt->pools_lock);
        link = &rt->closing;
    }
    pthread_mutex_unlock(&rt->pools_lock);
}

/* Grows while the pool is used; reads only what slow paths and slots show. */
static uint64_t activity_of(const struct weir_pool *pool)
{
    const struct wi_store *store = &pool->store;
    uint64_t               sum = wi_load(&store->stat.misses, relaxed) + wi_load(&store->handoffs, relaxed);
    for (uint32_t i = 0; i < store->slots; i++) {
        const struct wi_record *record = wi_load(&store->slot[i].record, acquire);
        if (record) sum += wi_load(&record->word, relaxed) >> WI_GENERATION_SHIFT;
    }
    return sum;
}

static uint64_t tend_pools(struct weir_runtime *rt, uint64_t now_ns, uint64_t *activity)
{
    uint64_t next_ns = WEIR_FOREVER;
    uint32_t period = (uint32_t)((now_ns - rt->begin_ns) / rt->period_ns);
    for (struct weir_pool *pool = wi_runtime_visit(rt, NULL); pool; pool = wi_runtime_visit(rt, pool)) {
        if (wi_load(&pool->store.period, relaxed) != period) wi_store(&pool->store.period, period, relaxed);
        *activity += activity_of(pool);
        uint64_t due_ns = wi_pool_tend(pool, now_ns);
        if (due_ns < next_ns) next_ns = due_ns;
    }
    return next_ns;
}

static void *monitor_main(void *arg)
{
    struct weir_runtime *rt = arg;
    struct wi_kick      *kick = &rt->context.monitor;
    uint64_t             activity_before = 0;
    unsigned             quiet = 0;
    (void)prctl(PR_SET_NAME, "weir-monitor");
    wi_nvtx_name_thread("weir monitor");
    while (true) {
        uint32_t seen = wi_kick_begin(kick);
        if (wi_load(&rt->stop, acquire)) break;
        wi_bump(&rt->monitor_wakeups, 1);
        uint64_t now_ns = weir_clock_ns();
        uint64_t activity = 0;
        uint64_t pressure_ns = wi_pressure_tend(rt, now_ns);
        uint64_t next_ns = tend_pools(rt, now_ns, &activity);
        if (pressure_ns < next_ns) next_ns = pressure_ns;
        uint64_t page_ns = wi_page_tend(rt, weir_clock_ns()); /* last: it shows what this round has done */
        if (page_ns < next_ns) next_ns = page_ns;
        bury_closing(rt);
        (void)wi_epoch_reclaim();
        quiet = activity == activity_before ? quiet + 1 : 0;
        activity_before = activity;
        if (quiet < WI_MONITOR_IDLE_PERIODS && next_ns > now_ns + rt->period_ns) next_ns = now_ns + rt->period_ns;
        wi_kick_sleep(kick, seen, next_ns);
    }
    return NULL;
}

int wi_monitor_start(struct weir_runtime *rt)
{
    int err = wi_thread_start(&rt->monitor_thread, monitor_main, rt);
    WI_ENSURE(err == 0, NOMEM, .call = "pthread_create", .sys_errno = err, .detail = "the monitor thread");
    rt->monitor_started = true;
    return 0;
}
