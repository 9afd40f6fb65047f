/* SPDX-License-Identifier: Apache-2.0 */
/* blocks.c - the command `weir replay --blocks`: options, table, JSON */
#include "blocks.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json_file.h"
#include "report.h"

#define THREADS_MAX   256
#define DRAWN_SEED    1
#define DRAWN_SECONDS 3600 /* of trace time */

enum { OPT_BLOCKS = 256, OPT_BUDGET, OPT_PINNED, OPT_POLICY, OPT_COST, OPT_BYTES, OPT_CLOCK, OPT_JSON, OPT_PERIOD,
       OPT_BACKEND, OPT_SPEEDUP, OPT_REPORT };

static const struct argp_option described[] = {
    {"blocks", OPT_BLOCKS, "FILE", 0, "block accesses: timestamp_ms,object_id,request_id lines, or Mooncake JSONL; plain or gzip. drawn: made in process", 0},
    {"budget", OPT_BUDGET, "SHARE", 0, "device tier: 5% of the objects (default), or 0.05", 0},
    {"pinned-budget", OPT_PINNED, "SHARE", 0, "pinned tier, likewise (default 0)", 0},
    {"policy", OPT_POLICY, "NAME", 0, "hazard (default), lru or static", 0},
    {"cost", OPT_COST, "HITS", 0, "what a promotion costs, in hits (default 0.05)", 0},
    {"block-bytes", OPT_BYTES, "N", 0, "bytes of a block (default 4096)", 0},
    {"threads", 't', "N", 0, "threads that play (default 4)", 0},
    {"clock", OPT_CLOCK, "trace|wall", 0, "trace: as fast as the moves land (default); wall: in real time", 0},
    {"speedup", OPT_SPEEDUP, "X", 0, "of --clock wall (default 1)", 0},
    {"period", OPT_PERIOD, "SECONDS", 0, "policy period in trace time, 0.1 to 1 (default 0.5)", 0},
    {"backend", OPT_BACKEND, "NAME", 0, "host or cuda", 0},
    {"report", OPT_REPORT, "FILE", 0, "write a page with charts; needs gnuplot", 0},
    {"json", OPT_JSON, "FILE", 0, "write the result there; - is standard output", 0},
    {0},
};

