/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conformance.h - one test for each sentence of lib/device/device.h, for any backend
 *
 * A runner names a backend and calls the tests: test_host.c with Criterion, stress/conformance.c without,
 * for real devices and for sanitizers. The tests use the table of operations only. What no operation can
 * bring about (losing the device, a graph capture) is left to hooks; without the hook such a test ends early.
 *
 * No test depends on how fast anything is. A stream is stopped by a host function that waits for its gate, so "still
 * pending" is certain and not likely; a test that waits for what never happens is ended by its runner.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "device/device.h"

#include <pthread.h>

struct conformance {
    const char *name;
    int (*open)(struct wi_device **out);
    void (*lose)(struct wi_device *device); /* or NULL */
    /* Begin (on) or end the capture of a stream; or NULL. */
    void (*capture)(struct wi_device *device, void *stream, bool on);
    /*
     * NULL: a copy that leaves its range must be refused with INVAL. Else a driver decides about it, and this is told what
     * became of it: 0 carried out, or the code.
     */
    void (*observed)(const char *what, int err);
};

/* clang-format off */
#define CONFORMANCE_TESTS(X)                                                                       \
    X(table_is_complete) X(info_describes_the_device) X(calls_are_counted)                         \
    X(failure_is_recorded) X(handles_pass_between_threads) X(close_frees_what_is_lost_sight_of)    \
    X(device_memory_is_aligned_and_distinct) X(device_memory_has_an_end)                           \
    X(device_memory_is_freed_once) X(registered_memory_is_reached_by_the_device)                   \
    X(registering_twice_is_refused) X(registering_across_an_edge_is_refused)                       \
    X(unregistered_memory_can_be_registered_again) X(unregistering_needs_the_base)                 \
    X(allocated_host_memory_is_pinned) X(device_memory_is_host_memory_where_it_says_so)            \
    X(stream_runs_in_order) X(streams_are_independent) X(queueing_does_not_block)                  \
    X(stream_query_tells_pending_from_drained) X(stream_destroy_completes_queued_work)             \
    X(stream_priority_is_clamped) X(stream_capture_is_reported)                                    \
    X(host_function_runs_once_on_another_thread) X(delay_pauses_its_stream)                   \
    X(event_never_recorded_has_passed) X(event_passes_when_the_stream_gets_there)                  \
    X(event_pending_is_no_failure) X(event_recorded_again_forgets) X(event_destroyed_while_pending) \
    X(event_sync_blocks_until_passed) X(event_elapsed_measures) X(event_elapsed_refuses)           \
    X(stream_wait_orders_streams) X(stream_wait_takes_the_mark_of_the_call)                        \
    X(stream_wait_ignores_later_marks) X(stream_wait_outlives_its_event)                           \
    X(stream_wait_on_itself_passes)                                                                \
    X(copy_carries_bytes_exactly) X(copy_reads_the_source_late) X(copy_down_reads_the_source_late) \
    X(copy_of_pageable_memory) X(copy_within_the_device) X(copy_past_an_edge_is_refused)           \
    X(copy_across_registrations_is_refused) X(copy_of_unknown_device_memory_is_refused)            \
    X(batch_carries_all_copies) X(batch_keeps_its_place) X(fill_sets_bytes_exactly)                \
    X(traffic_of_many_threads)                                                                     \
    X(lost_is_sticky) X(lost_fails_pending_events) X(lost_drops_host_functions)                    \
    X(lost_ends_event_sync) X(lost_device_can_be_closed)
/* clang-format on */

#define X(name) void conformance_##name(const struct conformance *backend);
CONFORMANCE_TESTS(X)
#undef X

/* The runner's: the test has failed and must not go on. Called on the thread that runs the test. */
_Noreturn void conformance_fail(const char *file, unsigned line, const char *format, ...)
    WI_PRINTF(3, 4);

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) conformance_fail(__FILE__, __LINE__, "expected %s", #cond);                   \
    } while (0)

#define EXPECT_CODE(expr, wanted)                                                                  \
    do {                                                                                           \
        int code_ = (expr);                                                                        \
        if (code_ != (wanted))                                                                     \
            conformance_fail(__FILE__, __LINE__, "%s answers %d (%s), expected %s", #expr, code_,  \
                             weir_strerror(code_), #wanted);                                       \
    } while (0)

#define EXPECT_OK(expr) EXPECT_CODE(expr, 0)

/* The call is wrong: which code of that kind is the backend's choice. */
#define EXPECT_REFUSED(expr)                                                                       \
    do {                                                                                           \
        int code_ = (expr);                                                                        \
        if (code_ >= 0 || weir_remedy_of(code_) != WEIR_REMEDY_FIX)                                \
            conformance_fail(__FILE__, __LINE__, "%s answers %d (%s), expected a refusal", #expr,  \
                             code_, weir_strerror(code_));                                         \
    } while (0)

/* ---- what the tests stand on ---- */

/* A device with its table at hand. */
struct bench {
    struct wi_device           *device;
    const struct wi_device_ops *ops;
};

struct bench bench_open(const struct conformance *backend);
void         bench_close(struct bench *bench);

/* Queues an event behind everything on the stream, and waits for it. */
void bench_drain(struct bench *bench, void *stream);

/* A registered range of whole pages, zeroed. */
struct pinned {
    unsigned char *host;
    size_t         bytes;
    uint64_t       address;
};

struct pinned pinned_create(struct bench *bench, size_t bytes);
void          pinned_destroy(struct bench *bench, struct pinned *pinned);

/* Page-aligned memory that the device knows nothing of. */
unsigned char *pages_create(size_t bytes);
void           pages_destroy(void *pages, size_t bytes);

/* Synchronous, on a stream of their own. */
void device_write(struct bench *bench, uint64_t address, const void *from, size_t bytes);
void device_read(struct bench *bench, uint64_t address, void *into, size_t bytes);

/* A stopped stream: what is queued after gate_shut() is pending until gate_open(). One gate at a time. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t  changed;
    bool            reached; /* the stream is in the gate */
    bool            open;
};

/* Returns when the stream stands in the gate. */
void gate_shut(struct bench *bench, void *stream, struct gate *gate);
void gate_open(struct gate *gate);

/* A pattern that tells one position and one seed from another. */
void pattern_fill(unsigned char *at, size_t bytes, uint32_t seed);
bool pattern_matches(const unsigned char *at, size_t bytes, uint32_t seed);

#endif
