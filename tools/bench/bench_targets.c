/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_targets.c - the numbers to reach, and what a run says about each
 *
 * One table row is one number: which cell, which metric, in proportion to which other cell. Ratios are
 * taken inside a repetition. A row that cannot be measured says why; it is never left out.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

enum how {
    HOW_RATIO,      /* metric of a cell, in proportion to another cell's; the median counts */
    HOW_VALUE,      /* the metric itself */
    HOW_WORST,      /* the metric's maximum: for counts of what must never happen */
    HOW_EXACT,      /* the metric's maximum over every cell of weir where threads <= buffers */
    HOW_FLAT,       /* largest over smallest of the cells whose labels begin so */
    HOW_REPORTED,   /* as HOW_VALUE, and there is nothing to reach */
    HOW_ELSEWHERE   /* not on this machine; other says why */
};

struct row {
    const char *name;
    const char *row;
    enum how    how;
    const char *relation;
    double      target, stretch;
    const char *label, *peer, *metric;
    const char *other_label, *other;
    enum bench_case of;
};

#define HOT(threads) "hot b64 t" threads " try h0"
#define ONE_THREAD   "1 thread, through the public call of the shared library, leases checked"
#define TWO_THREADS  "2 threads"
#define MANY_THREADS "64 and 256 threads on 2 cores"
#define WAITING      "256 threads, 4 buffers, 20 us hold, blocking"
#define NEEDS_H200   "needs an NVIDIA H200"

#define RATIO(name, row, relation, target, stretch, label, metric, other_label, other, of)         \
    {name, row, HOW_RATIO, relation, target, stretch, label, "weir", metric, other_label, other, of}

/* The rows of many threads, once for each number of threads. */
#define MANY(threads)                                                                              \
    RATIO("hot." threads ".cpu_per_pair_vs_own_1_thread", MANY_THREADS, "<=", 1.3, 0,              \
          HOT(threads), "cpu_ns_per_pair", HOT("1"), "weir", BENCH_HOT),                           \
    RATIO("hot." threads ".throughput_vs_mutex", MANY_THREADS, ">=", 15, 0, HOT(threads),          \
          "pairs_per_s", HOT(threads), "mutex", BENCH_HOT),                                        \
    RATIO("hot." threads ".throughput_vs_rte_mempool", MANY_THREADS, ">=", 0.85, 1.2,              \
          HOT(threads), "pairs_per_s", HOT(threads), "rte_mempool", BENCH_HOT),                    \
    RATIO("hot." threads ".p999_vs_control", MANY_THREADS, "<=", 2, 0, HOT(threads),               \
          "acquire_ns.p999", HOT(threads), "control", BENCH_HOT),                                  \
    RATIO("hot." threads ".no_progress_vs_control", MANY_THREADS, "<=", 2, 0, HOT(threads),        \
          "no_progress_ns", HOT(threads), "control", BENCH_HOT)

#define HEAP_PAIR(name, row, how, relation, target, metric)                                        \
    {name, row, how, relation, target, 0, "heap pairs", "heap", metric, "heap pairs", "heap_plain", BENCH_HEAP}
#define HEAP_PINNED(name, metric, target)                                                          \
    {name, "variable-size heap, requests of a trace, so many live", HOW_VALUE, "<=", target, 0, "heap pinned", "heap", \
     metric, NULL, NULL, BENCH_HEAP}

