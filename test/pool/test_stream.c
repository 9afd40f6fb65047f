/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: classes and priorities, which one an acquire takes, waiting for them, what is counted. */
#include "pool/stream_fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <string.h>

static struct weir_runtime *rt;

static void open_runtime(const struct weir_runtime_opts *opts)
{
    ok(weir_runtime_create(opts, &rt));
}

/* ---- classes ---- */

Test(stream, classes_have_their_counts_and_are_exclusive)
{
    static const uint32_t count[] = {0, 3, 2, 1};
    struct weir_stream   *stream[4], *none = NULL;
    struct weir_error     error = {.struct_size = sizeof error};
    open_runtime(WEIR_OPTS(runtime, .streams_compute = 3, .streams_comm = 2, .streams_high = 1));
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_HIGH; class++) {
        for (uint32_t i = 0; i < count[class]; i++) {
            stream[i] = acquire_stream(rt, class);
            cr_assert_eq(stream_info(stream[i]).stream_class, class);
            for (uint32_t j = 0; j < i; j++) cr_assert_neq(stream[i], stream[j]);
        }
        answers(weir_stream_acquire(rt, class, WEIR_NOW, &none), AGAIN);
        cr_assert_null(none);
        ok(weir_last_error(&error));
        cr_assert_eq(error.limit_value, count[class]);
        cr_assert(strstr(error.setting, "weir_runtime_opts.streams_") == error.setting);
        for (uint32_t i = 0; i < count[class]; i++) ok(weir_stream_release(stream[i]));
        assert_class_law(rt, class);
    }
    answers(weir_stream_acquire(rt, 0, WEIR_NOW, &none), INVAL);
    answers(weir_stream_acquire(rt, WEIR_STREAM_ADOPTED, WEIR_NOW, &none), INVAL);
    weir_runtime_destroy(rt);
}

Test(stream, priorities_span_the_range_of_the_device)
{
    struct weir_runtime_info info = {.struct_size = sizeof info};
    open_runtime(WEIR_OPTS(runtime, .priority_comm = WEIR_PRIORITY_LOW));
    ok(weir_runtime_info_read(rt, &info));
    struct weir_stream *compute = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    struct weir_stream *comm = acquire_stream(rt, WEIR_STREAM_COMM);
    struct weir_stream *high = acquire_stream(rt, WEIR_STREAM_HIGH);
    cr_assert_lt(info.stream_priority_greatest, info.stream_priority_least);
    cr_assert_eq(stream_info(comm).priority, info.stream_priority_least);
    cr_assert_eq(stream_info(high).priority, info.stream_priority_greatest);
    cr_assert_lt(stream_info(compute).priority, info.stream_priority_least);
    cr_assert_gt(stream_info(compute).priority, info.stream_priority_greatest);
    ok(weir_stream_release(compute));
    ok(weir_stream_release(comm));
    ok(weir_stream_release(high));
    weir_runtime_destroy(rt);
}

/* What weir says is what the driver says, and not what was asked for. */
Test(stream, the_priority_is_the_drivers)
{
    open_runtime(NULL);
    struct wi_context *context = wi_context_of(rt);
    for (uint32_t i = 0; i < wi_load(&context->streams, acquire); i++) {
        struct wi_stream *stream = wi_load(&context->stream[i], acquire);
        int32_t           priority = INT32_MAX;
        ok(context->device->ops->stream_priority(context->device, stream->handle, &priority));
        cr_assert_eq(stream_info((struct weir_stream *)stream->record).priority, priority);
    }
    weir_runtime_destroy(rt);
}

