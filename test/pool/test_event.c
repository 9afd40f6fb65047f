/* SPDX-License-Identifier: Apache-2.0 */
/* Events: leases, points in streams, device time, early use, clearing. */
#include "pool/stream_fixture.h"

#include <pthread.h>
#include <string.h>

static struct weir_runtime *rt;
static struct weir_stream  *stream;

static void open_all(const struct weir_runtime_opts *opts)
{
    ok(weir_runtime_create(opts, &rt));
    stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
}

static void close_all(void)
{
    ok(weir_stream_release(stream));
    weir_runtime_destroy(rt);
}

static struct weir_event *acquire(uint32_t flags)
{
    struct weir_event *event;
    ok(weir_event_acquire(rt, flags, WEIR_NOW, &event));
    return event;
}

static struct weir_pool_stats event_stats(void)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    ok(weir_event_stats_read(rt, &stats));
    return stats;
}

/* ---- leases ---- */

Test(event, initial_ones_are_made_at_once_and_more_when_they_are_needed)
{
    struct weir_event *event[64];
    open_all(WEIR_OPTS(runtime, .events_min = 8, .events_max = 64));
    cr_assert_eq(event_stats().total, 8);
    for (int i = 0; i < 8; i++) event[i] = acquire(0);
    for (int i = 8; i < 64; i++) ok(weir_event_acquire(rt, 0, WEIR_FOREVER, &event[i]));
    cr_assert_eq(event_stats().total, 64);
    cr_assert_gt(event_stats().grows, 0);
    for (int i = 0; i < 64; i++) {
        for (int j = 0; j < i; j++) cr_assert_neq(event[i], event[j]);
    }
    for (int i = 0; i < 64; i++) ok(weir_event_release(event[i]));
    cr_assert_eq(event_stats().leased, 0);
    close_all();
}

static void *release_later(void *event)
{
    nanosleep(&(struct timespec){.tv_nsec = 5 * MS}, NULL);
    ok(weir_event_release(event));
    return NULL;
}

Test(event, at_the_maximum_it_says_again_or_waits)
{
    struct weir_event *event[2], *more = NULL;
    struct weir_error  error = {.struct_size = sizeof error};
    pthread_t          thread;
    open_all(WEIR_OPTS(runtime, .events_min = 2, .events_max = 2));
    for (int i = 0; i < 2; i++) event[i] = acquire(0);
    answers(weir_event_acquire(rt, 0, WEIR_NOW, &more), AGAIN);
    cr_assert_null(more);
    ok(weir_last_error(&error));
    cr_assert_str_eq(error.limit, "events_max");
    cr_assert_eq(error.limit_value, 2);
    uint64_t deadline_ns = weir_deadline_after_ns(3 * MS);
    answers(weir_event_acquire(rt, 0, deadline_ns, &more), TIMEDOUT);
    cr_assert_geq(weir_clock_ns(), deadline_ns);
    cr_assert_eq(pthread_create(&thread, NULL, release_later, event[0]), 0);
    ok(weir_event_acquire(rt, 0, WEIR_FOREVER, &more));
    pthread_join(thread, NULL);
    struct weir_event *timed = acquire(WEIR_EVENT_TIMING); /* the other kind has a maximum of its own */
    ok(weir_event_release(timed));
    ok(weir_event_release(more));
    ok(weir_event_release(event[1]));
    answers(weir_event_acquire(rt, 8, WEIR_NOW, &more), OPTS);
    close_all();
}

/*
 * Events use the free store of the buffers: each lease is counted at the level that gave it. Of each round at most one
 * comes from the own slot, so what another level did not count would be too many hits there.
 */
Test(event, hits_are_counted_by_level)
{
    struct weir_event *event[16];
    stay_here();
    open_all(WEIR_OPTS(runtime, .events_min = 16, .events_max = 16));
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 16; i++) event[i] = acquire(0);
        for (int i = 0; i < 16; i++) ok(weir_event_release(event[i]));
    }
    struct weir_pool_stats stats = event_stats();
    cr_assert_eq(stats.acquires, 160);
    cr_assert_eq(stats.slot_hits + stats.lane_hits + stats.commons_hits + stats.steal_hits, 160);
    cr_assert_leq(stats.slot_hits, 10);
    cr_assert_eq(stats.lane_hits, 16, "new ones lie in the lane");
    close_all();
}

