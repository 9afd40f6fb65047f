/* SPDX-License-Identifier: Apache-2.0 */
/* report_chart.c - see report_chart.h. The script of a chart, its data within, goes to gnuplot through a file. */
#include "report_chart.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Told apart by people who see colours differently too (Okabe and Ito, 2008). */
static const char *const colours[CHART_LINES_MAX] = {"#0072b2", "#d55e00", "#7f7f7f",
                                                     "#009e73", "#cc79a7", "#e69f00"};

bool chart_possible(void)
{
    return system("gnuplot --version >/dev/null 2>&1") == 0;
}

int chart_add(struct chart *chart, const char *name, double *x, double *y, size_t count)
{
    if (!x || !y || chart->lines == CHART_LINES_MAX) {
        free(x);
        free(y);
        return -1;
    }
    chart->line[chart->lines++] = (struct chart_line){name, x, y, count};
    return 0;
}

int chart_add_series(struct chart *chart, const char *name, const json_t *array, const struct chart_column *column)
{
    size_t  whole = json_array_size(array), count = 0;
    double *x = malloc((whole + 1) * sizeof *x), *y = malloc((whole + 1) * sizeof *y);
    double  x_before = 0, y_before = 0; /* a run begins at 0 with nothing counted */
    for (size_t i = 0; x && y && i < whole; i++) {
        const json_t *object = json_array_get(array, i);
        const json_t *x_value = json_object_get(object, column->x), *y_value = json_object_get(object, column->y);
        if (!json_is_number(x_value) || !json_is_number(y_value)) continue;
        if (chart->y_axis != CHART_PLAIN && json_number_value(y_value) <= 0) continue;
        double x_now = json_number_value(x_value) * column->x_scale;
        double y_now = json_number_value(y_value) * column->y_scale;
        x[count] = x_now;
        y[count] = y_now;
        if (column->is_rate && x_now > x_before) y[count] = (y_now - y_before) / (x_now - x_before);
        if (!column->is_rate || x_now > x_before) count++;
        x_before = x_now;
        y_before = y_now;
    }
    return chart_add(chart, name, x, y, count);
}

/* ---- drawing ---- */

static double highest(const struct chart *chart)
{
    double most = 0;
    for (size_t i = 0; i < chart->lines; i++)
        for (size_t at = 0; at < chart->line[i].count; at++)
            if (chart->line[i].y[at] > most) most = chart->line[i].y[at];
    return most;
}

static void write_axis(char axis, enum chart_axis kind, FILE *script)
{
    static const char times[] = "'1 ns' 1e-3, '10 ns' 1e-2, '100 ns' 0.1, '1 us' 1, '10 us' 10, '100 us' 100, '1 ms' 1e3, "
                                "'10 ms' 1e4, '100 ms' 1e5, '1 s' 1e6, '10 s' 1e7, '100 s' 1e8";
    static const char shares[] = "'100 %%' 1, '10 %%' 0.1, '1 %%' 0.01, '0.1 %%' 1e-3, '0.01 %%' 1e-4, '0.001 %%' 1e-5, '0.0001 %%' 1e-6, "
                                 "'0.00001 %%' 1e-7, '0.000001 %%' 1e-8";
    if (kind != CHART_PLAIN) fprintf(script, "set logscale %c\nset %ctics (%s)\n", axis, axis, kind == CHART_TIMES ? times : shares);
}

static void write_script(const struct chart *chart, unsigned number, FILE *script)
{
    fprintf(script,
            "set terminal svg size 860,330 dynamic noenhanced font 'sans-serif,14' name 'chart%u' linewidth 1.2\n"
            "set border 3 lc rgb '#6b7280'\nset tics nomirror out textcolor rgb '#374151'\nset grid y lc rgb '#e5e7eb' lt 1\n"
            "set key outside top center horizontal textcolor rgb '#374151'\nset xlabel '%s' textcolor rgb '#374151'\n"
            "set ylabel '%s' textcolor rgb '#374151'\n",
            number, chart->x_label, chart->y_label);
    write_axis('x', chart->x_axis, script);
    write_axis('y', chart->y_axis, script);
    if (chart->y_axis == CHART_PLAIN) fputs(highest(chart) > 0 ? "set yrange [0:*]\n" : "set yrange [0:1]\n", script);
    fputs("set autoscale xfixmax\n", script);
    for (size_t i = 0; i < chart->lines; i++) {
        fprintf(script, "$line%zu << END\n", i);
        for (size_t at = 0; at < chart->line[i].count; at++) fprintf(script, "%.9g %.9g\n", chart->line[i].x[at], chart->line[i].y[at]);
        fputs("END\n", script);
    }
    const char *separator = "plot";
    for (size_t i = 0; i < chart->lines; i++) {
        if (chart->line[i].count == 0) continue;
        fprintf(script, "%s $line%zu using 1:2 with lines lw 2 lc rgb '%s' title '%s'", separator, i, colours[i], chart->line[i].name);
        separator = ",";
    }
    fputc('\n', script);
}

/* What gnuplot wrote, from the <svg on: within a page there is no place for the lines before it. */
static int copy_svg(const char *script, FILE *page)
{
    char  command[64], line[4096];
    bool  begun = false, ended = false;
    FILE *pipe;
    snprintf(command, sizeof command, "gnuplot %s", script);
    if (!(pipe = popen(command, "r"))) return -1;
    while (fgets(line, sizeof line, pipe)) {
        const char *from = begun ? line : strstr(line, "<svg");
        if (!from) continue;
        begun = true;
        if (strstr(line, "</svg>")) ended = true;
        fputs(from, page);
    }
    return pclose(pipe) == 0 && ended ? 0 : -1;
}

static int draw(const struct chart *chart, unsigned number, FILE *page)
{
    char  path[] = "/tmp/weir-chart-XXXXXX";
    int   file = mkstemp(path);
    FILE *script = file < 0 ? NULL : fdopen(file, "w");
    if (!script) {
        fprintf(stderr, "weir report: %s: %s\n", path, strerror(errno));
        if (file >= 0) close(file);
        return -1;
    }
    write_script(chart, number, script);
    int err = fclose(script) == 0 ? 0 : -1;
    fprintf(page, "<figure>\n<figcaption><h3>%s</h3><p>%s</p></figcaption>\n", chart->title, chart->note);
    if (err == 0) err = copy_svg(path, page);
    fputs("</figure>\n", page);
    unlink(path);
    if (err < 0) fprintf(stderr, "weir report: gnuplot could not draw '%s'\n", chart->title);
    return err;
}

int chart_draw(struct chart *chart, unsigned number, FILE *page)
{
    size_t points = 0;
    for (size_t i = 0; i < chart->lines; i++) points += chart->line[i].count;
    int err = points == 0 ? 0 : draw(chart, number, page);
    for (size_t i = 0; i < chart->lines; i++) {
        free(chart->line[i].x);
        free(chart->line[i].y);
    }
    chart->lines = 0;
    return err;
}
