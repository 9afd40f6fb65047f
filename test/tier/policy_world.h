/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_world.h - objects in tiers, and a policy that says where they go
 *
 * The world makes every move that the policy asks for and fails the test when one breaks a promise of
 * weir/policy.h: an object that is not there, not placed, or pinned; a wrong tier; no room.
 */
#ifndef TEST_TIER_POLICY_WORLD_H
#define TEST_TIER_POLICY_WORLD_H

#include "tier/policy.h"

#include <criterion/criterion.h>
#include <stdbool.h>

#define WORLD_OBJECTS_MAX 4096
#define WORLD_MOVES_MAX   8192

struct world {
    const struct weir_policy *policy;
    void                     *ctx;
    uint64_t                  now_ns;
    uint64_t                  period_ns;
    uint32_t                  pressure;
    size_t                    objects_max;
    size_t                    moves_max;
    size_t                    capacity[WEIR_BOUNDARIES];
    size_t                    used[WEIR_TIERS];
    uint8_t                   tier[WORLD_OBJECTS_MAX];
    bool                      placed[WORLD_OBJECTS_MAX];
    bool                      pinned[WORLD_OBJECTS_MAX];
    bool                      in_period[WORLD_OBJECTS_MAX];
    uint32_t                  touched[WORLD_OBJECTS_MAX];
    size_t                    touched_count;
    struct weir_policy_move   moves[WORLD_MOVES_MAX];
    size_t                    moves_count; /* of the last period */
    size_t                    promotions;
    size_t                    demotions;
};

/* One runs at a time in a test process. Objects are placed in the lowest tier. */
struct world *world_create(const char *policy, const struct weir_policy_opts *opts);
void          world_destroy(struct world *world);
void          world_place(struct world *world, uint32_t object, unsigned tier, bool pinned);
void          world_remove(struct world *world, uint32_t object);
void          world_resize(struct world *world, size_t device, size_t pinned);
void          world_touch(struct world *world, uint32_t object);
void          world_period(struct world *world);
/* Periods until so much time has passed. */
void          world_idle(struct world *world, uint64_t ns);

#endif
