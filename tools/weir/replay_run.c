/* SPDX-License-Identifier: Apache-2.0 */
/* replay_run.c - one run of a replay: make the pools, let the workers go, sample, drain, count */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replay_state.h"
#include "replay_worker.h"

#define SAMPLE_PERIOD_NS (50 * NS_PER_MS)
#define DRAIN_NS         (60 * NS_PER_S)
#define DRAIN_LOOK_NS    NS_PER_MS

/* Sizes of the pools. No more than this is pinned for prompts, or taken on the device, however long they are. */
#define PROMPT_MEMORY_BYTES (UINT64_C(256) << 20)
#define PROMPT_BUFFERS_MIN  8
#define STEP_BUFFERS_MIN    32
#define PAGE_BYTES          4096

struct sizes {
    size_t prompt_bytes;
    size_t flights_max; /* device buffers, which is what bounds the requests in flight */
    size_t prompts_max;
    size_t steps_max;
};

static struct sizes sizes_of(const struct replay_plan *plan)
{
    struct sizes sizes;
    size_t       message = stamp_message_bytes(plan->workload->context_tokens_max);

    sizes.prompt_bytes = (message + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    sizes.flights_max = PROMPT_MEMORY_BYTES / (sizes.prompt_bytes + PAGE_BYTES);
    if (sizes.flights_max > 2 * (size_t)plan->threads)
        sizes.flights_max = 2 * (size_t)plan->threads;
    if (sizes.flights_max < PROMPT_BUFFERS_MIN) sizes.flights_max = PROMPT_BUFFERS_MIN;
    sizes.prompts_max = sizes.flights_max;
    sizes.steps_max = sizes.flights_max * REPLAY_STEPS_MAX;
    return sizes;
}

int replay_fail(struct replay *replay, const char *what, int err)
{
    char text[sizeof(replay->first_failure)];

    if (weir_error_text(text, sizeof(text)) <= 0)
        snprintf(text, sizeof(text), "%s: %s", weir_errname(err), weir_strerror(err));
    pthread_mutex_lock(&replay->lock);
    if (!replay->first_failure[0])
        snprintf(replay->first_failure, sizeof(replay->first_failure), "%s: %.400s", what, text);
    pthread_mutex_unlock(&replay->lock);
    return err;
}

/* Each pool shows its first line at once. */
static void begin_pinning(struct replay *replay, const char *name)
{
    replay->pinning.name = name;
    replay->pinning.shown_ns = 0;
}

static int create_staging(struct replay *replay, const struct sizes *sizes)
{
    struct staging_options prompts = {
        .rt = replay->rt,
        .name = "prompts",
        .buffer_bytes = sizes->prompt_bytes,
        .buffers_min = PROMPT_BUFFERS_MIN,
        .buffers_max = sizes->prompts_max,
        .progress = progress_pin,
        .progress_ctx = &replay->pinning,
        .early_reuse = replay->plan->early_reuse,
    };
    struct staging_options steps = {
        .rt = replay->rt,
        .name = "steps",
        .buffer_bytes = REPLAY_STEP_BYTES,
        .buffers_min = STEP_BUFFERS_MIN,
        .buffers_max = sizes->steps_max,
        .progress = progress_pin,
        .progress_ctx = &replay->pinning,
        .early_reuse = replay->plan->early_reuse,
    };

    begin_pinning(replay, prompts.name);
    int err = replay->kind->create(&prompts, &replay->prompts);
    if (err < 0) return replay_fail(replay, "create the pool of prompt buffers", err);
    begin_pinning(replay, steps.name);
    err = replay->kind->create(&steps, &replay->steps);
    return err < 0 ? replay_fail(replay, "create the pool of step buffers", err) : 0;
}

static int create_pools(struct replay *replay, const struct weir_runtime_info *info,
                        const struct sizes *sizes)
{
    size_t bytes = sizes->prompt_bytes + PAGE_BYTES; /* the step's input lies behind the prompt */

    replay->prompt_bytes = sizes->prompt_bytes;
    int err =
        weir_pool_create(replay->rt,
                         WEIR_OPTS(pool, .name = "device", .buffer_bytes = bytes,
                                   .buffers_min = sizes->flights_max, .memory = WEIR_MEMORY_DEVICE),
                         &replay->device_memory);
    if (err < 0) return replay_fail(replay, "create the pool of device memory", err);
    if (!(info->flags & WEIR_INFO_DEVICE_IS_HOST)) {
        begin_pinning(replay, "echo");
        err = weir_pool_create(replay->rt,
                               WEIR_OPTS(pool, .name = "echo", .buffer_bytes = bytes,
                                         .buffers_min = sizes->flights_max,
                                         .progress = progress_pin,
                                         .progress_ctx = &replay->pinning),
                               &replay->echo_memory);
        if (err < 0) return replay_fail(replay, "create the pool of echo memory", err);
    }
    return create_staging(replay, sizes);
}

static int create_all(struct replay *replay, struct replay_result *result)
{
    struct sizes             sizes = sizes_of(replay->plan);
    struct weir_runtime_info info = {.struct_size = sizeof(info)};
    uint32_t events = (uint32_t)(sizes.prompts_max + sizes.steps_max) + 2 * replay->plan->threads;

    int err = weir_runtime_create(WEIR_OPTS(runtime, .backend = replay->plan->backend,
                                            .streams_compute = replay->plan->streams_compute,
                                            .streams_comm = replay->plan->streams_comm,
                                            .events_max = events),
                                  &replay->rt);
    if (err < 0) return replay_fail(replay, "open the device", err);
    err = weir_runtime_info_read(replay->rt, &info);
    if (err < 0) return replay_fail(replay, "ask about the device", err);
    memcpy(result->backend, info.backend, sizeof(result->backend));
    memcpy(result->device_name, info.device_name, sizeof(result->device_name));
    memcpy(result->model, info.model, sizeof(result->model));
    return create_pools(replay, &info, &sizes);
}

/* Accepts what is half built. */
static void destroy_all(struct replay *replay)
{
    if (replay->steps) replay->kind->destroy(replay->steps);
    if (replay->prompts) replay->kind->destroy(replay->prompts);
    weir_pool_destroy(replay->echo_memory);
    weir_pool_destroy(replay->device_memory);
    weir_runtime_destroy(replay->rt);
}

/* Merge one histogram of every worker; `offset` says which. */
static void merge_workers(const struct replay *replay, const struct worker *workers, size_t offset,
                          struct histogram *out)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < replay->plan->threads; i++)
        histogram_merge(out, (const void *)((const char *)&workers[i] + offset));
}

