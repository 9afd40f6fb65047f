/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - the command `weir report`, and the frame of a page */
#include "report.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/base.h>

#include "command.h"
#include "report_chart.h"

#define RUNS_MAX 8

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>weir: report of a run</title>\n<style>\n"
    "body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; background: #f8fafc; margin: 0 auto; max-width: 56rem;"
    " padding: 1.5rem; }\n"
    "h1 { margin: 0 0 .25rem; } h2 { margin: 2.5rem 0 .5rem; border-bottom: 2px solid #0072b2; padding-bottom: .25rem; }\n"
    "h3 { margin: 0; font-size: 1.05rem; } figcaption p { margin: .1rem 0 .5rem; color: #4b5563; font-size: .9rem; }\n"
    "figure { background: #fff; border: 1px solid #e5e7eb; border-radius: .5rem; margin: 1rem 0; padding: 1rem; }\n"
    "figure svg { width: 100%; height: auto; }\n"
    "table { border-collapse: collapse; background: #fff; border: 1px solid #e5e7eb; font-variant-numeric: tabular-nums; }\n"
    "th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #f1f5f9; } th:first-child { text-align: left; }\n"
    "thead th { background: #f1f5f9; } .bad { color: #b91c1c; font-weight: 600; } .good { color: #047857; font-weight: 600; }\n"
    "tbody tr:last-child th, tbody tr:last-child td { border-bottom: none; } .about { color: #4b5563; margin: .25rem 0; }\n"
    ".verdict { margin: .75rem 0; }\n"
    "</style>\n</head>\n<body>\n<h1>weir: how it went</h1>\n";

static const char foot[] = "</body>\n</html>\n";

void report_text(const char *text, FILE *page)
{
    for (; *text; text++) {
        switch (*text) {
        case '<': fputs("&lt;", page); break;
        case '>': fputs("&gt;", page); break;
        case '&': fputs("&amp;", page); break;
        case '"': fputs("&quot;", page); break;
        default: fputc(*text, page);
        }
    }
}

int report_check(void)
{
    if (chart_possible()) return 0;
    fputs("weir report: charts are drawn by gnuplot, which is not here: install it (Debian's package is gnuplot-nox)\n", stderr);
    return -1;
}

/* When, by which version, of how many runs. */
static void write_made(size_t count, FILE *page)
{
    time_t    now = time(NULL);
    struct tm local;
    char      text[64] = "";
    uint32_t  version = weir_version();

    if (localtime_r(&now, &local)) strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local);
    fprintf(page, "<p class=\"about\">Written on %s by weir %u.%u.%u, of %zu run%s.</p>\n", text, version >> 16, version >> 8 & 255,
            version & 255, count, count == 1 ? "" : "s");
}

static int write_page(json_t *const *runs, size_t count, FILE *page)
{
    unsigned number = 0;
    fputs(head, page);
    write_made(count, page);
    for (size_t i = 0; i < count; i++) {
        bool is_blocks = json_object_get(runs[i], "tier_shares") != NULL;
        if ((is_blocks ? report_blocks : report_requests)(runs[i], &number, page) < 0) return -1;
    }
    fputs(foot, page);
    return 0;
}

int report_write(const char *path, json_t *const *runs, size_t count)
{
    char *partial;
    if (asprintf(&partial, "%s.partial", path) < 0) return -1;
    FILE *page = fopen(partial, "w");
    int   err = page ? write_page(runs, count, page) : -1;
    bool  drawn = err == 0; /* else the reason has been said, unless the file could not be opened */
    if (page && fclose(page) != 0) err = -1;
    if (err == 0 && rename(partial, path) != 0) err = -1;
    if (err < 0 && (drawn || !page)) fprintf(stderr, "weir report: %s: %s\n", path, strerror(errno));
    if (err < 0 && page) (void)remove(partial);
    free(partial);
    return err;
}

/* ---- the command ---- */

struct report_options {
    const char *path;
    const char *run[RUNS_MAX];
    size_t      runs;
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct report_options *options = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (!options->path)
            options->path = text;
        else if (options->runs < RUNS_MAX)
            options->run[options->runs++] = text;
        else
            argp_error(state, "more than %d runs", RUNS_MAX);
        return 0;
    case ARGP_KEY_END:
        if (options->runs == 0) argp_error(state, "the page to write and the JSON of a run are wanted");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static json_t *load_run(const char *path)
{
    json_error_t error;
    json_t      *run = json_load_file(path, 0, &error);
    if (!run) {
        fprintf(stderr, "weir report: %s:%d: %s\n", path, error.line, error.text);
    } else if (!json_is_array(json_object_get(run, "series"))) {
        fprintf(stderr, "weir report: %s: not the JSON of `weir replay`: it has no \"series\"\n", path);
        json_decref(run);
        run = NULL;
    }
    return run;
}

int command_report(int count, char **arguments)
{
    static const struct argp argp = {NULL, parse_option, "PAGE.html RUN.json...",
                                     "Make one page with charts from what `weir replay --json` and `weir replay --blocks --json` "
                                     "wrote. The page needs nothing else: it can be sent as it is.\v"
                                     "Exit status: 0 it was written; 2 wrong usage, bad input, or no gnuplot.",
                                     NULL, NULL, NULL};
    struct report_options    options = {0};
    json_t                  *runs[RUNS_MAX] = {NULL};
    size_t                   loaded = 0;
    if (argp_parse(&argp, count, arguments, 0, NULL, &options) != 0) return EXIT_STATUS_USAGE;
    int err = report_check();
    while (err == 0 && loaded < options.runs) {
        if ((runs[loaded] = load_run(options.run[loaded])))
            loaded++;
        else
            err = -1;
    }
    if (err == 0) err = report_write(options.path, runs, loaded);
    for (size_t i = 0; i < loaded; i++) json_decref(runs[i]);
    return err < 0 ? EXIT_STATUS_USAGE : EXIT_STATUS_OK;
}
