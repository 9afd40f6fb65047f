/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.c - creating and destroying a runtime, its list of pools, and what a fork does to it */
#include "runtime/runtime.h"

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/log.h"
#include "base/options.h"
#include "base/settings.h"
#include "base/trace.h"
#include "pool/grow.h"
#include "pool/poll.h"
#include "pool/stream_class.h"
#include "pool/stream_issue.h"
#include "pool/watch.h"
#include "runtime/page.h"
#include "runtime/pressure.h"
#include "runtime/stats_fields.h"
#include "sync/thread.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- the process's runtimes ---- */

static pthread_mutex_t      registry = PTHREAD_MUTEX_INITIALIZER;
static struct weir_runtime *runtimes; /* live ones, for the fork handlers */
static struct weir_runtime *spares;   /* ended ones: a late release may still look at their context */
static struct weir_runtime *abandoned; /* ended ones with leases out, or whose device was lost */
static bool                 forks_watched;

/* The child's only thread gets its record before the fork: in the child there may be no memory to be had. */
static void before_fork(void)
{
    (void)wi_thread_self();
    pthread_mutex_lock(&registry);
    for (struct weir_runtime *rt = runtimes; rt; rt = rt->next) pthread_mutex_lock(&rt->pools_lock);
}

static void after_fork(void)
{
    for (struct weir_runtime *rt = runtimes; rt; rt = rt->next) pthread_mutex_unlock(&rt->pools_lock);
    pthread_mutex_unlock(&registry);
}

/* The gate stops every acquire and answers every release, so that a hit needs no check of its own. */
static void in_child(void)
{
    wi_process_forked();
    for (struct weir_runtime *rt = runtimes; rt; rt = rt->next) {
        for (struct weir_pool *pool = rt->pools; pool; pool = pool->next)
            wi_or(&pool->store.gate, WI_GATE_FORKED, relaxed);
        for (struct weir_pool *pool = rt->closing; pool; pool = pool->next)
            wi_or(&pool->store.gate, WI_GATE_FORKED, relaxed);
        wi_page_forked(rt);
    }
    after_fork();
}

/* Without it a child would not be told. Fails: NOMEM. */
static int watch_forks(void)
{
    int err = 0;
    pthread_mutex_lock(&registry);
    if (!forks_watched) err = pthread_atfork(before_fork, after_fork, in_child);
    forks_watched = err == 0;
    pthread_mutex_unlock(&registry);
    return err == 0 ? 0 : WI_FAIL(NOMEM, .call = "pthread_atfork", .sys_errno = err);
}

static struct weir_runtime *take_block(void)
{
    pthread_mutex_lock(&registry);
    struct weir_runtime *rt = spares;
    if (rt) spares = rt->next;
    pthread_mutex_unlock(&registry);
    if (rt) {
        memset(rt, 0, sizeof *rt);
        return rt;
    }
    return wi_calloc_aligned(_Alignof(struct weir_runtime), 1, sizeof *rt);
}

static void give_block(struct weir_runtime *rt)
{
    pthread_mutex_lock(&registry);
    rt->next = spares;
    spares = rt;
    pthread_mutex_unlock(&registry);
}

static void enlist(struct weir_runtime *rt)
{
    pthread_mutex_lock(&registry);
    rt->next = runtimes;
    runtimes = rt;
    pthread_mutex_unlock(&registry);
}

static void delist(struct weir_runtime *rt)
{
    pthread_mutex_lock(&registry);
    struct weir_runtime **link = &runtimes;
    while (*link && *link != rt) link = &(*link)->next;
    if (*link) *link = rt->next;
    pthread_mutex_unlock(&registry);
}

/* ---- create ---- */

static uint64_t half_of_memory(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) / 2 * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Explicit option, then environment, then default. */
static uint64_t choose(uint64_t option, uint64_t setting, uint64_t fallback)
{
    return option ? option : setting ? setting : fallback;
}

