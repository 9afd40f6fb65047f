/* SPDX-License-Identifier: Apache-2.0 */
/* conformance_stream.c - order on streams, independence between them, host functions, delays, capture */
#include "device/conformance.h"

#include <limits.h>
#include <string.h>

#define STEPS 64
#define BYTES ((size_t)64 << 10)

/* What a host function writes down. The stream's order is what makes the plain fields safe. */
struct diary {
    unsigned  entries[2 * STEPS];
    unsigned  count;
    pthread_t thread;
};

struct entry {
    struct diary *diary;
    unsigned      value;
};

static void write_down(void *ctx)
{
    struct entry *entry = ctx;
    struct diary *diary = entry->diary;

    diary->thread = pthread_self();
    if (diary->count < WI_ARRAY_COUNT(diary->entries)) diary->entries[diary->count] = entry->value;
    diary->count++;
}

/* Host functions and copies in turn: each copy carries what the function before it has written. */
void conformance_stream_runs_in_order(const struct conformance *backend)
{
    struct bench  bench = bench_open(backend);
    struct pinned pinned = pinned_create(&bench, 2 * BYTES);
    struct diary  diary = {0};
    struct entry  entries[STEPS];
    uint64_t      first = 0, second = 0;
    void         *stream = NULL;

    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
    EXPECT_OK(bench.ops->device_alloc(bench.device, BYTES, &first));
    EXPECT_OK(bench.ops->device_alloc(bench.device, BYTES, &second));
    for (unsigned i = 0; i < STEPS; i++) {
        entries[i] = (struct entry){.diary = &diary, .value = i};
        EXPECT_OK(bench.ops->call(bench.device, write_down, &entries[i], stream));
        EXPECT_OK(bench.ops->fill(bench.device, first, (uint8_t)i, BYTES, stream));
        EXPECT_OK(bench.ops->copy(
            bench.device,
            &(struct wi_copy){.dst = second, .src = first, .bytes = BYTES, .kind = WI_COPY_DEVICE},
            stream));
        EXPECT_OK(bench.ops->copy(bench.device,
                                  &(struct wi_copy){.dst = (uintptr_t)pinned.host + i,
                                                    .src = second + i,
                                                    .bytes = 1,
                                                    .kind = WI_COPY_DOWN},
                                  stream));
    }
    bench_drain(&bench, stream);
    EXPECT(diary.count == STEPS);
    for (unsigned i = 0; i < STEPS; i++) {
        EXPECT(diary.entries[i] == i);
        EXPECT(pinned.host[i] == i);
    }
    EXPECT_OK(bench.ops->device_free(bench.device, second));
    EXPECT_OK(bench.ops->device_free(bench.device, first));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    pinned_destroy(&bench, &pinned);
    bench_close(&bench);
}

void conformance_streams_are_independent(const struct conformance *backend)
{
    struct bench   bench = bench_open(backend);
    unsigned char *bytes = pages_create(BYTES);
    uint64_t       address = 0;
    void          *stopped = NULL;
    struct gate    gate;

    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stopped));
    EXPECT_OK(bench.ops->device_alloc(bench.device, BYTES, &address));
    gate_shut(&bench, stopped, &gate);
    /* These run, each to its end, on streams of their own while the first one stands. */
    pattern_fill(bytes, BYTES, 1);
    device_write(&bench, address, bytes, BYTES);
    memset(bytes, 0, BYTES);
    device_read(&bench, address, bytes, BYTES);
    EXPECT(pattern_matches(bytes, BYTES, 1));
    EXPECT_CODE(bench.ops->stream_query(bench.device, stopped), WEIR_EAGAIN);
    gate_open(&gate);
    bench_drain(&bench, stopped);
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stopped));
    EXPECT_OK(bench.ops->device_free(bench.device, address));
    pages_destroy(bytes, BYTES);
    bench_close(&bench);
}

