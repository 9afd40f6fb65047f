/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - what a peer is, and the loops that every peer is measured by
 *
 * A peer is one way to lease objects: weir, a mutex around a deque, a structure of Concurrency Kit, an
 * allocator. Each is a program of its own, because some take over malloc and some can hang: the
 * program measures one case and prints one line of JSON. A peer's file defines three small
 * functions, instantiates the loops below from them with PEER_LOOPS, and fills in `peer_here`:
 *
 *     try      an object, or NULL when there is none
 *     wait     an object; sleeps until there is one (NULL in peer_here if the peer has no such thing)
 *     release  gives one back
 *
 * The loops are inlined around those functions, so a peer that is a set of inline functions runs as it
 * would in a program of its user, and weir is called through its shared library as its users call it.
 *
 * A run has three phases that all threads read from one word: WARM, MEASURE, STOP. Threads count
 * their pairs in a word of their own, and the main thread reads the words and the system's CPU
 * accounting at both ends of MEASURE: start and end of the threads are not in the numbers.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "base/atomic.h"
#include "base/base.h"

#include "clock.h"
#include "histogram.h"

#include <sched.h>

enum peer_phase { PEER_WARM, PEER_MEASURE, PEER_STOP };

struct peer_config {
    const char *case_name;
    uint64_t    hold_ns;      /* CPU time of the work done while an object is held */
    uint64_t    warm_ns;
    uint64_t    window_ns;    /* length of MEASURE */
    size_t      buffers;
    size_t      buffer_bytes;
    size_t      held;         /* objects that a thread holds at a time */
    unsigned    threads;
    unsigned    sample_every; /* one acquire in so many is timed; a prime, to be in step with nothing */
    bool        waiting;      /* acquire by wait, not by try */
    bool        checked;      /* each object's owner word is checked */
    bool        growing;      /* the pool grows while the threads run */
};

struct peer_run {
    /* Fixed before the threads start. */
    struct peer_config config;
    uint64_t work_rounds;    /* rounds of peer_work() that take hold_ns */
    uint64_t begin_ticks;
    unsigned progress_shift; /* ticks per progress bit, as a power of two */
    size_t   progress_bits;

    /* Written by the main thread, read by all. */
    WI_CACHELINE _Atomic uint32_t phase;
};

struct peer_thread {
    /* Fixed before the thread starts. */
    struct peer_run        *run;
    struct bench_histogram *acquire;  /* durations of sampled acquires in MEASURE */
    _Atomic uint64_t       *progress; /* bit i: a sampled pair ended in period i */
    unsigned                index;

    /* Written by this thread; read by the main thread. Own cache lines. */
    WI_CACHELINE _Atomic uint64_t pairs;
    _Atomic uint64_t empties; /* times that try found nothing */
    _Atomic uint64_t doubles; /* objects that somebody else held, too */
    _Atomic uint32_t finished;
};

typedef void *peer_acquire_fn(void);
typedef void  peer_release_fn(void *object);
typedef _Atomic uint64_t *peer_owner_fn(void *object);
typedef void  peer_loop_fn(struct peer_thread *thread);

/* What a peer can tell beside the loops' numbers; UINT64_MAX: it does not know. */
struct peer_counters {
    uint64_t driver_calls;
    uint64_t allocations;
};

struct peer {
    const char      *name;
    int            (*open)(const struct peer_config *config); /* negative errno on failure */
    void           (*enter)(unsigned thread);                 /* on each thread before its loop; may be NULL */
    void           (*grow)(void);                             /* add some objects; may be NULL */
    void           (*count)(struct peer_counters *out);       /* may be NULL */
    const char    *(*note)(void);                             /* what must be said of the numbers; may be NULL */
    peer_acquire_fn *try;
    peer_acquire_fn *wait;                                    /* may be NULL */
    peer_release_fn *release;
    peer_loop_fn    *try_loop;
    peer_loop_fn    *wait_loop;                               /* NULL where wait is */
    peer_loop_fn    *try_checked_loop;                        /* NULL: objects have no owner word */
    peer_loop_fn    *wait_checked_loop;
    peer_loop_fn    *held_loop;
};

/* Each peer's file defines this. */
extern const struct peer peer_here;

/* peer_work - busy work of so many rounds; the same machine code in every peer */
void peer_work(uint64_t rounds);

/* peer_sampled - a sampled acquire took until now: note its duration and the progress. Reads the counter first. */
void peer_sampled(struct peer_thread *thread, uint64_t begin_ticks, uint32_t phase);

