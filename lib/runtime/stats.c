/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - snapshots of a runtime, as structs, JSON and Prometheus text; one list makes all three (weir/stats.h) */
#include "base/options.h"
#include "base/text.h"
#include "runtime/runtime.h"

#include <string.h>

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

/* ---- JSON ---- */

static void json_latency(struct wi_text *text, const char *key, const struct weir_latency *latency)
{
    wi_json_open(text, key, '{');
    wi_json_u64(text, "count", latency->count);
    wi_json_u64(text, "p50_ns", latency->p50_ns);
    wi_json_u64(text, "p90_ns", latency->p90_ns);
    wi_json_u64(text, "p99_ns", latency->p99_ns);
    wi_json_u64(text, "p999_ns", latency->p999_ns);
    wi_json_u64(text, "p9999_ns", latency->p9999_ns);
    wi_json_u64(text, "max_ns", latency->max_ns);
    wi_json_close(text, '}');
}

static const char *kind_name(const struct weir_pool *pool)
{
    static const char *const name[] = {"buffers", "tiered", "streams", "events"};
    return name[pool->kind];
}

static void json_pool(struct wi_text *text, struct weir_pool *pool)
{
    struct weir_pool_stats stats;
    wi_pool_read_stats(pool, &stats);
    wi_json_open(text, NULL, '{');
    wi_json_string(text, "name", stats.name);
    wi_json_string(text, "kind", kind_name(pool));
    wi_json_u64(text, "buffer_bytes", stats.buffer_bytes);
#define X(name, help) wi_json_u64(text, #name, stats.name);
    WEIR_POOL_GAUGES(X)
    WEIR_POOL_COUNTERS(X)
    WEIR_POOL_RATES(X)
#undef X
    json_latency(text, "acquire", &stats.acquire);
    json_latency(text, "wait", &stats.wait);
    wi_json_close(text, '}');
}

#define RUNTIME_FIELDS(X)                                                                          \
    X(pinned_bytes, "gauge", "pinned host memory in use")                                          \
    X(pinned_bytes_max, "gauge", "budget of pinned host memory")                                   \
    X(device_bytes, "gauge", "device memory in use")                                               \
    X(device_bytes_max, "gauge", "budget of device memory")                                        \
    X(pageable_bytes, "gauge", "pageable host memory in use")                                      \
    X(pageable_bytes_max, "gauge", "budget of pageable host memory")                               \
    X(driver_calls, "counter", "calls of the device driver")                                       \
    X(keeper_wakeups, "counter", "rounds of the keeper thread")                                    \
    X(monitor_wakeups, "counter", "rounds of the monitor thread")                                  \
    X(ticks_recorded, "counter", "events recorded to learn when buffers are free")                 \
    X(ticks_queried, "counter", "queries of those events")                                         \
    X(lost, "gauge", "1 when the device is lost")

static const char *const class_name[] = {"", "compute", "comm", "high", "adopted"};

static struct weir_stream_totals totals_of(struct weir_runtime *rt, uint32_t stream_class)
{
    struct weir_stream_totals totals = {.struct_size = sizeof totals};
    (void)weir_stream_totals_read(rt, stream_class, &totals);
    return totals;
}

static void json_streams(struct wi_text *text, struct weir_runtime *rt)
{
    wi_json_open(text, "streams", '[');
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_ADOPTED; class++) {
        struct weir_stream_totals totals = totals_of(rt, class);
        wi_json_open(text, NULL, '{');
        wi_json_string(text, "class", class_name[class]);
#define X(name, type, help) wi_json_u64(text, #name, totals.name);
        WEIR_STREAM_TOTALS(X)
#undef X
        wi_json_close(text, '}');
    }
    wi_json_close(text, ']');
}

static void format_json(struct weir_runtime *rt, struct wi_text *text)
{
    struct weir_runtime_stats stats;
    read_runtime(rt, &stats);
    wi_json_open(text, NULL, '{');
    wi_json_string(text, "backend", rt->info.backend);
    wi_json_string(text, "device", rt->info.device_name);
    wi_json_string(text, "model", rt->info.model);
#define X(name, type, help) wi_json_u64(text, #name, stats.name);
    RUNTIME_FIELDS(X)
#undef X
    wi_json_open(text, "pools", '[');
    pthread_mutex_lock(&rt->pools_lock);
    for (struct weir_pool *pool = rt->pools; pool; pool = pool->next) json_pool(text, pool);
    pthread_mutex_unlock(&rt->pools_lock);
    wi_json_close(text, ']');
    json_streams(text, rt);
    wi_json_close(text, '}');
}

