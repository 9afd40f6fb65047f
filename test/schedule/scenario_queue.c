/* SPDX-License-Identifier: Apache-2.0 */
/* scenario_queue.c - waiting: hand-off, deadlines, headroom, batches, asynchronous waiters, closing */
#include "schedule/store_world.h"

static void pair(void)
{
    struct wi_record *record = store_acquire(WEIR_FOREVER, 1);
    schedule_require(record, "a wait without a deadline ends with an object");
    store_release(record);
}

static void two_pairs(void)
{
    pair();
    pair();
}

static void one_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 1, .slots = 1});
}

SCENARIO(handoff, .about = "one object, two threads, two rounds: wait and be given",
         .fibers = {{"a", two_pairs}, {"b", two_pairs, .cpu = 1}}, .set_up = one_set_up, .judge = store_judge, .bound = 3,
         .full_bound = 4, .weak = 1);

SCENARIO(queue, .about = "one object, three threads: two may wait at once", .fibers = {{"a", pair}, {"b", pair}, {"c", pair}},
         .set_up = one_set_up, .judge = store_judge, .bound = 2, .full_bound = 3, .weak = 1);

static void homeless_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 1, .slots = 0});
}

SCENARIO(handoff_commons, .about = "the same with everything through ck_fifo and a keeper for what it lies about",
         .fibers = {{"a", two_pairs}, {"b", two_pairs}, {"keeper", store_keeper, .daemon = 1}}, .set_up = homeless_set_up,
         .judge = store_judge, .bound = 1, .full_bound = 2);

static void rounds_set_up(void)
{
    one_set_up();
    schedule_serve_rounds = 1;
}

SCENARIO(rounds, .about = "a releaser that may serve once only leaves the rest to the keeper, and tells it",
         .fibers = {{"a", pair}, {"b", pair}, {"c", pair}, {"keeper", store_keeper, .daemon = 1}}, .set_up = rounds_set_up,
         .judge = store_judge, .bound = 1, .full_bound = 2);

/* ---- deadlines ---- */

#define SOON_NS 5000000

static void timed_pair(void)
{
    struct wi_record *record = store_acquire(SOON_NS, 1);
    if (record) store_release(record);
}

SCENARIO(deadline, .about = "a deadline passes beside the hand-off", .fibers = {{"a", timed_pair}, {"b", pair}, {"c", timed_pair}},
         .set_up = one_set_up, .judge = store_judge, .at_rest = store_at_rest, .bound = 2, .full_bound = 3, .weak = 1);

static void now_pair(void)
{
    struct wi_record *record = store_acquire(WEIR_NOW, 1);
    if (record) store_release(record);
}

SCENARIO(now_beside_wait, .about = "who does not wait passes through the queue of who does",
         .fibers = {{"a", now_pair}, {"b", pair}, {"c", pair}}, .set_up = one_set_up, .judge = store_judge, .bound = 2,
         .full_bound = 3, .weak = 1);

/* ---- headroom: the last object is for the high class ---- */

static void high_pair(void)
{
    struct wi_record *record = store_acquire(WEIR_FOREVER, 0);
    schedule_require(record);
    store_release(record);
}

static void low_pair(void)
{
    struct wi_record *record = store_acquire(WEIR_FOREVER, 2);
    schedule_require(record);
    uint32_t held = 0;
    for (unsigned i = 0; i < 2; i++) held += world.owner[i] != 0;
    store_release(record);
}

static void low_timed_pair(void)
{
    struct wi_record *record = store_acquire(SOON_NS, 2);
    if (record) store_release(record);
}

static void headroom_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 2, .slots = 1, .headroom = 1});
}

SCENARIO(headroom, .about = "permits: a low acquire leaves one object for high ones, and none is lost",
         .fibers = {{"low", low_pair}, {"high", high_pair}, {"other", low_timed_pair}}, .set_up = headroom_set_up,
         .judge = store_judge, .bound = 2, .full_bound = 3);

/* ---- batches ---- */

static void batch(void)
{
    struct wi_record *record[2] = {NULL, NULL};
    struct wi_ask     ask = {.deadline_ns = SOON_NS, .priority = 1, .need = 2};
    int               err = wi_store_acquire_slow(&world.store, &ask, record);
    schedule_require(err == 0 || err == WEIR_ETIMEDOUT);
    if (err < 0) return;
    for (int i = 0; i < 2; i++) schedule_own(&world.owner[record[i]->index]);
    for (int i = 0; i < 2; i++) store_release(record[i]);
}

static void two_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 2, .slots = 1});
}

SCENARIO(batch, .about = "one waits for both objects, with a deadline; two others for one each",
         .fibers = {{"batch", batch}, {"b", pair}, {"c", pair}}, .set_up = two_set_up, .judge = store_judge, .bound = 2,
         .full_bound = 3);

/* ---- asynchronous waiters ---- */

static struct wi_waiter  asynchronous;
static struct wi_record *delivered;
static uint32_t          notified;

static void notify(struct wi_waiter *waiter)
{
    (void)waiter;
    notified++;
}

static void submit_then_cancel(void)
{
    struct wi_ask ask = {.priority = 1, .need = 1};
    asynchronous.notify = notify;
    schedule_require(wi_queue_submit(&world.store, &ask, &asynchronous, &delivered) == 0);
    schedule_point("(submitted)");
    int err = wi_queue_cancel(&world.store, &asynchronous);
    schedule_require(err == 0 || err == WEIR_EBUSY);
    schedule_require(notified == (err == WEIR_EBUSY), "notified %u times, cancel answered %d", notified, err);
    if (err == 0) return;
    schedule_require(wi_load(&asynchronous.word, acquire) == WI_GIVEN);
    schedule_own(&world.owner[delivered->index]);
    store_release(delivered);
}

SCENARIO(cancel, .about = "an asynchronous acquire is cancelled while it may be served",
         .fibers = {{"async", submit_then_cancel}, {"b", pair}, {"c", pair}}, .set_up = one_set_up, .judge = store_judge,
         .bound = 2, .full_bound = 3);

/* ---- closing ---- */

static void close_store(void)
{
    wi_store_shut(&world.store, WI_GATE_CLOSED);
    while (true) {
        uint32_t seen = wi_kick_begin(&world.keeper);
        if (wi_store_collect(&world.store) == 0) break;
        wi_kick_sleep(&world.keeper, seen, WEIR_FOREVER);
    }
}

static void pair_or_closed(void)
{
    struct wi_record *record = store_acquire(WEIR_FOREVER, 1);
    if (record) store_release(record);
}

static void closed_judge(void)
{
    for (uint32_t i = 0; i < world.store.records_max; i++)
        schedule_require(wi_word_state(wi_load(&world.record[i].word, relaxed)) == WI_GONE, "record %u was not collected", i);
    schedule_require((wi_load(&world.store.gate, relaxed) & WI_GATE_QUEUED) == 0);
}

SCENARIO(closing, .about = "a pool closes: waiters end, releases bring everything to the collector",
         .fibers = {{"a", pair_or_closed}, {"b", pair_or_closed, .cpu = 1}, {"close", close_store}}, .set_up = one_set_up,
         .judge = closed_judge, .bound = 2, .full_bound = 3, .weak = 1);
