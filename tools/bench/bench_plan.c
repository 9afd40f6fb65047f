/* SPDX-License-Identifier: Apache-2.0 */
/* bench_plan.c - which peers run which cases, and with which arguments */
#include "bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM_PREFIX "weir-peer-"

/* Without --peers these alone are measured: weir, and what the machine does without any pool. */
static const char *const hot_own[] = {"control", "weir", NULL};
static const char *const hot_all[] = {"control",  "weir",     "mutex",       "ck_ring",
                                      "ck_fifo",  "ck_stack", "rte_mempool", "jemalloc",
                                      "mimalloc", "glibc",    NULL};
static const char *const hold_all[] = {"control", "weir", "mutex", "rte_mempool", NULL};
static const char *const weir_only[] = {"weir", NULL};
static const char *const waiting_all[] = {"weir", "mutex", NULL};
static const char *const polling_all[] = {"weir", "mutex", "poll", NULL};
static const char *const exact_all[] = {"weir", "ck_fifo", "ck_stack", "rte_mempool", NULL};
static const char *const wake_own[] = {"futex", "weir", NULL};
static const char *const wake_all[] = {"futex", "weir", "mutex", "poll", NULL};

/* What a cell's program is asked to do. Zero means the program's default. */
struct shape {
    const char *program_case;
    const char *arrivals;
    uint64_t    threads, buffers, buffer_bytes, held, hold_ns, sample_every;
    uint64_t    warm_ms, window_ms;
    bool        waiting, checked, growing;
};

/* A structure whose threads stand in each other's way makes few pairs: time more of them. */
static bool is_crowded(const char *peer)
{
    return strncmp(peer, "ck_", 3) == 0 || strcmp(peer, "mutex") == 0 || strcmp(peer, "poll") == 0;
}

/* The option, else beside this program in the build tree, else where the build installs. */
static void find_folder(struct bench_plan *plan, const struct bench_options *options)
{
    char self[2048], probe[4200];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);

    snprintf(plan->folder, sizeof plan->folder, "%s", WEIR_BENCH_INSTALLED_FOLDER);
    if (options->programs != NULL) {
        snprintf(plan->folder, sizeof plan->folder, "%s", options->programs);
        return;
    }
    /* bin/weir stands beside libexec, in the build tree and where it is installed. */
    if (length <= 0) return;
    self[length] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(self, '/');
        if (slash == NULL) return;
        *slash = '\0';
    }
    static const char *const beside[] = {"libexec", "libexec/weir"};
    for (size_t i = 0; i < WI_ARRAY_COUNT(beside); i++) {
        snprintf(probe, sizeof probe, "%s/%s/" PROGRAM_PREFIX "control", self, beside[i]);
        if (access(probe, X_OK) != 0) continue;
        snprintf(plan->folder, sizeof plan->folder, "%s/%s", self, beside[i]);
        return;
    }
}

static bool is_there(struct bench_plan *plan, const char *peer)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/" PROGRAM_PREFIX "%s", plan->folder, peer);
    if (access(path, X_OK) == 0) return true;
    size_t length = strlen(plan->missing);
    char padded[64], found[600];
    snprintf(padded, sizeof padded, " %s ", peer);
    snprintf(found, sizeof found, " %s ", plan->missing);
    if (strstr(found, padded) == NULL)
        snprintf(plan->missing + length, sizeof plan->missing - length, "%s%s",
                 length > 0 ? " " : "", peer);
    return false;
}

static int add_argument(struct bench_cell *cell, size_t *count, const char *format, ...)
    WI_PRINTF(3, 4);

static int add_argument(struct bench_cell *cell, size_t *count, const char *format, ...)
{
    va_list arguments;

    if (*count + 1 >= BENCH_ARGUMENTS_MOST) return -E2BIG;
    va_start(arguments, format);
    int length = vasprintf(&cell->arguments[*count], format, arguments);
    va_end(arguments);
    if (length < 0) {
        cell->arguments[*count] = NULL;
        return -ENOMEM;
    }
    (*count)++;
    return 0;
}

