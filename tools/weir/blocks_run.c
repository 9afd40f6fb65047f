/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_run.c - playing a trace of block accesses through a real tiered pool
 *
 * The trace's own clock drives the policy: the accesses of one period are played by all threads, then they stop, the
 * period's moves are made and have landed, and the next period begins. Where a block is does not change within a
 * period, so the result does not depend on the number of threads.
 *
 * Every block carries stamps; each access checks them where it finds the block, and every block that was moved is checked
 * right after. Memory that a move leaves behind is poisoned, so a stale place would be seen.
 */
#include "blocks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/weir.h>

#include "counter.h"
#include "format.h"
#include "progress.h"

#define NS_PER_S    UINT64_C(1000000000)
#define STAMP_EVERY 64 /* words between stamps: 512 bytes */
#define SLICE_MIN   256 /* accesses that are worth waking the other threads for */

struct tally {
    uint64_t tier[WEIR_TIERS]; /* re-accesses, by where they found the block */
    uint64_t corrupt;
} __attribute__((aligned(128)));

struct player {
    const struct blocks_options *options;
    const struct block_trace    *trace;
    struct weir_runtime         *rt;
    struct weir_pool            *pool;
    struct weir_buffer         **block; /* by object; NULL: not touched yet */
    uint64_t                     first_id; /* of the pool's buffers: id - first_id is the policy's object number */

    /* Accesses that the threads play now. */
    pthread_barrier_t begin, end;
    size_t            from, to;
    bool              stop;
    struct tally     *tally;

    /* What the policy answered in this period. */
    const struct weir_policy *inner;
    uint32_t                 *moved;
    size_t                    moved_count, moved_capacity;
};

static struct player *the_player; /* the logging policy has no other way to its owner */

/* ---- the policy, with its answers noted ---- */

static int log_create(const struct weir_policy_opts *opts, void **out_ctx)
{
    return the_player->inner->create ? the_player->inner->create(opts, out_ctx) : 0;
}

static void log_destroy(void *ctx)
{
    if (the_player->inner->destroy) the_player->inner->destroy(ctx);
}

static void log_place(void *ctx, const struct weir_policy_place *place)
{
    the_player->inner->place(ctx, place);
}

static void log_remove(void *ctx, uint32_t object)
{
    the_player->inner->remove(ctx, object);
}

static void log_resize(void *ctx, const size_t capacity[WEIR_BOUNDARIES])
{
    the_player->inner->resize(ctx, capacity);
}

static size_t log_period(void *ctx, const struct weir_policy_period *period, struct weir_policy_move *moves)
{
    size_t count = the_player->inner->period(ctx, period, moves);
    if (count > the_player->moved_capacity) {
        uint32_t *moved = realloc(the_player->moved, count * sizeof *moved);
        if (moved) {
            the_player->moved = moved;
            the_player->moved_capacity = count;
        }
    }
    the_player->moved_count = count < the_player->moved_capacity ? count : the_player->moved_capacity;
    for (size_t i = 0; i < the_player->moved_count; i++) the_player->moved[i] = moves[i].object;
    return count;
}

/* ---- one access ---- */

static uint64_t stamp_of(uint32_t object, size_t word)
{
    return (object + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ word;
}

static int complain(const char *what)
{
    char text[512];
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "weir replay: %s: %s\n", what, text);
    return -1;
}

static bool stamps_hold(const struct weir_view *view, uint32_t object)
{
    const uint64_t *words = view->host ? view->host : (const void *)(uintptr_t)view->device;
    size_t          count = view->bytes / sizeof *words;
    bool            hold = words[count - 1] == stamp_of(object, count - 1);
    for (size_t i = 0; i < count; i += STAMP_EVERY) hold &= words[i] == stamp_of(object, i);
    return hold;
}

/* Returns the tier where the block was, or -1. */
static int look_at(struct player *player, uint32_t object, uint64_t *corrupt)
{
    struct weir_view view;
    if (weir_buffer_borrow(player->block[object], WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view) < 0)
        return complain("borrow");
    *corrupt += !stamps_hold(&view, object);
    int tier = (int)view.tier;
    if (weir_view_return(&view) < 0) return complain("return");
    return tier;
}