Test(stream, misuse_is_named)
{
    struct weir_stream    *stream, *other;
    struct weir_event     *event;
    struct weir_stream_info info = {.struct_size = sizeof info};
    int                    local;
    open_runtime(NULL);
    cr_assert_eq(weir_stream_release(NULL), 0);
    stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    answers(weir_stream_release((struct weir_stream *)&local), FOREIGN);
    answers(weir_stream_release((struct weir_stream *)event), KIND);
    answers(weir_stream_info_read((struct weir_stream *)event, &info), KIND);
    answers(weir_stream_info_read(NULL, &info), FOREIGN);
    answers(weir_stream_disown(stream), KIND);
    answers(weir_stream_sync(NULL, WEIR_NOW), INVAL);
    ok(weir_stream_release(stream));
    answers(weir_stream_release(stream), NOTLEASED);
    answers(weir_stream_sync(stream, WEIR_NOW), NOTLEASED);
    answers(weir_stream_acquire_with(rt, WEIR_OPTS(stream, .priority = 9), WEIR_NOW, &other), INVAL);
    answers(weir_stream_acquire_with(rt, WEIR_OPTS(stream, .stream_class = 9), WEIR_NOW, &other), INVAL);
    ok(weir_event_release(event));
    weir_runtime_destroy(rt);
}

Test(stream, refuses_bad_options)
{
    answers(weir_runtime_create(WEIR_OPTS(runtime, .stream_reuse = 9), &rt), INVAL);
    answers(weir_runtime_create(WEIR_OPTS(runtime, .affinity = 9), &rt), INVAL);
    answers(weir_runtime_create(WEIR_OPTS(runtime, .priority_high = 9), &rt), INVAL);
    answers(weir_runtime_create(WEIR_OPTS(runtime, .streams_compute = 2000), &rt), EXCEEDS);
    answers(weir_runtime_create(WEIR_OPTS(runtime, .events_max = 4, .events_min = 5), &rt), INVAL);
}

/* ---- waiting ---- */

/* Once somebody waits. */
static void *release_later(void *stream)
{
    eventually(class_stats(rt, WEIR_STREAM_HIGH).waiting == 1);
    ok(weir_stream_release(stream));
    return NULL;
}

Test(stream, waits_to_a_deadline_and_by_hand_off)
{
    struct weir_stream *held, *given;
    pthread_t           thread;
    open_runtime(WEIR_OPTS(runtime, .streams_high = 1));
    held = acquire_stream(rt, WEIR_STREAM_HIGH);
    uint64_t id = stream_id(held);
    uint64_t deadline_ns = weir_deadline_after_ns(3 * MS);
    answers(weir_stream_acquire(rt, WEIR_STREAM_HIGH, deadline_ns, &given), TIMEDOUT);
    cr_assert_geq(weir_clock_ns(), deadline_ns);
    cr_assert_eq(pthread_create(&thread, NULL, release_later, held), 0);
    ok(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_FOREVER, &given));
    pthread_join(thread, NULL);
    cr_assert_eq(stream_id(given), id);
    cr_assert_eq(class_stats(rt, WEIR_STREAM_HIGH).handoffs, 1);
    ok(weir_stream_release(given));
    weir_runtime_destroy(rt);
}

/* A higher class of waiters is served first, also when it came later. */
static _Atomic uint32_t served;
struct asker {
    uint32_t priority;
    uint32_t place;
};

static void *ask(void *arg)
{
    struct asker       *asker = arg;
    struct weir_stream *stream;
    ok(weir_stream_acquire_with(rt, WEIR_OPTS(stream, .stream_class = WEIR_STREAM_HIGH, .priority = asker->priority),
                                WEIR_FOREVER, &stream));
    asker->place = wi_add(&served, 1, relaxed);
    ok(weir_stream_release(stream));
    return NULL;
}

Test(stream, waiters_are_served_by_priority)
{
    struct asker        asker[] = {{.priority = WEIR_PRIORITY_LOW}, {.priority = 0}, {.priority = WEIR_PRIORITY_HIGH}};
    pthread_t           thread[3];
    struct weir_stream *held;
    setenv("WEIR_WAITER_AGE_MS", "60000", 1);
    open_runtime(WEIR_OPTS(runtime, .streams_high = 1));
    held = acquire_stream(rt, WEIR_STREAM_HIGH);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(pthread_create(&thread[i], NULL, ask, &asker[i]), 0);
        eventually(class_stats(rt, WEIR_STREAM_HIGH).waiting == i + 1);
    }
    ok(weir_stream_release(held));
    for (unsigned i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    for (unsigned i = 0; i < 3; i++) cr_assert_eq(asker[i].place, 2 - i);
    weir_runtime_destroy(rt);
}

