/* SPDX-License-Identifier: Apache-2.0 */
/* store.c - the levels of the free store: slots, lane, commons; see store.h for the picture and the law */
#include "pool/store.h"

#include "base/alloc.h"
#include "base/settings.h"
#include "base/trace.h"
#include "pool/bias.h"

#include <string.h>

uint32_t wi_store_slots_capacity(void)
{
    uint64_t count = wi_setting_given(WI_SETTING_slots) ? wi_settings()->slots : wi_cpu_count();
    if (count > WI_SLOTS_MAX) count = WI_SLOTS_MAX;
    return count < 1 ? 1 : (uint32_t)count;
}

uint32_t wi_store_slots(size_t records_max)
{
    uint32_t capacity = wi_store_slots_capacity();
    if (wi_setting_given(WI_SETTING_slots)) return wi_settings()->slots == 0 ? 0 : capacity;
    size_t slots = records_max / 2 < capacity ? records_max / 2 : capacity;
    return slots < 1 ? 1 : (uint32_t)slots;
}

void wi_store_make(struct wi_store *store, struct wi_slot *slot, uint32_t slots)
{
    memset(store, 0, sizeof *store);
    store->slot = slot;
    store->slots_capacity = slots;
    wi_store(&store->gate, WI_GATE_CLOSED, relaxed);
}

/* The store's memory that is per pool and not type-stable: freed only when no release can be inside. */
static int make_parts(struct wi_store *store, const struct wi_store_opts *opts)
{
    size_t               count = opts->records_max;
    size_t               capacity = 2;
    struct wi_fifo_node *nodes;
    while (capacity < count + 1 && capacity < WI_LANE_CAPACITY) capacity *= 2;

    store->pile = wi_calloc(count, sizeof *store->pile);
    nodes = wi_calloc_aligned(_Alignof(struct wi_fifo_node), count + 1, sizeof *nodes);
    ck_ring_buffer_t *buffer = wi_calloc_aligned(WI_CACHELINE_BYTES, capacity, sizeof *buffer);
    if (!store->pile || !nodes || !buffer) {
        wi_free(store->pile);
        wi_free(nodes);
        wi_free(buffer);
        store->pile = NULL;
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "the free store of a pool",
                       .wanted = count * sizeof *nodes);
    }
    store->nodes = nodes;
    wi_fifo_init(&store->fifo, &nodes[count]);
    wi_ring_init(&store->lane, buffer, (unsigned)capacity);
    for (size_t i = 0; i < count; i++) {
        struct wi_record *record = &opts->records[i];
        record->node = (uint32_t)i;
        record->store = store;
        record->index = (uint32_t)i;
    }
    return 0;
}

/* CPU number to slot, in 16.16 fixed point: spreads the CPUs evenly over fewer slots. */
static uint32_t slot_factor(uint32_t slots)
{
    unsigned cpus = wi_cpu_count();
    return slots >= cpus ? 1u << 16 : (uint32_t)(((uint64_t)(slots ? slots : 1) << 16) / cpus);
}

int wi_store_init(struct wi_store *store, const struct wi_store_opts *opts)
{
    wi_assert(opts->slots <= store->slots_capacity);
    wi_queue_enter(store); /* a late releaser of the block's last pool may be inside: wait until it has left */
    int err = make_parts(store, opts);
    if (err >= 0) {
        store->slots = opts->slots;
        store->slot_factor = slot_factor(opts->slots);
        /* First and always: a section that finds nothing to do writes to the thread's area, too. */
        bool sections = wi_rseq_start();
        /* A section takes the CPU's number for the slot's. */
        store->bias = sections && opts->bias && opts->slots >= wi_cpu_count() && wi_settings()->bias;
        store->sample_mask = store->bias && wi_settings()->bias > 1 ? 0 : WI_SAMPLE_MASK;
        /* A late release may be about to kick: the owner of a block is always the same, and written once. */
        if (memcmp(&store->owner, &opts->owner, sizeof store->owner) != 0) store->owner = opts->owner;
        store->context = opts->context;
        store->records = opts->records;
        store->records_max = (uint32_t)opts->records_max;
        store->headroom = opts->headroom;
        store->low_water = opts->low_water;
        store->age_ns = opts->age_ns;
        store->pile_count = 0;
        wi_store(&store->available, 0, relaxed);
        wi_store(&store->count, 0, relaxed);
        wi_store_zero(store);
        wi_store(&store->gate, (opts->headroom ? WI_GATE_PERMITS : 0) | opts->gate, seq_cst);
    }
    wi_queue_leave(store);
    return err;
}

