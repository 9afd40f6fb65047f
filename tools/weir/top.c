/* SPDX-License-Identifier: Apache-2.0 */
/* top.c - the command `weir top`: the live pages of running processes */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <weir/weir.h>

#include "command.h"
#include "top_screen.h"
#include "top_view.h"

#define NS_PER_S        UINT64_C(1000000000)
#define STEP_NS         UINT64_C(20000000)
#define INTERVAL_LEAST  0.05
#define INTERVAL_MOST   3600.0
#define NEXT_WRITE_NS   (2 * NS_PER_S)
#define BEGIN_NS        NS_PER_S /* a process that was just started may not have its page yet */

enum option_key { OPTION_ONCE = 256, OPTION_JSON, OPTION_INTERVAL, OPTION_REMOVE };

struct top_options {
    bool     once, json, remove, has_pid, has_number;
    uint64_t pid, number;
    uint64_t interval_ns;
    bool     has_interval;
};

static const struct argp_option option_table[] = {
    {"once", OPTION_ONCE, NULL, 0, "Print one page as text and leave", 0},
    {"json", OPTION_JSON, NULL, 0, "Print JSON; with --interval a line each time, until the process ends", 0},
    {"interval", OPTION_INTERVAL, "SECONDS", 0, "Time between two looks (default 1)", 0},
    {"remove", OPTION_REMOVE, NULL, 0, "Remove the pages of dead processes, or of PID if it is dead", 0},
    {0},
};