static const struct row rows[] = {
    RATIO("hot.1.cpu_per_pair_vs_rte_mempool", ONE_THREAD, "<=", 1.4, 1.0, HOT("1"),
          "cpu_ns_per_pair", HOT("1"), "rte_mempool", BENCH_HOT),
    RATIO("hot.1.cpu_per_pair_vs_mutex", ONE_THREAD, "<=", 0.5, 0, HOT("1"), "cpu_ns_per_pair",
          HOT("1"), "mutex", BENCH_HOT),
    RATIO("hot.2.cpu_per_pair_vs_own_1_thread", TWO_THREADS, "<=", 1.2, 0, HOT("2"),
          "cpu_ns_per_pair", HOT("1"), "weir", BENCH_HOT),
    RATIO("hot.2.throughput_vs_ck_ring", TWO_THREADS, ">=", 8, 0, HOT("2"), "pairs_per_s",
          HOT("2"), "ck_ring", BENCH_HOT),
    RATIO("hot.2.throughput_vs_ck_fifo", TWO_THREADS, ">=", 8, 0, HOT("2"), "pairs_per_s",
          HOT("2"), "ck_fifo", BENCH_HOT),
    MANY("64"),
    MANY("256"),
    {"exact.false_empties", "threads <= buffers", HOW_EXACT, "=", 0, 0, "", "weir", "empties",
     NULL, NULL, BENCH_HOT},
    {"exact.double_handouts", "threads <= buffers", HOW_EXACT, "=", 0, 0, "check ", "weir",
     "doubles", NULL, NULL, BENCH_HOT},
    RATIO("wait.p999_vs_mutex", WAITING, "<=", 0.05, 0, "wait b4 t256 h20000", "acquire_ns.p999",
          "wait b4 t256 h20000", "mutex", BENCH_WAIT),
    RATIO("wait.p999_vs_1ms_polling", WAITING, "<=", 0.01, 0, "wait b4 t256 h20000",
          "acquire_ns.p999", "wait b4 t256 h20000", "poll", BENCH_WAIT),
    RATIO("wait.throughput_vs_mutex", WAITING, ">=", 1.2, 0, "wait b4 t256 h20000", "pairs_per_s",
          "wait b4 t256 h20000", "mutex", BENCH_WAIT),
    {"wait.slowest_vs_fastest_thread", WAITING, HOW_VALUE, ">=", 0.5, 0,
     "fairness b4 t256 h20000", "weir", "fairness", NULL, NULL, BENCH_WAIT},
    RATIO("wake.p50_vs_bare_futex", "wake-up of a waiter, p50", "<=", 1.1, 0, "wake",
          "wake_ns.p50", "wake", "futex", BENCH_WAIT),
    {"hit.system_calls", "hit: system calls, driver calls, allocations", HOW_WORST, "=", 0, 0,
     "hit", "weir", "system_calls", NULL, NULL, BENCH_HOT},
    {"hit.driver_calls", "hit: system calls, driver calls, allocations", HOW_WORST, "=", 0, 0,
     "hit", "weir", "driver_calls", NULL, NULL, BENCH_HOT},
    {"hit.allocations", "hit: system calls, driver calls, allocations", HOW_WORST, "=", 0, 0,
     "hit", "weir", "allocations", NULL, NULL, BENCH_HOT},
    {"scale.held_1.cost_spread", "pool size 1e2 to 1e6 buffers, 1 held at a time", HOW_FLAT, "<=",
     1.2, 0, "scale b%zu held 1", "weir", "cpu_ns_per_pair", NULL, NULL, BENCH_SCALE},
    {"scale.held_1000.cpu_per_pair", "the same with 1,000 held and released in random order",
     HOW_REPORTED, "", 0, 0, "scale b1000000 held 1000", "weir", "cpu_ns_per_pair", NULL, NULL,
     BENCH_SCALE},
    {"scale.held_1000.cache_misses_per_pair",
     "the same with 1,000 held and released in random order", HOW_REPORTED, "", 0, 0,
     "scale b1000000 held 1000", "weir", "cache_misses_per_pair", NULL, NULL, BENCH_SCALE},
    {"memory.bytes_per_record", "memory per buffer record", HOW_VALUE, "<=", 192, 0, "memory",
     "memory", "bytes_per_record", NULL, NULL, BENCH_MEMORY},
    {"transfer.driver_calls_per_upload", "driver calls per upload in steady state", HOW_VALUE,
     "<=", 2, 0, "transfer steady", "transfer", "issue_calls_per_upload", NULL, NULL,
     BENCH_TRANSFER},
    {"transfer.driver_calls_per_upload_batched", "driver calls per upload, batched on own streams",
     HOW_VALUE, "<=", 1.25, 0, "transfer bursts", "transfer", "issue_calls_per_upload", NULL,
     NULL, BENCH_TRANSFER},
    {"transfer.driver_calls_per_upload_adopted",
     "driver calls per upload on adopted streams, with the capture query", HOW_VALUE, "<=", 3, 0,
     "transfer adopted", "transfer", "issue_calls_per_upload", NULL, NULL, BENCH_TRANSFER},
    {"transfer.all_driver_calls_per_upload", "the same, with the keeper's event queries",
     HOW_REPORTED, "", 0, 0, "transfer steady", "transfer", "driver_calls_per_upload", NULL, NULL,
     BENCH_TRANSFER},
    {"transfer.bandwidth_vs_raw_driver_calls", "bandwidth through weir, on CUDA", HOW_ELSEWHERE,
     "", 0, 0, NULL, NULL, NULL, NULL, "needs an NVIDIA GPU", BENCH_TRANSFER},
    /* One query, and a tenth more for the passes in which a stream's ticks come to their end. */
    {"transfer.reap_queries_per_stream_and_pass", "reap of 10,000 retired buffers", HOW_VALUE,
     "<=", 1.1, 0, "transfer reap", "transfer", "queries_per_stream_and_pass", NULL, NULL,
     BENCH_TRANSFER},
    {"grow.p999_vs_at_rest", "growth of a pool while 64 threads acquire", HOW_RATIO, "<=", 2, 0,
     "grow growing", "weir", "acquire_ns.p999", "grow at rest", "weir", BENCH_GROW},
    {"h200.hit_p999_while_pinning", "acquire+release hit while another thread pins memory",
     HOW_ELSEWHERE, "", 0, 0, NULL, NULL, NULL, NULL, NEEDS_H200, BENCH_ALL},
    {"h200.pair_vs_pytorch_pinned_allocator", "against PyTorch's pinned allocator", HOW_ELSEWHERE,
     "", 0, 0, NULL, NULL, NULL, NULL, NEEDS_H200 " and PyTorch", BENCH_ALL},
    {"h200.pinning_at_start_up", "pinning at start-up against one cuMemHostAlloc", HOW_ELSEWHERE,
     "", 0, 0, NULL, NULL, NULL, NULL, NEEDS_H200, BENCH_ALL},
    {"h200.corrupt_of_1e6_stamped_transfers", "1e6 stamped transfers with reuse", HOW_ELSEWHERE,
     "", 0, 0, NULL, NULL, NULL, NULL, NEEDS_H200, BENCH_ALL},
    HEAP_PAIR("heap.pair_vs_malloc", "variable-size heap, in the thread's cache", HOW_RATIO, "<=", 1.5, "cached_pair_ns"),
    HEAP_PAIR("heap.large_pair_vs_malloc", "variable-size heap, 64 KiB to 4 MiB", HOW_RATIO, "<=", 1.5, "beyond_pair_ns"),
    HEAP_PAIR("heap.burst_pair_vs_malloc", "variable-size heap, 500 at a time", HOW_RATIO, "<=", 1.5, "burst_pair_ns"),
    HEAP_PINNED("heap.pinned_vs_requested", "pinned_vs_requested_1024", 1.25),
    HEAP_PINNED("heap.pinned_vs_requested_256", "pinned_vs_requested_256", 1.25),
    HEAP_PINNED("heap.pinned_vs_requested_64", "pinned_vs_requested_64", 1.25),
    HEAP_PINNED("heap.pinned_vs_powers_of_two", "pinned_vs_powers_of_two_1024", 0.85),
    HEAP_PINNED("heap.pinned_vs_powers_of_two_64", "pinned_vs_powers_of_two_64", 0.85),
};
_Static_assert(WI_ARRAY_COUNT(rows) <= BENCH_VERDICTS_MOST, "each row has its verdict");