/* ---- states and reuse ---- */

Test(stream, released_busy_it_is_reused_when_drained)
{
    struct weir_stream *stream, *other;
    open_runtime(WEIR_OPTS(runtime, .streams_high = 1));
    stream = acquire_stream(rt, WEIR_STREAM_HIGH);
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_ACQUIRED);
    uint64_t until_ns = weir_deadline_after_ns(245 * MS);
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_stream_release(stream));
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_BUSY);
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_HIGH).busy, 1);
    cr_assert_eq(class_stats(rt, WEIR_STREAM_HIGH).retiring, 1);
    answers(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_NOW, &other), AGAIN);
    ok(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_FOREVER, &other));
    cr_assert_geq(weir_clock_ns(), until_ns);
    cr_assert_eq(weir_stream_query(other), 0);
    ok(weir_stream_release(other));
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_FREE);
    assert_class_law(rt, WEIR_STREAM_HIGH);
    weir_runtime_destroy(rt);
}

Test(stream, oldest_takes_drained_ones_first_and_then_the_one_released_longest_ago)
{
    struct weir_stream *stream[3], *next;
    uint64_t            id[3];
    open_runtime(WEIR_OPTS(runtime, .streams_comm = 3, .stream_reuse = WEIR_STREAM_OLDEST));
    for (int i = 0; i < 3; i++) {
        stream[i] = acquire_stream(rt, WEIR_STREAM_COMM);
        id[i] = stream_id(stream[i]);
    }
    ok(weir_stream_delay(stream[1], 200 * MS));
    ok(weir_stream_delay(stream[0], 200 * MS));
    ok(weir_stream_release(stream[1]));
    ok(weir_stream_release(stream[0]));
    ok(weir_stream_release(stream[2]));
    cr_assert_eq(stream_info(stream[1]).state, WEIR_STREAM_BUSY);
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_COMM).busy, 2);
    cr_assert_eq(class_stats(rt, WEIR_STREAM_COMM).free, 3);

    stream[0] = acquire_stream(rt, WEIR_STREAM_COMM);
    cr_assert_eq(stream_id(stream[0]), id[2], "the drained one goes first, though it was released last");
    stream[1] = acquire_stream(rt, WEIR_STREAM_COMM);
    cr_assert_eq(stream_id(stream[1]), id[1], "then the one released longest ago");
    cr_assert_eq(weir_stream_query(stream[1]), WEIR_EAGAIN, "it is leased with its work pending");
    stream[2] = acquire_stream(rt, WEIR_STREAM_COMM);
    cr_assert_eq(stream_id(stream[2]), id[0]);
    answers(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &next), AGAIN);
    for (int i = 0; i < 3; i++) ok(weir_stream_release(stream[i]));
    assert_class_law(rt, WEIR_STREAM_COMM);
    weir_runtime_destroy(rt);
}

/* For 50 ms. */
static bool nothing_queried(void)
{
    struct weir_runtime_stats before = {.struct_size = sizeof before}, after = before;
    ok(weir_runtime_stats_read(rt, &before));
    nanosleep(&(struct timespec){.tv_nsec = 50 * MS}, NULL);
    ok(weir_runtime_stats_read(rt, &after));
    return after.ticks_queried == before.ticks_queried;
}

/* Nobody asks for it: the keeper finds out that a free busy stream has drained, and then sleeps again. */
Test(stream, oldest_learns_that_a_stream_has_drained)
{
    struct weir_stream *stream;
    open_runtime(WEIR_OPTS(runtime, .streams_comm = 2, .stream_reuse = WEIR_STREAM_OLDEST));
    stream = acquire_stream(rt, WEIR_STREAM_COMM);
    ok(weir_stream_delay(stream, 5 * MS));
    ok(weir_stream_release(stream));
    eventually(stream_info(stream).state == WEIR_STREAM_FREE);
    eventually(nothing_queried());
    weir_runtime_destroy(rt);
}

