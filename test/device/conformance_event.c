/* SPDX-License-Identifier: Apache-2.0 */
/* conformance_event.c - marks: what an event stands for, before, while and after its stream gets there */
#include "device/conformance.h"

#include <sched.h>

/* Two streams and an event; the first stream can be stopped. */
struct marks {
    struct bench bench;
    void        *stopped;
    void        *free;
    void        *event;
    struct gate  gate;
};

static void marks_open(struct marks *marks, const struct conformance *backend)
{
    *marks = (struct marks){.bench = bench_open(backend)};
    EXPECT_OK(marks->bench.ops->stream_create(marks->bench.device, 0, &marks->stopped));
    EXPECT_OK(marks->bench.ops->stream_create(marks->bench.device, 0, &marks->free));
    EXPECT_OK(marks->bench.ops->event_create(marks->bench.device, 0, &marks->event));
}

static void marks_close(struct marks *marks)
{
    bench_drain(&marks->bench, marks->stopped);
    bench_drain(&marks->bench, marks->free);
    if (marks->event != NULL)
        EXPECT_OK(marks->bench.ops->event_destroy(marks->bench.device, marks->event));
    EXPECT_OK(marks->bench.ops->stream_destroy(marks->bench.device, marks->free));
    EXPECT_OK(marks->bench.ops->stream_destroy(marks->bench.device, marks->stopped));
    bench_close(&marks->bench);
}

static int record(struct marks *marks, void *stream)
{
    return marks->bench.ops->event_record(marks->bench.device, marks->event, stream);
}

static int query(struct marks *marks)
{
    return marks->bench.ops->event_query(marks->bench.device, marks->event);
}

void conformance_event_never_recorded_has_passed(const struct conformance *backend)
{
    struct marks marks;

    marks_open(&marks, backend);
    EXPECT_OK(query(&marks));
    EXPECT_OK(marks.bench.ops->event_sync(marks.bench.device, marks.event));
    EXPECT_OK(marks.bench.ops->stream_wait(marks.bench.device, marks.free, marks.event));
    bench_drain(&marks.bench, marks.free);
    marks_close(&marks);
}

void conformance_event_passes_when_the_stream_gets_there(const struct conformance *backend)
{
    struct marks marks;
    int          err;

    marks_open(&marks, backend);
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(record(&marks, marks.stopped));
    EXPECT_CODE(query(&marks), WEIR_EAGAIN);
    gate_open(&marks.gate);
    /* Polled, as the keeper does it. */
    while ((err = query(&marks)) == WEIR_EAGAIN) sched_yield();
    EXPECT_OK(err);
    EXPECT_OK(query(&marks));
    marks_close(&marks);
}

void conformance_event_pending_is_no_failure(const struct conformance *backend)
{
    struct weir_error error = {.struct_size = sizeof(error)};
    struct marks      marks;

    marks_open(&marks, backend);
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(record(&marks, marks.stopped));
    (void)WI_FAIL(STALE, .detail = "planted by the test");
    EXPECT_CODE(query(&marks), WEIR_EAGAIN);
    EXPECT_OK(weir_last_error(&error));
    EXPECT(error.code == WEIR_ESTALE);
    gate_open(&marks.gate);
    marks_close(&marks);
}

/* In both directions: a mark that is pending is forgotten, and so is one that has passed. */
void conformance_event_recorded_again_forgets(const struct conformance *backend)
{
    struct marks marks;

    marks_open(&marks, backend);
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(record(&marks, marks.stopped));
    EXPECT_CODE(query(&marks), WEIR_EAGAIN);
    EXPECT_OK(record(&marks, marks.free));
    EXPECT_OK(marks.bench.ops->event_sync(marks.bench.device, marks.event));
    EXPECT_OK(query(&marks));
    EXPECT_OK(record(&marks, marks.stopped));
    EXPECT_CODE(query(&marks), WEIR_EAGAIN);
    gate_open(&marks.gate);
    EXPECT_OK(marks.bench.ops->event_sync(marks.bench.device, marks.event));
    marks_close(&marks);
}

