/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/base.h - what every other header of weir stands on
 *
 * Any thread may call anything in weir, with one exception: one lease is used by one thread at a time.
 * Deadlines are absolute, in nanoseconds of CLOCK_MONOTONIC, so that a retry never stretches them.
 * No call is a cancellation point: a thread that is cancelled inside weir ends after the call has returned.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 * Progress: wait-free.
 *
 * Example:
 *
 *     #include <stdio.h>
 *     #include <weir/base.h>
 *
 *     int main(void)
 *     {
 *         uint32_t version = weir_version();
 *         uint64_t deadline_ns = weir_deadline_after_ns(50000000);
 *         uint64_t left_ns = deadline_ns - weir_clock_ns();
 *         printf("weir %u.%u, up to %llu ms left\n", version >> 16, version >> 8 & 255, (unsigned long long)left_ns / 1000000 + 1);
 *         return 0;
 *     }
 */
#ifndef WEIR_BASE_H
#define WEIR_BASE_H

#include <stddef.h>
#include <stdint.h>

#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0

#ifdef __cplusplus
#define WEIR_BEGIN_DECLS extern "C" {
#define WEIR_END_DECLS   }
#else
#define WEIR_BEGIN_DECLS
#define WEIR_END_DECLS
#endif

#define WEIR_API        __attribute__((visibility("default")))
#define WEIR_MUST_CHECK __attribute__((warn_unused_result))

#define WEIR_NOW     UINT64_C(0) /* a deadline that has passed: try, do not wait */
#define WEIR_FOREVER UINT64_MAX  /* a deadline that never passes                 */

#ifndef __cplusplus
/*
 * WEIR_OPTS(pool, .name = "staging") is a const struct weir_pool_opts * that lives as long as the
 * enclosing block. Fields that are not named are zero, and zero means default.
 * C++ and other languages call weir_opts_init() instead.
 */
#define WEIR_OPTS(kind, ...)                                                                       \
    (&(const struct weir_##kind##_opts){.struct_size = sizeof(struct weir_##kind##_opts),          \
                                        __VA_ARGS__})
#endif

WEIR_BEGIN_DECLS

struct weir_runtime;
struct weir_pool;
struct weir_buffer;
struct weir_stream;
struct weir_event;

/* weir_version - the library's version, major << 16 | minor << 8 | patch */
WEIR_API uint32_t weir_version(void);

/*
 * weir_opts_init - zero an option struct and set its struct_size
 *
 * Pass the caller's own sizeof: the library must not zero with its own idea of the size.
 */
WEIR_API void weir_opts_init(void *opts, size_t struct_size);

/* weir_clock_ns - CLOCK_MONOTONIC now, in nanoseconds */
WEIR_API uint64_t weir_clock_ns(void);

/* weir_deadline_after_ns - the deadline timeout_ns from now; saturates at WEIR_FOREVER */
WEIR_API uint64_t weir_deadline_after_ns(uint64_t timeout_ns);

WEIR_END_DECLS

#endif
