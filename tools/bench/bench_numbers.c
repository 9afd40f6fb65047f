/* SPDX-License-Identifier: Apache-2.0 */
/* bench_numbers.c - numbers out of the peers' lines, and their median, minimum and maximum */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

void bench_values_add(struct bench_values *values, double value)
{
    if (values->count < WI_ARRAY_COUNT(values->at)) values->at[values->count++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct bench_summary bench_values_end(struct bench_values *values)
{
    size_t count = values->count;

    if (count == 0) return (struct bench_summary){0};
    qsort(values->at, count, sizeof values->at[0], compare);
    double median = (values->at[(count - 1) / 2] + values->at[count / 2]) / 2;
    return (struct bench_summary){.median = median,
                                  .least = values->at[0],
                                  .most = values->at[count - 1],
                                  .count = count};
}

/* Numbers that follow from others of the same line. */
static bool derived(const json_t *line, const char *metric, double *out)
{
    if (strcmp(metric, "fairness") == 0) {
        double slowest, fastest;
        if (!bench_metric(line, "thread_pairs_min", &slowest)) return false;
        if (!bench_metric(line, "thread_pairs_max", &fastest) || fastest <= 0) return false;
        *out = slowest / fastest;
        return true;
    }
    return false;
}

bool bench_metric(const json_t *line, const char *metric, double *out)
{
    const char *dot = strchr(metric, '.');
    char outer[32];

    if (derived(line, metric, out)) return true;
    if (dot != NULL) {
        size_t length = (size_t)(dot - metric);
        if (length >= sizeof outer) return false;
        memcpy(outer, metric, length);
        outer[length] = '\0';
        line = json_object_get(line, outer);
        metric = dot + 1;
        double samples;
        if (line == NULL || !bench_metric(line, "count", &samples) || samples == 0) return false;
    }
    const json_t *value = json_object_get(line, metric);
    if (!json_is_number(value)) return false;
    *out = json_number_value(value);
    return true;
}

struct bench_summary bench_cell_summary(const struct bench_cell *cell, const char *metric)
{
    static struct bench_values values;
    const json_t *line;
    size_t repetition;
    double value;

    values.count = 0;
    json_array_foreach(cell->runs, repetition, line)
    {
        if (bench_metric(line, metric, &value)) bench_values_add(&values, value);
    }
    return bench_values_end(&values);
}
