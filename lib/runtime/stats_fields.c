/* SPDX-License-Identifier: Apache-2.0 */
/* stats_fields.c - the table of sections and fields; see stats_fields.h */
#include "runtime/stats_fields.h"

#define FIELD(struct_name, member, name_, type_, kind_, suffix_, help_)                            \
    {.name = name_,                                                                                \
     .help = help_,                                                                                \
     .kind = kind_,                                                                                \
     .suffix = suffix_,                                                                            \
     .type = WI_STATS_##type_,                                                                     \
     .offset = offsetof(struct struct_name, member),                                               \
     .bytes = sizeof(((struct struct_name *)NULL)->member)},

/* ---- the runtime ---- */

static const struct wi_stats_field runtime_fields[] = {
    FIELD(wi_stats_runtime, backend, "backend", TEXT, "info", "", "cuda or host")
    FIELD(wi_stats_runtime, device, "device", TEXT, "info", "", "name of the device")
    FIELD(wi_stats_runtime, model, "model", TEXT, "info", "", "cost model of the host backend")
    FIELD(wi_stats_runtime, ordinal, "ordinal", U64, "info", "", "number of the device")
    FIELD(wi_stats_runtime, stats.pools, "open_pools", U64, "gauge", "", "pools of buffers, tiered ones included")
#define X(name, type, help) FIELD(wi_stats_runtime, stats.name, #name, U64, type, "", help)
    WEIR_RUNTIME_COUNTERS(X)
#undef X
};

/* ---- pressure ---- */

static const struct wi_stats_field pressure_fields[] = {
    FIELD(wi_stats_pressure, level_name, "level_name", TEXT, "info", "", "CALM, TIGHT, HIGH or CRITICAL")
    FIELD(wi_stats_pressure, level, "level", U64, "gauge", "", "memory pressure: 0 calm, 1 tight, 2 high, 3 critical")
    FIELD(wi_stats_pressure, read.sources, "sources", U32, "info", "", "enum weir_pressure_sources: what could be read")
    FIELD(wi_stats_pressure, read.psi_some_x100, "psi_some_x100", U32, "gauge", "",
          "share of the last 10 s in which some task waited for memory")
    FIELD(wi_stats_pressure, read.cgroup_bytes, "cgroup_bytes", U64, "gauge", "", "memory that the cgroup uses")
    FIELD(wi_stats_pressure, read.cgroup_bytes_max, "cgroup_bytes_max", U64, "gauge", "", "limit of the cgroup; 0: none")
    FIELD(wi_stats_pressure, read.device_bytes_free, "device_bytes_free", U64, "gauge", "",
          "free device memory; 0 while nobody asks the driver")
    FIELD(wi_stats_pressure, read.device_bytes_total, "device_bytes_max", U64, "gauge", "",
          "device memory; 0 while nobody asks the driver")
    FIELD(wi_stats_pressure, read.memlock_bytes_max, "memlock_bytes_max", U64, "info", "", "RLIMIT_MEMLOCK")
    FIELD(wi_stats_pressure, read.read_at_ns, "read_at_ns", U64, "info", "", "when this was read, CLOCK_MONOTONIC")
};

/* ---- pools: buffers, streams and events ---- */

static const struct wi_stats_field pool_fields[] = {
    FIELD(wi_stats_pool, name, "name", TEXT, "label", "pool", "name of the pool")
    FIELD(wi_stats_pool, kind, "kind", TEXT, "label", "kind", "buffers, tiered, streams or events")
    FIELD(wi_stats_pool, memory, "memory", TEXT, "info", "", "kind of memory; empty for streams and events")
    FIELD(wi_stats_pool, stats.buffer_bytes, "buffer_bytes", U64, "gauge", "", "size of a buffer; 0 for streams and events")
#define X(name, help) FIELD(wi_stats_pool, stats.name, #name, U64, "gauge", "_objects", help)
    WEIR_POOL_GAUGES(X)
#undef X
#define X(name, help) FIELD(wi_stats_pool, stats.name, #name, U64, "counter", "", help)
    WEIR_POOL_COUNTERS(X)
#undef X
#define X(name, help) FIELD(wi_stats_pool, stats.name, #name, U64, "gauge", "", help)
    WEIR_POOL_RATES(X)
#undef X
    FIELD(wi_stats_pool, stats.acquire, "acquire", LATENCY, "summary", "", "time that an acquire took, from samples")
    FIELD(wi_stats_pool, stats.wait, "wait", LATENCY, "summary", "", "time that an acquire waited, of those that did")
};

/* ---- streams by class ---- */

static const struct wi_stats_field stream_fields[] = {
    FIELD(wi_stats_stream, class, "class", TEXT, "label", "class", "compute, comm, high or adopted")
#define X(name, type, help) FIELD(wi_stats_stream, totals.name, #name, U64, type, "", help)
    WEIR_STREAM_TOTALS(X)
#undef X
};

/* ---- tiers ---- */

static const struct wi_stats_field tier_fields[] = {
    FIELD(wi_stats_tier, pool, "pool", TEXT, "label", "pool", "name of the tiered pool")
    FIELD(wi_stats_tier, policy, "policy", TEXT, "info", "", "name of the placement policy")
    FIELD(wi_stats_tier, buffer_bytes, "buffer_bytes", U64, "gauge", "", "size of a buffer")
#define X(name, type, help) FIELD(wi_stats_tier, stats.name, #name, U64, type, "", help)
    WEIR_TIER_COUNTERS(X)
#undef X
};

static const struct wi_stats_field hot_fields[] = {
    FIELD(wi_stats_hot, pool, "pool", TEXT, "label", "pool", "name of the tiered pool")
    FIELD(wi_stats_hot, buffer, "buffer", U64, "info", "", "weir_buffer_info.id")
    FIELD(wi_stats_hot, tier, "tier", TEXT, "info", "", "device, pinned or pageable")
    FIELD(wi_stats_hot, touches, "touches", U64, "counter", "", "policy periods in which it was touched")
};

#define SECTION(name_, prefix_, fields_, row_, shape_)                                             \
    {.name = name_,                                                                                \
     .prefix = prefix_,                                                                            \
     .fields = fields_,                                                                            \
     .fields_count = WI_ARRAY_COUNT(fields_),                                                      \
     .row_bytes = sizeof(struct row_),                                                             \
     .shape = WI_STATS_##shape_}

/* Which buffers are the hottest changes all the time: as series of Prometheus they would be without number. */
const struct wi_stats_section wi_stats_sections[WI_STATS_SECTIONS] = {
    [WI_STATS_RUNTIME] = SECTION("runtime", "weir_", runtime_fields, wi_stats_runtime, INLINE),
    [WI_STATS_PRESSURE] = SECTION("pressure", "weir_pressure_", pressure_fields, wi_stats_pressure, OBJECT),
    [WI_STATS_POOLS] = SECTION("pools", "weir_pool_", pool_fields, wi_stats_pool, ARRAY),
    [WI_STATS_STREAMS] = SECTION("streams", "weir_stream_", stream_fields, wi_stats_stream, ARRAY),
    [WI_STATS_TIERS] = SECTION("tiers", "weir_tier_", tier_fields, wi_stats_tier, ARRAY),
    [WI_STATS_HOTTEST] = SECTION("hottest", NULL, hot_fields, wi_stats_hot, ARRAY),
};
