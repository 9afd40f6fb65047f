/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hazard.c - the default policy: learn when objects are touched again, keep those worth the most
 *
 * A period is taken in in four steps:
 *
 *   expose   every object spent the period at its age: time, for the model
 *   touch    each touched object: an event for the model and the yardsticks; a candidate if it is slow
 *   shrink   where a tier holds more than its budget, its coldest go down
 *   promote  candidates against the coldest residents
 *
 * Candidates are gathered for GATHER_TICKS before any of them pushes out a resident. A request that
 * touches its objects over a few periods would otherwise have its first objects push out its last ones
 * just before their turn. It also makes the outcome independent of the length of the period. While
 * there is room for all of them they go up at once.
 *
 * Cost: 8 bytes for each object and 4 for its place among the candidates, and lists of bounded
 * length. A period walks over at most EXPOSE_MAX objects; see hazard_decide.c for decisions.
 */
#include "tier/hazard.h"

#include "base/alloc.h"
#include "tier/policy.h"

#include <math.h>

#define GATHER_TICKS (2 * WI_HAZARD_TICKS_PER_S)
#define FIT_TICKS    (2 * WI_HAZARD_TICKS_PER_S)
/* Larger tables are sampled: a part in each period, in turn. */
#define EXPOSE_MAX ((size_t)1 << 18)
/* Length of the list of coldest residents: an eighth of the objects, between these. */
#define COLD_MIN 1024
#define COLD_MAX 16384

static void destroy(void *ctx)
{
    struct wi_hazard *hazard = ctx;
    if (!hazard) return;
    for (int i = 0; i < WEIR_BOUNDARIES; i++) wi_hazard_cold_fini(&hazard->boundary[i].cold);
    wi_free(hazard->candidates);
    wi_free(hazard->objects);
    wi_free(hazard);
}

static int create_tables(struct wi_hazard *hazard, const struct weir_policy_opts *opts)
{
    size_t cold_max = opts->objects_max / 8;
    if (cold_max < COLD_MIN) cold_max = COLD_MIN;
    if (cold_max > COLD_MAX) cold_max = COLD_MAX;
    hazard->objects = wi_calloc(opts->objects_max, sizeof *hazard->objects);
    hazard->candidates = wi_calloc(opts->objects_max, sizeof *hazard->candidates);
    if (!hazard->objects || !hazard->candidates)
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "no memory for the policy's table",
                       .wanted = opts->objects_max * sizeof *hazard->objects);
    for (int i = 0; i < WEIR_BOUNDARIES; i++) {
        struct wi_hazard_boundary *boundary = &hazard->boundary[i];
        boundary->capacity = opts->capacity[i];
        boundary->cost = opts->cost[i];
        wi_hazard_yardstick_init(&boundary->yardstick);
        WI_TRY(wi_hazard_cold_init(&boundary->cold, cold_max));
    }
    return 0;
}

static int create(const struct weir_policy_opts *opts, void **out_ctx)
{
    struct weir_policy_opts checked;
    WI_TRY(wi_policy_opts_import(opts, &checked));
    struct wi_hazard *hazard = wi_calloc(1, sizeof *hazard);
    if (!hazard)
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "no memory for the policy",
                       .wanted = sizeof *hazard);
    hazard->objects_max = checked.objects_max;
    hazard->start_ns = hazard->last_ns = checked.now_ns;
    int err = create_tables(hazard, &checked);
    if (err < 0) {
        destroy(hazard);
        return err;
    }
    wi_hazard_model_fit(&hazard->model, 0);
    *out_ctx = hazard;
    return 0;
}

/* How many of the last `periods`, which ended at these ages, were spent in which bin. */
static void count_periods(uint32_t counts[WI_HAZARD_BINS], uint32_t age, uint32_t periods,
                          uint32_t period_ticks)
{
    unsigned bin = wi_hazard_bin(age);
    if (WI_LIKELY(periods == 1 || wi_hazard_bin(age - (periods - 1) * period_ticks) == bin)) {
        counts[bin] += periods;
        return;
    }
    for (uint32_t i = 0; i < periods; i++) counts[wi_hazard_bin(age - i * period_ticks)]++;
}