static uint64_t p99_ns(const struct histogram *histogram)
{
    struct quantiles quantiles;

    histogram_read(histogram, &quantiles);
    return quantiles.count ? quantiles.p99_ns : 0;
}

static uint32_t pressure_level(struct weir_runtime *rt)
{
    struct weir_pressure pressure = {.struct_size = sizeof(pressure)};

    return weir_pressure_read(rt, &pressure) < 0 ? 0 : pressure.level;
}

static uint64_t device_retiring(const struct replay *replay)
{
    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};

    return weir_pool_stats_read(replay->device_memory, &stats) < 0 ? 0 : stats.retiring;
}

/* before: what had been acquired at the sample before; becomes what has been acquired now. */
static void take_sample(struct replay *replay, const struct worker *workers,
                        struct histogram *before, struct replay_sample *out)
{
    struct staging_counts prompts, steps;
    struct histogram      now, since;

    merge_workers(replay, workers, offsetof(struct worker, acquire), &now);
    since = now;
    histogram_subtract(&since, before);
    *before = now;

    replay->kind->count(replay->prompts, &prompts);
    replay->kind->count(replay->steps, &steps);
    *out = (struct replay_sample){
        .at_ns = weir_clock_ns() - replay->start_ns,
        .requests = counter_read(&replay->requests),
        .in_flight = counter_read(&replay->in_flight),
        .prompt_total = prompts.total,
        .prompt_free = prompts.free,
        .prompt_retiring = prompts.retiring,
        .step_total = steps.total,
        .step_free = steps.free,
        .step_retiring = steps.retiring,
        .device_retiring = device_retiring(replay),
        .waits = prompts.waits + steps.waits,
        .acquire_p99_ns = p99_ns(&now),
        .acquire_interval_p99_ns = p99_ns(&since),
        .pressure_level = pressure_level(replay->rt),
    };
}