static int add_number(struct bench_cell *cell, size_t *count, const char *name, uint64_t value)
{
    if (value == 0) return 0;
    WI_TRY(add_argument(cell, count, "--%s", name));
    return add_argument(cell, count, "%llu", (unsigned long long)value);
}

static int add_arguments(struct bench_cell *cell, const char *folder, const struct shape *shape)
{
    size_t count = 0;

    WI_TRY(add_argument(cell, &count, "%s/" PROGRAM_PREFIX "%s", folder, cell->peer));
    WI_TRY(add_argument(cell, &count, "--case"));
    WI_TRY(add_argument(cell, &count, "%s", shape->program_case));
    WI_TRY(add_number(cell, &count, "threads", shape->threads));
    WI_TRY(add_number(cell, &count, "buffers", shape->buffers));
    WI_TRY(add_number(cell, &count, "buffer-bytes", shape->buffer_bytes));
    WI_TRY(add_number(cell, &count, "held", shape->held));
    WI_TRY(add_number(cell, &count, "hold", shape->hold_ns));
    WI_TRY(add_number(cell, &count, "sample", shape->sample_every));
    WI_TRY(add_number(cell, &count, "warm", shape->warm_ms));
    WI_TRY(add_number(cell, &count, "window", shape->window_ms));
    if (shape->arrivals != NULL) {
        WI_TRY(add_argument(cell, &count, "--arrivals"));
        WI_TRY(add_argument(cell, &count, "%s", shape->arrivals));
    }
    if (shape->waiting) WI_TRY(add_argument(cell, &count, "--wait"));
    if (shape->checked) WI_TRY(add_argument(cell, &count, "--check"));
    if (shape->growing) WI_TRY(add_argument(cell, &count, "--grow"));
    return 0;
}

static int add_cell(struct bench_plan *plan, enum bench_case of, const char *label,
                    const char *peer, const struct shape *shape)
{
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity * 2 + 32;
        struct bench_cell *cells = realloc(plan->cells, capacity * sizeof *cells);
        if (cells == NULL) return -ENOMEM;
        plan->cells = cells;
        plan->capacity = capacity;
    }
    struct bench_cell *cell = &plan->cells[plan->count++];
    memset(cell, 0, sizeof *cell);
    cell->peer = peer;
    cell->of = of;
    /* Setting up a large pool takes time, too, and so does a loaded machine. */
    cell->limit_ms = shape->warm_ms + shape->window_ms + 20000;
    snprintf(cell->label, sizeof cell->label, "%s", label);
    cell->runs = json_array();
    if (cell->runs == NULL) return -ENOMEM;
    return add_arguments(cell, plan->folder, shape);
}

/* One cell for each peer that is there. */
static int add_row(struct bench_plan *plan, enum bench_case of, const char *label,
                   const char *const *peers, const struct shape *shape)
{
    for (; *peers != NULL; peers++) {
        struct shape own = *shape;
        if (!is_there(plan, *peers)) continue;
        if (own.sample_every == 0 && own.threads > 1 && is_crowded(*peers)) own.sample_every = 7;
        WI_TRY(add_cell(plan, of, label, *peers, &own));
    }
    return 0;
}

static void set_window(struct shape *shape, const struct bench_options *options, uint64_t warm_ms,
                       uint64_t window_ms)
{
    shape->warm_ms = options->window_ms > 0 ? options->window_ms / 5 + 1 : warm_ms;
    shape->window_ms = options->window_ms > 0 ? options->window_ms : window_ms;
}

