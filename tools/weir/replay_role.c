/* SPDX-License-Identifier: Apache-2.0 */
/* replay_role.c - the command `weir replay --role`: options, table, JSON */
#include "replay_role.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json_file.h"

#define DRAWN_SEED    1
#define DRAWN_SECONDS 3600 /* of trace time */

enum { OPT_ROLE = 256, OPT_LISTEN, OPT_PEER, OPT_BLOCKS, OPT_BYTES, OPT_WINDOW, OPT_SECONDS, OPT_PATIENCE, OPT_SECRET, OPT_PORT_FILE, OPT_JSON };

static const struct argp_option described[] = {
    {"role", OPT_ROLE, "ROLE", 0, "prefill: writes blocks and hands them over; decode: reads, checks and releases them", 0},
    {"listen", OPT_LISTEN, "ADDR[:PORT]", 0, "prefill: where to listen; without a port the system chooses one", 0},
    {"peer", OPT_PEER, "ADDR:PORT", 0, "decode: where prefill listens", 0},
    {"blocks", OPT_BLOCKS, "FILE", 0, "prefill: block accesses, as in weir replay --blocks (default: drawn)", 0},
    {"block-bytes", OPT_BYTES, "N", 0, "bytes of a block, the same on both sides (default 65536)", 0},
    {"window", OPT_WINDOW, "N", 0, "blocks under way at one time, the same on both sides (default 16)", 0},
    {"seconds", OPT_SECONDS, "S", 0, "prefill: start the trace over until S seconds have passed, or end it then (default: once)", 0},
    {"patience", OPT_PATIENCE, "S", 0, "how long to wait for a peer, at the start and after one has failed (default 10)", 0},
    {"secret", OPT_SECRET, "FILE", 0, "the secret that both sides share; without it only loopback is listened on", 0},
    {"port-file", OPT_PORT_FILE, "FILE", 0, "prefill: write the port there once it is listened on", 0},
    {"json", OPT_JSON, "FILE", 0, "write the result there; - is standard output", 0},
    {0},
};

static double number(struct argp_state *state, const char *name, const char *text, double low, double high)
{
    char  *end;
    double value = strtod(text, &end);
    if (end == text || *end) argp_error(state, "%s: '%s' is not a number", name, text);
    if (!(value >= low && value <= high)) argp_error(state, "%s: %s is not between %g and %g", name, text, low, high);
    return value;
}

