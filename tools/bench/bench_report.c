/* SPDX-License-Identifier: Apache-2.0 */
/* bench_report.c - the tables, and the JSON file */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is summarised of each cell, where its program reports it. */
static const char *const metrics[] = {
    "pairs_per_s",     "cpu_ns_per_pair",       "acquire_ns.p50",  "acquire_ns.p90",
    "acquire_ns.p99",  "acquire_ns.p999",       "acquire_ns.p9999", "acquire_ns.max",
    "no_progress_ns",  "empties",               "doubles",         "fairness",
    "context_switches", "cache_misses_per_pair", "stuck_threads",   "wake_ns.p50",
    "wake_ns.p99",     "system_calls",          "driver_calls",    "allocations",
    "bytes_per_record", "driver_calls_per_upload", "issue_calls_per_upload",
    "queries_per_stream_and_pass", "queries_per_buffer", "grow_steps",
};

/* Cells of one label, fastest first. Cells that are not throughput keep their order. */
static int by_speed(const void *a, const void *b)
{
    const struct bench_cell *const *x = a, *const *y = b;
    double p = bench_cell_summary(*x, "pairs_per_s").median;
    double q = bench_cell_summary(*y, "pairs_per_s").median;

    if (p == q) return (*x > *y) - (*x < *y);
    return p < q ? 1 : -1;
}

static size_t row_of(const struct bench_plan *plan, size_t first, const struct bench_cell **out)
{
    size_t count = 0;

    for (size_t i = first; i < plan->count; i++) {
        if (strcmp(plan->cells[i].label, plan->cells[first].label) != 0) break;
        out[count++] = &plan->cells[i];
    }
    qsort(out, count, sizeof *out, by_speed);
    return count;
}

/* 12345.6 as "12.3k": five columns are enough for most numbers here. */
static const char *brief(double value, char text[16])
{
    static const struct {
        double      unit;
        const char *suffix;
    } units[] = {{1e9, "G"}, {1e6, "M"}, {1e3, "k"}};

    for (size_t i = 0; i < WI_ARRAY_COUNT(units); i++) {
        if (fabs(value) < units[i].unit * 0.9995) continue;
        snprintf(text, 16, "%.3g%s", value / units[i].unit, units[i].suffix);
        return text;
    }
    snprintf(text, 16, "%.3g", value);
    return text;
}

static const char *range(const struct bench_cell *cell, const char *metric, char text[64])
{
    struct bench_summary s = bench_cell_summary(cell, metric);
    char median[16], least[16], most[16];

    if (s.count == 0) return "-";
    snprintf(text, 64, "%s [%s %s]", brief(s.median, median), brief(s.least, least),
             brief(s.most, most));
    return text;
}

static const char *single(const struct bench_cell *cell, const char *metric, char text[16])
{
    struct bench_summary s = bench_cell_summary(cell, metric);

    return s.count == 0 ? "-" : brief(s.median, text);
}

static void print_pairs_cell(const struct bench_cell *cell)
{
    char a[64], b[64], c[6][16];

    printf("  %-12s %20s %22s %7s %7s %7s %7s %7s %6s %4s\n", cell->peer,
           range(cell, "cpu_ns_per_pair", a), range(cell, "pairs_per_s", b),
           single(cell, "acquire_ns.p50", c[0]), single(cell, "acquire_ns.p99", c[1]),
           single(cell, "acquire_ns.p999", c[2]), single(cell, "acquire_ns.p9999", c[3]),
           single(cell, "no_progress_ns", c[4]), single(cell, "fairness", c[5]),
           bench_cell_summary(cell, "empties").most > 0 ? "yes" : "no");
}

static void print_other_cell(const struct bench_cell *cell)
{
    char text[64];

    printf("  %-12s", cell->peer);
    for (size_t i = 0; i < WI_ARRAY_COUNT(metrics); i++) {
        struct bench_summary s = bench_cell_summary(cell, metrics[i]);
        if (s.count > 0) printf(" %s %s", metrics[i], range(cell, metrics[i], text));
    }
    printf("\n");
}