/* ---- sync ---- */

Test(stream, sync_sleeps_and_asks_the_driver_seldom)
{
    struct weir_stream *stream;
    open_runtime(NULL);
    stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    uint64_t begin_ns = weir_clock_ns();
    ok(weir_stream_delay(stream, 250 * MS));
    uint64_t calls = driver_calls(rt);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    uint64_t elapsed_ns = weir_clock_ns() - begin_ns;
    cr_assert_geq(elapsed_ns, 100 * MS);
    /* One query in a millisecond at the most, once the pauses have grown, and some at the beginning. The delay ends late
     * on a busy machine. */
    calls = driver_calls(rt) - calls;
    cr_assert_leq(calls, elapsed_ns / MS + 20, "%lu driver calls", (unsigned long)calls);
    ok(weir_stream_release(stream));
    weir_runtime_destroy(rt);
}

Test(stream, sync_keeps_its_deadline)
{
    struct weir_stream *stream;
    open_runtime(NULL);
    stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    ok(weir_stream_sync(stream, WEIR_NOW));
    ok(weir_stream_delay(stream, 250 * MS));
    uint64_t deadline_ns = weir_deadline_after_ns(5 * MS);
    answers(weir_stream_sync(stream, deadline_ns), TIMEDOUT);
    cr_assert_geq(weir_clock_ns(), deadline_ns);
    cr_assert_eq(weir_stream_query(stream), WEIR_EAGAIN);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_eq(weir_stream_query(stream), 0);
    ok(weir_stream_release(stream));
    weir_runtime_destroy(rt);
}

/* Closes ticks as the keeper does, but all the time. */
static _Atomic uint32_t closing;

static void *close_ticks(void *stream)
{
    while (wi_load(&closing, acquire)) {
        if (wi_load(&((struct wi_stream *)stream)->ops, relaxed)) (void)wi_tick_close(stream);
    }
    return NULL;
}

/* A tick is closed beside a sync: the sync must not take the one before for the end of what is queued. */
Test(stream, sync_beside_a_close_is_not_early)
{
    pthread_t thread;
    open_runtime(NULL);
    struct wi_device   *device = wi_context_of(rt)->device;
    struct weir_stream *lease = acquire_stream(rt, WEIR_STREAM_COMM);
    struct wi_stream   *stream = wi_record_plain(lease, NULL)->object;
    wi_store(&closing, 1, release);
    cr_assert_eq(pthread_create(&thread, NULL, close_ticks, stream), 0);
    for (int i = 0; i < 4000; i++) {
        ok(weir_stream_delay(lease, 20000));
        ok(weir_stream_sync(lease, WEIR_FOREVER));
        cr_assert_eq(device->ops->stream_query(device, stream->handle), 0, "work was pending after sync %d", i);
    }
    wi_store(&closing, 0, release);
    pthread_join(thread, NULL);
    ok(weir_stream_release(lease));
    weir_runtime_destroy(rt);
}

static void *note_time(uint64_t duration_ns)
{
    static uint64_t until_ns;
    until_ns = weir_deadline_after_ns(duration_ns - 2 * MS);
    return &until_ns;
}