static int plan_hot_row(struct bench_plan *plan, const struct bench_options *options,
                        const struct shape *base)
{
    struct shape shape = *base;
    const char *const extra[] = {options->extra_peer, NULL};
    const char *const *trying = hot_own;
    char label[48];

    if (options->peers) trying = shape.hold_ns == 0 ? hot_all : hold_all;
    /* Many threads share few CPUs: each should have had its turn. */
    if (shape.threads <= 2)
        set_window(&shape, options, 60, 240);
    else
        set_window(&shape, options, 200, shape.hold_ns == 0 ? 700 : 400);
    snprintf(label, sizeof label, "hot b%zu t%zu try h%zu", (size_t)shape.buffers,
             (size_t)shape.threads, (size_t)shape.hold_ns);
    WI_TRY(add_row(plan, BENCH_HOT, label, trying, &shape));
    WI_TRY(add_row(plan, BENCH_HOT, label, extra, &shape));
    shape.waiting = true;
    if (shape.threads > 2) set_window(&shape, options, 200, 400);
    snprintf(label, sizeof label, "hot b%zu t%zu wait h%zu", (size_t)shape.buffers,
             (size_t)shape.threads, (size_t)shape.hold_ns);
    return add_row(plan, BENCH_HOT, label, options->peers ? waiting_all : weir_only, &shape);
}

static int plan_hot(struct bench_plan *plan, const struct bench_options *options)
{
    struct shape shape = {.program_case = "pairs", .buffer_bytes = 4096};

    for (size_t h = 0; h < options->holds_ns.count; h++) {
        for (size_t b = 0; b < options->buffers.count; b++) {
            for (size_t t = 0; t < options->threads.count; t++) {
                shape.hold_ns = options->holds_ns.at[h];
                shape.buffers = options->buffers.at[b];
                shape.threads = options->threads.at[t];
                WI_TRY(plan_hot_row(plan, options, &shape));
            }
        }
    }
    const char *const *exact = options->peers ? exact_all : weir_only;
    shape = (struct shape){.program_case = "pairs", .buffers = 64, .buffer_bytes = 4096, .checked = true};
    set_window(&shape, options, 60, 300);
    shape.threads = 8;
    WI_TRY(add_row(plan, BENCH_HOT, "check b64 t8 try", exact, &shape));
    shape.threads = 64;
    WI_TRY(add_row(plan, BENCH_HOT, "check b64 t64 try", exact, &shape));
    shape.threads = 256;
    shape.buffers = 4;
    shape.waiting = true;
    WI_TRY(add_row(plan, BENCH_HOT, "check b4 t256 wait", weir_only, &shape));
    shape = (struct shape){.program_case = "hit", .buffers = 64, .buffer_bytes = 4096};
    return add_row(plan, BENCH_HOT, "hit", weir_only, &shape);
}

static int plan_wait(struct bench_plan *plan, const struct bench_options *options)
{
    struct shape shape = {.program_case = "pairs", .threads = 256, .buffers = 4, .hold_ns = 20000,
                          .buffer_bytes = 4096, .sample_every = 1, .waiting = true};

    set_window(&shape, options, 300, 3000);
    WI_TRY(add_row(plan, BENCH_WAIT, "wait b4 t256 h20000",
                   options->peers ? polling_all : weir_only, &shape));
    set_window(&shape, options, 300, 10000);
    WI_TRY(add_row(plan, BENCH_WAIT, "fairness b4 t256 h20000", weir_only, &shape));
    shape = (struct shape){.program_case = "wake", .buffers = 1, .buffer_bytes = 4096};
    set_window(&shape, options, 0, 800);
    return add_row(plan, BENCH_WAIT, "wake", options->peers ? wake_all : wake_own, &shape);
}

static int plan_scale(struct bench_plan *plan, const struct bench_options *options)
{
    char label[48];

    for (size_t buffers = 100; buffers <= 1000000; buffers *= 10) {
        struct shape shape = {.program_case = "pairs", .threads = 1, .buffers = buffers,
                              .buffer_bytes = 512};
        set_window(&shape, options, 60, 240);
        snprintf(label, sizeof label, "scale b%zu held 1", buffers);
        WI_TRY(add_row(plan, BENCH_SCALE, label, weir_only, &shape));
        shape.held = 1000;
        if (buffers < shape.held) continue;
        snprintf(label, sizeof label, "scale b%zu held 1000", buffers);
        WI_TRY(add_row(plan, BENCH_SCALE, label, weir_only, &shape));
    }
    return 0;
}

