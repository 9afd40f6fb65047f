/* SPDX-License-Identifier: Apache-2.0 */
/* The thread's current stream, leases that end with their scope, and streams of the process-wide runtime. */
#include "pool/stream_fixture.h"

#include <pthread.h>
#include <string.h>
#include <weir/scope.h>

static struct weir_runtime *rt;

/* ---- current ---- */

Test(current, null_means_it_in_every_call)
{
    struct weir_pool   *pool;
    struct weir_buffer *buffer;
    struct weir_event  *event;
    struct weir_stream *current;
    uint64_t            target;
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &pool));
    ok(weir_device_alloc(rt, 4096, &target));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    answers(weir_stream_current(&current), NOENT);
    answers(weir_stream_upload(NULL, target, weir_slice_all(buffer)), INVAL);

    struct weir_stream *stream = acquire_stream(rt, WEIR_STREAM_COMM);
    ok(weir_stream_set_current(stream, NULL));
    ok(weir_stream_current(&current));
    cr_assert_eq(current, stream);
    struct weir_copy copy = {weir_slice_all(buffer), target};
    ok(weir_stream_upload(NULL, target, weir_slice_all(buffer)));
    ok(weir_stream_download(NULL, weir_slice_all(buffer), target));
    ok(weir_stream_upload_batch(NULL, &copy, 1));
    ok(weir_stream_download_batch(NULL, &copy, 1));
    ok(weir_buffer_guard(buffer, NULL));
    ok(weir_stream_delay(NULL, 1000));
    ok(weir_event_record(event, NULL));
    ok(weir_stream_wait_event(NULL, event));
    ok(weir_stream_sync(NULL, WEIR_FOREVER));
    cr_assert_eq(weir_stream_query(NULL), 0);
    cr_assert_eq(stream_info(stream).copies, 4);
    cr_assert_eq(stream_info(stream).events_recorded, 1);

    ok(weir_stream_release(NULL)); /* is nothing, as ever */
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_ACQUIRED);
    ok(weir_stream_set_current(NULL, NULL));
    answers(weir_stream_sync(NULL, WEIR_NOW), INVAL);
    ok(weir_stream_release(stream));
    ok(weir_event_release(event));
    ok(weir_buffer_release(buffer));
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* The next lease of the same stream is somebody else's. */
Test(current, a_lease_that_has_ended_is_told_from_the_next)
{
    struct weir_stream *stream, *current;
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_high = 1), &rt));
    stream = acquire_stream(rt, WEIR_STREAM_HIGH);
    ok(weir_stream_set_current(stream, NULL));
    ok(weir_stream_release(stream));
    answers(weir_stream_delay(NULL, 1000), NOTLEASED);
    stream = acquire_stream(rt, WEIR_STREAM_HIGH);
    answers(weir_stream_delay(NULL, 1000), NOTLEASED);
    answers(weir_stream_current(&current), NOTLEASED);
    ok(weir_stream_release(stream));
    answers(weir_stream_set_current(stream, NULL), NOTLEASED);
    weir_runtime_destroy(rt);
}

static void *has_none(void *arg)
{
    struct weir_stream *current;
    (void)arg;
    return (void *)(intptr_t)weir_stream_current(&current);
}

Test(current, each_thread_has_its_own)
{
    pthread_t thread;
    void     *answer;
    rt = make_runtime();
    struct weir_stream *stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    ok(weir_stream_set_current(stream, NULL));
    cr_assert_eq(pthread_create(&thread, NULL, has_none, NULL), 0);
    pthread_join(thread, &answer);
    cr_assert_eq((int)(intptr_t)answer, WEIR_ENOENT);
    ok(weir_stream_set_current(NULL, NULL));
    ok(weir_stream_release(stream));
    weir_runtime_destroy(rt);
}

static struct weir_stream *now_current(void)
{
    struct weir_stream *current = NULL;
    int                 err = weir_stream_current(&current);
    cr_assert(err == 0 || err == WEIR_ENOENT);
    return current;
}

