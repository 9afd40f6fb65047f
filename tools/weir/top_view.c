/* SPDX-License-Identifier: Apache-2.0 */
/* top_view.c - see top_view.h */
#include "top_view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <weir/weir.h>

#include "format.h"

#define NAME_BYTES 64
#define BAR_CELLS  24
#define STALE_NS   UINT64_C(2000000000)

static const char *const BOLD = "\033[1m", *const DIM = "\033[2m", *const RED = "\033[1;31m", *const GREEN = "\033[32m",
                         *const YELLOW = "\033[33m", *const HEADING = "\033[7m", *const PLAIN = "\033[0m";

static const char *in(const struct top_view *view, const char *colour)
{
    return view->colour ? colour : "";
}

static uint64_t age_ns(const struct top_sample *now)
{
    uint64_t clock_ns = weir_clock_ns();

    return clock_ns > now->written_ns ? clock_ns - now->written_ns : 0;
}

const char *top_state(const struct top_page *page, const struct top_sample *now)
{
    if (page->dead) return "dead";
    return age_ns(now) > 10 * page->head.period_ns + STALE_NS ? "stale" : "live";
}

/* ---- numbers ---- */

/* The row of the sample before with the same labels; NULL: there is none. */
static const void *row_before(const struct top_view *view, const struct top_section *section, const void *row)
{
    size_t count = top_rows(section, view->before, NULL);

    for (size_t at = 0; at < count; at++) {
        const char *other = top_row(section, view->before, at);
        bool        same = true;
        for (size_t i = 0; i < section->fields_count; i++) {
            const struct top_field *field = &section->fields[i];
            if (strcmp(field->kind, "label") == 0)
                same &= memcmp((const char *)row + field->offset, other + field->offset, field->bytes) == 0;
        }
        if (same) return other;
    }
    return NULL;
}

/* How much a counter has grown in a second; NAN: there is nothing to compare with. */
static double rate(const struct top_view *view, const struct top_section *section, const void *row, const char *name)
{
    const void *before = row_before(view, section, row);
    uint64_t    now = top_number(section, row, name);

    if (!before || view->now->written_ns <= view->before->written_ns) return NAN;
    uint64_t then = top_number(section, before, name);
    double   seconds = (double)(view->now->written_ns - view->before->written_ns) / 1e9;
    return now > then ? (double)(now - then) / seconds : 0;
}

static const char *rate_text(double value, char text[FORMAT_BYTES])
{
    if (isnan(value)) {
        snprintf(text, FORMAT_BYTES, "-");
    } else if (value > 0 && value < 9.95) {
        snprintf(text, FORMAT_BYTES, "%.1f", value);
    } else {
        format_count((uint64_t)(value + 0.5), text);
    }
    return text;
}

static const char *bytes_rate_text(double value, char text[FORMAT_BYTES])
{
    if (isnan(value)) {
        snprintf(text, FORMAT_BYTES, "-");
        return text;
    }
    format_size((uint64_t)value, text);
    return text;
}

static const char *duration_text(uint64_t ns, char text[FORMAT_BYTES])
{
    uint64_t seconds = ns / 1000000000;

    snprintf(text, FORMAT_BYTES, "%llu:%02llu:%02llu", (unsigned long long)(seconds / 3600),
             (unsigned long long)(seconds / 60 % 60), (unsigned long long)(seconds % 60));
    return text;
}

/* ---- the top of the screen ---- */

