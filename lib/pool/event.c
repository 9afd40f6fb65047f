/* SPDX-License-Identifier: Apache-2.0 */
/* event.c - the public face of events */
#include "base/alloc.h"
#include "pool/adopt.h"
#include "pool/current.h"
#include "pool/grow.h"
#include "pool/hit.h"
#include "pool/poll.h"
#include "pool/runtime_pools.h"
#include "pool/stream_issue.h"
#include "pool/watch.h"

#include <weir/stream.h>

static struct wi_context *context_of(const struct weir_event *lease)
{
    return wi_pool_of(wi_record_plain(lease, NULL))->context;
}

int weir_event_acquire(struct weir_runtime *rt, uint32_t flags, uint64_t deadline_ns, struct weir_event **out)
{
    struct wi_record *record;
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_ENSURE(flags <= WEIR_EVENT_TIMING, OPTS, .detail = "flags has a bit that this weir does not know");
    struct weir_pool *pool = wi_runtime_event_pool(rt, flags);
    if (!(record = wi_store_hit(&pool->store))) {
        struct wi_ask ask = {.deadline_ns = deadline_ns, .priority = 1, .need = 1};
        int           err = wi_store_acquire_slow(&pool->store, &ask, &record);
        if (err == WEIR_EAGAIN || err == WEIR_ETIMEDOUT) {
            struct wi_cause cause = {.limit = "events_max", .limit_value = pool->opts.buffers_max, .wanted = 1,
                                     .setting = "weir_runtime_opts.events_max or WEIR_EVENTS_MAX"};
            return wi_fail_at(err, __FILE__, __LINE__, &cause);
        }
        if (err < 0) return err;
    }
    wi_store(&((struct wi_event *)record->object)->recorded, 0, relaxed);
    *out = wi_watch_lease(record, __builtin_return_address(0));
    return 0;
}

int weir_event_release(struct weir_event *lease)
{
    struct wi_event *event;
    if (!lease) return 0;
    WI_TRY(wi_lease_event(lease, &event));
    return event->adopted ? wi_adopt_end_event(lease) : wi_lease_release(lease, WI_POOL_EVENTS);
}

int weir_event_record(struct weir_event *lease, struct weir_stream *given)
{
    struct wi_event  *event;
    struct wi_stream *stream, *ticks;
    WI_TRY(wi_lease_event(lease, &event));
    WI_TRY(wi_issue_begin(given, &stream, &ticks));
    struct wi_context          *context = stream->context;
    const struct wi_device_ops *ops = context->device->ops;
    if (wi_load(&event->recorded, relaxed)) {
        int err = ops->event_query(context->device, event->handle);
        WI_ENSURE(err != WEIR_EAGAIN, BUSY, .detail = "the event's earlier point has not passed");
        /* A point inside a graph has no moment at which it passes. */
        if (err < 0 && err != WEIR_ECAPTURE) return wi_issue_failed(context, err);
    }
    int err = ops->event_record(context->device, event->handle, stream->handle);
    if (err < 0) return wi_issue_failed(context, err);
    wi_store(&event->recorded, 1, relaxed);
    wi_add(&stream->stat.events_recorded, 1, relaxed);
    wi_stream_touch(ticks);
    return 0;
}

static int recorded_event(struct weir_event *lease, struct wi_event **out)
{
    WI_TRY(wi_lease_event(lease, out));
    WI_ENSURE(wi_load(&(*out)->recorded, relaxed), INVAL, .detail = "the event was never recorded in this lease");
    return 0;
}

int weir_event_query(struct weir_event *lease)
{
    struct wi_event *event;
    WI_TRY(recorded_event(lease, &event));
    struct wi_context *context = context_of(lease);
    int                err = context->device->ops->event_query(context->device, event->handle);
    return err == WEIR_EAGAIN ? err : wi_issue_failed(context, err);
}

int weir_event_sync(struct weir_event *lease, uint64_t deadline_ns)
{
    struct wi_event *event;
    WI_TRY(recorded_event(lease, &event));
    struct wi_context *context = context_of(lease);
    int                err = context->device->ops->event_query(context->device, event->handle);
    if (err != WEIR_EAGAIN) return wi_issue_failed(context, err);
    return wi_poll_wait(context, event->handle, deadline_ns);
}

