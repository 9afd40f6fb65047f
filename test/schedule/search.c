/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search.c - which schedules: all within a bound, random ones, or one again
 *
 *   all     every schedule with at most `bound` preemptions and held stores, depth first. After Musuvathi and
 *           Qadeer, "Iterative Context Bounding for Systematic Testing of Multithreaded Programs" (PLDI 2007).
 *   walk    at each step anybody goes on
 *   sticky  at one step in sixteen somebody else goes on
 *   PCT     who has the highest priority goes on; priorities fall at a few random steps. Burckhardt and others, "A
 *           Randomized Scheduler with Probabilistic Guarantees of Finding Bugs" (ASPLOS 2010).
 *
 * A schedule is the list of its decisions that were not the first choice, each with its number: that list repeats it,
 * however it was found.
 */
#include "schedule/engine.h"

#include <stdlib.h>
#include <string.h>

static uint64_t next_random(void)
{
    /* splitmix64 (Steele, Lea, Flood, OOPSLA 2014) */
    uint64_t value = sched->random += UINT64_C(0x9E3779B97F4A7C15);
    value = (value ^ value >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ value >> 27) * UINT64_C(0x94D049BB133111EB);
    return value ^ value >> 31;
}

static unsigned below(unsigned bound)
{
    return (unsigned)((next_random() >> 32) * bound >> 32);
}

/* ---- decisions ---- */

static unsigned decide_path(uint32_t number, unsigned count)
{
    if (sched->path_at < sched->path_length) {
        if (sched->path[sched->path_at].at != number || sched->path[sched->path_at].count != count)
            schedule_fail(__FILE__, __LINE__, "a schedule repeats itself", " it did not at decision %u", number);
        return sched->path[sched->path_at++].choice;
    }
    if (sched->path_length == DECISIONS_MAX) abort();
    sched->path[sched->path_length].at = number;
    sched->path[sched->path_length].choice = 0;
    sched->path[sched->path_length].count = (uint16_t)count;
    sched->path_at = ++sched->path_length;
    return 0;
}

static unsigned decide_replay(uint32_t number, unsigned count)
{
    while (sched->replay_at < sched->replay_count && sched->replay[sched->replay_at].at < number) sched->replay_at++;
    if (sched->replay_at == sched->replay_count || sched->replay[sched->replay_at].at != number) return 0;
    unsigned choice = sched->replay[sched->replay_at++].choice;
    return choice < count ? choice : 0;
}

static bool is_late(int candidate)
{
    return candidate >= 0 && sched->fiber[candidate].state == SLEEPS;
}

/* A deadline passes more rarely than a fiber is preempted. */
static unsigned decide_walk(enum decision_kind kind, unsigned count, const int *candidates)
{
    if (kind == DECIDE_DRAIN || kind == DECIDE_CHANCE) return below(4) == 0;
    if (kind == DECIDE_PREEMPT && sched->mode == SEARCH_STICKY && below(16) != 0) return 0;
    unsigned choice = below(count);
    if (choice > 0 && candidates && is_late(candidates[choice]) && below(8) != 0) return 0;
    return choice;
}

static unsigned decide_pct(enum decision_kind kind, unsigned count, const int *candidates)
{
    if (kind == DECIDE_HOLD) return below(2);
    if (kind == DECIDE_DRAIN || kind == DECIDE_CHANCE) return below(4) == 0;
    unsigned best = 0;
    for (unsigned i = 0; i < count; i++) {
        if (candidates[i] < 0) continue;
        if (is_late(candidates[i])) {
            if (below(64) == 0) return i;
            continue;
        }
        if (is_late(candidates[best]) || sched->fiber[candidates[i]].priority > sched->fiber[candidates[best]].priority)
            best = i;
    }
    return best;
}

unsigned search_decide(enum decision_kind kind, unsigned count, unsigned free_count, bool open,
                       const int *candidates)
{
    unsigned choice = 0;
    if (count < 2) return 0;
    uint32_t number = sched->decisions++;
    switch (sched->mode) {
    case SEARCH_ALL: {
        unsigned allowed = sched->spent < sched->bound ? count : free_count;
        if (!open) allowed = free_count;
        if (allowed > 1) choice = decide_path(number, allowed);
        break;
    }
    case SEARCH_REPLAY: choice = decide_replay(number, count); break;
    case SEARCH_PCT:
        if (open) choice = decide_pct(kind, count, candidates);
        break;
    default:
        if (open) choice = decide_walk(kind, count, candidates);
        break;
    }
    if (choice == 0) return 0;
    if (choice >= free_count) sched->spent++;
    if (sched->taken_count < DECISIONS_MAX)
        sched->taken[sched->taken_count++] = (struct decision){number, choice};
    return choice;
}

void search_step(void)
{
    for (unsigned i = 0; sched->mode == SEARCH_PCT && i < WI_ARRAY_COUNT(sched->change_at); i++) {
        if (sched->change_at[i] == sched->steps) sched->fiber[sched->current].priority = --sched->lowest;
    }
    for (int i = 0; sched->weak && i < sched->fibers; i++) {
        struct fiber *fiber = &sched->fiber[i];
        if (fiber->held_count > 0 && search_decide(DECIDE_DRAIN, 2, 1, sched->mode != SEARCH_ALL, NULL))
            engine_drain_one(fiber);
    }
}

/* ---- schedules ---- */

void search_begin_random(uint64_t seed, uint64_t number)
{
    sched->random = seed + number * UINT64_C(0xD1342543DE82EF95);
    sched->mode = (enum search_mode)(SEARCH_WALK + number % 3);
    sched->weak = sched->scenario->weak && number % 2;
    if (sched->mode != SEARCH_PCT) return;
    unsigned changes = 1 + below(WI_ARRAY_COUNT(sched->change_at));
    for (unsigned i = 0; i < WI_ARRAY_COUNT(sched->change_at); i++)
        sched->change_at[i] = i < changes ? 1 + below(sched->typical_steps + 1) : 0;
    sched->lowest = 0;
    for (int i = 0; i < sched->fibers; i++) sched->fiber[i].priority = 1 + (int)below(1000);
}

bool search_next_path(void)
{
    while (sched->path_length > 0) {
        unsigned last = sched->path_length - 1;
        if (++sched->path[last].choice < sched->path[last].count) {
            sched->path_at = 0;
            return true;
        }
        sched->path_length--;
    }
    return false;
}

bool search_share(void)
{
    bool more = sched->seen_more;
    for (unsigned i = 0; i < SHARED_SLOTS; i++) {
        uint8_t users = sched->seen[i].users;
        if ((users & (users - 1)) && sched->seen[i].writers) sched->seen[i].shared = true;
    }
    sched->seen_more = false;
    return more;
}