static void print_title(const struct top_view *view)
{
    const struct top_page    *page = view->page;
    const struct top_section *runtime = top_section(page, "runtime");
    const void               *row = top_row(runtime, view->now, 0);
    const char               *state = top_state(page, view->now);
    char program[NAME_BYTES], backend[NAME_BYTES], device[128], up[FORMAT_BYTES], age[FORMAT_BYTES];

    top_clean(page->head.program, sizeof(page->head.program), program, sizeof(program));
    fprintf(view->out, "%sweir top%s  %s%u.%u %s%s  %s: %s  up %s  ", in(view, BOLD), in(view, PLAIN), in(view, BOLD),
            page->head.pid, page->head.number, program, in(view, PLAIN), top_text(runtime, row, "backend", backend, sizeof(backend)),
            top_text(runtime, row, "device", device, sizeof(device)),
            duration_text(view->now->written_ns - page->head.created_ns, up));
    format_ns(age_ns(view->now), age);
    if (strcmp(state, "dead") == 0) {
        fprintf(view->out, "%sDEAD: the process ended; its last page is of %s ago%s\n", in(view, RED), age, in(view, PLAIN));
    } else if (strcmp(state, "stale") == 0) {
        fprintf(view->out, "%sSTALE: nothing written for %s%s\n", in(view, YELLOW), age, in(view, PLAIN));
    } else {
        fprintf(view->out, "%slive%s\n", in(view, GREEN), in(view, PLAIN));
    }
}

static void print_pressure(const struct top_view *view)
{
    static const char *const  level_colour[] = {"\033[32m", "\033[33m", "\033[1;31m", "\033[1;41m"};
    const struct top_section *section = top_section(view->page, "pressure");
    const void               *row = top_row(section, view->now, 0);
    uint64_t                  level = top_number(section, row, "level");
    uint64_t                  cgroup = top_number(section, row, "cgroup_bytes"), cgroup_max = top_number(section, row, "cgroup_bytes_max");
    uint64_t                  memory = top_number(section, row, "device_bytes_max");
    const struct top_section *runtime = top_section(view->page, "runtime");
    char                      name[NAME_BYTES];

    fprintf(view->out, "pressure  %s%s%s  PSI %.2f %%", in(view, level_colour[level < 4 ? level : 3]),
            top_text(section, row, "level_name", name, sizeof(name)), in(view, PLAIN),
            (double)top_number(section, row, "psi_some_x100") / 100);
    if (cgroup_max) fprintf(view->out, "  cgroup %.1f %%", 100 * (double)cgroup / (double)cgroup_max);
    if (memory)
        fprintf(view->out, "  device free %.1f %%", 100 * (double)top_number(section, row, "device_bytes_free") / (double)memory);
    if (top_number(runtime, top_row(runtime, view->now, 0), "lost"))
        fprintf(view->out, "  %sTHE DEVICE IS LOST%s", in(view, RED), in(view, PLAIN));
    fputc('\n', view->out);
}

/* [||||||      ]: a share of a whole; red where it is nearly all and `scarce`. */
static void print_bar(const struct top_view *view, uint64_t part, uint64_t whole, bool scarce)
{
    const int   cells = BAR_CELLS;
    double      share = whole ? (double)part / (double)whole : 0;
    int         full = (int)(share * cells + 0.5);
    const char *colour = share < 0.7 || !scarce ? GREEN : share < 0.95 ? YELLOW : RED;

    if (full > cells) full = cells;
    if (part && !full) full = 1;
    fprintf(view->out, "[%s%.*s%s%*s]", in(view, colour), full, "||||||||||||||||||||||||||||||||", in(view, PLAIN),
            cells - full, "");
}

static void print_memory(const struct top_view *view)
{
    static const char *const  kinds[] = {"pinned", "device", "pageable"};
    const struct top_section *section = top_section(view->page, "runtime");
    const void               *row = top_row(section, view->now, 0);

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char used_name[NAME_BYTES], max_name[NAME_BYTES], used_text[FORMAT_BYTES], max_text[FORMAT_BYTES];
        snprintf(used_name, sizeof(used_name), "%s_bytes", kinds[i]);
        snprintf(max_name, sizeof(max_name), "%s_bytes_max", kinds[i]);
        uint64_t used = top_number(section, row, used_name), max = top_number(section, row, max_name);
        fprintf(view->out, "%-9s ", kinds[i]);
        print_bar(view, used, max, true);
        fprintf(view->out, " %s of %s\n", format_size(used, used_text), format_size(max, max_text));
    }
}

