/* SPDX-License-Identifier: Apache-2.0 */
/* conformance_copy.c - what copies carry, when they read, and what they refuse */
#include "device/conformance.h"

#include <stdio.h>
#include <string.h>

#define BYTES ((size_t)128 << 10)

/* A stream, pinned memory of two blocks, and a block on the device. */
struct lane {
    struct bench   bench;
    struct pinned  pinned;
    unsigned char *back; /* the second block */
    uint64_t       address;
    void          *stream;
    struct gate    gate;
};

static void lane_open(struct lane *lane, const struct conformance *backend)
{
    *lane = (struct lane){.bench = bench_open(backend)};
    lane->pinned = pinned_create(&lane->bench, 2 * BYTES);
    lane->back = lane->pinned.host + BYTES;
    EXPECT_OK(lane->bench.ops->device_alloc(lane->bench.device, BYTES, &lane->address));
    EXPECT_OK(lane->bench.ops->stream_create(lane->bench.device, 0, &lane->stream));
}

static void lane_close(struct lane *lane)
{
    bench_drain(&lane->bench, lane->stream);
    EXPECT_OK(lane->bench.ops->stream_destroy(lane->bench.device, lane->stream));
    EXPECT_OK(lane->bench.ops->device_free(lane->bench.device, lane->address));
    pinned_destroy(&lane->bench, &lane->pinned);
    bench_close(&lane->bench);
}

static int up(struct lane *lane, uint64_t dst, const void *src, size_t bytes)
{
    struct wi_copy copy = {.dst = dst, .src = (uintptr_t)src, .bytes = bytes, .kind = WI_COPY_UP};

    return lane->bench.ops->copy(lane->bench.device, &copy, lane->stream);
}

static int down(struct lane *lane, void *dst, uint64_t src, size_t bytes)
{
    struct wi_copy copy = {.dst = (uintptr_t)dst, .src = src, .bytes = bytes, .kind = WI_COPY_DOWN};

    return lane->bench.ops->copy(lane->bench.device, &copy, lane->stream);
}

/*
 * A copy that no caller may make. What a real driver answers is nobody's promise: it is told to the runner, together with
 * what became of the device. Returns false where the test cannot go on.
 */
static bool leaves_its_range(struct lane *lane, const struct conformance *backend, const char *what, int err)
{
    char text[160];

    if (backend->observed == NULL) {
        EXPECT_CODE(err, WEIR_EINVAL);
        return true;
    }
    backend->observed(what, err);
    void *event = NULL;
    err = lane->bench.ops->event_create(lane->bench.device, 0, &event);
    if (err == 0) err = lane->bench.ops->event_record(lane->bench.device, event, lane->stream);
    if (err == 0) err = lane->bench.ops->event_sync(lane->bench.device, event);
    if (err == 0) return lane->bench.ops->event_destroy(lane->bench.device, event) == 0;
    snprintf(text, sizeof(text), "%s, and then the device", what);
    backend->observed(text, err);
    return false;
}

static bool all_are(const unsigned char *at, size_t bytes, unsigned char value)
{
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != value) return false;
    return true;
}

/* Odd offsets and lengths: nothing beside the range changes. */
void conformance_copy_carries_bytes_exactly(const struct conformance *backend)
{
    static const struct {
        size_t at, bytes;
    } parts[] = {{0, 1}, {1, 1}, {3, 61}, {64, 64}, {511, 4098}, {0, BYTES}, {BYTES - 1, 1}};
    struct lane lane;

    lane_open(&lane, backend);
    for (size_t i = 0; i < WI_ARRAY_COUNT(parts); i++) {
        size_t at = parts[i].at, bytes = parts[i].bytes;

        memset(lane.pinned.host, 0xee, BYTES);
        memset(lane.back, 0xdd, BYTES);
        EXPECT_OK(up(&lane, lane.address, lane.pinned.host, BYTES));
        bench_drain(&lane.bench, lane.stream);
        pattern_fill(lane.pinned.host + at, bytes, (uint32_t)i);
        EXPECT_OK(up(&lane, lane.address + at, lane.pinned.host + at, bytes));
        EXPECT_OK(down(&lane, lane.back, lane.address, BYTES));
        bench_drain(&lane.bench, lane.stream);
        EXPECT(all_are(lane.back, at, 0xee));
        EXPECT(pattern_matches(lane.back + at, bytes, (uint32_t)i));
        EXPECT(all_are(lane.back + at + bytes, BYTES - at - bytes, 0xee));
    }
    lane_close(&lane);
}

/* The reuse bug that weir is there to prevent must show: an early overwrite is what the device gets. */
void conformance_copy_reads_the_source_late(const struct conformance *backend)
{
    struct lane lane;

    lane_open(&lane, backend);
    pattern_fill(lane.pinned.host, BYTES, 1);
    gate_shut(&lane.bench, lane.stream, &lane.gate);
    EXPECT_OK(up(&lane, lane.address, lane.pinned.host, BYTES));
    pattern_fill(lane.pinned.host, BYTES, 2);
    gate_open(&lane.gate);
    EXPECT_OK(down(&lane, lane.back, lane.address, BYTES));
    bench_drain(&lane.bench, lane.stream);
    EXPECT(pattern_matches(lane.back, BYTES, 2));
    lane_close(&lane);
}

