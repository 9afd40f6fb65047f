/* SPDX-License-Identifier: Apache-2.0 */
/* stream_make.c - making the pools of streams, and shared streams on first use; see stream_class.h */
#include "base/alloc.h"
#include "base/trace.h"
#include "pool/lease.h"
#include "pool/runtime_pools.h"
#include "pool/stream_class.h"
#include "pool/watch.h"

/* ---- one stream ---- */

int32_t wi_stream_priority_of(const struct weir_pool *pool, uint32_t stream_class)
{
    struct weir_runtime_info info = {.struct_size = sizeof info};
    pool->context->device->ops->info(pool->context->device, &info);
    int32_t least = info.stream_priority_least;
    int32_t greatest = info.stream_priority_greatest;
    switch (pool->streams->priority[stream_class]) {
    case WEIR_PRIORITY_LOW: return least;
    case WEIR_PRIORITY_HIGH: return greatest;
    default: return least + (greatest - least) / 2;
    }
}

int wi_stream_object_make(struct weir_pool *pool, struct wi_record *record, uint32_t stream_class)
{
    struct wi_device *device = pool->context->device;
    struct wi_stream *stream;
    WI_TRY(wi_stream_make(pool->context, stream_class, wi_stream_priority_of(pool, stream_class), &stream));
    /* The number that it has, not the one that was asked for. */
    int32_t priority;
    if (device->ops->stream_priority(device, stream->handle, &priority) == 0)
        wi_store(&stream->priority, priority, relaxed);
    if (device->ops != &wi_device_host) wi_nvtx_name_stream(stream->handle, pool->name);
    stream->record = record;
    record->object = stream;
    return 0;
}

void wi_stream_object_drop(struct weir_pool *pool, struct wi_record *record)
{
    struct wi_stream *stream = record->object;
    (void)pool;
    /* Its memory stays in the context's table, where the keeper may be looking; the runtime frees it in the end. */
    if (!wi_load(&stream->gone, relaxed)) wi_stream_end(stream);
    stream->record = NULL;
    record->object = NULL;
}

/* ---- pools ---- */

static int make_leased(struct weir_pool *pool, struct wi_record *record)
{
    WI_TRY(wi_stream_object_make(pool, record, pool->stream_class));
    wi_store_settle(&pool->store, record, record->index);
    return 0;
}

static void end_pool(struct weir_pool *pool)
{
    wi_affinity_fini(&pool->streams->affinity);
    wi_free(pool->streams);
    pool->streams = NULL;
}

static const char *name_of(uint32_t stream_class)
{
    static const char *const name[] = {"shared", "compute", "comm", "high", "adopted"};
    return name[stream_class];
}

int wi_stream_pool_make(struct weir_runtime *rt, const struct wi_stream_pool_opts *given, struct weir_pool **out)
{
    bool                    leased = given->stream_class >= WEIR_STREAM_COMPUTE && given->stream_class <= WEIR_STREAM_HIGH;
    uint32_t                keys_max = leased ? given->affinity_keys_max : 1;
    struct wi_stream_class *class = wi_calloc(1, sizeof *class);
    if (!class) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a pool of streams");
    int err = wi_affinity_init(&class->affinity, keys_max, given->count);
    if (err < 0) {
        wi_free(class);
        return err;
    }
    wi_store(&class->affinity.enabled, given->affinity != WEIR_AFFINITY_OFF, relaxed);
    class->reuse = given->reuse;
    class->shared = given->count / WI_STREAM_CLASSES;
    for (uint32_t i = WEIR_STREAM_COMPUTE; i <= WEIR_STREAM_HIGH; i++) class->priority[i] = given->priority[i];

    struct weir_pool_opts opts = {.name = name_of(given->stream_class),
                                  .buffers_min = leased ? given->count : 0,
                                  .buffers_max = given->count,
                                  .grow_factor_percent = 200};
    struct wi_pool_spec   spec = {.rt = rt,
                                  .kind = WI_POOL_STREAMS,
                                  .stream_class = given->stream_class,
                                  .opts = &opts,
                                  .streams = class,
                                  .slots = leased ? given->count : 0,
                                  .make = leased ? make_leased : NULL,
                                  .drop = wi_stream_object_drop,
                                  .hooks = {.end = end_pool}};
    err = wi_pool_make(&spec, out);
    if (err < 0) {
        wi_affinity_fini(&class->affinity);
        wi_free(class);
    }
    return err;
}

/* ---- shared streams ---- */

static bool is_made(const struct wi_record *record)
{
    /* order(share): acquire; pairs with the store in make_shared(). */
    return wi_word_state(wi_load(&record->word, acquire)) == WI_FREE;
}

static int make_shared(struct weir_pool *pool, struct wi_record *record, uint32_t stream_class)
{
    int err = 0;
    pthread_mutex_lock(&pool->lock);
    if (!is_made(record)) {
        err = wi_stream_object_make(pool, record, stream_class);
        if (err >= 0) {
            uint64_t word = wi_load(&record->word, relaxed);
            wi_add(&pool->total, 1, relaxed);
            /* order(share): release. HOME, so that closing takes it; in no slot, so that nobody leases it. */
            wi_store(&record->word, wi_word_with(word, WI_FREE) | WI_HOME, release);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return err;
}

int weir_stream_share(struct weir_runtime *rt, uint32_t stream_class, struct weir_stream **out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_ENSURE(stream_class >= WEIR_STREAM_COMPUTE && stream_class <= WEIR_STREAM_HIGH, INVAL,
              .detail = "stream_class is not one of enum weir_stream_class");
    struct weir_pool       *pool = wi_runtime_stream_pool(rt, WI_STREAMS_SHARED);
    struct wi_stream_class *class = pool->streams;
    WI_TRY(wi_lease_open(pool));
    uint32_t          at = wi_add(&class->turn[stream_class], 1, relaxed) % class->shared;
    struct wi_record *record = &pool->store.records[(stream_class - 1) * class->shared + at];
    if (!is_made(record)) WI_TRY(make_shared(pool, record, stream_class));
    struct wi_stream *stream = record->object;
    wi_add(&stream->stat.acquires, 1, relaxed);
    wi_add(&stream->stat.shares, 1, relaxed);
    wi_store(&stream->stat.acquired_ns, weir_clock_ns(), relaxed);
    *out = (struct weir_stream *)record;
    return 0;
}
