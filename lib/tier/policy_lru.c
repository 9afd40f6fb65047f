/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_lru.c - least recently used, decided once per period: to compare with
 *
 * One list for each limited tier, most recently touched first. What is touched goes to tier 0; the last
 * of a full tier goes to the head of the next one. Costs are not looked at.
 */
#include "tier/policy.h"

#include "base/alloc.h"

/* End of a list. Objects are numbered below it. */
#define NONE UINT32_MAX
/* Moves that one touch may cause: its own, and one down from each limited tier. */
#define MOVES_PER_TOUCH 3

struct node {
    uint32_t newer;
    uint32_t older;
    uint8_t  tier;
    bool     placed;
    bool     pinned;
    bool     linked;
};

struct list {
    uint32_t newest;
    uint32_t oldest;
    size_t   used;     /* objects of the tier; pinned ones are not linked */
    size_t   capacity;
};

struct lru {
    struct node *nodes;
    size_t       objects_max;
    struct list  lists[WEIR_BOUNDARIES];
};

struct answer {
    struct weir_policy_move *moves;
    size_t                   count;
    size_t                   count_max;
};

static void destroy(void *ctx)
{
    struct lru *lru = ctx;
    if (!lru) return;
    wi_free(lru->nodes);
    wi_free(lru);
}

static int create(const struct weir_policy_opts *opts, void **out_ctx)
{
    struct weir_policy_opts checked;
    WI_TRY(wi_policy_opts_import(opts, &checked));
    struct lru *lru = wi_calloc(1, sizeof *lru);
    if (lru) lru->nodes = wi_calloc(checked.objects_max, sizeof *lru->nodes);
    if (!lru || !lru->nodes) {
        destroy(lru);
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "no memory for the policy's table",
                       .wanted = checked.objects_max * sizeof *lru->nodes);
    }
    lru->objects_max = checked.objects_max;
    for (int tier = 0; tier < WEIR_BOUNDARIES; tier++)
        lru->lists[tier] =
            (struct list){.newest = NONE, .oldest = NONE, .capacity = checked.capacity[tier]};
    *out_ctx = lru;
    return 0;
}

static void unlink_node(struct lru *lru, uint32_t object)
{
    struct node *node = &lru->nodes[object];
    if (!node->linked) return;
    struct list *list = &lru->lists[node->tier];
    *(node->newer == NONE ? &list->newest : &lru->nodes[node->newer].older) = node->older;
    *(node->older == NONE ? &list->oldest : &lru->nodes[node->older].newer) = node->newer;
    node->linked = false;
}

static void link_newest(struct lru *lru, uint32_t object)
{
    struct node *node = &lru->nodes[object];
    wi_assert(!node->linked);
    if (node->tier >= WEIR_BOUNDARIES || node->pinned) return;
    struct list *list = &lru->lists[node->tier];
    node->newer = NONE;
    node->older = list->newest;
    *(list->newest == NONE ? &list->oldest : &lru->nodes[list->newest].newer) = object;
    list->newest = object;
    node->linked = true;
}

static void leave(struct lru *lru, uint32_t object)
{
    struct node *node = &lru->nodes[object];
    unlink_node(lru, object);
    if (node->tier < WEIR_BOUNDARIES) lru->lists[node->tier].used--;
}

static void enter(struct lru *lru, uint32_t object, unsigned tier)
{
    lru->nodes[object].tier = (uint8_t)tier;
    if (tier < WEIR_BOUNDARIES) lru->lists[tier].used++;
    link_newest(lru, object);
}

static void place(void *ctx, const struct weir_policy_place *where)
{
    struct lru *lru = ctx;
    wi_require(where->object < lru->objects_max && where->tier < WEIR_TIERS);
    struct node *node = &lru->nodes[where->object];
    if (node->placed) leave(lru, where->object);
    node->placed = true;
    node->pinned = (where->flags & WEIR_PLACE_PINNED) != 0;
    enter(lru, where->object, where->tier);
}

static void forget(void *ctx, uint32_t object)
{
    struct lru *lru = ctx;
    wi_require(object < lru->objects_max);
    if (!lru->nodes[object].placed) return;
    leave(lru, object);
    lru->nodes[object].placed = false;
}

static void resize(void *ctx, const size_t capacity[WEIR_BOUNDARIES])
{
    struct lru *lru = ctx;
    for (int tier = 0; tier < WEIR_BOUNDARIES; tier++) lru->lists[tier].capacity = capacity[tier];
}

static void move(struct lru *lru, struct answer *answer, uint32_t object, unsigned to)
{
    answer->moves[answer->count++] = (struct weir_policy_move){
        .object = object, .from = lru->nodes[object].tier, .to = (uint16_t)to};
    leave(lru, object);
    enter(lru, object, to);
}

/* Let the oldest of a tier go down until `spare` more would fit. Answers false if they do not. */
static bool make_room(struct lru *lru, struct answer *answer, unsigned tier, size_t spare)
{
    struct list *list = &lru->lists[tier];
    while (list->used + spare > list->capacity) {
        if (list->oldest == NONE || answer->count == answer->count_max) return false;
        unsigned to = tier + 1;
        if (to < WEIR_BOUNDARIES && !make_room(lru, answer, to, 1)) to++;
        if (answer->count == answer->count_max) return false;
        move(lru, answer, list->oldest, to);
    }
    return true;
}

static void touch(struct lru *lru, struct answer *answer, uint32_t object, bool promote)
{
    wi_require(object < lru->objects_max);
    struct node *node = &lru->nodes[object];
    if (!node->placed || node->pinned) return;
    unlink_node(lru, object);
    link_newest(lru, object);
    if (!promote) return;
    for (unsigned tier = 0; tier < WEIR_BOUNDARIES && tier < node->tier; tier++) {
        if (answer->count + MOVES_PER_TOUCH > answer->count_max) return;
        if (lru->lists[tier].capacity == 0 || !make_room(lru, answer, tier, 1)) continue;
        if (tier < node->tier) move(lru, answer, object, tier);
        return;
    }
}

static size_t answer_period(void *ctx, const struct weir_policy_period *period,
                            struct weir_policy_move *moves)
{
    struct lru   *lru = ctx;
    struct answer answer = {.moves = moves, .count_max = period->moves_max};
    for (unsigned tier = 0; tier < WEIR_BOUNDARIES; tier++) (void)make_room(lru, &answer, tier, 0);
    for (size_t i = 0; i < period->touched_count; i++)
        touch(lru, &answer, period->touched[i], period->pressure < WEIR_HIGH);
    return answer.count;
}

const struct weir_policy wi_policy_lru = {
    .struct_size = sizeof(struct weir_policy),
    .name = "lru",
    .create = create,
    .destroy = destroy,
    .place = place,
    .remove = forget,
    .resize = resize,
    .period = answer_period,
};
