/* SPDX-License-Identifier: Apache-2.0 */
/* stream_info.c - snapshots of one stream, and of all streams of a class */
#include "base/options.h"
#include "pool/runtime_pools.h"
#include "pool/stream_class.h"
#include "pool/watch.h"

#include <weir/stats.h>

static bool is_shared(const struct weir_pool *pool)
{
    return pool->stream_class == WI_STREAMS_SHARED;
}

static uint32_t state_of(const struct wi_record *record, const struct wi_stream *stream)
{
    switch (wi_word_state(wi_load(&record->word, acquire))) {
    case WI_FREE: return wi_stream_busy(stream) ? WEIR_STREAM_BUSY : WEIR_STREAM_FREE;
    case WI_LEASED: return WEIR_STREAM_ACQUIRED;
    case WI_RETIRING: return WEIR_STREAM_BUSY;
    case WI_QUARANTINED: return WEIR_STREAM_FAILED;
    default: return 0;
    }
}

static void read_info(const struct wi_record *record, struct weir_stream_info *out)
{
    const struct weir_pool      *pool = wi_pool_of(record);
    const struct wi_stream      *stream = record->object;
    const struct wi_stream_stat *stat = &stream->stat;
    uint64_t                     acquired_ns = wi_load(&stat->acquired_ns, relaxed);
    uint64_t                     released_ns = wi_load(&stat->released_ns, relaxed);
    *out = (struct weir_stream_info){
        .id = wi_record_index(record),
        .acquires = wi_load(&stat->acquires, relaxed),
        .active_ns = wi_load(&stat->active_ns, relaxed),
        .last_use_ns = acquired_ns > released_ns ? acquired_ns : released_ns,
        .copies = wi_load(&stat->copies, relaxed),
        .bytes_up = wi_load(&stat->bytes_up, relaxed),
        .bytes_down = wi_load(&stat->bytes_down, relaxed),
        .events_recorded = wi_load(&stat->events_recorded, relaxed),
        .syncs = wi_load(&stat->syncs, relaxed),
        .shares = wi_load(&stat->shares, relaxed),
        .stream_class = stream->stream_class,
        .state = state_of(record, stream),
        .priority = wi_load(&stream->priority, relaxed),
        .flags = (is_shared(pool) ? WEIR_STREAM_IS_SHARED : 0) | (stream->adopted ? WEIR_STREAM_IS_ADOPTED : 0),
    };
    if (out->state == WEIR_STREAM_ACQUIRED) out->active_ns += weir_clock_ns() - acquired_ns;
    out->active_average_ns = out->acquires ? out->active_ns / out->acquires : 0;
}

int weir_stream_info_read(const struct weir_stream *lease, struct weir_stream_info *out)
{
    struct weir_stream_info info;
    WI_ENSURE(wi_record_valid(lease), FOREIGN, .detail = "not a handle of this process's weir");
    const struct wi_record *record = wi_record_plain(lease, NULL);
    WI_ENSURE(wi_pool_of(record)->kind == WI_POOL_STREAMS, KIND, .detail = "the handle is of another kind");
    WI_ENSURE(record->object, CLOSED, .detail = "the stream's runtime was destroyed");
    WI_ENSURE(!wi_load(&((const struct wi_stream *)record->object)->held, relaxed), KIND, .detail = "the handle is a graph");
    read_info(record, &info);
    return wi_snapshot_export(out, &info, sizeof info);
}

static void add_stream(struct weir_stream_totals *totals, const struct weir_stream_info *info)
{
    totals->streams += info->state != 0;
    totals->free += info->state == WEIR_STREAM_FREE;
    totals->acquired += info->state == WEIR_STREAM_ACQUIRED;
    totals->busy += info->state == WEIR_STREAM_BUSY;
    totals->failed += info->state == WEIR_STREAM_FAILED;
    totals->shared += (info->flags & WEIR_STREAM_IS_SHARED) != 0;
    totals->acquires += info->acquires;
    totals->active_ns += info->active_ns;
    totals->copies += info->copies;
    totals->bytes_up += info->bytes_up;
    totals->bytes_down += info->bytes_down;
    totals->events_recorded += info->events_recorded;
    totals->syncs += info->syncs;
    if (info->last_use_ns > totals->last_use_ns) totals->last_use_ns = info->last_use_ns;
}

static void add_pool(struct weir_stream_totals *totals, const struct weir_pool *pool, uint32_t stream_class)
{
    const struct wi_affinity *affinity = &pool->streams->affinity;
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        const struct wi_record *record = &pool->store.records[i];
        struct weir_stream_info info;
        /* order(share): acquire; a record that is in use has its object. */
        if (wi_word_state(wi_load(&record->word, acquire)) == WI_GONE) continue;
        if (((const struct wi_stream *)record->object)->held) continue; /* a graph */
        read_info(record, &info);
        if (stream_class == 0 || info.stream_class == stream_class) add_stream(totals, &info);
    }
    if (is_shared(pool)) return;
    totals->affinity_keys += (uint64_t)wi_load(&affinity->keys, relaxed);
    totals->affinity_hits += wi_load(&affinity->hits, relaxed);
    totals->affinity_misses += wi_load(&affinity->misses, relaxed);
    totals->affinity_evictions += wi_load(&affinity->evictions, relaxed);
}

int weir_stream_totals_read(struct weir_runtime *rt, uint32_t stream_class, struct weir_stream_totals *out)
{
    struct weir_stream_totals totals = {.struct_size = sizeof totals};
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_ENSURE(stream_class <= WEIR_STREAM_ADOPTED, INVAL, .detail = "stream_class is not one of enum weir_stream_class");
    add_pool(&totals, wi_runtime_stream_pool(rt, WI_STREAMS_SHARED), stream_class);
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_ADOPTED; class++) {
        if (stream_class == 0 || stream_class == class) add_pool(&totals, wi_runtime_stream_pool(rt, class), class);
    }
    totals.active_average_ns = totals.acquires ? totals.active_ns / totals.acquires : 0;
    return wi_snapshot_export(out, &totals, sizeof totals);
}
