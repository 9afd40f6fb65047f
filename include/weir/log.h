/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/log.h - where weir's log lines go
 *
 * weir logs transitions (grew, closed, level changed, device lost), never single calls. Lines go to
 * standard error until a function is set. WEIR_LOG=warn,pool:debug chooses levels per component.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 *
 * Example:
 *
 *     #include <stdio.h>
 *     #include <weir/log.h>
 *
 *     static void show(void *ctx, uint32_t level, const char *component, const char *message)
 *     {
 *         if (level <= WEIR_LOG_WARN) fprintf(ctx, "%s: %s\n", component, message);
 *     }
 *
 *     int main(void)
 *     {
 *         weir_log_set(show, stdout);
 *         weir_log_write(WEIR_LOG_WARN, "engine", "the cache is full");
 *         weir_log_set(NULL, NULL);
 *         return 0;
 *     }
 */
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

enum weir_log_level {
    WEIR_LOG_OFF = 0,
    WEIR_LOG_ERROR,
    WEIR_LOG_WARN,
    WEIR_LOG_INFO,
    WEIR_LOG_DEBUG
};

typedef void weir_log_fn(void *ctx, uint32_t level, const char *component, const char *message);

/*
 * weir_log_set - send log lines to fn, or back to standard error with NULL
 *
 * fn may be called from any thread, also weir's own, while no lock of weir is held.
 * Thread: any, but not while other threads may be logging through the old ctx.  Progress: wait-free.
 */
WEIR_API void weir_log_set(weir_log_fn *fn, void *ctx);

/*
 * weir_log_write - one line into weir's log, where the component's level lets it through; for libraries that stand on weir
 *
 * level is one of enum weir_log_level, above OFF.  Progress: as long as the function set takes, or a write to standard error.
 */
WEIR_API void weir_log_write(uint32_t level, const char *component, const char *message);

WEIR_END_DECLS

#endif
