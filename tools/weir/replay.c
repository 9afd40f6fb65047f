/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c - the command `weir replay`: weir first, then the baselines, then table and JSON */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "command.h"
#include "json_file.h"
#include "replay_options.h"
#include "replay_role.h"
#include "replay_worker.h"
#include "report.h"

#define DRAWN_REQUESTS 20000 /* about an hour of arrivals; then they start over */
#define KINDS_MAX      3

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

/* Is there --NAME or --NAME=...? Before --help it needs no value, so that `--NAME --help` asks for the help of that kind. */
static bool wants(const char *option, int count, char **arguments)
{
    size_t length = strlen(option);

    for (int i = 1; i < count; i++) {
        if (strncmp(arguments[i], option, length) != 0 || (arguments[i][length] && arguments[i][length] != '=')) continue;
        if (!arguments[i][length] && i + 1 < count && !strcmp(arguments[i + 1], "--help")) arguments[i] = arguments[i + 1];
        return true;
    }
    return false;
}

int command_replay(int count, char **arguments)
{
    if (wants("--role", count, arguments)) return command_replay_role(count, arguments);
    if (wants("--blocks", count, arguments)) return command_replay_blocks(count, arguments);

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