int weir_event_elapsed_ns(struct weir_event *start_lease, struct weir_event *end_lease, uint64_t *out_ns)
{
    struct wi_event *start, *end;
    WI_ENSURE(out_ns, INVAL, .detail = "out_ns is NULL");
    WI_TRY(recorded_event(start_lease, &start));
    WI_TRY(recorded_event(end_lease, &end));
    WI_ENSURE(start->flags & end->flags & WEIR_EVENT_TIMING, KIND,
              .detail = "elapsed time needs two events acquired with WEIR_EVENT_TIMING");
    struct wi_context *context = context_of(start_lease);
    return context->device->ops->event_elapsed(context->device, start->handle, end->handle, out_ns);
}

/* ---- clearing ---- */

/* Destroy what is free beyond events_min, one at a time, so that others go on being served. */
static void destroy_spare_locked(struct weir_pool *pool)
{
    struct wi_store  *store = &pool->store;
    struct wi_record *record;
    uint32_t          at = 0;
    while (wi_load(&pool->total, relaxed) > pool->opts.buffers_min) {
        while (at < store->records_max && !wi_store_take(store, &store->records[at], WI_GONE)) at++;
        if (at < store->records_max) {
            record = &store->records[at];
        } else if (!(record = wi_store_pull(store, WI_GONE))) {
            return;
        }
        wi_sub(&pool->total, 1, release);
        pool->drop(pool, record);
    }
}

static int clear_pool(struct weir_pool *pool)
{
    struct weir_pool_stats stats;
    /* A wait that was given up may have left the keeper in the middle of a query. */
    pthread_mutex_lock(&pool->context->poll_lock);
    pthread_mutex_lock(&pool->lock);
    if (!(wi_load(&pool->store.gate, relaxed) & WI_GATE_SHUT)) {
        wi_store(&pool->wants_growth, 0, relaxed);
        destroy_spare_locked(pool);
        wi_store_zero(&pool->store);
        wi_pool_zero_stat(pool);
        wi_store(&pool->leases_before, wi_pool_leases(pool), relaxed);
    }
    pthread_mutex_unlock(&pool->lock);
    pthread_mutex_unlock(&pool->context->poll_lock);
    wi_pool_read_stats(pool, &stats);
    return (int)stats.leased;
}

int weir_event_clear(struct weir_runtime *rt)
{
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_TRY(wi_process_check());
    int leased = 0;
    for (uint32_t flags = 0; flags <= WEIR_EVENT_TIMING; flags++)
        leased += clear_pool(wi_runtime_event_pool(rt, flags));
    return leased;
}

/* ---- making ---- */

static int make_event(struct weir_pool *pool, struct wi_record *record)
{
    struct wi_device *device = pool->context->device;
    struct wi_event  *event = wi_calloc(1, sizeof *event);
    if (!event) return WI_FAIL(NOMEM, .call = "calloc", .detail = "an event");
    event->flags = pool->event_flags;
    uint32_t flags = pool->event_flags & WEIR_EVENT_TIMING ? WI_EVENT_TIMING : 0;
    int      err = device->ops->event_create(device, flags, &event->handle);
    if (err < 0) {
        wi_free(event);
        return err;
    }
    record->object = event;
    return 0;
}

static void drop_event(struct weir_pool *pool, struct wi_record *record)
{
    struct wi_event  *event = record->object;
    struct wi_device *device = pool->context->device;
    bool              ours = !event->adopted && !wi_load(&device->lost, relaxed);
    if (ours) (void)device->ops->event_destroy(device, event->handle);
    wi_free(event);
    record->object = NULL;
}

int wi_event_pool_make(struct weir_runtime *rt, uint32_t flags, uint32_t count_min, uint32_t count_max,
                       struct weir_pool **out)
{
    static const char *const name[] = {"events", "timing events", "adopted events"};
    struct weir_pool_opts opts = {.name = name[flags],
                                  .buffers_min = count_min,
                                  .buffers_max = count_max,
                                  .grow_factor_percent = 200,
                                  .low_water_percent = 25,
                                  .grow_cooldown_ns = WI_NS_PER_MS};
    struct wi_pool_spec   spec = {.rt = rt, .kind = WI_POOL_EVENTS, .event_flags = flags, .opts = &opts,
                                  .make = make_event, .drop = drop_event};
    return wi_pool_make(&spec, out);
}
