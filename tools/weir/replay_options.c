/* SPDX-License-Identifier: Apache-2.0 */
/* replay_options.c - the command line of `weir replay` */
#include "replay_options.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_DEFAULT 64
#define THREADS_MAX     4096
#define SPEEDUP_DEFAULT 100.0
#define SPEEDUP_MAX     1e6
#define SECONDS_DEFAULT 20
#define SECONDS_MAX     1e6
#define KERNEL_NS_MAX   1e9

/*
 * Modelled device time at the speed of the trace: a prefill of 10,000 tokens a second, and a token's share of a
 * decode step of 13 ms that 32 requests use together. It shrinks with the speed-up, so that the device
 * is as busy at any speed; as fast as possible counts as 200 times.
 */
#define PREFILL_NS_PER_TOKEN 100000.0
#define DECODE_NS_PER_TOKEN  400000.0
#define SPEEDUP_OF_MAX       200.0

/* A stream is leased again when it has drained, so their number bounds how many requests the device works on. */
#define THREADS_PER_COMPUTE 4
#define THREADS_PER_COMM    16
#define STREAMS_COMPUTE_MIN 4
#define STREAMS_COMM_MIN    2

enum option_key {
    OPTION_ARRIVALS = 256,
    OPTION_THREADS,
    OPTION_SPEEDUP,
    OPTION_SECONDS,
    OPTION_JSON,
    OPTION_REPORT,
    OPTION_PLANT,
    OPTION_BACKEND,
    OPTION_SEED,
    OPTION_BASELINE,
    OPTION_PREFILL,
    OPTION_DECODE
};

static const struct argp_option option_table[] = {
    {"arrivals", OPTION_ARRIVALS, "FILE", 0,
     "Replay these requests: timestamp_ms,context_tokens,generated_tokens, or the published CSV of "
     "Azure; "
     "plain or gzip. Default: requests drawn from published statistics, for 20 s",
     0},
    {"threads", OPTION_THREADS, "N", 0, "Worker threads (default 64)", 0},
    {"speedup", OPTION_SPEEDUP, "X", 0,
     "Replay X times as fast as the requests arrived (default 100); max: as fast as possible", 0},
    {"seconds", OPTION_SECONDS, "S", 0, "Issue no request after S seconds", 0},
    {"json", OPTION_JSON, "FILE", 0, "Write the results as JSON; -: to standard output", 0},
    {"report", OPTION_REPORT, "FILE", 0, "Write a page with charts; needs gnuplot", 0},
    {"plant", OPTION_PLANT, "BUG", 0,
     "early-reuse: let weir reuse memory that the device still reads; the run must see it", 0},
    {"backend", OPTION_BACKEND, "NAME", 0, "host or cuda (default: cuda where it works)", 0},
    {"seed", OPTION_SEED, "N", 0, "Seed of the drawn requests (default 1)", 0},
    {"baseline", OPTION_BASELINE, "NAME", 0,
     "Do the same job with other pools: mutex, malloc, all or none (default: all; none with "
     "--plant)",
     0},
    {"prefill-ns", OPTION_PREFILL, "NS", 0,
     "Modelled device time of a prompt token (default: 100000 / X, 500 for max)", 0},
    {"decode-ns", OPTION_DECODE, "NS", 0,
     "Modelled device time of a generated token (default: 400000 / X, 2000 for max)", 0},
    {0},
};

static const char documentation[] =
    "Replay the arrivals of LLM requests: each uploads its prompt from leased pinned memory, runs "
    "a "
    "modelled prefill and decode steps, and releases everything while the device still works. "
    "Stamps in "
    "every message show whether memory was reused too early.\n\n"
    "With --blocks=FILE, accesses to cached blocks are replayed instead, through a tiered pool; with --role=ROLE, two "
    "processes hand blocks to each other. Each has options of its own: weir replay --blocks --help, weir replay --role "
    "--help.\v"
    "Exit status: 0 all is well; 1 failures, corruption or leaks; 2 wrong usage or bad input.";

/* What the parser fills: the options, and what was said explicitly. */
struct parse {
    struct replay_options *options;
    double                 prefill_ns; /* below 0: not given */
    double                 decode_ns;
    bool                   baseline_given;
};

static double parse_number(struct argp_state *state, const char *name, const char *text,
                           double least, double most)
{
    char  *end;
    double value = strtod(text, &end);

    if (end == text || *end || !isfinite(value) || value < least || value > most)
        argp_error(state, "--%s %s: a number from %g to %g is wanted", name, text, least, most);
    return value;
}