static void fill_defaults(struct weir_runtime_opts *opts, const struct weir_runtime_info *info)
{
    const struct wi_settings *settings = wi_settings();
    opts->pinned_bytes_max = choose(opts->pinned_bytes_max, settings->pinned_bytes_max, half_of_memory());
    opts->device_bytes_max = choose(opts->device_bytes_max, settings->device_bytes_max, info->device_bytes_total);
    opts->pageable_bytes_max = choose(opts->pageable_bytes_max, settings->pageable_bytes_max, half_of_memory());
    opts->drain_ns = choose(opts->drain_ns, settings->drain_ms * WI_NS_PER_MS, 5 * WI_NS_PER_S);
    opts->monitor_period_ns = choose(opts->monitor_period_ns, settings->monitor_ms * WI_NS_PER_MS, 200 * WI_NS_PER_MS);
    opts->streams_compute = (uint32_t)choose(opts->streams_compute, 0, 4);
    opts->streams_comm = (uint32_t)choose(opts->streams_comm, 0, 2);
    opts->streams_high = (uint32_t)choose(opts->streams_high, 0, 1);
    opts->events_max = (uint32_t)choose(opts->events_max, settings->events_max, 1024);
    opts->events_min = (uint32_t)choose(opts->events_min, 0, opts->events_max < 16 ? opts->events_max : 16);
    opts->stream_reuse = (uint32_t)choose(opts->stream_reuse, 0, WEIR_STREAM_DRAINED);
    opts->affinity = (uint32_t)choose(opts->affinity, 0, WEIR_AFFINITY_ON);
    opts->affinity_keys_max = (uint32_t)choose(opts->affinity_keys_max, 0, 1024);
    opts->streams_shared = (uint32_t)choose(opts->streams_shared, 0, 4);
    opts->streams_adopted_max = (uint32_t)choose(opts->streams_adopted_max, 0, 128);
    opts->events_adopted_max = (uint32_t)choose(opts->events_adopted_max, 0, 128);
    opts->priority_compute = (uint32_t)choose(opts->priority_compute, 0, WEIR_PRIORITY_NORMAL);
    opts->priority_comm = (uint32_t)choose(opts->priority_comm, 0, WEIR_PRIORITY_NORMAL);
    opts->priority_high = (uint32_t)choose(opts->priority_high, 0, WEIR_PRIORITY_HIGH);
    opts->stats_period_ms = (uint32_t)choose(opts->stats_period_ms, opts->monitor_period_ns / WI_NS_PER_MS, 1);
}

static int check_opts(const struct weir_runtime_opts *opts)
{
    uint64_t streams = (uint64_t)opts->streams_compute + opts->streams_comm + opts->streams_high +
                       (uint64_t)opts->streams_shared * WI_STREAM_CLASSES + opts->streams_adopted_max + 1;
    WI_ENSURE(streams <= WI_STREAMS_MAX, EXCEEDS, .limit = "streams of a runtime, one of its own included",
              .limit_value = WI_STREAMS_MAX, .wanted = streams, .setting = "fewer streams in weir_runtime_opts");
    WI_ENSURE(opts->stream_reuse <= WEIR_STREAM_OLDEST, INVAL, .detail = "stream_reuse is not one of enum weir_stream_reuse");
    WI_ENSURE(opts->affinity <= WEIR_AFFINITY_OFF, INVAL, .detail = "affinity is not one of enum weir_affinity");
    WI_ENSURE(opts->affinity_keys_max <= 1u << 24, EXCEEDS, .limit = "affinity_keys_max", .limit_value = 1u << 24,
              .wanted = opts->affinity_keys_max, .setting = "weir_runtime_opts.affinity_keys_max");
    WI_ENSURE(opts->events_min <= opts->events_max, INVAL, .limit = "events_max", .limit_value = opts->events_max,
              .wanted = opts->events_min, .setting = "weir_runtime_opts.events_max or WEIR_EVENTS_MAX",
              .detail = "events_min is above events_max");
    WI_ENSURE(opts->stats <= WEIR_STATS_SHM, INVAL, .detail = "stats is not one of enum weir_stats_page");
    WI_ENSURE(opts->priority_compute <= WEIR_PRIORITY_HIGH && opts->priority_comm <= WEIR_PRIORITY_HIGH &&
                  opts->priority_high <= WEIR_PRIORITY_HIGH,
              INVAL, .detail = "a priority is not one of enum weir_priority");
    return 0;
}

