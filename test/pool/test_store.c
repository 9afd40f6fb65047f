/* SPDX-License-Identifier: Apache-2.0 */
/* The free store by itself, where a record is in somebody's hand while another looks: permits of headroom, and records to divert. */
#include "pool/fixture.h"

#include "pool/store.h"

enum { RECORDS = 3 };

static struct wi_store  store;
static struct wi_slot   slot;
static struct wi_record record[RECORDS];
static struct wi_record *hand[RECORDS]; /* taken, as by a server, without a permit */
static struct wi_record *given[RECORDS];
static struct wi_waiter  waiter;
static unsigned         diverted;

static void divert(void *ctx, struct wi_record *taken)
{
    (void)ctx;
    wi_store(&taken->word, WI_GONE, relaxed);
    diverted++;
}

static void note(struct wi_waiter *ended)
{
    cr_assert_eq(ended, &waiter);
}

/* Between an acquire that has a permit, and finds nothing, and its end: another queues, and a third has the lock. */
static void queue_another(void *ctx)
{
    (void)ctx;
    waiter.notify = note;
    ok(wi_queue_submit(&store, &(struct wi_ask){.deadline_ns = WEIR_FOREVER, .need = RECORDS}, &waiter, given));
    wi_queue_enter(&store);
}

/* All records in the commons. Two for everybody, the last for HIGH. */
static void open_store(void (*reap)(void *ctx))
{
    struct wi_store_opts opts = {.records = record,
                                 .records_max = RECORDS,
                                 .headroom = 1,
                                 .age_ns = WEIR_FOREVER,
                                 .owner = {.reap = reap, .divert = divert}};
    wi_store_make(&store, &slot, 1);
    ok(wi_store_init(&store, &opts));
    for (int i = 0; i < RECORDS; i++) ok(wi_store_publish(&store, &record[i], WI_GONE));
}

static void close_store(void)
{
    wi_store_shut(&store, WI_GATE_CLOSED);
    (void)wi_store_collect(&store);
    wi_store_fini(&store);
}

static void take_all_in_hand(void)
{
    bool lied = false;
    for (int i = 0; i < RECORDS; i++) cr_assert_not_null(hand[i] = wi_store_look(&store, &lied));
}

static void put_all_back(void)
{
    for (int i = 0; i < RECORDS; i++) ok(wi_store_put(&store, hand[i], WI_LEASED));
}

static int64_t permits(void)
{
    return wi_load(&store.available, relaxed);
}

static int acquire(uint32_t priority, uint32_t need, uint64_t deadline_ns)
{
    struct wi_record *got[RECORDS];
    return wi_store_acquire_slow(
        &store, &(struct wi_ask){.deadline_ns = deadline_ns, .priority = priority, .need = need},
        got);
}

Test(store, a_permit_that_finds_nothing_is_given_back)
{
    open_store(NULL);
    cr_assert_eq(permits(), RECORDS);
    take_all_in_hand();
    cr_assert_eq(acquire(1, 1, WEIR_NOW), WEIR_EAGAIN);
    cr_assert_eq(permits(), RECORDS);
    cr_assert_eq(acquire(1, 2, weir_deadline_after_ns(1000000)), WEIR_ETIMEDOUT);
    cr_assert_eq(permits(), RECORDS);
    put_all_back();
    ok(acquire(1, 1, WEIR_NOW));
    ok(acquire(1, 1, WEIR_NOW));
    cr_assert_eq(acquire(1, 1, WEIR_NOW), WEIR_EAGAIN, "the last one is for HIGH");
    ok(acquire(0, 1, WEIR_NOW));
    cr_assert_eq(permits(), 0);
    close_store();
}

/* Who queued while the permit was taken has found too few: whoever holds the lock is told to look again. */
Test(store, a_permit_given_back_is_told_of)
{
    const uint32_t pending = 2; /* queue.c */
    open_store(queue_another);
    take_all_in_hand();
    cr_assert_eq(acquire(1, 1, 1), WEIR_ETIMEDOUT); /* long past, and the lock is not to be had */
    cr_assert_eq(permits(), RECORDS);
    cr_assert(wi_load(&store.lock, relaxed) & pending, "nobody was told");
    put_all_back();
    wi_queue_leave(&store);
    cr_assert_eq(wi_load(&waiter.word, acquire), WI_GIVEN);
    cr_assert_eq(permits(), 0);
    close_store();
}

Test(store, a_diverted_record_takes_its_permit_along)
{
    open_store(NULL);
    (void)wi_or(&record[0].attention, WI_ATTENTION_DIVERT, seq_cst);
    ok(acquire(1, 1, WEIR_NOW)); /* passes over the first */
    cr_assert_eq(diverted, 1);
    cr_assert_eq(permits(), 1);
    (void)wi_or(&record[2].attention, WI_ATTENTION_DIVERT, seq_cst);
    wi_store_sweep(&store);
    cr_assert_eq(diverted, 2);
    cr_assert_eq(permits(), 0);
    cr_assert_eq(acquire(0, 1, WEIR_NOW), WEIR_EAGAIN);
    close_store();
}