/* An interval shorter than the step of its measurement counts as one step. */
static bool read_metric(const json_t *line, const char *metric, double *out)
{
    double step;

    if (!bench_metric(line, metric, out)) return false;
    if (strcmp(metric, "no_progress_ns") == 0 &&
        bench_metric(line, "no_progress_step_ns", &step) && *out < step)
        *out = step;
    return true;
}

static struct bench_summary ratio_of(const struct bench_cell *cell, const struct bench_cell *other,
                                     const char *metric)
{
    static struct bench_values values;
    const json_t *line;
    size_t repetition;

    values.count = 0;
    json_array_foreach(cell->runs, repetition, line)
    {
        double above, below, window_ns;
        const json_t *other_line = json_array_get(other->runs, repetition);
        if (!read_metric(line, metric, &above) || !read_metric(other_line, metric, &below))
            continue;
        /* A peer that stalled for the whole window made fewer than one pair in it. */
        if (below == 0 && bench_metric(other_line, "window_ns", &window_ns) && window_ns > 0)
            below = 1e9 / window_ns;
        if (below > 0) bench_values_add(&values, above / below);
    }
    return bench_values_end(&values);
}

static bool is_exact_cell(const struct bench_cell *cell, const char *prefix)
{
    double threads, buffers;
    const json_t *line = NULL;
    size_t repetition;

    if (strcmp(cell->peer, "weir") != 0 || cell->of != BENCH_HOT) return false;
    if (strncmp(cell->label, prefix, strlen(prefix)) != 0) return false;
    if (strcmp(prefix, "check ") == 0) return true;
    json_array_foreach(cell->runs, repetition, line)
    {
        if (bench_metric(line, "threads", &threads) && bench_metric(line, "buffers", &buffers))
            return threads <= buffers;
    }
    return false;
}

static struct bench_summary worst_exact(const struct bench_plan *plan, const struct row *row)
{
    struct bench_summary all = {0};

    for (size_t i = 0; i < plan->count; i++) {
        if (!is_exact_cell(&plan->cells[i], row->label)) continue;
        struct bench_summary of_cell = bench_cell_summary(&plan->cells[i], row->metric);
        if (of_cell.count == 0) continue;
        all.count += of_cell.count;
        if (of_cell.most > all.most) all.most = of_cell.most;
    }
    all.median = all.most;
    return all;
}

