/* SPDX-License-Identifier: Apache-2.0 */
/* scenario_store.c - acquire and release: hits, steals, displacing, the commons, the lane */
#include "schedule/store_world.h"

static void pair(void)
{
    struct wi_record *record = store_acquire(WEIR_FOREVER, 1);
    store_release(record);
}

static void two_pairs(void)
{
    pair();
    pair();
}

/* With as many objects as threads nobody may be refused: whoever holds one, another is free or about to be. */
static void now_pair(void)
{
    struct wi_record *record = store_acquire(WEIR_NOW, 1);
    schedule_require(record, "refused, though each other thread holds at most one object");
    store_release(record);
}

static void two_now_pairs(void)
{
    now_pair();
    now_pair();
}

/* ---- slots ---- */

static void pairs_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 2, .slots = 2});
}

SCENARIO(pairs, .about = "two threads on one CPU: a hit against a steal", .fibers = {{"a", two_pairs}, {"b", two_pairs}},
         .set_up = pairs_set_up, .judge = store_judge, .bound = 3, .full_bound = 4, .weak = 1);

static void steal_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 3, .slots = 1});
}

SCENARIO(steal, .about = "three threads, three objects, one slot: claims beside displacing",
         .fibers = {{"a", now_pair}, {"b", now_pair}, {"c", now_pair}}, .set_up = steal_set_up, .judge = store_judge,
         .bound = 2, .full_bound = 3, .weak = 1);

SCENARIO(moving, .about = "who does not wait meets an object that moves between slot and commons",
         .fibers = {{"a", two_now_pairs}, {"b", two_now_pairs, .cpu = 1}}, .set_up = steal_set_up, .judge = store_judge,
         .bound = 2, .full_bound = 3, .weak = 1);

/* ---- the commons ---- */

static void commons_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 3, .slots = 0});
}

SCENARIO(commons, .about = "everything through ck_fifo, which may answer \"empty\" falsely",
         .fibers = {{"a", two_now_pairs}, {"b", now_pair}, {"c", now_pair}}, .set_up = commons_set_up, .judge = store_judge,
         .bound = 2, .full_bound = 3);

static void three_now_pairs(void)
{
    now_pair();
    now_pair();
    now_pair();
}

static void lies_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 2, .slots = 0});
}

/* A dequeue that read the head before, and the tail after, another thread has taken a node and put it back. */
SCENARIO(lies, .about = "one looks through ck_fifo while another takes and gives, again and again",
         .fibers = {{"a", now_pair}, {"b", three_now_pairs}}, .set_up = lies_set_up, .judge = store_judge,
         .bound = 2, .full_bound = 3);

/* ---- the lane ---- */

static void publish(void)
{
    wi_store_publish_lane(&world.store, &world.record[0], WI_RETIRING);
}

static void lane_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 1, .slots = 1, .retiring = 1});
}

SCENARIO(lane, .about = "the keeper brings an object home by the lane while two threads wait",
         .fibers = {{"a", pair}, {"b", pair, .cpu = 1}, {"keeper", publish}}, .set_up = lane_set_up, .judge = store_judge,
         .bound = 2, .full_bound = 3, .weak = 1);

/* ---- sweeping ---- */

static void sweep(void)
{
    wi_store_sweep(&world.store);
}

static void one_homeless_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 1, .slots = 0});
}

SCENARIO(sweep, .about = "who does not wait meets an object that a sweep has in its hand",
         .fibers = {{"a", two_now_pairs}, {"sweeper", sweep}}, .set_up = one_homeless_set_up, .judge = store_judge, .bound = 2,
         .full_bound = 3);

/* ---- two releases of one lease ---- */

static uint32_t releases_done, releases_refused;

static void release_again(void)
{
    int err = wi_store_release(&world.record[0]);
    schedule_require(err == 0 || err == WEIR_ENOTLEASED);
    if (err == 0) releases_done++;
    if (err < 0) releases_refused++;
}

static void release_judge(void)
{
    schedule_require(releases_done == 1 && releases_refused == 1, "%u releases of one lease", releases_done);
    store_judge();
}

static void leased_home_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 2, .slots = 1});
    wi_store(&world.record[0].word, WI_LEASED | WI_HOME | WI_GENERATION_ONE, relaxed);
}

static void leased_homeless_set_up(void)
{
    store_set_up(&(struct store_shape){.records = 2, .slots = 1, .retiring = 1});
    struct wi_record *record = NULL;
    /* The only free one is at home; what is leased below has none. */
    schedule_require(wi_store_acquire_slow(&world.store, &(struct wi_ask){.deadline_ns = WEIR_NOW, .need = 1}, &record) == 0);
    schedule_require(record == &world.record[0]);
    wi_store(&world.slot[0].record, NULL, relaxed);
    wi_store(&record->word, WI_LEASED | WI_GENERATION_ONE, relaxed);
    schedule_require(wi_store_publish(&world.store, &world.record[1], WI_RETIRING) == 0);
}

SCENARIO(double_home, .about = "two threads release one lease that is at home", .fibers = {{"a", release_again}, {"b", release_again, .cpu = 1}},
         .set_up = leased_home_set_up, .judge = release_judge, .bound = 4, .full_bound = 6);

SCENARIO(double_homeless, .about = "two threads release one homeless lease, a third takes and gives",
         .fibers = {{"a", release_again}, {"b", release_again, .cpu = 1}}, .set_up = leased_homeless_set_up,
         .judge = release_judge, .bound = 4, .full_bound = 6);