static void print_activity(const struct top_view *view)
{
    const struct top_section *section = top_section(view->page, "runtime");
    const void               *row = top_row(section, view->now, 0);
    char                      calls[FORMAT_BYTES], keeper[FORMAT_BYTES], monitor[FORMAT_BYTES], ticks[FORMAT_BYTES], queries[FORMAT_BYTES];

    fprintf(view->out, "a second  driver calls %s; ticks recorded %s, queried %s; wakeups: keeper %s, monitor %s\n",
            rate_text(rate(view, section, row, "driver_calls"), calls), rate_text(rate(view, section, row, "ticks_recorded"), ticks),
            rate_text(rate(view, section, row, "ticks_queried"), queries), rate_text(rate(view, section, row, "keeper_wakeups"), keeper),
            rate_text(rate(view, section, row, "monitor_wakeups"), monitor));
}

/* ---- tables ---- */

static void print_heading(const struct top_view *view, const char *text)
{
    fprintf(view->out, "\n%s%s%s\n", in(view, HEADING), text, in(view, PLAIN));
}

static void print_left_out(const struct top_view *view, size_t count, size_t all, const char *what)
{
    if (all > count)
        fprintf(view->out, "%s%zu more %s are not on the page%s\n", in(view, DIM), all - count, what, in(view, PLAIN));
}

/* In red where it is something bad. */
static void print_count(const struct top_view *view, int width, uint64_t value, const char *colour)
{
    char text[FORMAT_BYTES];

    fprintf(view->out, " %s%*s%s", value ? in(view, colour) : "", width, format_count(value, text), value ? in(view, PLAIN) : "");
}

static void print_pool(const struct top_view *view, const struct top_section *section, const void *row)
{
    char     name[NAME_BYTES], size[FORMAT_BYTES], text[FORMAT_BYTES];
    double   acquires = rate(view, section, row, "acquires"), misses = rate(view, section, row, "misses");
    bool     waited = top_number(section, row, "wait.count") > 0;
    uint64_t quarantined = top_number(section, row, "quarantined");
    static const char *const quantiles[] = {"wait.p50_ns", "wait.p99_ns", "wait.p999_ns"};

    fprintf(view->out, "%-18.18s %8s", top_text(section, row, "name", name, sizeof(name)),
            format_size(top_number(section, row, "buffer_bytes"), size));
    print_count(view, 7, top_number(section, row, "total"), PLAIN);
    print_count(view, 7, top_number(section, row, "leased"), BOLD);
    print_count(view, 7, top_number(section, row, "free"), PLAIN);
    print_count(view, 7, top_number(section, row, "retiring"), PLAIN);
    print_count(view, 5, top_number(section, row, "waiting"), YELLOW);
    fprintf(view->out, " %10s", rate_text(acquires, text));
    if (isnan(acquires) || acquires <= 0) {
        fprintf(view->out, " %6s", "-");
    } else {
        fprintf(view->out, " %5.1f%%", misses < acquires ? 100 * misses / acquires : 100.0);
    }
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
        fprintf(view->out, " %8s", waited ? format_ns(top_number(section, row, quantiles[i]), text) : "-");
    fprintf(view->out, " %9s", bytes_rate_text(rate(view, section, row, "bytes_up"), text));
    fprintf(view->out, " %9s\n", bytes_rate_text(rate(view, section, row, "bytes_down"), text));
    if (quarantined)
        fprintf(view->out, "%s  %llu quarantined: the device failed while it used them%s\n", in(view, RED),
                (unsigned long long)quarantined, in(view, PLAIN));
}

static bool is_kind(const struct top_section *section, const void *row, const char *kind)
{
    char text[NAME_BYTES];

    return strcmp(top_text(section, row, "kind", text, sizeof(text)), kind) == 0;
}

static void print_pools(const struct top_view *view)
{
    const struct top_section *section = top_section(view->page, "pools");
    size_t                    all, count = top_rows(section, view->now, &all);

    print_heading(view, "POOL                   SIZE   TOTAL  LEASED    FREE RETIRES  WAIT ACQUIRES/s SHARED WAIT p50"
                        "      p99    p99.9      UP/s    DOWN/s");
    for (size_t at = 0; at < count; at++) {
        const void *row = top_row(section, view->now, at);
        if (is_kind(section, row, "buffers") || is_kind(section, row, "tiered")) print_pool(view, section, row);
    }
    print_left_out(view, count, all, "pools");
}

