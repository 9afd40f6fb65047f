/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_main.c - main of every peer: arguments in, one case, one line of JSON out
 *
 * Exit codes: 0 the line was printed, 1 the case failed, 2 wrong arguments, 3 the peer has no such case.
 */
#include "peer_parts.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_CASE_FAILED = 1, EXIT_ARGUMENTS = 2, EXIT_NO_SUCH_CASE = 3 };
enum { THREADS_MAX = 4096 };

enum option_code {
    OPTION_CASE = 256,
    OPTION_THREADS,
    OPTION_BUFFERS,
    OPTION_BUFFER_BYTES,
    OPTION_HELD,
    OPTION_HOLD,
    OPTION_WARM,
    OPTION_WINDOW,
    OPTION_SAMPLE,
    OPTION_WAIT,
    OPTION_CHECK,
    OPTION_GROW
};

static const struct option options[] = {
    {"case", required_argument, NULL, OPTION_CASE},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"buffers", required_argument, NULL, OPTION_BUFFERS},
    {"buffer-bytes", required_argument, NULL, OPTION_BUFFER_BYTES},
    {"held", required_argument, NULL, OPTION_HELD},
    {"hold", required_argument, NULL, OPTION_HOLD},
    {"warm", required_argument, NULL, OPTION_WARM},
    {"window", required_argument, NULL, OPTION_WINDOW},
    {"sample", required_argument, NULL, OPTION_SAMPLE},
    {"wait", no_argument, NULL, OPTION_WAIT},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"grow", no_argument, NULL, OPTION_GROW},
    {NULL, 0, NULL, 0},
};

__attribute__((noinline, aligned(64))) void peer_work(uint64_t rounds)
{
    uint64_t x = UINT64_C(0x2545f4914f6cdd1d);

    for (uint64_t i = 0; i < rounds; i++) {
        x ^= x << 13;
        __asm__ volatile("" : "+r"(x));
    }
}

/* The best of several: a round that was interrupted only ever takes longer. */
static double work_rounds_per_ns(void)
{
    enum { ATTEMPTS = 15, ROUNDS = 100000 };
    uint64_t best_ns = UINT64_MAX;

    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint64_t begin_ns = bench_now_ns();
        peer_work(ROUNDS);
        uint64_t elapsed_ns = bench_now_ns() - begin_ns;
        if (elapsed_ns < best_ns) best_ns = elapsed_ns;
    }
    return (double)ROUNDS / (double)(best_ns > 0 ? best_ns : 1);
}

/* One reading of both clocks, taken where the counter's two readings around it are closest. */
static void read_both(uint64_t *ticks, uint64_t *ns)
{
    uint64_t closest = UINT64_MAX;

    for (int attempt = 0; attempt < 50; attempt++) {
        uint64_t before = bench_ticks_begin();
        uint64_t now_ns = bench_now_ns();
        uint64_t after = bench_ticks_end();
        if (after - before >= closest) continue;
        closest = after - before;
        *ticks = before + (after - before) / 2;
        *ns = now_ns;
    }
}

void peer_calibrate(double *ticks_per_ns, double *rounds_per_ns)
{
    uint64_t begin_ticks = 0, begin_ns = 0, end_ticks = 0, end_ns = 0;

    read_both(&begin_ticks, &begin_ns);
    *rounds_per_ns = work_rounds_per_ns();
    bench_sleep_until_ns(begin_ns + 10 * WI_NS_PER_MS);
    read_both(&end_ticks, &end_ns);
    *ticks_per_ns = (double)(end_ticks - begin_ticks) / (double)(end_ns - begin_ns);
}

static bool read_number(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;

    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-') return false;
    if (value < least || value > most) return false;
    *out = value;
    return true;
}

static bool read_option(struct peer_config *config, int code, const char *text)
{
    uint64_t value = 0;

    switch (code) {
    case OPTION_CASE:
        config->case_name = text;
        return true;
    case OPTION_THREADS:
        if (!read_number(text, 1, THREADS_MAX, &value)) return false;
        config->threads = (unsigned)value;
        return true;
    case OPTION_BUFFERS:
        if (!read_number(text, 1, UINT64_C(1) << 24, &value)) return false;
        config->buffers = value;
        return true;
    case OPTION_BUFFER_BYTES:
        if (!read_number(text, 64, UINT64_C(1) << 32, &value)) return false;
        config->buffer_bytes = value;
        return true;
    case OPTION_HELD:
        if (!read_number(text, 1, UINT64_C(1) << 24, &value)) return false;
        config->held = value;
        return true;
    case OPTION_HOLD:
        return read_number(text, 0, 10 * WI_NS_PER_S, &config->hold_ns);
    case OPTION_WARM:
        if (!read_number(text, 0, 60000, &value)) return false;
        config->warm_ns = value * WI_NS_PER_MS;
        return true;
    case OPTION_WINDOW:
        if (!read_number(text, 1, 600000, &value)) return false;
        config->window_ns = value * WI_NS_PER_MS;
        return true;
    case OPTION_SAMPLE:
        if (!read_number(text, 1, 1000000, &value)) return false;
        config->sample_every = (unsigned)value;
        return true;
    case OPTION_WAIT:
        config->waiting = true;
        return true;
    case OPTION_CHECK:
        config->checked = true;
        return true;
    case OPTION_GROW:
        config->growing = true;
        return true;
    default:
        return false;
    }
}

