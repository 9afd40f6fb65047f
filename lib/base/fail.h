/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fail.h - recording why a call failed
 *
 * The first place that knows the cause records it with WI_FAIL and passes the code on; everybody
 * above only passes the code on. The record belongs to the thread.
 */
#ifndef WI_FAIL_H
#define WI_FAIL_H

#include "base/base.h"

struct wi_cause {
    const char *call;    /* driver or system call, static          */
    const char *detail;  /* a sentence, static                     */
    const char *limit;   /* name of the limit that was met, static */
    const char *setting; /* what lifts it, static                  */
    uint64_t    limit_value;
    uint64_t    wanted;
    int32_t     driver_code;
    int32_t     sys_errno;
};

WI_COLD int wi_fail_at(int code, const char *file, unsigned line, const struct wi_cause *cause);

/*
 * As wi_fail_at, with a formatted sentence kept in the thread's record.
 */
WI_COLD int wi_fail_text_at(int code, const char *file, unsigned line, const char *format, ...) WI_PRINTF(4, 5);

/* How many failures this thread has recorded: whether a call in between recorded one. */
uint64_t wi_failures(void);

/* WI_FAIL(EXCEEDS, .limit = "pinned_bytes_max", ...) records and evaluates to the negative code. */
#define WI_FAIL(code, ...)                                                                         \
    wi_fail_at(WEIR_E##code, __FILE__, __LINE__, &(const struct wi_cause){__VA_ARGS__})
#define WI_FAIL_TEXT(code, ...) wi_fail_text_at(WEIR_E##code, __FILE__, __LINE__, __VA_ARGS__)

#endif
