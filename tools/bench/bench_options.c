/* SPDX-License-Identifier: Apache-2.0 */
/* bench_options.c - the command line of `weir bench` */
#include "bench.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_USAGE = 2 };
enum key {
    KEY_PEERS = 256,
    KEY_PEER,
    KEY_THREADS,
    KEY_BUFFERS,
    KEY_HOLD,
    KEY_REPEAT,
    KEY_WINDOW,
    KEY_JSON,
    KEY_ARRIVALS,
    KEY_PROGRAMS
};

static const struct argp_option descriptions[] = {
    {"peers", KEY_PEERS, NULL, 0, "Also measure what else there is: mutex, Concurrency Kit, DPDK, allocators", 0},
    {"peer", KEY_PEER, "NAME", 0, "Also measure the program weir-peer-NAME in the hot case", 0},
    {"threads", KEY_THREADS, "LIST", 0, "Threads of the hot case (default 1,2,64,256)", 0},
    {"buffers", KEY_BUFFERS, "LIST", 0, "Buffers of the hot case (default 64)", 0},
    {"hold", KEY_HOLD, "NS", 0, "Work while a buffer is held, in the hot case (default 0,1000)", 0},
    {"repeat", KEY_REPEAT, "N", 0, "Repetitions, interleaved (default 5)", 0},
    {"window", KEY_WINDOW, "MS", 0, "Length of each measurement (default: each case's own)", 0},
    {"arrivals", KEY_ARRIVALS, "FILE", 0, "Sizes of the heap case: a CSV of arrivals, as for replay (default: drawn)", 0},
    {"json", KEY_JSON, "FILE", 0, "Write all numbers to FILE", 0},
    {"programs", KEY_PROGRAMS, "FOLDER", 0, "Where the programs weir-peer-NAME are", 0},
    {0},
};

static const struct {
    const char *name;
    unsigned    cases;
} case_names[] = {
    {"hot", BENCH_HOT},           {"wait", BENCH_WAIT}, {"scale", BENCH_SCALE},
    {"transfer", BENCH_TRANSFER}, {"grow", BENCH_GROW}, {"memory", BENCH_MEMORY},
    {"heap", BENCH_HEAP},         {"all", BENCH_ALL},
};

static bool read_number(const char **text, uint64_t most, uint64_t *out)
{
    char *end;

    if (**text < '0' || **text > '9') return false;
    errno = 0;
    unsigned long long value = strtoull(*text, &end, 10);
    if (errno != 0 || value > most) return false;
    *text = end;
    *out = value;
    return true;
}

static bool read_one(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    uint64_t value;

    if (!read_number(&text, most, &value) || *text != '\0' || value < least) return false;
    *out = value;
    return true;
}

static bool read_list(const char *text, uint64_t least, uint64_t most, struct bench_list *out)
{
    struct bench_list list = {0};

    for (;;) {
        uint64_t value;
        if (list.count == BENCH_LIST_MOST) return false;
        if (!read_number(&text, most, &value) || value < least) return false;
        list.at[list.count++] = value;
        if (*text == '\0') break;
        if (*text++ != ',') return false;
    }
    *out = list;
    return true;
}

static bool read_case(const char *text, unsigned *cases)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(case_names); i++) {
        if (strcmp(text, case_names[i].name) != 0) continue;
        *cases |= case_names[i].cases;
        return true;
    }
    return false;
}

static bool is_plain_name(const char *text)
{
    return text[0] != '\0' &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")] == '\0';
}

static error_t read_option(int key, char *text, struct argp_state *state)
{
    struct bench_options *options = state->input;
    uint64_t value = 0;
    bool good = true;

    switch (key) {
    case KEY_PEERS:
        options->peers = true;
        break;
    case KEY_PEER:
        good = is_plain_name(text);
        options->extra_peer = text;
        break;
    case KEY_THREADS:
        good = read_list(text, 1, 4096, &options->threads);
        break;
    case KEY_BUFFERS:
        good = read_list(text, 1, 1000000, &options->buffers);
        break;
    case KEY_HOLD:
        good = read_list(text, 0, 1000000000, &options->holds_ns);
        break;
    case KEY_REPEAT:
        good = read_one(text, 1, BENCH_REPEAT_MOST, &value);
        if (good) options->repeat = (unsigned)value;
        break;
    case KEY_WINDOW:
        good = read_one(text, 1, 600000, &options->window_ms);
        break;
    case KEY_JSON:
        options->json_path = text;
        break;
    case KEY_ARRIVALS:
        options->arrivals = text;
        break;
    case KEY_PROGRAMS:
        options->programs = text;
        break;
    case ARGP_KEY_ARG:
        if (!read_case(text, &options->cases)) argp_error(state, "there is no case '%s'", text);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    if (!good) argp_error(state, "'%s' is not understood or out of range", text);
    return 0;
}

static const struct argp parser = {
    .options = descriptions,
    .parser = read_option,
    .args_doc = "[hot|wait|scale|transfer|grow|memory|heap|all]...",
    .doc = "Measure weir against a control loop and against other ways to keep a pool, and say which "
           "of its targets are met."
           "\v"
           "Each peer is a program of its own, weir-peer-NAME, looked for beside this program "
           "and where weir is installed. tools/dev/install-peers installs what the optional ones "
           "need. Without a case, all are measured; a whole run takes less than ten minutes on two CPUs.\n\n"
           "Exit status: 0 the run was made (also when targets were missed), 1 a part of weir could "
           "not be measured, 2 wrong usage or nothing to run.",
};

int bench_options_read(struct bench_options *options, int count, char **arguments)
{
    *options = (struct bench_options){
        .threads = {.count = 4, .at = {1, 2, 64, 256}},
        .buffers = {.count = 1, .at = {64}},
        .holds_ns = {.count = 2, .at = {0, 1000}},
        .repeat = 5,
    };
    argp_err_exit_status = STATUS_USAGE;
    if (argp_parse(&parser, count, arguments, 0, NULL, options) != 0) return STATUS_USAGE;
    if (options->cases == 0) options->cases = BENCH_ALL;
    return 0;
}
