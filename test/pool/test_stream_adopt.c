/* SPDX-License-Identifier: Apache-2.0 */
/* The host program's own streams and events: their guards hold, and they are never used once they are let go. */
#include "pool/stream_fixture.h"

#include "base/alloc.h"
#include "base/atomic.h"
#include "device/host.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static uint64_t             target;

static void open_all(const struct weir_runtime_opts *opts)
{
    ok(weir_runtime_create(opts, &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2), &pool));
    ok(weir_device_alloc(rt, 4096, &target));
}

static void close_all(void)
{
    assert_class_law(rt, WEIR_STREAM_ADOPTED);
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static struct weir_stream *adopt(void *handle)
{
    struct weir_stream *stream;
    ok(weir_stream_adopt(rt, handle, &stream));
    return stream;
}

static bool on_host(void)
{
    return wi_context_of(rt)->device->ops == &wi_device_host;
}

Test(adopt, copies_and_waits_work)
{
    struct weir_buffer *buffer;
    open_all(NULL);
    void               *handle = make_handle(rt);
    struct weir_stream *stream = adopt(handle);
    cr_assert_eq(stream_info(stream).flags, WEIR_STREAM_IS_ADOPTED);
    cr_assert_eq(stream_info(stream).stream_class, WEIR_STREAM_ADOPTED);
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_ACQUIRED);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    memset(buffer->host, 0x3c, 4096);
    ok(weir_stream_upload(stream, target, weir_slice(buffer, 0, 2048)));
    ok(weir_stream_download(stream, weir_slice(buffer, 2048, 2048), target));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_eq(memcmp(buffer->host, (char *)buffer->host + 2048, 2048), 0);
    cr_assert_eq(weir_stream_query(stream), 0);
    ok(weir_buffer_release(buffer));
    ok(weir_stream_disown(stream));
    answers(weir_stream_disown(stream), NOTLEASED);
    answers(weir_stream_upload(stream, target, weir_slice_all(buffer)), NOTLEASED);
    drop_handle(rt, handle);
    answers(weir_stream_adopt(rt, NULL, &stream), INVAL);
    close_all();
}

Test(adopt, its_priority_is_the_drivers)
{
    struct weir_runtime_info info = {.struct_size = sizeof info};
    open_all(NULL);
    struct wi_device *device = wi_context_of(rt)->device;
    ok(weir_runtime_info_read(rt, &info));
    cr_assert_neq(info.stream_priority_greatest, info.stream_priority_least);
    const int32_t wanted[] = {info.stream_priority_greatest, info.stream_priority_least};
    for (int i = 0; i < 2; i++) {
        void *handle;
        ok(device->ops->stream_create(device, wanted[i], &handle));
        struct weir_stream *stream = adopt(handle);
        cr_assert_eq(stream_info(stream).priority, wanted[i]);
        ok(weir_stream_disown(stream));
        drop_handle(rt, handle);
    }
    close_all();
}

/* The guard of an adopted stream keeps a buffer back like any other. */
Test(adopt, guards_and_retire_work)
{
    struct weir_buffer *buffer[2], *next;
    open_all(NULL);
    void               *handle = make_handle(rt);
    struct weir_stream *stream = adopt(handle);
    uint64_t until_ns = weir_deadline_after_ns(240 * MS);
    ok(weir_stream_delay(stream, 250 * MS));
    for (int i = 0; i < 2; i++) ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[i]));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer[0])));
    ok(weir_buffer_guard(buffer[1], stream));
    for (int i = 0; i < 2; i++) ok(weir_buffer_release(buffer[i]));
    cr_assert_eq(pool_stats(pool).retiring, 2);
    answers(weir_buffer_acquire(pool, WEIR_NOW, &next), AGAIN);
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &next));
    cr_assert_geq(weir_clock_ns(), until_ns);
    ok(weir_buffer_release(next));
    ok(weir_stream_release(stream));
    drop_handle(rt, handle);
    close_all();
}

/*
 * The host program's own launch, past weir, is guarded too. The handle is destroyed at once: whoever used it
 * afterwards would be told so by the emulation, and the buffer would be quarantined.
 */
