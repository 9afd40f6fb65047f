/* SPDX-License-Identifier: Apache-2.0 */
/* replay_table.c - the results of a replay as a table for people */
#include "format.h"
#include "replay.h"

#define LABEL_COLUMNS  16
#define NUMBER_COLUMNS 14

enum row_unit { ROW_COUNT, ROW_NS, ROW_BYTES };

struct row {
    const char *label;
    uint64_t (*value)(const struct replay_result *result);
    enum row_unit unit;
};

#define VALUE(name, expression)                                                                    \
    static uint64_t value_##name(const struct replay_result *result)                               \
    {                                                                                              \
        return expression;                                                                         \
    }
VALUE(requests, result->requests)
VALUE(failures, result->failures)
VALUE(corrupt, replay_corrupt(result))
VALUE(leaked, result->leaked)
VALUE(acquires, result->acquire.count)
VALUE(p50, result->acquire.p50_ns)
VALUE(p99, result->acquire.p99_ns)
VALUE(p999, result->acquire.p999_ns)
VALUE(max, result->acquire.max_ns)
VALUE(release_p50, result->release.p50_ns)
VALUE(release_p99, result->release.p99_ns)
VALUE(waits, result->waits)
VALUE(growths, result->growths)
VALUE(retiring, result->retiring_max)
VALUE(latency_p50, result->latency.p50_ns)
VALUE(latency_p99, result->latency.p99_ns)
VALUE(bytes, result->bytes)
VALUE(wall, result->wall_ns)
#undef VALUE

static const struct row rows[] = {
    {"requests", value_requests, ROW_COUNT},    {"failures", value_failures, ROW_COUNT},
    {"corrupt", value_corrupt, ROW_COUNT},      {"leaked", value_leaked, ROW_COUNT},
    {"acquires", value_acquires, ROW_COUNT},    {"acquire p50", value_p50, ROW_NS},
    {"acquire p99", value_p99, ROW_NS},         {"acquire p99.9", value_p999, ROW_NS},
    {"acquire max", value_max, ROW_NS},         {"release p50", value_release_p50, ROW_NS},
    {"release p99", value_release_p99, ROW_NS}, {"waits", value_waits, ROW_COUNT},
    {"growths", value_growths, ROW_COUNT},      {"retiring max", value_retiring, ROW_COUNT},
    {"request p50", value_latency_p50, ROW_NS}, {"request p99", value_latency_p99, ROW_NS},
    {"moved", value_bytes, ROW_BYTES},          {"wall time", value_wall, ROW_NS},
};

static const char *format_value(uint64_t value, enum row_unit unit, char text[FORMAT_BYTES])
{
    switch (unit) {
    case ROW_NS:
        return format_ns(value, text);
    case ROW_BYTES:
        return format_size(value, text);
    case ROW_COUNT:
        break;
    }
    return format_count(value, text);
}

static void print_head(const struct replay_plan *plan, const struct replay_result *weir, FILE *out)
{
    char text[FORMAT_BYTES], other[FORMAT_BYTES];

    fprintf(out, "arrivals   %s, %s requests%s\n", plan->source,
            format_count(plan->workload->count, text), plan->repeat ? ", again and again" : "");
    fprintf(out, "threads    %u; streams %u COMPUTE and %u COMM; ", plan->threads,
            plan->streams_compute, plan->streams_comm);
    if (plan->speedup > 0)
        fprintf(out, "%g times as fast as they arrived", plan->speedup);
    else
        fputs("as fast as possible", out);
    if (plan->seconds_ns) fprintf(out, ", for %g s", (double)plan->seconds_ns / (double)NS_PER_S);
    fprintf(out, "\nbackend    %s (%s)\n", weir->backend, weir->device_name);
    if (weir->model[0]) fprintf(out, "model      %s\n", weir->model);
    fprintf(out, "kernels    modelled: prefill %s a prompt token, decode %s a generated token\n",
            format_ns(plan->prefill_ns_per_token, text),
            format_ns(plan->decode_ns_per_token, other));
    if (plan->early_reuse)
        fputs("plant      early reuse: weir's pools ignore what the device still uses\n", out);
    fputc('\n', out);
}

static void print_rate(const struct replay_result *const *results, size_t count, FILE *out)
{
    fprintf(out, "%-*s", LABEL_COLUMNS, "rate");
    for (size_t i = 0; i < count; i++) {
        char   text[FORMAT_BYTES];
        double rate =
            results[i]->wall_ns ? (double)results[i]->bytes / (double)results[i]->wall_ns : 0;
        snprintf(text, sizeof(text), "%.3f GB/s", rate);
        fprintf(out, "%*s", NUMBER_COLUMNS, text);
    }
    fputc('\n', out);
}

static void print_verdict(const struct replay_result *result, FILE *out)
{
    char failures[FORMAT_BYTES], corrupt[FORMAT_BYTES], leaked[FORMAT_BYTES];

    if (replay_clean(result)) {
        fprintf(out, "%s: nothing failed, nothing was corrupted, everything came home\n",
                result->kind->name);
        return;
    }
    fprintf(out, "%s: %s failed, %s corrupt, %s leaked%s%s\n", result->kind->name,
            format_count(result->failures, failures), format_count(replay_corrupt(result), corrupt),
            format_count(result->leaked, leaked),
            result->lawless ? ", and the counts of a pool do not add up" : "",
            result->interrupted ? " (interrupted)" : "");
    if (result->first_failure[0]) fprintf(out, "  first failure: %s\n", result->first_failure);
}

void replay_print(const struct replay_plan *plan, const struct replay_result *const *results,
                  size_t count, FILE *out)
{
    print_head(plan, results[0], out);
    fprintf(out, "%-*s", LABEL_COLUMNS, "");
    for (size_t i = 0; i < count; i++) fprintf(out, "%*s", NUMBER_COLUMNS, results[i]->kind->name);
    fputc('\n', out);
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        fprintf(out, "%-*s", LABEL_COLUMNS, rows[row].label);
        for (size_t i = 0; i < count; i++) {
            char text[FORMAT_BYTES];
            fprintf(out, "%*s", NUMBER_COLUMNS,
                    format_value(rows[row].value(results[i]), rows[row].unit, text));
        }
        fputc('\n', out);
    }
    print_rate(results, count, out);
    fputc('\n', out);
    for (size_t i = 1; i < count; i++)
        fprintf(out, "%s: %s\n", results[i]->kind->name, results[i]->kind->description);
    for (size_t i = 0; i < count; i++) print_verdict(results[i], out);
}
