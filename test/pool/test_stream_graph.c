/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that are being captured into a graph: nothing is queued without somebody to keep the buffers. */
#include "pool/stream_fixture.h"

#include "device/host.h"

#include <string.h>
#include <weir/scope.h>

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_buffer  *buffer;
static struct weir_event   *event;
static struct weir_stream  *stream;
static void                *handle;
static uint64_t             target;

static struct wi_emu *emulation(void)
{
    struct wi_device *device = wi_context_of(rt)->device;
    if (device->ops != &wi_device_host) cr_skip_test("captures on the host backend; test_stream_cuda.c has the other");
    return wi_host_emu(device);
}

static void open_all(void)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2), &pool));
    ok(weir_device_alloc(rt, 4096, &target));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    handle = make_handle(rt);
    ok(weir_stream_adopt(rt, handle, &stream));
}

static void close_all(void)
{
    ok(weir_event_release(event));
    ok(weir_stream_release(stream));
    drop_handle(rt, handle);
    assert_law(pool);
    assert_class_law(rt, WEIR_STREAM_ADOPTED);
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static uint64_t captured(void)
{
    struct wi_emu_stats stats;
    wi_emu_stats_read(emulation(), &stats);
    return stats.captured;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void every_call_answers(int code)
{
    struct weir_copy copy = {weir_slice_all(buffer), target};
    cr_expect_eq(weir_stream_upload(stream, target, weir_slice_all(buffer)), code);
    cr_expect_eq(weir_stream_download(stream, weir_slice_all(buffer), target), code);
    cr_expect_eq(weir_stream_upload_batch(stream, &copy, 1), code);
    cr_expect_eq(weir_stream_download_batch(stream, &copy, 1), code);
    cr_expect_eq(weir_buffer_guard(buffer, stream), code);
    cr_expect_eq(weir_stream_call(stream, nothing, NULL), code);
    cr_expect_eq(weir_stream_delay(stream, 1000), code);
    cr_expect_eq(weir_event_record(event, stream), code);
}

Test(graph, without_one_a_captured_stream_refuses_before_anything_is_queued)
{
    open_all();
    struct wi_emu *emu = emulation();
    wi_emu_capture_begin(emu, handle);
    every_call_answers(WEIR_ECAPTURE);
    answers(weir_stream_sync(stream, WEIR_NOW), CAPTURE);
    answers(weir_stream_query(stream), CAPTURE);
    answers(weir_runtime_sync(rt, 0, WEIR_NOW), CAPTURE);
    cr_assert_eq(captured(), 0, "something got into the graph");
    wi_emu_capture_end(emu, handle);
    every_call_answers(0);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    ok(weir_buffer_release(buffer));
    close_all();
}

Test(graph, it_keeps_what_is_captured_until_it_is_forgotten)
{
    struct weir_graph *graph;
    open_all();
    struct wi_emu *emu = emulation();
    ok(weir_graph_create(rt, &graph));
    ok(weir_stream_capture_into(stream, graph));
    wi_emu_capture_begin(emu, handle);
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    cr_assert_eq(captured(), 1, "an event got into the graph");
    every_call_answers(0);
    answers(weir_stream_sync(stream, WEIR_NOW), CAPTURE);
    wi_emu_capture_end(emu, handle);
    answers(weir_buffer_sync(buffer, WEIR_FOREVER), CAPTURE);
    ok(weir_buffer_release(buffer));
    nanosleep(&(struct timespec){.tv_nsec = 20 * MS}, NULL);
    cr_assert_eq(pool_stats(pool).retiring, 1);
    ok(weir_stream_sync(stream, WEIR_FOREVER)); /* is no sign that the graph is gone */
    cr_assert_eq(pool_stats(pool).retiring, 1);
    ok(weir_graph_forget(graph));
    cr_assert_eq(pool_stats(pool).free, 2, "it comes home in this very call");
    weir_graph_destroy(graph);
    close_all();
}

/* For a tenth of a second. One that polls looks once a millisecond at least. */
static bool keeper_slept(struct weir_runtime *runtime)
{
    struct weir_runtime_stats before = {.struct_size = sizeof before}, after = before;
    ok(weir_runtime_stats_read(runtime, &before));
    nanosleep(&(struct timespec){.tv_nsec = 100 * MS}, NULL);
    ok(weir_runtime_stats_read(runtime, &after));
    return after.keeper_wakeups == before.keeper_wakeups;
}

/* A buffer that the graph keeps causes no polling: it may be kept for hours. */
Test(graph, keeping_buffers_costs_nothing)
{
    struct weir_graph *graph;
    open_all();
    ok(weir_graph_create(rt, &graph));
    ok(weir_graph_retain(graph, buffer));
    ok(weir_buffer_release(buffer));
    cr_assert_eq(pool_stats(pool).retiring, 1);
    eventually(keeper_slept(rt));
    weir_graph_destroy(graph);
    cr_assert_eq(pool_stats(pool).free, 2);
    close_all();
}

/* It was captured, and used by another stream as well: both have to let it go. */
Test(graph, other_streams_are_waited_for_too)
{
    struct weir_graph  *graph;
    struct weir_stream *other;
    open_all();
    other = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    ok(weir_graph_create(rt, &graph));
    ok(weir_graph_retain(graph, buffer));
    uint64_t until_ns = weir_deadline_after_ns(245 * MS);
    ok(weir_stream_delay(other, 250 * MS));
    ok(weir_buffer_guard(buffer, other));
    ok(weir_buffer_release(buffer));
    ok(weir_graph_forget(graph));
    cr_assert_eq(pool_stats(pool).retiring, 1);
    eventually(pool_stats(pool).free == 2);
    cr_assert_geq(weir_clock_ns(), until_ns);
    ok(weir_stream_release(other));
    weir_graph_destroy(graph);
    close_all();
}

Test(graph, it_is_used_again_after_it_has_forgotten)
{
    struct weir_graph *graph;
    open_all();
    ok(weir_buffer_release(buffer));
    ok(weir_graph_create(rt, &graph));
    for (int i = 0; i < 200; i++) { /* more often than a stream has ticks under way */
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        ok(weir_graph_retain(graph, buffer));
        if (i % 2) ok(weir_buffer_release(buffer));
        ok(weir_graph_forget(graph));
        if (i % 2 == 0) {
            ok(weir_buffer_sync(buffer, WEIR_NOW));
            ok(weir_buffer_release(buffer));
        }
        cr_assert_eq(pool_stats(pool).retiring, 0);
    }
    weir_graph_destroy(graph);
    close_all();
}

/* Records of graphs and of adopted streams are the same ones: ticks go on from one to the other. */
Test(graph, its_place_goes_to_streams_and_back)
{
    void *more;
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_adopted_max = 1), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2), &pool));
    more = make_handle(rt);
    for (int i = 0; i < 100; i++) {
        struct weir_graph *graph, *none;
        ok(weir_graph_create(rt, &graph));
        answers(weir_graph_create(rt, &none), EXCEEDS);
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        ok(weir_graph_retain(graph, buffer));
        ok(weir_buffer_release(buffer));
        weir_graph_destroy(graph);
        ok(weir_stream_adopt(rt, more, &stream));
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        for (int j = 0; j < 5; j++) ok(weir_buffer_guard(buffer, stream));
        ok(weir_stream_sync(stream, WEIR_FOREVER));
        ok(weir_buffer_release(buffer));
        ok(weir_stream_disown(stream));
        eventually(class_stats(rt, WEIR_STREAM_ADOPTED).total == 0);
    }
    eventually(pool_stats(pool).free == 2);
    drop_handle(rt, more);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(graph, misuse_is_named)
{
    struct weir_graph      *graph, *second;
    struct weir_stream_info info = {.struct_size = sizeof info};
    open_all();
    struct wi_emu *emu = emulation();
    ok(weir_graph_create(rt, &graph));
    answers(weir_graph_forget((struct weir_graph *)stream), KIND);
    answers(weir_graph_retain((struct weir_graph *)buffer, buffer), KIND);
    answers(weir_stream_release((struct weir_stream *)graph), KIND);
    answers(weir_stream_sync((struct weir_stream *)graph, WEIR_NOW), KIND);
    answers(weir_stream_info_read((struct weir_stream *)graph, &info), KIND);
    answers(weir_graph_create(NULL, &second), INVAL);
    weir_graph_destroy(NULL);
    /* A graph that has ended while a stream names it keeps nothing, also when its place has gone to another. */
    ok(weir_stream_capture_into(stream, graph));
    weir_graph_destroy(graph);
    wi_emu_capture_begin(emu, handle);
    every_call_answers(WEIR_ECAPTURE);
    ok(weir_graph_create(rt, &second));
    every_call_answers(WEIR_ECAPTURE);
    ok(weir_stream_capture_into(stream, second));
    ok(weir_stream_capture_into(stream, NULL));
    every_call_answers(WEIR_ECAPTURE);
    cr_assert_eq(captured(), 0, "something got into the graph");
    wi_emu_capture_end(emu, handle);
    weir_graph_destroy(second);
    ok(weir_buffer_release(buffer));
    close_all();
}

