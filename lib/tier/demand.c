/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demand.c - a borrow or prefetch that needs the buffer in another tier: the monitor moves it, the caller sleeps
 *
 * Ownership: a demand belongs to its thread when it is DONE, and to the monitor when it was GIVEN_UP.
 */
#include "base/alloc.h"
#include "sync/futex.h"
#include "tier/place.h"

enum { WAITING = 0, DONE, GIVEN_UP };

struct wi_demand {
    struct wi_demand *next;
    struct wi_want    want;
    _Atomic uint32_t  word; /* futex */
    int               result;
};

static int wait_for(struct wi_tier *tier, struct wi_demand *demand)
{
    struct wi_demand *head = wi_load(&tier->demands, relaxed);
    do {
        demand->next = head;
        /* order(demand): release; pairs with the exchange in wi_demands_serve_locked(). */
    } while (!wi_cas(&tier->demands, &head, demand, release));
    wi_kick(&tier->context->monitor);
    while (wi_load(&demand->word, acquire) == WAITING) {
        if (wi_futex_wait(&demand->word, WAITING, demand->want.deadline_ns) != -ETIMEDOUT) continue;
        uint32_t waiting = WAITING;
        if (wi_cas(&demand->word, &waiting, GIVEN_UP, acq_rel)) return WEIR_ETIMEDOUT;
    }
    int result = demand->result;
    wi_free(demand);
    return result;
}

int wi_demand_wait(struct wi_tier *tier, const struct wi_want *want)
{
    if (want->deadline_ns == WEIR_NOW)
        return WI_FAIL(AGAIN, .detail = "the buffer is in another tier, and WEIR_NOW moves nothing",
                       .setting = "a deadline, or weir_buffer_prefetch()");
    struct wi_demand *demand = wi_calloc(1, sizeof *demand);
    if (!demand) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a demand for a move");
    demand->want = *want;
    int err = wait_for(tier, demand);
    if (err == WEIR_ETIMEDOUT) return WI_FAIL(TIMEDOUT, .detail = "the buffer had not been moved");
    if (err == WEIR_EEXCEEDS)
        return WI_FAIL(EXCEEDS, .limit = "budget of the tier", .wanted = 1,
                       .limit_value = tier->arena[want->slowest == WEIR_TIER_PINNED ? WEIR_TIER_PINNED : WEIR_TIER_DEVICE].limit,
                       .setting = "weir_tier_opts.device_buffers or pinned_buffers");
    if (err == WEIR_EDEVICE) return WI_FAIL_BLAMED(DEVICE, &tier->blame, .detail = "the device failed a move");
    return err;
}

/* ---- the monitor's side ---- */

/* The resident of a tier that was touched longest ago and may move. */
static uint32_t coldest(const struct wi_tier *tier, const struct wi_arena *arena)
{
    uint32_t victim = WI_NOBODY, oldest = UINT32_MAX;
    uint32_t period = wi_load(&tier->period, relaxed);
    for (size_t i = 0; i < arena->slab->blocks; i++) {
        uint32_t index = arena->owner[i];
        if (index == WI_NOBODY || wi_load(&tier->place[index].flags, relaxed) & WI_PLACE_STAYS) continue;
        uint64_t word = wi_load(&tier->place[index].word, acquire);
        if (wi_place_block(word) != i || &tier->arena[wi_place_tier(word)] != arena) continue; /* in limbo */
        uint32_t age = wi_load(&tier->touched[index], relaxed);
        if (period - age >= period - oldest || victim == WI_NOBODY) {
            victim = index;
            oldest = age;
        }
    }
    return victim;
}

static void tell(struct wi_tier *tier, uint32_t index)
{
    struct weir_policy_place now = {.object = index, .tier = wi_place_tier(wi_load(&tier->place[index].word, acquire))};
    if (tier->known[index]) tier->policy.place(tier->policy_ctx, &now);
}

static int move_now(struct wi_tier *tier, uint32_t index, uint32_t to)
{
    struct wi_arena *arena = &tier->arena[to];
    if (to != WEIR_TIER_PAGEABLE && arena->used >= arena->limit) {
        uint32_t       victim = arena->limit > 0 ? coldest(tier, arena) : WI_NOBODY;
        struct wi_move down = {.index = victim, .to = WEIR_TIER_PAGEABLE};
        if (victim == WI_NOBODY) return WEIR_EEXCEEDS;
        wi_mover_run_locked(tier, &down, 1);
        tell(tier, victim);
        if (down.result < 0) return down.result;
        if (arena->used >= arena->limit + 1) return WEIR_EAGAIN; /* its old block is still being read */
    }
    struct wi_move move = {.index = index, .to = to};
    wi_mover_run_locked(tier, &move, 1);
    tell(tier, index);
    return move.result;
}

/* Returns AGAIN when it should be tried once more. */
static int serve(struct wi_tier *tier, const struct wi_want *want)
{
    if (tier->stopped) return WEIR_EDEVICE;
    uint32_t now = wi_place_tier(wi_load(&tier->place[want->index].word, acquire));
    if (now >= want->fastest && now <= want->slowest) return 0;
    /* Up: the nearest tier that will do, if it has memory; else the next one up. Down: one step below. */
    if (now < want->fastest) {
        bool pinned = tier->arena[WEIR_TIER_PINNED].limit > 0 && want->fastest == WEIR_TIER_PINNED;
        return move_now(tier, want->index, pinned ? WEIR_TIER_PINNED : WEIR_TIER_PAGEABLE);
    }
    uint32_t to = want->slowest;
    while (to > want->fastest && tier->arena[to].limit == 0) to--;
    if (tier->arena[to].limit == 0) return WEIR_EEXCEEDS;
    return move_now(tier, want->index, to);
}

static void finish(struct wi_demand *demand, int result)
{
    uint32_t          waiting = WAITING;
    _Atomic uint32_t *word = &demand->word;
    demand->result = result;
    if (wi_cas(word, &waiting, DONE, acq_rel)) {
        wi_futex_wake(word, 1); /* the demand may be gone by now; a wake of nobody does no harm */
    } else {
        wi_free(demand);
    }
}

void wi_demands_serve_locked(struct wi_tier *tier)
{
    struct wi_demand *demand = wi_exchange(&tier->demands, NULL, acquire); /* order(demand) */
    struct wi_demand *again = NULL;
    while (demand) {
        struct wi_demand *next = demand->next;
        bool              given_up = wi_load(&demand->word, acquire) == GIVEN_UP;
        int               result = given_up ? 0 : serve(tier, &demand->want);
        if (result == WEIR_EAGAIN) {
            demand->next = again;
            again = demand;
        } else {
            wi_bump(&tier->stat.demands, 1);
            finish(demand, result);
        }
        demand = next;
    }
    while (again) { /* crossed by a writer or by device work: back into the inbox for the next visit */
        struct wi_demand *next = again->next;
        struct wi_demand *head = wi_load(&tier->demands, relaxed);
        do {
            again->next = head;
        } while (!wi_cas(&tier->demands, &head, again, release));
        again = next;
    }
}
