/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.h - what the stress programs stand on, and what a program of your own can stand on
 *
 * A program has one run. It reads the command line, prints the seed before anything else, starts threads
 * that work until the time is over, and is watched meanwhile. Whatever breaks a promise ends the program with a
 * message, what each thread was doing, the pools' numbers, and the command that repeats the run:
 *
 *   a buffer held twice         an owner word in each buffer, taken by compare-and-swap   stress_take()
 *   a buffer scribbled on       stamps at both ends while it is held                      stress_put()
 *   total = leased + free + retiring + quarantined, and nothing leased at rest            stress_check_rest()
 *   a waiter asleep while something is free                                               stress_watch()
 *   threads that stand still                                                              stress_step()
 *   a device object misused, forgotten or destroyed twice, as far as the device tells     the log
 *
 *     static void work(struct stress_thread *self)
 *     {
 *         while (stress_going(self)) {
 *             struct weir_buffer *buffer;
 *             stress_ok(weir_buffer_acquire(self->ctx, WEIR_FOREVER, &buffer));
 *             stress_take(self, buffer);
 *             stress_pause(self);
 *             stress_put(self, buffer);
 *             stress_ok(weir_buffer_release(buffer));
 *             stress_step(self);
 *         }
 *     }
 *
 * It needs the public headers, lib/base/atomic.h and pthreads. docs/stress.md says how to use it outside weir.
 */
#ifndef STRESS_HARNESS_H
#define STRESS_HARNESS_H

#include "base/atomic.h"

#include <stdbool.h>
#include <weir/weir.h>

/* ---- the run ---- */

/* A number that the command line may change: --name value. */
struct stress_option {
    const char *name;
    uint64_t   *value;
    const char *help;
};

struct stress_spec {
    const char                 *name;
    const char                 *imitates; /* one sentence, for --help and --describe */
    uint64_t                    seconds;  /* of a smoke run */
    uint64_t                    threads;
    const struct stress_option *options; /* ends with a nameless one; may be NULL */
};

/* Read the command line and print the seed. Ends the program for --help, --describe and what it cannot read. */
void stress_begin(const struct stress_spec *spec, int count, char **words);
/* Print what was noted, write the JSON. Returns the exit status. */
int stress_end(void);

uint64_t stress_seed(void);
uint64_t stress_seconds(void);
uint64_t stress_threads(void);

/* A result: printed at the end, and in the JSON. The name is a literal. */
void stress_note(const char *name, double value);

/* ---- threads ---- */

struct stress_thread {
    void                 *ctx;
    unsigned              index;  /* among all of the run */
    unsigned              number; /* among those started with it */
    uint64_t              random;
    _Atomic uint64_t      steps; /* written by the thread, read by the watch */
    _Atomic(const char *) doing;
} __attribute__((aligned(128)));

typedef void stress_work_fn(struct stress_thread *self);

/* Make `count` threads. They begin with stress_join(), or stress_go() for those who do not want to wait. */
void stress_start(stress_work_fn *work, void *ctx, uint64_t count);
/* Let the threads begin; the time counts from here. */
void stress_go(void);
/* Let the threads begin, stop them when the time is over, and wait until all have returned. */
void stress_join(void);
/* As stress_join(), for a time of the caller's: a run may have several groups of threads, one after the other. */
void stress_join_for(uint64_t ns);
/* End the time now; stress_join() has to follow. */
void stress_stop(void);

/* False when the time is over. */
bool stress_going(const struct stress_thread *self);
/* The thread has done something useful: the watch takes a run without steps for one that hangs. */
static inline void stress_step(struct stress_thread *self)
{
    wi_bump(&self->steps, 1);
}
/* What the thread is about to do, a literal: for the report of a run that hangs. */
static inline void stress_doing(struct stress_thread *self, const char *what)
{
    wi_store(&self->doing, what, relaxed);
}