static bool read_arguments(struct peer_config *config, int argc, char **argv)
{
    int code;

    while ((code = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!read_option(config, code, optarg)) {
            fprintf(stderr, "weir-peer-%s: argument %s is not understood or out of range\n",
                    peer_here.name, argv[optind - 1]);
            return false;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "weir-peer-%s: argument %s is not an option\n", peer_here.name,
                argv[optind]);
        return false;
    }
    if (config->held * config->threads > config->buffers && config->held > 1) {
        fprintf(stderr, "weir-peer-%s: %zu held by each of %u threads are more than %zu buffers\n",
                peer_here.name, config->held, config->threads, config->buffers);
        return false;
    }
    return true;
}

static void describe(const struct peer_config *config)
{
    peer_line_text("peer", peer_here.name);
    peer_line_text("case", config->case_name);
    peer_line_u64("threads", config->threads);
    peer_line_u64("buffers", config->buffers);
    peer_line_u64("buffer_bytes", config->buffer_bytes);
    peer_line_u64("held", config->held);
    peer_line_u64("hold_ns", config->hold_ns);
    peer_line_u64("sample_every", config->sample_every);
    peer_line_u64("waiting", config->waiting);
    peer_line_u64("checked", config->checked);
    peer_line_u64("growing", config->growing);
}

static int run_case(struct peer_run *run)
{
    const struct peer_config *config = &run->config;
    double ticks_per_ns, rounds_per_ns;

    peer_calibrate(&ticks_per_ns, &rounds_per_ns);
    run->work_rounds = (uint64_t)((double)config->hold_ns * rounds_per_ns);
    describe(config);
    int err = peer_here.open(config);
    if (err < 0) {
        fprintf(stderr, "weir-peer-%s: could not be set up: %s\n", peer_here.name, strerror(-err));
        return err;
    }
    if (strcmp(config->case_name, "wake") == 0) return peer_case_wake(run, ticks_per_ns);
    if (strcmp(config->case_name, "hit") == 0) return peer_case_hit(run);
    return peer_case_pairs(run, ticks_per_ns);
}

static bool is_case(const struct peer_config *config)
{
    if (strcmp(config->case_name, "wake") == 0) return peer_here.wait != NULL;
    if (strcmp(config->case_name, "hit") == 0) return true;
    if (strcmp(config->case_name, "pairs") != 0) return false;
    if (config->held > 1) return !config->waiting && !config->checked;
    if (config->growing && peer_here.grow == NULL) return false;
    if (config->checked)
        return config->waiting ? peer_here.wait_checked_loop != NULL
                               : peer_here.try_checked_loop != NULL;
    return config->waiting ? peer_here.wait_loop != NULL : peer_here.try_loop != NULL;
}

int main(int argc, char **argv)
{
    static struct peer_run run = {.config = {.case_name = "pairs",
                                             .warm_ns = 100 * WI_NS_PER_MS,
                                             .window_ns = 250 * WI_NS_PER_MS,
                                             .buffers = 64,
                                             .buffer_bytes = 4096,
                                             .held = 1,
                                             .threads = 1,
                                             .sample_every = 61}};

    if (!read_arguments(&run.config, argc, argv)) return EXIT_ARGUMENTS;
    if (!is_case(&run.config)) {
        fprintf(stderr, "weir-peer-%s: has no such case\n", peer_here.name);
        return EXIT_NO_SUCH_CASE;
    }
    int err = run_case(&run);
    if (err == 0 && peer_here.note != NULL) peer_line_text("note", peer_here.note());
    if (err == 0) err = peer_line_end();
    /* Threads of a peer that hangs cannot be joined: leave without running any destructor. */
    _exit(err < 0 ? EXIT_CASE_FAILED : 0);
}
