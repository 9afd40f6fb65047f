/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plant.c - bugs that the schedules must find
 *
 * A bug is a step of the library that does not happen, or happens late, or is weaker than written: named by its function
 * and by what it does. One that matches nothing any more is not found, and its test fails.
 */
#include "schedule/engine.h"

#include <stdio.h>
#include <string.h>

struct plant {
    const char          *name;
    const char          *about;
    const char          *scenario;
    const char          *function;
    const char          *what;  /* beginning of the step's text */
    const char          *after; /* only if the fiber's last step stood in this file; NULL: always */
    enum schedule_answer answer;
    bool                 weak; /* found only with store buffers */
};

static const struct plant plants[] = {
    {"believe-empty", "the first \"empty\" of ck_fifo is believed, whatever the count says", "lies", "wi_store_look",
     "load &store->count", "ck_fifo.h", SCHEDULE_LEAVE, false},
    {"gate-late", "a waiter looks before it is counted", "handoff", "queue_locked", "add &store->gate", NULL, SCHEDULE_LATE, false},
    {"lane-fence", "no fence between the lane's enqueue and the look at the gate", "lane", "wi_store_publish_lane", "fence", NULL,
     SCHEDULE_LEAVE, true},
    {"release-blind", "a release stores its word without comparing", "double_home", "wi_store_release", "cas &record->word", NULL,
     SCHEDULE_FORCE, false},
    {"claim-blind", "a claim stores its word without comparing", "pairs", "claim", "cas &record->word", NULL, SCHEDULE_FORCE, false},
};

static const struct plant *find(const char *name)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(plants); i++) {
        if (strcmp(plants[i].name, name) == 0) return &plants[i];
    }
    return NULL;
}

bool plant_known(const char *name)
{
    return find(name) != NULL;
}

const char *plant_scenario(const char *name)
{
    return find(name)->scenario;
}

bool plant_is_weak(const char *name)
{
    return find(name)->weak;
}

void plant_list(void)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(plants); i++)
        printf("  %-18s %s (%s)\n", plants[i].name, plants[i].about, plants[i].scenario);
}

static bool stands_in(const struct schedule_site *site, const char *file)
{
    size_t length = strlen(site->file), wanted = strlen(file);
    return length >= wanted && strcmp(site->file + length - wanted, file) == 0;
}

enum schedule_answer plant_answer(const struct schedule_site *site)
{
    const struct plant         *plant = find(sched->plant);
    const struct schedule_site *before = sched->fiber[sched->current].before;
    if (strcmp(site->function, plant->function) != 0 || strncmp(site->what, plant->what, strlen(plant->what)) != 0)
        return SCHEDULE_DO;
    if (plant->after && (!before || !stands_in(before, plant->after))) return SCHEDULE_DO;
    sched->plant_hits++;
    return plant->answer;
}