Test(adopt, a_handle_is_not_used_once_it_is_let_go)
{
    struct weir_buffer *buffer;
    open_all(NULL);
    struct wi_device *device = wi_context_of(rt)->device;
    for (int i = 0; i < 20; i++) {
        void               *handle = make_handle(rt);
        struct weir_stream *stream = adopt(handle);
        uint64_t until_ns = weir_deadline_after_ns(MS);
        ok(device->ops->delay(device, 2 * MS, handle));
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        ok(weir_buffer_guard(buffer, stream));
        ok(weir_stream_disown(stream));
        drop_handle(rt, handle);
        ok(weir_buffer_release(buffer));
        uint64_t retiring = pool_stats(pool).retiring;
        cr_assert(retiring == 1 || weir_clock_ns() >= until_ns);
        eventually(pool_stats(pool).retiring == 0);
        cr_assert_geq(weir_clock_ns(), until_ns);
        cr_assert_eq(pool_stats(pool).quarantined, 0);
    }
    close_all();
}

Test(adopt, an_adoption_that_has_ended_is_busy_until_it_has_drained)
{
    open_all(WEIR_OPTS(runtime, .streams_adopted_max = 1));
    void               *handle = make_handle(rt);
    struct weir_stream *stream = adopt(handle), *none;
    struct weir_error   error = {.struct_size = sizeof error};
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_stream_release(stream));
    cr_assert_eq(stream_info(stream).state, WEIR_STREAM_BUSY);
    answers(weir_stream_adopt(rt, handle, &none), EXCEEDS); /* its record is not bound anew yet */
    ok(weir_last_error(&error));
    cr_assert_str_eq(error.setting, "weir_runtime_opts.streams_adopted_max");
    ok(weir_runtime_sync(rt, 1u << WEIR_STREAM_ADOPTED, WEIR_FOREVER));
    eventually(stream_info(stream).state == 0);
    stream = adopt(handle);
    ok(weir_stream_release(stream));
    drop_handle(rt, handle);
    close_all();
}

/* Numbers of streams are few: those of drained adoptions are used again. */
Test(adopt, numbers_are_used_again)
{
    open_all(WEIR_OPTS(runtime, .streams_adopted_max = 3));
    void               *handle = make_handle(rt);
    struct weir_buffer *buffer;
    uint32_t            streams = 0;
    for (int i = 0; i < 3000; i++) {
        struct weir_stream *stream;
        int                 err;
        while ((err = weir_stream_adopt(rt, handle, &stream)) == WEIR_EEXCEEDS)
            ok(weir_runtime_sync(rt, 1u << WEIR_STREAM_ADOPTED, WEIR_FOREVER));
        ok(err);
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
        ok(weir_stream_disown(stream));
        ok(weir_buffer_release(buffer));
        if (i == 100) streams = wi_load(&wi_context_of(rt)->streams, relaxed);
    }
    cr_assert_eq(wi_load(&wi_context_of(rt)->streams, relaxed), streams);
    eventually(pool_stats(pool).free == 2);
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    drop_handle(rt, handle);
    close_all();
}

/* 64 events may be under way; the 65th operation waits for the device. */
Test(adopt, a_full_ring_is_back_pressure)
{
    struct weir_buffer *buffer;
    open_all(NULL);
    void               *handle = make_handle(rt);
    struct weir_stream *stream = adopt(handle);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    uint64_t until_ns = weir_deadline_after_ns(300 * MS);
    ok(weir_stream_delay(stream, 300 * MS));
    for (int i = 1; i < WEIR_EVENTS_IN_FLIGHT; i++) ok(weir_buffer_guard(buffer, stream));
    cr_assert_lt(weir_clock_ns(), until_ns, "it waited before the ring was full (or this machine did)");
    ok(weir_buffer_guard(buffer, stream));
    cr_assert_geq(weir_clock_ns(), until_ns, "an operation went without an event of its own");
    for (int i = 0; i < 1000; i++) ok(weir_buffer_guard(buffer, stream));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    ok(weir_buffer_release(buffer));
    cr_assert_eq(pool_stats(pool).retiring, 0);
    ok(weir_stream_release(stream));
    drop_handle(rt, handle);
    close_all();
}

