/* SPDX-License-Identifier: Apache-2.0 */
/* test_hazard.c - the default policy at work on small worlds */
#include "policy_world.h"
#include "tier/hazard.h"

#include <math.h>

#define S  WI_NS_PER_S
#define MS WI_NS_PER_MS

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static struct weir_policy_opts opts_of(size_t objects, size_t device, size_t pinned, double cost)
{
    return (struct weir_policy_opts){.struct_size = sizeof(struct weir_policy_opts),
                                     .objects_max = objects,
                                     .now_ns = 5 * S,
                                     .capacity = {device, pinned},
                                     .cost = {cost, cost}};
}

/* What a load of some seconds led to. */
struct served {
    size_t touches;
    size_t by_tier[WEIR_TIERS];
    size_t promotions;
};

static void touch_and_count(struct world *world, uint32_t object, struct served *served)
{
    served->touches++;
    served->by_tier[world->tier[object]]++;
    world_touch(world, object);
}

/* Eight of 64 hot objects at random, and 24 of 4000 others in turn, four times a second. */
static struct served scan_beside_a_hot_set(struct world *world, unsigned seconds)
{
    struct served served = {0};
    uint64_t      seed = 7;
    uint32_t      next = 0;
    size_t        before = world->promotions;
    world->period_ns = 250 * MS;
    for (unsigned i = 0; i < 4 * seconds; i++) {
        for (int k = 0; k < 8; k++) touch_and_count(world, next_random(&seed) >> 58, &served);
        for (int k = 0; k < 24; k++) touch_and_count(world, 64 + next++ % 4000, &served);
        world_period(world);
    }
    served.promotions = world->promotions - before;
    return served;
}

Test(hazard, a_scan_does_not_push_out_the_hot_set)
{
    double hits[2];
    for (int i = 0; i < 2; i++) {
        struct weir_policy_opts opts = opts_of(4064, 80, 0, 0.05);
        struct world           *world = world_create(i ? "lru" : "hazard", &opts);
        (void)scan_beside_a_hot_set(world, 120);
        struct served served = scan_beside_a_hot_set(world, 120);
        hits[i] = (double)served.by_tier[0] / (double)served.touches;
        if (i == 0) cr_assert_lt(served.promotions, served.touches / 5, "%zu", served.promotions);
        world_destroy(world);
    }
    cr_assert_gt(hits[0], 0.24, "a quarter of the touches are of hot objects: %g", hits[0]);
    cr_assert_lt(hits[1], 0.15, "recency loses them to the scan: %g", hits[1]);
}

Test(hazard, a_dear_promotion_is_made_less_often)
{
    size_t promotions[2];
    for (int i = 0; i < 2; i++) {
        struct weir_policy_opts opts = opts_of(2000, 100, 0, i ? 0.5 : -1);
        struct world           *world = world_create("hazard", &opts);
        uint64_t                seed = 9;
        for (int period = 0; period < 1200; period++) {
            /* The lower the number, the more often it is touched. */
            for (int k = 0; k < 20; k++) {
                double drawn = (double)(next_random(&seed) >> 11) / 9007199254740992.0;
                world_touch(world, (uint32_t)(2000 * pow(drawn, 3)));
            }
            world_period(world);
        }
        promotions[i] = world->promotions;
        world_destroy(world);
    }
    cr_assert_lt(promotions[1], promotions[0] * 3 / 4, "%zu, and %zu when free", promotions[1],
                 promotions[0]);
}

/* Two boundaries, one ranking: the hottest on the device, the next ones pinned. */
Test(hazard, three_tiers_hold_three_ranks)
{
    struct weir_policy_opts opts = opts_of(1200, 40, 160, 0.05);
    struct world           *world = world_create("hazard", &opts);
    for (int period = 0; period < 1200; period++) {
        /* Every 1 s, every 8 s, every 50 s. */
        for (uint32_t k = 0; k < 20; k++) world_touch(world, (uint32_t)(period * 20 + k) % 40);
        for (uint32_t k = 0; k < 10; k++) world_touch(world, 40 + (uint32_t)(period * 10 + k) % 160);
        for (uint32_t k = 0; k < 10; k++)
            world_touch(world, 200 + (uint32_t)(period * 10 + k) % 1000);
        world_period(world);
    }
    size_t hot = 0, warm = 0;
    for (uint32_t object = 0; object < 40; object++) hot += world->tier[object] == WEIR_TIER_DEVICE;
    for (uint32_t object = 40; object < 200; object++)
        warm += world->tier[object] == WEIR_TIER_PINNED;
    cr_assert_geq(hot, 38);
    cr_assert_geq(warm, 120, "%zu", warm);
    world_destroy(world);
}