static double number(struct argp_state *state, const char *name, const char *text, double low, double high)
{
    char  *end;
    double value = strtod(text, &end);
    bool   percent = *end == '%' && end[1] == '\0';
    if (end == text || (*end && !percent)) argp_error(state, "%s: '%s' is not a number", name, text);
    if (percent) value /= 100;
    if (!(value >= low && value <= high)) argp_error(state, "%s: %s is not between %g and %g", name, text, low, high);
    return value;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct blocks_options *options = state->input;
    switch (key) {
    case OPT_BLOCKS: options->path = arg; break;
    case OPT_BUDGET: options->budget = number(state, "--budget", arg, 0, 1); break;
    case OPT_PINNED: options->pinned_budget = number(state, "--pinned-budget", arg, 0, 1); break;
    case OPT_POLICY: options->policy = arg; break;
    case OPT_COST: options->cost = number(state, "--cost", arg, 1e-6, 10); break;
    case OPT_BYTES: options->block_bytes = (size_t)number(state, "--block-bytes", arg, 8, 1 << 30) / 8 * 8; break;
    case 't': options->threads = (unsigned)number(state, "--threads", arg, 1, THREADS_MAX); break;
    case OPT_CLOCK:
        if (strcmp(arg, "trace") && strcmp(arg, "wall")) argp_error(state, "--clock: '%s' is neither trace nor wall", arg);
        options->wall = !strcmp(arg, "wall");
        break;
    case OPT_SPEEDUP: options->speedup = number(state, "--speedup", arg, 1e-3, 1e6); break;
    case OPT_PERIOD: options->period_s = number(state, "--period", arg, 0.01, 10); break;
    case OPT_BACKEND: options->backend = arg; break;
    case OPT_REPORT: options->report = arg; break;
    case OPT_JSON: options->json = arg; break;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is no option", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static double per(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

json_t *blocks_json(const struct blocks_options *options, const struct blocks_result *result)
{
    uint64_t again = result->accesses - result->objects;
    return json_pack("{sI sI sI sf sI sf sI sI sI sI sI sI s{sf sf sf} ss sf sI sI sI sI sf ss ss sI so}",
                     "accesses", (json_int_t)result->accesses, "objects", (json_int_t)result->objects,
                     "hits", (json_int_t)result->hits, "rehit", per(result->hits, again),
                     "promotions", (json_int_t)result->promotions,
                     "promotions_per_1000", 1000 * per(result->promotions, result->accesses),
                     "promotions_pinned", (json_int_t)result->promotions_pinned,
                     "demotions", (json_int_t)result->demotions, "demotions_clean", (json_int_t)result->demotions_clean,
                     "moves_dropped", (json_int_t)result->moves_dropped, "bytes_moved", (json_int_t)result->bytes_moved,
                     "periods", (json_int_t)result->periods,
                     "tier_shares", "device", per(result->hits, again), "pinned", per(result->pinned_hits, again),
                     "pageable", per(result->pageable_hits, again),
                     "policy", options->policy, "cost", options->cost,
                     "budget_objects", (json_int_t)result->budget_objects,
                     "pinned_objects", (json_int_t)result->pinned_objects,
                     "corrupt", (json_int_t)result->corrupt, "leaked", (json_int_t)result->leaked,
                     "wall_s", result->wall_s, "backend", result->backend, "model", result->model,
                     "threads", (json_int_t)options->threads,
                     "series", block_series_json(&result->series));
}

void blocks_print(const struct blocks_options *options, const struct blocks_result *result)
{
    uint64_t again = result->accesses - result->objects;
    printf("blocks      %llu accesses, %llu objects of %zu bytes, %llu re-accesses\n",
           (unsigned long long)result->accesses, (unsigned long long)result->objects, options->block_bytes,
           (unsigned long long)again);
    printf("tiers       device %zu objects, pinned %zu; policy %s, cost %g\n", result->budget_objects,
           result->pinned_objects, options->policy, options->cost);
    printf("re-hits     device %.3f, pinned %.3f, pageable %.3f\n", per(result->hits, again),
           per(result->pinned_hits, again), per(result->pageable_hits, again));
    printf("moves       %.0f promotions per 1,000 accesses; %llu up to device, %llu up to pinned, %llu down, %llu dropped\n",
           1000 * per(result->promotions, result->accesses), (unsigned long long)result->promotions,
           (unsigned long long)result->promotions_pinned, (unsigned long long)result->demotions,
           (unsigned long long)result->moves_dropped);
    printf("checked     %llu corrupt, %llu leaked; stamps at every access, and of %llu moves\n",
           (unsigned long long)result->corrupt, (unsigned long long)result->leaked,
           (unsigned long long)result->checked_moves);
    printf("time        %.1f s, %llu policy periods, %u threads; %s: %s\n", result->wall_s,
           (unsigned long long)result->periods, options->threads, result->backend, result->model);
}

int command_replay_blocks(int count, char **arguments)
{
    static const struct argp argp = {described, parse, NULL,
                                     "Play recorded accesses to KV-cache blocks through a tiered pool. Real bytes move; every "
                                     "access and every move is checked by stamps.\v"
                                     "Exit status: 0 all is well; 1 corruption or leaks; 2 wrong usage or bad input.", NULL, NULL, NULL};
    struct blocks_options options = {.policy = "hazard", .budget = 0.05, .cost = 0.05, .block_bytes = 4096, .threads = 4,
                                     .period_s = 0.5, .speedup = 1};
    struct block_trace    trace;
    struct json_file      file;
    static struct blocks_result result; /* its series is large for a stack */
    if (argp_parse(&argp, count, arguments, 0, NULL, &options) != 0) return EXIT_STATUS_USAGE;
    if (options.report && report_check() < 0) return EXIT_STATUS_USAGE;
    int read = strcmp(options.path, "drawn") ? block_trace_read(options.path, stderr, &trace)
                                             : block_trace_draw(DRAWN_SEED, DRAWN_SECONDS, &trace);
    if (read < 0) return EXIT_STATUS_USAGE;
    if (json_file_open(&file, options.json) < 0) {
        block_trace_free(&trace);
        return EXIT_STATUS_USAGE;
    }
    int err = blocks_run(&options, &trace, &result);
    block_trace_free(&trace);
    if (err < 0) {
        (void)json_file_close(&file, NULL);
        return EXIT_STATUS_USAGE;
    }
    if (!options.json || strcmp(options.json, "-")) blocks_print(&options, &result);
    if (options.json || options.report) {
        json_t *object = blocks_json(&options, &result);
        err = object ? json_file_close(&file, object) : -1;
        if (err == 0 && options.report) err = report_write(options.report, &object, 1);
        json_decref(object);
        if (err < 0) return EXIT_STATUS_USAGE;
    }
    return result.corrupt || result.leaked ? EXIT_STATUS_FOUND : EXIT_STATUS_OK;
}