void conformance_event_destroyed_while_pending(const struct conformance *backend)
{
    struct marks marks;

    marks_open(&marks, backend);
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(record(&marks, marks.stopped));
    EXPECT_OK(marks.bench.ops->event_destroy(marks.bench.device, marks.event));
    /* The next one may get the same storage, and has nothing to do with that record. */
    EXPECT_OK(marks.bench.ops->event_create(marks.bench.device, 0, &marks.event));
    EXPECT_OK(query(&marks));
    gate_open(&marks.gate);
    marks_close(&marks);
}

struct opener {
    struct marks    *marks;
    _Atomic uint32_t opened;
};

static void *open_later(void *arg)
{
    struct opener *opener = arg;

    for (int i = 0; i < 100; i++) sched_yield();
    wi_store(&opener->opened, 1, relaxed);
    gate_open(&opener->marks->gate);
    return NULL;
}

void conformance_event_sync_blocks_until_passed(const struct conformance *backend)
{
    struct marks  marks;
    struct opener opener = {.marks = &marks};
    pthread_t     thread;

    marks_open(&marks, backend);
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(record(&marks, marks.stopped));
    EXPECT(pthread_create(&thread, NULL, open_later, &opener) == 0);
    EXPECT_OK(marks.bench.ops->event_sync(marks.bench.device, marks.event));
    EXPECT(wi_load(&opener.opened, relaxed) == 1);
    EXPECT_OK(query(&marks));
    pthread_join(thread, NULL);
    marks_close(&marks);
}

/* The pause between the marks is a lower bound; a real device tells it in a float. */
void conformance_event_elapsed_measures(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    uint64_t     pause_ns = 5 * WI_NS_PER_MS, elapsed_ns = 0;
    void        *stream = NULL, *start = NULL, *end = NULL;

    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
    EXPECT_OK(bench.ops->event_create(bench.device, WI_EVENT_TIMING, &start));
    EXPECT_OK(bench.ops->event_create(bench.device, WI_EVENT_TIMING, &end));
    EXPECT_OK(bench.ops->event_record(bench.device, start, stream));
    EXPECT_OK(bench.ops->delay(bench.device, pause_ns, stream));
    EXPECT_OK(bench.ops->event_record(bench.device, end, stream));
    EXPECT_OK(bench.ops->event_sync(bench.device, end));
    EXPECT_OK(bench.ops->event_elapsed(bench.device, start, end, &elapsed_ns));
    EXPECT(elapsed_ns >= pause_ns - pause_ns / 50);
    EXPECT_OK(bench.ops->event_elapsed(bench.device, start, start, &elapsed_ns));
    EXPECT(elapsed_ns == 0);
    EXPECT_OK(bench.ops->event_destroy(bench.device, end));
    EXPECT_OK(bench.ops->event_destroy(bench.device, start));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    bench_close(&bench);
}

void conformance_event_elapsed_refuses(const struct conformance *backend)
{
    struct marks marks;
    uint64_t     ns = 77;
    void        *timed = NULL, *fresh = NULL;

    marks_open(&marks, backend);
    EXPECT_OK(marks.bench.ops->event_create(marks.bench.device, WI_EVENT_TIMING, &timed));
    EXPECT_OK(marks.bench.ops->event_create(marks.bench.device, WI_EVENT_TIMING, &fresh));
    EXPECT_OK(record(&marks, marks.free));
    EXPECT_OK(marks.bench.ops->event_record(marks.bench.device, timed, marks.free));
    bench_drain(&marks.bench, marks.free);
    /* One without timing, one never recorded, one pending. */
    EXPECT_CODE(marks.bench.ops->event_elapsed(marks.bench.device, timed, marks.event, &ns),
                WEIR_EINVAL);
    EXPECT_CODE(marks.bench.ops->event_elapsed(marks.bench.device, timed, fresh, &ns), WEIR_EINVAL);
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(marks.bench.ops->event_record(marks.bench.device, fresh, marks.stopped));
    EXPECT_CODE(marks.bench.ops->event_elapsed(marks.bench.device, timed, fresh, &ns), WEIR_EAGAIN);
    EXPECT(ns == 77);
    gate_open(&marks.gate);
    bench_drain(&marks.bench, marks.stopped);
    EXPECT_OK(marks.bench.ops->event_destroy(marks.bench.device, fresh));
    EXPECT_OK(marks.bench.ops->event_destroy(marks.bench.device, timed));
    marks_close(&marks);
}

