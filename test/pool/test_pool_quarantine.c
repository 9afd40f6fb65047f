/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reuse that is ordered by the device, and what happens when the device does not say: quarantine, and loss. And that
 * a reuse that came too early would be seen.
 */
#include "pool/fixture.h"

#include "base/atomic.h"
#include "device/host.h"
#include "pool/context.h"

#include <pthread.h>
#include <string.h>
#include <weir/log.h>

#define MS UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream;
static uint64_t             target;

static struct wi_emu *emu(void)
{
    struct wi_device *device = wi_context_of(rt)->device;
    if (device->ops != &wi_device_host) cr_skip_test("faults are the host backend's");
    return wi_host_emu(device);
}

static void open_pool(size_t buffers, uint32_t flags)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "guarded", .buffer_bytes = 4096, .buffers_min = buffers, .flags = flags), &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_device_alloc(rt, 64 * 4096, &target));
}

static struct weir_buffer *take(void)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    return buffer;
}

static void set_fault(uint32_t op, uint64_t nth, int32_t code, uint32_t flags)
{
    struct wi_emu_fault fault = {.op = op, .nth = nth, .code = code, .flags = flags};
    cr_assert_eq(wi_emu_fault_set(emu(), &fault), 0);
}

/* ---- a planted early reuse ---- */

/*
 * Each round writes its stamp, queues a slow copy and releases. The next round takes the buffer as soon as it can and
 * writes its own stamp. Returns how many rounds' bytes arrived wrong.
 */
static unsigned corrupt_rounds(uint32_t flags)
{
    enum { ROUNDS = 16 };
    unsigned corrupt = 0;
    open_pool(1, flags);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct weir_buffer *buffer = take();
        memset(buffer->host, (int)round + 1, buffer->bytes);
        ok(weir_stream_delay(stream, MS));
        ok(weir_stream_upload(stream, target + round * 4096, weir_slice_all(buffer)));
        ok(weir_buffer_release(buffer));
    }
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    struct weir_buffer *buffer = take();
    for (unsigned round = 0; round < ROUNDS; round++) {
        ok(weir_stream_download(stream, weir_slice_all(buffer), target + round * 4096));
        ok(weir_buffer_sync(buffer, WEIR_FOREVER));
        const unsigned char *bytes = buffer->host;
        for (int i = 0; i < 4096; i++) {
            if (bytes[i] == round + 1) continue;
            corrupt++;
            break;
        }
    }
    ok(weir_buffer_release(buffer));
    ok(weir_stream_release(stream));
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return corrupt;
}

Test(reuse, waits_for_the_device) { cr_assert_eq(corrupt_rounds(0), 0); }
Test(reuse, that_is_planted_too_early_is_seen) { cr_assert_gt(corrupt_rounds(WEIR_POOL_IGNORE_GUARDS), 0); }

