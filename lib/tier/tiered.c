/* SPDX-License-Identifier: Apache-2.0 */
/* tiered.c - tiered pools: making and ending them, and a policy period; see place.h for the protocol of moves */
#include "tier/place.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/options.h"
#include "base/trace.h"
#include "pool/watch.h"
#include "sync/reader.h"
#include "tier/copy.h"
#include "tier/policy.h"

#include <string.h>

#define BUFFERS_MAX         ((size_t)1 << WI_BLOCK_BITS)
#define NUMBERS_MAX         ((UINT64_C(1) << (64 - WI_PLACE_BITS)) - 1)
#define MOVES_MAX_DEFAULT   65536u
#define FLIGHT_DEFAULT      ((uint64_t)64 << 20)
#define SLACK_BLOCKS_MAX    4096
#define LIMBO_RETRY_NS      WI_NS_PER_MS

static _Atomic uint64_t numbers;

/* ---- arenas ---- */

static size_t slack_for(size_t blocks)
{
    size_t slack = blocks / 8 + 1;
    return slack < SLACK_BLOCKS_MAX ? slack : SLACK_BLOCKS_MAX;
}

static int make_arena(struct wi_tier *tier, uint32_t in, size_t blocks)
{
    static const uint32_t memory[] = {WEIR_MEMORY_DEVICE, WEIR_MEMORY_PINNED, WEIR_MEMORY_PAGEABLE};
    struct wi_context    *context = tier->context;
    struct wi_budget     *budget[] = {&context->device_memory, &context->pinned, &context->pageable};
    struct wi_arena      *arena = &tier->arena[in];
    if (blocks == 0) return 0;
    wi_store(&arena->limit, blocks, relaxed);
    size_t made = in == WEIR_TIER_PAGEABLE ? blocks : blocks + slack_for(blocks);
    struct wi_slab_opts opts = {.device = context->device, .budget = budget[in], .memory = memory[in],
                                .block_bytes = tier->opts.buffer_bytes, .blocks = made};
    WI_TRY(wi_slab_create(&opts, &arena->slab));
    WI_TRY(wi_slab_show(&context->slab_hooks, arena->slab, NULL));
    if (in == WEIR_TIER_PAGEABLE) return 0;
    arena->spare = wi_calloc(made, sizeof *arena->spare);
    arena->owner = wi_calloc(made, sizeof *arena->owner);
    if (!arena->spare || !arena->owner) return WI_FAIL(NOMEM, .call = "calloc", .detail = "the blocks of a tier");
    for (size_t i = 0; i < made; i++) {
        arena->spare[i] = (uint32_t)(made - 1 - i);
        arena->owner[i] = WI_NOBODY;
    }
    arena->spare_count = made;
    return 0;
}

static void free_tier(struct wi_tier *tier)
{
    if (!tier) return;
    wi_limbo_end(tier);
    wi_demands_end_locked(tier, WEIR_ECLOSED);
    if (!tier->adrift) wi_copies_free(tier);
    if (tier->policy.destroy && tier->policy_ctx) tier->policy.destroy(tier->policy_ctx);
    for (uint32_t in = 0; in < WEIR_TIERS; in++) {
        if (tier->adrift) {
            wi_slab_abandon(tier->arena[in].slab);
        } else {
            wi_slab_destroy(tier->arena[in].slab);
        }
        wi_free(tier->arena[in].spare);
        wi_free(tier->arena[in].owner);
    }
    if (!tier->adrift) wi_free(tier->place); /* quarantined records point there */
    wi_free(tier->touched);
    wi_free(tier->seen);
    wi_free(tier->touches);
    wi_free(tier->known);
    wi_free(tier->list);
    wi_free(tier->target);
    wi_free(tier->moves);
    wi_free(tier->next_released);
    wi_free(tier->released_word);
    pthread_mutex_destroy(&tier->lock);
    wi_free(tier);
}