void wi_store_zero(struct wi_store *store)
{
    wi_store(&store->stat.misses, 0, relaxed);
    wi_store(&store->stat.lane_hits, 0, relaxed);
    wi_store(&store->stat.commons_hits, 0, relaxed);
    wi_store(&store->stat.steal_hits, 0, relaxed);
    wi_store(&store->handoffs, 0, relaxed);
    wi_store(&store->stat.timeouts, 0, relaxed);
    wi_store(&store->stat.misuses, 0, relaxed);
    wi_store(&store->stat.lies, 0, relaxed);
    wi_store(&store->stat.ungiven, 0, relaxed);
    wi_histogram_clear(&store->acquire);
    wi_histogram_clear(&store->wait);
}

void wi_store_fini(struct wi_store *store)
{
    wi_queue_enter(store);
    wi_or(&store->gate, WI_GATE_CLOSED, seq_cst);
    for (uint32_t i = 0; i < store->slots; i++) wi_store(&store->slot[i].record, NULL, relaxed);
    wi_free(store->pile);
    wi_free(store->nodes);
    wi_free(store->lane.buffer);
    store->pile = NULL;
    store->nodes = NULL;
    store->lane.buffer = NULL;
    wi_queue_leave(store);
}

/* ---- putting ---- */

static void put_commons(struct wi_store *store, struct wi_record *record)
{
    /* order(count): raised before the record is in, so that nobody sees 0 while it is; pairs with the load in wi_store_look(). */
    wi_add(&store->count, 1, seq_cst);
    wi_fifo_put(&store->fifo, &store->nodes[record->node], record);
    wi_fence(seq_cst); /* the enqueue is CK's; it must be seen before the gate is read */
}

/* `record` has just left a slot by the caller's exchange: only the caller may clear its HOME. */
static void displace(struct wi_store *store, struct wi_record *record)
{
    uint64_t word;
    do {
        word = wi_bias_settled(record);
        wi_assert(word & WI_HOME);
    } while (!wi_cas(&record->word, &word, word & ~(uint64_t)WI_HOME, seq_cst));
    if (wi_word_state(word) == WI_FREE) put_commons(store, record);
}

static bool slot_is_idle(const struct wi_record *held)
{
    return held && wi_word_state(wi_load(&held->word, relaxed)) == WI_FREE;
}

/* One attempt to make `record` free. False: the word changed under it; look again. */
static bool put_free(struct wi_store *store, struct wi_record *record, uint64_t word)
{
    uint64_t freed = wi_word_with(word, WI_FREE);
    if (word & WI_HOME) return wi_cas(&record->word, &word, freed, seq_cst);

    struct wi_slot *slot = wi_store_own_slot(store);
    if (store->slots == 0 || slot_is_idle(wi_load(&slot->record, acquire))) {
        if (!wi_cas(&record->word, &word, freed, seq_cst)) return false;
        put_commons(store, record);
        return true;
    }
    if (!wi_cas(&record->word, &word, freed | WI_HOME, seq_cst)) return false;
    /* order(slot): seq_cst; the word is HOME before the slot points here. */
    struct wi_record *held = wi_exchange(&slot->record, record, seq_cst);
    if (held) displace(store, held);
    return true;
}

int wi_store_put(struct wi_store *store, struct wi_record *record, enum wi_state from)
{
    /*
     * The epoch keeps the store's parts alive: once the record is free somebody may lease and release it, and
     * the pool may be gone, while this thread still has a slot to clear or CK's tail to help along.
     */
    struct wi_thread *self = wi_thread_self();
    int               err = 0;
    wi_epoch_begin(self);
    while (true) {
        uint64_t word = wi_bias_settled(record);
        if (wi_word_state(word) != from) {
            wi_add(&store->stat.misuses, 1, relaxed);
            err = WEIR_ENOTLEASED;
            break;
        }
        if (put_free(store, record, word)) break;
    }
    wi_epoch_end(self);
    return err;
}

int wi_store_publish(struct wi_store *store, struct wi_record *record, enum wi_state from)
{
    WI_TRY(wi_store_put(store, record, from));
    return wi_load(&store->gate, seq_cst) != 0 ? wi_store_gated(store) : 0;
}

