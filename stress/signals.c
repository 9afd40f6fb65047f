/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals - threads that are interrupted all the time while they wait
 *
 * Imitates a process with a profiler or a garbage collector that interrupts threads by signals: every blocking system
 * call ends early, again and again. A wait must go on as if nothing had happened: it answers neither an error nor
 * TIMEDOUT before its deadline, and no buffer is lost. A signal for the whole process must not run on weir's own threads
 * either: the host's handler knows nothing of them.
 *
 * Run for 3 s as a smoke test, 5 min before a merge.
 */
#include "harness.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <weir/stream.h>

#define BUFFER_BYTES 512
#define THREADS_MAX  256
#define NS_PER_S     UINT64_C(1000000000)

static uint64_t buffers = 4;

static const struct stress_option options[] = {
    {"buffers", &buffers, "buffers of the pool"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "signals",
    .imitates = "a profiler that interrupts threads by signals while they wait",
    .seconds = 3,
    .threads = 8,
    .options = options,
};

static struct weir_runtime *rt;
static pthread_t            thread_of[THREADS_MAX];
static _Atomic uint32_t     there[THREADS_MAX]; /* 1: the thread is there to be interrupted */
static _Atomic uint64_t     interrupted, elsewhere, leases;
static __thread bool        mine; /* a thread of this program */

static void handle(int signal_number)
{
    (void)signal_number;
    wi_add(mine ? &interrupted : &elsewhere, 1, relaxed);
}

static void wait_with_deadline(struct stress_thread *self, struct weir_pool *pool)
{
    struct weir_buffer *buffer;
    uint64_t            deadline_ns = weir_deadline_after_ns(stress_below(self, 5000000));
    if (stress_below(self, 4) == 0) deadline_ns = WEIR_FOREVER;
    int err = weir_buffer_acquire(pool, deadline_ns, &buffer);
    if (err == WEIR_ETIMEDOUT) {
        stress_require(weir_clock_ns() >= deadline_ns, "the deadline is not over");
        return;
    }
    stress_ok(err);
    stress_take(self, buffer);
    stress_spin_ns(stress_below(self, 300000));
    stress_put(self, buffer);
    stress_ok(weir_buffer_release(buffer));
    wi_add(&leases, 1, relaxed);
}

static void wait_for_device(struct stress_thread *self)
{
    struct weir_stream *stream;
    stress_ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream));
    stress_ok(weir_stream_delay(stream, stress_below(self, 2000000)));
    stress_ok(weir_stream_sync(stream, weir_deadline_after_ns(30 * NS_PER_S)));
    stress_ok(weir_stream_release(stream));
}

/* SIGUSR2 is for the whole process. A new thread inherits it blocked, and is open to it once it says whose it is. */
static void mask(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    stress_require(pthread_sigmask(how, &set, NULL) == 0);
}

static void work(struct stress_thread *self)
{
    mine = true;
    mask(SIG_UNBLOCK);
    thread_of[self->number] = pthread_self();
    wi_store(&there[self->number], 1, release);
    while (stress_going(self)) {
        if (stress_below(self, 8) == 0) {
            wait_for_device(self);
        } else {
            wait_with_deadline(self, self->ctx);
        }
        stress_step(self);
    }
}

static void interrupt(struct stress_thread *self)
{
    mine = true;
    mask(SIG_UNBLOCK);
    while (stress_going(self)) {
        uint64_t number = stress_below(self, stress_threads());
        if (wi_load(&there[number], acquire)) (void)pthread_kill(thread_of[number], SIGUSR1);
        if (stress_below(self, 8) == 0) (void)kill(getpid(), SIGUSR2); /* any thread's */
        stress_sleep_ns(stress_below(self, 200000));
    }
}

int main(int count, char **words)
{
    struct weir_pool *pool;
    struct sigaction  action = {.sa_handler = handle}; /* no SA_RESTART: calls end with EINTR */
    stress_begin(&spec, count, words);
    mine = true;
    stress_require(stress_threads() <= THREADS_MAX);
    stress_require(sigaction(SIGUSR1, &action, NULL) == 0 &&
                   sigaction(SIGUSR2, &action, NULL) == 0);
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_pool_create(
        rt,
        WEIR_OPTS(pool, .name = "signals", .buffer_bytes = BUFFER_BYTES, .buffers_min = buffers),
        &pool));
    stress_watch("signals", pool, 0);
    stress_spin_ns(0);
    /* Before the threads. And the kernel gives the process's signals to this one if it can: it must look for another. */
    mask(SIG_BLOCK);
    stress_start(work, pool, stress_threads());
    stress_start(interrupt, pool, 1);
    stress_join();
    stress_ok(weir_runtime_sync(rt, 0, weir_deadline_after_ns(30 * NS_PER_S)));
    stress_check_rest(pool);
    stress_require(wi_load(&elsewhere, relaxed) == 0, "%llu signals were handled on weir's threads",
                   (unsigned long long)wi_load(&elsewhere, relaxed));
    stress_require(wi_load(&interrupted, relaxed) > 0, "nothing was interrupted");

    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    stress_require(stats.acquires == wi_load(&leases, relaxed), "%llu leases",
                   (unsigned long long)stats.acquires);
    stress_note("leases", (double)stats.acquires);
    stress_note("signals", (double)wi_load(&interrupted, relaxed));
    stress_unwatch(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return stress_end();
}