static int make_tables(struct wi_tier *tier)
{
    size_t count = tier->opts.buffers_max;
    tier->place = wi_calloc_aligned(_Alignof(struct wi_place), count, sizeof *tier->place);
    tier->touched = wi_calloc(count, sizeof *tier->touched);
    tier->seen = wi_calloc(count, sizeof *tier->seen);
    tier->touches = wi_calloc(count, sizeof *tier->touches);
    tier->known = wi_calloc(count, sizeof *tier->known);
    tier->list = wi_calloc(count, sizeof *tier->list);
    tier->target = wi_calloc(count, sizeof *tier->target);
    tier->moves = wi_calloc(tier->opts.moves_max, sizeof *tier->moves);
    tier->next_released = wi_calloc(count, sizeof *tier->next_released);
    tier->released_word = wi_calloc(count, sizeof *tier->released_word);
    if (!tier->place || !tier->touched || !tier->seen || !tier->touches || !tier->known || !tier->list || !tier->target ||
        !tier->moves || !tier->next_released || !tier->released_word)
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "the tables of a tiered pool", .wanted = count);
    for (size_t i = 0; i < count; i++) {
        tier->place[i].index = (uint32_t)i;
        wi_store(&tier->place[i].word, wi_place_make(WEIR_TIER_PAGEABLE, (uint32_t)i), relaxed);
    }
    wi_store(&tier->stat.buffers[WEIR_TIER_PAGEABLE], count, relaxed);
    wi_store(&tier->period, 1, relaxed);
    return 0;
}

static int make_policy(struct wi_tier *tier)
{
    WI_TRY(wi_policy_import(tier->opts.policy, &tier->policy));
    struct weir_policy_opts opts = {
        .struct_size = sizeof opts,
        .objects_max = tier->opts.buffers_max,
        .now_ns = tier->now_ns,
        .capacity = {tier->opts.device_buffers, tier->opts.pinned_buffers},
        .cost = {tier->opts.cost_device, tier->opts.cost_pinned},
    };
    return tier->policy.create ? tier->policy.create(&opts, &tier->policy_ctx) : 0;
}

/* ---- what the pool asks of its tier ---- */

static int make_buffer(struct weir_pool *pool, struct wi_record *record)
{
    record->object = &pool->tier->place[record->index];
    record->face = (struct weir_buffer){.bytes = pool->tier->opts.buffer_bytes};
    return 0;
}

static void drop_buffer(struct weir_pool *pool, struct wi_record *record)
{
    (void)pool;
    record->object = NULL;
}

/* A release: its bytes are of no use any more. The next period puts the buffer home. */
static void on_release(struct weir_pool *pool, struct wi_record *record)
{
    struct wi_tier *tier = pool->tier;
    struct wi_place *place = record->object;
    uint32_t         mine = place->index + 1;
    for (unsigned i = 0; i < WI_WRITE_MARKS; i++) {
        if (wi_load(&place->write_mark[i], relaxed)) wi_store(&place->write_mark[i], 0, relaxed);
    }
    (void)wi_and(&place->flags, ~(uint32_t)(WI_PLACE_STAYS | WI_PLACE_MANY_WRITERS), relaxed);
    uint32_t none = 0;
    if (!wi_cas(&tier->next_released[place->index], &none, WI_NOBODY, acq_rel)) return; /* in the list still */
    tier->released_word[place->index] = wi_load(&place->word, acquire);
    uint32_t head = wi_load(&tier->released, relaxed);
    do {
        /* The end of the list is WI_NOBODY, so that 0 means "not in the list". */
        wi_store(&tier->next_released[place->index], head ? head : WI_NOBODY, relaxed);
        /* order(tier-released): release; pairs with the exchange in take_released(). */
    } while (!wi_cas(&tier->released, &head, mine, release));
}

static bool stays(const struct wi_record *record)
{
    const struct wi_place *place = record->object;
    return place && wi_load(&place->flags, relaxed) & WI_PLACE_STAYS;
}

/* ---- a period ---- */

