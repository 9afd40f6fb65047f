/* SPDX-License-Identifier: Apache-2.0 */
/* Medians, metrics and verdicts of `weir bench`, from lines that are written here: nothing is measured. */
#include "bench.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* One plan at a time; Criterion gives each test a process of its own. */
static struct bench_cell cells[32];
static struct bench_plan plan = {.cells = cells};
static struct bench_verdict verdicts[BENCH_VERDICTS_MOST];
static struct bench_options options = {.cases = BENCH_ALL, .peers = true, .repeat = 3};

static struct bench_cell *add_cell(enum bench_case of, const char *label, const char *peer)
{
    struct bench_cell *cell = &cells[plan.count++];

    cell->of = of;
    cell->peer = peer;
    cell->runs = json_array();
    snprintf(cell->label, sizeof cell->label, "%s", label);
    return cell;
}

static void add_line(struct bench_cell *cell, const char *text)
{
    json_t *line = json_loads(text, JSON_DECODE_ANY, NULL);

    cr_assert_not_null(line, "the test's own line is wrong: %s", text);
    json_array_append_new(cell->runs, line);
}

static const struct bench_verdict *verdict_of(const char *name)
{
    size_t count = bench_judge(&plan, &options, verdicts);

    for (size_t i = 0; i < count; i++)
        if (strcmp(verdicts[i].name, name) == 0) return &verdicts[i];
    cr_assert_fail("there is no target %s", name);
    return NULL;
}

Test(numbers, median_of_odd_and_even_counts)
{
    static struct bench_values values;
    struct bench_summary summary;

    bench_values_add(&values, 9);
    bench_values_add(&values, 1);
    bench_values_add(&values, 4);
    summary = bench_values_end(&values);
    cr_expect_eq(summary.median, 4);
    cr_expect_eq(summary.least, 1);
    cr_expect_eq(summary.most, 9);
    bench_values_add(&values, 6);
    summary = bench_values_end(&values);
    cr_expect_eq(summary.median, 5);
    cr_expect_eq(summary.count, 4);
}

Test(numbers, nothing_has_no_median)
{
    static struct bench_values values;

    cr_expect_eq(bench_values_end(&values).count, 0);
}

Test(numbers, metrics_are_found_in_a_line)
{
    json_t *line = json_loads("{\"a\": 2, \"n\": null, \"h\": {\"count\": 3, \"p50\": 7.5},"
                              " \"none\": {\"count\": 0, \"p50\": 0},"
                              " \"thread_pairs_min\": 5, \"thread_pairs_max\": 20}",
                              0, NULL);
    double value = -1;

    cr_assert(bench_metric(line, "a", &value));
    cr_expect_eq(value, 2);
    cr_assert(bench_metric(line, "h.p50", &value));
    cr_expect_eq(value, 7.5);
    cr_assert(bench_metric(line, "fairness", &value));
    cr_expect_eq(value, 0.25);
    value = -1;
    cr_expect_not(bench_metric(line, "n", &value), "null is no number");
    cr_expect_not(bench_metric(line, "h.p99", &value), "a quantile that is not there");
    cr_expect_not(bench_metric(line, "none.p50", &value), "a quantile of nothing");
    cr_expect_not(bench_metric(json_null(), "a", &value), "a run that failed");
    cr_expect_eq(value, -1, "an output is written only on success");
    json_decref(line);
}

Test(verdict, ratios_are_taken_inside_a_repetition)
{
    struct bench_cell *weir = add_cell(BENCH_HOT, "hot b64 t1 try h0", "weir");
    struct bench_cell *mutex = add_cell(BENCH_HOT, "hot b64 t1 try h0", "mutex");

    /* The machine slowed down to a tenth: the ratio of medians would be 1, each ratio is 0.4. */
    add_line(weir, "{\"cpu_ns_per_pair\": 10}");
    add_line(mutex, "{\"cpu_ns_per_pair\": 25}");
    add_line(weir, "{\"cpu_ns_per_pair\": 100}");
    add_line(mutex, "{\"cpu_ns_per_pair\": 250}");
    add_line(weir, "null");
    add_line(mutex, "{\"cpu_ns_per_pair\": 10}");
    const struct bench_verdict *verdict = verdict_of("hot.1.cpu_per_pair_vs_mutex");
    cr_assert(verdict->measured);
    cr_expect_eq(verdict->value.count, 2, "a run that failed is left out");
    cr_expect(fabs(verdict->value.median - 0.4) < 1e-9);
    cr_expect(verdict->met, "0.4 <= 0.5");
}

Test(verdict, a_missed_target_is_missed)
{
    struct bench_cell *weir = add_cell(BENCH_HOT, "hot b64 t1 try h0", "weir");
    struct bench_cell *rte = add_cell(BENCH_HOT, "hot b64 t1 try h0", "rte_mempool");

    add_line(weir, "{\"cpu_ns_per_pair\": 15}");
    add_line(rte, "{\"cpu_ns_per_pair\": 10}");
    const struct bench_verdict *verdict = verdict_of("hot.1.cpu_per_pair_vs_rte_mempool");
    cr_assert(verdict->measured);
    cr_expect_not(verdict->met, "1.5 <= 1.4 is wrong");
    cr_expect_not(verdict->stretch_met);
}