static void nest(struct weir_stream *outer, struct weir_stream *inner, bool early)
{
    int err;
    weir_current_scope(first, err, outer);
    ok(err);
    cr_assert_eq(now_current(), outer);
    {
        weir_current_scope(second, err, inner);
        ok(err);
        cr_assert_eq(now_current(), inner);
        if (early) return;
    }
    cr_assert_eq(now_current(), outer);
}

Test(current, scopes_nest_and_end)
{
    int err;
    rt = make_runtime();
    struct weir_stream *outer = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    struct weir_stream *inner = acquire_stream(rt, WEIR_STREAM_COMM);
    nest(outer, inner, false);
    cr_assert_null(now_current());
    nest(outer, inner, true);
    cr_assert_null(now_current());
    {
        ok(weir_stream_set_current(outer, NULL));
        weir_current_scope(scope, err, inner);
        ok(err);
        ok(weir_stream_release(outer)); /* what it would go back to is gone */
    }
    cr_assert_null(now_current());
    {
        weir_current_scope(scope, err, outer);
        cr_assert_eq(err, WEIR_ENOTLEASED);
    }
    ok(weir_stream_release(inner));
    weir_runtime_destroy(rt);
}

/* ---- scopes of leases ---- */

static uint64_t leased(uint32_t stream_class)
{
    return class_stats(rt, stream_class).leased;
}

static uint64_t events_leased(void)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    ok(weir_event_stats_read(rt, &stats));
    return stats.leased;
}

static int use_all(bool early)
{
    int err;
    weir_compute_scope(compute, err, rt, 7, WEIR_NOW);
    if (err < 0) return err;
    weir_comm_scope(comm, err, rt, 0, WEIR_NOW);
    if (err < 0) return err;
    weir_high_scope(high, err, rt, WEIR_NOW);
    if (err < 0) return err;
    weir_event_scope(event, err, rt, 0, WEIR_NOW);
    if (err < 0) return err;
    cr_assert_eq(stream_info(compute).stream_class, WEIR_STREAM_COMPUTE);
    cr_assert_eq(stream_info(comm).stream_class, WEIR_STREAM_COMM);
    cr_assert_eq(stream_info(high).stream_class, WEIR_STREAM_HIGH);
    cr_assert_eq(leased(WEIR_STREAM_COMPUTE) + leased(WEIR_STREAM_COMM) + leased(WEIR_STREAM_HIGH), 3);
    cr_assert_eq(events_leased(), 1);
    if (early) return 1;
    ok(weir_event_record(event, compute));
    ok(weir_event_sync(event, WEIR_FOREVER));
    return 0;
}

static void assert_all_home(void)
{
    cr_assert_eq(leased(WEIR_STREAM_COMPUTE) + leased(WEIR_STREAM_COMM) + leased(WEIR_STREAM_HIGH), 0);
    cr_assert_eq(events_leased(), 0);
}

Test(scope, streams_and_events_end_with_their_block)
{
    rt = make_runtime();
    cr_assert_eq(use_all(false), 0);
    assert_all_home();
    eventually(stream_totals(rt, 0).busy == 0);
    cr_assert_eq(use_all(true), 1);
    assert_all_home();
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_COMPUTE).affinity_keys, 1);
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_COMPUTE).affinity_hits, 1);
    /* A lease that is refused leaves its name NULL, and the code in err; those before it go home. */
    struct weir_stream *held = acquire_stream(rt, WEIR_STREAM_HIGH);
    cr_assert_eq(use_all(false), WEIR_EAGAIN);
    ok(weir_stream_release(held));
    assert_all_home();
    weir_runtime_destroy(rt);
}

static struct weir_stream *take_one(void)
{
    int err;
    weir_compute_scope(stream, err, rt, 0, WEIR_NOW);
    ok(err);
    struct weir_stream *taken = weir_take(stream);
    cr_assert_null(stream);
    return taken;
}

Test(scope, take_moves_a_lease_out)
{
    rt = make_runtime();
    struct weir_stream *stream = take_one();
    cr_assert_eq(leased(WEIR_STREAM_COMPUTE), 1);
    ok(weir_stream_release(stream));
    weir_runtime_destroy(rt);
}