static void tell_place(struct wi_tier *tier, uint32_t index)
{
    const struct wi_place   *place = &tier->place[index];
    struct weir_policy_place now = {
        .object = index,
        .tier = wi_place_tier(wi_load(&place->word, acquire)),
        .flags = wi_load(&place->flags, relaxed) & WI_PLACE_STAYS ? WEIR_PLACE_PINNED : 0,
    };
    tier->policy.place(tier->policy_ctx, &now);
    tier->known[index] = 1;
}

static void take_released(struct wi_tier *tier)
{
    uint32_t at = wi_exchange(&tier->released, 0, acquire); /* order(tier-released) */
    while (at && at != WI_NOBODY) {
        uint32_t index = at - 1;
        uint64_t word = tier->released_word[index];
        at = wi_load(&tier->next_released[index], relaxed);
        wi_store(&tier->next_released[index], 0, release);
        if (tier->known[index]) tier->policy.remove(tier->policy_ctx, index);
        tier->known[index] = 0;
        wi_store(&tier->touches[index], 0, relaxed);
        wi_mover_drop_locked(tier, index, word);
        if (wi_place_tier(wi_load(&tier->place[index].word, acquire)) != WEIR_TIER_PAGEABLE) tell_place(tier, index);
    }
}

/* Buffers touched since the last period, into tier->list. */
static size_t take_touched(struct wi_tier *tier)
{
    size_t   count = 0;
    uint32_t period = wi_load(&tier->period, relaxed);
    wi_store(&tier->period, period + 1 ? period + 1 : 1, relaxed);
    for (size_t i = 0; i < tier->opts.buffers_max; i++) {
        uint32_t touched = wi_load(&tier->touched[i], relaxed);
        if (WI_LIKELY(touched == tier->seen[i])) continue;
        tier->seen[i] = touched;
        wi_bump(&tier->touches[i], 1);
        if (!tier->known[i]) tell_place(tier, (uint32_t)i);
        tier->list[count++] = (uint32_t)i;
    }
    return count;
}

/* Room is made before it is used: what leaves a tier goes first. */
static unsigned phase_of(uint32_t from, uint32_t to)
{
    if (to == WEIR_TIER_PAGEABLE) return 0;
    if (to > from) return 1;
    return from == WEIR_TIER_PINNED ? 2 : 3;
}

/* A policy may send a buffer through several tiers in one answer: only where it ends up is of interest. */
static size_t final_moves(struct wi_tier *tier, const struct weir_policy_move *asked, size_t count,
                          struct wi_move *moves)
{
    size_t unique = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t index = asked[i].object;
        if (!tier->target[index]) moves[unique++].index = index;
        tier->target[index] = (uint8_t)(asked[i].to + 1);
    }
    for (size_t i = 0; i < unique; i++) {
        moves[i].to = tier->target[moves[i].index] - 1u;
        tier->target[moves[i].index] = 0;
        __builtin_prefetch((const void *)&tier->place[moves[i].index], 1); /* thousands: together, not one after the other */
    }
    return unique;
}

static void run_phases(struct wi_tier *tier, struct wi_move *moves, size_t count, struct wi_move *phase_moves)
{
    for (unsigned phase = 0; phase < 4; phase++) {
        size_t many = 0;
        for (size_t i = 0; i < count; i++) {
            if (moves[i].result != WEIR_EEXCEEDS) continue;
            uint32_t from = wi_place_tier(wi_load(&tier->place[moves[i].index].word, acquire));
            if (phase_of(from, moves[i].to) != phase) continue;
            phase_moves[many] = moves[i];
            phase_moves[many].source = i;
            many++;
        }
        wi_mover_run_locked(tier, phase_moves, many);
        for (size_t i = 0; i < many; i++) moves[phase_moves[i].source].result = phase_moves[i].result;
    }
}

static void make_moves(struct wi_tier *tier, const struct weir_policy_move *asked, size_t count)
{
    struct wi_move *moves = wi_calloc(2 * count, sizeof *moves);
    if (!moves) {
        for (size_t i = 0; i < count; i++) tell_place(tier, asked[i].object);
        return;
    }
    size_t unique = final_moves(tier, asked, count, moves);
    for (size_t i = 0; i < unique; i++) moves[i].result = WEIR_EEXCEEDS; /* not tried yet */
    /* Twice: two that change places across full tiers find room only when others have left. */
    for (unsigned pass = 0; pass < 2; pass++) run_phases(tier, moves, unique, moves + count);
    for (size_t i = 0; i < unique; i++) {
        if (moves[i].result < 0) tell_place(tier, moves[i].index);
    }
    wi_free(moves);
}