/* Every object that was ever touched spent these periods, up to the tick `end`, at its age. */
static void expose(struct wi_hazard *hazard, uint32_t end_tick, uint32_t periods, uint64_t period_ns)
{
    uint32_t counts[WI_HAZARD_TOUCHES + 1][WI_HAZARD_BINS] = {{0}};
    uint32_t period_ticks = (uint32_t)(period_ns / WI_HAZARD_TICK_NS);
    size_t   end = hazard->objects_end;
    size_t   count = end < EXPOSE_MAX ? end : EXPOSE_MAX;
    size_t   at = hazard->expose_next < end ? hazard->expose_next : 0;
    if (count == 0 || period_ns == 0) return;
    for (size_t i = 0; i < count; i++) {
        const struct wi_hazard_object *object = &hazard->objects[at];
        if (object->touches)
            count_periods(counts[object->touches], end_tick - object->touched_at, periods,
                          period_ticks);
        if (++at == end) at = 0;
    }
    hazard->expose_next = at;
    double weight = (double)period_ns / (double)WI_NS_PER_S * ((double)end / (double)count);
    for (unsigned touches = 1; touches <= WI_HAZARD_TOUCHES; touches++) {
        double *exposure = hazard->model.exposure.at[wi_hazard_class(touches)];
        for (unsigned bin = 0; bin < WI_HAZARD_BINS; bin++)
            exposure[bin] += weight * counts[touches][bin];
    }
}

static void expose_quiet(struct wi_hazard *hazard)
{
    if (hazard->quiet) expose(hazard, hazard->quiet_end, hazard->quiet, hazard->quiet_ns);
    hazard->quiet = 0;
}

static void leave_tier(struct wi_hazard *hazard, const struct wi_hazard_object *object)
{
    if (object->tier == WEIR_TIERS - 1) return;
    wi_assert(hazard->boundary[object->tier].used > 0);
    hazard->boundary[object->tier].used--;
}

static void place(void *ctx, const struct weir_policy_place *where)
{
    struct wi_hazard *hazard = ctx;
    wi_require(where->object < hazard->objects_max && where->tier < WEIR_TIERS);
    struct wi_hazard_object *object = &hazard->objects[where->object];
    if (object->flags & WI_HAZARD_PLACED) {
        leave_tier(hazard, object);
    } else {
        object->touches = 0;
        object->touched_at = hazard->now;
    }
    object->tier = (uint8_t)where->tier;
    object->flags &= WI_HAZARD_QUEUED;
    object->flags |= WI_HAZARD_PLACED;
    if (where->flags & WEIR_PLACE_PINNED) object->flags |= WI_HAZARD_PINNED;
    if (object->tier < WEIR_BOUNDARIES) hazard->boundary[object->tier].used++;
    if (where->object >= hazard->objects_end) hazard->objects_end = (size_t)where->object + 1;
}

static void forget(void *ctx, uint32_t number)
{
    struct wi_hazard *hazard = ctx;
    wi_require(number < hazard->objects_max);
    struct wi_hazard_object *object = &hazard->objects[number];
    if (!(object->flags & WI_HAZARD_PLACED)) return;
    expose_quiet(hazard); /* it was there */
    leave_tier(hazard, object);
    /* A queued one stays queued, so that the queue names each number once. */
    object->flags &= WI_HAZARD_QUEUED;
    object->touches = 0;
}

static void resize(void *ctx, const size_t capacity[WEIR_BOUNDARIES])
{
    struct wi_hazard *hazard = ctx;
    for (int i = 0; i < WEIR_BOUNDARIES; i++) hazard->boundary[i].capacity = capacity[i];
    hazard->walk_at = hazard->now; /* a cut is to be met in the next period, not when the lists are due */
}

/*
 * Quiet periods in a row are counted together later, to the same result: a monitor runs all night. Only
 * lengths of whole ticks, so that every age is exact.
 */
static bool put_off(struct wi_hazard *hazard, const struct weir_policy_period *period,
                    uint64_t period_ns)
{
    bool same = hazard->quiet == 0 || hazard->quiet_ns == period_ns;
    if (period->touched_count > 0 || !same || period_ns % WI_HAZARD_TICK_NS != 0) return false;
    hazard->quiet++;
    hazard->quiet_ns = period_ns;
    hazard->quiet_end = hazard->now;
    return true;
}

