/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - the subcommands of `weir`, and what its exit status means */
#ifndef WEIR_TOOL_COMMAND_H
#define WEIR_TOOL_COMMAND_H

enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_FOUND = 1, /* the work was done and found failures, corruption or leaks */
    EXIT_STATUS_USAGE = 2  /* wrong usage, bad input, or the work could not start       */
};

struct command {
    const char *name;
    const char *summary;
    /* arguments[0] is "weir <name>", as argp wants it. Returns an enum exit_status. */
    int (*run)(int count, char **arguments);
};

int command_replay(int count, char **arguments);
int weir_bench_main(int count, char **arguments); /* tools/bench */
int command_report(int count, char **arguments);
int command_info(int count, char **arguments);
int command_stress(int count, char **arguments);
int command_top(int count, char **arguments);

#endif
