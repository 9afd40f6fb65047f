/* SPDX-License-Identifier: Apache-2.0 */
/* buffer.c - leases on buffers: acquire and release */
#include "base/options.h"
#include "base/trace.h"
#include "pool/hit.h"
#include "pool/preempt.h"
#include "pool/watch.h"
#include <weir/pressure.h>

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

/* The monitor may sleep while nothing but hits happens; who comes the long way sets the time right. */
static void note_use(struct weir_pool *pool, struct wi_record *record)
{
    uint32_t period = wi_runtime_period(pool->rt, weir_clock_ns());
    if (wi_load(&pool->store.period, relaxed) != period) wi_store(&pool->store.period, period, relaxed);
    wi_store(&record->period, period, relaxed);
}

static WI_COLD int acquire_cold(struct weir_pool *pool, const struct wi_ask *ask, uint64_t user, const void *site,
                                struct weir_buffer **out)
{
    struct wi_record *record = NULL;
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    bool refused = ask->priority == 2 && wi_load(&pool->context->pressure, relaxed) == WEIR_CRITICAL;
    WI_ENSURE(!refused, PRESSURE, .detail = "priority LOW is refused while memory pressure is CRITICAL",
              .setting = "a higher priority, or weir_pressure_set()");
    int err = wi_store_acquire_slow(&pool->store, ask, &record);
    if (err < 0) return name_the_limit(pool, err, ask->need);
    note_use(pool, record);
    if (pool->opts.preempt) wi_preempt_note(record, ask->priority, user);
    *out = (struct weir_buffer *)wi_watch_lease(record, site);
    WI_TRACE_POINT(acquire, pool, record);
    return 0;
}

int weir_buffer_acquire(struct weir_pool *pool, uint64_t deadline_ns, struct weir_buffer **out)
{
    if (WI_LIKELY(pool && out)) {
        struct wi_record *record = wi_store_hit(&pool->store);
        if (WI_LIKELY(record != NULL)) {
            *out = &record->face;
            WI_TRACE_POINT(acquire, pool, record);
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
        note_use(pool, records[i]);
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
    WI_TRY(wi_process_check()); /* what was released in a forked child may be released again */
    if (code == WEIR_ENOTLEASED)
        return WI_FAIL(NOTLEASED, .detail = "released twice, or never leased");
    return code;
}

static WI_COLD int release_cold(struct weir_buffer *buffer)
{
    struct wi_record *record;
    if (!buffer) return 0;
    WI_TRY(wi_process_check());
    WI_ENSURE(wi_record_valid(buffer), FOREIGN, .detail = "not a buffer of this process's weir");
    WI_TRY(wi_watch_release(buffer, &record));
    enum wi_pool_kind kind = wi_pool_of(record)->kind;
    WI_ENSURE(kind == WI_POOL_BUFFERS || kind == WI_POOL_TIERED, KIND, .detail = "the handle is not a buffer");
    WI_TRACE_POINT(release, record);
    if (wi_load(&record->attention, relaxed)) return refuse(wi_pool_release_attentive(record));
    return refuse(wi_store_release(record));
}

int weir_buffer_release(struct weir_buffer *buffer)
{
    struct wi_record *record = (struct wi_record *)buffer;
    if (WI_UNLIKELY(!wi_record_valid(buffer))) return release_cold(buffer);
    if (WI_LIKELY(wi_bias_release(record))) {
        WI_TRACE_POINT(release, record);
        return 0;
    }
    if (WI_UNLIKELY(wi_watching || wi_load(&record->attention, relaxed))) return release_cold(buffer);
    WI_TRACE_POINT(release, record);
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