static void touch(struct wi_hazard *hazard, uint32_t number, double period_s)
{
    wi_require(number < hazard->objects_max);
    struct wi_hazard_object *object = &hazard->objects[number];
    if (!(object->flags & WI_HAZARD_PLACED)) return;
    uint32_t age = hazard->now - object->touched_at;
    bool     known = object->touches > 0;
    for (unsigned i = 0; i < WEIR_BOUNDARIES; i++) {
        struct wi_hazard_boundary *boundary = &hazard->boundary[i];
        bool                       by_recency = known && age <= boundary->yardstick.age_max;
        boundary->yardstick.window += (object->tier <= i) - by_recency;
        /* Recency promotes at every miss; where that is dear, sparing it makes up for hits. */
        if (!by_recency) boundary->yardstick.window += wi_hazard_dearness(boundary);
    }
    if (known) wi_hazard_model_touch(&hazard->model, object->touches, age, period_s);
    if (object->touches < WI_HAZARD_TOUCHES) object->touches++;
    object->touched_at = hazard->now;
    if (object->tier == 0 || object->flags & (WI_HAZARD_PINNED | WI_HAZARD_QUEUED)) return;
    object->flags |= WI_HAZARD_QUEUED;
    hazard->candidates[hazard->candidates_count++] = number;
}

/* Have candidates been gathered for long enough, or is there room for all? */
static bool ready(const struct wi_hazard *hazard)
{
    const struct wi_hazard_boundary *device = &hazard->boundary[WEIR_TIER_DEVICE];
    if (hazard->candidates_count == 0) return false;
    if (hazard->now >= hazard->decide_at) return true;
    return device->used + hazard->candidates_count <= device->capacity;
}

static void learn(struct wi_hazard *hazard, const struct weir_policy_period *period)
{
    uint64_t period_ns = period->now_ns - hazard->last_ns;
    double   period_s = (double)period_ns / (double)WI_NS_PER_S;
    wi_require(period->now_ns >= hazard->last_ns);
    hazard->last_ns = period->now_ns;
    if (hazard->candidates_count == 0) hazard->decide_at = hazard->now + GATHER_TICKS;
    hazard->now = (uint32_t)((period->now_ns - hazard->start_ns) / WI_HAZARD_TICK_NS);
    if (!put_off(hazard, period, period_ns)) {
        expose_quiet(hazard);
        expose(hazard, hazard->now, 1, period_ns);
    }
    for (size_t i = 0; i < period->touched_count; i++) touch(hazard, period->touched[i], period_s);
    for (int i = 0; i < WEIR_BOUNDARIES; i++) {
        struct wi_hazard_yardstick *yardstick = &hazard->boundary[i].yardstick;
        /* Under pressure the policy may not follow either ranking. */
        if (period->pressure >= WEIR_HIGH) yardstick->window = 0;
        if (wi_hazard_yardstick_turn(yardstick, hazard->now)) hazard->walk_at = hazard->now;
    }
}

static size_t answer_period(void *ctx, const struct weir_policy_period *period,
                            struct weir_policy_move *moves)
{
    struct wi_hazard       *hazard = ctx;
    struct wi_hazard_answer answer = {.moves = moves, .count_max = period->moves_max};
    learn(hazard, period);
    wi_hazard_shrink(hazard, &answer);
    if (!ready(hazard)) return answer.count;
    expose_quiet(hazard);
    if (period->pressure >= WEIR_HIGH) {
        wi_hazard_dismiss(hazard);
        return answer.count;
    }
    if (hazard->now - hazard->model.fitted_at >= FIT_TICKS)
        wi_hazard_model_fit(&hazard->model, hazard->now);
    double cost[WEIR_BOUNDARIES];
    for (int i = 0; i < WEIR_BOUNDARIES; i++) {
        cost[i] = hazard->boundary[i].cost;
        if (period->pressure == WEIR_TIGHT) cost[i] = fmax(cost[i], WI_POLICY_COST_TIGHT);
    }
    wi_hazard_promote(hazard, &answer, cost);
    return answer.count;
}

const struct weir_policy wi_policy_hazard = {
    .struct_size = sizeof(struct weir_policy),
    .name = "hazard",
    .create = create,
    .destroy = destroy,
    .place = place,
    .remove = forget,
    .resize = resize,
    .period = answer_period,
};
