/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first_use.c - many threads whose first use of weir comes at the same moment
 *
 * Imitates a server whose workers start together: each reads the settings (the first one does the work
 * for all), fails, logs through the host's function, and adds to a shared histogram while it is read.
 * At the end nothing is lost: every line and every value arrived, and each thread saw its own failures.
 *
 * usage: first_use [seconds [threads]]. One second as a smoke test; a minute under ThreadSanitizer. No
 * choice is random, so there is no seed.
 */
#include "base/atomic.h"
#include "base/base.h"
#include "base/histogram.h"
#include "base/log.h"
#include "base/settings.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 64

static pthread_barrier_t   start;
static struct wi_histogram histogram;
static _Atomic uint64_t    lines;
static uint64_t            deadline_ns;

/* Set without an order, so that it is not what makes the settings visible to the late half. */
static _Atomic bool someone_has_read;

struct worker {
    pthread_t                 thread;
    unsigned                  index;
    uint64_t                  rounds;
    const struct wi_settings *settings;
};

static void count_line(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)level;
    (void)message;
    if (strcmp(component, "stress") == 0) wi_add((_Atomic uint64_t *)ctx, 1, relaxed);
}

static void check(bool good, const char *what)
{
    if (good) return;
    fprintf(stderr, "first_use: %s\n", what);
    exit(1);
}

static void *work(void *argument)
{
    struct worker      *worker = argument;
    struct weir_error   error = {.struct_size = sizeof(error)};
    struct weir_latency latency;
    char                expected[64];

    pthread_barrier_wait(&start);
    /* Half of them race for the first read; the others come when it is over. */
    while (worker->index % 2 == 1 && !wi_load(&someone_has_read, relaxed)) sched_yield();
    worker->settings = wi_settings();
    check(strcmp(worker->settings->log, "warn") == 0, "the settings are not complete");
    wi_store(&someone_has_read, true, relaxed);
    while (weir_clock_ns() < deadline_ns) {
        snprintf(expected, sizeof(expected), "thread %u round %llu", worker->index,
                 (unsigned long long)worker->rounds);
        (void)WI_FAIL_TEXT(RANGE, "%s", expected);
        wi_histogram_add(&histogram, worker->rounds * worker->index);
        if (worker->rounds % 64 == 0) {
            wi_log(WARN, "stress", "round %llu", (unsigned long long)worker->rounds);
            wi_histogram_read(&histogram, &latency);
            check(latency.p9999_ns <= latency.max_ns, "a quantile is above the maximum");
        }
        check(weir_last_error(&error) == 0, "the failure was not recorded");
        check(strcmp(error.detail, expected) == 0, "the failure is another thread's");
        worker->rounds++;
    }
    return NULL;
}

int main(int count, char **arguments)
{
    uint64_t             seconds = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    unsigned             threads = count > 2 ? (unsigned)strtoul(arguments[2], NULL, 10) : 8;
    static struct worker workers[THREADS_MAX];
    struct weir_latency  latency;
    uint64_t             rounds = 0;
    uint64_t             logged = 0;

    check(threads >= 1 && threads <= THREADS_MAX, "threads must be 1 to 64");
    unsetenv("WEIR_LOG");
    weir_log_set(count_line, &lines);
    pthread_barrier_init(&start, NULL, threads);
    deadline_ns = weir_deadline_after_ns(seconds * WI_NS_PER_S);
    for (unsigned i = 0; i < threads; i++) {
        workers[i].index = i;
        check(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "no thread");
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        check(workers[i].settings == wi_settings(), "settings were read twice");
        rounds += workers[i].rounds;
        logged += (workers[i].rounds + 63) / 64;
    }
    wi_histogram_read(&histogram, &latency);
    check(latency.count == rounds, "values were lost");
    check(wi_load(&lines, relaxed) == logged, "lines were lost");
    printf("first_use: %u threads, %llu rounds\n", threads, (unsigned long long)rounds);
    return 0;
}
