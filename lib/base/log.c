/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - which lines are wanted, and the way out */
#include "base/log.h"

#include "base/atomic.h"
#include "base/cancel.h"
#include "base/settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 1024

/* Written by weir_log_set(), read by every thread that logs. NULL: standard error. */
static _Atomic(weir_log_fn *) sink;
static _Atomic(void *)        sink_ctx;

/* clang-format off */
static const char *const level_names[] = {
    [WEIR_LOG_OFF] = "off",
    [WEIR_LOG_ERROR] = "error",
    [WEIR_LOG_WARN] = "warn",
    [WEIR_LOG_INFO] = "info",
    [WEIR_LOG_DEBUG] = "debug",
};
/* clang-format on */

/* One entry of a WEIR_LOG value. */
struct entry {
    const char *at;
    size_t      length;
    size_t      component_length; /* 0: for every component */
    int         level;            /* -1: not a level */
};

static int level_of(const char *name, size_t length)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(level_names); i++) {
        if (strlen(level_names[i]) == length && memcmp(level_names[i], name, length) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* The entry at *cursor, which is moved behind it. False at the end. */
static bool next_entry(const char **cursor, struct entry *entry)
{
    const char *colon;
    size_t      skipped = 0;

    if (!**cursor) return false;
    entry->at = *cursor;
    entry->length = strcspn(*cursor, ",");
    colon = memchr(entry->at, ':', entry->length);
    entry->component_length = colon ? (size_t)(colon - entry->at) : 0;
    if (colon) skipped = entry->component_length + 1;
    entry->level = level_of(entry->at + skipped, entry->length - skipped);
    if (skipped == 1) entry->level = -1; /* a colon with nothing before it */
    *cursor += entry->length;
    if (**cursor == ',') (*cursor)++;
    return true;
}

const char *wi_log_find_bad(const char *levels, size_t *out_length)
{
    struct entry entry;

    while (next_entry(&levels, &entry)) {
        if (entry.level >= 0) continue;
        *out_length = entry.length;
        return entry.at;
    }
    return NULL;
}

/*
 * The value is read again for each question. It is a word or two, log points are cold, and so there is
 * no table to keep consistent.
 */
bool wi_log_enabled(enum weir_log_level level, const char *component)
{
    const char  *cursor = wi_settings()->log;
    size_t       length = strlen(component);
    struct entry entry;
    int          general = WEIR_LOG_WARN;
    int          own = -1;

    while (next_entry(&cursor, &entry)) {
        if (entry.level < 0) continue;
        if (entry.component_length == 0) {
            general = entry.level;
        } else if (entry.component_length == length && memcmp(entry.at, component, length) == 0) {
            own = entry.level;
        }
    }
    return (int)level <= (own >= 0 ? own : general);
}

/* One write for a line, so that lines of several threads and processes do not mix. */
static void write_line(enum weir_log_level level, const char *component, const char *message)
{
    char    line[LINE_BYTES + 64];
    ssize_t written;
    int     length;

    length = snprintf(line, sizeof(line) - 1, "weir: %s: %s: %s", level_names[level], component,
                      message);
    if (length < 0) return;
    if ((size_t)length > sizeof(line) - 2) length = sizeof(line) - 2;
    line[length] = '\n';
    /* Nobody could be told of a failure. */
    written = write(STDERR_FILENO, line, (size_t)length + 1);
    (void)written;
}

void wi_log_line(enum weir_log_level level, const char *component, const char *format, ...)
{
    /* order(log-sink): acquire; pairs with release in weir_log_set(). */
    weir_log_fn *fn = wi_load(&sink, acquire);
    char         message[LINE_BYTES];
    va_list      arguments;
    WI_UNCANCELLABLE; /* many a line is written by someone who holds a lock */

    wi_assert(level > WEIR_LOG_OFF && level <= WEIR_LOG_DEBUG);
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (fn) {
        fn(wi_load(&sink_ctx, relaxed), level, component, message);
    } else {
        write_line(level, component, message);
    }
}

void weir_log_set(weir_log_fn *fn, void *ctx)
{
    wi_store(&sink_ctx, ctx, relaxed);
    /* order(log-sink): release; pairs with acquire in wi_log_line(). Makes ctx visible before fn. */
    wi_store(&sink, fn, release);
}

void weir_log_write(uint32_t level, const char *component, const char *message)
{
    if (level <= WEIR_LOG_OFF || level > WEIR_LOG_DEBUG || !component || !message) return;
    if (wi_log_enabled(level, component)) wi_log_line(level, component, "%s", message);
}