static void step_locked(struct wi_tier *tier, uint64_t now_ns)
{
    if (tier->stopped) return;
    take_released(tier);
    wi_limbo_settle_locked(tier);
    size_t count = take_touched(tier);
    tier->now_ns = now_ns;
    struct weir_policy_period period = {
        .struct_size = sizeof period,
        .now_ns = now_ns,
        .touched = tier->list,
        .touched_count = count,
        .moves_max = tier->opts.moves_max,
        .pressure = wi_load(&tier->context->pressure, relaxed),
    };
    size_t moves = tier->policy.period(tier->policy_ctx, &period, tier->moves);
    if (moves > 0) {
        WI_TRACE_RANGE_BEGIN("move", tier->pool->name);
        make_moves(tier, tier->moves, moves);
        WI_TRACE_RANGE_END();
    }
    wi_bump(&tier->stat.periods, 1);
}

static uint64_t tend(struct weir_pool *pool, uint64_t now_ns)
{
    struct wi_tier *tier = pool->tier;
    uint64_t        next_ns = WEIR_FOREVER;
    pthread_mutex_lock(&tier->lock);
    wi_demands_serve_locked(tier);
    if (!(tier->opts.flags & WEIR_TIER_MANUAL)) {
        if (now_ns >= tier->due_ns) {
            step_locked(tier, now_ns);
            tier->due_ns = now_ns + tier->opts.period_ns;
        }
        next_ns = tier->due_ns;
    }
    if (tier->limbo) wi_limbo_settle_locked(tier);
    if (tier->limbo && next_ns > now_ns + LIMBO_RETRY_NS) next_ns = now_ns + LIMBO_RETRY_NS;
    if (wi_load(&tier->demands, relaxed)) next_ns = now_ns + LIMBO_RETRY_NS;
    pthread_mutex_unlock(&tier->lock);
    return next_ns;
}

/* Nobody serves demands any more: who waits for a move is told. Also called again when the runtime ends. */
static void close_tier(struct weir_pool *pool)
{
    struct wi_tier *tier = pool->tier;
    if (!tier) return;
    /* order(tier-closed): seq_cst, before the inbox is emptied; pairs with the load in wi_demand_wait(). */
    wi_store(&tier->closed, 1, seq_cst);
    pthread_mutex_lock(&tier->lock);
    wi_demands_end_locked(tier, WEIR_ECLOSED);
    pthread_mutex_unlock(&tier->lock);
}

/* What the device may still touch stays for good: a quarantined buffer may live in any of the arenas. */
static bool is_in_use(const struct weir_pool *pool)
{
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        if (wi_word_state(wi_load(&pool->store.records[i].word, acquire)) == WI_QUARANTINED) return true;
    }
    return false;
}

static void end(struct weir_pool *pool)
{
    struct wi_tier *tier = pool->tier;
    if (is_in_use(pool)) tier->adrift = 1;
    /* Poison may be on its way still, and its source is about to be freed. */
    if (tier->copies && !tier->adrift && wi_copy_wait(tier) < 0) tier->adrift = 1;
    free_tier(tier);
    pool->tier = NULL;
}

/* ---- public ---- */