Test(event, use_after_release_is_told)
{
    open_all(WEIR_OPTS(runtime, .events_min = 1, .events_max = 1));
    struct weir_event *event = acquire(0);
    uint64_t           took_ns;
    ok(weir_event_record(event, stream));
    ok(weir_event_sync(event, WEIR_FOREVER));
    ok(weir_event_release(event));
    answers(weir_event_release(event), NOTLEASED);
    answers(weir_event_record(event, stream), NOTLEASED);
    answers(weir_event_query(event), NOTLEASED);
    answers(weir_event_sync(event, WEIR_NOW), NOTLEASED);
    answers(weir_event_elapsed_ns(event, event, &took_ns), NOTLEASED);
    answers(weir_stream_wait_event(stream, event), NOTLEASED);
    cr_assert_eq(weir_event_release(NULL), 0);
    /* The next lease of the same event is new: what was recorded before is not its point. */
    event = acquire(0);
    answers(weir_event_query(event), INVAL);
    answers(weir_event_sync(event, WEIR_NOW), INVAL);
    ok(weir_event_release(event));
    answers(weir_event_release((struct weir_event *)stream), KIND);
    close_all();
}

/* In check mode a stale pointer is told even after the event went to somebody else. */
Test(event, stale_use_is_told_in_check_mode)
{
    setenv("WEIR_CHECK", "2", 1);
    open_all(WEIR_OPTS(runtime, .events_min = 1, .events_max = 1));
    struct weir_event *stale = acquire(0);
    ok(weir_event_release(stale));
    struct weir_event *event = acquire(0);
    cr_assert_neq(event, stale);
    answers(weir_event_record(stale, stream), STALE);
    answers(weir_event_release(stale), STALE);
    ok(weir_event_record(event, stream));
    ok(weir_event_release(event));
    close_all();
}

/* ---- points ---- */

Test(event, query_and_sync_tell_when_the_point_has_passed)
{
    open_all(NULL);
    struct weir_event *event = acquire(0);
    answers(weir_event_query(event), INVAL);
    uint64_t until_ns = weir_deadline_after_ns(248 * MS);
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_event_record(event, stream));
    answers(weir_event_query(event), AGAIN);
    uint64_t deadline_ns = weir_deadline_after_ns(2 * MS);
    answers(weir_event_sync(event, deadline_ns), TIMEDOUT);
    cr_assert_geq(weir_clock_ns(), deadline_ns);
    ok(weir_event_sync(event, WEIR_FOREVER));
    cr_assert_geq(weir_clock_ns(), until_ns);
    cr_assert_eq(weir_event_query(event), 0);
    ok(weir_event_release(event));
    close_all();
}

Test(event, sync_asks_the_driver_seldom)
{
    open_all(NULL);
    struct weir_event *event = acquire(0);
    uint64_t begin_ns = weir_clock_ns();
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_event_record(event, stream));
    uint64_t calls = driver_calls(rt);
    ok(weir_event_sync(event, WEIR_FOREVER));
    uint64_t elapsed_ns = weir_clock_ns() - begin_ns; /* the delay ends late on a busy machine */
    cr_assert_leq(driver_calls(rt) - calls, elapsed_ns / MS + 20);
    ok(weir_event_release(event));
    close_all();
}

/* Whoever waits for the earlier point would otherwise wait for another. */
Test(event, recording_again_too_early_is_busy)
{
    open_all(NULL);
    struct weir_event *event = acquire(0);
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_event_record(event, stream));
    answers(weir_event_record(event, stream), BUSY);
    ok(weir_event_sync(event, WEIR_FOREVER));
    ok(weir_event_record(event, stream));
    ok(weir_event_sync(event, WEIR_FOREVER));
    cr_assert_eq(stream_info(stream).events_recorded, 2);
    ok(weir_event_release(event));
    close_all();
}

