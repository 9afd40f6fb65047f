/* SPDX-License-Identifier: Apache-2.0 */
/* stress.c - the command `weir stress`: lists and runs programs that put the library under load (docs/stress.md) */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "stress_run.h"

#define FOLDER_BYTES   512
#define NAME_BYTES     64
#define PROGRAMS_MAX   128
#define ARGUMENTS_MAX  64

enum option_key { OPTION_SEED = 256, OPTION_SECONDS, OPTION_THREADS, OPTION_JSON, OPTION_FOLDER, OPTION_WITH };

struct stress_options {
    const char *name[PROGRAMS_MAX]; /* what is to run */
    size_t      names;
    const char *pass[ARGUMENTS_MAX]; /* to the program, as they are */
    size_t      passed;
    const char *folder;
    bool        json;
};

static const struct argp_option option_table[] = {
    {"seed", OPTION_SEED, "N", 0, "Start of every random choice (default: a new one each time; it is printed)", 0},
    {"seconds", OPTION_SECONDS, "N", 0, "How long the threads work (default: the program's own)", 0},
    {"threads", OPTION_THREADS, "N", 0, "How many threads work (default: the program's own)", 0},
    {"with", OPTION_WITH, "NAME=N", 0, "An option of the program's own; its --help has them", 0},
    {"json", OPTION_JSON, NULL, 0, "Print the list, or the results, as JSON", 0},
    {"folder", OPTION_FOLDER, "DIR", 0, "Where the programs are (default: stress/ of the build that this command is in)", 0},
    {0},
};

static void pass_number(struct stress_options *options, struct argp_state *state, const char *name, const char *text)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 19 || text[digits]) argp_error(state, "%s '%s' is not a number", name, text);
    if (options->passed + 2 > ARGUMENTS_MAX) argp_error(state, "too many options");
    options->pass[options->passed++] = name;
    options->pass[options->passed++] = text;
}

static void pass_own(struct stress_options *options, struct argp_state *state, const char *text)
{
    const char *equals = strchr(text, '=');
    char       *name = NULL;

    if (!equals || equals == text || asprintf(&name, "--%.*s", (int)(equals - text), text) < 0)
        argp_error(state, "--with '%s' is not NAME=N", text);
    pass_number(options, state, name, equals + 1); /* the name lives as long as the command */
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct stress_options *options = state->input;

    switch (key) {
    case OPTION_SEED: pass_number(options, state, "--seed", text); break;
    case OPTION_SECONDS: pass_number(options, state, "--seconds", text); break;
    case OPTION_THREADS: pass_number(options, state, "--threads", text); break;
    case OPTION_WITH: pass_own(options, state, text); break;
    case OPTION_JSON: options->json = true; break;
    case OPTION_FOLDER: options->folder = text; break;
    case ARGP_KEY_ARG:
        if (options->names == PROGRAMS_MAX) argp_error(state, "at most %d programs", PROGRAMS_MAX);
        options->name[options->names++] = text;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- which programs there are ---- */

struct programs {
    char   folder[FOLDER_BYTES];
    char   name[PROGRAMS_MAX][NAME_BYTES];
    size_t count;
};

/* stress/ beside bin/, where the command is. */
static void find_folder(const char *given, char folder[FOLDER_BYTES])
{
    char    self[FOLDER_BYTES - 32];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (given || length <= 0) {
        snprintf(folder, FOLDER_BYTES, "%s", given ? given : "stress");
        return;
    }
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) *slash = '\0';
    snprintf(folder, FOLDER_BYTES, "%s/../stress", self);
}

/* programs.txt is written by the build: a program that is not on the harness must not be run by guess. */
static int read_programs(const char *given, struct programs *programs)
{
    char path[FOLDER_BYTES + 32];
    char line[NAME_BYTES];

    find_folder(given, programs->folder);
    snprintf(path, sizeof(path), "%s/programs.txt", programs->folder);
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(stderr,
                "weir stress: %s: %s; the programs are in a build with tests: --folder BUILD/stress, or a program's path\n",
                path, strerror(errno));
        return -1;
    }
    while (programs->count < PROGRAMS_MAX && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        if (*line) snprintf(programs->name[programs->count++], NAME_BYTES, "%s", line);
    }
    fclose(file);
    return 0;
}

static bool is_listed(const struct programs *programs, const char *name)
{
    for (size_t i = 0; i < programs->count; i++)
        if (strcmp(programs->name[i], name) == 0) return true;
    return false;
}

/* ---- listing ---- */