Test(stream, runtime_sync_waits_for_the_classes_asked_for)
{
    struct weir_stream *compute, *comm, *shared;
    open_runtime(NULL);
    compute = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    comm = acquire_stream(rt, WEIR_STREAM_COMM);
    ok(weir_stream_share(rt, WEIR_STREAM_COMM, &shared));
    uint64_t *until_ns = note_time(250 * MS);
    ok(weir_stream_delay(comm, 200 * MS));
    ok(weir_stream_delay(shared, 250 * MS));
    uint64_t compute_until_ns = weir_deadline_after_ns(600 * MS);
    ok(weir_stream_delay(compute, 600 * MS));

    ok(weir_runtime_sync(rt, 1u << WEIR_STREAM_HIGH, WEIR_NOW));
    answers(weir_runtime_sync(rt, 1u << WEIR_STREAM_COMM, WEIR_NOW), TIMEDOUT);
    ok(weir_runtime_sync(rt, 1u << WEIR_STREAM_COMM, WEIR_FOREVER));
    cr_assert_geq(weir_clock_ns(), *until_ns, "shared streams belong to their class");
    cr_assert_eq(weir_stream_query(comm), 0);
    int pending = weir_stream_query(compute);
    cr_assert(pending == WEIR_EAGAIN || weir_clock_ns() >= compute_until_ns, "another class was waited for");

    ok(weir_stream_delay(compute, 250 * MS));
    uint64_t deadline_ns = weir_deadline_after_ns(5 * MS);
    answers(weir_runtime_sync(rt, 1u << WEIR_STREAM_COMPUTE, deadline_ns), TIMEDOUT);
    cr_assert_geq(weir_clock_ns(), deadline_ns);
    ok(weir_stream_release(compute));
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER)); /* released streams are waited for, too */
    cr_assert_eq(stream_totals(rt, 0).busy, 0);
    ok(weir_stream_release(comm));
    weir_runtime_destroy(rt);
}

static void mark_done(void *done)
{
    wi_store((_Atomic uint32_t *)done, 1, release);
}

Test(stream, wait_event_orders_two_streams)
{
    static _Atomic uint32_t done;
    struct weir_stream     *first, *second;
    struct weir_event      *event;
    open_runtime(NULL);
    first = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    second = acquire_stream(rt, WEIR_STREAM_COMM);
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    answers(weir_stream_wait_event(second, event), INVAL); /* never recorded */
    uint64_t *until_ns = note_time(30 * MS);
    ok(weir_stream_delay(first, 30 * MS));
    ok(weir_event_record(event, first));
    ok(weir_stream_wait_event(second, event));
    ok(weir_event_release(event)); /* what waits for it goes on waiting */
    ok(weir_stream_call(second, mark_done, &done));
    ok(weir_stream_sync(second, WEIR_FOREVER));
    cr_assert_eq(wi_load(&done, acquire), 1);
    cr_assert_geq(weir_clock_ns(), *until_ns);
    ok(weir_stream_release(first));
    ok(weir_stream_release(second));
    weir_runtime_destroy(rt);
}

/* A handle that was handed out carries work that weir has not seen: sync, query and release cover it. */
Test(stream, work_past_weir_is_waited_for)
{
    struct weir_stream *stream, *next;
    open_runtime(WEIR_OPTS(runtime, .streams_high = 1));
    struct wi_device *device = wi_context_of(rt)->device;
    stream = acquire_stream(rt, WEIR_STREAM_HIGH);
    struct wi_stream *inner = wi_record_plain(stream, NULL)->object;
    wi_stream_expose(inner);
    uint64_t *until_ns = note_time(250 * MS);
    ok(device->ops->delay(device, 250 * MS, inner->handle));
    cr_assert_eq(weir_stream_query(stream), WEIR_EAGAIN);
    answers(weir_stream_sync(stream, WEIR_NOW), TIMEDOUT);
    answers(weir_runtime_sync(rt, 0, WEIR_NOW), TIMEDOUT);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_geq(weir_clock_ns(), *until_ns);

    ok(device->ops->delay(device, 250 * MS, inner->handle));
    ok(weir_stream_release(stream));
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_BUSY);
    ok(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_FOREVER, &next));
    cr_assert_eq(device->ops->stream_query(device, inner->handle), 0);
    ok(weir_stream_release(next));
    weir_runtime_destroy(rt);
}

/* ---- what is counted ---- */