static int plan_transfer(struct bench_plan *plan, const struct bench_options *options)
{
    static const char *const transfer[] = {"transfer", NULL};
    static const char *const cases[] = {"steady", "bursts", "adopted", "reap"};
    char label[48];

    (void)options;
    for (size_t i = 0; i < WI_ARRAY_COUNT(cases); i++) {
        struct shape shape = {.program_case = cases[i]};
        snprintf(label, sizeof label, "transfer %s", cases[i]);
        WI_TRY(add_row(plan, BENCH_TRANSFER, label, transfer, &shape));
    }
    return 0;
}

static int plan_grow(struct bench_plan *plan, const struct bench_options *options)
{
    struct shape shape = {.program_case = "pairs", .threads = 64, .buffers = 128,
                          .buffer_bytes = 4096};

    set_window(&shape, options, 150, 700);
    WI_TRY(add_row(plan, BENCH_GROW, "grow at rest", weir_only, &shape));
    shape.growing = true;
    return add_row(plan, BENCH_GROW, "grow growing", weir_only, &shape);
}

static int plan_memory(struct bench_plan *plan)
{
    static const char *const memory[] = {"memory", NULL};
    struct shape shape = {.program_case = "records"};

    return add_row(plan, BENCH_MEMORY, "memory", memory, &shape);
}

static int plan_heap(struct bench_plan *plan, const struct bench_options *options)
{
    static const char *const pairs[] = {"heap", "heap_plain", NULL}, *const pinned[] = {"heap", NULL};
    struct shape shape = {.program_case = "pairs"};

    WI_TRY(add_row(plan, BENCH_HEAP, "heap pairs", pairs, &shape));
    shape = (struct shape){.program_case = "pinned", .arrivals = options->arrivals};
    return add_row(plan, BENCH_HEAP, "heap pinned", pinned, &shape);
}

static int plan_cases(struct bench_plan *plan, const struct bench_options *options)
{
    if (options->cases & BENCH_HOT) WI_TRY(plan_hot(plan, options));
    if (options->cases & BENCH_WAIT) WI_TRY(plan_wait(plan, options));
    if (options->cases & BENCH_SCALE) WI_TRY(plan_scale(plan, options));
    if (options->cases & BENCH_TRANSFER) WI_TRY(plan_transfer(plan, options));
    if (options->cases & BENCH_GROW) WI_TRY(plan_grow(plan, options));
    if (options->cases & BENCH_MEMORY) WI_TRY(plan_memory(plan));
    if (options->cases & BENCH_HEAP) WI_TRY(plan_heap(plan, options));
    return 0;
}

int bench_plan_make(struct bench_plan *plan, const struct bench_options *options)
{
    memset(plan, 0, sizeof *plan);
    find_folder(plan, options);
    if (!is_there(plan, "control") || !is_there(plan, "weir")) return -ENOENT;
    if (options->extra_peer != NULL && !is_there(plan, options->extra_peer)) return -ENOENT;
    return plan_cases(plan, options);
}

void bench_plan_fini(struct bench_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        json_decref(plan->cells[i].runs);
        for (size_t a = 0; a < BENCH_ARGUMENTS_MOST; a++) free(plan->cells[i].arguments[a]);
    }
    free(plan->cells);
    memset(plan, 0, sizeof *plan);
}

const struct bench_cell *bench_plan_find(const struct bench_plan *plan, const char *label,
                                         const char *peer)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct bench_cell *cell = &plan->cells[i];
        if (strcmp(cell->label, label) == 0 && strcmp(cell->peer, peer) == 0) return cell;
    }
    return NULL;
}