static int fill_defaults(struct weir_tier_opts *opts)
{
    if (!opts->buffer_bytes) opts->buffer_bytes = (size_t)64 << 10;
    if (!opts->buffers_max) opts->buffers_max = 1024;
    if (!opts->period_ns) opts->period_ns = 500 * WI_NS_PER_MS;
    if (!opts->bytes_in_flight) opts->bytes_in_flight = FLIGHT_DEFAULT;
    if (!opts->moves_max) opts->moves_max = MOVES_MAX_DEFAULT;
    WI_ENSURE(opts->flags <= (WEIR_TIER_MANUAL | WEIR_TIER_POISON), OPTS,
              .detail = "flags has a bit that this weir does not know");
    WI_ENSURE(opts->buffers_max < BUFFERS_MAX, EXCEEDS, .limit = "buffers of a tiered pool",
              .limit_value = BUFFERS_MAX - 1, .wanted = opts->buffers_max, .setting = "weir_tier_opts.buffers_max");
    const struct weir_tier_budget budget = {opts->device_buffers, opts->pinned_buffers, opts->device_bytes,
                                            opts->pinned_bytes,   opts->device_percent, opts->pinned_percent};
    size_t                        count[WEIR_BOUNDARIES];
    WI_TRY(wi_tier_budget_count(&budget, opts, count));
    opts->device_buffers = count[WEIR_TIER_DEVICE];
    opts->pinned_buffers = count[WEIR_TIER_PINNED];
    WI_ENSURE(opts->device_buffers <= opts->buffers_max, INVAL, .limit = "buffers_max",
              .limit_value = opts->buffers_max, .wanted = opts->device_buffers, .setting = "weir_tier_opts.device_buffers");
    WI_ENSURE(opts->pinned_buffers <= opts->buffers_max, INVAL, .limit = "buffers_max",
              .limit_value = opts->buffers_max, .wanted = opts->pinned_buffers, .setting = "weir_tier_opts.pinned_buffers");
    return 0;
}

static int make_tier(struct weir_runtime *rt, const struct weir_tier_opts *opts, struct wi_tier **out)
{
    struct wi_tier *tier = wi_calloc_aligned(_Alignof(struct wi_tier), 1, sizeof *tier);
    if (!tier) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a tiered pool");
    pthread_mutex_init(&tier->lock, NULL);
    tier->opts = *opts;
    tier->context = wi_context_of(rt);
    tier->name = (wi_add(&numbers, 1, relaxed) % NUMBERS_MAX + 1) << WI_PLACE_BITS;
    tier->now_ns = opts->flags & WEIR_TIER_MANUAL ? 0 : weir_clock_ns();
    tier->due_ns = tier->now_ns + opts->period_ns;
    int err = make_tables(tier);
    if (err >= 0) err = make_arena(tier, WEIR_TIER_PAGEABLE, opts->buffers_max);
    if (err >= 0) err = make_arena(tier, WEIR_TIER_PINNED, opts->pinned_buffers);
    if (err >= 0) err = make_arena(tier, WEIR_TIER_DEVICE, opts->device_buffers);
    if (err >= 0) err = make_policy(tier);
    if (err < 0) {
        free_tier(tier);
        return err;
    }
    *out = tier;
    return 0;
}

int weir_tier_create(struct weir_runtime *rt, const struct weir_tier_opts *opts, struct weir_pool **out)
{
    struct weir_tier_opts filled;
    struct wi_tier       *tier = NULL;
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_TRY(wi_process_check());
    WI_TRY(wi_options_import(&filled, sizeof filled, opts, "weir_tier_opts"));
    WI_TRY(fill_defaults(&filled));
    wi_reader_start();
    WI_TRY(make_tier(rt, &filled, &tier));

    struct weir_pool_opts pool = {.name = filled.name ? filled.name : "tiered",
                                  .buffer_bytes = filled.buffer_bytes,
                                  .buffers_min = filled.buffers_max,
                                  .buffers_max = filled.buffers_max,
                                  .memory = WEIR_MEMORY_PAGEABLE,
                                  .strategy = WEIR_STRATEGY_MOST_RECENT,
                                  .grow_factor_percent = 200};
    struct wi_pool_spec spec = {.rt = rt, .kind = WI_POOL_TIERED, .opts = &pool, .make = make_buffer, .drop = drop_buffer,
                                .hooks = {.released = on_release, .tend = tend, .close = close_tier, .end = end, .stays = stays}, .tier = tier};
    int err = wi_pool_make(&spec, out);
    if (err < 0) {
        free_tier(tier);
        return err;
    }
    tier->pool = *out;
    if (!(filled.flags & WEIR_TIER_MANUAL)) wi_kick(&tier->context->monitor);
    return 0;
}

