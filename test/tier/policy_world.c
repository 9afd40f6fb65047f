/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_world.h"

static struct world world;

struct world *world_create(const char *policy, const struct weir_policy_opts *opts)
{
    world = (struct world){.objects_max = opts->objects_max,
                           .moves_max = WORLD_MOVES_MAX,
                           .now_ns = opts->now_ns,
                           .period_ns = WI_NS_PER_S / 2,
                           .capacity = {opts->capacity[0], opts->capacity[1]}};
    cr_assert_leq(opts->objects_max, WORLD_OBJECTS_MAX);
    cr_assert_eq(weir_policy_find(policy, &world.policy), 0);
    cr_assert_eq(world.policy->create(opts, &world.ctx), 0);
    for (uint32_t object = 0; object < opts->objects_max; object++)
        world_place(&world, object, WEIR_TIER_PAGEABLE, false);
    return &world;
}

void world_destroy(struct world *at)
{
    at->policy->destroy(at->ctx);
}

void world_place(struct world *at, uint32_t object, unsigned tier, bool pinned)
{
    struct weir_policy_place where = {
        .object = object, .tier = tier, .flags = pinned ? WEIR_PLACE_PINNED : 0};
    if (at->placed[object]) at->used[at->tier[object]]--;
    at->placed[object] = true;
    at->pinned[object] = pinned;
    at->tier[object] = (uint8_t)tier;
    at->used[tier]++;
    at->policy->place(at->ctx, &where);
}

void world_remove(struct world *at, uint32_t object)
{
    cr_assert(at->placed[object]);
    at->placed[object] = false;
    at->used[at->tier[object]]--;
    at->policy->remove(at->ctx, object);
}

void world_resize(struct world *at, size_t device, size_t pinned)
{
    at->capacity[0] = device;
    at->capacity[1] = pinned;
    at->policy->resize(at->ctx, at->capacity);
}

void world_touch(struct world *at, uint32_t object)
{
    if (at->in_period[object]) return;
    at->in_period[object] = true;
    at->touched[at->touched_count++] = object;
}

static void make_move(struct world *at, const struct weir_policy_move *move)
{
    cr_assert_lt(move->object, at->objects_max);
    cr_assert(at->placed[move->object], "object %u is not placed", move->object);
    cr_assert_not(at->pinned[move->object], "object %u is pinned", move->object);
    cr_assert_eq(at->tier[move->object], move->from, "object %u is in tier %u, not in %u",
                 move->object, at->tier[move->object], move->from);
    cr_assert_neq(move->from, move->to);
    cr_assert_lt(move->to, WEIR_TIERS);
    at->used[move->from]--;
    at->used[move->to]++;
    at->tier[move->object] = (uint8_t)move->to;
    if (move->to < WEIR_BOUNDARIES)
        cr_assert_leq(at->used[move->to], at->capacity[move->to], "no room in tier %u", move->to);
    if (move->to < move->from)
        at->promotions++;
    else
        at->demotions++;
}

void world_period(struct world *at)
{
    at->now_ns += at->period_ns;
    struct weir_policy_period period = {.struct_size = sizeof period,
                                        .now_ns = at->now_ns,
                                        .touched = at->touched,
                                        .touched_count = at->touched_count,
                                        .moves_max = at->moves_max,
                                        .pressure = at->pressure};
    at->moves_count = at->policy->period(at->ctx, &period, at->moves);
    cr_assert_leq(at->moves_count, at->moves_max);
    for (size_t i = 0; i < at->moves_count; i++) make_move(at, &at->moves[i]);
    for (size_t i = 0; i < at->touched_count; i++) at->in_period[at->touched[i]] = false;
    at->touched_count = 0;
}

void world_idle(struct world *at, uint64_t ns)
{
    for (uint64_t end_ns = at->now_ns + ns; at->now_ns < end_ns;) world_period(at);
}
