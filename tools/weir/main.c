/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the `weir` command: finds the subcommand and hands over */
#include <argp.h>
#include <stdio.h>
#include <string.h>
#include <weir/weir.h>

#include "command.h"

#define COMMAND_TITLE_BYTES 64

static const struct command commands[] = {
    {"replay", "replay LLM request arrivals through weir and through baselines", command_replay},
    {"report", "make a page with charts from what replays have written", command_report},
    {"bench", "measure weir against a control loop and against other pools", weir_bench_main},
    {"stress", "list and run programs that put the library under load", command_stress},
    {"top", "show what weir does in running processes, live", command_top},
    {"info", "show the backend, the device, limits and settings", command_info},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *out)
{
    fputs("Usage: weir COMMAND [OPTION...]\n"
          "Lease GPU transfer resources without locks: tools around the weir library.\n\n"
          "Commands:\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n  --help     print this help\n"
          "  --version  print the version\n\n"
          "`weir COMMAND --help` explains a command.\n\n"
          "Exit status: 0 all is well; 1 the work found failures, corruption or leaks;\n"
          "2 wrong usage or bad input.\n",
          out);
}

static void print_version(void)
{
    uint32_t version = weir_version();

    printf("weir %u.%u.%u\n", version >> 16, (version >> 8) & 0xff, version & 0xff);
}

static int run_command(const struct command *command, int count, char **arguments)
{
    char title[COMMAND_TITLE_BYTES];

    snprintf(title, sizeof(title), "weir %s", command->name);
    arguments[0] = title;
    argp_err_exit_status = EXIT_STATUS_USAGE;
    return command->run(count, arguments);
}

int main(int count, char **arguments)
{
    if (count < 2) {
        print_help(stderr);
        return EXIT_STATUS_USAGE;
    }
    const char *name = arguments[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-?") || !strcmp(name, "-h") ||
        !strcmp(name, "help")) {
        print_help(stdout);
        return EXIT_STATUS_OK;
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        print_version();
        return EXIT_STATUS_OK;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (!strcmp(name, commands[i].name))
            return run_command(&commands[i], count - 1, arguments + 1);
    fprintf(stderr, "weir: unknown %s '%s'; `weir --help` lists the commands\n",
            name[0] == '-' ? "option" : "command", name);
    return EXIT_STATUS_USAGE;
}
