/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many driver calls things cost, counted by the driver double: copies and their events on the issuing thread,
 * nothing for a hit, and few queries for many retired buffers.
 *
 * The context and the capture mode belong to the calling thread. Asking for them takes no lock of the driver and
 * touches no device, so they are counted apart, here and in weir_runtime_stats. The two together are all calls.
 */
#include "device/cuda_fixture.h"
#include "pool/fixture.h"

#include <string.h>

#define UPLOADS 800
#define ROUND   80
#define MANY    10000

static struct cuda_fixture  driver;
static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream;
static uint64_t             device;

static void open_all(size_t buffers, size_t bytes)
{
    cuda_fixture_init(&driver, "latency=0us");
    if (getenv("WEIR_CHECK") && strcmp(getenv("WEIR_CHECK"), "3") == 0) setenv("WEIR_CHECK", "2", 1); /* 3 adds a call to each upload */
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "cuda"), &rt));
    /* Copies that are timed cost three calls more: see a_sample_costs_three_calls. */
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = bytes, .buffers_min = buffers, .sample_every = UINT64_MAX), &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_device_alloc(rt, bytes, &device));
    /* The host program works in the device's context, as the CUDA runtime does. */
    struct CUctx_st *context = NULL;
    cr_assert_eq(driver.app.context_retain(&context, 0), WI_CU_SUCCESS);
    cr_assert_eq(driver.app.context_push(context), WI_CU_SUCCESS);
}

static void close_all(void)
{
    struct fakecuda_live live;
    struct CUctx_st     *context = NULL;
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    ok(weir_device_free(rt, device));
    ok(weir_stream_release(stream));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    cr_assert_eq(driver.app.context_pop(&context), WI_CU_SUCCESS);
    cr_assert_eq(driver.app.context_release(0), WI_CU_SUCCESS);
    driver.fake.live(&live);
    cr_assert_eq(live.contexts + live.streams + live.events + live.registrations + live.device_allocations, 0);
}

struct counts {
    uint64_t copies, records, queries, thread, others;
};

/* One by one and not from a sum, because the keeper goes on calling meanwhile. */
static struct counts count(void)
{
    static const char *const symbols[] = {
#define X(field, symbol, version, need, arguments) #symbol,
        WI_CU_SYMBOLS(X)
#undef X
    };
    struct counts now = {0};
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        const char *symbol = symbols[i];
        uint64_t    calls = driver.fake.calls(symbol);
        if (strcmp(symbol, "cuMemcpyHtoDAsync") == 0) {
            now.copies += calls;
        } else if (strcmp(symbol, "cuEventRecord") == 0) {
            now.records += calls;
        } else if (strcmp(symbol, "cuEventQuery") == 0) {
            now.queries += calls;
        } else if (strncmp(symbol, "cuCtx", 5) == 0 || strncmp(symbol, "cuThread", 8) == 0) {
            now.thread += calls;
        } else {
            now.others += calls;
        }
    }
    return now;
}

static struct counts since(struct counts before)
{
    struct counts now = count();
    return (struct counts){now.copies - before.copies, now.records - before.records, now.queries - before.queries,
                           now.thread - before.thread, now.others - before.others};
}

static void upload(size_t bytes)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    ok(weir_stream_upload(stream, device, weir_slice(buffer, 0, bytes)));
    ok(weir_buffer_release(buffer));
}

/* The events of a stream's ring are made as ticks are first closed, so all 64 are made beforehand. */
static void warm_up(size_t bytes)
{
    for (int tick = 0; tick < 80; tick++) {
        for (int i = 0; i < 8; i++) upload(bytes);
        ok(weir_stream_sync(stream, WEIR_FOREVER));
    }
}

/* Nothing is released meanwhile, so nobody waits for an open tick, and every eighth copy closes one. */
Test(driver_calls, small_uploads_share_their_events)
{
    struct weir_buffer *buffer;
    open_all(64, 4096);
    warm_up(4096);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    struct counts before = count();
    for (int i = 0; i < UPLOADS; i++) {
        ok(weir_stream_upload(stream, device, weir_slice_all(buffer)));
        if (i % 64 == 63) ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    }
    struct counts used = since(before);
    cr_assert_eq(used.copies, UPLOADS);
    cr_assert_eq(used.records, UPLOADS / 8, "%lu records", (unsigned long)used.records);
    cr_assert_eq(used.others, 0, "%lu calls of another kind", (unsigned long)used.others);
    ok(weir_buffer_release(buffer));
    close_all();
}