static bool parse_number(const char *text, char **end, uint64_t *out)
{
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *out = strtoull(text, end, 10);
    return errno == 0;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct top_options *options = state->input;
    char               *end = NULL;
    double              seconds;

    switch (key) {
    case OPTION_ONCE: options->once = true; break;
    case OPTION_JSON: options->json = true; break;
    case OPTION_REMOVE: options->remove = true; break;
    case OPTION_INTERVAL:
        seconds = strtod(text, &end);
        if (end == text || *end || !(seconds >= INTERVAL_LEAST && seconds <= INTERVAL_MOST))
            argp_error(state, "--interval '%s' is not a number of seconds from %g to %g", text, INTERVAL_LEAST, INTERVAL_MOST);
        options->interval_ns = (uint64_t)(seconds * (double)NS_PER_S);
        options->has_interval = true;
        break;
    case ARGP_KEY_ARG:
        if (options->has_pid || !parse_number(text, &end, &options->pid) ||
            (*end == '.' && !parse_number(end + 1, &end, &options->number)) || *end)
            argp_error(state, "'%s' is not a process, such as 1234 or 1234.1", text);
        options->has_pid = true;
        options->has_number = strchr(text, '.') != NULL;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- finding pages ---- */

/* Paths of the pages that are asked for. The caller frees each and the array. */
static size_t find_pages(const struct top_options *options, char ***paths)
{
    size_t count = top_page_list(paths), kept = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t pid, number;
        bool     wanted = top_page_parse((*paths)[i], &pid, &number) && (!options->has_pid || pid == options->pid) &&
                      (!options->has_number || number == options->number);
        if (wanted) {
            (*paths)[kept++] = (*paths)[i];
        } else {
            free((*paths)[i]);
        }
    }
    return kept;
}

/* As find_pages(), and waits a little for the page of a process that is there. */
static size_t await_pages(const struct top_options *options, char ***paths)
{
    uint64_t        until_ns = weir_deadline_after_ns(BEGIN_NS);
    struct timespec pause = {.tv_nsec = (long)STEP_NS};
    size_t          pages = find_pages(options, paths);

    while (pages == 0 && options->has_pid && !options->remove && weir_clock_ns() < until_ns &&
           (kill((pid_t)options->pid, 0) == 0 || errno == EPERM)) {
        free(*paths);
        nanosleep(&pause, NULL);
        pages = find_pages(options, paths);
    }
    return pages;
}

static void free_paths(char **paths, size_t count)
{
    for (size_t i = 0; i < count; i++) free(paths[i]);
    free(paths);
}

static int tell_none(const struct top_options *options)
{
    if (options->has_pid) {
        fprintf(stderr, "weir top: process %llu has no live page: is it running, with WEIR_STATS=shm, and may you read it?\n",
                (unsigned long long)options->pid);
        return EXIT_STATUS_USAGE;
    }
    if (options->json) {
        puts("[]");
    } else {
        puts("No process has a live page. A program that uses weir has one when it runs with WEIR_STATS=shm.");
    }
    return EXIT_STATUS_OK;
}

/* ---- the list, and removing ---- */

static int list_pages(const struct top_options *options, char **paths, size_t count)
{
    json_t *array = options->json ? json_array() : NULL;
    int     status = EXIT_STATUS_OK;

    if (!options->json) top_list_heading(stdout);
    for (size_t i = 0; i < count; i++) {
        struct top_page   page;
        struct top_sample sample = {0}, none = {0};
        struct top_view   view = {stdout, isatty(STDOUT_FILENO) == 1, &page, &sample, &none};
        char              reason[TOP_REASON_BYTES];
        if (top_page_open(&page, paths[i], reason) < 0) {
            fprintf(stderr, "weir top: %s: %s\n", paths[i], reason);
            status = EXIT_STATUS_FOUND;
            continue;
        }
        if (top_page_read(&page, &sample) == 0) {
            if (options->json) {
                json_array_append_new(array, top_json(&page, &sample, false));
            } else {
                top_list_print(&view);
            }
        }
        top_sample_free(&sample);
        top_page_close(&page);
    }
    if (options->json) {
        json_dumpf(array, stdout, JSON_INDENT(1));
        putchar('\n');
        json_decref(array);
    }
    return status;
}

static bool is_dead(const char *path)
{
    struct top_page page;
    char            reason[TOP_REASON_BYTES];

    if (top_page_open(&page, path, reason) < 0) return false;
    bool dead = page.dead;
    top_page_close(&page);
    return dead;
}

static int remove_pages(const struct top_options *options, char **paths, size_t count)
{
    int status = EXIT_STATUS_OK;

    for (size_t i = 0; i < count; i++) {
        char reason[TOP_REASON_BYTES];
        /* Without a PID the living are passed over in silence; with one, it is an answer. */
        if (!options->has_pid && !is_dead(paths[i])) continue;
        if (top_page_remove(paths[i], reason) < 0) {
            fprintf(stderr, "weir top: %s is not removed: %s\n", paths[i], reason);
            status = EXIT_STATUS_FOUND;
        } else {
            printf("removed %s\n", paths[i]);
        }
    }
    return status;
}

/* ---- one page ---- */

static void sleep_ns(uint64_t ns)
{
    nanosleep(&(struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)}, NULL);
}

/* Where the page has been written since, the present sample becomes the one before. -1: nothing could be read. */
static int next_sample(struct top_page *page, struct top_sample *now, struct top_sample *before)
{
    struct top_sample next = {0};

    if (!top_page_alive(page)) top_sample_free(before); /* a dead process has no rates */
    if (top_page_read(page, &next) < 0) return -1;
    if (next.number == now->number) {
        top_sample_free(&next);
        return 0;
    }
    top_sample_free(before);
    *before = *now;
    *now = next;
    return 0;
}

static int print_json(struct top_page *page, const struct top_sample *now, size_t flags)
{
    json_t *object = top_json(page, now, true);

    if (!object) return EXIT_STATUS_USAGE;
    json_dumpf(object, stdout, flags);
    putchar('\n');
    fflush(stdout);
    json_decref(object);
    return EXIT_STATUS_OK;
}

