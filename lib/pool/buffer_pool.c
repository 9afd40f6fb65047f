/* SPDX-License-Identifier: Apache-2.0 */
/* buffer_pool.c - the public face of pools of buffers */
#include "base/cancel.h"
#include "base/log.h"
#include "base/options.h"
#include "base/settings.h"
#include "pool/grow.h"
#include "pool/preempt.h"
#include "pool/watch.h"
#include "sync/futex.h"

#define BUFFERS_MIN_DEFAULT  4
#define BUFFER_BYTES_DEFAULT ((size_t)16 << 20)
#define BUFFERS_MAX          ((size_t)1 << 24)
#define FLAGS_KNOWN          (WEIR_POOL_SCRUB | WEIR_POOL_PAGEABLE_OK | WEIR_POOL_IGNORE_GUARDS | WEIR_POOL_CHECK_WRITES)

/* ---- options ---- */

static size_t or_default_size(size_t value, size_t fallback)
{
    return value ? value : fallback;
}

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

static uint64_t or_default_u64(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

static int fill_defaults(struct weir_pool_opts *opts)
{
    opts->buffer_bytes = or_default_size(opts->buffer_bytes, BUFFER_BYTES_DEFAULT);
    opts->buffers_min = or_default_size(opts->buffers_min, BUFFERS_MIN_DEFAULT);
    opts->buffers_max = or_default_size(opts->buffers_max, opts->buffers_min);
    opts->memory = or_default(opts->memory, WEIR_MEMORY_PINNED);
    opts->strategy = or_default(opts->strategy, WEIR_STRATEGY_MOST_RECENT);
    opts->grow_factor_percent = or_default(opts->grow_factor_percent, 200);
    opts->low_water_percent = or_default(opts->low_water_percent, 10);
    opts->shrink_percent = or_default(opts->shrink_percent, 25);
    opts->grow_cooldown_ns = or_default_u64(opts->grow_cooldown_ns, 10 * WI_NS_PER_MS);
    opts->shrink_cooldown_ns = or_default_u64(opts->shrink_cooldown_ns, 5 * WI_NS_PER_S);
    opts->sample_every = or_default_u64(opts->sample_every, WI_SAMPLE_EVERY_DEFAULT);
    if (wi_settings()->check >= 3) opts->flags |= WEIR_POOL_CHECK_WRITES;

    WI_ENSURE(opts->buffers_max >= opts->buffers_min, INVAL, .limit = "buffers_max",
              .limit_value = opts->buffers_max, .wanted = opts->buffers_min, .setting = "weir_pool_opts.buffers_max",
              .detail = "buffers_max is below buffers_min");
    WI_ENSURE(opts->buffers_max <= BUFFERS_MAX, EXCEEDS, .limit = "buffers of one pool", .limit_value = BUFFERS_MAX,
              .wanted = opts->buffers_max, .setting = "weir_pool_opts.buffers_max");
    WI_ENSURE(opts->memory <= WEIR_MEMORY_PAGEABLE, INVAL, .detail = "memory is not one of enum weir_memory");
    WI_ENSURE(opts->strategy <= WEIR_STRATEGY_PRIORITY, INVAL, .detail = "strategy is not one of enum weir_strategy");
    WI_ENSURE((opts->flags & ~(uint32_t)FLAGS_KNOWN) == 0, OPTS, .wanted = opts->flags,
              .detail = "flags has a bit that this weir does not know");
    WI_ENSURE(opts->dtype == WEIR_DTYPE_NONE || weir_dtype_bytes(opts->dtype), INVAL, .wanted = opts->dtype,
              .detail = "dtype is not one of enum weir_dtype");
    WI_ENSURE(opts->dtype == WEIR_DTYPE_NONE || opts->buffer_bytes % weir_dtype_bytes(opts->dtype) == 0, INVAL,
              .limit = "bytes of the dtype", .limit_value = weir_dtype_bytes(opts->dtype), .wanted = opts->buffer_bytes,
              .setting = "weir_pool_opts.buffer_bytes", .detail = "buffer_bytes is no multiple of the dtype's size");
    WI_ENSURE(opts->grow_factor_percent > 100, INVAL, .detail = "grow_factor_percent must be above 100");
    WI_ENSURE(opts->headroom < opts->buffers_min, INVAL, .limit = "headroom", .limit_value = opts->buffers_min - 1,
              .wanted = opts->headroom, .detail = "headroom must leave a buffer for the lower priorities");
    WI_ENSURE(!(opts->flags & WEIR_POOL_SCRUB) || opts->memory != WEIR_MEMORY_DEVICE, INVAL,
              .detail = "scrub is for memory that the host can write");
    return 0;
}

static int import_source(struct weir_pool_opts *opts, struct weir_memory_source *copy)
{
    if (!opts->source) return 0;
    WI_TRY(wi_options_import(copy, sizeof *copy, opts->source, "weir_memory_source"));
    WI_ENSURE(copy->take, INVAL, .detail = "the memory source has no take");
    WI_ENSURE(copy->give, INVAL, .detail = "the memory source has no give");
    WI_ENSURE(opts->memory != WEIR_MEMORY_DEVICE, INVAL, .setting = "weir_pool_opts.memory",
              .detail = "a memory source is for host memory");
    opts->source = copy;
    return 0;
}

/* ---- life ---- */

int weir_pool_create(struct weir_runtime *rt, const struct weir_pool_opts *opts, struct weir_pool **out)
{
    struct weir_pool_opts     filled;
    struct weir_memory_source source;
    WI_UNCANCELLABLE;
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_process_check());
    WI_TRY(wi_options_import(&filled, sizeof filled, opts, "weir_pool_opts"));
    WI_TRY(fill_defaults(&filled));
    WI_TRY(import_source(&filled, &source));
    WI_ENSURE(!wi_load(&wi_context_of(rt)->device->lost, relaxed), DEVICE,
              .detail = "the device was lost; rebuild the runtime");
    if (filled.preempt) WI_TRY(wi_callbacks_start(&wi_context_of(rt)->callbacks));
    struct wi_pool_spec spec = {.rt = rt, .kind = WI_POOL_BUFFERS, .opts = &filled};
    return wi_pool_make(&spec, out);
}

