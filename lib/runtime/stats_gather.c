/* SPDX-License-Identifier: Apache-2.0 */
/* stats_gather.c - reads everything that statistics show, once and without a lock on anything in use */
#include "base/alloc.h"
#include "runtime/runtime.h"
#include "runtime/stats_fields.h"
#include "tier/place.h"

#include <stdio.h>
#include <string.h>

#define OWN_POOLS_MAX 16 /* of streams and of events, that each runtime has */
#define HOT_OF_POOL   8
#define HOT_MAX       64

int wi_stats_make(struct wi_stats *stats, size_t pools_max)
{
    size_t hot_max = pools_max * HOT_OF_POOL < HOT_MAX ? pools_max * HOT_OF_POOL : HOT_MAX;
    const size_t max[WI_STATS_SECTIONS] = {
        [WI_STATS_RUNTIME] = 1,
        [WI_STATS_PRESSURE] = 1,
        [WI_STATS_POOLS] = pools_max + OWN_POOLS_MAX,
        [WI_STATS_STREAMS] = WEIR_STREAM_ADOPTED,
        [WI_STATS_TIERS] = pools_max,
        [WI_STATS_HOTTEST] = hot_max,
    };
    size_t bytes = 0;
    for (size_t i = 0; i < WI_STATS_SECTIONS; i++) bytes += max[i] * wi_stats_sections[i].row_bytes;
    char *at = wi_calloc(1, bytes);
    if (!at) return WI_FAIL(NOMEM, .call = "calloc", .detail = "rows of statistics", .wanted = bytes);
    stats->memory = at;
    for (size_t i = 0; i < WI_STATS_SECTIONS; i++) {
        stats->rows[i] = (struct wi_stats_rows){.row = at, .max = max[i]};
        at += max[i] * wi_stats_sections[i].row_bytes;
    }
    return 0;
}

void wi_stats_free(struct wi_stats *stats)
{
    wi_free(stats->memory);
    stats->memory = NULL;
}

/* The next row of a section, zeroed; NULL: there is no more room. */
static void *next_row(struct wi_stats *stats, size_t section)
{
    struct wi_stats_rows *rows = &stats->rows[section];
    size_t                bytes = wi_stats_sections[section].row_bytes;
    rows->all++;
    if (rows->count == rows->max) return NULL;
    void *row = (char *)rows->row + rows->count++ * bytes;
    return memset(row, 0, bytes);
}

static void name_pool(const struct weir_pool *pool, char name[WI_STATS_NAME_BYTES])
{
    if (pool->twin) {
        snprintf(name, WI_STATS_NAME_BYTES, "%s#%u", pool->name, pool->twin);
    } else {
        snprintf(name, WI_STATS_NAME_BYTES, "%s", pool->name);
    }
}

static const char *memory_name(const struct weir_pool *pool)
{
    if (pool->kind > WI_POOL_TIERED) return "";
    switch (wi_load(&pool->memory, relaxed)) {
    case WEIR_MEMORY_DEVICE: return "device";
    case WEIR_MEMORY_PINNED: return "pinned";
    case WEIR_MEMORY_PAGEABLE: return "pageable";
    default: return "";
    }
}

static void gather_tier(struct wi_stats *stats, struct weir_pool *pool)
{
    static const char *const tier_name[WEIR_TIERS] = {"device", "pinned", "pageable"};
    struct wi_stats_tier    *row = next_row(stats, WI_STATS_TIERS);
    struct wi_hot            hottest[HOT_OF_POOL];
    if (row) {
        name_pool(pool, row->pool);
        snprintf(row->policy, sizeof row->policy, "%s", pool->tier->policy.name ? pool->tier->policy.name : "");
        row->buffer_bytes = pool->opts.buffer_bytes;
        row->stats.struct_size = sizeof row->stats;
        (void)weir_tier_stats_read(pool, &row->stats);
    }
    size_t count = wi_tier_hottest(pool, hottest, HOT_OF_POOL);
    for (size_t i = 0; i < count; i++) {
        struct wi_stats_hot *hot = next_row(stats, WI_STATS_HOTTEST);
        if (!hot) continue;
        name_pool(pool, hot->pool);
        snprintf(hot->tier, sizeof hot->tier, "%s", tier_name[hottest[i].tier % WEIR_TIERS]);
        hot->buffer = hottest[i].id;
        hot->touches = hottest[i].touches;
    }
}

static void gather_pool(struct wi_stats *stats, struct weir_pool *pool)
{
    static const char *const kind_name[] = {"buffers", "tiered", "streams", "events"};
    struct wi_stats_pool    *row = next_row(stats, WI_STATS_POOLS);
    if (row) {
        wi_pool_read_stats(pool, &row->stats);
        name_pool(pool, row->name);
        snprintf(row->kind, sizeof row->kind, "%s", kind_name[pool->kind]);
        snprintf(row->memory, sizeof row->memory, "%s", memory_name(pool));
    }
    if (pool->kind == WI_POOL_TIERED) gather_tier(stats, pool);
}

static void gather_streams(struct weir_runtime *rt, struct wi_stats *stats)
{
    static const char *const class_name[] = {"", "compute", "comm", "high", "adopted"};
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_ADOPTED; class++) {
        struct wi_stats_stream *row = next_row(stats, WI_STATS_STREAMS);
        if (!row) return;
        snprintf(row->class, sizeof row->class, "%s", class_name[class]);
        row->totals.struct_size = sizeof row->totals;
        (void)weir_stream_totals_read(rt, class, &row->totals);
    }
}

static void gather_runtime(struct weir_runtime *rt, struct wi_stats *stats)
{
    static const char *const  level_name[] = {"CALM", "TIGHT", "HIGH", "CRITICAL"};
    struct wi_stats_runtime  *row = next_row(stats, WI_STATS_RUNTIME);
    struct wi_stats_pressure *pressure = next_row(stats, WI_STATS_PRESSURE);
    snprintf(row->backend, sizeof row->backend, "%s", rt->info.backend);
    snprintf(row->device, sizeof row->device, "%s", rt->info.device_name);
    snprintf(row->model, sizeof row->model, "%s", rt->info.model);
    row->ordinal = rt->opts.device;
    row->stats.struct_size = sizeof row->stats;
    (void)weir_runtime_stats_read(rt, &row->stats);
    pthread_mutex_lock(&rt->pressure.lock);
    pressure->read = rt->pressure.last;
    pthread_mutex_unlock(&rt->pressure.lock);
    pressure->level = wi_load(&rt->context.pressure, relaxed);
    snprintf(pressure->level_name, sizeof pressure->level_name, "%s", level_name[pressure->level % 4]);
}

void wi_stats_gather(struct weir_runtime *rt, struct wi_stats *stats)
{
    for (size_t i = 0; i < WI_STATS_SECTIONS; i++) stats->rows[i].count = stats->rows[i].all = 0;
    gather_runtime(rt, stats);
    for (struct weir_pool *pool = wi_runtime_visit(rt, NULL); pool; pool = wi_runtime_visit(rt, pool))
        gather_pool(stats, pool);
    gather_streams(rt, stats);
}
