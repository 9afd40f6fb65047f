/* SPDX-License-Identifier: Apache-2.0 */
/* calls.h - judging what a call answers, and that the log tells of no error */
#ifndef TEST_FUZZ_CALLS_H
#define TEST_FUZZ_CALLS_H

#include "fuzz/fuzz.h"

#include <weir/weir.h>

/* A call that succeeds, or answers one of these. Its answer. */
#define may(call, ...)                                                                             \
    may_answer(#call, __FILE__, __LINE__, (call), (const int[]){__VA_ARGS__},                      \
               sizeof((const int[]){__VA_ARGS__}) / sizeof(int))
#define must(call) may(call, 0)

static inline int may_answer(const char *call, const char *file, int line, int answer,
                             const int *codes, size_t count)
{
    char text[512];
    if (answer >= 0) return answer;
    for (size_t i = 0; i < count; i++)
        if (codes[i] == answer) return answer;
    (void)weir_error_text(text, sizeof text);
    fuzz_fail(file, line, "%s answered %s: %s", call, weir_errname(answer), text);
}

static inline void hear_no_error(void *ctx, uint32_t level, const char *component,
                                 const char *message)
{
    (void)ctx;
    fuzz_require(level != WEIR_LOG_ERROR, "%s: %s", component, message);
}

#endif
