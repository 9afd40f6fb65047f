/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - the parts of the scheduler, for each other
 *
 *   fiber.c    stacks, switching, each fiber's own thread-local variables
 *   world.c    the bytes that a schedule starts from, and the allocator of the library
 *   engine.c   steps, turns, store buffers, sleeping: one schedule
 *   search.c   which schedules: all within a bound, random ones, PCT, a replay, a shorter one
 *   system.c   the calls of the library that would leave the process: futex, mutex, clock
 *   trace.c    what happened, to be printed
 *   plant.c    bugs that must be found
 *
 * All state of the scheduler lies in one mapping behind `sched`, because the program's own variables are restored
 * before each schedule.
 */
#ifndef SCHEDULE_ENGINE_H
#define SCHEDULE_ENGINE_H

#include "schedule/schedule.h"

#include <setjmp.h>

#define BUFFER_MAX    16     /* stores that a fiber can hold back */
#define STEPS_MAX     40000  /* of one schedule: more is a loop without progress */
#define TRACE_MAX     STEPS_MAX
#define DECISIONS_MAX 65536
#define QUIET_MAX     32
#define SHARED_SLOTS  8192
#define MUTEXES_MAX   64
#define LATE_MAX      4
#define NOBODY        (-1)

enum fiber_state { READY, SLEEPS, ENDED };

/* A store that has not reached memory yet. While its fiber runs, memory shows it, and `shadow` keeps what others see. */
struct held_store {
    void   *at;
    size_t  bytes;
    uint8_t value[16], shadow[16];
};

struct late_change {
    void    *at;
    uint64_t value;
    size_t   bytes;
};

struct fiber {
    void            *stack_pointer;
    void            *stack;
    char            *tls; /* its thread-local variables while it does not run */
    enum fiber_state state;
    bool             yielded;   /* waits for others to write something */
    bool             daemon;
    bool             timed_out; /* how the sleep ended */
    const void      *futex;     /* sleeps on this word or mutex */
    uint64_t         deadline_ns;
    uint64_t         slept; /* order of going to sleep */
    int              priority; /* PCT */
    const char      *operation;
    unsigned         operation_steps, operation_max;
    struct held_store held[BUFFER_MAX];
    unsigned          held_count;
    struct late_change late[LATE_MAX];
    unsigned           late_count;
    const struct schedule_site *at, *before;
    const void                 *at_address;
};

struct trace_step {
    const struct schedule_site *site; /* NULL: a note */
    const char                 *note;
    const void                 *address;
    uint8_t                     fiber;
    uint8_t                     switched; /* another fiber ran before */
};

enum decision_kind {
    DECIDE_PREEMPT, /* 0: go on; n: the n-th other fiber */
    DECIDE_NEXT,    /* the fiber cannot go on: which is next */
    DECIDE_HOLD,    /* 1: the store stays in the buffer */
    DECIDE_CHANCE,  /* 1: it happens */
    DECIDE_DRAIN    /* 1: the oldest held store of a fiber reaches memory */
};

struct decision {
    uint32_t at;     /* the number of the decision in its schedule */
    uint32_t choice; /* not 0 */
};

enum search_mode { SEARCH_ALL, SEARCH_WALK, SEARCH_STICKY, SEARCH_PCT, SEARCH_REPLAY };

struct scheduler {
    const struct schedule_scenario *scenario;
    /* One schedule. */
    struct fiber  fiber[SCHEDULE_FIBERS];
    int           fibers;
    int           current; /* NOBODY: the engine itself */
    void         *engine_stack_pointer;
    uint64_t      now_ns;
    uint64_t      sleeps;
    unsigned      steps;
    bool          failed;
    char          failure[512];
    jmp_buf       outside; /* a failure of set_up or judge */
    struct trace_step trace[TRACE_MAX];
    unsigned          trace_count;
    int               last_traced;
    struct { const void *mutex; int owner; } mutex[MUTEXES_MAX];
    /* Decisions of this schedule that are not the first choice. */
    struct decision taken[DECISIONS_MAX];
    unsigned        taken_count;
    uint32_t        decisions;
    unsigned        spent; /* of the bound */

    /* The search. */
    enum search_mode mode;
    unsigned         bound;
    bool             weak; /* stores may be held back */
    uint64_t         random;
    unsigned         change_at[8]; /* PCT */
    int              lowest;
    struct {
        uint32_t at;
        uint16_t choice, count;
    } path[DECISIONS_MAX]; /* of an exhaustive search: its open choices */
    unsigned        path_length, path_at;
    struct decision replay[DECISIONS_MAX];
    unsigned        replay_count, replay_at;
    unsigned        typical_steps; /* of the schedule without preemptions */

    /* Addresses that several fibers have used and one has written: only before these a preemption makes a difference. */
    struct {
        const void *at;
        uint8_t     users, writers;
        bool        shared;
    } seen[SHARED_SLOTS];
    bool seen_more;
    struct { uintptr_t from, to; } quiet[QUIET_MAX];
    unsigned quiet_count;

    /* Totals. */
    uint64_t schedules, all_steps;
    unsigned steps_max;
    const char *plant;
    unsigned    plant_hits;
    bool        trace_all;
};

extern struct scheduler *sched;

/* ---- fiber.c ---- */
void fiber_start(void); /* once: find the thread-local variables */
/* Make every fiber a thread that the library knows, and keep that as what each schedule starts from. */
void fiber_attach_all(void);
void fiber_restore_all(void);
void fiber_prepare(struct fiber *fiber, void (*body)(void));
/* Leave the running context (a fiber or the engine) for another one. */
void fiber_switch(int from, int to);

/* ---- world.c ---- */
void  world_start(void);
void  world_keep(void);    /* from here on this is what every schedule starts from */
void  world_restore(void);
/* NULL, or what is wrong with using these bytes. */
const char *world_complaint(const volatile void *at, size_t bytes);

/* ---- engine.c ---- */
void engine_run(void (*begin)(void)); /* one schedule; its outcome is in sched->failed */
/* The current fiber sleeps until engine_wake() or the deadline. Returns whether it was the deadline. */
bool engine_sleep(const void *on, uint64_t deadline_ns, const struct schedule_site *site);
unsigned engine_wake(const void *on, unsigned count);
void engine_flush(void);
void engine_flush_all(void);
void engine_drain_one(struct fiber *fiber);
int  engine_candidates(int *out, bool others_only);
bool engine_runnable(int index);
_Noreturn void engine_abandon(void);

/* ---- search.c ---- */
/* Which of `count` choices? Those from free_count on count against the bound. Not open: only the first makes a difference. */
unsigned search_decide(enum decision_kind kind, unsigned count, unsigned free_count, bool open,
                       const int *candidates);
void search_step(void); /* before each step: priorities fall, held stores reach memory */
void search_begin_random(uint64_t seed, uint64_t number);
bool search_next_path(void); /* false: all have been gone */
bool search_share(void);     /* more addresses turned out to be shared: the search has to begin again */

/* ---- trace.c ---- */
void trace_step(const struct schedule_site *site, const void *address);
void trace_note(const char *note);
void trace_print(void);

/* ---- plant.c ---- */
enum schedule_answer plant_answer(const struct schedule_site *site);
bool        plant_known(const char *name);
bool        plant_is_weak(const char *name);
const char *plant_scenario(const char *name);
void        plant_list(void);

/* ---- system.c ---- */
struct timespec;
int __real_clock_gettime(int clock, struct timespec *now);

#endif