/* peer_random - the next of a thread's pseudo-random numbers (xorshift) */
static inline uint64_t peer_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* Acquire, also when there is nothing for the moment. NULL: the run ended first. */
static inline __attribute__((always_inline)) void *peer_take(struct peer_thread *thread,
                                                             peer_acquire_fn *acquire)
{
    void *object;

    while (WI_UNLIKELY((object = acquire()) == NULL)) {
        wi_bump(&thread->empties, 1);
        if (wi_load(&thread->run->phase, relaxed) == PEER_STOP) return NULL;
        sched_yield();
    }
    return object;
}

static inline __attribute__((always_inline)) void
peer_check(struct peer_thread *thread, peer_owner_fn *owner, void *object, uint64_t was, uint64_t is)
{
    if (owner != NULL && wi_exchange(owner(object), is, relaxed) != was)
        wi_bump(&thread->doubles, 1);
}

/* The loop: one object at a time. owner is NULL in the unchecked form, and the check is not compiled. */
static inline __attribute__((always_inline)) void peer_pairs(struct peer_thread *thread,
                                                             peer_acquire_fn *acquire,
                                                             peer_release_fn *release,
                                                             peer_owner_fn *owner)
{
    struct peer_run *run = thread->run;
    const uint64_t work_rounds = run->work_rounds;
    const uint64_t me = thread->index + 1;
    const unsigned sample_every = run->config.sample_every;
    unsigned until_sample = thread->index % sample_every + 1;
    uint64_t pairs = 0;

    for (;;) {
        uint32_t phase = wi_load(&run->phase, relaxed);
        void *object;

        if (phase == PEER_STOP) return;
        if (WI_UNLIKELY(--until_sample == 0)) {
            uint64_t begin_ticks = bench_ticks_begin();
            object = peer_take(thread, acquire);
            if (object == NULL) return;
            peer_sampled(thread, begin_ticks, phase);
            until_sample = sample_every;
        } else {
            object = peer_take(thread, acquire);
            if (object == NULL) return;
        }
        peer_check(thread, owner, object, 0, me);
        if (work_rounds != 0) peer_work(work_rounds);
        peer_check(thread, owner, object, me, 0);
        release(object);
        wi_store(&thread->pairs, ++pairs, relaxed);
    }
}

/* The loop of the held case: many are held, a random one is released and another acquired. */
static inline __attribute__((always_inline)) void peer_held_pairs(struct peer_thread *thread,
                                                                  void **held, size_t count,
                                                                  peer_acquire_fn *acquire,
                                                                  peer_release_fn *release)
{
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15) + thread->index;
    unsigned until_sample = 1;
    uint64_t pairs = 0;

    for (;;) {
        uint32_t phase = wi_load(&thread->run->phase, relaxed);
        void **place = &held[(peer_random(&random) >> 32) * count >> 32];

        if (phase == PEER_STOP) return;
        release(*place);
        if (WI_UNLIKELY(--until_sample == 0)) {
            uint64_t begin_ticks = bench_ticks_begin();
            *place = peer_take(thread, acquire);
            if (*place == NULL) return;
            peer_sampled(thread, begin_ticks, phase);
            until_sample = thread->run->config.sample_every;
        } else {
            *place = peer_take(thread, acquire);
            if (*place == NULL) return;
        }
        wi_store(&thread->pairs, ++pairs, relaxed);
    }
}

/* peer_hold_many - gather config.held objects for peer_held_pairs(); NULL: there is no memory */
void **peer_hold_many(struct peer_thread *thread, peer_acquire_fn *acquire);

/*
 * PEER_LOOPS(try_fn, wait_fn, release_fn, owner_fn) - instantiate the loops in a peer's file
 *
 * wait_fn may be try_fn and owner_fn may be NULL, if peer_here leaves the loops out that use them.
 */
#define PEER_LOOPS(try_fn, wait_fn, release_fn, owner_fn)                                          \
    __attribute__((unused)) static void try_loop(struct peer_thread *thread)                       \
    {                                                                                              \
        peer_pairs(thread, try_fn, release_fn, NULL);                                              \
    }                                                                                              \
    __attribute__((unused)) static void wait_loop(struct peer_thread *thread)                      \
    {                                                                                              \
        peer_pairs(thread, wait_fn, release_fn, NULL);                                             \
    }                                                                                              \
    __attribute__((unused)) static void try_checked_loop(struct peer_thread *thread)               \
    {                                                                                              \
        peer_pairs(thread, try_fn, release_fn, owner_fn);                                          \
    }                                                                                              \
    __attribute__((unused)) static void wait_checked_loop(struct peer_thread *thread)              \
    {                                                                                              \
        peer_pairs(thread, wait_fn, release_fn, owner_fn);                                         \
    }                                                                                              \
    static void held_loop(struct peer_thread *thread)                                              \
    {                                                                                              \
        void **held = peer_hold_many(thread, try_fn);                                              \
        if (held != NULL)                                                                          \
            peer_held_pairs(thread, held, thread->run->config.held, try_fn, release_fn);           \
    }

#endif