/* ADDR, ADDR:PORT, [ADDR]:PORT. The text is cut in place. */
static void take_address(struct argp_state *state, struct role_options *options, char *text)
{
    char *colon = strrchr(text, ':');
    if (*text == '[' && strchr(text, ']')) {
        options->address = text + 1;
        *strchr(text, ']') = '\0';
    } else {
        options->address = text;
        if (colon && strchr(text, ':') != colon) colon = NULL; /* an IPv6 address without a port */
    }
    if (!colon) return;
    *colon = '\0';
    options->port = (uint16_t)number(state, "port", colon + 1, 1, 65535);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct role_options *options = state->input;
    switch (key) {
    case OPT_ROLE:
        if (strcmp(arg, "prefill") && strcmp(arg, "decode")) argp_error(state, "--role: '%s' is neither prefill nor decode", arg);
        options->role = arg;
        break;
    case OPT_LISTEN:
    case OPT_PEER: take_address(state, options, arg); break;
    case OPT_BLOCKS: options->blocks = arg; break;
    case OPT_BYTES: options->block_bytes = (size_t)number(state, "--block-bytes", arg, 64, 1 << 30) / 8 * 8; break;
    case OPT_WINDOW: options->window = (unsigned)number(state, "--window", arg, 2, ROLE_WINDOW_MAX); break;
    case OPT_SECONDS: options->seconds = number(state, "--seconds", arg, 0.1, 1e6); break;
    case OPT_PATIENCE: options->patience_s = number(state, "--patience", arg, 0.1, 1e6); break;
    case OPT_SECRET: options->secret_file = arg; break;
    case OPT_PORT_FILE: options->port_file = arg; break;
    case OPT_JSON: options->json = arg; break;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is no option", arg); break;
    case ARGP_KEY_END:
        if (!options->role) argp_error(state, "--role is not given");
        if (!options->address) argp_error(state, "--role %s needs %s", options->role, strcmp(options->role, "decode") ? "--listen" : "--peer");
        if (!strcmp(options->role, "decode") && !options->port) argp_error(state, "--peer has no port");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static double gb_per_s(const struct role_result *result)
{
    return result->wall_s > 0 ? (double)result->bytes / result->wall_s / 1e9 : 0;
}

static json_t *to_json(const struct role_options *options, const struct role_result *result)
{
    const char *transports = getenv("UCX_TLS");
    return json_pack("{ss sI sI sf sI sI sI sI sb sI sI sI sI sI sf sI sI ss}", "role", options->role, "blocks",
                     (json_int_t)result->blocks, "bytes", (json_int_t)result->bytes, "gb_per_s", gb_per_s(result), "retries",
                     (json_int_t)result->retries, "peer_failures", (json_int_t)result->peer_failures, "corrupt",
                     (json_int_t)result->corrupt, "leaked", (json_int_t)result->leaked, "finished", result->finished, "registrations",
                     (json_int_t)result->registrations, "slabs", (json_int_t)result->slabs, "refused_secret",
                     (json_int_t)result->refused_secret, "refused_garbage", (json_int_t)result->refused_garbage, "refused_keys",
                     (json_int_t)result->refused_keys, "wall_s", result->wall_s, "block_bytes", (json_int_t)options->block_bytes, "window",
                     (json_int_t)options->window, "transports", transports ? transports : "");
}

static void print(const struct role_options *options, const struct role_result *result)
{
    printf("%-11s %llu blocks of %zu bytes in %.1f s, %.3f GB/s%s\n", options->role, (unsigned long long)result->blocks,
           options->block_bytes, result->wall_s, gb_per_s(result), result->finished ? "" : "; the peer did not come back");
    printf("peers       %llu failed, %llu blocks sent again; refused: %llu by secret, %llu garbage, %llu references\n",
           (unsigned long long)result->peer_failures, (unsigned long long)result->retries, (unsigned long long)result->refused_secret,
           (unsigned long long)result->refused_garbage, (unsigned long long)result->refused_keys);
    printf("memory      %llu registrations of %llu slabs\n", (unsigned long long)result->registrations, (unsigned long long)result->slabs);
    printf("checked     %llu corrupt, %llu leaked\n", (unsigned long long)result->corrupt, (unsigned long long)result->leaked);
}

int command_replay_role(int count, char **arguments)
{
    static const struct argp argp = {described, parse, NULL,
                                     "Play accesses to KV-cache blocks with two processes: prefill writes blocks into leased buffers and puts them into "
                                     "those of decode, which checks the stamps in them. Start prefill first.\v"
                                     "Exit status: 0 all is well; 1 corruption, leaks, or the work was not finished; 2 wrong usage, bad input, or no peer.", NULL, NULL, NULL};
    struct role_options options = {.blocks = "drawn", .block_bytes = 65536, .window = 16, .patience_s = 10};
    struct block_trace  trace = {0};
    struct role_result  result = {0};
    struct json_file    file;
    if (argp_parse(&argp, count, arguments, 0, NULL, &options) != 0) return EXIT_STATUS_USAGE;
    if (!strcmp(options.role, "prefill")) {
        int read = strcmp(options.blocks, "drawn") ? block_trace_read(options.blocks, stderr, &trace)
                                                   : block_trace_draw(DRAWN_SEED, DRAWN_SECONDS, &trace);
        if (read < 0) return EXIT_STATUS_USAGE;
    }
    int err = json_file_open(&file, options.json);
    if (err == 0) {
        err = role_run(&options, &trace, &result);
        if (err < 0) (void)json_file_close(&file, NULL);
    }
    block_trace_free(&trace);
    if (err < 0) return EXIT_STATUS_USAGE;
    if (!options.json || strcmp(options.json, "-")) print(&options, &result);
    if (options.json) {
        json_t *object = to_json(&options, &result);
        err = object ? json_file_close(&file, object) : -1;
        json_decref(object);
        if (err < 0) return EXIT_STATUS_USAGE;
    }
    return result.corrupt || result.leaked || !result.finished ? EXIT_STATUS_FOUND : EXIT_STATUS_OK;
}