static void print_streams(const struct top_view *view)
{
    const struct top_section *section = top_section(view->page, "streams");
    const struct top_section *pools = top_section(view->page, "pools");
    size_t                    count = top_rows(section, view->now, NULL);
    char                      name[NAME_BYTES], text[FORMAT_BYTES];

    print_heading(view, "STREAMS               TOTAL  LEASED    FREE    BUSY ACQUIRES/s   COPIES/s      UP/s    DOWN/s  LEASED %");
    for (size_t at = 0; at < count; at++) {
        const void *row = top_row(section, view->now, at);
        uint64_t    streams = top_number(section, row, "streams");
        double      active = rate(view, section, row, "active_ns");
        if (!streams) continue;
        fprintf(view->out, "%-19.19s", top_text(section, row, "class", name, sizeof(name)));
        print_count(view, 7, streams, PLAIN);
        print_count(view, 7, top_number(section, row, "acquired"), BOLD);
        print_count(view, 7, top_number(section, row, "free"), PLAIN);
        print_count(view, 7, top_number(section, row, "busy"), PLAIN);
        fprintf(view->out, " %10s", rate_text(rate(view, section, row, "acquires"), text));
        fprintf(view->out, " %10s", rate_text(rate(view, section, row, "copies"), text));
        fprintf(view->out, " %9s", bytes_rate_text(rate(view, section, row, "bytes_up"), text));
        fprintf(view->out, " %9s", bytes_rate_text(rate(view, section, row, "bytes_down"), text));
        if (isnan(active)) {
            fprintf(view->out, " %9s\n", "-");
        } else {
            fprintf(view->out, " %8.1f%%\n", active / 1e7 / (double)streams);
        }
    }
    count = top_rows(pools, view->now, NULL);
    for (size_t at = 0; at < count; at++) {
        const void *row = top_row(pools, view->now, at);
        if (!is_kind(pools, row, "events") || !top_number(pools, row, "total")) continue;
        fprintf(view->out, "%-19.19s", top_text(pools, row, "name", name, sizeof(name)));
        print_count(view, 7, top_number(pools, row, "total"), PLAIN);
        print_count(view, 7, top_number(pools, row, "leased"), BOLD);
        print_count(view, 7, top_number(pools, row, "free"), PLAIN);
        print_count(view, 7, top_number(pools, row, "retiring"), PLAIN);
        fprintf(view->out, " %10s\n", rate_text(rate(view, pools, row, "acquires"), text));
    }
}

/* ---- tiers ---- */

static void print_share(const struct top_view *view, const char *name, uint64_t part, uint64_t whole)
{
    char used[FORMAT_BYTES], max[FORMAT_BYTES];

    fprintf(view->out, "  %-8s ", name);
    print_bar(view, part, whole, false); /* a tier is meant to be full */
    fprintf(view->out, " %s of %s", format_count(part, used), format_count(whole, max));
}

static void print_tier(const struct top_view *view, const struct top_section *section, const void *row)
{
    char     name[NAME_BYTES], policy[NAME_BYTES], a[FORMAT_BYTES], b[FORMAT_BYTES], c[FORMAT_BYTES];
    uint64_t device = top_number(section, row, "buffers_device"), pinned = top_number(section, row, "buffers_pinned");
    uint64_t pageable = top_number(section, row, "buffers_pageable");

    fprintf(view->out, "%s%s%s, policy %s, %s in limbo, %s moves dropped, %s waited for\n", in(view, BOLD),
            top_text(section, row, "pool", name, sizeof(name)), in(view, PLAIN), top_text(section, row, "policy", policy, sizeof(policy)),
            format_count(top_number(section, row, "limbo"), a), format_count(top_number(section, row, "moves_dropped"), b),
            format_count(top_number(section, row, "demands"), c));
    print_share(view, "device", device, top_number(section, row, "budget_device"));
    fprintf(view->out, "   up %s/s\n", rate_text(rate(view, section, row, "promotions_device"), a));
    print_share(view, "pinned", pinned, top_number(section, row, "budget_pinned"));
    fprintf(view->out, "   up %s/s\n", rate_text(rate(view, section, row, "promotions_pinned"), a));
    print_share(view, "pageable", pageable, device + pinned + pageable);
    fprintf(view->out, "   down %s/s (%s/s without a copy), %s/s moved\n", rate_text(rate(view, section, row, "demotions"), a),
            rate_text(rate(view, section, row, "demotions_clean"), b), bytes_rate_text(rate(view, section, row, "bytes_moved"), c));
}