/* A first access: the block is made, in the lowest tier. */
static int make_block(struct player *player, uint32_t object)
{
    struct weir_view view;
    if (weir_buffer_acquire(player->pool, WEIR_NOW, &player->block[object]) < 0) return complain("acquire");
    if (weir_buffer_borrow(player->block[object], WEIR_WHERE_HOST, WEIR_WRITE, NULL, WEIR_NOW, &view) < 0)
        return complain("borrow");
    uint64_t *words = view.host;
    for (size_t i = 0; i < view.bytes / sizeof *words; i++) words[i] = stamp_of(object, i);
    return weir_view_return(&view) < 0 ? complain("return") : 0;
}

static void play_slice(struct player *player, unsigned thread)
{
    struct tally *tally = &player->tally[thread];
    size_t        count = player->to - player->from;
    size_t        from = player->from + count * thread / player->options->threads;
    size_t        to = player->from + count * (thread + 1) / player->options->threads;
    for (size_t i = from; i < to; i++) {
        uint32_t object = player->trace->access[i].object & ~(UINT32_C(1) << 31);
        bool     first = player->trace->access[i].object >> 31;
        int      tier = look_at(player, object, &tally->corrupt);
        if (tier >= 0 && !first) tally->tier[tier]++;
        tally->corrupt += tier < 0;
    }
}

struct hand {
    struct player *player;
    unsigned       thread;
};

static void *play(void *arg)
{
    struct hand *hand = arg;
    while (true) {
        pthread_barrier_wait(&hand->player->begin);
        if (hand->player->stop) return NULL;
        play_slice(hand->player, hand->thread);
        pthread_barrier_wait(&hand->player->end);
    }
}

/* ---- periods ---- */

static int play_period(struct player *player, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct block_access *access = &player->trace->access[i];
        if (player->block[access->object]) continue;
        if (make_block(player, access->object) < 0) return -1;
        access->object |= UINT32_C(1) << 31; /* a first touch, which no policy can serve */
    }
    player->from = from;
    player->to = to;
    if (to - from < SLICE_MIN || player->options->threads == 1) {
        for (unsigned i = 0; i < player->options->threads; i++) play_slice(player, i);
        return 0;
    }
    pthread_barrier_wait(&player->begin);
    play_slice(player, 0);
    pthread_barrier_wait(&player->end);
    return 0;
}

/* id of a buffer to object of the trace: buffers are acquired in the order of first access. */
static int check_moved(struct player *player, const uint32_t *object_of, uint64_t *checked, uint64_t *corrupt)
{
    for (size_t i = 0; i < player->moved_count; i++) {
        uint32_t object = object_of[player->moved[i]];
        if (object == UINT32_MAX) continue;
        struct weir_view view;
        /* The policy must not take the check for a touch. */
        if (weir_buffer_borrow(player->block[object], WEIR_WHERE_ANY, WEIR_READ | WEIR_PEEK, NULL, WEIR_NOW, &view) < 0)
            return complain("borrow");
        *corrupt += !stamps_hold(&view, object);
        *checked += 1;
        if (weir_view_return(&view) < 0) return complain("return");
    }
    player->moved_count = 0;
    return 0;
}

static double seconds_since(uint64_t begin_ns)
{
    return (double)(weir_clock_ns() - begin_ns) / (double)NS_PER_S;
}

static void show(struct progress *progress, const struct player *player, size_t done, uint64_t begin_ns)
{
    static uint64_t shown_ns;
    uint64_t        now_ns = weir_clock_ns();
    if (!progress->live || now_ns - shown_ns < NS_PER_S / 10) return;
    shown_ns = now_ns;
    struct weir_tier_stats stats = {.struct_size = sizeof stats};
    if (weir_tier_stats_read(player->pool, &stats) < 0) return;
    double share = (double)done / (double)player->trace->count;
    double spent = seconds_since(begin_ns);
    char   bar[PROGRESS_BAR_BYTES];
    fprintf(progress->out, "\r\033[K%s %3.0f %%, %.0f s left; device %llu, pinned %llu, pageable %llu; %llu up, %llu down",
            progress_bar(share, bar), share * 100, share > 0 ? spent / share - spent : 0.0, (unsigned long long)stats.buffers_device,
            (unsigned long long)stats.buffers_pinned, (unsigned long long)stats.buffers_pageable,
            (unsigned long long)(stats.promotions_device + stats.promotions_pinned), (unsigned long long)stats.demotions);
    fflush(progress->out);
    progress->shown = true;
}