void wi_store_publish_lane(struct wi_store *store, struct wi_record *record, enum wi_state from)
{
    struct wi_thread *self = wi_thread_self();
    uint64_t          word = wi_load(&record->word, relaxed);
    wi_epoch_begin(self);
    do {
        wi_assert(wi_word_state(word) == from);
    } while (!wi_cas(&record->word, &word, wi_word_with(word, WI_FREE), seq_cst));
    if (!(word & WI_HOME) && !wi_ring_put_spmc(&store->lane, record)) put_commons(store, record);
    wi_epoch_end(self);
    wi_fence(seq_cst); /* the enqueue is CK's; it must be seen before the gate is read */
    if (wi_load(&store->gate, seq_cst) != 0) (void)wi_store_gated(store);
}

int wi_store_release_slow(struct wi_record *record, uint64_t word)
{
    /* Maybe only interrupted: another try is cheaper than a fence. */
    for (int i = 0; (word & WI_BIASED) && i < WI_SECTION_TRIES; i++) {
        if (wi_bias_release(record)) return 0;
    }
    return wi_store_publish(record->store, record, WI_LEASED);
}

int wi_store_gated(struct wi_store *store)
{
    uint32_t gate = wi_load(&store->gate, seq_cst);
    if (WI_UNLIKELY(gate & WI_GATE_FORKED)) return WI_FAIL(FORKED, .detail = "a forked child may only exec");
    if (gate & WI_GATE_PERMITS) {
        /* order(permit): after publishing; pairs with the compare-and-swap in wi_queue_permit(). */
        wi_add(&store->available, 1, seq_cst);
        gate = wi_load(&store->gate, seq_cst);
    }
    if (gate & WI_GATE_QUEUED) wi_store_serve(store);
    if (gate & WI_GATE_SHUT) {
        if (store->owner.kick) store->owner.kick(store->owner.ctx);
        if (gate & WI_GATE_DEAD)
            return WI_FAIL(CLOSED, .detail = "released after its runtime was destroyed");
    }
    return 0;
}

/* ---- taking ---- */

/* A record that left the lane or the commons belongs to its taker alone: a plain store leases it. */
static struct wi_record *lease(struct wi_store *store, struct wi_record *record)
{
    uint64_t word = wi_load(&record->word, relaxed);
    wi_assert((word & (WI_STATE_MASK | WI_HOME)) == WI_FREE);
    if (WI_UNLIKELY(wi_load(&record->attention, relaxed) & WI_ATTENTION_DIVERT)) {
        store->owner.divert(store->owner.ctx, record);
        if (store->headroom) wi_sub(&store->available, 1, relaxed);
        return NULL;
    }
    wi_store(&record->word, wi_word_with(word, WI_LEASED) + WI_GENERATION_ONE, relaxed);
    wi_store(&record->period, wi_load(&store->period, relaxed), relaxed);
    return record;
}

static struct wi_record *claim(struct wi_store *store, struct wi_slot *slot)
{
    /* order(release-gate): seq_cst, because a look while leaving the queue must see what a release published. */
    struct wi_record *record = wi_load(&slot->record, seq_cst);
    if (!record) return NULL;
    uint64_t word = wi_load(&record->word, seq_cst);
    while ((word & (WI_STATE_MASK | WI_HOME)) == (WI_FREE | WI_HOME)) {
        if (word & WI_BIASED) {
            word = wi_bias_revoke(record);
            continue;
        }
        uint64_t leased = wi_word_with(word, WI_LEASED) + WI_GENERATION_ONE;
        if (wi_cas(&record->word, &word, leased, acquire)) {
            wi_store(&record->period, wi_load(&store->period, relaxed), relaxed);
            return record;
        }
    }
    return NULL;
}

struct wi_record *wi_store_claim_own(struct wi_store *store)
{
    for (int i = 0; store->bias && i < WI_SECTION_TRIES && wi_load(&store->gate, relaxed) == 0; i++) {
        struct wi_record *record = wi_bias_hit_due(store);
        if (!record) continue;
        wi_store(&record->period, wi_load(&store->period, relaxed), relaxed);
        return record;
    }
    return claim(store, wi_store_own_slot(store));
}

struct wi_record *wi_store_claim_at(struct wi_store *store, uint32_t at)
{
    wi_assert(at < store->slots);
    return claim(store, &store->slot[at]);
}