Test(hazard, candidates_are_gathered_before_a_resident_leaves)
{
    struct weir_policy_opts opts = opts_of(100, 10, 0, 0.05);
    struct world           *world = world_create("hazard", &opts);
    world->period_ns = 100 * MS;
    for (uint32_t object = 0; object < 10; object++) world_touch(world, object);
    world_period(world);
    cr_assert_eq(world->used[0], 10);
    /* One object is touched every second for a minute, others hardly ever: it is worth a place. */
    for (int i = 0; i < 60; i++) {
        world_touch(world, 50);
        world_period(world);
        world_idle(world, 900 * MS);
    }
    cr_assert_eq(world->tier[50], WEIR_TIER_DEVICE);
    world_place(world, 50, WEIR_TIER_PAGEABLE, false);
    for (uint32_t object = 90; object < 91; object++)
        world_place(world, object, WEIR_TIER_DEVICE, false);
    world_touch(world, 50);
    world_period(world);
    size_t waited = 1;
    for (; world->tier[50] != WEIR_TIER_DEVICE && waited < 100; waited++) {
        world_touch(world, 50);
        world_period(world);
    }
    cr_assert_eq(waited, 20, "it was promoted after %zu periods of 0.1 s", waited);
    world_destroy(world);
}

Test(hazard, an_answer_of_limited_length_goes_on_in_the_next)
{
    struct weir_policy_opts opts = opts_of(100, 50, 0, 0.05);
    struct world           *world = world_create("hazard", &opts);
    world->moves_max = 12;
    for (uint32_t object = 0; object < 50; object++) world_touch(world, object);
    for (int i = 0; i < 8; i++) {
        size_t before = world->used[0];
        world_period(world);
        cr_assert(world->used[0] > before || before == 50);
    }
    cr_assert_eq(world->used[0], 50);
    world_destroy(world);
}

Test(hazard, a_failed_move_is_believed)
{
    struct weir_policy_opts opts = opts_of(20, 4, 0, 0.05);
    struct world           *world = world_create("hazard", &opts);
    world_touch(world, 3);
    world_period(world);
    cr_assert_eq(world->tier[3], WEIR_TIER_DEVICE);
    world_place(world, 3, WEIR_TIER_PAGEABLE, false); /* the copy failed */
    world_idle(world, 10 * S);
    cr_assert_eq(world->tier[3], WEIR_TIER_PAGEABLE, "nobody touched it since");
    world_touch(world, 3);
    world_period(world);
    cr_assert_eq(world->tier[3], WEIR_TIER_DEVICE);
    world_destroy(world);
}

Test(hazard, a_smaller_budget_drops_the_coldest)
{
    struct weir_policy_opts opts = opts_of(400, 100, 100, 0.05);
    struct world           *world = world_create("hazard", &opts);
    for (int i = 0; i < 240; i++) {
        for (uint32_t object = 0; object < 50; object++) world_touch(world, object);
        if (i % 20 == 0) {
            for (uint32_t object = 50; object < 100; object++) world_touch(world, object);
        }
        world_period(world);
    }
    cr_assert_eq(world->used[0], 100);
    world_resize(world, 50, 20);
    world_idle(world, 3 * S);
    cr_assert_eq(world->used[0], 50);
    for (uint32_t object = 0; object < 50; object++)
        cr_assert_eq(world->tier[object], WEIR_TIER_DEVICE, "the hot ones stay");
    cr_assert_eq(world->used[1], 20, "the next ones go to the next tier, as far as it reaches");
    world_destroy(world);
}

