/* SPDX-License-Identifier: Apache-2.0 */
/* peer_line.c - the one line of JSON that a peer prints */
#include "peer_parts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE_BYTES = 8192 };

static char line[LINE_BYTES];
static size_t length;
static bool too_long;

static void WI_PRINTF(1, 2) add(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int bytes = vsnprintf(line + length, sizeof line - length, format, arguments);
    va_end(arguments);
    if (bytes < 0 || (size_t)bytes >= sizeof line - length)
        too_long = true;
    else
        length += (size_t)bytes;
}

static void add_key(const char *key)
{
    bool first = length == 0 || line[length - 1] == '{';

    if (length == 0) add("{");
    add(first ? "\"%s\":" : ",\"%s\":", key);
}

void peer_line_text(const char *key, const char *value)
{
    add_key(key);
    add("\"");
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            add("\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            add("\\u%04x", (unsigned)(unsigned char)*c);
        else
            add("%c", *c);
    }
    add("\"");
}

void peer_line_u64(const char *key, uint64_t value)
{
    add_key(key);
    add("%llu", (unsigned long long)value);
}

void peer_line_number(const char *key, double value)
{
    add_key(key);
    add("%.6g", value);
}

void peer_line_null(const char *key)
{
    add_key(key);
    add("null");
}

void peer_line_histogram(const char *key, struct bench_histogram *histogram, double ticks_per_ns)
{
    static const struct {
        const char *key;
        double      share;
    } quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}};

    add_key(key);
    add("{");
    peer_line_u64("count", bench_histogram_total(histogram));
    for (size_t i = 0; i < WI_ARRAY_COUNT(quantiles); i++)
        peer_line_number(quantiles[i].key,
                         bench_histogram_quantile(histogram, quantiles[i].share) / ticks_per_ns);
    peer_line_number("max", (double)wi_load(&histogram->max, relaxed) / ticks_per_ns);
    add("}");
}

int peer_line_end(void)
{
    add("}\n");
    if (too_long) return -EMSGSIZE;
    for (size_t written = 0; written < length;) {
        ssize_t bytes = write(STDOUT_FILENO, line + written, length - written);
        if (bytes < 0 && errno != EINTR) return -errno;
        if (bytes > 0) written += (size_t)bytes;
    }
    return 0;
}