/* Fail closed: buffers in flight are quarantined, and the record is never bound again. */
Test(adopt, a_failed_record_is_never_bound_again)
{
    struct weir_buffer *buffer;
    struct weir_stream *stream, *next;
    open_all(WEIR_OPTS(runtime, .streams_adopted_max = 2));
    if (!on_host()) cr_skip_test("the fault is planted into the host backend");
    void               *handle = make_handle(rt);
    struct wi_emu_fault fault = {.op = WI_EMU_EVENT_RECORD, .nth = 1, .code = WEIR_EINVAL};
    stream = adopt(handle);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(wi_emu_fault_set(wi_host_emu(wi_context_of(rt)->device), &fault));
    ok(weir_buffer_guard(buffer, stream));
    answers(weir_stream_sync(stream, WEIR_FOREVER), DEVICE);
    ok(weir_buffer_release(buffer));
    ok(weir_stream_release(stream));
    eventually(pool_stats(pool).quarantined == 1);
    eventually(stream_info(stream).state == WEIR_STREAM_FAILED);
    cr_assert_eq(stream_totals(rt, WEIR_STREAM_ADOPTED).failed, 1);
    next = adopt(handle);
    cr_assert_neq(stream_id(next), stream_id(stream));
    answers(weir_stream_adopt(rt, handle, &stream), EXCEEDS);
    ok(weir_stream_release(next));
    drop_handle(rt, handle);
    close_all();
}

/* Work that the host program has queued itself is covered by a sync of the stream and of the runtime. */
Test(adopt, work_past_weir_is_waited_for)
{
    open_all(NULL);
    struct wi_device   *device = wi_context_of(rt)->device;
    void               *handle = make_handle(rt);
    struct weir_stream *stream = adopt(handle);
    for (int i = 0; i < 3; i++) {
        uint64_t until_ns = weir_deadline_after_ns(248 * MS);
        ok(device->ops->delay(device, 250 * MS, handle));
        cr_assert_eq(weir_stream_query(stream), WEIR_EAGAIN);
        if (i == 0) ok(weir_stream_sync(stream, WEIR_FOREVER));
        if (i == 1) ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
        if (i == 2) ok(weir_runtime_sync(rt, 1u << WEIR_STREAM_ADOPTED, WEIR_FOREVER));
        cr_assert_geq(weir_clock_ns(), until_ns);
    }
    ok(weir_stream_release(stream));
    drop_handle(rt, handle);
    close_all();
}

static _Atomic uint32_t ended;
static void            *contested;

static void *end_it(void *stream)
{
    if (weir_stream_disown(stream) == 0) wi_add(&ended, 1, relaxed);
    return NULL;
}

Test(adopt, of_many_who_end_it_one_succeeds)
{
    pthread_t thread[4];
    open_all(NULL);
    contested = make_handle(rt);
    for (int i = 0; i < 200; i++) {
        struct weir_stream *stream = adopt(contested);
        wi_store(&ended, 0, relaxed);
        for (int j = 0; j < 4; j++) cr_assert_eq(pthread_create(&thread[j], NULL, end_it, stream), 0);
        for (int j = 0; j < 4; j++) pthread_join(thread[j], NULL);
        cr_assert_eq(wi_load(&ended, relaxed), 1);
    }
    drop_handle(rt, contested);
    close_all();
}

static void *adopt_and_use(void *arg)
{
    void *handle = make_handle(rt);
    (void)arg;
    for (int i = 0; i < 150; i++) {
        struct weir_buffer *buffer;
        struct weir_stream *stream = adopt(handle);
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
        if (i % 2) ok(weir_buffer_guard(buffer, stream));
        if (i % 3 == 0) ok(weir_stream_disown(stream));
        ok(weir_buffer_release(buffer));
        if (i % 3) ok(weir_stream_release(stream));
    }
    drop_handle(rt, handle);
    return NULL;
}

Test(adopt, many_threads)
{
    pthread_t thread[6];
    open_all(NULL);
    for (int i = 0; i < 6; i++) cr_assert_eq(pthread_create(&thread[i], NULL, adopt_and_use, NULL), 0);
    for (int i = 0; i < 6; i++) pthread_join(thread[i], NULL);
    eventually(pool_stats(pool).free == 2);
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    eventually(class_stats(rt, WEIR_STREAM_ADOPTED).total == 0);
    close_all();
}

/* ---- at the end of the runtime ---- */