Test(verdict, one_double_handout_in_any_repetition_is_a_miss)
{
    struct bench_cell *weir = add_cell(BENCH_HOT, "check b64 t64 try", "weir");

    add_line(weir, "{\"doubles\": 0, \"empties\": 0, \"threads\": 64, \"buffers\": 64}");
    add_line(weir, "{\"doubles\": 1, \"empties\": 0, \"threads\": 64, \"buffers\": 64}");
    add_line(weir, "{\"doubles\": 0, \"empties\": 0, \"threads\": 64, \"buffers\": 64}");
    cr_expect_not(verdict_of("exact.double_handouts")->met);
    cr_expect(verdict_of("exact.false_empties")->met);
}

Test(verdict, empty_is_false_only_where_each_thread_could_have_a_buffer)
{
    struct bench_cell *few = add_cell(BENCH_HOT, "hot b64 t256 try h0", "weir");
    struct bench_cell *many = add_cell(BENCH_HOT, "hot b64 t64 try h0", "weir");

    add_line(few, "{\"empties\": 1000, \"threads\": 256, \"buffers\": 64}");
    add_line(many, "{\"empties\": 0, \"threads\": 64, \"buffers\": 64}");
    cr_expect(verdict_of("exact.false_empties")->met);
    add_line(many, "{\"empties\": 2, \"threads\": 64, \"buffers\": 64}");
    cr_expect_not(verdict_of("exact.false_empties")->met);
}

Test(verdict, a_peer_that_stalled_counts_as_less_than_one_pair)
{
    struct bench_cell *weir = add_cell(BENCH_HOT, "hot b64 t2 try h0", "weir");
    struct bench_cell *ring = add_cell(BENCH_HOT, "hot b64 t2 try h0", "ck_ring");

    add_line(weir, "{\"pairs_per_s\": 1e8, \"window_ns\": 1e9}");
    add_line(ring, "{\"pairs_per_s\": 0, \"window_ns\": 1e9}");
    const struct bench_verdict *verdict = verdict_of("hot.2.throughput_vs_ck_ring");
    cr_assert(verdict->measured);
    cr_expect_eq(verdict->value.median, 1e8);
    cr_expect(verdict->met);
}

Test(verdict, progress_is_no_finer_than_its_step)
{
    struct bench_cell *weir = add_cell(BENCH_HOT, "hot b64 t64 try h0", "weir");
    struct bench_cell *control = add_cell(BENCH_HOT, "hot b64 t64 try h0", "control");

    add_line(weir, "{\"no_progress_ns\": 12000, \"no_progress_step_ns\": 12000}");
    add_line(control, "{\"no_progress_ns\": 0, \"no_progress_step_ns\": 12000}");
    cr_expect_eq(verdict_of("hot.64.no_progress_vs_control")->value.median, 1);
}

Test(verdict, cost_over_pool_sizes)
{
    char label[48], line[64];

    for (size_t buffers = 100, ns = 10; buffers <= 1000000; buffers *= 10, ns++) {
        snprintf(label, sizeof label, "scale b%zu held 1", buffers);
        snprintf(line, sizeof line, "{\"cpu_ns_per_pair\": %zu}", ns);
        add_line(add_cell(BENCH_SCALE, label, "weir"), line);
    }
    const struct bench_verdict *verdict = verdict_of("scale.held_1.cost_spread");
    cr_assert(verdict->measured);
    cr_expect(fabs(verdict->value.median - 1.4) < 1e-9);
    cr_expect_not(verdict->met);
}

Test(verdict, what_is_not_measured_says_why)
{
    struct bench_cell *weir = add_cell(BENCH_WAIT, "wake", "weir");

    weir->failures = 1;
    snprintf(weir->failure, sizeof weir->failure, "ended by signal 11");
    add_line(weir, "null");
    add_line(add_cell(BENCH_WAIT, "wake", "futex"), "{\"wake_ns\": {\"count\": 1, \"p50\": 5}}");
    cr_expect_not(verdict_of("wake.p50_vs_bare_futex")->measured);
    cr_expect_str_eq(verdict_of("wake.p50_vs_bare_futex")->reason, "ended by signal 11");

    snprintf(plan.missing, sizeof plan.missing, "rte_mempool jemalloc");
    const char *reason = verdict_of("hot.64.throughput_vs_rte_mempool")->reason;
    cr_expect_not_null(strstr(reason, "install-peers"), "%s", reason);

    options.peers = false;
    reason = verdict_of("hot.64.throughput_vs_mutex")->reason;
    cr_expect_not_null(strstr(reason, "--peers"), "%s", reason);
    options.cases = BENCH_SCALE;
    reason = verdict_of("hot.64.throughput_vs_mutex")->reason;
    cr_expect_not_null(strstr(reason, "not asked"), "%s", reason);
}

Test(verdict, what_needs_a_gpu_is_never_measured)
{
    size_t count = bench_judge(&plan, &options, verdicts);
    size_t h200 = 0;

    for (size_t i = 0; i < count; i++) {
        cr_expect(verdicts[i].measured || verdicts[i].reason[0] != '\0', "%s", verdicts[i].name);
        if (strncmp(verdicts[i].name, "h200.", 5) != 0) continue;
        h200++;
        cr_expect_not(verdicts[i].measured);
    }
    cr_expect_eq(h200, 4);
}