static int make_pools(struct weir_runtime *rt)
{
    const struct weir_runtime_opts *opts = &rt->opts;
    const uint32_t streams[] = {opts->streams_shared * WI_STREAM_CLASSES, opts->streams_compute,
                                opts->streams_comm, opts->streams_high, opts->streams_adopted_max};
    struct wi_stream_pool_opts pool = {.reuse = opts->stream_reuse,
                                       .affinity = opts->affinity,
                                       .affinity_keys_max = opts->affinity_keys_max,
                                       .priority = {0, opts->priority_compute, opts->priority_comm, opts->priority_high}};
    for (uint32_t class = WI_STREAMS_SHARED; class <= WEIR_STREAM_ADOPTED; class++) {
        pool.stream_class = class;
        pool.count = streams[class];
        WI_TRY(wi_stream_pool_make(rt, &pool, &rt->stream_pool[class]));
    }
    for (uint32_t flags = 0; flags <= WEIR_EVENT_TIMING; flags++)
        WI_TRY(wi_event_pool_make(rt, flags, opts->events_min, opts->events_max, &rt->event_pool[flags]));
    return wi_event_pool_make(rt, WI_EVENTS_ADOPTED, 0, opts->events_adopted_max, &rt->event_pool[WI_EVENTS_ADOPTED]);
}

/* A loss is found by whoever calls the device next, perhaps while the keeper sleeps: it must end the waits of others. */
static void tell_keeper(void *ctx)
{
    struct weir_runtime *rt = ctx;
    wi_kick(&rt->context.keeper);
}

int weir_runtime_create(const struct weir_runtime_opts *opts, struct weir_runtime **out)
{
    struct weir_runtime_opts filled;
    struct wi_device        *device;
    WI_UNCANCELLABLE;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_process_check());
    WI_TRY(wi_options_import(&filled, sizeof filled, opts, "weir_runtime_opts"));
    WI_ENSURE(filled.flags == 0, OPTS, .detail = "flags must be 0");
    WI_TRY(watch_forks());
    wi_watch_start();
    wi_nvtx_start();
    WI_TRY(wi_device_open(filled.backend, filled.device, &device));

    struct weir_runtime *rt = take_block();
    if (!rt) {
        device->ops->close(device);
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "a runtime");
    }
    rt->context.device = device;
    device->lost_fn = tell_keeper;
    device->lost_ctx = rt;
    rt->context.home = wi_pool_home;
    rt->info.struct_size = sizeof rt->info;
    device->ops->info(device, &rt->info);
    fill_defaults(&filled, &rt->info);
    int err = check_opts(&filled);
    if (err < 0) {
        device->ops->close(device);
        give_block(rt);
        return err;
    }
    rt->opts = filled;
    rt->opts.backend = rt->info.backend;
    rt->period_ns = filled.monitor_period_ns;
    rt->begin_ns = weir_clock_ns();
    wi_budget_init(&rt->context.pinned, "pinned_bytes_max", "WEIR_PINNED_BYTES_MAX", filled.pinned_bytes_max);
    wi_budget_init(&rt->context.device_memory, "device_bytes_max", "WEIR_DEVICE_BYTES_MAX", filled.device_bytes_max);
    wi_budget_init(&rt->context.pageable, "pageable_bytes_max", "WEIR_PAGEABLE_BYTES_MAX", filled.pageable_bytes_max);
    wi_slab_hooks_init(&rt->context.slab_hooks);
    pthread_mutex_init(&rt->context.stream_lock, NULL);
    pthread_mutex_init(&rt->context.mover_lock, NULL);
    pthread_mutex_init(&rt->context.poll_lock, NULL);
    wi_callbacks_init(&rt->context.callbacks);
    pthread_mutex_init(&rt->pools_lock, NULL);
    pthread_cond_init(&rt->pools_changed, NULL);
    pthread_mutex_init(&rt->allocations_lock, NULL);
    wi_pressure_init(rt);
    enlist(rt);

    err = make_pools(rt);
    if (err >= 0) wi_page_start(rt);
    if (err >= 0) err = wi_keeper_start(rt);
    if (err >= 0) err = wi_monitor_start(rt);
    if (err < 0) {
        weir_runtime_destroy(rt);
        return err;
    }
    *out = rt;
    return 0;
}

