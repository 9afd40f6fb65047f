/* SPDX-License-Identifier: Apache-2.0 */
/* panic.c - the end of a process whose invariants do not hold */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void wi_panic(const char *file, unsigned line, const char *what)
{
    char    message[512];
    ssize_t written;

    /* Straight to the descriptor: the log, the heap or a lock may be what is broken. */
    snprintf(message, sizeof(message), "weir: panic: %s:%u: %s\n", file, line, what);
    written = write(STDERR_FILENO, message, strlen(message));
    (void)written;
    abort();
}