static void print_notes(const struct bench_cell *cell)
{
    const json_t *line;
    size_t repetition;
    double stuck = bench_cell_summary(cell, "stuck_threads").most;
    double doubles = bench_cell_summary(cell, "doubles").most;

    if (doubles > 0) printf("    %s handed out an object twice\n", cell->peer);
    if (stuck > 0) printf("    %s: up to %.0f threads did not end in time\n", cell->peer, stuck);
    if (cell->lacking)
        printf("    %s has no such case: %s\n", cell->peer, cell->failure);
    else if (cell->failures > 0)
        printf("    %s failed %u times: %s\n", cell->peer, cell->failures, cell->failure);
    json_array_foreach(cell->runs, repetition, line)
    {
        const char *note = json_string_value(json_object_get(line, "note"));
        if (note != NULL && note[0] != '\0') {
            printf("    %s: %s\n", cell->peer, note);
            return;
        }
    }
}

static void print_cells(const struct bench_plan *plan)
{
    const struct bench_cell **row = calloc(plan->count + 1, sizeof *row);

    for (size_t first = 0; row != NULL && first < plan->count;) {
        size_t count = row_of(plan, first, row);
        bool pairs = false;
        for (size_t i = 0; i < count; i++)
            pairs |= bench_cell_summary(row[i], "pairs_per_s").count > 0;
        printf("\n%s\n", plan->cells[first].label);
        if (pairs)
            printf("  %-12s %20s %22s %7s %7s %7s %7s %7s %6s %4s\n", "peer",
                   "CPU ns/pair [min max]", "pairs/s [min max]", "p50 ns", "p99", "p99.9",
                   "p99.99", "no prog", "min/mx", "emp");
        for (size_t i = 0; i < count; i++) {
            if (pairs)
                print_pairs_cell(row[i]);
            else
                print_other_cell(row[i]);
        }
        for (size_t i = 0; i < count; i++) print_notes(row[i]);
        first += count;
    }
    free(row);
}

static void print_verdict(const struct bench_verdict *verdict, bool colour)
{
    const char *word = !verdict->wanted ? "noted" : verdict->met ? "met" : "MISSED";
    const char *on = !colour || !verdict->wanted ? "" : verdict->met ? "\033[32m" : "\033[31m";
    char value[16], least[16], most[16], target[16];

    printf("  %s%-7s%s %-45s %8s [%s %s]", on, word, colour ? "\033[0m" : "", verdict->name,
           brief(verdict->value.median, value), brief(verdict->value.least, least),
           brief(verdict->value.most, most));
    if (verdict->wanted) printf("  %s %s", verdict->relation, brief(verdict->target, target));
    if (verdict->stretch > 0)
        printf(" (stretch %s %s)", brief(verdict->stretch, target),
               verdict->stretch_met ? "met" : "missed");
    printf("\n");
}

void bench_report_print(const struct bench_plan *plan, const struct bench_verdict *verdicts,
                        size_t verdict_count)
{
    bool colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
    size_t met = 0, missed = 0;

    print_cells(plan);
    if (plan->missing[0] != '\0') printf("\nnot built, so not measured: %s\n", plan->missing);
    printf("\ntargets (median [min max] of the repetitions)\n");
    for (size_t i = 0; i < verdict_count; i++) {
        if (!verdicts[i].measured) continue;
        print_verdict(&verdicts[i], colour);
        met += verdicts[i].wanted && verdicts[i].met;
        missed += verdicts[i].wanted && !verdicts[i].met;
    }
    size_t told = 0; /* of what was asked for */
    for (size_t i = 0; i < verdict_count; i++) {
        if (verdicts[i].measured || !verdicts[i].asked) continue;
        if (told++ == 0) printf("not measured\n");
        printf("  %-53s %s\n", verdicts[i].name, verdicts[i].reason);
    }
    printf("%zu met, %zu missed, %zu not measured or without a target\n", met, missed,
           verdict_count - met - missed);
}