/* Everything but the allocation group and event_sync comes back while the stream stands. */
void conformance_queueing_does_not_block(const struct conformance *backend)
{
    struct bench   bench = bench_open(backend);
    struct pinned  pinned = pinned_create(&bench, BYTES);
    struct wi_copy copy = {.src = (uintptr_t)pinned.host, .bytes = BYTES, .kind = WI_COPY_UP};
    struct diary   diary = {0};
    struct entry   entry = {.diary = &diary};
    uint64_t       address = 0, bytes_free, bytes_total, ns = 0;
    bool           capturing = true;
    void          *stream = NULL, *other = NULL, *event = NULL, *timed = NULL;
    struct gate    gate;

    EXPECT_OK(bench.ops->device_alloc(bench.device, BYTES, &address));
    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
    copy.dst = address;
    gate_shut(&bench, stream, &gate);

    EXPECT_OK(bench.ops->memory(bench.device, &bytes_free, &bytes_total));
    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &other));
    EXPECT_OK(bench.ops->event_create(bench.device, 0, &event));
    EXPECT_OK(bench.ops->event_create(bench.device, WI_EVENT_TIMING, &timed));
    /* Some two hundred operations: what a real stream holds has an end, past which queueing waits. */
    for (int i = 0; i < STEPS / 4; i++) {
        EXPECT_OK(bench.ops->copy(bench.device, &copy, stream));
        if (bench.ops->copy_batch != NULL)
            EXPECT_OK(bench.ops->copy_batch(bench.device, &copy, 1, stream));
        EXPECT_OK(bench.ops->fill(bench.device, address, 1, BYTES, stream));
        EXPECT_OK(bench.ops->call(bench.device, write_down, &entry, stream));
        EXPECT_OK(bench.ops->delay(bench.device, 1, stream));
        EXPECT_OK(bench.ops->event_record(bench.device, event, stream));
        EXPECT_OK(bench.ops->event_record(bench.device, timed, stream));
        EXPECT_OK(bench.ops->stream_wait(bench.device, other, event));
    }
    EXPECT_CODE(bench.ops->event_query(bench.device, event), WEIR_EAGAIN);
    EXPECT_CODE(bench.ops->event_elapsed(bench.device, timed, timed, &ns), WEIR_EAGAIN);
    EXPECT_CODE(bench.ops->stream_query(bench.device, stream), WEIR_EAGAIN);
    EXPECT_CODE(bench.ops->stream_query(bench.device, other), WEIR_EAGAIN);
    EXPECT_OK(bench.ops->stream_capture(bench.device, stream, &capturing));
    EXPECT(!capturing);
    EXPECT_OK(bench.ops->event_destroy(bench.device, timed));
    EXPECT_OK(bench.ops->event_destroy(bench.device, event));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, other));
    EXPECT(diary.count == 0);

    gate_open(&gate);
    bench_drain(&bench, stream);
    EXPECT(diary.count == STEPS / 4);
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    EXPECT_OK(bench.ops->device_free(bench.device, address));
    pinned_destroy(&bench, &pinned);
    bench_close(&bench);
}

void conformance_stream_query_tells_pending_from_drained(const struct conformance *backend)
{
    struct bench      bench = bench_open(backend);
    struct weir_error error = {.struct_size = sizeof(error)};
    void             *stream = NULL;
    struct gate       gate;

    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
    EXPECT_OK(bench.ops->stream_query(bench.device, stream));
    gate_shut(&bench, stream, &gate);
    /* "Not recorded as a failure": the latest one stays what it was. */
    (void)WI_FAIL(STALE, .detail = "planted by the test");
    EXPECT_CODE(bench.ops->stream_query(bench.device, stream), WEIR_EAGAIN);
    EXPECT_OK(weir_last_error(&error));
    EXPECT(error.code == WEIR_ESTALE);
    gate_open(&gate);
    bench_drain(&bench, stream);
    EXPECT_OK(bench.ops->stream_query(bench.device, stream));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    bench_close(&bench);
}

