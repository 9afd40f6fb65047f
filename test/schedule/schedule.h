/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schedule.h - what a scenario is made of
 *
 * A scenario sets up a small world (a store with two records, a stream), names two or three fibers that work on it with
 * the library's own code, and judges what is left. The scheduler runs it again and again, each time from the very
 * same bytes, and lets the fibers take turns at their atomic steps in another way.
 *
 *     SCENARIO(pairs, .fibers = {{"a", take_and_give}, {"b", take_and_give}}, .set_up = set_up, .judge = judge,
 *              .about = "two threads, two objects: nobody owns what another owns")
 *
 * Everything that a scenario writes lies in static memory or comes from wi_alloc(): it is restored before each schedule.
 * A fiber makes no system call but those that system.c knows. See docs/verification.md.
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include "base/atomic.h"
#include "base/base.h"

#define SCHEDULE_FIBERS 4

struct schedule_fiber_spec {
    const char *name;
    void (*body)(void);
    uint32_t daemon; /* 1: may sleep for ever once the others have ended */
    uint32_t cpu;    /* what wi_cpu_hint() answers */
};

struct schedule_scenario {
    const char                *name;
    const char                *about;
    struct schedule_fiber_spec fibers[SCHEDULE_FIBERS]; /* ends with a nameless one */
    void (*set_up)(void);
    /* All fibers have ended, or only daemons sleep. */
    void (*judge)(void);
    /* Nobody can go on but by the passing of a deadline. May be NULL. */
    void (*at_rest)(void);
    uint32_t bound; /* preemptions up to which an exhaustive search is quick; 0: 2 */
    uint32_t full_bound; /* and the one of a full run; 0: 3 */
    uint32_t weak;  /* 1: worth a search with store buffers too */
};

#define SCENARIO(name_, ...)                                                                       \
    const struct schedule_scenario schedule_scenario_##name_ = {.name = #name_, __VA_ARGS__}

/* What must hold. In a fiber and outside; a failure ends the schedule and prints its interleaving. */
#define schedule_require(condition, ...)                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            schedule_fail(__FILE__, __LINE__, #condition, " " __VA_ARGS__);                        \
    } while (0)
_Noreturn void schedule_fail(const char *file, unsigned line, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The fiber begins an operation that may take at most so many steps of its own. NULL: it has ended. */
void schedule_operation(const char *name, unsigned steps_max);
/* A step of the scenario's own: a place where others may run. */
void schedule_point(const char *what);
/* False, but in some schedules true: something rare happens. Counts as a preemption. */
bool schedule_chance(const char *what);
/* No preemption before accesses to these bytes: counters that decide nothing. In set_up only. */
void schedule_quiet(const volatile void *at, size_t bytes);

unsigned    schedule_self(void);         /* the fiber's index */
bool        schedule_asleep(unsigned fiber); /* does the fiber wait on a futex? */
uint64_t    schedule_now_ns(void);
/* An object has one owner. The owner word is the scenario's, 0: nobody. */
void schedule_own(uint32_t *owner);
void schedule_disown(uint32_t *owner);

#endif