void conformance_copy_down_reads_the_source_late(const struct conformance *backend)
{
    struct lane    lane;
    unsigned char *bytes = pages_create(BYTES);

    lane_open(&lane, backend);
    pattern_fill(bytes, BYTES, 1);
    device_write(&lane.bench, lane.address, bytes, BYTES);
    memset(lane.back, 0, BYTES);
    gate_shut(&lane.bench, lane.stream, &lane.gate);
    EXPECT_OK(down(&lane, lane.back, lane.address, BYTES));
    pattern_fill(bytes, BYTES, 2);
    device_write(&lane.bench, lane.address, bytes, BYTES);
    EXPECT(all_are(lane.back, BYTES, 0));
    gate_open(&lane.gate);
    bench_drain(&lane.bench, lane.stream);
    EXPECT(pattern_matches(lane.back, BYTES, 2));
    pages_destroy(bytes, BYTES);
    lane_close(&lane);
}

/* Memory that was never registered: after the call the source may be reused, and the destination is there. */
void conformance_copy_of_pageable_memory(const struct conformance *backend)
{
    struct lane    lane;
    unsigned char *pages = pages_create(2 * BYTES);

    lane_open(&lane, backend);
    pattern_fill(pages + 100, BYTES - 200, 1);
    EXPECT_OK(up(&lane, lane.address + 100, pages + 100, BYTES - 200));
    memset(pages, 0, BYTES);
    EXPECT_OK(down(&lane, pages + BYTES + 100, lane.address + 100, BYTES - 200));
    EXPECT(pattern_matches(pages + BYTES + 100, BYTES - 200, 1));
    EXPECT(all_are(pages + BYTES, 100, 0));
    EXPECT(all_are(pages + 2 * BYTES - 100, 100, 0));
    lane_close(&lane);
    pages_destroy(pages, 2 * BYTES);
}

void conformance_copy_within_the_device(const struct conformance *backend)
{
    struct lane lane;
    uint64_t    other = 0;

    lane_open(&lane, backend);
    EXPECT_OK(lane.bench.ops->device_alloc(lane.bench.device, BYTES, &other));
    pattern_fill(lane.pinned.host, BYTES, 1);
    EXPECT_OK(up(&lane, lane.address, lane.pinned.host, BYTES));
    EXPECT_OK(lane.bench.ops->copy(
        lane.bench.device,
        &(struct wi_copy){
            .dst = other, .src = lane.address, .bytes = BYTES, .kind = WI_COPY_DEVICE},
        lane.stream));
    EXPECT_OK(down(&lane, lane.back, other, BYTES));
    bench_drain(&lane.bench, lane.stream);
    EXPECT(pattern_matches(lane.back, BYTES, 1));
    EXPECT_OK(lane.bench.ops->device_free(lane.bench.device, other));
    lane_close(&lane);
}

void conformance_copy_past_an_edge_is_refused(const struct conformance *backend)
{
    struct lane lane;

    lane_open(&lane, backend);
    memset(lane.back, 0x11, BYTES);
    if (!leaves_its_range(&lane, backend, "a download past the end of device memory",
                          down(&lane, lane.back, lane.address + BYTES / 2, BYTES)) ||
        !leaves_its_range(&lane, backend, "an upload past the end of device memory",
                          up(&lane, lane.address + BYTES / 2, lane.pinned.host, BYTES)))
        return;
    EXPECT_OK(lane.bench.ops->stream_query(lane.bench.device, lane.stream));
    if (backend->observed == NULL) EXPECT(all_are(lane.back, BYTES, 0x11));
    lane_close(&lane);
}

void conformance_copy_across_registrations_is_refused(const struct conformance *backend)
{
    struct lane    lane;
    unsigned char *pages = pages_create(2 * BYTES);
    uint64_t       address = 0;

    lane_open(&lane, backend);
    memset(pages, 0, 2 * BYTES);
    EXPECT_OK(lane.bench.ops->host_register(lane.bench.device, pages, BYTES, &address));
    EXPECT_OK(lane.bench.ops->host_register(lane.bench.device, pages + BYTES, BYTES, &address));
    if (!leaves_its_range(&lane, backend, "an upload across two registrations",
                          up(&lane, lane.address, pages + BYTES / 2, BYTES)) ||
        !leaves_its_range(&lane, backend, "a download across two registrations",
                          down(&lane, pages + BYTES / 2, lane.address, BYTES)))
        return;
    EXPECT_OK(up(&lane, lane.address, pages + BYTES, BYTES));
    bench_drain(&lane.bench, lane.stream);
    EXPECT_OK(lane.bench.ops->host_unregister(lane.bench.device, pages, BYTES));
    EXPECT_OK(lane.bench.ops->host_unregister(lane.bench.device, pages + BYTES, BYTES));
    pages_destroy(pages, 2 * BYTES);
    lane_close(&lane);
}