static void print_tiers(const struct top_view *view)
{
    const struct top_section *section = top_section(view->page, "tiers");
    const struct top_section *hottest = top_section(view->page, "hottest");
    size_t                    count = top_rows(section, view->now, NULL);
    char                      name[NAME_BYTES], tier[NAME_BYTES], text[FORMAT_BYTES];

    if (count) print_heading(view, "TIERS                 SHARE OF THE BUDGET, BUFFERS                                   MOVES");
    for (size_t at = 0; at < count; at++) print_tier(view, section, top_row(section, view->now, at));
    count = top_rows(hottest, view->now, NULL);
    if (count) print_heading(view, "HOTTEST BUFFERS           BUFFER  TIER       PERIODS TOUCHED");
    for (size_t at = 0; at < count; at++) {
        const void *row = top_row(hottest, view->now, at);
        fprintf(view->out, "%-22.22s %9llu  %-9s %16s\n", top_text(hottest, row, "pool", name, sizeof(name)),
                (unsigned long long)top_number(hottest, row, "buffer"), top_text(hottest, row, "tier", tier, sizeof(tier)),
                format_count(top_number(hottest, row, "touches"), text));
    }
}

void top_view_print(const struct top_view *view)
{
    print_title(view);
    print_pressure(view);
    print_memory(view);
    print_activity(view);
    print_pools(view);
    print_streams(view);
    print_tiers(view);
}

/* ---- the list ---- */

void top_list_heading(FILE *out)
{
    fprintf(out, "%-12s %-7s %-18s %-8s %10s %6s %12s %12s\n", "PAGE", "STATE", "PROGRAM", "BACKEND", "UP", "POOLS", "PINNED", "LEASED");
}

void top_list_print(const struct top_view *view)
{
    const struct top_page    *page = view->page;
    const struct top_section *runtime = top_section(page, "runtime");
    const struct top_section *pools = top_section(page, "pools");
    const void               *row = top_row(runtime, view->now, 0);
    const char               *state = top_state(page, view->now);
    const char               *colour = strcmp(state, "live") == 0 ? GREEN : strcmp(state, "dead") == 0 ? RED : YELLOW;
    size_t                    count = top_rows(pools, view->now, NULL);
    uint64_t                  leased = 0;
    char name[32], program[NAME_BYTES], backend[NAME_BYTES], up[FORMAT_BYTES], pinned[FORMAT_BYTES], leases[FORMAT_BYTES];

    for (size_t at = 0; at < count; at++) leased += top_number(pools, top_row(pools, view->now, at), "leased");
    snprintf(name, sizeof(name), "%u.%u", page->head.pid, page->head.number);
    top_clean(page->head.program, sizeof(page->head.program), program, sizeof(program));
    fprintf(view->out, "%-12s %s%-7s%s %-18.18s %-8.8s %10s %6llu %12s %12s\n", name, in(view, colour), state, in(view, PLAIN), program,
            top_text(runtime, row, "backend", backend, sizeof(backend)),
            duration_text(view->now->written_ns - page->head.created_ns, up),
            (unsigned long long)top_number(runtime, row, "open_pools"),
            format_size(top_number(runtime, row, "pinned_bytes"), pinned), format_count(leased, leases));
}
