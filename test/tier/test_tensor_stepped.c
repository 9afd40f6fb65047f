/* SPDX-License-Identifier: Apache-2.0 */
/* Stepped arrays: no view is overwritten while a step in flight reads it, and the depth follows the steps in flight. */
#include "base/alloc.h"
#include "base/atomic.h"
#include "pool/fixture.h"

#include <string.h>
#include <weir/scope.h>

#define MS       UINT64_C(1000000)
#define ELEMENTS 1024
#define STREAMS  4
#define STEPS    48

static struct weir_runtime *rt;
static struct weir_pool    *pool, *sinks;
static struct weir_stream  *streams[STREAMS];
static struct weir_stepped *stepped;
static struct weir_buffer  *sink[STEPS];
static _Atomic int          gate;

static void begin(size_t buffers_min, size_t buffers_max)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = ELEMENTS * 4, .buffers_min = buffers_min,
                                      .buffers_max = buffers_max), &pool));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = ELEMENTS * 4, .buffers_min = STEPS), &sinks));
    for (int i = 0; i < STREAMS; i++)
        ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &streams[i]));
    for (int i = 0; i < STEPS; i++) ok(weir_buffer_acquire(sinks, WEIR_NOW, &sink[i]));
    ok(weir_stepped_create(pool, WEIR_OPTS(stepped, .dtype = WEIR_DTYPE_U32, .rank = 1, .shape = {ELEMENTS}),
                           &stepped));
}

static void end(void)
{
    for (int i = 0; i < STEPS; i++) ok(weir_buffer_release(sink[i]));
    for (int i = 0; i < STREAMS; i++) ok(weir_stream_release(streams[i]));
    weir_pool_destroy(pool);
    weir_pool_destroy(sinks);
    weir_runtime_destroy(rt);
}