void conformance_copy_of_unknown_device_memory_is_refused(const struct conformance *backend)
{
    struct lane lane;
    uint64_t    freed = 0;

    lane_open(&lane, backend);
    EXPECT_OK(lane.bench.ops->device_alloc(lane.bench.device, 64 * BYTES, &freed));
    EXPECT_OK(lane.bench.ops->device_free(lane.bench.device, freed));
    if (!leaves_its_range(&lane, backend, "a download of freed device memory", down(&lane, lane.back, freed, BYTES)) ||
        !leaves_its_range(&lane, backend, "an upload to freed device memory",
                          up(&lane, freed, lane.pinned.host, BYTES)) ||
        !leaves_its_range(&lane, backend, "a fill of freed device memory",
                          lane.bench.ops->fill(lane.bench.device, freed, 0, BYTES, lane.stream)))
        return;
    EXPECT_OK(lane.bench.ops->stream_query(lane.bench.device, lane.stream));
    lane_close(&lane);
}

/* ---- batches and fills ---- */

#define PARTS 300 /* more than a backend may put into one driver call */

void conformance_batch_carries_all_copies(const struct conformance *backend)
{
    struct lane    lane;
    struct wi_copy copies[PARTS];
    size_t         part = BYTES / PARTS;

    lane_open(&lane, backend);
    if (lane.bench.ops->copy_batch != NULL) {
        pattern_fill(lane.pinned.host, BYTES, 1);
        memset(lane.back, 0, BYTES);
        /* Back to front, so that order cannot help. */
        for (size_t i = 0; i < PARTS; i++) {
            size_t at = (PARTS - 1 - i) * part;

            copies[i] = (struct wi_copy){.dst = lane.address + at,
                                         .src = (uintptr_t)lane.pinned.host + at,
                                         .bytes = part,
                                         .kind = WI_COPY_UP};
        }
        EXPECT_OK(lane.bench.ops->copy_batch(lane.bench.device, copies, PARTS, lane.stream));
        EXPECT_OK(down(&lane, lane.back, lane.address, PARTS * part));
        bench_drain(&lane.bench, lane.stream);
        EXPECT(pattern_matches(lane.back, PARTS * part, 1));
    }
    lane_close(&lane);
}

/* In stream order against what is around it, and reading its sources then. */
void conformance_batch_keeps_its_place(const struct conformance *backend)
{
    struct lane    lane;
    struct wi_copy copies[2];

    lane_open(&lane, backend);
    if (lane.bench.ops->copy_batch != NULL) {
        for (size_t i = 0; i < 2; i++)
            copies[i] = (struct wi_copy){.dst = lane.address + i * (BYTES / 2),
                                         .src = (uintptr_t)lane.pinned.host + i * (BYTES / 2),
                                         .bytes = BYTES / 2,
                                         .kind = WI_COPY_UP};
        pattern_fill(lane.pinned.host, BYTES, 1);
        gate_shut(&lane.bench, lane.stream, &lane.gate);
        EXPECT_OK(lane.bench.ops->fill(lane.bench.device, lane.address, 7, BYTES, lane.stream));
        EXPECT_OK(lane.bench.ops->copy_batch(lane.bench.device, copies, 2, lane.stream));
        EXPECT_OK(down(&lane, lane.back, lane.address, BYTES));
        EXPECT_OK(lane.bench.ops->fill(lane.bench.device, lane.address, 9, BYTES, lane.stream));
        pattern_fill(lane.pinned.host, BYTES, 2);
        gate_open(&lane.gate);
        bench_drain(&lane.bench, lane.stream);
        EXPECT(pattern_matches(lane.back, BYTES, 2));
        EXPECT_OK(down(&lane, lane.back, lane.address, BYTES));
        bench_drain(&lane.bench, lane.stream);
        EXPECT(all_are(lane.back, BYTES, 9));
    }
    lane_close(&lane);
}

void conformance_fill_sets_bytes_exactly(const struct conformance *backend)
{
    struct lane lane;

    lane_open(&lane, backend);
    EXPECT_OK(lane.bench.ops->fill(lane.bench.device, lane.address, 0xaa, BYTES, lane.stream));
    EXPECT_OK(
        lane.bench.ops->fill(lane.bench.device, lane.address + 1001, 0xbb, 3003, lane.stream));
    EXPECT_OK(down(&lane, lane.back, lane.address, BYTES));
    bench_drain(&lane.bench, lane.stream);
    EXPECT(all_are(lane.back, 1001, 0xaa));
    EXPECT(all_are(lane.back + 1001, 3003, 0xbb));
    EXPECT(all_are(lane.back + 4004, BYTES - 4004, 0xaa));
    lane_close(&lane);
}
