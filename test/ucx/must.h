/* SPDX-License-Identifier: Apache-2.0 */
/* must.h - for programs that stop at the first failure, and say which */
#ifndef TEST_UCX_MUST_H
#define TEST_UCX_MUST_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weir/error.h>

static inline void must(int err, const char *what)
{
    char text[512];
    if (err >= 0) return;
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, text);
    exit(2);
}

#endif
