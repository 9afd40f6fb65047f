/* SPDX-License-Identifier: Apache-2.0 */
/* tend.c - the monitor's visit to a pool: grow ahead of demand, shrink after a quiet time */
#include "base/log.h"
#include "base/trace.h"
#include "pool/grow.h"

#include <weir/error.h>
#include <weir/pressure.h>

#define PRESSURE_RETRY_NS    WI_NS_PER_S /* growth and trimming are considered again */
#define GROW_FAILURE_PENALTY 10 /* cooldowns to wait after a growth that failed */

static size_t size_after_growth(const struct weir_pool *pool, size_t total)
{
    size_t target = total * pool->opts.grow_factor_percent / 100;
    if (target < total + 1) target = total + 1;
    return target < pool->opts.buffers_max ? target : pool->opts.buffers_max;
}

static void grow(struct weir_pool *pool, size_t total, uint64_t now_ns)
{
    size_t target = size_after_growth(pool, total);
    WI_TRACE_RANGE_BEGIN("grow", pool->name);
    int err = wi_pool_grow_locked(pool, target - total, NULL);
    WI_TRACE_RANGE_END();
    WI_TRACE_POINT(grow, pool, pool->name, total, target, err);
    if (err < 0) {
        char text[256];
        wi_kick(&pool->context->keeper); /* what was on its way out may have come back all the same */
        (void)weir_error_text(text, sizeof text);
        wi_add(&pool->stat.grow_failures, 1, relaxed);
        wi_log(WARN, "pool", "%s stays at %zu: %s", pool->name, total, text);
        pool->grown_ns = now_ns + (GROW_FAILURE_PENALTY - 1) * pool->opts.grow_cooldown_ns;
        return;
    }
    wi_add(&pool->stat.grows, 1, relaxed);
    pool->grown_ns = now_ns;
    wi_kick(&pool->context->keeper); /* counted first: who is served now may look */
    wi_log(INFO, "pool", "%s grew from %zu to %zu", pool->name, total, target);
}

static uint32_t pressure_of(const struct weir_pool *pool)
{
    return wi_load(&pool->context->pressure, relaxed);
}

/* Returns when to look again. */
static uint64_t consider_growth(struct weir_pool *pool, uint64_t now_ns)
{
    size_t total = wi_load(&pool->total, relaxed);
    bool   starving = wi_load(&pool->store.gate, relaxed) & WI_GATE_QUEUED;
    if (!wi_load(&pool->wants_growth, relaxed) && !starving) return WEIR_FOREVER;
    if (total >= pool->opts.buffers_max) return WEIR_FOREVER;
    if (pool->grown_ns && now_ns < pool->grown_ns + pool->opts.grow_cooldown_ns)
        return pool->grown_ns + pool->opts.grow_cooldown_ns;
    if (pressure_of(pool) >= WEIR_TIGHT) return now_ns + PRESSURE_RETRY_NS; /* weir/pressure.h: no growth */
    wi_store(&pool->wants_growth, 0, relaxed);
    grow(pool, total, now_ns);
    return now_ns + pool->opts.grow_cooldown_ns; /* waiters may want more */
}

static size_t in_use(const struct weir_pool *pool)
{
    size_t used = 0;
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        uint64_t state = wi_word_state(wi_load(&pool->store.records[i].word, relaxed));
        used += state == WI_LEASED || state == WI_RETIRING;
    }
    return used;
}

static uint64_t consider_shrink(struct weir_pool *pool, uint64_t now_ns)
{
    size_t total = wi_load(&pool->total, relaxed);
    if (total <= pool->opts.buffers_min || pool->kind != WI_POOL_BUFFERS) return WEIR_FOREVER;
    if (pressure_of(pool) >= WEIR_HIGH) { /* weir/pressure.h: what is free goes, without a quiet time */
        size_t used = in_use(pool);
        (void)wi_pool_shrink_locked(pool, used > pool->opts.buffers_min ? used : pool->opts.buffers_min);
        return now_ns + PRESSURE_RETRY_NS;
    }
    if (in_use(pool) * 100 >= total * pool->opts.shrink_percent) {
        pool->quiet_ns = 0;
        return now_ns + pool->opts.shrink_cooldown_ns / 4;
    }
    if (!pool->quiet_ns) pool->quiet_ns = now_ns;
    uint64_t since_ns = pool->quiet_ns > pool->grown_ns ? pool->quiet_ns : pool->grown_ns;
    if (pool->shrunk_ns > since_ns) since_ns = pool->shrunk_ns;
    uint64_t due_ns = since_ns + pool->opts.shrink_cooldown_ns;
    if (now_ns < due_ns) {
        uint64_t soon_ns = now_ns + pool->opts.shrink_cooldown_ns / 4;
        return due_ns < soon_ns ? due_ns : soon_ns;
    }
    size_t target = total * 100 / pool->opts.grow_factor_percent;
    if (target < pool->opts.buffers_min) target = pool->opts.buffers_min;
    pool->shrunk_ns = now_ns;
    (void)wi_pool_shrink_locked(pool, target);
    return now_ns + pool->opts.shrink_cooldown_ns;
}

uint64_t wi_pool_tend(struct weir_pool *pool, uint64_t now_ns)
{
    uint64_t next_ns = WEIR_FOREVER;
    pthread_mutex_lock(&pool->lock);
    if (pool->life == WI_POOL_OPEN && !(wi_load(&pool->store.gate, relaxed) & WI_GATE_SHUT)) {
        uint64_t grow_ns = consider_growth(pool, now_ns);
        uint64_t shrink_ns = consider_shrink(pool, now_ns);
        next_ns = grow_ns < shrink_ns ? grow_ns : shrink_ns;
        /* Objects on their way out kick the monitor as they come home; the free ones are looked for again. */
        if (wi_pool_settle_locked(pool) > 0 && next_ns > now_ns + 100 * WI_NS_PER_MS)
            next_ns = now_ns + 100 * WI_NS_PER_MS;
    }
    pthread_mutex_unlock(&pool->lock);
    if (pool->hooks.tend) {
        uint64_t hook_ns = pool->hooks.tend(pool, now_ns);
        if (hook_ns < next_ns) next_ns = hook_ns;
    }
    return next_ns;
}
