/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - snapshots of a runtime as structs; as texts: stats_format.c */
#include "base/options.h"
#include "runtime/runtime.h"

int weir_stream_stats_read(struct weir_runtime *rt, uint32_t stream_class, struct weir_pool_stats *out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_ENSURE(stream_class >= WEIR_STREAM_COMPUTE && stream_class <= WEIR_STREAM_ADOPTED, INVAL,
              .detail = "stream_class is not one of enum weir_stream_class");
    return weir_pool_stats_read(rt->stream_pool[stream_class], out);
}

int weir_event_stats_read(struct weir_runtime *rt, struct weir_pool_stats *out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    return weir_pool_stats_read(rt->event_pool[0], out);
}

static void read_runtime(struct weir_runtime *rt, struct weir_runtime_stats *out)
{
    struct wi_context *context = &rt->context;
    *out = (struct weir_runtime_stats){
        .struct_size = sizeof *out,
        .pinned_bytes = wi_load(&context->pinned.bytes, relaxed),
        .pinned_bytes_max = wi_load(&context->pinned.bytes_max, relaxed),
        .device_bytes = wi_load(&context->device_memory.bytes, relaxed),
        .device_bytes_max = wi_load(&context->device_memory.bytes_max, relaxed),
        .pageable_bytes = wi_load(&context->pageable.bytes, relaxed),
        .pageable_bytes_max = wi_load(&context->pageable.bytes_max, relaxed),
        .driver_calls = wi_load(&context->device->calls, relaxed),
        .keeper_wakeups = wi_load(&rt->keeper_wakeups, relaxed),
        .monitor_wakeups = wi_load(&rt->monitor_wakeups, relaxed),
        .ticks_recorded = wi_load(&context->ticks_recorded, relaxed),
        .ticks_queried = wi_load(&context->ticks_queried, relaxed),
        .lost = wi_load(&context->device->lost, relaxed),
        .driver_thread_calls = wi_load(&context->device->thread_calls, relaxed),
    };
    pthread_mutex_lock(&rt->pools_lock);
    for (struct weir_pool *pool = rt->pools; pool; pool = pool->next) out->pools += pool->kind <= WI_POOL_TIERED;
    pthread_mutex_unlock(&rt->pools_lock);
}

int weir_runtime_stats_read(struct weir_runtime *rt, struct weir_runtime_stats *out)
{
    struct weir_runtime_stats stats;
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    read_runtime(rt, &stats);
    return wi_snapshot_export(out, &stats, sizeof stats);
}