/*
 * The whole cycle. The keeper closes a tick early for buffers that wait in it while their thread is
 * not running, so a loaded machine records more events: never more than one for a copy, and few in a round that
 * is not interrupted. Rounds are short, so that there is one.
 */
Test(driver_calls, a_steady_cycle_costs_a_copy_and_its_share_of_an_event)
{
    uint64_t best = UINT64_MAX;
    open_all(64, 4096);
    warm_up(4096);
    for (int round = 0; round < 20 || (round < 2000 && best > ROUND * 5 / 4); round++) {
        struct counts before = count();
        for (int i = 0; i < ROUND; i++) upload(4096);
        struct counts used = since(before);
        uint64_t      calls = used.copies + used.records;
        cr_assert_eq(used.copies, ROUND);
        cr_assert_eq(used.others, 0, "%lu calls of another kind", (unsigned long)used.others);
        cr_assert_leq(calls, 2 * ROUND + 1); /* the keeper may close a tick of the round before */
        if (calls < best) best = calls;
    }
    cr_assert_leq(best, ROUND * 5 / 4, "at best %lu calls for %d uploads", (unsigned long)best, ROUND);
    close_all();
}

/* Two records around the copy, and one question when both have passed; one copy in 1024 of each buffer by default. */
Test(driver_calls, a_sample_costs_three_calls)
{
    struct weir_pool   *sampled;
    struct weir_buffer *buffer;
    open_all(1, 4096);
    warm_up(4096);
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .sample_every = 16), &sampled));
    ok(weir_buffer_acquire(sampled, WEIR_NOW, &buffer));
    ok(weir_stream_upload(stream, device, weir_slice_all(buffer))); /* the first makes the events */
    ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    cr_assert_eq(pool_stats(sampled).timed, 1);
    struct counts before = count();
    for (int i = 1; i < UPLOADS; i++) {
        ok(weir_stream_upload(stream, device, weir_slice_all(buffer)));
        if (i % 8 == 7) ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    }
    uint64_t      samples = pool_stats(sampled).timed - 1;
    struct counts used = since(before);
    cr_assert_eq(samples, UPLOADS / 16 - 1);
    cr_assert_leq(used.records, UPLOADS / 8 + 2 * samples + 1, "%lu records", (unsigned long)used.records);
    cr_assert_eq(used.others, samples, "%lu calls of another kind", (unsigned long)used.others);
    ok(weir_buffer_release(buffer));
    weir_pool_destroy(sampled);
    close_all();
}

/* While the device stands, no time can be told: four samples are under way, and the driver is seldom asked for them. */
Test(driver_calls, a_sample_is_not_asked_for_before_its_tick_has_passed)
{
    struct weir_pool   *sampled;
    struct weir_buffer *buffer;
    open_all(1, 4096);
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .sample_every = 1), &sampled));
    ok(weir_buffer_acquire(sampled, WEIR_NOW, &buffer));
    driver.fake.hold(NULL);
    uint64_t before = driver.fake.calls("cuEventElapsedTime");
    for (int i = 0; i < 200; i++) ok(weir_stream_upload(stream, device, weir_slice_all(buffer)));
    uint64_t asked = driver.fake.calls("cuEventElapsedTime") - before;
    cr_assert_leq(asked, 4 * (200 / 64), "%lu questions", (unsigned long)asked);
    driver.fake.release(NULL);
    ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    before = driver.fake.calls("cuEventElapsedTime");
    ok(weir_stream_upload(stream, device, weir_slice_all(buffer)));
    cr_assert_eq(driver.fake.calls("cuEventElapsedTime") - before, 4);
    ok(weir_buffer_release(buffer));
    weir_pool_destroy(sampled);
    close_all();
}

static uint64_t calls_told(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    ok(weir_runtime_stats_read(rt, &stats));
    return stats.driver_calls + stats.driver_thread_calls;
}

/* How many the double has counted beyond weir, at a moment when nothing is between the two. */
static uint64_t calls_untold(void)
{
    uint64_t calls, told;
    do {
        told = calls_told();
        calls = driver.fake.calls(NULL);
    } while (told != calls_told() || calls != driver.fake.calls(NULL));
    return calls - told;
}

/* Every call of the driver is in one of the two counters. The keeper may be inside one, so it is waited for. */
Test(driver_calls, all_are_told)
{
    open_all(64, 4096);
    warm_up(4096);
    eventually(pool_stats(pool).retiring == 0);
    uint64_t apart = calls_untold();
    for (int i = 0; i < 80; i++) upload(4096);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    eventually(calls_untold() <= apart);
    close_all();
}

