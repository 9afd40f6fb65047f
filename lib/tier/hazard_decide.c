/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hazard_decide.c - which candidates go up, and who makes room
 *
 * A candidate goes to tier 0 if it is worth more there than the coldest resident, else to tier 1 under
 * the same rule. Who must leave tier 0 takes the place that its follower left in tier 1, or fights for
 * one, or goes to the lowest tier. Moves are written so that each finds room when its turn comes.
 *
 * The lists of the coldest are made by a walk over all objects. It is repeated when a decision comes
 * WALK_TICKS later, or needs more than the lists hold.
 */
#include "tier/hazard.h"

#include "tier/policy.h"

#include <math.h>
#include <string.h>

#define WALK_TICKS (2 * WI_HAZARD_TICKS_PER_S)
/* How long a candidate is one for which there was no room in the answer. */
#define CANDIDATE_TICKS (5 * WI_HAZARD_TICKS_PER_S)
/* What one candidate may cause: its own move, and two others down a tier to make room. */
#define MOVES_PER_CANDIDATE 3

double wi_hazard_dearness(const struct wi_hazard_boundary *boundary)
{
    return fmax(0, boundary->cost - WI_POLICY_COST_DEFAULT);
}

static double resident_value(const struct wi_hazard *hazard, unsigned tier,
                             const struct wi_hazard_object *object)
{
    uint32_t age = hazard->now - object->touched_at;
    if (hazard->boundary[tier].yardstick.recency_until) return -(double)age;
    return wi_hazard_model_resident(&hazard->model, object->touches, age);
}

static void walk(struct wi_hazard *hazard)
{
    memset(&hazard->ages, 0, sizeof hazard->ages);
    for (int i = 0; i < WEIR_BOUNDARIES; i++) wi_hazard_cold_begin(&hazard->boundary[i].cold);
    for (size_t number = 0; number < hazard->objects_end; number++) {
        const struct wi_hazard_object *object = &hazard->objects[number];
        if (!(object->flags & WI_HAZARD_PLACED)) continue;
        if (object->touches) wi_hazard_ages_add(&hazard->ages, hazard->now - object->touched_at);
        if (object->tier == WEIR_TIERS - 1 || object->flags & WI_HAZARD_PINNED) continue;
        wi_hazard_cold_add(&hazard->boundary[object->tier].cold, (uint32_t)number,
                           resident_value(hazard, object->tier, object), object->touched_at);
    }
    size_t above = 0;
    for (int i = 0; i < WEIR_BOUNDARIES; i++) {
        struct wi_hazard_boundary *boundary = &hazard->boundary[i];
        above += boundary->capacity;
        wi_hazard_cold_end(&boundary->cold);
        boundary->yardstick.age_max = wi_hazard_ages_find(&hazard->ages, above);
    }
    hazard->walk_at = hazard->now + WALK_TICKS;
}

/* The coldest resident of a tier. Those touched or moved since the walk are passed over. */
static bool find_coldest(struct wi_hazard *hazard, unsigned tier, struct wi_hazard_cold_entry *out)
{
    struct wi_hazard_cold *cold = &hazard->boundary[tier].cold;
    for (;;) {
        for (; cold->next < cold->count; cold->next++) {
            const struct wi_hazard_cold_entry *entry = &cold->entries[cold->next];
            const struct wi_hazard_object     *object = &hazard->objects[entry->object];
            if (!(object->flags & WI_HAZARD_PLACED) || object->flags & WI_HAZARD_PINNED) continue;
            if (object->tier != tier || object->touched_at != (uint32_t)entry->key) continue;
            *out = *entry;
            return true;
        }
        if (cold->complete) return false;
        walk(hazard);
    }
}