static struct bench_summary spread(const struct bench_plan *plan, const struct row *row,
                                   const char **failure)
{
    const struct bench_cell *cells[8];
    size_t count = 0;
    char label[64];
    static struct bench_values values;

    for (size_t buffers = 100; buffers <= 1000000; buffers *= 10) {
        snprintf(label, sizeof label, "scale b%zu held 1", buffers);
        const struct bench_cell *cell = bench_plan_find(plan, label, row->peer);
        if (cell != NULL) cells[count++] = cell;
        if (cell != NULL && cell->failures > 0) *failure = cell->failure;
    }
    values.count = 0;
    for (size_t r = 0; count > 0 && r < json_array_size(cells[0]->runs); r++) {
        double least = 0, most = 0, value;
        size_t seen = 0;
        for (; seen < count; seen++) {
            if (!bench_metric(json_array_get(cells[seen]->runs, r), row->metric, &value)) break;
            if (seen == 0 || value < least) least = value;
            if (value > most) most = value;
        }
        if (seen == count && least > 0) bench_values_add(&values, most / least);
    }
    return bench_values_end(&values);
}

static struct bench_summary value_of(const struct bench_plan *plan, const struct row *row,
                                     const char **failure)
{
    if (row->how == HOW_EXACT) return worst_exact(plan, row);
    if (row->how == HOW_FLAT) return spread(plan, row, failure);

    const struct bench_cell *cell = bench_plan_find(plan, row->label, row->peer);
    if (cell == NULL) return (struct bench_summary){0};
    if (cell->failures > 0) *failure = cell->failure;
    if (row->how == HOW_RATIO) {
        const struct bench_cell *other = bench_plan_find(plan, row->other_label, row->other);
        if (other == NULL) return (struct bench_summary){0};
        if (other->failures > 0) *failure = other->failure;
        return ratio_of(cell, other, row->metric);
    }
    struct bench_summary summary = bench_cell_summary(cell, row->metric);
    if (row->how == HOW_WORST) summary.median = summary.most;
    return summary;
}

static bool reaches(double value, const char *relation, double target)
{
    if (strcmp(relation, "<=") == 0) return value <= target;
    if (strcmp(relation, ">=") == 0) return value >= target;
    return value == target;
}

/* Why there is no number, from the most specific cause that is known. */
static void explain(struct bench_verdict *verdict, const struct row *row,
                    const struct bench_options *options, const struct bench_plan *plan,
                    const char *failure)
{
    char *reason = verdict->reason;
    size_t capacity = sizeof verdict->reason;
    bool foreign = row->how == HOW_RATIO && strcmp(row->other, "weir") != 0 &&
                   strcmp(row->other, "control") != 0 && strcmp(row->other, "futex") != 0;
    const char *missing = foreign ? strstr(plan->missing, row->other) : NULL;

    verdict->asked = (options->cases & row->of) != 0;
    if (!verdict->asked)
        snprintf(reason, capacity, "its case was not asked for");
    else if (foreign && !options->peers)
        snprintf(reason, capacity, "compares with %s: needs --peers", row->other);
    else if (missing != NULL)
        snprintf(reason, capacity, "%s was not built: run tools/dev/install-peers and build again",
                 row->other);
    else if (failure != NULL)
        snprintf(reason, capacity, "%.220s", failure);
    else if (strcmp(row->metric, "cache_misses_per_pair") == 0)
        snprintf(reason, capacity, "this system does not count cache misses");
    else if (row->label[0] != '\0' && bench_plan_find(plan, row->label, row->peer) == NULL)
        snprintf(reason, capacity, "the options left the case \"%s\" out", row->label);
    else
        snprintf(reason, capacity, "the program did not report it");
}

static void judge(struct bench_verdict *verdict, const struct row *row,
                  const struct bench_options *options, const struct bench_plan *plan)
{
    const char *failure = NULL;

    *verdict = (struct bench_verdict){.name = row->name,
                                      .row = row->row,
                                      .wanted = row->how != HOW_REPORTED,
                                      .target = row->target,
                                      .stretch = row->stretch,
                                      .relation = row->relation};
    if (row->how == HOW_ELSEWHERE) {
        snprintf(verdict->reason, sizeof verdict->reason, "%s", row->other);
        return;
    }
    verdict->value = value_of(plan, row, &failure);
    verdict->measured = verdict->value.count > 0;
    if (!verdict->measured) {
        explain(verdict, row, options, plan, failure);
        return;
    }
    if (!verdict->wanted) return;
    verdict->met = reaches(verdict->value.median, row->relation, row->target);
    verdict->stretch_met =
        row->stretch > 0 && reaches(verdict->value.median, row->relation, row->stretch);
}

size_t bench_judge(const struct bench_plan *plan, const struct bench_options *options,
                   struct bench_verdict *verdicts)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(rows); i++) judge(&verdicts[i], &rows[i], options, plan);
    return WI_ARRAY_COUNT(rows);
}