/* ---- the list of pools ---- */

void wi_runtime_add_pool(struct weir_runtime *rt, struct weir_pool *pool)
{
    pthread_mutex_lock(&rt->pools_lock);
    struct weir_pool **link = &rt->pools; /* at the end: stats list pools in the order of their making */
    pool->twin = 0;
    for (; *link; link = &(*link)->next) {
        const struct weir_pool *other = *link;
        uint32_t                number = other->twin ? other->twin : 1;
        if (other->kind == pool->kind && strcmp(other->name, pool->name) == 0 && number >= pool->twin)
            pool->twin = number + 1;
    }
    pool->next = NULL;
    pool->visits = 0;
    *link = pool;
    pthread_mutex_unlock(&rt->pools_lock);
}

void wi_runtime_remove_pool(struct weir_runtime *rt, struct weir_pool *pool)
{
    pthread_mutex_lock(&rt->pools_lock);
    while (pool->visits > 0) pthread_cond_wait(&rt->pools_changed, &rt->pools_lock);
    struct weir_pool **link = &rt->pools;
    while (*link && *link != pool) link = &(*link)->next;
    if (*link) *link = pool->next;
    pthread_mutex_unlock(&rt->pools_lock);
}

struct weir_pool *wi_runtime_visit(struct weir_runtime *rt, struct weir_pool *last)
{
    pthread_mutex_lock(&rt->pools_lock);
    struct weir_pool *pool = last ? last->next : rt->pools; /* `last` cannot have left the list */
    if (last && --last->visits == 0) pthread_cond_broadcast(&rt->pools_changed);
    if (pool) pool->visits++;
    pthread_mutex_unlock(&rt->pools_lock);
    return pool;
}

void wi_runtime_bury_pool(struct weir_runtime *rt, struct weir_pool *pool)
{
    if (wi_pool_collect(pool)) {
        wi_pool_recycle(pool);
        return;
    }
    pthread_mutex_lock(&rt->pools_lock);
    pool->next = rt->closing;
    rt->closing = pool;
    pthread_mutex_unlock(&rt->pools_lock);
    wi_kick(&rt->context.keeper);
    wi_kick(&rt->context.monitor); /* an object may have come home between the collect and the list */
}

uint32_t wi_runtime_period(const struct weir_runtime *rt, uint64_t now_ns)
{
    return (uint32_t)((now_ns - rt->begin_ns) / rt->period_ns);
}

uint64_t wi_runtime_period_start_ns(const struct weir_runtime *rt, uint32_t period)
{
    return rt->begin_ns + period * rt->period_ns;
}

struct weir_pool *wi_runtime_stream_pool(const struct weir_runtime *rt, uint32_t stream_class)
{
    return rt->stream_pool[stream_class];
}

struct weir_pool *wi_runtime_event_pool(const struct weir_runtime *rt, uint32_t flags)
{
    return rt->event_pool[flags];
}

/* ---- destroy ---- */

static void close_gates(struct weir_runtime *rt, uint32_t bits)
{
    pthread_mutex_lock(&rt->pools_lock);
    for (struct weir_pool *pool = rt->pools; pool; pool = pool->next) wi_store_shut(&pool->store, bits);
    for (struct weir_pool *pool = rt->closing; pool; pool = pool->next) wi_store_shut(&pool->store, bits);
    pthread_mutex_unlock(&rt->pools_lock);
}

