/* SPDX-License-Identifier: Apache-2.0 */
/* `weir bench` starting programs: results, noise, failures, signals, time limits; and planted faults. */
#include "bench.h"
#include "clock.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Kept, so that no run is leaked; Criterion gives each test a process of its own. */
static json_t *all_runs;

/* Run a program with arguments as a cell, and return its first line, or null. */
static const json_t *run(struct bench_cell *cell, uint64_t limit_ms, const char *program, ...)
{
    va_list list;
    size_t count = 0;

    memset(cell, 0, sizeof *cell);
    cell->runs = json_array();
    if (all_runs == NULL) all_runs = json_array();
    json_array_append_new(all_runs, cell->runs);
    cell->limit_ms = limit_ms;
    va_start(list, program);
    for (const char *argument = program; argument != NULL; argument = va_arg(list, const char *)) {
        cr_assert_lt(count, BENCH_ARGUMENTS_MOST - 1);
        cell->arguments[count++] = (char *)argument;
    }
    va_end(list);
    bench_cell_run(cell);
    cr_assert_eq(json_array_size(cell->runs), 1, "each run adds one element");
    return json_array_get(cell->runs, 0);
}

static double number(const json_t *line, const char *metric)
{
    double value = -1;

    cr_assert(bench_metric(line, metric, &value), "%s is missing", metric);
    return value;
}

Test(program, result_among_other_output)
{
    struct bench_cell cell;

    const json_t *line = run(&cell, 5000, "/bin/sh", "-c",
                             "echo hello; echo '{\"a\": 1}'; echo bye; echo oops >&2", NULL);
    cr_expect_eq(number(line, "a"), 1);
    cr_expect_eq(cell.failures, 0);
}

Test(program, no_result_is_a_failure)
{
    struct bench_cell cell;

    cr_expect(json_is_null(run(&cell, 5000, "/bin/sh", "-c", "echo '{half'", NULL)));
    cr_expect_eq(cell.failures, 1);
    cr_expect_not_null(strstr(cell.failure, "no result"), "%s", cell.failure);
}

Test(program, exit_status_and_first_line_of_the_error)
{
    struct bench_cell cell;

    run(&cell, 5000, "/bin/sh", "-c", "echo '{}'; echo reason >&2; echo more >&2; exit 7", NULL);
    cr_expect_eq(cell.failures, 1);
    cr_expect_str_eq(cell.failure, "exit status 7: reason");
}

Test(program, signal)
{
    struct bench_cell cell;

    run(&cell, 5000, "/bin/sh", "-c", "kill -SEGV $$", NULL);
    cr_expect_eq(cell.failures, 1);
    cr_expect_not_null(strstr(cell.failure, "signal 11"), "%s", cell.failure);
}

Test(program, not_there)
{
    struct bench_cell cell;

    run(&cell, 5000, "/nonexistent/weir-peer-none", NULL);
    cr_expect_eq(cell.failures, 1);
    cr_expect_not_null(strstr(cell.failure, "No such file"), "%s", cell.failure);
}

Test(program, one_that_hangs_is_killed_at_its_limit, .timeout = 240)
{
    struct bench_cell cell;
    uint64_t begin_ns = bench_now_ns();

    run(&cell, 300, "/bin/sleep", "60", NULL);
    uint64_t elapsed_ns = bench_now_ns() - begin_ns;
    cr_expect_eq(cell.failures, 1);
    cr_expect_not_null(strstr(cell.failure, "hung"), "%s", cell.failure);
    cr_expect_geq(elapsed_ns, 300 * WI_NS_PER_MS);
    cr_expect_lt(elapsed_ns, 10 * WI_NS_PER_S);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "no child is left");
}

Test(program, much_output_does_not_stop_it)
{
    struct bench_cell cell;

    const json_t *line = run(&cell, 10000, "/bin/sh", "-c",
                             "echo '{\"a\": 1}'; head -c 1000000 /dev/zero | tr '\\0' x", NULL);
    cr_expect_eq(number(line, "a"), 1);
}

#define PEER(name) WEIR_BENCH_PROGRAMS "/weir-peer-" name

/* A machine that stands still for a while spoils one measurement, not all of these. */
enum { TRIES_MOST = 5 };

Test(planted, a_system_call_in_a_hit_is_seen)
{
    struct bench_cell cell;

    const json_t *line = run(&cell, 20000, PEER("slow"), "--case", "hit", NULL);
    cr_expect_eq(number(line, "system_calls"), 1);
    line = run(&cell, 20000, PEER("control"), "--case", "hit", NULL);
    cr_expect_eq(number(line, "system_calls"), 0);
}