void weir_pool_destroy(struct weir_pool *pool)
{
    WI_UNCANCELLABLE;
    if (!pool) return;
    if (wi_process_check() < 0) return;
    wi_runtime_remove_pool(pool->rt, pool);
    size_t out = wi_pool_close(pool);
    if (out > 0)
        wi_log(WARN, "pool", "%s closed with %zu leases out; they are freed as they come home", pool->name, out);
    wi_runtime_bury_pool(pool->rt, pool);
}

/* ---- size ---- */

int weir_pool_reserve(struct weir_pool *pool, size_t buffers)
{
    WI_UNCANCELLABLE;
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_TRY(wi_process_check());
    WI_ENSURE(buffers <= pool->opts.buffers_max, EXCEEDS, .limit = "buffers_max",
              .limit_value = pool->opts.buffers_max, .wanted = buffers, .setting = "weir_pool_opts.buffers_max");
    pthread_mutex_lock(&pool->lock);
    size_t total = wi_load(&pool->total, relaxed);
    int    err = total < buffers ? wi_pool_grow_locked(pool, buffers - total, pool->opts.progress) : 0;
    wi_pool_show(pool); /* also when it failed: some may have come back from a shrink */
    pthread_mutex_unlock(&pool->lock);
    return err;
}

int weir_pool_trim(struct weir_pool *pool, size_t buffers, uint64_t deadline_ns)
{
    WI_UNCANCELLABLE;
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_TRY(wi_process_check());
    size_t floor = buffers > pool->opts.buffers_min ? buffers : pool->opts.buffers_min;
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        size_t waiting = wi_pool_shrink_locked(pool, floor);
        pthread_mutex_unlock(&pool->lock);
        if (waiting == 0) return 0;
        uint64_t now_ns = weir_clock_ns();
        if (now_ns >= deadline_ns)
            return WI_FAIL(TIMEDOUT, .limit = "buffers still leased or in flight", .limit_value = waiting,
                           .detail = "they leave as they come home");
        /* A cold call that waits for others' releases: the monitor's kick word tells of each. */
        uint32_t seen = wi_load(&pool->context->monitor.word, acquire);
        uint64_t look_ns = now_ns + 10 * WI_NS_PER_MS;
        (void)wi_futex_wait(&pool->context->monitor.word, seen, look_ns < deadline_ns ? look_ns : deadline_ns);
    }
}
