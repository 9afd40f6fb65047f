/* SPDX-License-Identifier: Apache-2.0 */
/* report_chart.h - one chart of a report: lines of points, drawn by gnuplot as SVG */
#ifndef WEIR_TOOL_REPORT_CHART_H
#define WEIR_TOOL_REPORT_CHART_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define CHART_LINES_MAX 6

struct chart_line {
    const char *name;
    double     *x, *y; /* the chart's own */
    size_t      count;
};

/* How an axis runs, and what stands at its marks. */
enum chart_axis {
    CHART_PLAIN = 0, /* from 0, numbers */
    CHART_TIMES,     /* logarithmic, of microseconds: 10 us, 1 ms */
    CHART_SHARES     /* logarithmic, of parts of 1: 1 %, 0.1 % */
};

struct chart {
    const char       *title;
    const char       *note; /* what to read off it, a sentence or two; plain text */
    const char       *x_label, *y_label;
    enum chart_axis   x_axis, y_axis; /* a logarithmic y leaves out what is not above 0 */
    struct chart_line line[CHART_LINES_MAX];
    size_t            lines;
};

/* Which numbers of an array of objects become a line. */
struct chart_column {
    const char *x, *y; /* keys */
    double      x_scale, y_scale;
    bool        is_rate; /* y grows: its rise per second of x, when x is in seconds after scaling */
};

/* Is there a gnuplot that runs? */
bool chart_possible(void);

/* Add a line of these points; both arrays are the chart's from here on, also on failure. Returns 0, or -1: no memory, too many lines. */
int chart_add(struct chart *chart, const char *name, double *x, double *y, size_t count);

/* Add a line from an array of objects. What lacks a key is left out. Returns 0 or -1, as above. */
int chart_add_series(struct chart *chart, const char *name, const json_t *array, const struct chart_column *column);

/*
 * Draw it as inline SVG; number makes its ids unique in the page. A chart without points is left out. Frees the lines.
 * Returns 0, or -1 after saying why on standard error.
 */
int chart_draw(struct chart *chart, unsigned number, FILE *page);

#endif