/* Two slots, so that there are rates: waits for the process's next write. */
static void wait_for_write(struct top_page *page, struct top_sample *now, struct top_sample *before)
{
    uint64_t until_ns = weir_clock_ns() + NEXT_WRITE_NS;

    while (!page->dead && !before->slot && weir_clock_ns() < until_ns) {
        sleep_ns(STEP_NS);
        if (next_sample(page, now, before) < 0) return;
    }
}

static int run_json(const struct top_options *options, struct top_page *page, struct top_sample *now)
{
    if (!options->has_interval || options->once) return print_json(page, now, JSON_INDENT(1));
    while (print_json(page, now, JSON_COMPACT) == EXIT_STATUS_OK && !page->dead && !ferror(stdout)) {
        sleep_ns(options->interval_ns);
        top_page_alive(page);
        if (top_page_read(page, now) < 0) break;
    }
    return EXIT_STATUS_OK;
}

static void draw(struct top_page *page, const struct top_sample *now, const struct top_sample *before)
{
    char  *frame = NULL;
    size_t bytes = 0;
    FILE  *out = open_memstream(&frame, &bytes);

    if (!out) return;
    top_view_print(&(struct top_view){out, true, page, now, before});
    fclose(out);
    top_screen_draw(frame, bytes);
    free(frame);
}

static void run_live(const struct top_options *options, struct top_page *page, struct top_sample *now, struct top_sample *before)
{
    wait_for_write(page, now, before);
    do {
        draw(page, now, before);
    } while (top_screen_wait(options->interval_ns) && next_sample(page, now, before) == 0);
    top_screen_end();
}

static int run_page(const struct top_options *options, const char *path)
{
    struct top_page   page;
    struct top_sample now = {0}, before = {0};
    char              reason[TOP_REASON_BYTES];
    int               status = EXIT_STATUS_OK;

    if (top_page_open(&page, path, reason) < 0) {
        fprintf(stderr, "weir top: %s: %s\n", path, reason);
        return EXIT_STATUS_USAGE;
    }
    if (top_page_read(&page, &now) < 0) {
        fprintf(stderr, "weir top: %s: nothing could be read\n", path);
        status = EXIT_STATUS_USAGE;
    } else if (options->json) {
        status = run_json(options, &page, &now);
    } else if (!options->once && top_screen_begin()) {
        run_live(options, &page, &now, &before);
    } else {
        wait_for_write(&page, &now, &before);
        top_view_print(&(struct top_view){stdout, isatty(STDOUT_FILENO) == 1, &page, &now, &before});
    }
    top_sample_free(&now);
    top_sample_free(&before);
    top_page_close(&page);
    return status;
}

int command_top(int count, char **arguments)
{
    static const struct argp argp = {
        option_table,
        parse_option,
        "[PID[.NUMBER]]",
        "Show what weir does in running processes: a list, or one process, live.\v"
        "A process has a live page for each of its runtimes when it runs with WEIR_STATS=shm. On a terminal the page of PID is drawn "
        "anew every second, until q is pressed; elsewhere it is printed once. Rates are of the time between two looks.\n\n"
        "Exit status: 0 all is well; 1 a page could not be read or removed; 2 the process has no page, or wrong usage.",
        NULL,
        NULL,
        NULL};
    struct top_options options = {.interval_ns = NS_PER_S};
    char             **paths;

    argp_parse(&argp, count, arguments, 0, NULL, &options);
    size_t pages = await_pages(&options, &paths);
    int    status = EXIT_STATUS_OK;
    if (options.remove) {
        status = pages || !options.has_pid ? remove_pages(&options, paths, pages) : tell_none(&options);
    } else if (pages == 0) {
        status = tell_none(&options);
    } else if (options.has_pid) {
        if (pages > 1)
            fprintf(stderr, "weir top: process %llu has %zu pages; `weir top` lists them\n", (unsigned long long)options.pid, pages);
        status = run_page(&options, paths[0]);
    } else {
        status = list_pages(&options, paths, pages);
    }
    free_paths(paths, pages);
    return status;
}
