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
    bool              unattended; /* nobody waits: it is the monitor's from the beginning */
};

static void push(struct wi_tier *tier, struct wi_demand *demand)
{
    struct wi_demand *head = wi_load(&tier->demands, relaxed);
    do {
        demand->next = head;
        /* order(demand): release; pairs with the exchange in wi_demands_serve_locked(). */
    } while (!wi_cas(&tier->demands, &head, demand, seq_cst));
    wi_kick(&tier->context->monitor);
    if (wi_load(&tier->closed, seq_cst)) { /* order(tier-closed) */
        pthread_mutex_lock(&tier->lock);
        wi_demands_end_locked(tier, WEIR_ECLOSED);
        pthread_mutex_unlock(&tier->lock);
    }
}

static int wait_for(struct wi_demand *demand)
{
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
    push(tier, demand);
    int err = wait_for(demand);
    if (err == WEIR_ETIMEDOUT) return WI_FAIL(TIMEDOUT, .detail = "the buffer had not been moved");
    if (err == WEIR_EBUSY)
        return WI_FAIL(BUSY, .detail = "the buffer is pinned to another tier", .setting = "weir_buffer_set_pinned()");
    if (err == WEIR_ECLOSED) return WI_FAIL(CLOSED, .detail = "the pool was destroyed: its buffers move no more");
    if (err == WEIR_EEXCEEDS)
        return WI_FAIL(EXCEEDS, .limit = "budget of the tier", .wanted = 1,
                       .limit_value = wi_load(&tier->arena[want->slowest == WEIR_TIER_PINNED ? WEIR_TIER_PINNED : WEIR_TIER_DEVICE].limit, relaxed),
                       .setting = "weir_tier_opts.device_buffers or pinned_buffers");
    if (err == WEIR_EDEVICE) return WI_FAIL_BLAMED(DEVICE, &tier->blame, .detail = "the device failed a move");
    return err;
}

/* One for each buffer at a time, so that asking often does not fill the inbox. */
int wi_demand_ask(struct wi_tier *tier, const struct wi_want *want)
{
    struct wi_place *place = &tier->place[want->index];
    if (wi_or(&place->flags, WI_PLACE_ASKED, acq_rel) & WI_PLACE_ASKED) return 0;
    struct wi_demand *demand = wi_calloc(1, sizeof *demand);
    if (!demand) {
        (void)wi_and(&place->flags, ~(uint32_t)WI_PLACE_ASKED, release);
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "a demand for a move");
    }
    demand->want = *want;
    demand->unattended = true;
    push(tier, demand);
    return 0;
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
        if (word & WI_WRITER_MASK) continue; /* maybe the asker's own */
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
    const struct wi_place   *place = &tier->place[index];
    struct weir_policy_place now = {.object = index,
                                    .tier = wi_place_tier(wi_load(&place->word, acquire)),
                                    .flags = wi_load(&place->flags, relaxed) & WI_PLACE_STAYS ? WEIR_PLACE_PINNED : 0};
    if (tier->known[index]) tier->policy.place(tier->policy_ctx, &now);
}

/* Blocks in limbo come free when their device work or their readers have ended, written ones when the writer returns. */
static bool may_come_free(const struct wi_tier *tier, uint32_t in)
{
    const struct wi_arena *arena = &tier->arena[in];
    if (wi_limbo_holds(tier, in)) return true;
    for (size_t i = 0; i < arena->slab->blocks; i++) {
        uint32_t index = arena->owner[i];
        if (index == WI_NOBODY || wi_load(&tier->place[index].flags, relaxed) & WI_PLACE_STAYS) continue;
        if (wi_load(&tier->place[index].word, acquire) & WI_WRITER_MASK) return true;
    }
    return false;
}

static int move_now(struct wi_tier *tier, uint32_t index, uint32_t to)
{
    struct wi_arena *arena = &tier->arena[to];
    size_t limit = wi_load(&arena->limit, relaxed); /* changed under the lock only */
    if (to != WEIR_TIER_PAGEABLE && arena->used >= limit) wi_limbo_settle_locked(tier);
    if (to != WEIR_TIER_PAGEABLE && arena->used >= limit) {
        uint32_t       victim = limit > 0 ? coldest(tier, arena) : WI_NOBODY;
        struct wi_move down = {.index = victim, .to = WEIR_TIER_PAGEABLE};
        if (victim == WI_NOBODY) return limit > 0 && may_come_free(tier, to) ? WEIR_EAGAIN : WEIR_EEXCEEDS;
        wi_mover_run_locked(tier, &down, 1);
        tell(tier, victim);
        if (down.result < 0) return down.result;
        if (arena->used >= limit + 1) return WEIR_EAGAIN; /* its old block is still being read */
    }
    struct wi_move move = {.index = index, .to = to};
    wi_mover_run_locked(tier, &move, 1);
    tell(tier, index);
    return move.result;
}

/*
 * Returns AGAIN when it should be tried once more. Among the tiers that will do the slowest that has memory is tried first
 * going up, and the fastest going down; the others follow where there is no room.
 */
static int serve(struct wi_tier *tier, const struct wi_want *want)
{
    const struct wi_place *place = &tier->place[want->index];
    uint32_t               now = wi_place_tier(wi_load(&place->word, acquire));
    int                    result = WEIR_EEXCEEDS;
    if (tier->stopped) return WEIR_EDEVICE;
    if (now >= want->fastest && now <= want->slowest) return 0;
    if (wi_load(&place->flags, seq_cst) & WI_PLACE_STAYS) return WEIR_EBUSY; /* weir_buffer_set_pinned() */
    for (uint32_t i = 0; i <= want->slowest - want->fastest && result == WEIR_EEXCEEDS; i++) {
        uint32_t to = now > want->slowest ? want->slowest - i : want->fastest + i;
        if (to != WEIR_TIER_PAGEABLE && wi_load(&tier->arena[to].limit, relaxed) == 0) continue;
        result = move_now(tier, want->index, to);
    }
    return result;
}

static void finish(struct wi_tier *tier, struct wi_demand *demand, int result)
{
    uint32_t          waiting = WAITING;
    _Atomic uint32_t *word = &demand->word;
    if (demand->unattended) {
        (void)wi_and(&tier->place[demand->want.index].flags, ~(uint32_t)WI_PLACE_ASKED, release);
        wi_free(demand);
        return;
    }
    demand->result = result;
    if (wi_cas(word, &waiting, DONE, acq_rel)) {
        wi_futex_wake(word, 1); /* the demand may be gone by now; a wake of nobody does no harm */
    } else {
        wi_free(demand);
    }
}

void wi_demands_end_locked(struct wi_tier *tier, int result)
{
    struct wi_demand *demand = wi_exchange(&tier->demands, NULL, seq_cst); /* order(demand) */
    while (demand) {
        struct wi_demand *next = demand->next;
        finish(tier, demand, result);
        demand = next;
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
            finish(tier, demand, result);
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