static void note(struct player *player, uint64_t at_ns, struct block_series *series)
{
    uint64_t served[WEIR_TIERS] = {0};
    for (unsigned i = 0; i < player->options->threads; i++)
        for (int tier = 0; tier < WEIR_TIERS; tier++) served[tier] += player->tally[i].tier[tier];
    block_series_add(series, at_ns, served, player->rt, player->pool);
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec at = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0) {}
}

static int play_all(struct player *player, struct blocks_result *result)
{
    const struct block_trace *trace = player->trace;
    uint64_t                  period_ns = (uint64_t)(player->options->period_s * (double)NS_PER_S);
    uint64_t                  begin_ns = weir_clock_ns();
    uint32_t                 *object_of = malloc(trace->objects * sizeof *object_of);
    struct progress           progress;
    int                       err = object_of ? 0 : -1;
    size_t                    known = 0;
    if (!object_of) return -1;
    memset(object_of, 0xff, trace->objects * sizeof *object_of);
    progress_init(&progress, stderr);
    /* Periods without accesses are run as well: a monitor does not know that nothing will come. */
    uint64_t end_ns = period_ns;
    for (size_t from = 0; err == 0 && from < trace->count; end_ns += period_ns) {
        size_t to = from;
        while (to < trace->count && trace->access[to].at_ns < end_ns) to++;
        if (to > from) err = play_period(player, from, to);
        for (; known < trace->objects && player->block[known]; known++) {
            struct weir_buffer_info info = {.struct_size = sizeof info};
            if (weir_buffer_info_read(player->block[known], &info) < 0) err = complain("info");
            if (known == 0 || info.id < player->first_id) player->first_id = info.id;
            if (info.id - player->first_id < trace->objects) object_of[info.id - player->first_id] = (uint32_t)known;
        }
        if (err == 0 && player->options->wall) {
            sleep_until(begin_ns + (uint64_t)((double)end_ns / player->options->speedup));
        } else if (err == 0) {
            if (weir_tier_step(player->pool, end_ns) < 0) err = complain("step");
            if (err == 0) err = check_moved(player, object_of, &result->checked_moves, &result->corrupt);
        }
        from = to;
        note(player, end_ns, &result->series);
        show(&progress, player, from, begin_ns);
    }
    progress_clear(&progress);
    result->wall_s = seconds_since(begin_ns);
    free(object_of);
    return err;
}

static void take_stats(struct player *player, struct blocks_result *result)
{
    struct weir_tier_stats stats = {.struct_size = sizeof stats};
    if (weir_tier_stats_read(player->pool, &stats) < 0) return;
    result->promotions = stats.promotions_device;
    result->promotions_pinned = stats.promotions_pinned;
    result->demotions = stats.demotions;
    result->demotions_clean = stats.demotions_clean;
    result->moves_dropped = stats.moves_dropped;
    result->bytes_moved = stats.bytes_moved;
    result->periods = stats.periods;
    for (unsigned i = 0; i < player->options->threads; i++) {
        result->hits += player->tally[i].tier[WEIR_TIER_DEVICE];
        result->pinned_hits += player->tally[i].tier[WEIR_TIER_PINNED];
        result->pageable_hits += player->tally[i].tier[WEIR_TIER_PAGEABLE];
        result->corrupt += player->tally[i].corrupt;
    }
}

/* ---- the run ---- */