Test(stream, counts_are_kept_for_each_stream_and_class)
{
    struct weir_pool   *pool;
    struct weir_stream *stream;
    struct weir_buffer *buffer;
    struct weir_event  *event;
    uint64_t            target;
    open_runtime(WEIR_OPTS(runtime, .streams_high = 1));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &pool));
    ok(weir_device_alloc(rt, 4096, &target));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    uint64_t begin_ns = weir_clock_ns();
    for (int i = 0; i < 3; i++) {
        ok(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_FOREVER, &stream));
        ok(weir_stream_upload(stream, target, weir_slice(buffer, 0, 1000)));
        ok(weir_stream_download(stream, weir_slice(buffer, 0, 500), target));
        ok(weir_stream_sync(stream, WEIR_FOREVER));
        ok(weir_event_record(event, stream));
        ok(weir_event_sync(event, WEIR_FOREVER));
        nanosleep(&(struct timespec){.tv_nsec = 2 * MS}, NULL);
        cr_assert_geq(stream_info(stream).active_ns, (uint64_t)(i + 1) * 2 * MS, "the present lease counts");
        ok(weir_stream_release(stream));
    }
    uint64_t                  end_ns = weir_clock_ns();
    struct weir_stream_info   info = stream_info(stream);
    struct weir_stream_totals totals = stream_totals(rt, WEIR_STREAM_HIGH), all = stream_totals(rt, 0);
    cr_assert_eq(info.acquires, 3);
    cr_assert_eq(info.copies, 6);
    cr_assert_eq(info.bytes_up, 3000);
    cr_assert_eq(info.bytes_down, 1500);
    cr_assert_eq(info.events_recorded, 3);
    cr_assert_eq(info.syncs, 3);
    cr_assert_geq(info.active_ns, 6 * MS);
    cr_assert_leq(info.active_ns, end_ns - begin_ns);
    cr_assert_eq(info.active_average_ns, info.active_ns / 3);
    cr_assert_geq(info.last_use_ns, begin_ns + 6 * MS);
    cr_assert_leq(info.last_use_ns, end_ns);
    cr_assert_eq(totals.streams, 1);
    cr_assert_eq(totals.acquires, 3);
    cr_assert_eq(totals.copies, 6);
    cr_assert_eq(totals.bytes_up, 3000);
    cr_assert_eq(totals.events_recorded, 3);
    cr_assert_eq(totals.syncs, 3);
    cr_assert_eq(totals.active_ns, info.active_ns);
    cr_assert_eq(totals.last_use_ns, info.last_use_ns);
    cr_assert_eq(all.streams, 4 + 2 + 1);
    cr_assert_eq(all.copies, 6);
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_COMPUTE).copies, 0);
    ok(weir_event_release(event));
    ok(weir_buffer_release(buffer));
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* The hits of a class are counted by level, as those of buffers are. */
/*
 * Each stream of a class is in a slot of its own. To who stays on one CPU one slot is his own and the others are not, and
 * all four at once are one hit and three steals, however they are chosen.
 */
static void take_all_at_every_level(uint32_t reuse, uint64_t key)
{
    struct weir_stream    *stream[4], *none;
    struct weir_pool_stats stats;
    open_runtime(WEIR_OPTS(runtime, .streams_compute = 4, .stream_reuse = reuse));
    for (uint64_t round = 1; round <= 3; round++) {
        for (uint64_t i = 0; i < 4; i++)
            ok(weir_stream_acquire_with(rt, WEIR_OPTS(stream, .affinity_key = key ? key + i : 0), WEIR_NOW, &stream[i]));
        answers(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &none), AGAIN);
        stats = class_stats(rt, WEIR_STREAM_COMPUTE);
        cr_assert_eq(stats.acquires, 4 * round);
        cr_assert_eq(stats.slot_hits, round, "%lu in %lu rounds", (unsigned long)stats.slot_hits, (unsigned long)round);
        cr_assert_eq(stats.steal_hits, 3 * round);
        cr_assert_eq(stats.lane_hits + stats.commons_hits, 0);
        cr_assert_eq(stats.timeouts, round);
        for (int i = 0; i < 4; i++) ok(weir_stream_release(stream[i]));
        cr_assert_eq(class_stats(rt, WEIR_STREAM_COMPUTE).free, 4);
    }
    weir_runtime_destroy(rt);
}

