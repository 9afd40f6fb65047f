/* SPDX-License-Identifier: Apache-2.0 */
/* replay_worker.c - see replay_worker.h */
#include "replay_worker.h"

#include <signal.h>
#include <time.h>

/* A sleeping worker looks this often whether it shall stop. */
#define STOP_LOOK_NS (100 * NS_PER_MS)

static volatile sig_atomic_t interrupted;

void replay_interrupt(void)
{
    interrupted = 1;
}

bool replay_interrupted(void)
{
    return interrupted != 0;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

/* Time after the start at which a request is due. A workload that repeats goes on behind its span. */
static uint64_t due_after_ns(const struct replay_plan *plan, uint64_t sequence)
{
    const struct workload *workload = plan->workload;
    uint64_t               round = sequence / workload->count;
    uint64_t               arrival_ns = workload->requests[sequence % workload->count].arrival_ns;

    if (plan->speedup <= 0) return 0;
    return (uint64_t)((double)(round * workload->span_ns + arrival_ns) / plan->speedup);
}

/* Sleep until then. False: the run shall stop. */
static bool sleep_until(uint64_t due_ns)
{
    uint64_t now_ns;

    while (!interrupted && (now_ns = weir_clock_ns()) < due_ns) {
        uint64_t        next_ns = due_ns - now_ns < STOP_LOOK_NS ? due_ns : now_ns + STOP_LOOK_NS;
        struct timespec until = timespec_of(next_ns);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    return !interrupted;
}

/* Take the next request, wait for its time and serve it. False: there is none for this run. */
static bool serve_next(struct worker *worker)
{
    struct replay            *replay = worker->replay;
    const struct replay_plan *plan = replay->plan;
    uint64_t                  limit_ns = plan->seconds_ns ? plan->seconds_ns : UINT64_MAX;

    if (weir_clock_ns() - replay->start_ns >= limit_ns) return false;
    uint64_t sequence = counter_add(&replay->next, 1);
    if (!plan->repeat && sequence >= plan->workload->count) return false;
    uint64_t after_ns = due_after_ns(plan, sequence);
    if (after_ns >= limit_ns || !sleep_until(replay->start_ns + after_ns)) return false;
    uint64_t due_ns = plan->speedup > 0 ? replay->start_ns + after_ns : weir_clock_ns();
    replay_serve(worker, &plan->workload->requests[sequence % plan->workload->count], sequence,
                 due_ns);
    return true;
}

static void *worker_main(void *ctx)
{
    struct worker *worker = ctx;
    struct replay *replay = worker->replay;

    while (serve_next(worker))
        ;
    pthread_mutex_lock(&replay->lock);
    replay->workers--;
    pthread_cond_signal(&replay->worker_ended);
    pthread_mutex_unlock(&replay->lock);
    return NULL;
}

int replay_workers_start(struct replay *replay, struct worker *workers)
{
    for (uint32_t i = 0; i < replay->plan->threads; i++) {
        workers[i].replay = replay;
        pthread_mutex_lock(&replay->lock);
        replay->workers++;
        pthread_mutex_unlock(&replay->lock);
        int code = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
        if (code == 0) continue;
        replay_interrupt();
        pthread_mutex_lock(&replay->lock);
        replay->workers--;
        pthread_mutex_unlock(&replay->lock);
        while (i-- > 0) pthread_join(workers[i].thread, NULL);
        return WEIR_ENOMEM;
    }
    return 0;
}

bool replay_workers_ended(struct replay *replay, uint64_t deadline_ns)
{
    struct timespec until = timespec_of(deadline_ns);
    int             code = 0;

    pthread_mutex_lock(&replay->lock);
    while (replay->workers && code == 0)
        code = pthread_cond_timedwait(&replay->worker_ended, &replay->lock, &until);
    bool ended = replay->workers == 0;
    pthread_mutex_unlock(&replay->lock);
    return ended;
}

void replay_workers_join(const struct replay *replay, struct worker *workers)
{
    for (uint32_t i = 0; i < replay->plan->threads; i++) pthread_join(workers[i].thread, NULL);
}