static void show_progress(const struct replay *replay, const struct replay_sample *sample,
                          struct progress *progress)
{
    const struct replay_plan *plan = replay->plan;
    struct progress_line      line = {
             .name = replay->kind->name,
             .done = sample->requests,
             .whole = plan->repeat ? 0 : plan->workload->count,
             .elapsed_ns = sample->at_ns,
             .limit_ns = plan->seconds_ns,
             .p99_ns = sample->acquire_p99_ns,
             .retiring = sample->prompt_retiring + sample->step_retiring,
    };

    progress_show(progress, &line);
}

/* Sample until the workers have issued everything. */
static void watch(struct replay *replay, const struct worker *workers, struct progress *progress,
                  struct replay_result *result)
{
    struct replay_sample sample;
    struct histogram     before = {{0}, 0};
    uint64_t             period_ns = SAMPLE_PERIOD_NS;
    uint64_t             next_ns = replay->start_ns;
    bool                 ended;

    do {
        next_ns += period_ns;
        ended = replay_workers_ended(replay, next_ns);
        take_sample(replay, workers, &before, &sample);
        uint64_t retiring = sample.prompt_retiring + sample.step_retiring;
        if (retiring > result->retiring_max) result->retiring_max = retiring;
        replay_series_add(&result->series, &sample, &period_ns);
        show_progress(replay, &sample, progress);
    } while (!ended);
}

/* Leases that have not come home in this pool of the driver's own, and whether its law is broken. */
static uint64_t pool_leaks(struct weir_pool *pool, uint64_t *lawless)
{
    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};

    if (!pool || weir_pool_stats_read(pool, &stats) < 0) return 0;
    if (stats.total != stats.leased + stats.free + stats.retiring + stats.quarantined) ++*lawless;
    return stats.leased + stats.retiring;
}

static uint64_t staging_leaks(const struct replay *replay, struct staging_pool *pool,
                              uint64_t *lawless)
{
    struct staging_counts counts;

    replay->kind->count(pool, &counts);
    if (counts.total != counts.free + counts.leased + counts.retiring + counts.quarantined)
        ++*lawless;
    return counts.leased + counts.retiring;
}

static uint64_t stream_and_event_leaks(struct weir_runtime *rt)
{
    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    uint64_t               leaks = 0;

    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_HIGH; class ++)
        if (weir_stream_stats_read(rt, class, &stats) == 0) leaks += stats.leased;
    if (weir_event_stats_read(rt, &stats) == 0) leaks += stats.leased;
    return leaks;
}

static uint64_t count_leaks(const struct replay *replay, uint64_t *lawless)
{
    *lawless = 0;
    return staging_leaks(replay, replay->prompts, lawless) +
           staging_leaks(replay, replay->steps, lawless) +
           pool_leaks(replay->device_memory, lawless) + pool_leaks(replay->echo_memory, lawless) +
           stream_and_event_leaks(replay->rt);
}

/*
 * Wait until all flights have landed and everything released has come home. What has not by the
 * deadline is lost: flights are failures, buffers are leaks.
 */
