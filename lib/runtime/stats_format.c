/* SPDX-License-Identifier: Apache-2.0 */
/* stats_format.c - gathered statistics as JSON and as Prometheus text; see stats_fields.h */
#include "pool/watch.h"
#include "runtime/runtime.h"
#include "runtime/stats_fields.h"

#include <string.h>

static uint64_t number_of(const struct wi_stats_field *field, const void *row)
{
    const char *at = (const char *)row + field->offset;
    uint64_t    wide;
    uint32_t    narrow;
    if (field->type == WI_STATS_U32) {
        memcpy(&narrow, at, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, at, sizeof wide);
    return wide;
}

static const char *text_of(const struct wi_stats_field *field, const void *row)
{
    return (const char *)row + field->offset;
}

static const void *row_of(const struct wi_stats *stats, size_t section, size_t at)
{
    return (const char *)stats->rows[section].row + at * wi_stats_sections[section].row_bytes;
}

/* ---- JSON ---- */

static void json_latency(struct wi_text *text, const char *key, const struct weir_latency *latency)
{
    wi_json_open(text, key, '{');
#define X(name) wi_json_u64(text, #name, latency->name);
    WEIR_LATENCY_FIELDS(X)
#undef X
    wi_json_close(text, '}');
}

static void json_row(struct wi_text *text, const struct wi_stats_section *section, const void *row)
{
    for (size_t i = 0; i < section->fields_count; i++) {
        const struct wi_stats_field *field = &section->fields[i];
        struct weir_latency          latency;
        switch (field->type) {
        case WI_STATS_TEXT: wi_json_string(text, field->name, text_of(field, row)); break;
        case WI_STATS_LATENCY:
            memcpy(&latency, (const char *)row + field->offset, sizeof latency);
            json_latency(text, field->name, &latency);
            break;
        default: wi_json_u64(text, field->name, number_of(field, row)); break;
        }
    }
}

void wi_stats_json(struct wi_text *text, const struct wi_stats *stats)
{
    wi_json_open(text, NULL, '{');
    for (size_t i = 0; i < WI_STATS_SECTIONS; i++) {
        const struct wi_stats_section *section = &wi_stats_sections[i];
        if (section->shape == WI_STATS_ARRAY) wi_json_open(text, section->name, '[');
        for (size_t at = 0; at < stats->rows[i].count; at++) {
            if (section->shape != WI_STATS_INLINE)
                wi_json_open(text, section->shape == WI_STATS_ARRAY ? NULL : section->name, '{');
            json_row(text, section, row_of(stats, i, at));
            if (section->shape != WI_STATS_INLINE) wi_json_close(text, '}');
        }
        if (section->shape == WI_STATS_ARRAY) wi_json_close(text, ']');
    }
    wi_json_close(text, '}');
}

/* ---- Prometheus ---- */

/* Units as Prometheus wants them: seconds, ratios and words. Values are divided by `divisor`. */
static const struct {
    const char *ending, *unit;
    uint64_t    divisor;
} units[] = {
    {"_ns", "_seconds", WI_NS_PER_S},
    {"_ppm", "_ratio", 1000000},
    {"_x100", "_ratio", 10000},
    {"_per_s", "_per_second", 1},
};

struct series {
    char     name[128];
    uint64_t divisor;
};

static struct series series_of(const struct wi_stats_section *section, const struct wi_stats_field *field)
{
    struct series  series = {.divisor = 1};
    struct wi_text name;
    size_t         stem = strlen(field->name);
    const char    *unit = field->type == WI_STATS_LATENCY ? "_seconds" : "";
    for (size_t i = 0; i < WI_ARRAY_COUNT(units); i++) {
        size_t length = strlen(units[i].ending);
        if (stem <= length || strcmp(field->name + stem - length, units[i].ending) != 0) continue;
        stem -= length;
        unit = units[i].unit;
        series.divisor = units[i].divisor;
        break;
    }
    wi_text_init(&name, series.name, sizeof series.name);
    wi_text_add(&name, "%s%.*s%s%s%s", section->prefix, (int)stem, field->name, unit, field->suffix,
                strcmp(field->kind, "counter") == 0 ? "_total" : "");
    wi_assert(name.length < sizeof series.name);
    return series;
}

static void add_value(struct wi_text *text, uint64_t value, uint64_t divisor)
{
    if (divisor == 1) {
        wi_text_add(text, " %llu\n", (unsigned long long)value);
    } else {
        wi_text_add(text, " %.10g\n", (double)value / (double)divisor);
    }
}

static void add_escaped(struct wi_text *text, const char *value)
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

/* {device="0",pool="staging"; the caller closes it. */
static void add_labels(struct wi_text *text, const struct wi_stats *stats, const struct wi_stats_section *section,
                       const void *row)
{
    const struct wi_stats_runtime *runtime = stats->rows[WI_STATS_RUNTIME].row;
    wi_text_add(text, "{device=\"%llu\"", (unsigned long long)runtime->ordinal);
    for (size_t i = 0; i < section->fields_count; i++) {
        const struct wi_stats_field *field = &section->fields[i];
        if (strcmp(field->kind, "label") != 0) continue;
        wi_text_add(text, ",%s=\"", field->suffix);
        add_escaped(text, text_of(field, row));
        wi_text_add(text, "\"");
    }
}

static void add_head(struct wi_text *text, const char *name, const char *kind, const char *help)
{
    wi_text_add(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void add_series(struct wi_text *text, const struct wi_stats *stats, size_t at, const struct wi_stats_field *field)
{
    const struct wi_stats_section *section = &wi_stats_sections[at];
    struct series                  series = series_of(section, field);
    add_head(text, series.name, field->kind, field->help);
    for (size_t i = 0; i < stats->rows[at].count; i++) {
        const void *row = row_of(stats, at, i);
        wi_text_add(text, "%s", series.name);
        add_labels(text, stats, section, row);
        wi_text_add(text, "}");
        add_value(text, number_of(field, row), series.divisor);
    }
}

static void add_summary(struct wi_text *text, const struct wi_stats *stats, size_t at, const struct wi_stats_field *field)
{
    static const struct {
        const char *label;
        size_t      offset;
    } quantiles[] = {
        {"0.5", offsetof(struct weir_latency, p50_ns)},     {"0.9", offsetof(struct weir_latency, p90_ns)},
        {"0.99", offsetof(struct weir_latency, p99_ns)},    {"0.999", offsetof(struct weir_latency, p999_ns)},
        {"0.9999", offsetof(struct weir_latency, p9999_ns)},
    };
    const struct wi_stats_section *section = &wi_stats_sections[at];
    struct series                  series = series_of(section, field);
    add_head(text, series.name, "summary", field->help);
    for (size_t i = 0; i < stats->rows[at].count; i++) {
        const void         *row = row_of(stats, at, i);
        struct weir_latency latency;
        memcpy(&latency, (const char *)row + field->offset, sizeof latency);
        for (size_t q = 0; q < WI_ARRAY_COUNT(quantiles); q++) {
            uint64_t ns;
            memcpy(&ns, (const char *)&latency + quantiles[q].offset, sizeof ns);
            wi_text_add(text, "%s", series.name);
            add_labels(text, stats, section, row);
            wi_text_add(text, ",quantile=\"%s\"}", quantiles[q].label);
            add_value(text, ns, WI_NS_PER_S);
        }
        wi_text_add(text, "%s_sum", series.name);
        add_labels(text, stats, section, row);
        wi_text_add(text, "}");
        add_value(text, latency.sum_ns, WI_NS_PER_S);
        wi_text_add(text, "%s_count", series.name);
        add_labels(text, stats, section, row);
        wi_text_add(text, "} %llu\n", (unsigned long long)latency.count);
    }
}

/* What the device is: labels of a series that is always 1. */
static void add_info(struct wi_text *text, const struct wi_stats *stats)
{
    const struct wi_stats_runtime *runtime = stats->rows[WI_STATS_RUNTIME].row;
    uint32_t                       version = weir_version();
    add_head(text, "weir_info", "gauge", "1; its labels say what the device and the library are");
    wi_text_add(text, "weir_info{device=\"%llu\",backend=\"", (unsigned long long)runtime->ordinal);
    add_escaped(text, runtime->backend);
    wi_text_add(text, "\",device_name=\"");
    add_escaped(text, runtime->device);
    wi_text_add(text, "\",version=\"%u.%u.%u\"} 1\n", version >> 16, version >> 8 & 0xff, version & 0xff);
}

void wi_stats_prometheus(struct wi_text *text, const struct wi_stats *stats)
{
    add_info(text, stats);
    for (size_t at = 0; at < WI_STATS_SECTIONS; at++) {
        const struct wi_stats_section *section = &wi_stats_sections[at];
        if (!section->prefix || stats->rows[at].count == 0) continue;
        for (size_t i = 0; i < section->fields_count; i++) {
            const struct wi_stats_field *field = &section->fields[i];
            if (field->type == WI_STATS_LATENCY) {
                add_summary(text, stats, at, field);
            } else if (strcmp(field->kind, "gauge") == 0 || strcmp(field->kind, "counter") == 0) {
                add_series(text, stats, at, field);
            }
        }
    }
}

/* ---- public ---- */

static size_t count_pools(struct weir_runtime *rt)
{
    size_t count = 0;
    pthread_mutex_lock(&rt->pools_lock);
    for (const struct weir_pool *pool = rt->pools; pool; pool = pool->next) count++;
    pthread_mutex_unlock(&rt->pools_lock);
    return count;
}

int64_t weir_stats_format(struct weir_runtime *rt, uint32_t format, char *at, size_t capacity)
{
    struct wi_text  text;
    struct wi_stats stats;
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_ENSURE(at || capacity == 0, INVAL, .detail = "text is NULL");
    WI_ENSURE(format == WEIR_FORMAT_JSON || format == WEIR_FORMAT_PROMETHEUS, INVAL,
              .detail = "format is not one of enum weir_format");
    WI_TRY(wi_process_check());
    WI_TRY(wi_stats_make(&stats, count_pools(rt)));
    wi_stats_gather(rt, &stats);
    wi_text_init(&text, at, capacity);
    if (format == WEIR_FORMAT_JSON) {
        wi_stats_json(&text, &stats);
    } else {
        wi_stats_prometheus(&text, &stats);
    }
    wi_stats_free(&stats);
    return (int64_t)text.length;
}