/* ---- streams that wait for events ---- */

static int wait_for_event(struct marks *marks, void *stream)
{
    return marks->bench.ops->stream_wait(marks->bench.device, stream, marks->event);
}

void conformance_stream_wait_orders_streams(const struct conformance *backend)
{
    struct marks marks;

    marks_open(&marks, backend);
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(record(&marks, marks.stopped));
    EXPECT_OK(wait_for_event(&marks, marks.free));
    EXPECT_CODE(marks.bench.ops->stream_query(marks.bench.device, marks.free), WEIR_EAGAIN);
    gate_open(&marks.gate);
    bench_drain(&marks.bench, marks.free);
    EXPECT_OK(query(&marks));
    marks_close(&marks);
}

/* The stream waits for the mark of the moment of the call, whatever the event stands for later. */
void conformance_stream_wait_takes_the_mark_of_the_call(const struct conformance *backend)
{
    struct marks marks;
    void        *third = NULL;

    marks_open(&marks, backend);
    EXPECT_OK(marks.bench.ops->stream_create(marks.bench.device, 0, &third));
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(record(&marks, marks.stopped));
    EXPECT_OK(wait_for_event(&marks, marks.free));
    EXPECT_OK(record(&marks, third));
    EXPECT_OK(marks.bench.ops->event_sync(marks.bench.device, marks.event));
    EXPECT_CODE(marks.bench.ops->stream_query(marks.bench.device, marks.free), WEIR_EAGAIN);
    gate_open(&marks.gate);
    bench_drain(&marks.bench, marks.free);
    EXPECT_OK(marks.bench.ops->stream_destroy(marks.bench.device, third));
    marks_close(&marks);
}

void conformance_stream_wait_ignores_later_marks(const struct conformance *backend)
{
    struct marks marks;

    marks_open(&marks, backend);
    EXPECT_OK(record(&marks, marks.free));
    EXPECT_OK(marks.bench.ops->event_sync(marks.bench.device, marks.event));
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(wait_for_event(&marks, marks.free));
    EXPECT_OK(record(&marks, marks.stopped));
    /* The free stream still moves: it waited for the mark that had passed. */
    bench_drain(&marks.bench, marks.free);
    EXPECT_CODE(query(&marks), WEIR_EAGAIN);
    gate_open(&marks.gate);
    marks_close(&marks);
}

void conformance_stream_wait_outlives_its_event(const struct conformance *backend)
{
    struct marks marks;

    marks_open(&marks, backend);
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(record(&marks, marks.stopped));
    EXPECT_OK(wait_for_event(&marks, marks.free));
    EXPECT_OK(marks.bench.ops->event_destroy(marks.bench.device, marks.event));
    marks.event = NULL;
    EXPECT_CODE(marks.bench.ops->stream_query(marks.bench.device, marks.free), WEIR_EAGAIN);
    gate_open(&marks.gate);
    bench_drain(&marks.bench, marks.free);
    marks_close(&marks);
}

void conformance_stream_wait_on_itself_passes(const struct conformance *backend)
{
    struct marks marks;

    marks_open(&marks, backend);
    gate_shut(&marks.bench, marks.stopped, &marks.gate);
    EXPECT_OK(record(&marks, marks.stopped));
    EXPECT_OK(wait_for_event(&marks, marks.stopped));
    gate_open(&marks.gate);
    bench_drain(&marks.bench, marks.stopped);
    EXPECT_OK(query(&marks));
    marks_close(&marks);
}