Test(stream, hits_are_counted_by_level)
{
    stay_here();
    take_all_at_every_level(WEIR_STREAM_DRAINED, 0);
    take_all_at_every_level(WEIR_STREAM_OLDEST, 0);
    take_all_at_every_level(WEIR_STREAM_DRAINED, 100);
}

/* The texts have every count of every class. */
Test(stream, counts_are_in_the_texts)
{
    static char text[1 << 17];
    open_runtime(NULL);
    struct weir_stream *stream = acquire_stream(rt, WEIR_STREAM_COMM);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_lt(weir_stats_format(rt, WEIR_FORMAT_PROMETHEUS, text, sizeof text), (int64_t)sizeof text);
    cr_assert(strstr(text, "\nweir_stream_syncs_total{device=\"0\",class=\"comm\"} 1\n"), "%s", text);
    cr_assert(strstr(text, "\nweir_stream_acquired{device=\"0\",class=\"comm\"} 1\n"));
    cr_assert(strstr(text, "\nweir_stream_acquired{device=\"0\",class=\"compute\"} 0\n"));
    cr_assert(strstr(text, "\nweir_stream_active_seconds_total{device=\"0\",class=\"comm\"} "));
    cr_assert_lt(weir_stats_format(rt, WEIR_FORMAT_JSON, text, sizeof text), (int64_t)sizeof text);
#define X(name, type, help) cr_assert(strstr(text, "\"" #name "\":"), #name);
    WEIR_STREAM_TOTALS(X)
#undef X
    cr_assert(strstr(text, "\"streams\""));
    cr_assert(strstr(text, "\"affinity_evictions\""));
    ok(weir_stream_release(stream));
    weir_runtime_destroy(rt);
}

/* ---- many threads ---- */

#define THREADS 8
static _Atomic uint32_t         owner[64];

static void *storm(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (int i = 0; i < 400; i++) {
        struct weir_stream *stream;
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        ok(weir_stream_acquire_with(rt, WEIR_OPTS(stream, .affinity_key = seed >> 60), WEIR_FOREVER, &stream));
        struct wi_stream *inner = wi_record_plain(stream, NULL)->object;
        cr_assert_eq(wi_exchange(&owner[inner->number], 1, seq_cst), 0, "leased twice");
        if (seed >> 40 & 1) ok(weir_stream_delay(stream, 20000));
        cr_assert_eq(wi_exchange(&owner[inner->number], 0, seq_cst), 1);
        ok(weir_stream_release(stream));
        if ((seed >> 33 & 127) == 0) (void)weir_stream_clear_affinity(rt);
    }
    return NULL;
}

static void run_storm(uint32_t reuse)
{
    pthread_t thread[THREADS];
    open_runtime(WEIR_OPTS(runtime, .streams_compute = 3, .stream_reuse = reuse, .affinity_keys_max = 8));
    for (uintptr_t i = 0; i < THREADS; i++) cr_assert_eq(pthread_create(&thread[i], NULL, storm, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    eventually(class_stats(rt, WEIR_STREAM_COMPUTE).free == 3);
    struct weir_stream_totals totals = stream_totals(rt, WEIR_STREAM_COMPUTE);
    cr_assert_eq(totals.acquires, THREADS * 400);
    cr_assert_eq(class_stats(rt, WEIR_STREAM_COMPUTE).acquires, THREADS * 400);
    assert_class_law(rt, WEIR_STREAM_COMPUTE);
    weir_runtime_destroy(rt);
}

Test(stream, is_exclusive_under_a_storm)
{
    run_storm(WEIR_STREAM_DRAINED);
}

Test(stream, is_exclusive_under_a_storm_when_reused_busy)
{
    run_storm(WEIR_STREAM_OLDEST);
}