/* A transfer that is large enough to close its tick alone costs the copy and one event. */
Test(driver_calls, a_large_upload_costs_two)
{
    size_t bytes = (size_t)8 << 20;
    open_all(4, bytes);
    warm_up(4096);
    struct counts before = count();
    for (int i = 0; i < 50; i++) upload(bytes);
    struct counts used = since(before);
    cr_assert_eq(used.copies, 50);
    cr_assert_leq(used.copies + used.records, 100, "%lu records", (unsigned long)used.records);
    cr_assert_eq(used.others, 0, "%lu calls of another kind", (unsigned long)used.others);
    close_all();
}

/* The context is asked for once for each call; the keeper's queries also change the capture mode and restore it. */
Test(driver_calls, the_thread_is_asked_for_its_context_once_a_call)
{
    open_all(64, 4096);
    warm_up(4096);
    eventually(pool_stats(pool).retiring == 0);
    struct counts before = count();
    for (int i = 0; i < 80; i++) upload(4096);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    eventually(pool_stats(pool).retiring == 0);
    struct counts used = since(before);
    /* The keeper's thread has no context of its own: it is asked, pushed and popped, and the mode goes to and fro. */
    cr_assert_leq(used.thread, used.copies + 3 * used.records + 5 * used.queries);
    close_all();
}

/* What lies in the lane is free too: a first acquire is no reason to make more. */
Test(driver_calls, a_pool_with_enough_free_does_not_grow)
{
    struct weir_event     *event;
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    open_all(64, 4096);
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    ok(weir_event_release(event));
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    ok(weir_event_stats_read(rt, &stats));
    cr_assert_eq(stats.grows, 0);
    close_all();
}

Test(driver_calls, hits_make_none)
{
    struct weir_buffer *buffer;
    struct weir_stream *other;
    struct weir_event  *event;
    open_all(64, 4096);
    for (int turn = 0; turn < 2; turn++) {
        /* The first turn is the way in: the keeper comes to rest, the thread is attached. */
        uint64_t before = driver.fake.calls(NULL);
        for (int i = 0; i < 10000; i++) {
            ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
            ok(weir_buffer_release(buffer));
            ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &other));
            ok(weir_stream_release(other));
            ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
            ok(weir_event_release(event));
        }
        if (turn == 1) cr_assert_eq(driver.fake.calls(NULL), before);
    }
    close_all();
}

/* A release of what the device still uses is a push: no call of any kind. */
Test(driver_calls, releases_in_flight_make_none_on_the_releasing_thread)
{
    struct weir_buffer *buffer[64];
    open_all(64, 4096);
    warm_up(4096);
    driver.fake.hold(NULL);
    for (int i = 0; i < 64; i++) {
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i]));
        ok(weir_stream_upload(stream, device, weir_slice_all(buffer[i])));
    }
    struct counts before = count();
    for (int i = 0; i < 64; i++) ok(weir_buffer_release(buffer[i]));
    struct counts used = since(before);
    /* The keeper may query and close a tick meanwhile; a copy or anything else would be the release's. */
    cr_assert_eq(used.copies + used.others, 0);
    cr_assert_leq(used.records, 1);
    cr_assert_eq(pool_stats(pool).retiring, 64);
    driver.fake.release(NULL);
    eventually(pool_stats(pool).retiring == 0);
    close_all();
}

Test(driver_calls, ten_thousand_retired_buffers_need_few_queries, .timeout = 240)
{
    static struct weir_buffer *buffer[MANY];
    open_all(MANY, 512);
    warm_up(512);
    eventually(pool_stats(pool).free == MANY);
    driver.fake.hold(NULL);
    for (int i = 0; i < MANY; i++) {
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[i]));
        ok(weir_stream_upload(stream, device, weir_slice_all(buffer[i])));
    }
    for (int i = 0; i < MANY; i++) ok(weir_buffer_release(buffer[i]));
    cr_assert_eq(pool_stats(pool).retiring, MANY);
    driver.fake.release(NULL);
    ok(weir_stream_sync(stream, WEIR_FOREVER)); /* before this, polls tell the machine's speed and nothing else */
    struct counts before = count();
    eventually(pool_stats(pool).retiring == 0);
    struct counts used = since(before);
    cr_assert_leq(used.queries, 2 * 64, "%lu queries", (unsigned long)used.queries);
    cr_assert_eq(pool_stats(pool).free, MANY);
    close_all();
}