static void move(struct wi_hazard *hazard, struct wi_hazard_answer *answer, uint32_t number,
                 unsigned to)
{
    struct wi_hazard_object *object = &hazard->objects[number];
    unsigned                 from = object->tier;
    wi_assert(answer->count < answer->count_max && from != to);
    answer->moves[answer->count++] = (struct weir_policy_move){
        .object = number, .from = (uint16_t)from, .to = (uint16_t)to};
    if (from < WEIR_BOUNDARIES) hazard->boundary[from].used--;
    if (to < WEIR_BOUNDARIES) hazard->boundary[to].used++;
    for (unsigned i = to; i < from; i++)
        hazard->boundary[i].yardstick.window -= wi_hazard_dearness(&hazard->boundary[i]);
    object->tier = (uint8_t)to;
}

static bool has_room(const struct wi_hazard *hazard, unsigned tier)
{
    return hazard->boundary[tier].used < hazard->boundary[tier].capacity;
}

/* Make room in tier 1 for an object of this value, unless all its residents are worth more. */
static bool make_room_pinned(struct wi_hazard *hazard, struct wi_hazard_answer *answer,
                             double value)
{
    struct wi_hazard_cold_entry last;
    if (has_room(hazard, WEIR_TIER_PINNED)) return true;
    if (hazard->boundary[WEIR_TIER_PINNED].capacity == 0) return false;
    if (!find_coldest(hazard, WEIR_TIER_PINNED, &last) || last.value >= value) return false;
    move(hazard, answer, last.object, WEIR_TIER_PAGEABLE);
    return has_room(hazard, WEIR_TIER_PINNED);
}

static void demote_from_device(struct wi_hazard *hazard, struct wi_hazard_answer *answer,
                               uint32_t number)
{
    double value = resident_value(hazard, WEIR_TIER_PINNED, &hazard->objects[number]);
    bool   room = make_room_pinned(hazard, answer, value);
    move(hazard, answer, number, room ? WEIR_TIER_PINNED : WEIR_TIER_PAGEABLE);
}

void wi_hazard_shrink(struct wi_hazard *hazard, struct wi_hazard_answer *answer)
{
    for (unsigned tier = 0; tier < WEIR_BOUNDARIES; tier++) {
        struct wi_hazard_boundary  *boundary = &hazard->boundary[tier];
        struct wi_hazard_cold_entry last;
        if (boundary->used > boundary->capacity && hazard->now >= hazard->walk_at) walk(hazard);
        while (boundary->used > boundary->capacity &&
               answer->count + MOVES_PER_CANDIDATE <= answer->count_max) {
            if (!find_coldest(hazard, tier, &last)) {
                hazard->walk_at = hazard->now; /* all on the list were touched since: look afresh */
                break;
            }
            if (tier == WEIR_TIER_DEVICE)
                demote_from_device(hazard, answer, last.object);
            else
                move(hazard, answer, last.object, WEIR_TIER_PAGEABLE);
        }
    }
}

/*
 * Bring an object into a tier if it bids more than the coldest resident there, or there is room.
 * Answers false if it does not, and then no lower bid would.
 */
static bool promote(struct wi_hazard *hazard, struct wi_hazard_answer *answer, uint32_t number,
                    unsigned tier, double bid)
{
    const struct wi_hazard_boundary *boundary = &hazard->boundary[tier];
    struct wi_hazard_cold_entry      last;
    if (boundary->capacity == 0 || boundary->used > boundary->capacity) return false;
    if (!has_room(hazard, tier)) {
        if (!find_coldest(hazard, tier, &last) || last.value >= bid) return false;
        /* What was touched later stays, whatever the bid. */
        if ((uint32_t)last.key >= hazard->objects[number].touched_at) return false;
        if (tier == WEIR_TIER_DEVICE)
            demote_from_device(hazard, answer, last.object);
        else
            move(hazard, answer, last.object, WEIR_TIER_PAGEABLE);
    }
    move(hazard, answer, number, tier);
    return true;
}