static inline uint64_t stress_random(struct stress_thread *self)
{
    /* splitmix64 (Steele, Lea, Flood, OOPSLA 2014): any state will do, so threads need no special seeds. */
    uint64_t value = self->random += UINT64_C(0x9E3779B97F4A7C15);
    value = (value ^ value >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ value >> 27) * UINT64_C(0x94D049BB133111EB);
    return value ^ value >> 31;
}

/* A number below `bound`. */
static inline uint64_t stress_below(struct stress_thread *self, uint64_t bound)
{
    return stress_random(self) % bound;
}

/* Usually nothing; sometimes a yield, a spin or a short sleep. */
void stress_pause(struct stress_thread *self);
void stress_sleep_ns(uint64_t ns);
/* Keep the processor busy for about so long. The first call measures how fast it is. */
void stress_spin_ns(uint64_t ns);

/* ---- failing ---- */

_Noreturn void stress_fail(const char *file, int line, const char *promise, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* stress_require(condition, "thread %u", index): the words after the condition may be left out. */
#define stress_require(condition, ...)                                                             \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            stress_fail(__FILE__, __LINE__, #condition, " " __VA_ARGS__);                          \
    } while (0)
/* A call of weir that must succeed; its own text is shown if it does not. */
#define stress_ok(call)                                                                            \
    do {                                                                                           \
        int stress_err_ = (call);                                                                  \
        if (__builtin_expect(stress_err_ < 0, 0))                                                  \
            stress_fail_weir(__FILE__, __LINE__, #call, stress_err_);                              \
    } while (0)

_Noreturn void stress_fail_weir(const char *file, int line, const char *call, int err);

/* From now on the device may complain: it is about to be lost. */
void stress_expect_loss(void);

/* ---- leases ---- */

/* Bytes at the front of a buffer that belong to the harness while it is held; and as many at its end. */
#define STRESS_STAMP_BYTES 64

/*
 * The caller has just acquired the buffer, of at least 2 * STRESS_STAMP_BYTES host bytes. Fails if somebody else
 * holds it, and stamps it. The owner word is relaxed, so that it orders nothing in weir's place.
 */
void stress_take(struct stress_thread *self, struct weir_buffer *buffer);
/* The buffer is still the caller's and its stamps are whole. */
void stress_check(struct stress_thread *self, const struct weir_buffer *buffer);
/* The caller is about to release the buffer: check it and let go of the owner word. */
void stress_put(struct stress_thread *self, struct weir_buffer *buffer);
/* Hand the buffer to another thread, and take it there; the two are ordered by whatever passes the pointer. */
void stress_give(struct stress_thread *self, struct weir_buffer *buffer);
void stress_receive(struct stress_thread *self, struct weir_buffer *buffer);

/* ---- pools ---- */

/*
 * Watch a pool while the run lasts. `reserved` objects may be free though somebody waits: the pool's headroom, or
 * what a batch is short of. Twice is once. Before destroying the pool: stress_unwatch().
 */
void stress_watch(const char *name, struct weir_pool *pool, uint64_t reserved);
void stress_unwatch(struct weir_pool *pool);
/* Nobody uses the pool: wait until the device is done, then the law must hold with nothing leased and nobody waiting. */
void stress_check_rest(struct weir_pool *pool);
/* All of a pool's numbers in one line. */
int stress_pool_text(struct weir_pool *pool, char *text, size_t capacity);

/* ---- latency ---- */

#define STRESS_BUCKETS 1024

/* Times in logarithmic buckets, 16 to an octave: a quantile is at most 6 % too large. One writer. */
struct stress_histogram {
    uint64_t count;
    uint64_t max_ns;
    uint64_t bucket[STRESS_BUCKETS];
};

void stress_histogram_add(struct stress_histogram *histogram, uint64_t ns);
void stress_histogram_merge(struct stress_histogram *into, const struct stress_histogram *from);
/* The time that a share (0.999) of all were not above. 0 when there is none. */
uint64_t stress_histogram_quantile(const struct stress_histogram *histogram, double share);

#endif
