/* SPDX-License-Identifier: Apache-2.0 */
/* top_view.h - a live page as a screen of text, and as JSON */
#ifndef WEIR_TOOL_TOP_VIEW_H
#define WEIR_TOOL_TOP_VIEW_H

#include <jansson.h>
#include <stdio.h>

#include "top_page.h"

struct top_view {
    FILE                    *out;
    bool                     colour;
    const struct top_page   *page;
    const struct top_sample *now;
    const struct top_sample *before; /* for rates; without a slot: none are shown */
};

/* "live"; "stale": nothing was written for long, as the monitor is busy or the process stopped; "dead". */
const char *top_state(const struct top_page *page, const struct top_sample *now);

void top_view_print(const struct top_view *view);
/* One line of a list of pages, and the heading. */
void top_list_heading(FILE *out);
void top_list_print(const struct top_view *view);

/* What the page is; with its statistics, as weir_stats_format() writes them, where `whole`. NULL: no memory. */
json_t *top_json(const struct top_page *page, const struct top_sample *now, bool whole);

#endif
