/* SPDX-License-Identifier: Apache-2.0 */
/* bench_main.c - `weir bench`: make the plan, run it repetition by repetition, judge, report */
#include "bench.h"
#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

static double seconds_since(uint64_t begin_ns)
{
    return (double)(bench_now_ns() - begin_ns) * 1e-9;
}

static void show_progress(const struct bench_cell *cell, size_t done, size_t all, double elapsed_s)
{
    enum { CELLS = 24 };
    int    full = (int)(done * CELLS / all);

    fprintf(stderr, "\r\033[K[%.*s%.*s] %zu of %zu", full, "########################", CELLS - full, "........................", done, all);
    if (done > 0) fprintf(stderr, ", %.0f s left", elapsed_s / (double)done * (double)(all - done));
    fprintf(stderr, ": %s, %s", cell->label,
            cell->peer);
    fflush(stderr);
}

static void run_all(struct bench_plan *plan, unsigned repeat)
{
    bool live = isatty(STDERR_FILENO);
    uint64_t begin_ns = bench_now_ns();
    size_t done = 0;

    for (unsigned repetition = 0; repetition < repeat; repetition++) {
        for (size_t i = 0; i < plan->count; i++) {
            if (live)
                show_progress(&plan->cells[i], done, repeat * plan->count, seconds_since(begin_ns));
            bench_cell_run(&plan->cells[i]);
            done++;
        }
        if (!live)
            fprintf(stderr, "weir bench: repetition %u of %u done after %.0f s\n", repetition + 1,
                    repeat, seconds_since(begin_ns));
    }
    if (live) fprintf(stderr, "\r\033[K");
}

static const char *why_no_plan(const struct bench_plan *plan, int err)
{
    return err == -ENOENT ? plan->missing : strerror(-err);
}

/* A peer may fail, that is a result; weir itself must not. */
static bool weir_failed(const struct bench_plan *plan)
{
    static const char *const own[] = {"weir", "transfer", "memory"};

    for (size_t i = 0; i < plan->count; i++) {
        const struct bench_cell *cell = &plan->cells[i];
        if (cell->failures == 0 || cell->lacking) continue;
        for (size_t o = 0; o < WI_ARRAY_COUNT(own); o++)
            if (strcmp(cell->peer, own[o]) == 0) return true;
    }
    return false;
}

/* A file that cannot be written should be known before the run, not after it. */
static int check_writable(const char *path)
{
    char partial[4200];

    snprintf(partial, sizeof partial, "%s.partial", path);
    FILE *file = fopen(partial, "we");
    if (file == NULL) return -errno;
    fclose(file);
    return unlink(partial) == 0 ? 0 : -errno;
}

int weir_bench_main(int count, char **arguments)
{
    static struct bench_verdict verdicts[BENCH_VERDICTS_MOST];
    struct bench_options options;
    struct bench_machine machine;
    struct bench_plan plan;

    int status = bench_options_read(&options, count, arguments);
    if (status != 0) return status;
    if (options.json_path != NULL) {
        int err = check_writable(options.json_path);
        if (err < 0) {
            fprintf(stderr, "weir bench: %s: %s\n", options.json_path, strerror(-err));
            return STATUS_USAGE;
        }
    }
    int err = bench_plan_make(&plan, &options);
    if (err < 0) {
        fprintf(stderr, "weir bench: no programs to run in %s: %s; `cmake --build BUILD --target weir_peers` builds them\n",
                plan.folder, why_no_plan(&plan, err));
        bench_plan_fini(&plan);
        return STATUS_USAGE;
    }

    uint64_t begin_ns = bench_now_ns();
    bench_machine_begin(&machine);
    run_all(&plan, options.repeat);
    bench_machine_end(&machine);
    size_t verdict_count = bench_judge(&plan, &options, verdicts);
    bench_machine_print(&machine);
    printf("run       %u repetitions, %.0f s\n", options.repeat, seconds_since(begin_ns));
    bench_report_print(&plan, verdicts, verdict_count);
    status = weir_failed(&plan) ? STATUS_FAILED : STATUS_OK;
    if (options.json_path != NULL) {
        err = bench_report_write(&plan, &options, &machine, verdicts, verdict_count,
                                 seconds_since(begin_ns));
        if (err < 0) {
            fprintf(stderr, "weir bench: %s: %s\n", options.json_path, strerror(-err));
            status = STATUS_FAILED;
        }
    }
    bench_plan_fini(&plan);
    return status;
}