static void drain(struct weir_runtime *rt)
{
    uint64_t deadline_ns = weir_deadline_after_ns(rt->opts.drain_ns);
    uint32_t streams = wi_load(&rt->context.streams, acquire);
    if (!rt->keeper_started) return; /* a create that failed: nothing was ever queued */
    for (uint32_t i = 0; i < streams; i++) {
        struct wi_stream *stream = wi_load(&rt->context.stream[i], acquire);
        int err = wi_stream_wait(stream, wi_stream_end_tick(stream), deadline_ns);
        if (err == WEIR_ETIMEDOUT)
            wi_log(WARN, "runtime", "stream %u still has work after drain_ns; its buffers stay mapped", stream->number);
    }
}

static void report_sites(const struct weir_pool *pool)
{
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        const struct wi_record *record = &pool->store.records[i];
        if (wi_word_state(wi_load(&record->word, relaxed)) != WI_LEASED) continue;
        wi_log(WARN, "runtime", "%s: lease of object %u was acquired at %p", pool->name, i, record->lease_site);
    }
}

/* Returns the number of leases that are still out. */
static size_t report_leaks(struct weir_pool *pools)
{
    size_t leases = 0;
    for (struct weir_pool *pool = pools; pool; pool = pool->next) {
        struct weir_pool_stats stats;
        wi_pool_read_stats(pool, &stats);
        leases += stats.leased;
        if (stats.leased == 0 && stats.retiring == 0) continue;
        wi_log(WARN, "runtime", "%s: %llu leases still out, %llu retiring; their memory stays mapped", pool->name,
               (unsigned long long)stats.leased, (unsigned long long)stats.retiring);
        if (wi_watching & WI_WATCH_SITES) report_sites(pool);
    }
    return leases;
}

/* Returns the pools that cannot be freed, because objects of theirs are still out. */
static struct weir_pool *free_pools(struct weir_pool *pools)
{
    struct weir_pool *kept = NULL;
    while (pools) {
        struct weir_pool *pool = pools;
        pools = pool->next;
        (void)wi_pool_close(pool);
        if (wi_pool_collect(pool)) {
            wi_pool_recycle(pool);
            continue;
        }
        wi_store_shut(&pool->store, WI_GATE_DEAD);
        pool->next = kept;
        kept = pool;
    }
    return kept;
}

static void end_streams(struct weir_runtime *rt)
{
    uint32_t streams = wi_load(&rt->context.streams, acquire);
    for (uint32_t i = 0; i < streams; i++) {
        struct wi_stream *stream = wi_load(&rt->context.stream[i], acquire);
        if (!wi_load(&stream->gone, relaxed)) wi_stream_end(stream);
    }
}

static void free_streams(struct weir_runtime *rt)
{
    uint32_t streams = wi_load(&rt->context.streams, acquire);
    for (uint32_t i = 0; i < streams; i++) {
        wi_stream_free(wi_load(&rt->context.stream[i], acquire));
        wi_store(&rt->context.stream[i], NULL, relaxed);
    }
}

/* The block, its streams, its device and the pools with objects out stay for good. In a list, so that they can be found. */
static void abandon(struct weir_runtime *rt)
{
    pthread_mutex_lock(&registry);
    rt->next = abandoned;
    abandoned = rt;
    pthread_mutex_unlock(&registry);
}