void wi_store_settle(struct wi_store *store, struct wi_record *record, uint32_t at)
{
    wi_assert(at < store->slots && !wi_load(&store->slot[at].record, relaxed));
    wi_assert(wi_word_state(wi_load(&record->word, relaxed)) == WI_GONE);
    (void)wi_or(&record->word, WI_HOME, relaxed);
    /* order(slot): release; the word is HOME before the slot points here. */
    wi_store(&store->slot[at].record, record, release);
}

struct wi_record *wi_store_look(struct wi_store *store, bool *lied)
{
    struct wi_record *record;
    while ((record = wi_ring_take_spmc(&store->lane))) {
        if (!lease(store, record)) continue;
        wi_add(&store->stat.lane_hits, 1, relaxed);
        return record;
    }
    for (int i = 0; wi_load(&store->count, seq_cst) > 0; i++) {
        struct wi_fifo_node *node;
        if (i == WI_COMMONS_TRIES) {
            *lied = true;
            wi_add(&store->stat.lies, 1, relaxed);
            break;
        }
        record = wi_fifo_take(&store->fifo, &node);
        if (!record) continue;
        /* order(count): lowered after the record is out. */
        wi_sub(&store->count, 1, relaxed);
        record->node = (uint32_t)(node - store->nodes);
        if (!lease(store, record)) {
            i = -1;
            continue;
        }
        wi_add(&store->stat.commons_hits, 1, relaxed);
        return record;
    }
    uint32_t at = (uint32_t)(wi_store_own_slot(store) - store->slot);
    for (uint32_t i = 0; i < store->slots; i++) {
        record = claim(store, &store->slot[at]);
        if (record) {
            wi_add(&store->stat.steal_hits, 1, relaxed);
            return record;
        }
        at = at + 1 == store->slots ? 0 : at + 1;
    }
    return NULL;
}

static void starved(struct wi_store *store)
{
    if (store->owner.starved) store->owner.starved(store->owner.ctx);
}

/*
 * For how many acquires this one is timed; 0: it is not. A hit whose turn it is comes here on purpose; of the others some
 * are timed.
 */
static uint64_t timed_for(const struct wi_store *store, uint32_t gate)
{
    static __thread uint32_t turn;
    const struct wi_record  *record = wi_load(&wi_store_own_slot(store)->record, acquire);
    uint64_t                 word = record ? wi_load(&record->word, relaxed) : 0;
    uint32_t                 often = word & WI_BIASED ? WI_SAMPLE_MASK : store->sample_mask;
    if ((~(word >> WI_GENERATION_SHIFT) & often) == 0 && wi_word_state(word) == WI_FREE) return (uint64_t)often + 1;
    uint32_t mask = gate & (WI_GATE_PERMITS | WI_GATE_LONG) ? WI_SAMPLE_MASK : WI_LOOK_SAMPLE_MASK;
    return (turn++ & mask) == 0 ? mask + 1 : 0;
}

int wi_store_acquire_slow(struct wi_store *store, const struct wi_ask *ask, struct wi_record **out)
{
    uint32_t          gate = wi_load(&store->gate, relaxed);
    struct wi_record *record = NULL;
    bool              lied = false;
    uint64_t          timed = timed_for(store, gate);
    uint64_t          begin_ns = timed ? weir_clock_ns() : 0;

    if (ask->need == 1 && !(gate & (WI_GATE_QUEUED | WI_GATE_SHUT)) && wi_queue_permit(store, ask)) {
        record = wi_store_claim_own(store);
        if (!record) {
            wi_add(&store->stat.misses, 1, relaxed);
            record = wi_store_look(store, &lied);
            int64_t left = wi_load(&store->count, relaxed) + wi_ring_count(&store->lane);
            if (record && left < (int64_t)store->low_water) starved(store);
        }
        if (!record && store->owner.reap) {
            store->owner.reap(store->owner.ctx);
            record = wi_store_claim_own(store);
            if (!record) record = wi_store_look(store, &lied);
        }
        if (!record && store->headroom) {
            /* Somebody may have queued and found no permit meanwhile: he must hear of this one. */
            wi_queue_unpermit(store, 1);
            if (wi_load(&store->gate, seq_cst) & WI_GATE_QUEUED) wi_store_serve(store);
        }
    }
    if (record) {
        if (timed) {
            wi_histogram_add_for(&store->acquire, weir_clock_ns() - begin_ns, timed);
            if (store->bias) wi_bias_grant(store, record);
        }
        *out = record;
        return 0;
    }
    if (!(gate & WI_GATE_SHUT)) starved(store);

    struct wi_waiter *waiter = &wi_thread_self()->waiter;
    if (!timed) begin_ns = weir_clock_ns(); /* every wait is timed */
    waiter->since_ns = begin_ns;
    WI_TRACE_RANGE_BEGIN("wait", "for a free object");
    int err = wi_queue_wait(store, ask, waiter, out);
    WI_TRACE_RANGE_END();
    uint64_t took_ns = weir_clock_ns() - begin_ns;
    WI_TRACE_POINT(wait, store, took_ns, err); /* the store is the first member of its pool */
    if (err == 0 || err == WEIR_ETIMEDOUT) wi_histogram_add(&store->wait, took_ns);
    if (err == 0) wi_histogram_add(&store->acquire, took_ns);
    if (err == WEIR_EAGAIN || err == WEIR_ETIMEDOUT) wi_add(&store->stat.timeouts, 1, relaxed);
    return err;
}