Test(reuse, scrub_waits_for_the_device_too)
{
    open_pool(1, WEIR_POOL_SCRUB);
    struct weir_buffer *buffer = take();
    memset(buffer->host, 7, buffer->bytes);
    ok(weir_stream_delay(stream, 20 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    ok(weir_buffer_release(buffer));
    buffer = take();
    for (size_t i = 0; i < buffer->bytes; i++) cr_assert_eq(((char *)buffer->host)[i], 0, "an old byte");
    ok(weir_stream_download(stream, weir_slice_all(buffer), target));
    ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    cr_assert_eq(((char *)buffer->host)[4095], 7, "scrubbed while the device was reading");
    ok(weir_buffer_release(buffer));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* ---- quarantine ---- */

static void assert_quarantined(struct weir_buffer *gone, uint64_t count)
{
    struct weir_buffer *buffer, *none;
    struct weir_buffer *rest[8];
    eventually(pool_stats(pool).quarantined == count);
    assert_law(pool);
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.free, stats.total - count);
    /* Never reused: everything else is handed out, and then nothing. */
    for (uint64_t i = 0; i < stats.free; i++) {
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
        cr_assert_not(same(buffer, gone));
        rest[i] = buffer;
    }
    answers(weir_buffer_acquire(pool, WEIR_NOW, &none), AGAIN);
    answers(weir_buffer_acquire(pool, weir_deadline_after_ns(MS), &none), TIMEDOUT);
    ok(weir_buffers_release(rest, stats.free));
}

static _Atomic uint32_t errors;

static void count_errors(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx, (void)component;
    if (level == WEIR_LOG_ERROR && strstr(message, "quarantined")) wi_add(&errors, 1, relaxed);
}

/* `ticks`: so many have passed on the stream before. */
static void fault_quarantines(uint32_t op, unsigned ticks)
{
    weir_log_set(count_errors, NULL);
    open_pool(3, 0);
    for (unsigned i = 0; i < ticks; i++) {
        ok(weir_stream_delay(stream, 1000));
        ok(weir_stream_sync(stream, WEIR_FOREVER));
    }
    struct weir_buffer *buffer = take();
    ok(weir_stream_delay(stream, 5 * MS));
    ok(weir_buffer_guard(buffer, stream));
    set_fault(op, 1, WEIR_EINTERNAL, 0);
    ok(weir_buffer_release(buffer));
    assert_quarantined(buffer, 1);
    cr_assert_gt(wi_load(&errors, relaxed), 0, "it was not reported");
    /* The pool goes on on other streams. */
    struct weir_stream *other;
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &other));
    struct weir_buffer *next = take();
    ok(weir_stream_upload(other, target, weir_slice_all(next)));
    ok(weir_buffer_release(next));
    eventually(pool_stats(pool).free == 2);
    ok(weir_stream_release(other));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    weir_log_set(NULL, NULL);
}

Test(quarantine, when_an_event_cannot_be_recorded) { fault_quarantines(WI_EMU_EVENT_RECORD, 0); }
Test(quarantine, when_an_event_cannot_be_queried) { fault_quarantines(WI_EMU_EVENT_QUERY, 0); }
/* Buckets go round: what waits in any of them is found. */
Test(quarantine, after_80_ticks) { fault_quarantines(WI_EMU_EVENT_RECORD, 80); }
Test(quarantine, after_120_ticks) { fault_quarantines(WI_EMU_EVENT_QUERY, 120); }

/* The failure comes while the buffer is leased: it goes into quarantine when it is released, and syncs say so. */
Test(quarantine, of_a_lease_that_was_out_when_the_stream_failed)
{
    open_pool(3, 0);
    struct weir_buffer *buffer = take(), *fine = take();
    ok(weir_stream_delay(stream, 5 * MS));
    ok(weir_buffer_guard(buffer, stream));
    set_fault(WI_EMU_EVENT_RECORD, 1, WEIR_EINTERNAL, 0);
    answers(weir_buffer_sync(buffer, WEIR_FOREVER), DEVICE);
    cr_assert_eq(pool_stats(pool).quarantined, 0);
    ok(weir_buffer_release(buffer));
    ok(weir_buffer_release(fine)); /* was not used by that stream */
    assert_quarantined(buffer, 1);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(quarantine, memory_is_never_given_back)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    open_pool(2, 0);
    struct weir_buffer *buffer = take();
    ok(weir_buffer_guard(buffer, stream));
    set_fault(WI_EMU_EVENT_RECORD, 1, WEIR_EINTERNAL, 0);
    ok(weir_buffer_release(buffer));
    eventually(pool_stats(pool).quarantined == 1);
    weir_pool_destroy(pool);
    ok(weir_runtime_stats_read(rt, &stats));
    cr_assert_gt(stats.pinned_bytes, 0);
    memset(buffer->host, 1, 4096); /* still mapped */
    weir_runtime_destroy(rt);
    memset(buffer->host, 2, 4096);
}

/* ---- a lost device ---- */

static void *wait_long_for_buffer(void *arg)
{
    struct weir_buffer *none;
    (void)arg;
    return (void *)(intptr_t)weir_buffer_acquire(pool, weir_deadline_after_ns(20000 * MS), &none);
}