static int check_tiered(struct weir_pool *pool)
{
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_TRY(wi_process_check());
    WI_ENSURE(pool->tier, KIND, .detail = "the pool is not tiered");
    return 0;
}

int weir_tier_step(struct weir_pool *pool, uint64_t now_ns)
{
    WI_TRY(check_tiered(pool));
    struct wi_tier *tier = pool->tier;
    WI_ENSURE(tier->opts.flags & WEIR_TIER_MANUAL, KIND, .detail = "the pool was not made with WEIR_TIER_MANUAL");
    pthread_mutex_lock(&tier->lock);
    int err = 0;
    if (now_ns < tier->now_ns) {
        err = WI_FAIL(INVAL, .detail = "the clock went back");
    } else {
        step_locked(tier, now_ns);
        if (tier->stopped) err = WI_FAIL_BLAMED(DEVICE, &tier->blame, .detail = "the device failed a move");
    }
    pthread_mutex_unlock(&tier->lock);
    return err;
}

int weir_tier_set_budget(struct weir_pool *pool, struct weir_tier_budget budget)
{
    WI_TRY(check_tiered(pool));
    struct wi_tier *tier = pool->tier;
    size_t          capacity[WEIR_BOUNDARIES];
    WI_TRY(wi_tier_budget_count(&budget, &tier->opts, capacity));
    WI_ENSURE(capacity[WEIR_TIER_DEVICE] <= tier->opts.device_buffers, EXCEEDS, .limit = "device_buffers",
              .limit_value = tier->opts.device_buffers, .wanted = capacity[WEIR_TIER_DEVICE],
              .setting = "weir_tier_opts.device_buffers");
    WI_ENSURE(capacity[WEIR_TIER_PINNED] <= tier->opts.pinned_buffers, EXCEEDS, .limit = "pinned_buffers",
              .limit_value = tier->opts.pinned_buffers, .wanted = capacity[WEIR_TIER_PINNED],
              .setting = "weir_tier_opts.pinned_buffers");
    pthread_mutex_lock(&tier->lock);
    for (int i = 0; i < WEIR_BOUNDARIES; i++) wi_store(&tier->arena[i].limit, capacity[i], relaxed);
    tier->policy.resize(tier->policy_ctx, capacity);
    pthread_mutex_unlock(&tier->lock);
    return 0;
}

int weir_tier_stats_read(struct weir_pool *pool, struct weir_tier_stats *out)
{
    WI_TRY(check_tiered(pool));
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    struct wi_tier        *tier = pool->tier;
    struct weir_tier_stats stats = {
        .buffers_device = wi_load(&tier->stat.buffers[WEIR_TIER_DEVICE], relaxed),
        .buffers_pinned = wi_load(&tier->stat.buffers[WEIR_TIER_PINNED], relaxed),
        .buffers_pageable = wi_load(&tier->stat.buffers[WEIR_TIER_PAGEABLE], relaxed),
        .budget_device = wi_load(&tier->arena[WEIR_TIER_DEVICE].limit, relaxed),
        .budget_pinned = wi_load(&tier->arena[WEIR_TIER_PINNED].limit, relaxed),
        .periods = wi_load(&tier->stat.periods, relaxed),
        .promotions_device = wi_load(&tier->stat.promotions_device, relaxed),
        .promotions_pinned = wi_load(&tier->stat.promotions_pinned, relaxed),
        .demotions = wi_load(&tier->stat.demotions, relaxed),
        .demotions_clean = wi_load(&tier->stat.demotions_clean, relaxed),
        .moves_dropped = wi_load(&tier->stat.moves_dropped, relaxed),
        .demands = wi_load(&tier->stat.demands, relaxed),
        .bytes_moved = wi_load(&tier->stat.bytes_moved, relaxed),
        .limbo = wi_load(&tier->stat.limbo, relaxed),
    };
    return wi_snapshot_export(out, &stats, sizeof stats);
}