static char told[4096];

static void hear(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    (void)level;
    (void)component;
    size_t length = strlen(told);
    snprintf(told + length, sizeof told - length, "%s\n", message);
}

/* Leases of every kind are named in the report, and their later release makes no driver call. */
Test(adopt, leases_left_over_are_reported_and_let_go_later)
{
    struct weir_stream *leased;
    struct weir_event  *event;
    open_all(NULL);
    struct wi_device   *device = wi_context_of(rt)->device;
    void               *handle = make_handle(rt);
    struct weir_stream *stream = adopt(handle);
    leased = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    ok(weir_device_free(rt, target));
    weir_pool_destroy(pool);
    weir_log_set(hear, NULL);
    weir_runtime_destroy(rt);
    weir_log_set(NULL, NULL);
    cr_assert(strstr(told, "adopted: 1 leases still out"), "%s", told);
    cr_assert(strstr(told, "compute: 1 leases still out"), "%s", told);
    cr_assert(strstr(told, "events: 1 leases still out"), "%s", told);
    uint64_t calls = wi_load(&device->calls, relaxed);
    answers(weir_stream_release(stream), CLOSED);
    answers(weir_stream_release(leased), CLOSED);
    answers(weir_event_release(event), CLOSED);
    cr_assert_eq(wi_load(&device->calls, relaxed), calls);
}

/* ---- events ---- */

static void *make_event(void)
{
    struct wi_device *device = wi_context_of(rt)->device;
    void             *handle = NULL;
    ok(device->ops->event_create(device, WI_EVENT_TIMING, &handle));
    return handle;
}

Test(adopt, events)
{
    struct weir_event  *event[2], *none;
    struct weir_stream *stream;
    uint64_t            took_ns;
    open_all(WEIR_OPTS(runtime, .events_adopted_max = 2));
    struct wi_device *device = wi_context_of(rt)->device;
    void             *handle[] = {make_event(), make_event()};
    stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 2; i++) {
            ok(weir_event_adopt(rt, handle[i], WEIR_EVENT_TIMING, &event[i]));
            answers(weir_event_query(event[i]), INVAL);
        }
        answers(weir_event_adopt(rt, handle[0], 0, &none), EXCEEDS);
        ok(weir_event_record(event[0], stream));
        ok(weir_stream_delay(stream, 200000));
        ok(weir_event_record(event[1], stream));
        ok(weir_event_sync(event[1], WEIR_FOREVER));
        ok(weir_event_elapsed_ns(event[0], event[1], &took_ns));
        cr_assert_geq(took_ns, 190000);
        ok(weir_event_disown(event[0]));
        answers(weir_event_disown(event[0]), NOTLEASED);
        ok(weir_event_release(event[1]));
    }
    for (int i = 0; i < 2; i++) ok(device->ops->event_destroy(device, handle[i]));
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &none));
    answers(weir_event_disown(none), KIND);
    ok(weir_event_release(none));
    answers(weir_event_adopt(rt, NULL, 0, &none), INVAL);
    answers(weir_event_adopt(rt, handle[0], 8, &none), OPTS);
    ok(weir_stream_release(stream));
    close_all();
}

/* Waits for the event were given up: the keeper may still have been asking about it, and must not any more. */
Test(adopt, an_event_without_memory_for_it_is_refused)
{
    struct weir_event *event = NULL;
    int                handle; /* no driver is asked about it */
    rt = make_runtime();
    wi_alloc_fail_at(1);
    answers(weir_event_adopt(rt, &handle, 0, &event), NOMEM);
    cr_assert_eq(wi_alloc_fail_at(0), 0);
    cr_assert_null(event);
    ok(weir_event_adopt(rt, &handle, 0, &event));
    ok(weir_event_disown(event));
    weir_runtime_destroy(rt);
}

Test(adopt, an_event_is_not_used_once_it_is_let_go)
{
    struct weir_event  *event;
    struct weir_stream *stream;
    open_all(NULL);
    struct wi_device *device = wi_context_of(rt)->device;
    stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    for (int i = 0; i < 300; i++) {
        void *handle = make_event();
        ok(weir_event_adopt(rt, handle, WEIR_EVENT_TIMING, &event));
        ok(weir_stream_delay(stream, 300000));
        ok(weir_event_record(event, stream));
        int err = weir_event_sync(event, weir_deadline_after_ns(50000));
        cr_assert(err == 0 || err == WEIR_ETIMEDOUT);
        ok(weir_event_disown(event));
        ok(device->ops->event_destroy(device, handle));
        ok(weir_stream_sync(stream, WEIR_FOREVER));
    }
    ok(weir_stream_release(stream));
    close_all();
}

