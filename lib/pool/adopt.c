/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/adopt.h"

#include "base/alloc.h"
#include "pool/runtime_pools.h"
#include "pool/stream_class.h"
#include "pool/watch.h"

/* ---- records ---- */

static bool is_idle(const struct wi_record *record)
{
    const struct wi_stream *stream = record->object;
    if (wi_word_state(wi_load(&record->word, acquire)) != WI_GONE) return false;
    if (wi_pool_of(record)->kind == WI_POOL_EVENTS || !stream) return true;
    return wi_stream_drained(stream);
}

static struct wi_record *find_idle_locked(struct weir_pool *pool)
{
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        if (is_idle(&pool->store.records[i])) return &pool->store.records[i];
    }
    return NULL;
}

/* pool->lock is held. The object is bound; from here on the record is the caller's lease. */
static void lease_locked(struct weir_pool *pool, struct wi_record *record)
{
    uint64_t word = wi_load(&record->word, relaxed);
    wi_store(&record->attention, WI_ATTENTION_DIVERT, relaxed);
    wi_add(&pool->total, 1, relaxed);
    wi_store(&record->word, wi_word_with(word, WI_LEASED) + WI_GENERATION_ONE, release);
}

static int fail_exceeds(const struct weir_pool *pool, const char *limit, const char *setting)
{
    return WI_FAIL(EXCEEDS, .limit = limit, .limit_value = pool->opts.buffers_max,
                   .wanted = pool->opts.buffers_max + 1, .setting = setting);
}

/* ---- streams ---- */

static int bind_locked(struct weir_pool *pool, struct wi_record *record, void *handle)
{
    struct wi_stream *stream = record->object;
    if (!stream) {
        WI_TRY(wi_stream_make_bare(pool->context, WEIR_STREAM_ADOPTED, &stream));
        record->object = stream;
    }
    stream->record = record;
    wi_store(&stream->priority, 0, relaxed);
    stream->thread = NULL;
    stream->graph = NULL;
    wi_stream_bind(stream, handle);
    return 0;
}

int wi_adopt_take(struct weir_runtime *rt, void *handle, struct wi_record **out)
{
    struct weir_pool *pool = wi_runtime_stream_pool(rt, WEIR_STREAM_ADOPTED);
    int               err = 0;
    WI_TRY(wi_process_check());
    WI_TRY(wi_lease_open(pool));
    pthread_mutex_lock(&pool->lock);
    struct wi_record *record = find_idle_locked(pool);
    if (!record) {
        err = fail_exceeds(pool, "streams_adopted_max", "weir_runtime_opts.streams_adopted_max");
    } else {
        err = bind_locked(pool, record, handle);
    }
    if (err >= 0) lease_locked(pool, record);
    pthread_mutex_unlock(&pool->lock);
    if (err < 0) return err;
    wi_stream_note_acquired(record->object, weir_clock_ns());
    *out = record;
    return 0;
}

int weir_stream_adopt(struct weir_runtime *rt, void *handle, struct weir_stream **out)
{
    struct wi_record *record;
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_ENSURE(handle, INVAL, .detail = "the handle is NULL; default streams are adopted by weir_stream_adopt_cuda()");
    WI_TRY(wi_adopt_take(rt, handle, &record));
    struct wi_stream *stream = record->object;
    struct wi_device *device = stream->context->device;
    /* Only for weir_stream_info: a stream that cannot tell has priority 0. */
    int32_t priority;
    if (device->ops->stream_priority(device, handle, &priority) == 0) wi_store(&stream->priority, priority, relaxed);
    *out = wi_watch_lease(record, __builtin_return_address(0));
    return 0;
}

/* D1. Under the lock, so that of two callers one ends the adoption. The end of the runtime has let go of all streams. */
static int let_go(struct wi_stream *stream, struct wi_record *record, uint64_t *generation)
{
    int err = 0;
    pthread_mutex_lock(&stream->handle_lock);
    uint64_t word = wi_load(&record->word, acquire);
    bool ended = wi_load(&stream->gone, relaxed) && wi_load(&stream->context->closed, acquire) < 2;
    if (wi_word_state(word) != WI_LEASED || ended) {
        /* unreached: but of two threads that end one adoption at a time; else the lease is found to be over before. */
        wi_add(&record->store->stat.misuses, 1, relaxed);
        err = WI_FAIL(NOTLEASED, .detail = "the adoption has ended before");
    } else {
        *generation = word >> WI_GENERATION_SHIFT;
        wi_store(&stream->gone, 1, release);
    }
    pthread_mutex_unlock(&stream->handle_lock);
    return err;
}

int wi_adopt_end(struct wi_stream *stream)
{
    struct wi_record *record = stream->record;
    uint64_t          generation = 0;
    WI_TRY(let_go(stream, record, &generation));
    wi_stream_note_released(stream);
    WI_TRY(wi_mark_reserve(record, stream));
    wi_mark_end(record, stream); /* D2: every operation has closed its tick */
    int err = wi_pool_release_generation(record, generation);
    /* D4: other records may still wait for its ticks, with nobody to arm it. */
    if (!wi_exchange(&stream->armed, 1, seq_cst)) wi_kick(&stream->context->keeper);
    return err;
}

int weir_stream_disown(struct weir_stream *lease)
{
    struct wi_stream *stream;
    WI_TRY(wi_lease_stream(lease, &stream));
    WI_ENSURE(stream->adopted && !wi_load(&stream->held, relaxed), KIND, .detail = "the stream is not an adopted one");
    return wi_adopt_end(stream);
}

/* ---- events ---- */

int weir_event_adopt(struct weir_runtime *rt, void *handle, uint32_t flags, struct weir_event **out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_ENSURE(handle, INVAL, .detail = "the handle is NULL");
    WI_ENSURE(flags <= WEIR_EVENT_TIMING, OPTS, .detail = "flags has a bit that this weir does not know");
    struct weir_pool *pool = wi_runtime_event_pool(rt, WI_EVENTS_ADOPTED);
    struct wi_event  *event = NULL;
    int               err = 0;
    WI_TRY(wi_process_check());
    WI_TRY(wi_lease_open(pool));
    pthread_mutex_lock(&pool->lock);
    struct wi_record *record = find_idle_locked(pool);
    if (!record) {
        err = fail_exceeds(pool, "events_adopted_max", "weir_runtime_opts.events_adopted_max");
    } else if (!(event = record->object) && !(event = wi_calloc(1, sizeof *event))) {
        err = WI_FAIL(NOMEM, .call = "calloc", .detail = "an event");
    } else {
        *event = (struct wi_event){.handle = handle, .flags = flags, .adopted = 1};
        record->object = event;
        lease_locked(pool, record);
    }
    pthread_mutex_unlock(&pool->lock);
    if (err < 0) return err;
    *out = wi_watch_lease(record, __builtin_return_address(0));
    return 0;
}

int wi_adopt_end_event(struct weir_event *lease)
{
    struct wi_context *context = wi_pool_of(wi_record_plain(lease, NULL))->context;
    WI_TRY(wi_lease_release(lease, WI_POOL_EVENTS));
    /* A wait that was given up may have left the keeper in the middle of a query. */
    pthread_mutex_lock(&context->poll_lock);
    pthread_mutex_unlock(&context->poll_lock);
    return 0;
}

int weir_event_disown(struct weir_event *lease)
{
    struct wi_event *event;
    WI_TRY(wi_lease_event(lease, &event));
    WI_ENSURE(event->adopted, KIND, .detail = "the event is not an adopted one");
    return wi_adopt_end_event(lease);
}