static int list_programs(const struct programs *programs, bool as_json)
{
    json_t *array = json_array();
    size_t  absent = 0;

    if (!as_json) printf("%-20s %8s %8s  %s\n", "PROGRAM", "SECONDS", "THREADS", "IMITATES");
    for (size_t i = 0; i < programs->count; i++) {
        char    path[FOLDER_BYTES + NAME_BYTES + 2];
        snprintf(path, sizeof(path), "%s/%s", programs->folder, programs->name[i]);
        json_t *description = stress_describe(path);
        if (!description) {
            absent++;
            continue;
        }
        json_object_set_new(description, "name", json_string(programs->name[i]));
        if (!as_json)
            printf("%-20s %8lld %8lld  %s\n", programs->name[i], (long long)json_integer_value(json_object_get(description, "seconds")),
                   (long long)json_integer_value(json_object_get(description, "threads")),
                   json_string_value(json_object_get(description, "imitates")));
        json_array_append_new(array, description);
    }
    if (absent)
        fprintf(stderr, "weir stress: %zu programs are left out, as they have not been built: cmake --build %s/..\n", absent,
                programs->folder);
    if (as_json) {
        json_dumpf(array, stdout, JSON_INDENT(1));
        putchar('\n');
    }
    json_decref(array);
    return EXIT_STATUS_OK;
}

/* ---- running ---- */

static int run_program(const struct stress_options *options, const char *path, json_t *results)
{
    json_t *description = stress_describe(path);

    if (!description) {
        fprintf(stderr, "weir stress: %s cannot be run, or is not on the harness (docs/stress.md)\n", path);
        return EXIT_STATUS_USAGE;
    }
    struct stress_run run = {
        .path = path,
        .arguments = options->pass,
        .arguments_count = options->passed,
        .seconds = (uint64_t)json_integer_value(json_object_get(description, "seconds")),
        .quiet = options->json,
    };
    for (size_t i = 0; i + 1 < options->passed; i += 2)
        if (strcmp(options->pass[i], "--seconds") == 0) run.seconds = strtoull(options->pass[i + 1], NULL, 10);
    json_decref(description);
    json_t *result = NULL;
    int     status = stress_run(&run, &result);
    if (result) json_array_append_new(results, result);
    return status;
}

static int run_named(const struct stress_options *options, const struct programs *programs, const char *name, json_t *results)
{
    char path[FOLDER_BYTES + NAME_BYTES + 2];

    if (strchr(name, '/')) return run_program(options, name, results);
    if (!is_listed(programs, name)) {
        fprintf(stderr, "weir stress: there is no program '%s'; `weir stress` lists them\n", name);
        return EXIT_STATUS_USAGE;
    }
    snprintf(path, sizeof(path), "%s/%s", programs->folder, name);
    return run_program(options, path, results);
}

static int run_programs(const struct stress_options *options, const struct programs *programs)
{
    json_t *results = json_array();
    int     status = EXIT_STATUS_OK;

    for (size_t i = 0; i < options->names; i++) {
        bool   all = strcmp(options->name[i], "all") == 0;
        size_t count = all ? programs->count : 1;
        for (size_t at = 0; at < count; at++) {
            int one = run_named(options, programs, all ? programs->name[at] : options->name[i], results);
            if (one > status) status = one;
        }
    }
    if (options->json) {
        json_dumpf(results, stdout, JSON_INDENT(1));
        putchar('\n');
    }
    json_decref(results);
    return status;
}

static bool needs_folder(const struct stress_options *options)
{
    bool needed = options->names == 0;

    for (size_t i = 0; i < options->names; i++) needed |= strchr(options->name[i], '/') == NULL;
    return needed;
}

int command_stress(int count, char **arguments)
{
    static const struct argp argp = {
        option_table,
        parse_option,
        "[NAME...]",
        "List the programs that put the library under load, or run some: by name, by path, or all.\v"
        "A program verifies what it does, prints its seed first, and when something is wrong what each thread was doing and the "
        "command that repeats the run.\n\n"
        "Exit status: 0 every program passed; 1 one failed; 2 there is no such program, or wrong usage.",
        NULL,
        NULL,
        NULL};
    static struct programs       programs;
    static struct stress_options options; /* as long as the command: so do the names that it holds */

    argp_parse(&argp, count, arguments, 0, NULL, &options);
    if (needs_folder(&options) && read_programs(options.folder, &programs) < 0) return EXIT_STATUS_USAGE;
    return options.names ? run_programs(&options, &programs) : list_programs(&programs, options.json);
}
