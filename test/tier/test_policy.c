/* SPDX-License-Identifier: Apache-2.0 */
/* test_policy.c - what every policy of weir owes, and taking in a user's */
#include "policy_world.h"

#include "base/alloc.h"

#include <criterion/parameterized.h>
#include <math.h>
#include <string.h>

#define S WI_NS_PER_S

Test(policy, found_by_name)
{
    static const char *const   names[] = {"hazard", "lru", "static"};
    const struct weir_policy *policy = NULL;
    for (size_t i = 0; i < WI_ARRAY_COUNT(names); i++) {
        cr_assert_eq(weir_policy_find(names[i], &policy), 0);
        cr_assert_str_eq(policy->name, names[i]);
    }
    const struct weir_policy *before = policy;
    cr_assert_eq(weir_policy_find("random", &policy), WEIR_ENOENT);
    cr_assert_eq(weir_policy_find(NULL, &policy), WEIR_EINVAL);
    cr_assert_eq(weir_policy_find("lru", NULL), WEIR_EINVAL);
    cr_assert_eq(policy, before, "an output is written only on success");
}

static void place(void *ctx, const struct weir_policy_place *where)
{
    (void)ctx, (void)where;
}

static void forget(void *ctx, uint32_t object)
{
    (void)ctx, (void)object;
}

static void resize(void *ctx, const size_t capacity[WEIR_BOUNDARIES])
{
    (void)ctx, (void)capacity;
}

static size_t period(void *ctx, const struct weir_policy_period *now, struct weir_policy_move *moves)
{
    (void)ctx, (void)now, (void)moves;
    return 0;
}

Test(policy, a_users_policy_is_taken_in)
{
    const struct weir_policy whole = {.struct_size = sizeof whole, .name = "mine", .place = place,
                                      .remove = forget, .resize = resize, .period = period};
    struct weir_policy       copy, broken;
    struct weir_policy_opts  opts = {.struct_size = sizeof opts, .objects_max = 1};
    void                    *ctx = &copy;
    cr_assert_eq(wi_policy_import(&whole, &copy), 0);
    cr_assert_eq(copy.period, period);
    cr_assert_eq(copy.create(&opts, &ctx), 0, "create may be left out");
    cr_assert_null(ctx);
    copy.destroy(ctx);

    cr_assert_eq(wi_policy_import(NULL, &copy), 0);
    cr_assert_str_eq(copy.name, "hazard");

    broken = whole, broken.name = NULL;
    cr_assert_eq(wi_policy_import(&broken, &copy), WEIR_EINVAL);
    broken = whole, broken.place = NULL;
    cr_assert_eq(wi_policy_import(&broken, &copy), WEIR_EINVAL);
    broken = whole, broken.remove = NULL;
    cr_assert_eq(wi_policy_import(&broken, &copy), WEIR_EINVAL);
    broken = whole, broken.resize = NULL;
    cr_assert_eq(wi_policy_import(&broken, &copy), WEIR_EINVAL);
    broken = whole, broken.period = NULL;
    cr_assert_eq(wi_policy_import(&broken, &copy), WEIR_EINVAL);
    broken = whole, broken.struct_size = 0;
    cr_assert_eq(wi_policy_import(&broken, &copy), WEIR_EINVAL);
    broken = whole, broken.struct_size = offsetof(struct weir_policy, period);
    cr_assert_eq(wi_policy_import(&broken, &copy), WEIR_EINVAL, "too old to have a period");
    cr_assert_str_eq(copy.name, "hazard", "an output is written only on success");
}

Test(policy, options_are_read_with_their_defaults)
{
    struct weir_policy_opts given = {.struct_size = sizeof given, .objects_max = 5, .cost = {0, -1}};
    struct weir_policy_opts read = {.objects_max = 77};
    cr_assert_eq(wi_policy_opts_import(&given, &read), 0);
    cr_assert_eq(read.objects_max, 5);
    cr_assert_eq(read.cost[0], WI_POLICY_COST_DEFAULT);
    cr_assert_eq(read.cost[1], 0.0, "a negative cost is free");
    given.cost[0] = 0.2;
    cr_assert_eq(wi_policy_opts_import(&given, &read), 0);
    cr_assert_eq(read.cost[0], 0.2);
    given.cost[0] = NAN;
    cr_assert_eq(wi_policy_opts_import(&given, &read), WEIR_EINVAL);
    given.cost[0] = INFINITY;
    cr_assert_eq(wi_policy_opts_import(&given, &read), WEIR_EINVAL);
    given.cost[0] = 0;
    given.objects_max = 0;
    cr_assert_eq(wi_policy_opts_import(&given, &read), WEIR_EINVAL);
    given.objects_max = (size_t)UINT32_MAX;
    cr_assert_eq(wi_policy_opts_import(&given, &read), WEIR_EINVAL);
    cr_assert_eq(read.objects_max, 5);
}