static void wait_for_gate(void *ctx)
{
    (void)ctx;
    while (!wi_load(&gate, acquire)) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

/*
 * Streams from this one on do nothing until the gate is open, so that what is queued meanwhile is in flight at once, however
 * slow the machine is. One host call for all: a driver may make its host calls from one thread.
 */
static void close_gate(int first)
{
    struct weir_event *event;
    wi_store(&gate, 0, release);
    ok(weir_stream_call(streams[first], wait_for_gate, NULL));
    ok(weir_event_acquire(rt, 0, WEIR_FOREVER, &event));
    ok(weir_event_record(event, streams[first]));
    for (int i = first + 1; i < STREAMS; i++) ok(weir_stream_wait_event(streams[i], event));
    ok(weir_event_release(event));
}

static void open_gate(void)
{
    wi_store(&gate, 1, release);
}

static struct weir_stepped_info info_of(const struct weir_stepped *which)
{
    struct weir_stepped_info info = {.struct_size = sizeof info};
    ok(weir_stepped_info_read(which, &info));
    return info;
}

static void write_host(uint32_t value)
{
    uint32_t *host = weir_stepped_host(stepped);
    for (int i = 0; i < ELEMENTS; i++) host[i] = value;
}

/* Publish, then read the view at the end of slow work, as a kernel would. */
static void step(uint32_t number, struct weir_stream *stream, uint64_t work_ns)
{
    uint64_t device;
    write_host(number + 1);
    ok(weir_stepped_publish(stepped, stream, WEIR_FOREVER, &device));
    if (work_ns) ok(weir_stream_delay(stream, work_ns));
    ok(weir_stream_download(stream, weir_slice_all(sink[number % STEPS]), device));
    ok(weir_stepped_used(stepped, stream));
    write_host(0xdead); /* the host copy is plain memory: whoever uploads late shows */
}

static void assert_seen(uint32_t from, uint32_t to)
{
    for (uint32_t number = from; number < to; number++) {
        const uint32_t *seen = sink[number % STEPS]->host;
        ok(weir_buffer_sync(sink[number % STEPS], WEIR_FOREVER));
        for (int i = 0; i < ELEMENTS; i++)
            cr_assert_eq(seen[i], number + 1, "step %u saw %u at %d", number, seen[i], i);
    }
}

Test(stepped, no_view_is_overwritten_in_flight_and_depth_grows)
{
    begin(STEPS, STEPS);
    close_gate(0);
    for (uint32_t i = 0; i < STEPS; i++) step(i, streams[i % STREAMS], 2 * MS);
    struct weir_stepped_info info = info_of(stepped);
    open_gate();
    assert_seen(0, STEPS);
    cr_assert_eq(info.depth, STEPS, "depth %lu", (unsigned long)info.depth);
    cr_assert_eq(info.in_flight, STEPS);
    cr_assert_eq(info_of(stepped).in_flight, 0);
    weir_stepped_destroy(stepped);
    end();
}

/* The view is read on another stream than that of the upload: only weir_stepped_used() tells weir of it. */
Test(stepped, what_was_said_to_use_a_view_keeps_it)
{
    begin(STEPS, STEPS);
    close_gate(1);
    for (uint32_t i = 0; i < 12; i++) {
        struct weir_stream *reader = streams[1 + i % (STREAMS - 1)];
        uint64_t            device;
        write_host(i + 1);
        ok(weir_stepped_publish(stepped, streams[0], WEIR_FOREVER, &device));
        ok(weir_stream_sync(streams[0], WEIR_FOREVER));
        ok(weir_stream_download(reader, weir_slice_all(sink[i]), device));
        ok(weir_stepped_used(stepped, reader));
    }
    cr_assert_eq(info_of(stepped).in_flight, 12);
    open_gate();
    assert_seen(0, 12);
    weir_stepped_destroy(stepped);
    end();
}

Test(stepped, depth_falls_when_fewer_steps_are_in_flight)
{
    begin(STEPS, STEPS);
    close_gate(0);
    for (uint32_t i = 0; i < 16; i++) step(i, streams[i % STREAMS], 0);
    open_gate();
    assert_seen(0, 16);
    struct weir_stepped_info deep = info_of(stepped);
    cr_assert_eq(deep.depth, 16);
    for (uint32_t i = 16; i < 16 + 200; i++) {
        step(i, streams[i % STREAMS], 0);
        assert_seen(i, i + 1);
    }
    struct weir_stepped_info shallow = info_of(stepped);
    cr_assert_eq(shallow.depth, 2, "depth %lu: one view is current, one is for the next step",
                 (unsigned long)shallow.depth);
    cr_assert_eq(shallow.depth_peak, deep.depth_peak, "one step at a time needs no more views");
    cr_assert_eq(shallow.falls, shallow.grows - shallow.depth);
    cr_assert_eq(pool_stats(pool).leased, 2, "what is not needed went back to the pool");
    weir_stepped_destroy(stepped);
    end();
}

Test(stepped, a_small_pool_bounds_the_depth_and_steps_wait)
{
    uint64_t device = 0;
    begin(3, 3);
    for (uint32_t i = 0; i < 24; i++) step(i, streams[i % STREAMS], 2 * MS);
    struct weir_stepped_info info = info_of(stepped);
    cr_assert_eq(info.depth_peak, 3);
    cr_assert_gt(info.waits, 0);
    assert_seen(0, 24);
    for (uint32_t i = 24; i < 27; i++) step(i, streams[i % STREAMS], 100 * MS);
    answers(weir_stepped_publish(stepped, streams[3], WEIR_NOW, &device), BUSY);
    answers(weir_stepped_publish(stepped, streams[3], weir_deadline_after_ns(MS), &device), TIMEDOUT);
    cr_assert_eq(device, 0);
    assert_seen(24, 27);
    weir_stepped_destroy(stepped);
    end();
}

Test(stepped, a_single_buffer_is_enough_for_one_step_at_a_time)
{
    begin(1, 1);
    for (uint32_t i = 0; i < 8; i++) step(i, streams[i % STREAMS], MS);
    assert_seen(0, 8);
    cr_assert_eq(info_of(stepped).depth_peak, 1);
    weir_stepped_destroy(stepped);
    end();
}

Test(stepped, depth_grows_with_a_pool_that_grows)
{
    begin(1, STEPS);
    uint64_t until = weir_deadline_after_ns(10000 * MS);
    for (uint32_t i = 0; info_of(stepped).depth < 8; i++) {
        cr_assert_lt(weir_clock_ns(), until, "depth %lu", (unsigned long)info_of(stepped).depth);
        step(i, streams[i % STREAMS], 10 * MS);
    }
    weir_stepped_destroy(stepped);
    end();
}

Test(stepped, the_view_published_last_is_left_alone_until_the_next)
{
    uint64_t first, second;
    begin(4, 4);
    answers(weir_stepped_used(stepped, streams[0]), NOENT);
    ok(weir_stepped_publish(stepped, streams[0], WEIR_NOW, &first));
    ok(weir_stream_sync(streams[0], WEIR_FOREVER));
    ok(weir_stepped_publish(stepped, streams[0], WEIR_NOW, &second));
    cr_assert_neq(first, second);
    weir_stepped_destroy(stepped);
    end();
}

Test(stepped, destroying_it_in_flight_is_safe)
{
    begin(8, 8);
    for (uint32_t i = 0; i < 4; i++) step(i, streams[i % STREAMS], 20 * MS);
    weir_stepped_destroy(stepped);
    weir_stepped_destroy(NULL);
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.leased, 0);
    cr_assert_gt(stats.retiring, 0);
    assert_seen(0, 4);
    eventually(pool_stats(pool).free == 8);
    end();
}

Test(stepped, what_cannot_be_is_refused)
{
    struct weir_stepped *other = NULL;
    begin(1, 1);
#define create(...) weir_stepped_create(pool, WEIR_OPTS(stepped, __VA_ARGS__), &other)
    answers(create(.rank = 1, .shape = {8}), INVAL);
    answers(create(.dtype = WEIR_DTYPE_U32, .rank = 1, .shape = {ELEMENTS + 1}), EXCEEDS);
    for (uint64_t n = 1; n <= 2; n++) {
        wi_alloc_fail_at(n);
        answers(create(.dtype = WEIR_DTYPE_U32, .rank = 1, .shape = {8}), NOMEM);
        wi_alloc_fail_at(0);
    }
    cr_assert_null(other);
    ok(create(.dtype = WEIR_DTYPE_U32, .rank = 1, .shape = {8}, .depth_max = 1));
    cr_assert_eq(info_of(other).bytes, 32);
    const unsigned char *host = weir_stepped_host(other);
    for (int i = 0; i < 32; i++) cr_assert_eq(host[i], 0);
    weir_stepped_destroy(other);
    weir_stepped_destroy(stepped);
    end();
}