static int open_pool(struct player *player, struct blocks_result *result)
{
    static struct weir_policy     logging;
    const struct blocks_options  *options = player->options;
    struct weir_runtime_info      info = {.struct_size = sizeof info};
    size_t                        objects = player->trace->objects;
    result->budget_objects = (size_t)(options->budget * (double)objects);
    result->pinned_objects = (size_t)(options->pinned_budget * (double)objects);
    if (result->budget_objects < 1) {
        fprintf(stderr, "weir replay: a budget of %g of %zu objects is less than one object\n", options->budget, objects);
        return -1;
    }
    if (weir_policy_find(options->policy, &player->inner) < 0) return complain("policy");
    logging = (struct weir_policy){.struct_size = sizeof logging, .name = player->inner->name, .create = log_create,
                                   .destroy = log_destroy, .place = log_place, .remove = log_remove,
                                   .resize = log_resize, .period = log_period};
    if (weir_runtime_create(WEIR_OPTS(runtime, .backend = options->backend), &player->rt) < 0) return complain("runtime");
    (void)weir_runtime_info_read(player->rt, &info);
    snprintf(result->backend, sizeof result->backend, "%s", info.backend);
    snprintf(result->model, sizeof result->model, "%s", info.model);
    if (!(info.flags & WEIR_INFO_DEVICE_IS_HOST)) {
        fprintf(stderr, "weir replay: --blocks checks stamps in device memory, which the %s backend does not show\n", info.backend);
        return -1;
    }
    uint64_t period_ns = (uint64_t)(options->period_s / (options->wall ? options->speedup : 1) * (double)NS_PER_S);
    if (weir_tier_create(player->rt, WEIR_OPTS(tier, .name = "blocks", .buffer_bytes = options->block_bytes,
                                               .buffers_max = objects, .device_buffers = result->budget_objects,
                                               .pinned_buffers = result->pinned_objects, .cost_device = options->cost,
                                               .cost_pinned = options->cost, .policy = &logging, .period_ns = period_ns,
                                               .flags = WEIR_TIER_POISON | (options->wall ? 0 : WEIR_TIER_MANUAL)),
                         &player->pool) < 0)
        return complain("tiered pool");
    return 0;
}

static void close_pool(struct player *player, struct blocks_result *result)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    for (size_t i = 0; player->pool && i < player->trace->objects; i++) {
        if (player->block[i]) (void)weir_buffer_release(player->block[i]);
    }
    if (player->pool && weir_pool_stats_read(player->pool, &stats) == 0) result->leaked = stats.leased + stats.retiring;
    weir_pool_destroy(player->pool);
    weir_runtime_destroy(player->rt);
}

int blocks_run(const struct blocks_options *options, const struct block_trace *trace, struct blocks_result *out)
{
    struct player player = {.options = options, .trace = trace};
    pthread_t     thread[options->threads];
    struct hand   hand[options->threads];
    memset(out, 0, sizeof *out);
    out->accesses = trace->count;
    out->objects = trace->objects;
    the_player = &player;
    player.block = calloc(trace->objects, sizeof *player.block);
    player.tally = aligned_alloc(_Alignof(struct tally), options->threads * sizeof *player.tally);
    int err = player.block && player.tally ? open_pool(&player, out) : -1;
    if (err == 0) {
        memset(player.tally, 0, options->threads * sizeof *player.tally);
        pthread_barrier_init(&player.begin, NULL, options->threads);
        pthread_barrier_init(&player.end, NULL, options->threads);
        unsigned started = 1;
        for (; started < options->threads; started++) {
            hand[started] = (struct hand){&player, started};
            if (pthread_create(&thread[started], NULL, play, &hand[started]) != 0) break;
        }
        if (started < options->threads) {
            fprintf(stderr, "weir replay: only %u of %u threads could be started\n", started, options->threads);
            exit(2); /* the barriers wait for all of them */
        }
        err = play_all(&player, out);
        player.stop = true;
        if (options->threads > 1) pthread_barrier_wait(&player.begin);
        for (unsigned i = 1; i < options->threads; i++) pthread_join(thread[i], NULL);
        take_stats(&player, out);
    }
    close_pool(&player, out);
    free(player.block);
    free(player.tally);
    free(player.moved);
    return err;
}
