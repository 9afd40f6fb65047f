/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - log lines of weir's own; see weir/log.h for where they go. Never on a hit, never under a lock. */
#ifndef WI_LOG_H
#define WI_LOG_H

#include "base/base.h"

#include <weir/log.h>

/* wi_log(WARN, "pool", "%s grew to %zu", ...) */
#define wi_log(level, component, ...)                                                              \
    do {                                                                                           \
        if (wi_log_enabled(WEIR_LOG_##level, component))                                           \
            wi_log_line(WEIR_LOG_##level, component, __VA_ARGS__);                                 \
    } while (0)

bool         wi_log_enabled(enum weir_log_level level, const char *component);
WI_COLD void wi_log_line(enum weir_log_level level, const char *component, const char *format, ...) WI_PRINTF(3, 4);

/*
 * The first entry of a WEIR_LOG value that is not a level (off, error, warn, info, debug) or
 * component:level, with its length; NULL if all are good.
 */
const char *wi_log_find_bad(const char *levels, size_t *out_length);

#endif