static struct weir_policy_opts small_opts(size_t objects, size_t device, size_t pinned)
{
    return (struct weir_policy_opts){.struct_size = sizeof(struct weir_policy_opts),
                                     .objects_max = objects,
                                     .now_ns = 17 * S,
                                     .capacity = {device, pinned}};
}

Test(policy, creating_fails_cleanly_at_every_allocation)
{
    static const char *const names[] = {"hazard", "lru"};
    for (size_t i = 0; i < WI_ARRAY_COUNT(names); i++) {
        struct weir_policy_opts    opts = small_opts(100, 10, 10);
        const struct weir_policy *policy;
        uint64_t                   nth = 1;
        cr_assert_eq(weir_policy_find(names[i], &policy), 0);
        for (;; nth++) {
            void *ctx = &opts;
            wi_alloc_fail_at(nth);
            int err = policy->create(&opts, &ctx);
            if (wi_alloc_fail_at(0) != 0) {
                cr_assert_eq(err, 0);
                policy->destroy(ctx);
                break;
            }
            cr_assert_eq(err, WEIR_ENOMEM);
            cr_assert_eq(ctx, &opts, "an output is written only on success");
        }
        cr_assert_gt(nth, 2);
        policy->destroy(NULL);
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Move an object as a caller would, pin it, or unpin it. */
static void place_at_random(struct world *world, uint32_t object, uint64_t random)
{
    unsigned tier = random % WEIR_TIERS;
    /* The caller, too, keeps to the budgets; what only resize exceeded may stay. */
    if (tier < WEIR_BOUNDARIES && world->used[tier] >= world->capacity[tier])
        tier = world->placed[object] ? world->tier[object] : WEIR_TIER_PAGEABLE;
    world_place(world, object, tier, random >> 8 & 1);
}

/*
 * Anything a caller may do, in any order. The world checks each move. Afterwards, with nothing pinned, the
 * tiers must come within their budgets.
 */
static void storm(const char *policy, uint64_t seed)
{
    struct weir_policy_opts opts = small_opts(300, 20, 40);
    struct world           *world = world_create(policy, &opts);
    for (int step = 0; step < 20000; step++) {
        uint64_t random = next_random(&seed);
        uint32_t object = (uint32_t)(random >> 32) % 300;
        unsigned what = random & 255;
        if (what < 200) world_touch(world, (uint32_t)((random >> 40 & 15) ? object % 40 : object));
        else if (what < 230) world_period(world);
        else if (what < 240) place_at_random(world, object, random >> 8);
        else if (what < 245 && world->placed[object] && !world->in_period[object])
            world_remove(world, object);
        else if (what < 248) world_resize(world, random >> 8 & 31, random >> 16 & 63);
        else if (what < 250) world->pressure = random >> 8 & 3;
        else if (what < 252) world->moves_max = random >> 8 & 63;
        else if (what < 254) world->period_ns = (random >> 8 & 1023) * WI_NS_PER_MS;
    }
    for (uint32_t object = 0; object < 300; object++) {
        if (world->pinned[object] && world->placed[object])
            world_place(world, object, world->tier[object], false);
    }
    world->moves_max = WORLD_MOVES_MAX;
    world->period_ns = S;
    world_resize(world, 5, 7);
    world_idle(world, 10 * S);
    if (strcmp(policy, "static") != 0) {
        cr_assert_leq(world->used[WEIR_TIER_DEVICE], 5);
        cr_assert_leq(world->used[WEIR_TIER_PINNED], 7);
        cr_assert_gt(world->promotions, 100);
    }
    world_destroy(world);
}

Test(policy, keeps_its_promises_in_a_storm)
{
    static const char *const names[] = {"hazard", "lru", "static"};
    for (size_t i = 0; i < WI_ARRAY_COUNT(names); i++) {
        for (uint64_t seed = 1; seed <= 20; seed++) storm(names[i], seed * UINT64_C(0x9e3779b97f4a7c15));
    }
}

static void fills_the_fast_tier(const char *policy)
{
    struct weir_policy_opts opts = small_opts(100, 10, 20);
    struct world           *world = world_create(policy, &opts);
    for (uint32_t object = 0; object < 10; object++) world_touch(world, object);
    world_period(world);
    cr_assert_eq(world->used[WEIR_TIER_DEVICE], 10, "%s: there is room, so nothing waits", policy);
    world_destroy(world);
}

static void pressure_stops_promotion(const char *policy)
{
    struct weir_policy_opts opts = small_opts(100, 10, 20);
    struct world           *world = world_create(policy, &opts);
    world->pressure = WEIR_HIGH;
    for (int i = 0; i < 20; i++) {
        for (uint32_t object = 0; object < 30; object++) world_touch(world, object);
        world_period(world);
    }
    cr_assert_eq(world->promotions, 0);
    world->pressure = WEIR_CALM;
    for (int i = 0; i < 20; i++) {
        for (uint32_t object = 0; object < 30; object++) world_touch(world, object);
        world_period(world);
    }
    cr_assert_eq(world->used[WEIR_TIER_DEVICE], 10);
    cr_assert_eq(world->used[WEIR_TIER_PINNED], 20);
    world_destroy(world);
}

static void pinned_objects_stay(const char *policy)
{
    struct weir_policy_opts opts = small_opts(100, 10, 20);
    struct world           *world = world_create(policy, &opts);
    for (uint32_t object = 90; object < 95; object++)
        world_place(world, object, WEIR_TIER_DEVICE, true);
    world_place(world, 80, WEIR_TIER_PAGEABLE, true);
    for (int i = 0; i < 30; i++) {
        for (uint32_t object = 0; object < 15; object++) world_touch(world, object);
        world_touch(world, 80);
        world_period(world);
    }
    cr_assert_eq(world->used[WEIR_TIER_DEVICE], 10, "the pinned ones count");
    cr_assert_eq(world->tier[80], WEIR_TIER_PAGEABLE);
    for (uint32_t object = 90; object < 95; object++) {
        cr_assert_eq(world->tier[object], WEIR_TIER_DEVICE);
        world_place(world, object, WEIR_TIER_DEVICE, false);
    }
    for (int i = 0; i < 60; i++) {
        for (uint32_t object = 0; object < 10; object++) world_touch(world, object);
        world_period(world);
    }
    for (uint32_t object = 90; object < 95; object++)
        cr_assert_neq(world->tier[object], WEIR_TIER_DEVICE, "unpinned and never touched");
    world_destroy(world);
}

static void a_tier_without_budget_is_skipped(const char *policy)
{
    struct weir_policy_opts opts = small_opts(100, 0, 20);
    struct world           *world = world_create(policy, &opts);
    for (int i = 0; i < 10; i++) {
        for (uint32_t object = 0; object < 50; object++) world_touch(world, object);
        world_period(world);
    }
    cr_assert_eq(world->used[WEIR_TIER_DEVICE], 0);
    cr_assert_eq(world->used[WEIR_TIER_PINNED], 20);
    world_destroy(world);

    opts = small_opts(100, 10, 0);
    world = world_create(policy, &opts);
    for (int i = 0; i < 30; i++) {
        for (uint32_t object = 0; object < 50; object++) world_touch(world, object);
        world_period(world);
    }
    cr_assert_eq(world->used[WEIR_TIER_DEVICE], 10);
    cr_assert_eq(world->used[WEIR_TIER_PINNED], 0);
    world_destroy(world);
}

static void a_number_may_come_back(const char *policy)
{
    struct weir_policy_opts opts = small_opts(10, 3, 3);
    struct world           *world = world_create(policy, &opts);
    for (uint32_t object = 0; object < 3; object++) world_touch(world, object);
    world_period(world);
    cr_assert_eq(world->tier[1], WEIR_TIER_DEVICE);
    world_remove(world, 1);
    world_period(world);
    world_touch(world, 5);
    world_period(world);
    cr_assert_eq(world->tier[5], WEIR_TIER_DEVICE, "it took the room that the other left");
    world_place(world, 1, WEIR_TIER_PAGEABLE, false);
    world_remove(world, 0);
    world_touch(world, 1);
    world_period(world);
    cr_assert_eq(world->tier[1], WEIR_TIER_DEVICE);
    world_destroy(world);
}

Test(policy, hazard_and_lru_owe_the_same)
{
    static const char *const names[] = {"hazard", "lru"};
    for (size_t i = 0; i < WI_ARRAY_COUNT(names); i++) {
        fills_the_fast_tier(names[i]);
        pressure_stops_promotion(names[i]);
        pinned_objects_stay(names[i]);
        a_tier_without_budget_is_skipped(names[i]);
        a_number_may_come_back(names[i]);
    }
}

Test(policy, static_never_moves)
{
    struct weir_policy_opts opts = small_opts(100, 10, 20);
    struct world           *world = world_create("static", &opts);
    for (uint32_t object = 0; object < 30; object++) world_place(world, object, object % 2, false);
    world_resize(world, 1, 1);
    for (int i = 0; i < 10; i++) {
        for (uint32_t object = 0; object < 100; object++) world_touch(world, object);
        world_period(world);
        cr_assert_eq(world->moves_count, 0);
    }
    world_destroy(world);
}

Test(policy, lru_keeps_the_most_recent)
{
    struct weir_policy_opts opts = small_opts(100, 4, 6);
    struct world           *world = world_create("lru", &opts);
    for (uint32_t object = 0; object < 50; object++) {
        world_touch(world, object);
        world_period(world);
    }
    for (uint32_t object = 0; object < 50; object++) {
        unsigned expected = object >= 46 ? 0 : object >= 40 ? 1 : 2;
        cr_assert_eq(world->tier[object], expected, "object %u is in tier %u", object,
                     world->tier[object]);
    }
    world_touch(world, 42);
    world_period(world);
    cr_assert_eq(world->tier[42], WEIR_TIER_DEVICE);
    cr_assert_eq(world->tier[46], WEIR_TIER_PINNED, "the oldest made room");
    world_destroy(world);
}
