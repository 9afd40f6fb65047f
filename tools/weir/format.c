/* SPDX-License-Identifier: Apache-2.0 */
/* format.c - see format.h */
#include "format.h"

#include <stdio.h>
#include <string.h>

const char *format_count(uint64_t value, char text[FORMAT_BYTES])
{
    char   digits[FORMAT_BYTES];
    int    length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    size_t at = 0;

    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = '\0';
    return text;
}

/* Three digits that count: 1.23, 12.3, 123. */
static void format_scaled(double value, const char *unit, char text[FORMAT_BYTES])
{
    int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;

    snprintf(text, FORMAT_BYTES, "%.*f %s", decimals, value, unit);
}

const char *format_ns(uint64_t ns, char text[FORMAT_BYTES])
{
    if (ns < 1000)
        snprintf(text, FORMAT_BYTES, "%llu ns", (unsigned long long)ns);
    else if (ns < 1000000)
        format_scaled((double)ns / 1e3, "us", text);
    else if (ns < 1000000000)
        format_scaled((double)ns / 1e6, "ms", text);
    else
        format_scaled((double)ns / 1e9, "s", text);
    return text;
}

const char *format_size(uint64_t bytes, char text[FORMAT_BYTES])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double                   value = (double)bytes;
    size_t                   unit = 0;

    if (bytes < 1024) {
        snprintf(text, FORMAT_BYTES, "%llu B", (unsigned long long)bytes);
        return text;
    }
    for (value /= 1024; value >= 1024 && unit < 3; unit++) value /= 1024;
    format_scaled(value, units[unit], text);
    return text;
}