Test(planted, a_double_handout_is_seen)
{
    struct bench_cell cell;

    double doubles = 0;
    for (int i = 0; i < TRIES_MOST && doubles == 0; i++)
        doubles = number(run(&cell, 20000, PEER("twice"), "--check", "--threads", "4", "--hold",
                             "1000", "--window", "100", NULL),
                         "doubles");
    cr_expect_gt(doubles, 0);
    const json_t *line = run(&cell, 20000, PEER("mutex"), "--check", "--threads", "4", "--hold", "1000",
               "--window", "100", NULL);
    cr_expect_eq(number(line, "doubles"), 0);
}

Test(planted, a_false_empty_is_seen)
{
    struct bench_cell cell;

    const json_t *line = run(&cell, 20000, PEER("shy"), "--threads", "2", "--window", "50", NULL);
    cr_expect_gt(number(line, "empties"), 0);
    line = run(&cell, 20000, PEER("mutex"), "--threads", "2", "--window", "50", NULL);
    cr_expect_eq(number(line, "empties"), 0);
}

Test(planted, a_case_that_a_peer_lacks_is_refused)
{
    struct bench_cell cell;

    run(&cell, 20000, PEER("shy"), "--wait", NULL);
    cr_expect(cell.lacking);
    cr_expect_not_null(strstr(cell.failure, "no such case"), "%s", cell.failure);
    run(&cell, 20000, PEER("shy"), "--threads", "none", NULL);
    cr_expect_not(cell.lacking);
    cr_expect_not_null(strstr(cell.failure, "exit status 2"), "%s", cell.failure);
}

Test(loop, holding_takes_its_time)
{
    struct bench_cell cell;

    /* The rounds of the work are set before it begins: a CPU that was slow then makes it short. */
    double cpu_ns = 0;
    for (int i = 0; i < TRIES_MOST && (cpu_ns < 18000 || cpu_ns > 60000); i++)
        cpu_ns = number(run(&cell, 20000, PEER("control"), "--hold", "20000", "--window", "200",
                            NULL),
                        "cpu_ns_per_pair");
    cr_expect_gt(cpu_ns, 18000, "the work of 20 us took %.0f ns", cpu_ns);
    cr_expect_lt(cpu_ns, 60000, "the work of 20 us took %.0f ns", cpu_ns);
}

Test(loop, numbers_of_one_run_agree)
{
    struct bench_cell cell;

    double samples = 0, pairs = 1;
    for (int i = 0; i < TRIES_MOST && fabs(samples / pairs - 1) > 0.05; i++) {
        const json_t *line = run(&cell, 20000, PEER("mutex"), "--threads", "3", "--sample", "1",
                                 "--window", "200", NULL);
        double window_s = number(line, "window_ns") / 1e9;
        pairs = number(line, "pairs");
        cr_assert_gt(pairs, 0);
        cr_expect_geq(window_s, 0.2);
        cr_expect_float_eq(number(line, "pairs_per_s") * window_s / pairs, 1, 1e-3);
        cr_expect_leq(number(line, "thread_pairs_min") * 3, pairs);
        cr_expect_geq(number(line, "thread_pairs_max") * 3, pairs);
        cr_expect_leq(number(line, "acquire_ns.p50"), number(line, "acquire_ns.p99"));
        cr_expect_leq(number(line, "acquire_ns.p99"), number(line, "acquire_ns.p9999"));
        cr_expect_eq(number(line, "stuck_threads"), 0);
        samples = number(line, "acquire_ns.count");
    }
    cr_expect_float_eq(samples / pairs, 1, 0.05, "%.0f samples of %.0f pairs", samples, pairs);
}

Test(loop, waking_a_waiter_takes_less_than_polling)
{
    struct bench_cell cell;

    double futex_ns = 1, poll_ns = 0;
    for (int i = 0; i < TRIES_MOST && futex_ns >= poll_ns; i++) {
        futex_ns = number(run(&cell, 20000, PEER("futex"), "--case", "wake", "--buffers", "1",
                              "--window", "300", NULL),
                          "wake_ns.p50");
        poll_ns = number(run(&cell, 20000, PEER("poll"), "--case", "wake", "--buffers", "1",
                             "--window", "300", NULL),
                         "wake_ns.p50");
        cr_expect_gt(futex_ns, 500, "nobody wakes in half a microsecond");
    }
    cr_expect_lt(futex_ns, poll_ns);
}
