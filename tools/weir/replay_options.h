/* SPDX-License-Identifier: Apache-2.0 */
/* replay_options.h - what `weir replay` was asked to do */
#ifndef WEIR_TOOL_REPLAY_OPTIONS_H
#define WEIR_TOOL_REPLAY_OPTIONS_H

#include "replay.h"

enum replay_baselines { BASELINE_MUTEX = 1, BASELINE_MALLOC = 2 };

struct replay_options {
    struct replay_plan plan;      /* workload and source are filled later */
    const char        *arrivals;  /* NULL: draw them */
    const char        *json;      /* NULL: none; "-": standard output */
    const char        *report;    /* NULL: none */
    uint32_t           baselines; /* enum replay_baselines */
};

/* Parse the command line; leaves the process with status 2 when it is wrong, as argp does. */
void replay_options_parse(int count, char **arguments, struct replay_options *out);

#endif
