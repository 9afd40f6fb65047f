/* SPDX-License-Identifier: Apache-2.0 */
/* buffer.c - the public face of leases on buffers, and of pools */
#include "base/log.h"
#include "base/options.h"
#include "base/settings.h"
#include "pool/directory.h"
#include "pool/grow.h"
#include "pool/preempt.h"
#include "pool/watch.h"
#include "sync/futex.h"

#include <string.h>

#define BUFFERS_MIN_DEFAULT  4
#define BUFFER_BYTES_DEFAULT ((size_t)16 << 20)
#define BUFFERS_MAX          ((size_t)1 << 24)

/* ---- pools ---- */

static size_t or_default_size(size_t value, size_t fallback)
{
    return value ? value : fallback;
}

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

static uint64_t or_default_ns(uint64_t value, uint64_t fallback)
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
    opts->grow_cooldown_ns = or_default_ns(opts->grow_cooldown_ns, 10 * WI_NS_PER_MS);
    opts->shrink_cooldown_ns = or_default_ns(opts->shrink_cooldown_ns, 5 * WI_NS_PER_S);

    WI_ENSURE(opts->buffers_max >= opts->buffers_min, INVAL, .limit = "buffers_max",
              .limit_value = opts->buffers_max, .wanted = opts->buffers_min, .setting = "weir_pool_opts.buffers_max",
              .detail = "buffers_max is below buffers_min");
    WI_ENSURE(opts->buffers_max <= BUFFERS_MAX, EXCEEDS, .limit = "buffers of one pool", .limit_value = BUFFERS_MAX,
              .wanted = opts->buffers_max, .setting = "weir_pool_opts.buffers_max");
    WI_ENSURE(opts->memory <= WEIR_MEMORY_PAGEABLE, INVAL, .detail = "memory is not one of enum weir_memory");
    WI_ENSURE(opts->strategy <= WEIR_STRATEGY_PRIORITY, INVAL, .detail = "strategy is not one of enum weir_strategy");
    WI_ENSURE(opts->flags <= (WEIR_POOL_SCRUB | WEIR_POOL_PAGEABLE_OK | WEIR_POOL_IGNORE_GUARDS), OPTS,
              .detail = "flags has a bit that this weir does not know");
    WI_ENSURE(opts->grow_factor_percent > 100, INVAL, .detail = "grow_factor_percent must be above 100");
    WI_ENSURE(opts->headroom < opts->buffers_min, INVAL, .limit = "headroom", .limit_value = opts->buffers_min - 1,
              .wanted = opts->headroom, .detail = "headroom must leave a buffer for the lower priorities");
    WI_ENSURE(!(opts->flags & WEIR_POOL_SCRUB) || opts->memory != WEIR_MEMORY_DEVICE, INVAL,
              .detail = "scrub is for memory that the host can write");
    return 0;
}

int weir_pool_create(struct weir_runtime *rt, const struct weir_pool_opts *opts, struct weir_pool **out)
{
    struct weir_pool_opts filled;
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_process_check());
    WI_TRY(wi_options_import(&filled, sizeof filled, opts, "weir_pool_opts"));
    WI_TRY(fill_defaults(&filled));
    WI_ENSURE(!wi_load(&wi_context_of(rt)->device->lost, relaxed), DEVICE,
              .detail = "the device was lost; rebuild the runtime");
    if (filled.preempt) WI_TRY(wi_callbacks_start(&wi_context_of(rt)->callbacks));
    struct wi_pool_spec spec = {.rt = rt, .kind = WI_POOL_BUFFERS, .opts = &filled};
    return wi_pool_make(&spec, out);
}

void weir_pool_destroy(struct weir_pool *pool)
{
    if (!pool) return;
    if (wi_process_check() < 0) return;
    wi_runtime_remove_pool(pool->rt, pool);
    size_t out = wi_pool_close(pool);
    if (out > 0) wi_log(WARN, "pool", "%s closed with %zu leases out; they are freed as they come home", pool->name, out);
    wi_runtime_bury_pool(pool->rt, pool);
}

