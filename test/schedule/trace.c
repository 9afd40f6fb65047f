/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - what happened in a schedule, step by step, to be printed when it has failed */
#include "schedule/engine.h"

#include <stdio.h>
#include <string.h>

static void add(const struct schedule_site *site, const char *note, const void *address)
{
    if (sched->trace_count == TRACE_MAX || sched->current == NOBODY) return;
    struct trace_step *step = &sched->trace[sched->trace_count++];
    *step = (struct trace_step){.site = site, .note = note, .address = address, .fiber = (uint8_t)sched->current,
                                .switched = sched->last_traced != sched->current};
    sched->last_traced = sched->current;
}

void trace_step(const struct schedule_site *site, const void *address)
{
    if (site->kind != SCHEDULE_EVENT || site->line) add(site, NULL, address);
}

void trace_note(const char *note)
{
    add(NULL, note, NULL);
}

static const char *short_path(const char *file)
{
    const char *slash = strrchr(file, '/');
    while (strncmp(file, "../", 3) == 0) file += 3;
    if (strncmp(file, "/usr/", 5) == 0 && slash) return slash + 1;
    return file;
}

void trace_print(void)
{
    for (unsigned i = 0; i < sched->trace_count; i++) {
        const struct trace_step *step = &sched->trace[i];
        const char              *name = sched->scenario->fibers[step->fiber].name;
        char                     place[96] = "";
        if (step->switched) printf("  -- %s\n", name);
        if (!step->site) {
            printf("  %5u  %-10s %s\n", i, name, step->note);
            continue;
        }
        (void)snprintf(place, sizeof place, "%s:%u", short_path(step->site->file), step->site->line);
        printf("  %5u  %-10s %-28s %-24s %s\n", i, name, place, step->site->function, step->site->what);
    }
}