/* What candidates of each class bid for a place in a tier. While recency ranks, everything. */
static void find_bids(const struct wi_hazard *hazard, unsigned tier, double cost,
                      double bid[WI_HAZARD_CLASSES])
{
    bool by_recency = hazard->boundary[tier].yardstick.recency_until != 0;
    for (unsigned class = 0; class < WI_HAZARD_CLASSES; class++)
        bid[class] =
            by_recency ? INFINITY : wi_hazard_model_candidate(&hazard->model, class, cost);
}

/* Classes by what they bid for a place in tier 0, highest first. */
static void order_classes(const double bid[WI_HAZARD_CLASSES], unsigned order[WI_HAZARD_CLASSES])
{
    for (unsigned i = 0; i < WI_HAZARD_CLASSES; i++) {
        unsigned at = i;
        for (; at > 0 && bid[order[at - 1]] < bid[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
}

/* The candidates of one class, as they were gathered: within a period those made first come first. */
static void promote_class(struct wi_hazard *hazard, struct wi_hazard_answer *answer,
                          unsigned class, const double bid[WEIR_BOUNDARIES])
{
    bool open[WEIR_BOUNDARIES] = {true, true};
    for (size_t i = 0; i < hazard->candidates_count; i++) {
        uint32_t                       number = hazard->candidates[i];
        const struct wi_hazard_object *object = &hazard->objects[number];
        if (!(object->flags & WI_HAZARD_PLACED) || object->flags & WI_HAZARD_PINNED) continue;
        if (object->touches == 0 || wi_hazard_class(object->touches) != class) continue;
        for (unsigned tier = 0; tier < WEIR_BOUNDARIES && tier < object->tier; tier++) {
            if (!open[tier]) continue;
            if (answer->count + MOVES_PER_CANDIDATE > answer->count_max) return;
            open[tier] = promote(hazard, answer, number, tier, bid[tier]);
            if (open[tier]) break;
        }
    }
}

/* The answer is full: who could not be heard comes again in the next period, unless that is long ago. */
static void keep_recent(struct wi_hazard *hazard)
{
    size_t kept = 0;
    for (size_t i = 0; i < hazard->candidates_count; i++) {
        uint32_t                 number = hazard->candidates[i];
        struct wi_hazard_object *object = &hazard->objects[number];
        bool recent = hazard->now - object->touched_at <= CANDIDATE_TICKS;
        if (object->flags & WI_HAZARD_PLACED && object->tier > 0 && recent)
            hazard->candidates[kept++] = number;
        else
            object->flags &= (uint8_t)~WI_HAZARD_QUEUED;
    }
    hazard->candidates_count = kept;
}

void wi_hazard_promote(struct wi_hazard *hazard, struct wi_hazard_answer *answer,
                       const double cost[WEIR_BOUNDARIES])
{
    double   bid[WEIR_BOUNDARIES][WI_HAZARD_CLASSES];
    unsigned order[WI_HAZARD_CLASSES];
    if (hazard->now >= hazard->walk_at) walk(hazard);
    for (unsigned tier = 0; tier < WEIR_BOUNDARIES; tier++)
        find_bids(hazard, tier, cost[tier], bid[tier]);
    order_classes(bid[0], order);
    for (unsigned i = 0; i < WI_HAZARD_CLASSES; i++) {
        double own[WEIR_BOUNDARIES] = {bid[0][order[i]], bid[1][order[i]]};
        promote_class(hazard, answer, order[i], own);
    }
    if (answer->count + MOVES_PER_CANDIDATE > answer->count_max)
        keep_recent(hazard);
    else
        wi_hazard_dismiss(hazard);
}

void wi_hazard_dismiss(struct wi_hazard *hazard)
{
    for (size_t i = 0; i < hazard->candidates_count; i++)
        hazard->objects[hazard->candidates[i]].flags &= (uint8_t)~WI_HAZARD_QUEUED;
    hazard->candidates_count = 0;
}