/* ---- closing and sweeping ---- */

static bool take_home(struct wi_record *record, enum wi_state to)
{
    uint64_t word = wi_load(&record->word, seq_cst);
    while ((word & (WI_STATE_MASK | WI_HOME)) == (WI_FREE | WI_HOME)) {
        if (word & WI_BIASED) {
            word = wi_bias_revoke(record);
        } else if (wi_cas(&record->word, &word, wi_word_with(word, to), acquire)) {
            return true;
        }
    }
    return false;
}

/* pre: the record is FREE and not HOME, in the caller's hand. */
static void set_state(struct wi_record *record, enum wi_state to)
{
    uint64_t word = wi_load(&record->word, relaxed);
    wi_store(&record->word, wi_word_with(word, to), release);
}

bool wi_store_take(struct wi_store *store, struct wi_record *record, enum wi_state to)
{
    if (!take_home(record, to)) return false;
    if (store->headroom) wi_sub(&store->available, 1, relaxed);
    return true;
}

size_t wi_store_collect(struct wi_store *store)
{
    struct wi_record    *record;
    struct wi_fifo_node *node;
    wi_assert(wi_load(&store->gate, relaxed) & WI_GATE_SHUT);
    while ((record = wi_ring_take_spmc(&store->lane))) set_state(record, WI_GONE);
    for (int i = 0; i < WI_COMMONS_TRIES && wi_load(&store->count, seq_cst) > 0; i++) {
        while ((record = wi_fifo_take(&store->fifo, &node))) {
            wi_sub(&store->count, 1, relaxed);
            record->node = (uint32_t)(node - store->nodes);
            set_state(record, WI_GONE);
        }
    }
    size_t out = 0;
    for (uint32_t i = 0; i < store->records_max; i++) {
        record = &store->records[i];
        uint64_t state = wi_word_state(wi_load(&record->word, acquire));
        if (state == WI_GONE || state == WI_QUARANTINED || take_home(record, WI_GONE)) continue;
        out++;
    }
    return out;
}

int64_t wi_store_elsewhere(const struct wi_store *store)
{
    return wi_load(&store->count, seq_cst) + (int64_t)wi_ring_count(&store->lane);
}

/*
 * Under the queue's lock: who believes "empty" holds that lock too, so a record in this hand is missed only when it
 * has left for good.
 */
static struct wi_record *pull_locked(struct wi_store *store)
{
    struct wi_fifo_node *node;
    struct wi_record    *record = wi_ring_take_spmc(&store->lane);
    if (!record && (record = wi_fifo_take(&store->fifo, &node))) {
        wi_sub(&store->count, 1, relaxed);
        record->node = (uint32_t)(node - store->nodes);
    }
    return record;
}

struct wi_record *wi_store_pull(struct wi_store *store, enum wi_state to)
{
    wi_queue_enter(store);
    struct wi_record *record = pull_locked(store);
    if (record) {
        set_state(record, to);
        if (store->headroom) wi_sub(&store->available, 1, relaxed);
    }
    wi_queue_leave(store);
    return record;
}

void wi_store_sweep(struct wi_store *store)
{
    for (int64_t todo = wi_store_elsewhere(store); todo > 0; todo--) {
        wi_queue_enter(store);
        struct wi_record *record = pull_locked(store);
        if (record && wi_load(&record->attention, relaxed) & WI_ATTENTION_DIVERT) {
            store->owner.divert(store->owner.ctx, record);
            if (store->headroom) wi_sub(&store->available, 1, relaxed);
        } else if (record) {
            put_commons(store, record);
        }
        wi_queue_leave(store);
    }
}