/* The call that learns of the loss has nothing to do with streams, and the keeper sleeps. */
Test(lost, who_waits_is_told_whatever_call_learns_of_it)
{
    pthread_t thread;
    uint64_t  none;
    void     *answer;
    open_pool(1, 0);
    struct weir_buffer *buffer = take();
    cr_assert_eq(pthread_create(&thread, NULL, wait_long_for_buffer, NULL), 0);
    eventually(pool_stats(pool).waiting == 1);
    nanosleep(&(struct timespec){.tv_nsec = 50 * MS}, NULL); /* what the wait has brought about is over */
    wi_emu_lose(emu());
    answers(weir_device_alloc(rt, 4096, &none), DEVICE);
    pthread_join(thread, &answer);
    cr_assert_eq((int)(intptr_t)answer, WEIR_EDEVICE, "who waited was not told");
    ok(weir_buffer_release(buffer));
    (void)weir_stream_release(stream);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static void *wait_for_buffer(void *arg)
{
    struct weir_buffer *none;
    (void)arg;
    return (void *)(intptr_t)weir_buffer_acquire(pool, WEIR_FOREVER, &none);
}

static void never(void *ctx, int result, struct weir_buffer *buffer)
{
    (void)ctx;
    (void)result;
    (void)buffer;
    cr_assert_fail("a request that was refused is answered");
}

/* What does not go through a pool's free buffers is refused all the same. */
Test(lost, requests_shares_and_adoptions_fail)
{
    struct weir_request *request = (struct weir_request *)&rt;
    struct weir_stream  *other;
    struct weir_event   *event;
    struct weir_graph   *graph;
    open_pool(1, 0);
    struct weir_buffer *buffer = take();
    ok(weir_stream_delay(stream, 200 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    wi_emu_lose(emu());
    answers(weir_stream_upload(stream, target, weir_slice_all(buffer)), DEVICE);
    ok(weir_buffer_release(buffer));
    eventually(pool_stats(pool).quarantined == 1); /* by whoever has shut all pools before */
    answers(weir_stream_share(rt, WEIR_STREAM_COMPUTE, &other), DEVICE);
    answers(weir_buffer_acquire_async(pool, NULL, WEIR_FOREVER, never, NULL, &request), DEVICE);
    cr_assert_null(request);
    answers(weir_stream_adopt(rt, &other, &other), DEVICE);
    answers(weir_event_adopt(rt, &event, 0, &event), DEVICE);
    answers(weir_graph_create(rt, &graph), DEVICE);
    (void)weir_stream_release(stream);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(lost, acquires_fail_releases_work_and_the_end_calls_no_driver)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    struct weir_pool         *second;
    struct weir_buffer       *none;
    pthread_t                 thread;
    void                     *answer;
    open_pool(2, 0);
    struct weir_buffer *buffer = take(), *idle = take();
    cr_assert_eq(pthread_create(&thread, NULL, wait_for_buffer, NULL), 0);
    eventually(pool_stats(pool).waiting == 1);
    ok(weir_stream_delay(stream, 200 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    wi_emu_lose(emu());
    answers(weir_stream_upload(stream, target, weir_slice_all(idle)), DEVICE); /* the first call that learns of it */
    pthread_join(thread, &answer);
    cr_assert_eq((int)(intptr_t)answer, WEIR_EDEVICE, "who waited");
    uint64_t begin_ns = weir_clock_ns();
    answers(weir_buffer_acquire(pool, WEIR_FOREVER, &none), DEVICE);
    answers(weir_buffer_acquire(pool, WEIR_NOW, &none), DEVICE);
    answers(weir_pool_create(rt, NULL, &second), DEVICE);
    cr_assert_lt(weir_clock_ns() - begin_ns, 1000 * MS, "not at once");
    ok(weir_runtime_stats_read(rt, &stats));
    cr_assert_eq(stats.lost, 1);
    ok(weir_buffer_release(buffer)); /* in flight: abandoned, and not reused */
    ok(weir_buffer_release(idle));
    answers(weir_buffer_release(idle), NOTLEASED);
    eventually(pool_stats(pool).quarantined == 1);
    assert_law(pool);
    (void)weir_stream_release(stream);
    struct wi_emu_stats before, after;
    struct wi_emu      *device = emu();
    wi_emu_stats_read(device, &before);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt); /* the emulation of a lost device is kept, so it can still be asked */
    wi_emu_stats_read(device, &after);
    cr_assert_arr_eq(after.calls, before.calls, sizeof before.calls);
}