static size_t destroy(struct weir_runtime *rt)
{
    struct wi_device *device = rt->context.device;
    uint64_t          homed = 0;
    bool              whole = rt->keeper_started; /* else its create failed midway */
    WI_UNCANCELLABLE;
    wi_store(&rt->context.closed, 1, seq_cst);
    close_gates(rt, WI_GATE_CLOSED);
    drain(rt);
    wi_callbacks_stop(&rt->context.callbacks); /* what was waiting asynchronously has been told CLOSED */
    wi_helpers_stop(rt);
    wi_page_end(rt);
    wi_is_keeper = true; /* until the end of this function the caller is the keeper */
    (void)wi_keeper_round(rt, &homed);
    delist(rt);
    if (whole) wi_stats_at_exit(rt);

    size_t leases = report_leaks(rt->pools) + report_leaks(rt->closing);
    end_streams(rt);
    wi_store(&rt->context.closed, 2, seq_cst);
    wi_syncs_end(&rt->context);
    wi_poll_end(&rt->context, &rt->polls);
    struct weir_pool *kept = free_pools(rt->pools);
    struct weir_pool *kept_closing = free_pools(rt->closing);
    rt->pools = kept;
    rt->closing = kept_closing;
    (void)wi_slab_hooks_end(&rt->context.slab_hooks);
    size_t allocations = wi_allocations_end(rt);
    if (allocations > 0) wi_log(WARN, "runtime", "%zu device allocations were not freed", allocations);
    (void)wi_epoch_reclaim();
    wi_is_keeper = false;

    bool all_home = !kept && !kept_closing && wi_load(&rt->context.pinned.bytes, relaxed) == 0 &&
                    wi_load(&rt->context.pageable.bytes, relaxed) == 0;
    if (!all_home || wi_load(&device->lost, relaxed)) {
        abandon(rt);
        return leases;
    }
    free_streams(rt);
    wi_pressure_end(rt);
    device->ops->close(device);
    pthread_mutex_destroy(&rt->context.slab_hooks.lock);
    pthread_mutex_destroy(&rt->context.stream_lock);
    pthread_mutex_destroy(&rt->context.mover_lock);
    pthread_mutex_destroy(&rt->context.poll_lock);
    pthread_mutex_destroy(&rt->pools_lock);
    pthread_cond_destroy(&rt->pools_changed);
    pthread_mutex_destroy(&rt->allocations_lock);
    give_block(rt);
    return leases;
}

void weir_runtime_destroy(struct weir_runtime *rt)
{
    if (!rt || wi_process_check() < 0) return;
    (void)destroy(rt);
}

/* ---- the process-wide runtimes ---- */

#define DEFAULTS_MAX 64 /* devices */

static pthread_mutex_t      defaults_lock = PTHREAD_MUTEX_INITIALIZER;
static struct weir_runtime *defaults[DEFAULTS_MAX];

int weir_runtime_default(uint32_t device, struct weir_runtime **out)
{
    return weir_runtime_default_with(WEIR_OPTS(runtime, .device = device), out);
}

int weir_runtime_default_with(const struct weir_runtime_opts *opts, struct weir_runtime **out)
{
    struct weir_runtime_opts given;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_runtime_opts"));
    uint32_t device = given.device;
    WI_ENSURE(device < DEFAULTS_MAX, NOENT, .limit = "devices with a default runtime", .limit_value = DEFAULTS_MAX,
              .wanted = device);
    int err = 0;
    WI_UNCANCELLABLE; /* as the lock is held */
    pthread_mutex_lock(&defaults_lock);
    if (!defaults[device]) err = weir_runtime_create(&given, &defaults[device]);
    if (err >= 0) *out = defaults[device];
    pthread_mutex_unlock(&defaults_lock);
    return err;
}

int weir_runtime_reset(uint32_t device, uint64_t deadline_ns)
{
    WI_ENSURE(device < DEFAULTS_MAX, NOENT, .limit = "devices with a default runtime", .limit_value = DEFAULTS_MAX,
              .wanted = device);
    WI_TRY(wi_process_check());
    pthread_mutex_lock(&defaults_lock);
    struct weir_runtime *rt = defaults[device];
    defaults[device] = NULL;
    pthread_mutex_unlock(&defaults_lock);
    if (!rt) return 0;
    int synced = weir_runtime_sync(rt, 0, deadline_ns);
    int leases = (int)destroy(rt);
    return synced < 0 ? synced : leases;
}

int weir_runtime_info_read(const struct weir_runtime *rt, struct weir_runtime_info *out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    return wi_snapshot_export(out, &rt->info, sizeof rt->info);
}
