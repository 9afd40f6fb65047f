/* SPDX-License-Identifier: Apache-2.0 */
/* report_blocks.c - a run of `weir replay --blocks` in a report: what the tiers served, and what moved */
#include "report.h"

#include <stdint.h>

#include "format.h"
#include "report_chart.h"

static uint64_t whole(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void count_row(const json_t *run, const char *label, const char *key, FILE *page)
{
    char text[FORMAT_BYTES];
    fprintf(page, "<tr><th>%s</th><td>%s</td></tr>\n", label, format_count(whole(run, key), text));
}

/* Of what should be 0. */
static void wrong_row(const json_t *run, const char *label, const char *key, FILE *page)
{
    char text[FORMAT_BYTES];
    fprintf(page, "<tr><th>%s</th><td class=\"%s\">%s</td></tr>\n", label, whole(run, key) ? "bad" : "good",
            format_count(whole(run, key), text));
}

static void share_row(const json_t *run, const char *label, const char *key, FILE *page)
{
    fprintf(page, "<tr><th>%s</th><td>%.1f %%</td></tr>\n", label, 100 * real(json_object_get(run, "tier_shares"), key));
}

static void write_table(const json_t *run, FILE *page)
{
    const char *policy = json_string_value(json_object_get(run, "policy"));
    fputs("<h2>Blocks through tiers</h2>\n<p class=\"about\">Real bytes move between device, pinned and pageable memory; each access "
          "and each move is checked by stamps. Time is the trace's own. Policy: ", page);
    report_text(policy ? policy : "?", page);
    fprintf(page, ", a promotion costs %g hits.</p>\n", real(run, "cost"));
    fputs(whole(run, "corrupt") + whole(run, "leaked")
              ? "<p class=\"verdict bad\">Something went wrong: see the red numbers.</p>\n"
              : "<p class=\"verdict good\">No block was damaged, and every buffer came home.</p>\n",
          page);
    fputs("<table><tbody>\n", page);
    count_row(run, "accesses", "accesses", page);
    count_row(run, "blocks", "objects", page);
    count_row(run, "room on the device, blocks", "budget_objects", page);
    count_row(run, "room in pinned memory, blocks", "pinned_objects", page);
    share_row(run, "re-accesses served from the device", "device", page);
    share_row(run, "from pinned memory", "pinned", page);
    share_row(run, "from pageable memory", "pageable", page);
    fprintf(page, "<tr><th>promotions per 1,000 accesses</th><td>%.0f</td></tr>\n", real(run, "promotions_per_1000"));
    wrong_row(run, "corrupt", "corrupt", page);
    wrong_row(run, "leaked", "leaked", page);
    fputs("</tbody></table>\n", page);
}

int report_blocks(const json_t *run, unsigned *number, FILE *page)
{
    static const struct {
        const char *title, *note, *y_label;
        double      scale;
        bool        is_rate;
        struct {
            const char *name, *key;
        } line[3];
    } charts[] = {
        {"Where re-accesses were served", "Since the point before, by the tier that held the block.", "share, %", 100, false,
         {{"device", "share_device"}, {"pinned", "share_pinned"}, {"pageable", "share_pageable"}}},
        {"Moves", "Blocks a second of the trace's time.", "blocks per second", 1, true,
         {{"up to the device", "promotions"}, {"up to pinned", "promotions_pinned"}, {"down", "demotions"}}},
        {"Blocks in each tier", "The budgets are the ceilings of the first two.", "blocks", 1, false,
         {{"device", "buffers_device"}, {"pinned", "buffers_pinned"}, {"pageable", "buffers_pageable"}}},
        {"Bytes moved", "Between tiers, so far.", "MiB", 1.0 / (1 << 20), false, {{"moved", "bytes_moved"}}},
        {"Memory pressure", "0 calm, 1 tight, 2 high, 3 critical.", "level", 1, false, {{"level", "pressure_level"}}},
    };
    const json_t *series = json_object_get(run, "series");
    write_table(run, page);
    for (size_t i = 0; i < sizeof charts / sizeof *charts; i++) {
        struct chart chart = {.title = charts[i].title, .note = charts[i].note, .x_label = "minutes of the trace", .y_label = charts[i].y_label};
        for (size_t at = 0; at < 3 && charts[i].line[at].name; at++) {
            /* A rate is per second, so its time is drawn in seconds. */
            struct chart_column column = {"t_s", charts[i].line[at].key, charts[i].is_rate ? 1 : 1.0 / 60, charts[i].scale, charts[i].is_rate};
            (void)chart_add_series(&chart, charts[i].line[at].name, series, &column);
        }
        if (charts[i].is_rate) chart.x_label = "seconds of the trace";
        if (chart_draw(&chart, ++*number, page) < 0) return -1;
    }
    return 0;
}
