/* SPDX-License-Identifier: Apache-2.0 */
/* stress_run.h - a program on the stress harness, run and watched */
#ifndef WEIR_TOOL_STRESS_RUN_H
#define WEIR_TOOL_STRESS_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stress_run {
    const char        *path;
    const char *const *arguments;
    size_t             arguments_count;
    uint64_t           seconds; /* that it is going to take, about: for the progress bar */
    bool               quiet;   /* what it prints goes to the standard error */
};

/* What a program says of itself; NULL: it cannot be run, or says nothing that can be understood. */
json_t *stress_describe(const char *path);
/* Run it. Returns an enum exit_status; *result: what it wrote about the run, NULL if nothing. */
int stress_run(const struct stress_run *run, json_t **result);

#endif