static json_t *verdict_json(const struct bench_verdict *verdict)
{
    if (!verdict->measured)
        return json_pack("{s:s, s:s, s:s}", "name", verdict->name, "row", verdict->row, "reason",
                         verdict->reason);
    json_t *object = json_pack("{s:s, s:s, s:f, s:f, s:f, s:I}", "name", verdict->name, "row",
                               verdict->row, "value", verdict->value.median, "min",
                               verdict->value.least, "max", verdict->value.most, "count",
                               (json_int_t)verdict->value.count);
    if (!verdict->wanted) {
        json_object_set_new(object, "target", json_null());
        json_object_set_new(object, "met", json_null());
        return object;
    }
    json_object_set_new(object, "relation", json_string(verdict->relation));
    json_object_set_new(object, "target", json_real(verdict->target));
    json_object_set_new(object, "met", json_boolean(verdict->met));
    if (verdict->stretch > 0) {
        json_object_set_new(object, "stretch", json_real(verdict->stretch));
        json_object_set_new(object, "stretch_met", json_boolean(verdict->stretch_met));
    }
    return object;
}

static json_t *summary_json(const struct bench_cell *cell)
{
    json_t *object = json_object();

    for (size_t i = 0; i < WI_ARRAY_COUNT(metrics); i++) {
        struct bench_summary s = bench_cell_summary(cell, metrics[i]);
        if (s.count == 0) continue;
        json_object_set_new(object, metrics[i],
                            json_pack("{s:f, s:f, s:f}", "median", s.median, "min", s.least, "max",
                                      s.most));
    }
    return object;
}

static json_t *cells_json(const struct bench_plan *plan)
{
    const struct bench_cell **row = calloc(plan->count + 1, sizeof *row);
    json_t *cells = json_array();

    for (size_t first = 0; row != NULL && first < plan->count;) {
        size_t count = row_of(plan, first, row);
        for (size_t i = 0; i < count; i++)
            json_array_append_new(
                cells, json_pack("{s:s, s:s, s:i, s:i, s:s, s:o, s:O}", "case", row[i]->label,
                                 "peer", row[i]->peer, "rank", (int)i + 1, "failures",
                                 (int)row[i]->failures, "failure", row[i]->failure, "summary",
                                 summary_json(row[i]), "repetitions", row[i]->runs));
        first += count;
    }
    free(row);
    return cells;
}

int bench_report_write(const struct bench_plan *plan, const struct bench_options *options,
                       const struct bench_machine *machine, const struct bench_verdict *verdicts,
                       size_t verdict_count, double elapsed_s)
{
    char path[4200];
    json_t *targets = json_array(), *unmeasured = json_array();

    for (size_t i = 0; i < verdict_count; i++)
        json_array_append_new(verdicts[i].measured ? targets : unmeasured,
                              verdict_json(&verdicts[i]));
    json_t *whole = json_pack("{s:i, s:o, s:o, s:s, s:i, s:f, s:o, s:o}", "weir_bench", 1,
                              "targets", targets, "unmeasured", unmeasured, "missing_peers",
                              plan->missing, "repeat", (int)options->repeat, "elapsed_s",
                              elapsed_s, "machine", bench_machine_json(machine), "cases",
                              cells_json(plan));
    if (whole == NULL) return -ENOMEM;
    snprintf(path, sizeof path, "%s.partial", options->json_path);
    int err = json_dump_file(whole, path, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) == 0 ? 0 : -EIO;
    if (err == 0 && rename(path, options->json_path) != 0) err = -errno;
    if (err < 0) unlink(path);
    json_decref(whole);
    return err;
}