int weir_pool_reserve(struct weir_pool *pool, size_t buffers)
{
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_TRY(wi_process_check());
    WI_ENSURE(buffers <= pool->opts.buffers_max, EXCEEDS, .limit = "buffers_max",
              .limit_value = pool->opts.buffers_max, .wanted = buffers, .setting = "weir_pool_opts.buffers_max");
    pthread_mutex_lock(&pool->lock);
    size_t total = wi_load(&pool->total, relaxed);
    int    err = total < buffers ? wi_pool_grow_locked(pool, buffers - total) : 0;
    pthread_mutex_unlock(&pool->lock);
    wi_kick(&pool->context->keeper);
    return err;
}

int weir_pool_trim(struct weir_pool *pool, size_t buffers, uint64_t deadline_ns)
{
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

/* ---- acquire ---- */

static int name_the_limit(struct weir_pool *pool, int err, uint32_t need)
{
    if (err == WEIR_EAGAIN)
        return WI_FAIL(AGAIN, .limit = "buffers_max", .limit_value = pool->opts.buffers_max, .wanted = need,
                       .setting = "weir_pool_opts.buffers_max");
    if (err == WEIR_ETIMEDOUT)
        return WI_FAIL(TIMEDOUT, .limit = "buffers_max", .limit_value = pool->opts.buffers_max, .wanted = need,
                       .setting = "a later deadline, or weir_pool_opts.buffers_max");
    return err;
}

static WI_COLD int acquire_cold(struct weir_pool *pool, const struct wi_ask *ask, uint64_t user, const void *site,
                                struct weir_buffer **out)
{
    struct wi_record *record = NULL;
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    int err = wi_store_acquire_slow(&pool->store, ask, &record);
    if (err < 0) return name_the_limit(pool, err, ask->need);
    if (pool->opts.preempt) wi_preempt_note(record, ask->priority, user);
    *out = (struct weir_buffer *)wi_watch_lease(record, site);
    return 0;
}

int weir_buffer_acquire(struct weir_pool *pool, uint64_t deadline_ns, struct weir_buffer **out)
{
    if (WI_LIKELY(pool && out && !wi_watching)) {
        struct wi_record *record = wi_store_hit(&pool->store);
        if (WI_LIKELY(record != NULL)) {
            *out = &record->face;
            return 0;
        }
    }
    struct wi_ask ask = {.deadline_ns = deadline_ns, .priority = 1, .need = 1};
    return acquire_cold(pool, &ask, 0, __builtin_return_address(0), out);
}

int weir_buffer_acquire_with(struct weir_pool *pool, const struct weir_acquire_opts *opts,
                             uint64_t deadline_ns, struct weir_buffer **out)
{
    struct weir_acquire_opts given;
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_acquire_opts"));
    WI_ENSURE(given.priority <= WEIR_PRIORITY_HIGH, INVAL, .detail = "priority is not one of enum weir_priority");
    WI_ENSURE(given.flags == 0, OPTS, .detail = "flags must be 0");
    uint32_t      class = given.priority ? WEIR_PRIORITY_HIGH - given.priority : 1;
    struct wi_ask ask = {.deadline_ns = deadline_ns, .priority = class, .need = 1};
    return acquire_cold(pool, &ask, given.user, __builtin_return_address(0), out);
}

int weir_buffers_acquire(struct weir_pool *pool, size_t count, uint64_t deadline_ns, struct weir_buffer **out)
{
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_ENSURE(count > 0, INVAL, .detail = "count is 0");
    WI_ENSURE(count <= pool->opts.buffers_max - pool->store.headroom, EXCEEDS, .limit = "buffers_max",
              .limit_value = pool->opts.buffers_max - pool->store.headroom, .wanted = count,
              .setting = "weir_pool_opts.buffers_max");
    struct wi_record **records = (struct wi_record **)out; /* a buffer is the first member of its record */
    struct wi_ask      ask = {.deadline_ns = deadline_ns, .priority = 1, .need = (uint32_t)count};
    int                err = wi_store_acquire_slow(&pool->store, &ask, records);
    if (err < 0) return name_the_limit(pool, err, ask.need);
    for (size_t i = 0; i < count; i++) {
        if (pool->opts.preempt) wi_preempt_note(records[i], 1, 0);
        out[i] = (struct weir_buffer *)wi_watch_lease(records[i], __builtin_return_address(0));
    }
    return 0;
}

int weir_buffers_acquire_some(struct weir_pool *pool, size_t count, struct weir_buffer **out)
{
    size_t had = 0;
    WI_ENSURE(count > 0 && count <= INT32_MAX, INVAL, .detail = "count is 0 or too large");
    for (; had < count; had++) {
        int err = weir_buffer_acquire(pool, WEIR_NOW, &out[had]);
        if (err < 0 && had == 0) return err;
        if (err < 0) break;
    }
    return (int)had;
}

/* ---- release ---- */

static WI_COLD int refuse(int code)
{
    if (code == WEIR_ENOTLEASED)
        return WI_FAIL(NOTLEASED, .detail = "released twice, or never leased");
    return code;
}

static WI_COLD int release_cold(struct weir_buffer *buffer)
{
    struct wi_record *record;
    if (!buffer) return 0;
    WI_ENSURE(wi_record_valid(buffer), FOREIGN, .detail = "not a buffer of this process's weir");
    WI_TRY(wi_watch_release(buffer, &record));
    if (wi_load(&record->attention, relaxed)) return refuse(wi_pool_release_attentive(record));
    return refuse(wi_store_release(record));
}

int weir_buffer_release(struct weir_buffer *buffer)
{
    struct wi_record *record = (struct wi_record *)buffer;
    if (WI_UNLIKELY(!wi_record_valid(buffer) || wi_watching || wi_load(&record->attention, relaxed)))
        return release_cold(buffer);
    int err = wi_store_release(record);
    return WI_LIKELY(err == 0) ? 0 : refuse(err);
}

int weir_buffers_release(struct weir_buffer *const *buffers, size_t count)
{
    int first = 0;
    for (size_t i = 0; i < count; i++) {
        int err = weir_buffer_release(buffers[i]);
        if (err < 0 && first == 0) first = err;
    }
    return first;
}

/* ---- looking ---- */

static uint32_t public_state(const struct wi_record *record)
{
    switch (wi_word_state(wi_load(&record->word, acquire))) {
    case WI_FREE: return WEIR_BUFFER_FREE;
    case WI_LEASED:
        return wi_load(&record->attention, relaxed) & WI_ATTENTION_GUARD && wi_marks_pending(record)
                   ? WEIR_BUFFER_COPYING
                   : WEIR_BUFFER_ACQUIRED;
    case WI_RETIRING: return WEIR_BUFFER_RETIRING;
    case WI_QUARANTINED: return WEIR_BUFFER_QUARANTINED;
    default: return 0;
    }
}

int weir_buffer_info_read(const struct weir_buffer *buffer, struct weir_buffer_info *out)
{
    WI_ENSURE(wi_record_valid(buffer), FOREIGN, .detail = "not a buffer of this process's weir");
    const struct wi_record *record = wi_record_plain(buffer, NULL);
    struct weir_pool       *pool = wi_pool_of(record);
    struct weir_buffer_info info = {
        .id = wi_record_index(record),
        .pool = pool,
        .acquires = wi_load(&record->word, relaxed) >> WI_GENERATION_SHIFT,
        .bytes_up = wi_load(&record->bytes_up, relaxed),
        .bytes_down = wi_load(&record->bytes_down, relaxed),
        .last_use_ns = wi_runtime_period_start_ns(pool->rt, wi_load(&record->period, relaxed)),
        .state = public_state(record),
    };
    return wi_snapshot_export(out, &info, sizeof info);
}

int weir_buffer_find(struct weir_runtime *rt, const void *host, struct weir_buffer **out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    struct wi_record *record = wi_directory_find(host);
    if (!record || wi_pool_of(record)->rt != rt)
        return WI_FAIL(NOENT, .detail = "no buffer of this runtime has that address");
    *out = &record->face;
    return 0;
}

int weir_pool_stats_read(struct weir_pool *pool, struct weir_pool_stats *out)
{
    struct weir_pool_stats stats;
    WI_ENSURE(pool && out, INVAL, .detail = "pool or out is NULL");
    wi_pool_read_stats(pool, &stats);
    return wi_snapshot_export(out, &stats, sizeof stats);
}
