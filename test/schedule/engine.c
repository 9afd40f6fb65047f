/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - one schedule: steps, turns, store buffers, sleeping
 *
 * Store buffers, as on x86: a store that is not seq_cst may stay in its fiber's buffer until the fiber makes a locked
 * access or a fence, sleeps or ends, or until the search lets it out, first in, first out. While a fiber runs,
 * memory shows its own view, so that plain reads (and libck's own code) see what it has stored; at a switch the held
 * stores are taken back.
 */
#include "schedule/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct scheduler *sched;

static struct fiber *self(void)
{
    return &sched->fiber[sched->current];
}

unsigned schedule_self(void)
{
    return (unsigned)sched->current;
}

bool schedule_asleep(unsigned fiber)
{
    return sched->fiber[fiber].state == SLEEPS;
}

uint64_t schedule_now_ns(void)
{
    return sched->now_ns;
}

/* ---- failing ---- */

_Noreturn void engine_abandon(void)
{
    if (sched->current == NOBODY) longjmp(sched->outside, 1);
    fiber_switch(sched->current, NOBODY);
    __builtin_unreachable();
}

void schedule_fail(const char *file, unsigned line, const char *what, const char *format, ...)
{
    if (!sched->failed) {
        va_list args;
        int used = snprintf(sched->failure, sizeof sched->failure, "%s:%u: %s", file, line, what);
        if (used > 0 && (size_t)used < sizeof sched->failure) {
            va_start(args, format);
            (void)vsnprintf(sched->failure + used, sizeof sched->failure - (size_t)used, format, args);
            va_end(args);
        }
        sched->failed = true;
    }
    engine_abandon();
}

/* ---- store buffers ---- */

static void show_held(struct fiber *fiber)
{
    for (unsigned i = 0; i < fiber->held_count; i++) {
        struct held_store *held = &fiber->held[i];
        memcpy(held->shadow, held->at, held->bytes);
        memcpy(held->at, held->value, held->bytes);
    }
}

static void hide_held(struct fiber *fiber)
{
    for (unsigned i = fiber->held_count; i-- > 0;) {
        struct held_store *held = &fiber->held[i];
        memcpy(held->at, held->shadow, held->bytes);
    }
}

static void written(void)
{
    for (int i = 0; i < sched->fibers; i++) {
        if (i != sched->current) sched->fiber[i].yielded = false;
    }
}

void engine_flush(void)
{
    if (self()->held_count > 0) written();
    self()->held_count = 0; /* memory shows them already */
}

void engine_drain_one(struct fiber *fiber)
{
    if (fiber != self()) memcpy(fiber->held[0].at, fiber->held[0].value, fiber->held[0].bytes);
    memmove(&fiber->held[0], &fiber->held[1], (fiber->held_count - 1) * sizeof fiber->held[0]);
    fiber->held_count--;
    written();
}

void engine_flush_all(void)
{
    for (int i = 0; i < sched->fibers; i++) {
        while (sched->fiber[i].held_count > 0) engine_drain_one(&sched->fiber[i]);
    }
}

/* ---- turns ---- */

bool engine_runnable(int index)
{
    return sched->fiber[index].state == READY && !sched->fiber[index].yielded;
}

static bool is_timed(int index)
{
    return sched->fiber[index].state == SLEEPS && sched->fiber[index].deadline_ns != WEIR_FOREVER;
}

static void expire(struct fiber *fiber)
{
    if (sched->now_ns < fiber->deadline_ns) sched->now_ns = fiber->deadline_ns;
    fiber->state = READY;
    fiber->timed_out = true;
    fiber->futex = NULL;
    trace_note("a deadline passes");
}

static void go_to(int next)
{
    int from = sched->current;
    if (sched->fiber[next].state == SLEEPS) expire(&sched->fiber[next]);
    if (next == from) return;
    if (from != NOBODY) hide_held(&sched->fiber[from]);
    show_held(&sched->fiber[next]);
    fiber_switch(from, next);
}

/* Others that could run now; those whose deadline would have to pass come last. */
static unsigned others(int *out, unsigned *ready)
{
    unsigned count = 0;
    for (int i = 0; i < sched->fibers; i++) {
        if (i != sched->current && engine_runnable(i)) out[count++] = i;
    }
    *ready = count;
    for (int i = 0; i < sched->fibers; i++) {
        if (is_timed(i)) out[count++] = i;
    }
    return count;
}

static void turn(bool open)
{
    int      list[SCHEDULE_FIBERS + 1];
    unsigned ready;
    list[0] = sched->current;
    unsigned count = others(list + 1, &ready);
    if (count == 0) return;
    unsigned choice = search_decide(DECIDE_PREEMPT, count + 1, 1, open, list);
    if (choice > 0) go_to(list[choice]);
}

/* Nobody runs: what others would see is in memory, and accesses are no steps. */
static void check_rest(void)
{
    int current = sched->current;
    if (!sched->scenario->at_rest || current == NOBODY) return;
    sched->current = NOBODY;
    sched->scenario->at_rest();
    sched->current = current;
}

/* The current fiber cannot go on. Who is next? NOBODY: the schedule is at its end. */
static int next_fiber(bool spins)
{
    int      list[SCHEDULE_FIBERS];
    unsigned ready, count = others(list, &ready);
    if (ready == 0) {
        /* Only who spins is left: they look again, one after the other. */
        for (int i = 1; i <= sched->fibers; i++) {
            int           index = (sched->current + i) % sched->fibers;
            struct fiber *fiber = &sched->fiber[index];
            if (fiber->state != READY) continue;
            fiber->yielded = false;
            memmove(list + 1, list, count * sizeof list[0]);
            list[0] = index;
            ready++, count++;
            break;
        }
    }
    if (count == 0) return NOBODY;
    if (ready == 0) {
        check_rest();
        ready = count; /* time passes: for whom is free to choose */
    }
    /* Who spins gives way to the next one; others are as a preemption. Else polling would multiply all schedules. */
    return list[search_decide(DECIDE_NEXT, count, spins ? 1 : ready, true, list)];
}

void schedule_yield(void)
{
    if (sched->current == NOBODY) return;
    self()->yielded = true;
    if (++sched->steps > STEPS_MAX) schedule_fail(__FILE__, __LINE__, "the schedule ends", " spinning for ever");
    go_to(next_fiber(true));
    self()->yielded = false;
}

static void leave(void)
{
    int next = next_fiber(false);
    if (next != NOBODY) {
        go_to(next);
    } else {
        hide_held(self());
        fiber_switch(sched->current, NOBODY);
    }
}

bool engine_sleep(const void *on, uint64_t deadline_ns, const struct schedule_site *site)
{
    struct fiber *fiber = self();
    engine_flush();
    for (unsigned i = 0; i < fiber->late_count; i++) {
        struct late_change *late = &fiber->late[i];
        if (late->bytes == 4) *(uint32_t *)late->at += (uint32_t)late->value;
        if (late->bytes == 8) *(uint64_t *)late->at += late->value;
    }
    fiber->late_count = 0;
    fiber->state = SLEEPS;
    fiber->timed_out = false;
    fiber->futex = on;
    fiber->deadline_ns = deadline_ns;
    fiber->slept = ++sched->sleeps;
    fiber->at = site;
    leave();
    return fiber->timed_out;
}

unsigned engine_wake(const void *on, unsigned count)
{
    unsigned woken = 0;
    while (woken < count) {
        struct fiber *first = NULL;
        for (int i = 0; i < sched->fibers; i++) {
            struct fiber *fiber = &sched->fiber[i];
            if (fiber->state == SLEEPS && fiber->futex == on && (!first || fiber->slept < first->slept)) first = fiber;
        }
        if (!first) break;
        first->state = READY;
        first->futex = NULL;
        woken++;
    }
    return woken;
}

/* ---- steps ---- */

static bool is_quiet(const volatile void *at)
{
    for (unsigned i = 0; i < sched->quiet_count; i++) {
        if ((uintptr_t)at >= sched->quiet[i].from && (uintptr_t)at < sched->quiet[i].to) return true;
    }
    return false;
}

/* Is this an address where the order of two fibers can matter? As far as known from earlier rounds of the search. */
static bool note_use(const volatile void *at, bool writes)
{
    uintptr_t word = (uintptr_t)at & ~(uintptr_t)7;
    size_t    slot = (word >> 3) * UINT64_C(0x9E3779B97F4A7C15) >> 51;
    while (sched->seen[slot].at && (uintptr_t)sched->seen[slot].at != word) slot = (slot + 1) % SHARED_SLOTS;
    sched->seen[slot].at = (const void *)word;
    sched->seen[slot].users |= (uint8_t)(1u << sched->current);
    if (writes) sched->seen[slot].writers |= (uint8_t)(1u << sched->current);
    if (sched->seen[slot].shared) return true;
    uint8_t users = sched->seen[slot].users;
    if ((users & (users - 1)) && sched->seen[slot].writers) sched->seen_more = true;
    return false;
}

static bool is_open(const volatile void *at, size_t bytes, bool writes)
{
    if (is_quiet(at)) return false;
    if (sched->mode != SEARCH_ALL) return true;
    bool shared = note_use(at, writes);
    if (bytes > 8) shared |= note_use((const volatile char *)at + 8, writes);
    return shared;
}

static void count_step(struct fiber *fiber)
{
    if (++sched->steps > STEPS_MAX)
        schedule_fail(__FILE__, __LINE__, "the schedule ends", " after %u steps", STEPS_MAX);
    if (fiber->operation && ++fiber->operation_steps > fiber->operation_max)
        schedule_fail(__FILE__, __LINE__, "the operation is bounded", " %s takes more than %u steps", fiber->operation,
                      fiber->operation_max);
}

enum schedule_answer schedule_step(const struct schedule_site *site, const volatile void *at, size_t bytes)
{
    if (!sched || sched->current == NOBODY) return SCHEDULE_DO;
    struct fiber *fiber = self();
    bool writes = site->kind == SCHEDULE_STORE || site->kind == SCHEDULE_RMW;
    bool flushes = site->kind == SCHEDULE_RMW || site->order == SCHEDULE_seq_cst;
    if (site->kind == SCHEDULE_LOAD) flushes = false;
    bool open = at ? is_open(at, bytes, writes) : site->kind == SCHEDULE_EVENT;
    if (flushes && fiber->held_count > 0) open = true;

    fiber->before = fiber->at;
    fiber->at = site;
    fiber->at_address = (const void *)at;
    search_step();
    turn(open);
    count_step(fiber);
    trace_step(site, (const void *)at);
    if (at) {
        const char *wrong = world_complaint(at, bytes);
        if (wrong) schedule_fail(site->file, site->line, site->what, " %s", wrong);
    }
    enum schedule_answer answer = sched->plant ? plant_answer(site) : SCHEDULE_DO;
    if (answer == SCHEDULE_LEAVE || answer == SCHEDULE_LATE) return answer;
    if (flushes) engine_flush();
    if (writes) written();
    return answer;
}

static void hold(struct fiber *fiber, volatile void *at, const void *value, size_t bytes)
{
    struct held_store *held = &fiber->held[fiber->held_count++];
    held->at = (void *)at;
    held->bytes = bytes;
    memcpy(held->value, value, bytes);
    memcpy(held->shadow, held->at, bytes);
    memcpy(held->at, value, bytes);
}

void schedule_put(volatile void *at, const void *value, size_t bytes, enum schedule_order order)
{
    if (sched && sched->current != NOBODY && sched->weak && order != SCHEDULE_seq_cst) {
        struct fiber *fiber = self();
        bool          open = fiber->held_count < BUFFER_MAX && is_open(at, bytes, true);
        bool          behind = fiber->held_count > 0 && fiber->held_count < BUFFER_MAX;
        if ((behind && !open) || (open && search_decide(DECIDE_HOLD, 2, 1, true, NULL))) {
            hold(fiber, at, value, bytes);
            return;
        }
        engine_flush();
    }
    memcpy((void *)at, value, bytes);
}

void schedule_later(volatile void *at, uint64_t value, size_t bytes)
{
    struct fiber *fiber = self();
    if (fiber->late_count < LATE_MAX) fiber->late[fiber->late_count++] = (struct late_change){(void *)at, value, bytes};
}

void schedule_point(const char *what)
{
    static const struct schedule_site site = {"", "", "point", 0, SCHEDULE_EVENT, SCHEDULE_relaxed};
    (void)schedule_step(&site, NULL, 0);
    trace_note(what);
}

bool schedule_chance(const char *what)
{
    bool happens = sched->current != NOBODY && search_decide(DECIDE_CHANCE, 2, 1, true, NULL);
    if (happens) trace_note(what);
    return happens;
}

void schedule_operation(const char *name, unsigned steps_max)
{
    struct fiber *fiber = self();
    fiber->operation = name;
    fiber->operation_steps = 0;
    fiber->operation_max = steps_max;
    if (name) trace_note(name);
}

void schedule_quiet(const volatile void *at, size_t bytes)
{
    schedule_require(sched->quiet_count < QUIET_MAX);
    sched->quiet[sched->quiet_count].from = (uintptr_t)at;
    sched->quiet[sched->quiet_count++].to = (uintptr_t)at + bytes;
}

void schedule_own(uint32_t *owner)
{
    schedule_require(*owner == 0, "%s has it already", sched->scenario->fibers[*owner - 1].name);
    *owner = schedule_self() + 1;
    trace_note("(owns it)");
}

void schedule_disown(uint32_t *owner)
{
    schedule_require(*owner == schedule_self() + 1, "somebody else took it");
    *owner = 0;
}

/* ---- a schedule ---- */

static void fiber_main(void)
{
    static uint64_t ended;
    int           index = sched->current;
    struct fiber *fiber = &sched->fiber[index];
    sched->scenario->fibers[index].body();
    /* What is held back may stay so for a while after the last step. */
    if (fiber->held_count > 0) (void)schedule_step(SCHEDULE_SITE(SCHEDULE_RMW, SCHEDULE_seq_cst, "the end"), &ended, sizeof ended);
    engine_flush();
    fiber->operation = NULL;
    fiber->state = ENDED;
    leave();
    schedule_fail(__FILE__, __LINE__, "an ended fiber does not run", " ");
}

static void check_end(void)
{
    for (int i = 0; i < sched->fibers; i++) {
        struct fiber *fiber = &sched->fiber[i];
        if (fiber->state == ENDED || (fiber->state == SLEEPS && fiber->daemon)) continue;
        schedule_fail(fiber->at ? fiber->at->file : "", fiber->at ? fiber->at->line : 0, "a sleeper is woken",
                      " %s sleeps, and nobody is left who could wake it", sched->scenario->fibers[i].name);
    }
    if (sched->scenario->judge) sched->scenario->judge();
}

void engine_run(void (*begin)(void))
{
    sched->steps = 0;
    sched->now_ns = 1000000;
    sched->sleeps = 0;
    sched->failed = false;
    sched->trace_count = 0;
    sched->last_traced = NOBODY;
    sched->taken_count = 0;
    sched->decisions = 0;
    sched->spent = 0;
    memset(sched->mutex, 0, sizeof sched->mutex);
    for (int i = 0; i < sched->fibers; i++) {
        struct fiber *fiber = &sched->fiber[i];
        fiber->state = READY;
        fiber->yielded = fiber->timed_out = false;
        fiber->held_count = fiber->late_count = 0;
        fiber->operation = NULL;
        fiber->at = fiber->before = NULL;
        fiber_prepare(fiber, fiber_main);
    }
    begin();
    if (setjmp(sched->outside) == 0) {
        int first = next_fiber(false);
        go_to(first);
        /* Here again when nobody can go on, or the schedule has failed. */
        if (!sched->failed) {
            sched->current = NOBODY;
            for (int i = 0; i < sched->fibers; i++) sched->fiber[i].held_count = 0;
            check_end();
        }
    }
    sched->current = NOBODY;
    sched->schedules++;
    sched->all_steps += sched->steps;
    if (sched->steps > sched->steps_max) sched->steps_max = sched->steps;
}