static uint64_t parse_whole(struct argp_state *state, const char *name, const char *text,
                            uint64_t least, uint64_t most)
{
    char *end;

    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || *text == '-' || errno || value < least || value > most)
        argp_error(state, "--%s %s: a whole number from %llu to %llu is wanted", name, text,
                   (unsigned long long)least, (unsigned long long)most);
    return value;
}

static double parse_speedup(struct argp_state *state, const char *text)
{
    if (!strcmp(text, "max")) return 0;
    return parse_number(state, "speedup", text, 0.001, SPEEDUP_MAX);
}

static uint32_t parse_baselines(struct argp_state *state, const char *text)
{
    if (!strcmp(text, "all")) return BASELINE_MUTEX | BASELINE_MALLOC;
    if (!strcmp(text, "mutex")) return BASELINE_MUTEX;
    if (!strcmp(text, "malloc")) return BASELINE_MALLOC;
    if (strcmp(text, "none") != 0)
        argp_error(state, "--baseline %s: mutex, malloc, all or none is wanted", text);
    return 0;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct parse          *parse = state->input;
    struct replay_options *options = parse->options;
    struct replay_plan    *plan = &options->plan;

    switch (key) {
    case OPTION_ARRIVALS:
        options->arrivals = text;
        break;
    case OPTION_JSON:
        options->json = text;
        break;
    case OPTION_REPORT:
        options->report = text;
        break;
    case OPTION_BACKEND:
        plan->backend = text;
        break;
    case OPTION_THREADS:
        plan->threads = (uint32_t)parse_whole(state, "threads", text, 1, THREADS_MAX);
        break;
    case OPTION_SPEEDUP:
        plan->speedup = parse_speedup(state, text);
        break;
    case OPTION_SECONDS:
        plan->seconds_ns =
            (uint64_t)(parse_number(state, "seconds", text, 0.001, SECONDS_MAX) * (double)NS_PER_S);
        break;
    case OPTION_SEED:
        plan->seed = parse_whole(state, "seed", text, 0, INT64_MAX);
        break;
    case OPTION_PLANT:
        if (strcmp(text, "early-reuse") != 0)
            argp_error(state, "--plant %s: early-reuse is wanted", text);
        plan->early_reuse = true;
        break;
    case OPTION_BASELINE:
        options->baselines = parse_baselines(state, text);
        parse->baseline_given = true;
        break;
    case OPTION_PREFILL:
        parse->prefill_ns = parse_number(state, "prefill-ns", text, 0, KERNEL_NS_MAX);
        break;
    case OPTION_DECODE:
        parse->decode_ns = parse_number(state, "decode-ns", text, 0, KERNEL_NS_MAX);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", text);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static uint32_t at_least(uint32_t value, uint32_t least)
{
    return value < least ? least : value;
}

void replay_options_parse(int count, char **arguments, struct replay_options *out)
{
    static const struct argp argp = {option_table, parse_option, NULL, documentation,
                                     NULL,         NULL,         NULL};
    struct parse             parse = {.options = out, .prefill_ns = -1, .decode_ns = -1};
    struct replay_plan      *plan = &out->plan;

    *out = (struct replay_options){.baselines = BASELINE_MUTEX | BASELINE_MALLOC};
    plan->threads = THREADS_DEFAULT;
    plan->speedup = SPEEDUP_DEFAULT;
    plan->seed = 1;
    argp_parse(&argp, count, arguments, 0, NULL, &parse);
    double speedup = plan->speedup > 0 ? plan->speedup : SPEEDUP_OF_MAX;
    double prefill_ns = parse.prefill_ns >= 0 ? parse.prefill_ns : PREFILL_NS_PER_TOKEN / speedup;
    double decode_ns = parse.decode_ns >= 0 ? parse.decode_ns : DECODE_NS_PER_TOKEN / speedup;
    plan->prefill_ns_per_token = (uint64_t)prefill_ns;
    plan->decode_ns_per_token = (uint64_t)decode_ns;
    plan->streams_compute = at_least(plan->threads / THREADS_PER_COMPUTE, STREAMS_COMPUTE_MIN);
    plan->streams_comm = at_least(plan->threads / THREADS_PER_COMM, STREAMS_COMM_MIN);
    if (plan->early_reuse && !parse.baseline_given) out->baselines = 0;
    if (!out->arrivals) {
        plan->repeat = true;
        if (!plan->seconds_ns) plan->seconds_ns = SECONDS_DEFAULT * NS_PER_S;
    }
}
