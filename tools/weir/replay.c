/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c - the command `weir replay`: weir first, then the baselines, then table and JSON */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "command.h"
#include "replay_options.h"
#include "replay_role.h"
#include "replay_worker.h"
#include "report.h"

#define DRAWN_REQUESTS 20000 /* about an hour of arrivals; then they start over */
#define KINDS_MAX      3

/* Where the JSON goes: a file beside the wanted one, which takes its place only when it is whole. */
struct json_file {
    const char *path; /* NULL: no file */
    char       *partial_path;
    FILE       *out;
};

/* Opened before the run, so that a path that cannot be written costs nobody the run. */
static int json_file_open(struct json_file *file, const char *path)
{
    memset(file, 0, sizeof(*file));
    if (!path) return 0;
    if (!strcmp(path, "-")) {
        file->out = stdout;
        return 0;
    }
    file->path = path;
    if (asprintf(&file->partial_path, "%s.partial", path) < 0) file->partial_path = NULL;
    file->out = file->partial_path ? fopen(file->partial_path, "w") : NULL;
    if (file->out) return 0;
    fprintf(stderr, "weir replay: %s: %s\n", path, strerror(errno));
    free(file->partial_path);
    return -1;
}

/* object NULL: nothing was measured, and nothing is left behind. */
static int json_file_close(struct json_file *file, json_t *object)
{
    if (!file->out) return 0;
    bool written = object && json_dumpf(object, file->out, JSON_INDENT(1)) == 0 &&
                   fputc('\n', file->out) != EOF && fflush(file->out) == 0;
    if (!file->path) return written || !object ? 0 : -1;
    written = fclose(file->out) == 0 && written && rename(file->partial_path, file->path) == 0;
    if (!written) {
        if (object) fprintf(stderr, "weir replay: %s: %s\n", file->path, strerror(errno));
        remove(file->partial_path);
    }
    free(file->partial_path);
    return written || !object ? 0 : -1;
}

static int load_workload(struct replay_options *options, struct workload *out)
{
    int err;

    if (options->arrivals) {
        options->plan.source = options->arrivals;
        err = workload_read(options->arrivals, stderr, out);
    } else {
        options->plan.source = "drawn from published statistics";
        err = workload_draw(options->plan.seed, DRAWN_REQUESTS, out);
        if (err < 0) fputs("weir replay: out of memory\n", stderr);
    }
    options->plan.workload = out;
    return err;
}

static size_t choose_kinds(const struct replay_options *options, const struct staging_kind **kinds)
{
    size_t count = 0;

    kinds[count++] = &staging_weir;
    if (options->baselines & BASELINE_MUTEX) kinds[count++] = &staging_mutex;
    if (options->baselines & BASELINE_MALLOC) kinds[count++] = &staging_malloc;
    return count;
}

/* Returns an enum exit_status. *done: how many results were made. */
static int run_kinds(const struct replay_options *options, struct replay_result **results,
                     size_t *done)
{
    const struct staging_kind *kinds[KINDS_MAX];
    struct progress            progress;
    size_t                     count = choose_kinds(options, kinds);
    int                        status = EXIT_STATUS_OK;

    progress_init(&progress, stderr);
    progress.interrupted = replay_interrupted;
    for (size_t i = 0; i < count && !replay_interrupted(); i++) {
        results[i] = malloc(sizeof(*results[i]));
        if (!results[i] || replay_run(&options->plan, kinds[i], &progress, results[i]) < 0)
            return EXIT_STATUS_USAGE;
        *done = i + 1;
        if (!replay_clean(results[i])) status = EXIT_STATUS_FOUND;
    }
    return status;
}

static int report(const struct replay_options *options, struct replay_result *const *results,
                  size_t count, struct json_file *file)
{
    const struct replay_result *const *read_only = (const struct replay_result *const *)results;
    json_t                            *object = replay_json(&options->plan, read_only, count);
    bool                               json_to_stdout = file->out == stdout;

    replay_print(&options->plan, read_only, count, json_to_stdout ? stderr : stdout);
    int err = json_file_close(file, object);
    if (options->report && (!object || report_write(options->report, &object, 1) < 0)) err = -1;
    json_decref(object);
    return err;
}

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    replay_interrupt();
}

/* The first interrupt ends the run in order and still reports; the second one ends the process. */
static void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static bool wants_blocks(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        if (!strncmp(arguments[i], "--blocks", strlen("--blocks"))) return true;
    }
    return false;
}

static bool wants_role(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        if (!strcmp(arguments[i], "--role") || !strncmp(arguments[i], "--role=", 7)) return true;
    }
    return false;
}

int command_replay(int count, char **arguments)
{
    if (wants_role(count, arguments)) return command_replay_role(count, arguments);
    if (wants_blocks(count, arguments)) return command_replay_blocks(count, arguments);

    struct replay_options options;
    struct workload       workload = {0};
    struct json_file      file;
    struct replay_result *results[KINDS_MAX] = {NULL};
    size_t                done = 0;

    replay_options_parse(count, arguments, &options);
    if (options.report && report_check() < 0) return EXIT_STATUS_USAGE;
    if (load_workload(&options, &workload) < 0) return EXIT_STATUS_USAGE;
    if (json_file_open(&file, options.json) < 0) {
        workload_clear(&workload);
        return EXIT_STATUS_USAGE;
    }
    catch_interrupts();
    int status = run_kinds(&options, results, &done);
    if (status == EXIT_STATUS_USAGE)
        json_file_close(&file, NULL);
    else if (report(&options, results, done, &file) < 0)
        status = EXIT_STATUS_USAGE;
    for (size_t i = 0; i < KINDS_MAX; i++) free(results[i]);
    workload_clear(&workload);
    return status;
}