/*
 * Loads change. For ten minutes objects are touched again soon or never; then a working set is gone
 * through in turn, so that only age tells. The policy must not stay behind recency.
 */
Test(hazard, a_change_of_load_is_survived)
{
    size_t hits[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        struct weir_policy_opts opts = opts_of(3000, 300, 0, 0.05);
        struct world           *world = world_create(i ? "lru" : "hazard", &opts);
        uint64_t                seed = 21;
        for (int period = 0; period < 1200; period++) {
            for (int k = 0; k < 10; k++) world_touch(world, (uint32_t)(next_random(&seed) % 100));
            for (int k = 0; k < 3; k++)
                world_touch(world, 100 + (uint32_t)(next_random(&seed) % 1400));
            world_period(world);
        }
        struct served served = {0};
        for (int period = 0; period < 4800; period++) {
            uint32_t base = 1500 + (uint32_t)period / 600 * 150; /* a new set every five minutes */
            for (int k = 0; k < 10; k++)
                touch_and_count(world, base + (uint32_t)(next_random(&seed) % 250), &served);
            world_period(world);
        }
        hits[i] = served.by_tier[0];
        world_destroy(world);
    }
    cr_assert_gt((double)hits[0], 0.97 * (double)hits[1], "%zu hits, recency %zu", hits[0], hits[1]);
}

Test(hazard, the_length_of_the_period_makes_little_difference)
{
    double hits[2];
    for (int i = 0; i < 2; i++) {
        struct weir_policy_opts opts = opts_of(2000, 150, 0, 0.05);
        struct world           *world = world_create("hazard", &opts);
        struct served           served = {0};
        uint64_t                seed = 33;
        world->period_ns = i ? S : 100 * MS;
        for (unsigned tenth = 1; tenth <= 9000; tenth++) {
            double drawn = (double)(next_random(&seed) >> 11) / 9007199254740992.0;
            for (uint32_t k = 0; k < 4; k++)
                touch_and_count(world, 4 * (uint32_t)(500 * pow(drawn, 3)) + k, &served);
            if (i == 0 || tenth % 10 == 0) world_period(world);
        }
        hits[i] = (double)served.by_tier[0] / (double)served.touches;
        world_destroy(world);
    }
    cr_assert_float_eq(hits[0], hits[1], 0.02, "%g at 100 ms, %g at 1 s", hits[0], hits[1]);
    cr_assert_gt(hits[0], 0.3);
}

/* Quiet periods are counted late and together: each at the age that the object had in it. */
Test(hazard, quiet_periods_are_counted_at_their_ages)
{
    struct weir_policy_opts opts = opts_of(10, 2, 0, 0.05);
    struct world           *world = world_create("hazard", &opts);
    const struct wi_hazard *hazard = world->ctx;
    double                  expected[WI_HAZARD_BINS] = {0};
    world_touch(world, 4);
    world_period(world);
    world_idle(world, 100 * S);
    cr_assert_eq(hazard->quiet, 200, "at half a second each");
    world_touch(world, 5);
    world_period(world);
    cr_assert_eq(hazard->quiet, 0);
    double kept = exp2(-(double)hazard->model.fitted_at / WI_HAZARD_TICKS_PER_S / 1800);
    for (uint32_t period = 1; period <= 201; period++)
        expected[wi_hazard_bin(50 * period)] += 0.5 * kept;
    for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++)
        cr_assert_float_eq(hazard->model.exposure.at[0][bin], expected[bin], 1e-9, "bin %u: %g", bin,
                           hazard->model.exposure.at[0][bin]);
    world_destroy(world);
}

Test(hazard, periods_may_be_empty_short_or_long)
{
    struct weir_policy_opts opts = opts_of(50, 5, 5, 0.05);
    struct world           *world = world_create("hazard", &opts);
    static const uint64_t   lengths[] = {0, 1, MS, 10 * MS, S, 3600 * S, 86400 * S, 0};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < WI_ARRAY_COUNT(lengths); i++) {
            world->period_ns = lengths[i];
            for (uint32_t object = 0; object < 20; object++) world_touch(world, object);
            world_period(world);
        }
    }
    cr_assert_eq(world->used[0], 5);
    world_destroy(world);
}
