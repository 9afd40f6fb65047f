/* SPDX-License-Identifier: Apache-2.0 */
/* Placement policies by themselves: no pool, no thread, the test's own clock. */
#include <criterion/criterion.h>
#include <string.h>
#include <weir/weir.h>

#define OBJECTS   400
#define PERIOD_NS UINT64_C(500000000)

struct world {
    const struct weir_policy *policy;
    void                     *ctx;
    size_t                    capacity[WEIR_BOUNDARIES];
    uint64_t                  now_ns;
    uint32_t                  tier[OBJECTS];
    bool                      pinned[OBJECTS];
    size_t                    used[WEIR_TIERS];
    uint64_t                  ups, downs;
};

static struct world open_world(const char *name, size_t device, size_t pinned)
{
    struct world world = {.capacity = {device, pinned}, .used = {0, 0, OBJECTS}};
    cr_assert_eq(weir_policy_find(name, &world.policy), 0);
    struct weir_policy_opts opts = {.struct_size = sizeof opts, .objects_max = OBJECTS, .capacity = {device, pinned}};
    if (world.policy->create) cr_assert_eq(world.policy->create(&opts, &world.ctx), 0);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        world.tier[i] = WEIR_TIER_PAGEABLE;
        struct weir_policy_place place = {.object = i, .tier = WEIR_TIER_PAGEABLE};
        world.policy->place(world.ctx, &place);
    }
    return world;
}

static void close_world(struct world *world)
{
    if (world->policy->destroy) world->policy->destroy(world->ctx);
}

/* Every move starts where the object is, names no pinned one, and finds room when its turn comes. */
static void make_move(struct world *world, const struct weir_policy_move *move)
{
    cr_assert_lt(move->object, OBJECTS);
    cr_assert_lt(move->to, WEIR_TIERS);
    cr_assert_eq(world->tier[move->object], move->from, "object %u is elsewhere", move->object);
    cr_assert_neq(move->from, move->to);
    cr_assert_not(world->pinned[move->object]);
    world->used[move->from]--;
    world->used[move->to]++;
    world->tier[move->object] = move->to;
    if (move->to < WEIR_BOUNDARIES) cr_assert_leq(world->used[move->to], world->capacity[move->to], "no room in tier %u", move->to);
    world->ups += move->to < move->from;
    world->downs += move->to > move->from;
}

static size_t step(struct world *world, const uint32_t *touched, size_t count, uint32_t pressure)
{
    static struct weir_policy_move moves[4 * OBJECTS];
    struct weir_policy_period      period = {.struct_size = sizeof period, .now_ns = world->now_ns += PERIOD_NS,
                                             .touched = touched, .touched_count = count,
                                             .moves_max = 4 * OBJECTS, .pressure = pressure};
    size_t made = world->policy->period(world->ctx, &period, moves);
    cr_assert_leq(made, 4 * OBJECTS);
    for (size_t i = 0; i < made; i++) make_move(world, &moves[i]);
    return made;
}

/* Objects below `hot` in every period, one in eight of the others. */
static size_t draw(uint32_t *touched, uint32_t hot, uint32_t round)
{
    size_t count = 0;
    for (uint32_t i = 0; i < OBJECTS; i++) {
        if (i < hot || (i * 7 + round) % 8 == 0) touched[count++] = i;
    }
    return count;
}

static void play(const char *name, size_t pinned_capacity)
{
    uint32_t     touched[OBJECTS];
    struct world world = open_world(name, 40, pinned_capacity);
    world.pinned[3] = true;
    struct weir_policy_place stays = {.object = 3, .tier = WEIR_TIER_PAGEABLE, .flags = WEIR_PLACE_PINNED};
    world.policy->place(world.ctx, &stays);
    for (uint32_t round = 0; round < 400; round++) {
        if (round == 200) {
            world.capacity[0] = 5;
            world.capacity[1] = pinned_capacity / 2;
            world.policy->resize(world.ctx, world.capacity);
        }
        if (round == 300) {
            world.capacity[0] = 40;
            world.policy->resize(world.ctx, world.capacity);
        }
        if (round == 200) continue; /* the cut is met in the next period */
        (void)step(&world, touched, draw(touched, 30, round), WEIR_CALM);
    }
    cr_assert_eq(world.tier[3], WEIR_TIER_PAGEABLE);
    close_world(&world);
}

Test(policy, hazard_makes_only_moves_that_can_be_made)
{
    play("hazard", 0);
}

Test(policy, lru_makes_only_moves_that_can_be_made)
{
    play("lru", 0);
}

static size_t hot_above(const struct world *world, uint32_t hot)
{
    size_t count = 0;
    for (uint32_t i = 0; i < hot; i++) count += world->tier[i] == WEIR_TIER_DEVICE;
    return count;
}

Test(policy, hazard_keeps_the_hot_ones_up)
{
    uint32_t     touched[OBJECTS];
    struct world world = open_world("hazard", 40, 0);
    for (uint32_t round = 0; round < 400; round++) (void)step(&world, touched, draw(touched, 30, round), WEIR_CALM);
    cr_assert_geq(hot_above(&world, 30), 28, "%zu of 30", hot_above(&world, 30));
    uint64_t before = world.ups;
    for (uint32_t round = 400; round < 500; round++) (void)step(&world, touched, draw(touched, 30, round), WEIR_CALM);
    cr_assert_geq(hot_above(&world, 30), 28);
    cr_assert_leq(world.ups - before, 100 * 12, "it moves as much as there are touches");
    close_world(&world);
}

Test(policy, lru_keeps_what_was_touched_last)
{
    struct world   world = open_world("lru", 4, 0);
    const uint32_t first[] = {1, 2, 3, 4}, second[] = {5, 6};
    (void)step(&world, first, 4, WEIR_CALM);
    for (int i = 0; i < 4; i++) cr_assert_eq(world.tier[first[i]], WEIR_TIER_DEVICE);
    (void)step(&world, first + 2, 2, WEIR_CALM);
    (void)step(&world, second, 2, WEIR_CALM);
    cr_assert_eq(world.tier[1], WEIR_TIER_PAGEABLE);
    cr_assert_eq(world.tier[2], WEIR_TIER_PAGEABLE);
    cr_assert_eq(world.tier[3], WEIR_TIER_DEVICE);
    cr_assert_eq(world.tier[5], WEIR_TIER_DEVICE);
    close_world(&world);
}

Test(policy, static_never_moves)
{
    uint32_t     touched[OBJECTS];
    struct world world = open_world("static", 40, 40);
    for (uint32_t round = 0; round < 50; round++)
        cr_assert_eq(step(&world, touched, draw(touched, 30, round), WEIR_CALM), 0);
    close_world(&world);
}

Test(policy, high_pressure_promotes_nothing)
{
    uint32_t     touched[OBJECTS];
    struct world world = open_world("hazard", 40, 0);
    for (uint32_t round = 0; round < 50; round++) (void)step(&world, touched, draw(touched, 30, round), WEIR_HIGH);
    cr_assert_eq(world.ups, 0);
    for (uint32_t round = 0; round < 50; round++) (void)step(&world, touched, draw(touched, 30, round), WEIR_CALM);
    cr_assert_gt(world.ups, 0);
    close_world(&world);
}

Test(policy, is_found_by_name)
{
    const struct weir_policy *policy;
    cr_assert_eq(weir_policy_find("hazard", &policy), 0);
    cr_assert_str_eq(policy->name, "hazard");
    cr_assert_eq(weir_policy_find("fortune", &policy), WEIR_ENOENT);
}
