/* SPDX-License-Identifier: Apache-2.0 */
/* base.h - words that every file of weir uses: hints, cache lines, and the only macros that return */
#ifndef WI_BASE_H
#define WI_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/base.h>
#include <weir/error.h>

#define WI_CACHELINE_BYTES 64
/* Adjacent lines are fetched in pairs: what different threads write is kept two lines apart. */
#define WI_CACHELINE __attribute__((aligned(2 * WI_CACHELINE_BYTES)))

#define WI_LIKELY(x)   __builtin_expect(!!(x), 1)
#define WI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define WI_COLD        __attribute__((noinline, cold))
#define WI_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Defined when the code is built under ThreadSanitizer. */
#if defined(__SANITIZE_THREAD__)
#define WI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WI_TSAN 1
#endif
#endif

#define WI_ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define WI_CONTAINER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define WI_NS_PER_S  UINT64_C(1000000000)
#define WI_NS_PER_MS UINT64_C(1000000)
#define WI_NS_PER_US UINT64_C(1000)

/* Pass a failure on. */
#define WI_TRY(expr)                                                                               \
    do {                                                                                           \
        int wi_try_ = (expr);                                                                      \
        if (WI_UNLIKELY(wi_try_ < 0)) return wi_try_;                                              \
    } while (0)

/*
 * Refuse a call: WI_ENSURE(bytes > 0, INVAL, .detail = "buffer_bytes is 0"). The fields are those of
 * struct wi_cause (base/fail.h). Public functions validate with it; internal ones assert.
 */
#define WI_ENSURE(cond, code, ...)                                                                 \
    do {                                                                                           \
        if (WI_UNLIKELY(!(cond))) return WI_FAIL(code, __VA_ARGS__);                               \
    } while (0)

/*
 * Assertions by cost. Level 0 (release): wi_require only. Level 1: wi_assert. Level 2: also
 * wi_assert_costly, such as a walk over a structure. A failed one names itself and aborts.
 */
#ifndef WI_CHECK_LEVEL
#define WI_CHECK_LEVEL 0
#endif

_Noreturn void wi_panic(const char *file, unsigned line, const char *what);

#define wi_require(cond)                                                                           \
    do {                                                                                           \
        if (WI_UNLIKELY(!(cond))) wi_panic(__FILE__, __LINE__, #cond);                             \
    } while (0)
#if WI_CHECK_LEVEL >= 1
#define wi_assert(cond) wi_require(cond)
#else
#define wi_assert(cond) ((void)sizeof(!(cond)))
#endif
#if WI_CHECK_LEVEL >= 2
#define wi_assert_costly(cond) wi_require(cond)
#else
#define wi_assert_costly(cond) ((void)sizeof(!(cond)))
#endif

static inline size_t wi_round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

#include "base/fail.h"

#endif
