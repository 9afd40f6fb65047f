/* SPDX-License-Identifier: Apache-2.0 */
/* replay_role_absent.c - `weir replay --role` where this build has no UCX */
#include "replay_role.h"

#include "command.h"

int command_replay_role(int count, char **arguments)
{
    (void)count;
    (void)arguments;
    fputs("weir replay: --role needs libweir_ucx, which this build leaves out: libucx-dev or libssl-dev was missing\n", stderr);
    return EXIT_STATUS_USAGE;
}
