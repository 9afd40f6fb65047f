/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_crew.c - threads that work for a time and are measured, and those that disturb them */
#include "gpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void gpu_pause_ns(uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / WI_NS_PER_S), .tv_nsec = (long)(ns % WI_NS_PER_S)};
    while (nanosleep(&left, &left) != 0) continue;
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * WI_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- crews ---- */

struct member {
    struct gpu_worker      worker;
    const struct gpu_crew *crew;
    pthread_barrier_t     *ready;
    pthread_t              thread;
};

static void *member_main(void *arg)
{
    struct member *member = arg;
    gpu_attach();
    if (member->crew->begin) member->crew->begin(&member->worker);
    (void)pthread_barrier_wait(member->ready);
    uint64_t before_ns = thread_cpu_ns();
    member->crew->work(&member->worker);
    member->worker.cpu_ns = thread_cpu_ns() - before_ns;
    (void)pthread_barrier_wait(member->ready); /* nobody's end disturbs another's work */
    if (member->crew->end) member->crew->end(&member->worker);
    return NULL;
}

static void merge(struct wi_histogram *into, const struct wi_histogram *from)
{
    for (size_t i = 0; i < WI_HISTOGRAM_BUCKETS; i++)
        wi_add(&into->count[i], wi_load(&from->count[i], relaxed), relaxed);
    if (wi_load(&from->max_ns, relaxed) > wi_load(&into->max_ns, relaxed))
        wi_store(&into->max_ns, wi_load(&from->max_ns, relaxed), relaxed);
}

struct gpu_outcome gpu_run(const struct gpu_crew *crew)
{
    struct gpu_outcome  outcome = {0};
    struct member      *members = calloc(crew->count, sizeof(*members));
    struct wi_histogram *all = calloc(1, sizeof(*all));
    pthread_barrier_t   ready;
    _Atomic uint32_t    stop = 0;
    if (!members || !all) gpu_fatal("no memory for %u threads", crew->count);
    pthread_barrier_init(&ready, NULL, crew->count + 1);
    for (unsigned i = 0; i < crew->count; i++) {
        members[i] = (struct member){.worker = {.number = i, .ctx = crew->ctx, .stop = &stop,
                                                .steps_max = gpu_options.quick ? crew->steps_quick : 0},
                                     .crew = crew, .ready = &ready};
        if (pthread_create(&members[i].thread, NULL, member_main, &members[i]) != 0)
            gpu_fatal("cannot start thread %u", i);
    }
    (void)pthread_barrier_wait(&ready);
    uint64_t begin_ns = weir_clock_ns();
    if (!gpu_options.quick) gpu_pause_ns(crew->duration_ns);
    wi_store(&stop, 1, relaxed);
    (void)pthread_barrier_wait(&ready);
    outcome.wall_ns = weir_clock_ns() - begin_ns;
    for (unsigned i = 0; i < crew->count; i++) {
        pthread_join(members[i].thread, NULL);
        outcome.steps += members[i].worker.steps;
        outcome.bytes += members[i].worker.bytes;
        outcome.cpu_ns += members[i].worker.cpu_ns;
        merge(all, &members[i].worker.latency);
    }
    wi_histogram_read(all, &outcome.latency);
    pthread_barrier_destroy(&ready);
    free(members);
    free(all);
    return outcome;
}

/* ---- aside ---- */

static void *aside_main(void *arg)
{
    struct gpu_aside *aside = arg;
    gpu_attach();
    do {
        aside->turn(aside->ctx);
        aside->turns++;
    } while (wi_load(&aside->stop, relaxed) == 0);
    return NULL;
}

void gpu_aside_start(struct gpu_aside *aside, void (*turn)(void *ctx), void *ctx)
{
    *aside = (struct gpu_aside){.turn = turn, .ctx = ctx};
    if (pthread_create(&aside->thread, NULL, aside_main, aside) != 0) gpu_fatal("cannot start a thread");
}

void gpu_aside_stop(struct gpu_aside *aside)
{
    wi_store(&aside->stop, 1, relaxed);
    pthread_join(aside->thread, NULL);
}

/* ---- numbers ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double gpu_median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

uint64_t gpu_calls(struct weir_runtime *rt)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof(stats)};
    GPU_OK(weir_runtime_stats_read(rt, &stats));
    return stats.driver_calls;
}