Test(event, elapsed_is_device_time)
{
    open_all(NULL);
    struct weir_event *start = acquire(WEIR_EVENT_TIMING), *end = acquire(WEIR_EVENT_TIMING), *plain = acquire(0);
    uint64_t           took_ns = 77;
    ok(weir_event_record(start, stream));
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_event_record(end, stream));
    ok(weir_event_record(plain, stream));
    answers(weir_event_elapsed_ns(start, end, &took_ns), AGAIN);
    cr_assert_eq(took_ns, 77, "outputs are written only on success");
    ok(weir_event_sync(end, WEIR_FOREVER));
    ok(weir_event_elapsed_ns(start, end, &took_ns));
    cr_assert_geq(took_ns, 249 * MS);
    ok(weir_event_sync(plain, WEIR_FOREVER));
    answers(weir_event_elapsed_ns(start, plain, &took_ns), KIND);
    answers(weir_event_elapsed_ns(start, end, NULL), INVAL);
    ok(weir_event_release(start));
    ok(weir_event_release(end));
    ok(weir_event_release(plain));
    close_all();
}

/* ---- clear ---- */

Test(event, clear_destroys_the_spare_ones_and_leaves_leased_ones_alone)
{
    struct weir_event *event[40];
    open_all(WEIR_OPTS(runtime, .events_min = 4, .events_max = 64));
    for (int i = 0; i < 40; i++) ok(weir_event_acquire(rt, 0, WEIR_FOREVER, &event[i]));
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_event_record(event[0], stream));
    for (int i = 2; i < 40; i++) ok(weir_event_release(event[i]));
    cr_assert_geq(event_stats().total, 40);
    /* A growth that is under way may bring some more. */
    eventually((weir_event_clear(rt), event_stats().total == 4));
    cr_assert_eq(weir_event_clear(rt), 2);
    struct weir_pool_stats stats = event_stats();
    cr_assert_eq(stats.total, 4);
    cr_assert_eq(stats.leased, 2);
    cr_assert_eq(stats.free, 2);
    cr_assert_eq(stats.acquires, 0, "counts are zeroed");
    cr_assert_eq(stats.handoffs + stats.misses, 0);
    answers(weir_event_query(event[0]), AGAIN);
    ok(weir_event_sync(event[0], WEIR_FOREVER));
    /* What is left serves, and the pool grows again when it must. */
    for (int i = 2; i < 40; i++) ok(weir_event_acquire(rt, 0, WEIR_FOREVER, &event[i]));
    cr_assert_eq(event_stats().acquires, 38);
    for (int i = 0; i < 40; i++) ok(weir_event_release(event[i]));
    eventually((weir_event_clear(rt), event_stats().total == 4));
    cr_assert_eq(weir_event_clear(rt), 0);
    answers(weir_event_clear(NULL), INVAL);
    close_all();
}

static void *use_events(void *stop)
{
    struct weir_stream *own = acquire_stream(rt, WEIR_STREAM_COMM);
    while (!wi_load((_Atomic uint32_t *)stop, acquire)) {
        struct weir_event *event[6];
        for (int i = 0; i < 6; i++) ok(weir_event_acquire(rt, 0, WEIR_FOREVER, &event[i]));
        for (int i = 0; i < 6; i++) ok(weir_event_record(event[i], own));
        int err = weir_event_sync(event[5], weir_deadline_after_ns(20000));
        cr_assert(err == 0 || err == WEIR_ETIMEDOUT);
        for (int i = 0; i < 6; i++) ok(weir_event_release(event[i]));
    }
    ok(weir_stream_release(own));
    return NULL;
}

Test(event, clear_beside_their_use)
{
    static _Atomic uint32_t stop;
    pthread_t               thread[2];
    open_all(WEIR_OPTS(runtime, .events_min = 2, .events_max = 32));
    for (int i = 0; i < 2; i++) cr_assert_eq(pthread_create(&thread[i], NULL, use_events, &stop), 0);
    for (int i = 0; i < 200; i++) {
        cr_assert_geq(weir_event_clear(rt), 0);
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    wi_store(&stop, 1, release);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    cr_assert_eq(weir_event_clear(rt), 0);
    eventually(event_stats().total == event_stats().free);
    close_all();
}
