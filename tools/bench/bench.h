/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - `weir bench`: the parts, and what goes between them
 *
 *     options -> plan -> [ run each cell, repetition by repetition ] -> summary -> targets -> report
 *
 * A cell is one peer in one case: one program, started anew for each repetition (peer.h). A
 * repetition goes through all cells before the next begins, and cells that are compared stand side by side
 * in it, so that a machine that slows down slows all of them. Comparisons are made inside a
 * repetition; the median over the repetitions is what counts.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "base/base.h"

#include <jansson.h>

/* The entry of the subcommand. arguments[0] is "weir bench". */
int weir_bench_main(int count, char **arguments);

enum bench_case {
    BENCH_HOT = 1 << 0,
    BENCH_WAIT = 1 << 1,
    BENCH_SCALE = 1 << 2,
    BENCH_TRANSFER = 1 << 3,
    BENCH_GROW = 1 << 4,
    BENCH_MEMORY = 1 << 5,
    BENCH_HEAP = 1 << 6,
    BENCH_ALL = (1 << 7) - 1
};

enum { BENCH_LIST_MOST = 16, BENCH_REPEAT_MOST = 1000 };

struct bench_list {
    size_t   count;
    uint64_t at[BENCH_LIST_MOST];
};

struct bench_options {
    unsigned          cases; /* enum bench_case, or-ed */
    bool              peers; /* also those of other libraries */
    struct bench_list threads;
    struct bench_list buffers;
    struct bench_list holds_ns;
    unsigned          repeat;
    uint64_t          window_ms; /* 0: each case has its own */
    const char       *json_path; /* NULL: none */
    const char       *extra_peer; /* one more peer for the hot case; NULL: none */
    const char       *arrivals; /* sizes of the heap case; NULL: drawn */
    const char       *programs;  /* folder of the peers' programs; NULL: look for it */
};

/* bench_options_read - 0, or an exit status when the program should end */
int bench_options_read(struct bench_options *options, int count, char **arguments);

/* --- cells --- */

enum { BENCH_ARGUMENTS_MOST = 32 };

struct bench_cell {
    const char *peer;
    enum bench_case of;
    char     label[48];              /* the case within its kind: "hot b64 t256 try h0" */
    char    *arguments[BENCH_ARGUMENTS_MOST]; /* of the peer's program, NULL at the end */
    uint64_t limit_ms;               /* time after which the program is killed */
    json_t  *runs;                   /* one per repetition: what the program printed, or null */
    unsigned failures;
    char     failure[200];           /* why, of the latest failure */
    bool     lacking;                /* the program has no such case, here or at all: not a fault */
};

struct bench_plan {
    struct bench_cell *cells;
    size_t   count;
    size_t   capacity;
    char     folder[4096];           /* where the peers' programs are */
    char     missing[512];           /* names of peers that are not there */
};

/* bench_plan_make - choose the cells. Negative errno when there is no memory or no peer at all. */
int bench_plan_make(struct bench_plan *plan, const struct bench_options *options);
void bench_plan_fini(struct bench_plan *plan);

/* bench_plan_find - the cell, or NULL when it is not in the plan */
const struct bench_cell *bench_plan_find(const struct bench_plan *plan, const char *label,
                                         const char *peer);

/* bench_cell_run - start the cell's program and append what it printed, or a null, to its runs. Never fails. */
void bench_cell_run(struct bench_cell *cell);

/* --- numbers --- */

/* Median, minimum and maximum over repetitions. count 0: there was nothing to see, and the rest is 0. */
struct bench_summary {
    double median, least, most;
    size_t count;
};

/* bench_summary_add, bench_summary_end - collect up to BENCH_REPEAT_MOST values */
struct bench_values {
    double at[BENCH_REPEAT_MOST];
    size_t count;
};
void bench_values_add(struct bench_values *values, double value);
struct bench_summary bench_values_end(struct bench_values *values);

/* bench_metric - a number from a program's line, such as "acquire_ns.p999". False: it is not there or null. */
bool bench_metric(const json_t *line, const char *metric, double *out);

struct bench_summary bench_cell_summary(const struct bench_cell *cell, const char *metric);

/* --- targets --- */

struct bench_verdict {
    const char *name;
    const char *row;       /* the sentence of the requirement */
    bool        measured;
    bool        asked;     /* its case was */
    bool        wanted;    /* false: reported only, nothing to reach */
    bool        met;
    bool        stretch_met;
    double      target;
    double      stretch;   /* 0: none */
    const char *relation;  /* "<=", ">=", "=" */
    struct bench_summary value;
    char        reason[256]; /* why it was not measured, or "" */
};

enum { BENCH_VERDICTS_MOST = 64 };

/* bench_judge - fill verdicts, at most BENCH_VERDICTS_MOST; returns how many */
size_t bench_judge(const struct bench_plan *plan, const struct bench_options *options,
                   struct bench_verdict *verdicts);

/* --- machine and report --- */

struct bench_machine {
    char     processor[128];
    char     kernel[96];
    unsigned cpus;
    uint64_t memory_bytes;
    double   load_before, load_after;
    double   others_percent; /* CPU time that other processes took meanwhile, of all CPUs */
    double   stolen_percent; /* CPU time that the hypervisor gave to other machines */
    uint64_t busy_ticks, stolen_ticks, all_ticks; /* at the beginning */
    double   own_seconds;
};

void bench_machine_begin(struct bench_machine *machine);
void bench_machine_end(struct bench_machine *machine);
json_t *bench_machine_json(const struct bench_machine *machine);
void bench_machine_print(const struct bench_machine *machine);

/* bench_machine_busy - others took so much that throughput, waits and progress say little */
bool bench_machine_busy(const struct bench_machine *machine);

void bench_report_print(const struct bench_plan *plan, const struct bench_verdict *verdicts,
                        size_t verdict_count);

/* bench_report_write - the JSON file, whole or not at all. Negative errno on failure. */
int bench_report_write(const struct bench_plan *plan, const struct bench_options *options,
                       const struct bench_machine *machine, const struct bench_verdict *verdicts,
                       size_t verdict_count, double elapsed_s);

#endif
