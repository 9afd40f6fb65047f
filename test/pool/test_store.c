/* SPDX-License-Identifier: Apache-2.0 */
/* The free store by itself, where a record is in somebody's hand while another looks: permits of headroom, and records to divert. */
#include "pool/fixture.h"

#include "pool/store.h"

enum { RECORDS = 3 };

static struct wi_store  store;
static struct wi_slot   slot;
static struct wi_record record[RECORDS];
static unsigned         diverted;

static void divert(void *ctx, struct wi_record *taken)
{
    (void)ctx;
    wi_store(&taken->word, WI_GONE, relaxed);
    diverted++;
}

/* All records in the commons. Two for everybody, the last for HIGH. */
static void open_store(void)
{
    struct wi_store_opts opts = {.records = record,
                                 .records_max = RECORDS,
                                 .headroom = 1,
                                 .age_ns = WEIR_FOREVER,
                                 .owner = {.divert = divert}};
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
    struct wi_record *hand[RECORDS];
    bool              lied = false;
    open_store();
    cr_assert_eq(permits(), RECORDS);
    for (int i = 0; i < RECORDS; i++)
        cr_assert_not_null(hand[i] = wi_store_look(&store, &lied)); /* by a server, say */
    cr_assert_eq(acquire(1, 1, WEIR_NOW), WEIR_EAGAIN);
    cr_assert_eq(permits(), RECORDS);
    cr_assert_eq(acquire(1, 2, weir_deadline_after_ns(1000000)), WEIR_ETIMEDOUT);
    cr_assert_eq(permits(), RECORDS);
    for (int i = 0; i < RECORDS; i++) ok(wi_store_put(&store, hand[i], WI_LEASED));
    ok(acquire(1, 1, WEIR_NOW));
    ok(acquire(1, 1, WEIR_NOW));
    cr_assert_eq(acquire(1, 1, WEIR_NOW), WEIR_EAGAIN, "the last one is for HIGH");
    ok(acquire(0, 1, WEIR_NOW));
    cr_assert_eq(permits(), 0);
    close_store();
}

Test(store, a_diverted_record_takes_its_permit_along)
{
    open_store();
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