Test(scope, every_kind_ends_by_itself)
{
    {
        weir_auto(runtime) own = NULL;
        weir_auto(pool) pool = NULL;
        weir_auto(buffer) buffer = NULL;
        weir_auto(event) event = NULL;
        ok(weir_runtime_create(NULL, &own));
        ok(weir_pool_create(own, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &pool));
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
        ok(weir_event_acquire(own, WEIR_EVENT_TIMING, WEIR_NOW, &event));
        weir_auto(stream) none = NULL;
        cr_assert_null(none);
    }
}

/* ---- the process-wide runtime ---- */

Test(process_wide, streams_come_from_it)
{
    struct weir_stream *compute, *again, *comm, *high;
    ok(weir_compute_acquire(11, WEIR_NOW, &compute));
    ok(weir_runtime_default(0, &rt));
    cr_assert_eq(leased(WEIR_STREAM_COMPUTE), 1);
    uint64_t id = stream_id(compute);
    ok(weir_stream_release(compute));
    ok(weir_compute_acquire(11, WEIR_NOW, &again));
    cr_assert_eq(stream_id(again), id);
    ok(weir_comm_acquire(0, WEIR_NOW, &comm));
    ok(weir_high_acquire(WEIR_NOW, &high));
    cr_assert_eq(stream_info(comm).stream_class, WEIR_STREAM_COMM);
    cr_assert_eq(stream_info(high).stream_class, WEIR_STREAM_HIGH);
    ok(weir_stream_release(again));
    ok(weir_stream_release(comm));
    ok(weir_stream_release(high));
    cr_assert_eq(weir_runtime_reset(0, WEIR_FOREVER), 0);
}

/* Reset waits for what is queued before it destroys; leases that are out are its answer. */
Test(process_wide, reset_syncs_first_and_counts_leases)
{
    struct weir_stream *held, *other;
    struct weir_event  *event;
    ok(weir_compute_acquire(0, WEIR_NOW, &held));
    ok(weir_comm_acquire(0, WEIR_NOW, &other));
    ok(weir_runtime_default(0, &rt));
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    uint64_t until_ns = weir_deadline_after_ns(28 * MS);
    ok(weir_stream_delay(other, 30 * MS));
    ok(weir_stream_release(other));
    cr_assert_eq(weir_runtime_reset(0, WEIR_FOREVER), 2);
    cr_assert_geq(weir_clock_ns(), until_ns);
    answers(weir_stream_release(held), CLOSED);
    answers(weir_event_release(event), CLOSED);
    struct weir_runtime *next;
    ok(weir_runtime_default(0, &next));
    cr_assert_neq(next, rt);
    cr_assert_eq(weir_runtime_reset(0, WEIR_FOREVER), 0);
}

/* Options count for who makes it, and for nobody afterwards. */
Test(process_wide, options_count_when_it_is_made)
{
    struct weir_runtime *again;
    struct weir_stream  *stream[3], *none;
    ok(weir_runtime_default_with(WEIR_OPTS(runtime, .streams_compute = 3), &rt));
    ok(weir_runtime_default_with(WEIR_OPTS(runtime, .streams_compute = 9), &again));
    cr_assert_eq(again, rt);
    for (int i = 0; i < 3; i++) ok(weir_compute_acquire(0, WEIR_NOW, &stream[i]));
    answers(weir_compute_acquire(0, WEIR_NOW, &none), AGAIN);
    for (int i = 0; i < 3; i++) ok(weir_stream_release(stream[i]));
    cr_assert_eq(weir_runtime_reset(0, WEIR_FOREVER), 0);
}

Test(process_wide, each_device_has_its_own)
{
    struct weir_runtime *second;
    ok(weir_runtime_default(0, &rt));
    int err = weir_runtime_default(1, &second);
    if (err == WEIR_ENOENT) cr_skip_test("there is one device");
    ok(err);
    cr_assert_neq(second, rt);
    cr_assert_eq(weir_runtime_reset(1, WEIR_FOREVER), 0);
    ok(weir_runtime_default(0, &second));
    cr_assert_eq(second, rt);
    cr_assert_eq(weir_runtime_reset(0, WEIR_FOREVER), 0);
    answers(weir_runtime_default(1000, &second), NOENT);
}
