/* SPDX-License-Identifier: Apache-2.0 */
/* report_requests.c - a run of `weir replay` in a report: a table of the pools, and how it went over time */
#include "report.h"

#include <stdlib.h>

#include "format.h"
#include "report_chart.h"

#define POOLS_MAX 3
#define MS_TO_S   1e-3
#define NS_TO_US  1e-3

/* weir is the run itself; the baselines are within it. */
struct pools {
    const char   *name[POOLS_MAX];
    const json_t *run[POOLS_MAX];
    size_t        count;
};

static void find_pools(const json_t *run, struct pools *pools)
{
    const char *name;
    json_t     *baseline;
    *pools = (struct pools){.name = {"weir"}, .run = {run}, .count = 1};
    json_object_foreach(json_object_get(run, "baseline"), name, baseline) {
        if (pools->count == POOLS_MAX) break;
        pools->name[pools->count] = name;
        pools->run[pools->count++] = baseline;
    }
}

static uint64_t whole(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* ---- the table ---- */

static void row_begin(const char *label, FILE *page)
{
    fprintf(page, "<tr><th>%s</th>", label);
}

static void count_row(const struct pools *pools, const char *label, const char *key, bool bad, FILE *page)
{
    row_begin(label, page);
    for (size_t i = 0; i < pools->count; i++) {
        char     text[FORMAT_BYTES];
        uint64_t value = whole(pools->run[i], key);
        fprintf(page, "<td%s>%s</td>", !bad ? "" : value ? " class=\"bad\"" : " class=\"good\"", format_count(value, text));
    }
    fputs("</tr>\n", page);
}

static void ns_row(const struct pools *pools, const char *label, const char *of, const char *key, FILE *page)
{
    row_begin(label, page);
    for (size_t i = 0; i < pools->count; i++) {
        char text[FORMAT_BYTES];
        fprintf(page, "<td>%s</td>", format_ns(whole(json_object_get(pools->run[i], of), key), text));
    }
    fputs("</tr>\n", page);
}

static void rate_row(const struct pools *pools, FILE *page)
{
    row_begin("copied, GB/s", page);
    for (size_t i = 0; i < pools->count; i++) {
        double wall_s = json_number_value(json_object_get(pools->run[i], "wall_s"));
        fprintf(page, "<td>%.3f</td>", wall_s > 0 ? (double)whole(pools->run[i], "bytes") / wall_s / 1e9 : 0);
    }
    fputs("</tr>\n", page);
}

static void write_table(const struct pools *pools, FILE *page)
{
    fputs("<table><thead><tr><th>pool</th>", page);
    for (size_t i = 0; i < pools->count; i++) fprintf(page, "<th>%s</th>", pools->name[i]);
    fputs("</tr></thead><tbody>\n", page);
    count_row(pools, "requests", "requests", false, page);
    count_row(pools, "failures", "failures", true, page);
    count_row(pools, "corrupt", "corrupt", true, page);
    count_row(pools, "leaked", "leaked", true, page);
    ns_row(pools, "acquire p50", "acquire", "p50_ns", page);
    ns_row(pools, "acquire p99", "acquire", "p99_ns", page);
    ns_row(pools, "acquire p99.9", "acquire", "p999_ns", page);
    ns_row(pools, "acquire max", "acquire", "max_ns", page);
    ns_row(pools, "request p99", "latency", "p99_ns", page);
    count_row(pools, "waits", "waits", false, page);
    count_row(pools, "growths", "growths", false, page);
    rate_row(pools, page);
    fputs("</tbody></table>\n", page);
}

static void write_about(const json_t *run, const struct pools *pools, FILE *page)
{
    const char *model = json_string_value(json_object_get(run, "model"));
    fputs("<h2>Requests through buffers, streams and events</h2>\n<p class=\"about\">Arrivals: ", page);
    const char *arrivals = json_string_value(json_object_get(run, "arrivals"));
    report_text(arrivals ? arrivals : "?", page);
    fprintf(page, "; %llu threads; backend ", (unsigned long long)whole(run, "threads"));
    const char *backend = json_string_value(json_object_get(run, "backend"));
    report_text(backend ? backend : "?", page);
    if (model && *model) {
        fputs(", modelled: ", page);
        report_text(model, page);
    }
    fputs(". The pools did the same job one after the other: same threads, requests and stamps.</p>\n", page);
    for (size_t i = 1; i < pools->count; i++) {
        const char *description = json_string_value(json_object_get(pools->run[i], "description"));
        fprintf(page, "<p class=\"about\"><b>%s</b>: ", pools->name[i]);
        report_text(description ? description : "", page);
        fputs("</p>\n", page);
    }
    uint64_t wrong = whole(run, "failures") + whole(run, "corrupt") + whole(run, "leaked");
    fputs(wrong ? "<p class=\"verdict bad\">Something went wrong with weir: see the red numbers.</p>\n"
                : "<p class=\"verdict good\">No request failed, no message was damaged, and everything leased from weir came home.</p>\n",
          page);
}

/* ---- the charts ---- */

/* A line of each pool's series. */
static int draw_pools(struct chart *chart, const struct pools *pools, const struct chart_column *column, unsigned *number, FILE *page)
{
    for (size_t i = 0; i < pools->count; i++) (void)chart_add_series(chart, pools->name[i], json_object_get(pools->run[i], "series"), column);
    return chart_draw(chart, ++*number, page);
}

struct named_column {
    const char *name, *key;
};

/* Several columns of weir's own series. */
static int draw_columns(struct chart *chart, const json_t *run, const struct named_column *columns, size_t count, unsigned *number,
                        FILE *page)
{
    for (size_t i = 0; i < count; i++) {
        struct chart_column column = {.x = "t_ms", .y = columns[i].key, .x_scale = MS_TO_S, .y_scale = 1};
        (void)chart_add_series(chart, columns[i].name, json_object_get(run, "series"), &column);
    }
    return chart_draw(chart, ++*number, page);
}

/* The share of acquires that took longer, by how long: where the tails part. */
static int draw_distribution(const struct pools *pools, unsigned *number, FILE *page)
{
    struct chart chart = {.title = "Acquire latency, distribution", .note = "The share of acquires that took longer than a time. Lower and further left is better.",
                          .x_label = "an acquire took longer than", .y_label = "share of acquires", .x_axis = CHART_TIMES, .y_axis = CHART_SHARES};
    for (size_t i = 0; i < pools->count; i++) {
        const json_t *buckets = json_object_get(pools->run[i], "acquire_distribution");
        size_t        count = json_array_size(buckets), points = 0;
        double       *x = malloc((count + 1) * sizeof *x), *y = malloc((count + 1) * sizeof *y);
        double        total = 0, above;
        for (size_t at = 0; at < count; at++) total += json_number_value(json_array_get(json_array_get(buckets, at), 1));
        above = total;
        for (size_t at = 0; x && y && at < count; at++) {
            const json_t *bucket = json_array_get(buckets, at);
            above -= json_number_value(json_array_get(bucket, 1));
            if (above <= 0) break;
            x[points] = json_number_value(json_array_get(bucket, 0)) * NS_TO_US;
            y[points++] = above / total;
        }
        (void)chart_add(&chart, pools->name[i], x, y, points);
    }
    return chart_draw(&chart, ++*number, page);
}

static int draw_over_time(const json_t *run, const struct pools *pools, unsigned *number, FILE *page)
{
    static const struct chart_column p99 = {"t_ms", "acquire_interval_p99_ns", MS_TO_S, NS_TO_US, false};
    static const struct chart_column served = {"t_ms", "requests", MS_TO_S, 1, true};
    static const struct chart_column waits = {"t_ms", "waits", MS_TO_S, 1, true};
    static const struct named_column sizes[] = {{"prompts: all", "prompt_total"}, {"prompts: free", "prompt_free"},
                                                {"steps: all", "step_total"}, {"steps: free", "step_free"}};
    static const struct named_column retiring[] = {{"prompts", "prompt_retiring"}, {"steps", "step_retiring"},
                                                   {"requests in flight", "in_flight"}};
    static const struct named_column pressure[] = {{"level", "pressure_level"}};
    struct chart latency = {.title = "Acquire latency over time, p99", .note = "Of the acquires since the point before.",
                            .x_label = "seconds", .y_label = "99 of 100 took at most", .y_axis = CHART_TIMES};
    struct chart rate = {.title = "Requests served", .note = "Per second, from arrival to the last check on the device.",
                         .x_label = "seconds", .y_label = "requests per second"};
    struct chart waiting = {.title = "Waits", .note = "Acquires a second that found nothing free and waited for a release or for growth.",
                            .x_label = "seconds", .y_label = "waits per second"};
    struct chart size = {.title = "Pool size (weir)", .note = "Buffers that there are, and those that are free. Pools grow ahead of demand.",
                         .x_label = "seconds", .y_label = "buffers"};
    struct chart flight = {.title = "Released while in flight (weir)", .note = "Buffers that came back while the device still used them: they retire, and are reused once it is done.",
                           .x_label = "seconds", .y_label = "buffers"};
    struct chart level = {.title = "Memory pressure (weir)", .note = "0 calm, 1 tight: no growth, 2 high: cold buffers go, 3 critical: low priorities are refused.",
                          .x_label = "seconds", .y_label = "level"};
    if (draw_pools(&latency, pools, &p99, number, page) < 0 || draw_distribution(pools, number, page) < 0) return -1;
    if (draw_pools(&rate, pools, &served, number, page) < 0 || draw_pools(&waiting, pools, &waits, number, page) < 0) return -1;
    if (draw_columns(&size, run, sizes, sizeof sizes / sizeof *sizes, number, page) < 0) return -1;
    if (draw_columns(&flight, run, retiring, sizeof retiring / sizeof *retiring, number, page) < 0) return -1;
    return draw_columns(&level, run, pressure, 1, number, page);
}

int report_requests(const json_t *run, unsigned *number, FILE *page)
{
    struct pools pools;
    find_pools(run, &pools);
    write_about(run, &pools, page);
    write_table(&pools, page);
    return draw_over_time(run, &pools, number, page);
}