/* Not all is forgotten at the end: memory that a graph may still read stays mapped. */
Test(graph, what_is_kept_outlives_the_runtime)
{
    struct weir_graph *graph;
    open_all();
    ok(weir_graph_create(rt, &graph));
    ok(weir_graph_retain(graph, buffer));
    volatile char *bytes = buffer->host;
    ok(weir_buffer_release(buffer));
    ok(weir_event_release(event));
    ok(weir_stream_release(stream));
    drop_handle(rt, handle);
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    bytes[0] = 1;
    weir_graph_destroy(graph);
}

/* ---- a leased stream whose handle was handed out ---- */

Test(graph, a_stream_released_while_captured_comes_home_after_the_capture)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_high = 1), &rt));
    struct wi_emu      *emu = emulation();
    struct weir_stream *leased = acquire_stream(rt, WEIR_STREAM_HIGH), *next;
    struct wi_stream   *inner = wi_record_plain(leased, NULL)->object;
    wi_stream_expose(inner);
    wi_emu_capture_begin(emu, (void *)inner->handle);
    answers(weir_stream_delay(leased, 1000), CAPTURE);
    ok(weir_stream_release(leased));
    nanosleep(&(struct timespec){.tv_nsec = 10 * MS}, NULL);
    cr_assert_eq(stream_info(leased).state, WEIR_STREAM_BUSY);
    answers(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_NOW, &next), AGAIN);
    cr_assert_eq(captured(), 0, "the keeper recorded into the graph");
    wi_emu_capture_end(emu, (void *)inner->handle);
    ok(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_FOREVER, &next));
    ok(weir_stream_delay(next, 1000));
    ok(weir_stream_sync(next, WEIR_FOREVER));
    ok(weir_stream_release(next));
    weir_runtime_destroy(rt);
}

/* An owned stream that nobody else knows is never asked about captures: that would be a driver call for each copy. */
Test(graph, only_streams_known_outside_are_asked)
{
    struct wi_emu_stats before, after;
    open_all();
    struct wi_emu      *emu = emulation();
    struct weir_stream *leased = acquire_stream(rt, WEIR_STREAM_COMM);
    wi_emu_stats_read(emu, &before);
    for (int i = 0; i < 20; i++) ok(weir_stream_upload(leased, target, weir_slice_all(buffer)));
    wi_emu_stats_read(emu, &after);
    cr_assert_eq(after.calls[WI_EMU_STREAM_CAPTURE], before.calls[WI_EMU_STREAM_CAPTURE]);
    for (int i = 0; i < 20; i++) ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    wi_emu_stats_read(emu, &after);
    cr_assert_eq(after.calls[WI_EMU_STREAM_CAPTURE], before.calls[WI_EMU_STREAM_CAPTURE] + 20);
    ok(weir_stream_release(leased));
    ok(weir_buffer_release(buffer));
    close_all();
}