void conformance_stream_destroy_completes_queued_work(const struct conformance *backend)
{
    struct bench  bench = bench_open(backend);
    struct pinned pinned = pinned_create(&bench, BYTES);
    struct diary  diary = {0};
    struct entry  entries[2] = {{&diary, 1}, {&diary, 2}};
    uint64_t      address = 0;
    void         *stream = NULL, *event = NULL;
    struct gate   gate;

    EXPECT_OK(bench.ops->device_alloc(bench.device, BYTES, &address));
    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
    EXPECT_OK(bench.ops->event_create(bench.device, 0, &event));
    gate_shut(&bench, stream, &gate);
    EXPECT_OK(bench.ops->call(bench.device, write_down, &entries[0], stream));
    EXPECT_OK(bench.ops->fill(bench.device, address, 9, BYTES, stream));
    EXPECT_OK(bench.ops->copy(
        bench.device,
        &(struct wi_copy){
            .dst = (uintptr_t)pinned.host, .src = address, .bytes = BYTES, .kind = WI_COPY_DOWN},
        stream));
    EXPECT_OK(bench.ops->call(bench.device, write_down, &entries[1], stream));
    EXPECT_OK(bench.ops->event_record(bench.device, event, stream));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    EXPECT_CODE(bench.ops->event_query(bench.device, event), WEIR_EAGAIN);
    gate_open(&gate);
    EXPECT_OK(bench.ops->event_sync(bench.device, event));
    EXPECT(diary.count == 2);
    for (size_t i = 0; i < BYTES; i++) EXPECT(pinned.host[i] == 9);
    EXPECT_OK(bench.ops->event_destroy(bench.device, event));
    EXPECT_OK(bench.ops->device_free(bench.device, address));
    pinned_destroy(&bench, &pinned);
    bench_close(&bench);
}

/* No number is refused, and the number that a stream has lies in the device's range. */
void conformance_stream_priority_is_clamped(const struct conformance *backend)
{
    static const int32_t priorities[] = {INT_MIN, -1000, -1, 0, 1, 1000, INT_MAX};
    struct bench         bench = bench_open(backend);
    struct weir_runtime_info info = {.struct_size = sizeof info};

    bench.ops->info(bench.device, &info);
    for (size_t i = 0; i < WI_ARRAY_COUNT(priorities); i++) {
        void   *stream = NULL;
        int32_t wanted = priorities[i], priority = INT_MAX;

        if (wanted > info.stream_priority_least) wanted = info.stream_priority_least;
        if (wanted < info.stream_priority_greatest) wanted = info.stream_priority_greatest;
        EXPECT_OK(bench.ops->stream_create(bench.device, priorities[i], &stream));
        EXPECT(stream != NULL);
        EXPECT_OK(bench.ops->stream_priority(bench.device, stream, &priority));
        EXPECT(priority == wanted);
        bench_drain(&bench, stream);
        EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    }
    bench_close(&bench);
}

void conformance_stream_capture_is_reported(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    bool         capturing = true;
    void        *stream = NULL, *other = NULL;

    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &other));
    EXPECT_OK(bench.ops->stream_capture(bench.device, stream, &capturing));
    EXPECT(!capturing);
    if (backend->capture != NULL) {
        backend->capture(bench.device, stream, true);
        EXPECT_OK(bench.ops->stream_capture(bench.device, stream, &capturing));
        EXPECT(capturing);
        EXPECT_OK(bench.ops->stream_capture(bench.device, other, &capturing));
        EXPECT(!capturing);
        backend->capture(bench.device, stream, false);
        EXPECT_OK(bench.ops->stream_capture(bench.device, stream, &capturing));
        EXPECT(!capturing);
    }
    EXPECT_OK(bench.ops->stream_destroy(bench.device, other));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    bench_close(&bench);
}

void conformance_host_function_runs_once_on_another_thread(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    struct diary diary = {0};
    struct entry entry = {.diary = &diary, .value = 42};
    void        *stream = NULL;

    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
    EXPECT_OK(bench.ops->call(bench.device, write_down, &entry, stream));
    bench_drain(&bench, stream);
    EXPECT(diary.count == 1);
    EXPECT(diary.entries[0] == 42);
    EXPECT(!pthread_equal(diary.thread, pthread_self()));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    bench_close(&bench);
}

/* It is a lower bound, which no load of the machine can break. */
void conformance_delay_pauses_its_stream(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    uint64_t     began_ns, delay_ns = 20 * WI_NS_PER_MS;
    void        *paused = NULL, *event = NULL;

    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &paused));
    EXPECT_OK(bench.ops->event_create(bench.device, 0, &event));
    began_ns = weir_clock_ns();
    EXPECT_OK(bench.ops->delay(bench.device, delay_ns, paused));
    EXPECT_OK(bench.ops->event_record(bench.device, event, paused));
    EXPECT_OK(bench.ops->event_sync(bench.device, event));
    EXPECT(weir_clock_ns() - began_ns >= delay_ns);
    EXPECT_OK(bench.ops->event_destroy(bench.device, event));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, paused));
    bench_close(&bench);
}
