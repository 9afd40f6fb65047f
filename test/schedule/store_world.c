/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/store_world.h"

/* Steps of its own that a call may take, with two others in its way as often as the bounds allow. */
#define ACQUIRE_STEPS 3000
#define RELEASE_STEPS 1500

struct store_world world;

unsigned schedule_serve_rounds = 4;

static void kick(void *ctx)
{
    (void)ctx;
    world.wants_service = 1;
    if (world.serving != 1 + schedule_self()) wi_kick(&world.keeper); /* the keeper's own serving may ask for more of it: it polls then */
}

void store_set_up(const struct store_shape *shape)
{
    struct wi_store_opts opts = {.records = world.record,
                                 .records_max = shape->records,
                                 .slots = shape->slots,
                                 .headroom = shape->headroom,
                                 .age_ns = WEIR_FOREVER,
                                 .owner = {.kick = kick, .ctx = &world}};
    wi_store_make(&world.store, world.slot, WORLD_SLOTS);
    schedule_require(wi_store_init(&world.store, &opts) == 0);
    for (uint32_t i = 0; i < shape->records; i++) {
        struct wi_record *record = &world.record[i];
        if (i >= shape->records - shape->retiring) {
            wi_store(&record->word, WI_RETIRING, relaxed);
        } else if (i < shape->slots) {
            wi_store_settle(&world.store, record, i);
            wi_store(&record->word, WI_FREE | WI_HOME, relaxed);
            if (shape->headroom) wi_add(&world.store.available, 1, relaxed);
        } else {
            schedule_require(wi_store_publish(&world.store, record, WI_GONE) == 0);
        }
    }
    schedule_quiet(&world.store.stat, sizeof world.store.stat);
    schedule_quiet(&world.store.acquire, sizeof world.store.acquire);
    schedule_quiet(&world.store.wait, sizeof world.store.wait);
    for (uint32_t i = 0; i < shape->records; i++) schedule_quiet(&world.record[i].period, sizeof(uint32_t));
}

static uint32_t free_records(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world.store.records_max; i++)
        count += wi_word_state(wi_load(&world.record[i].word, relaxed)) == WI_FREE;
    return count;
}

static bool in_a_slot(const struct wi_record *record)
{
    for (uint32_t i = 0; i < world.store.slots; i++) {
        if (wi_load(&world.slot[i].record, relaxed) == record) return true;
    }
    return false;
}

void store_judge(void)
{
    struct wi_store *store = &world.store;
    uint32_t         records = store->records_max;
    uint32_t         lock = wi_load(&store->lock, relaxed);
    schedule_require(free_records() == records, "%u of %u are free at the end", free_records(), records);
    schedule_require((wi_load(&store->gate, relaxed) & WI_GATE_QUEUED) == 0, "somebody is queued still");
    schedule_require((lock & 1) == 0, "the queue is locked still");
    schedule_require(store->pile_count == 0, "%zu in the pile", store->pile_count);
    for (uint32_t i = 0; i < records; i++) {
        uint64_t word = wi_load(&world.record[i].word, relaxed);
        schedule_require(!(word & WI_HOME) || in_a_slot(&world.record[i]), "record %u is at home nowhere", i);
    }
    if (store->headroom)
        schedule_require(wi_load(&store->available, relaxed) == (int64_t)records, "%lld permits for %u",
                         (long long)wi_load(&store->available, relaxed), records);
    if (wi_load(&store->gate, relaxed) & WI_GATE_SHUT) return;
    for (uint32_t i = 0; i <= records; i++) {
        struct wi_record *record = NULL;
        int err = wi_store_acquire_slow(store, &(struct wi_ask){.deadline_ns = WEIR_NOW, .need = 1}, &record);
        if (i == records) {
            schedule_require(err == WEIR_EAGAIN, "there are more objects than there were");
        } else {
            schedule_require(err == 0, "object %u of %u is lost", i, records);
        }
    }
}

void store_at_rest(void)
{
    bool waits = (wi_load(&world.store.gate, relaxed) & WI_GATE_QUEUED) != 0;
    schedule_require(!waits || free_records() == 0 || world.store.headroom > 0, "somebody sleeps, and %u are free",
                     free_records());
}

struct wi_record *store_acquire(uint64_t deadline_ns, uint32_t priority)
{
    struct wi_ask ask = {.deadline_ns = deadline_ns, .priority = priority, .need = 1};
    schedule_operation("acquire", ACQUIRE_STEPS);
    struct wi_record *record = wi_store_hit(&world.store);
    if (!record) {
        int err = wi_store_acquire_slow(&world.store, &ask, &record);
        schedule_require(err == 0 || err == WEIR_EAGAIN || err == WEIR_ETIMEDOUT || err == WEIR_ECLOSED);
        if (err < 0) world.refused++;
        if (err < 0) record = NULL;
    }
    schedule_operation(NULL, 0);
    if (record) schedule_own(&world.owner[record->index]);
    return record;
}

void store_release(struct wi_record *record)
{
    schedule_disown(&world.owner[record->index]);
    schedule_operation("release", RELEASE_STEPS);
    schedule_require(wi_store_release(record) == 0);
    schedule_operation(NULL, 0);
}

void store_keeper(void)
{
    while (true) {
        uint32_t seen = wi_kick_begin(&world.keeper);
        world.wants_service = 0;
        world.serving = 1 + schedule_self();
        wi_store_serve(&world.store);
        world.serving = 0;
        if (world.wants_service) {
            schedule_yield();
        } else {
            wi_kick_sleep(&world.keeper, seen, WEIR_FOREVER);
        }
    }
}