/* The same with the keeper held up inside its query. */
Test(adopt, letting_an_event_go_waits_for_a_query)
{
    struct weir_event  *event;
    struct weir_stream *stream;
    struct wi_emu_stats stats;
    open_all(NULL);
    if (!on_host()) cr_skip_test("the delay is planted into the host backend");
    struct wi_device *device = wi_context_of(rt)->device;
    struct wi_emu    *emu = wi_host_emu(device);
    stream = acquire_stream(rt, WEIR_STREAM_COMPUTE);
    for (int i = 0; i < 5; i++) {
        void               *handle = make_event();
        struct wi_emu_fault slow = {.op = WI_EMU_EVENT_QUERY, .nth = 2, .delay_ns = 20 * MS}; /* the first is the caller's */
        ok(weir_event_adopt(rt, handle, WEIR_EVENT_TIMING, &event));
        ok(weir_stream_delay(stream, 5 * MS));
        ok(weir_event_record(event, stream));
        ok(wi_emu_fault_set(emu, &slow));
        answers(weir_event_sync(event, weir_deadline_after_ns(2 * MS)), TIMEDOUT);
        ok(weir_event_disown(event));
        ok(device->ops->event_destroy(device, handle));
        ok(weir_stream_sync(stream, WEIR_FOREVER));
        wi_emu_fault_clear(emu);
    }
    wi_emu_stats_read(emu, &stats);
    cr_assert_eq(stats.misuses, 0);
    ok(weir_stream_release(stream));
    close_all();
}

/* The end of a lost device leaves a stream that has failed with nothing under way: its place is given to nobody. */
Test(adopt, the_place_of_a_failed_stream_is_not_given_again)
{
    struct weir_stream *stream, *none;
    open_all(WEIR_OPTS(runtime, .streams_adopted_max = 2));
    void *handle = make_handle(rt);
    stream = adopt(handle);
    struct wi_stream *inner = wi_record_plain(stream, NULL)->object;
    ok(weir_stream_disown(stream));
    eventually(class_stats(rt, WEIR_STREAM_ADOPTED).total == 0);
    wi_abandon(inner);
    stream = adopt(handle);
    cr_assert_neq(wi_record_plain(stream, NULL)->object, inner);
    ok(weir_stream_delay(stream, 1000));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    answers(weir_stream_adopt(rt, handle, &none), EXCEEDS);
    ok(weir_stream_disown(stream));
    drop_handle(rt, handle);
    close_all();
}

static _Atomic uint32_t go_on;

static void wait_for_it(void *ctx)
{
    (void)ctx;
    while (!wi_load(&go_on, acquire)) nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static bool is_used(const struct weir_buffer *buffer)
{
    struct weir_buffer_info info = {.struct_size = sizeof info};
    ok(weir_buffer_info_read(buffer, &info));
    return info.state == WEIR_BUFFER_COPYING;
}

/* Who looks at a buffer asks the device about adopted streams too, and records nothing on them. */
Test(adopt, a_look_at_a_buffer_sees_its_use)
{
    struct weir_buffer *buffer;
    open_all(NULL);
    void               *handle = make_handle(rt);
    struct weir_stream *stream = adopt(handle);
    struct wi_stream   *inner = wi_record_plain(stream, NULL)->object;
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_stream_call(stream, wait_for_it, NULL));
    ok(weir_buffer_guard(buffer, stream));
    uint64_t open = wi_load(&inner->open, relaxed);
    cr_assert(is_used(buffer));
    cr_assert_eq(wi_load(&inner->open, relaxed), open);
    wi_store(&go_on, 1, release);
    eventually(!is_used(buffer));
    cr_assert_eq(wi_load(&inner->open, relaxed), open);
    ok(weir_buffer_release(buffer));
    ok(weir_stream_disown(stream));
    drop_handle(rt, handle);
    close_all();
}