/* ---- Prometheus ---- */

static void prometheus_label(struct wi_text *text, const char *value)
{
    for (; *value; value++) {
        if (*value == '"' || *value == '\\') wi_text_add(text, "\\");
        if (*value == '\n') {
            wi_text_add(text, "\\n");
        } else {
            wi_text_add(text, "%c", *value);
        }
    }
}

static void prometheus_series(struct weir_runtime *rt, struct wi_text *text, const char *name, const char *type,
                              const char *suffix, const char *help, size_t offset)
{
    wi_text_add(text, "# HELP weir_pool_%s%s %s\n# TYPE weir_pool_%s%s %s\n", name, suffix, help, name, suffix, type);
    for (struct weir_pool *pool = rt->pools; pool; pool = pool->next) {
        struct weir_pool_stats stats;
        uint64_t               value;
        wi_pool_read_stats(pool, &stats);
        memcpy(&value, (const char *)&stats + offset, sizeof value);
        wi_text_add(text, "weir_pool_%s%s{device=\"%u\",kind=\"%s\",pool=\"", name, suffix, rt->opts.device, kind_name(pool));
        prometheus_label(text, stats.name);
        wi_text_add(text, "\"} %llu\n", (unsigned long long)value);
    }
}

static void prometheus_streams(struct weir_runtime *rt, struct wi_text *text)
{
    struct weir_stream_totals totals[WEIR_STREAM_ADOPTED + 1];
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_ADOPTED; class++) totals[class] = totals_of(rt, class);
#define X(name, type, help)                                                                                   \
    wi_text_add(text, "# HELP weir_stream_%s%s %s\n# TYPE weir_stream_%s%s %s\n", #name,                      \
                type[0] == 'c' ? "_total" : "", help, #name, type[0] == 'c' ? "_total" : "", type);           \
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_ADOPTED; class++)                         \
        wi_text_add(text, "weir_stream_%s%s{device=\"%u\",class=\"%s\"} %llu\n", #name,                      \
                    type[0] == 'c' ? "_total" : "", rt->opts.device, class_name[class],                       \
                    (unsigned long long)totals[class].name);
    WEIR_STREAM_TOTALS(X)
#undef X
}

static void format_prometheus(struct weir_runtime *rt, struct wi_text *text)
{
    struct weir_runtime_stats stats;
    read_runtime(rt, &stats);
#define X(name, type, help)                                                                                   \
    wi_text_add(text, "# HELP weir_%s%s %s\n# TYPE weir_%s%s %s\nweir_%s%s{device=\"%u\"} %llu\n", #name,     \
                type[0] == 'c' ? "_total" : "", help, #name, type[0] == 'c' ? "_total" : "", type, #name,     \
                type[0] == 'c' ? "_total" : "", rt->opts.device, (unsigned long long)stats.name);
    RUNTIME_FIELDS(X)
#undef X
    pthread_mutex_lock(&rt->pools_lock);
#define X(name, help) \
    prometheus_series(rt, text, #name, "gauge", "_objects", help, offsetof(struct weir_pool_stats, name));
    WEIR_POOL_GAUGES(X)
#undef X
#define X(name, help) \
    prometheus_series(rt, text, #name, "counter", "_total", help, offsetof(struct weir_pool_stats, name));
    WEIR_POOL_COUNTERS(X)
#undef X
#define X(name, help) \
    prometheus_series(rt, text, #name, "gauge", "", help, offsetof(struct weir_pool_stats, name));
    WEIR_POOL_RATES(X)
#undef X
    pthread_mutex_unlock(&rt->pools_lock);
    prometheus_streams(rt, text);
}

int64_t weir_stats_format(struct weir_runtime *rt, uint32_t format, char *at, size_t capacity)
{
    struct wi_text text;
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_ENSURE(at || capacity == 0, INVAL, .detail = "text is NULL");
    wi_text_init(&text, at, capacity);
    switch (format) {
    case WEIR_FORMAT_JSON: format_json(rt, &text); break;
    case WEIR_FORMAT_PROMETHEUS: format_prometheus(rt, &text); break;
    default: return WI_FAIL(INVAL, .detail = "format is not one of enum weir_format");
    }
    return (int64_t)text.length;
}