static void drain(struct replay *replay, struct replay_result *result)
{
    uint64_t        deadline_ns = weir_deadline_after_ns(DRAIN_NS);
    struct timespec pause = {.tv_nsec = DRAIN_LOOK_NS};

    int err = weir_runtime_sync(replay->rt, 0, deadline_ns);
    if (err < 0) replay_fail(replay, "wait for the device", err);
    /* order(landed): acquire; pairs with the release in flight_drop(). */
    while (__atomic_load_n(&replay->in_flight, __ATOMIC_ACQUIRE) && err == 0 &&
           weir_clock_ns() < deadline_ns)
        nanosleep(&pause, NULL);
    result->leaked = count_leaks(replay, &result->lawless);
    while ((result->leaked || result->lawless) && err == 0 && weir_clock_ns() < deadline_ns) {
        nanosleep(&pause, NULL);
        result->leaked = count_leaks(replay, &result->lawless);
    }
}

static void collect(struct replay *replay, const struct worker *workers,
                    struct replay_result *result)
{
    struct staging_counts prompts, steps;
    struct histogram      releases;

    for (uint32_t i = 0; i < replay->plan->threads; i++)
        result->bytes += counter_read(&workers[i].bytes);
    merge_workers(replay, workers, offsetof(struct worker, acquire), &result->acquires);
    histogram_read(&result->acquires, &result->acquire);
    merge_workers(replay, workers, offsetof(struct worker, release), &releases);
    histogram_read(&releases, &result->release);
    replay->kind->count(replay->prompts, &prompts);
    replay->kind->count(replay->steps, &steps);
    result->waits = prompts.waits + steps.waits;
    result->growths = prompts.growths + steps.growths;
    result->requests = counter_read(&replay->requests);
    result->failures = counter_read(&replay->failures) + counter_read(&replay->in_flight);
    result->corrupt_prompts = counter_read(&replay->corrupt_prompts);
    result->corrupt_steps = counter_read(&replay->corrupt_steps);
    uint64_t done_ns = counter_read(&replay->last_done_ns);
    result->wall_ns = done_ns > replay->start_ns ? done_ns - replay->start_ns : 0;
    histogram_read(&replay->latency, &result->latency);
    result->interrupted = replay_interrupted();
}

static int run(struct replay *replay, struct worker *workers, struct progress *progress,
               struct replay_result *result)
{
    replay->pinning.progress = progress;
    int err = create_all(replay, result);
    if (err < 0) return err;
    replay->start_ns = weir_clock_ns();
    if (replay_workers_start(replay, workers) < 0)
        return replay_fail(replay, "start the worker threads", WEIR_ENOMEM);
    watch(replay, workers, progress, result);
    replay_workers_join(replay, workers);
    drain(replay, result);
    collect(replay, workers, result);
    return 0;
}

static void init_lock(struct replay *replay)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&replay->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&replay->worker_ended, &attributes);
    pthread_condattr_destroy(&attributes);
}

int replay_run(const struct replay_plan *plan, const struct staging_kind *kind,
               struct progress *progress, struct replay_result *out)
{
    struct replay *replay = aligned_alloc(_Alignof(struct replay), sizeof(*replay));
    struct worker *workers =
        aligned_alloc(_Alignof(struct worker), plan->threads * sizeof(*workers));
    int err = WEIR_ENOMEM;

    memset(out, 0, sizeof(*out));
    out->kind = kind;
    if (!replay || !workers) goto free_memory;
    memset(replay, 0, sizeof(*replay));
    memset(workers, 0, plan->threads * sizeof(*workers));
    replay->plan = plan;
    replay->kind = kind;
    init_lock(replay);
    err = run(replay, workers, progress, out);
    progress_clear(progress);
    memcpy(out->first_failure, replay->first_failure, sizeof(out->first_failure));
    destroy_all(replay);
    pthread_cond_destroy(&replay->worker_ended);
    pthread_mutex_destroy(&replay->lock);
    /* A flight that never landed still points here, so then the memory is left to the end of the process. */
    if (counter_read(&replay->in_flight)) return err;
free_memory:
    if (err < 0)
        fprintf(stderr, "weir replay: %s: cannot %s\n", kind->name,
                out->first_failure[0] ? out->first_failure : "allocate memory");
    free(workers);
    free(replay);
    return err;
}
