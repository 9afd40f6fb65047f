/* SPDX-License-Identifier: Apache-2.0 */
/* trace_parse.c - one line of a file of arrivals */
#include "trace.h"

#include <stdbool.h>
#include <string.h>

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
/* Later arrivals than this are taken for a wrong unit: about 30 years. */
#define TIMESTAMP_MS_MAX UINT64_C(1000000000000)

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads digits at *at up to max; moves *at behind them. False: no digit, or above max. */
static bool read_number(const char **at, uint64_t max, uint64_t *out)
{
    const char *c = *at;
    uint64_t    value = 0;

    if (!is_digit(*c)) return false;
    for (; is_digit(*c); c++) {
        value = value * 10 + (uint64_t)(*c - '0');
        if (value > max) return false;
    }
    *at = c;
    *out = value;
    return true;
}

/* Exactly `digits` digits, then `end`. */
static bool read_field(const char **at, int digits, char end, uint64_t *out)
{
    uint64_t value = 0;

    for (int i = 0; i < digits; i++) {
        if (!is_digit((*at)[i])) return false;
        value = value * 10 + (uint64_t)((*at)[i] - '0');
    }
    if (end && (*at)[digits] != end) return false;
    *at += digits + (end ? 1 : 0);
    *out = value;
    return true;
}

static bool leap_year(uint64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days from 1970-01-01, or false when there is no such day. */
static bool days_of(uint64_t year, uint64_t month, uint64_t day, uint64_t *out)
{
    static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (year < 1970 || month < 1 || month > 12 || day < 1) return false;
    uint64_t length = month_days[month - 1] + (month == 2 && leap_year(year) ? 1 : 0);
    if (day > length) return false;
    uint64_t before = year - 1;
    uint64_t days = (year - 1970) * 365 + before / 4 - before / 100 + before / 400 - 477;
    for (uint64_t i = 1; i < month; i++) days += month_days[i - 1];
    if (month > 2 && leap_year(year)) days++;
    *out = days + day - 1;
    return true;
}

/* A fraction of one to nine digits, in nanoseconds. */
static bool read_fraction(const char **at, uint64_t *out_ns)
{
    uint64_t unit_ns = NS_PER_S;
    uint64_t sum_ns = 0;
    int      digits = 0;

    for (; is_digit(**at); (*at)++, digits++) {
        unit_ns /= 10;
        sum_ns += unit_ns * (uint64_t)(**at - '0');
    }
    *out_ns = sum_ns;
    return digits >= 1 && digits <= 9;
}

/* "2023-11-16 18:15:46.6805900", also with a T, and with the zone UTC. */
static bool read_date_time(const char **at, uint64_t *out_ns)
{
    uint64_t year, month, day, hour, minute, second, days, fraction_ns = 0;

    if (!read_field(at, 4, '-', &year) || !read_field(at, 2, '-', &month)) return false;
    if (!read_field(at, 2, 0, &day) || (**at != ' ' && **at != 'T')) return false;
    (*at)++;
    if (!read_field(at, 2, ':', &hour) || !read_field(at, 2, ':', &minute)) return false;
    if (!read_field(at, 2, 0, &second)) return false;
    if (**at == '.') {
        (*at)++;
        if (!read_fraction(at, &fraction_ns)) return false;
    }
    if (**at == 'Z')
        (*at)++;
    else if (!strncmp(*at, "+00:00", 6))
        *at += 6;
    if (hour > 23 || minute > 59 || second > 60) return false;
    if (!days_of(year, month, day, &days)) return false;
    *out_ns = ((days * 24 + hour) * 60 + minute) * 60 * NS_PER_S + second * NS_PER_S + fraction_ns;
    return true;
}

static const char *read_timestamp(const char **at, enum trace_form form, uint64_t *out_ns)
{
    if (form == TRACE_FORM_AZURE)
        return read_date_time(at, out_ns) ? NULL : "the time is not a date and time in UTC";
    if (!read_number(at, TIMESTAMP_MS_MAX, out_ns))
        return "timestamp_ms is not a whole number of milliseconds";
    *out_ns *= NS_PER_MS;
    return NULL;
}

const char *trace_parse(const char *line, enum trace_form form, struct workload_request *out)
{
    uint64_t    arrival_ns, context, generated;
    const char *at = line;

    if (!*line) return "the line is empty";
    const char *reason = read_timestamp(&at, form, &arrival_ns);
    if (reason) return reason;
    if (*at++ != ',') return "three fields separated by commas are wanted";
    if (!read_number(&at, WORKLOAD_CONTEXT_TOKENS_MAX, &context))
        return "context_tokens is not a whole number up to 4194304";
    if (context == 0) return "context_tokens is 0";
    if (*at++ != ',') return "three fields separated by commas are wanted";
    if (!read_number(&at, WORKLOAD_GENERATED_TOKENS_MAX, &generated))
        return "generated_tokens is not a whole number up to 4194304";
    if (*at) return "more than three fields, or a character after the last number";
    out->arrival_ns = arrival_ns;
    out->context_tokens = (uint32_t)context;
    out->generated_tokens = (uint32_t)generated;
    return NULL;
}
