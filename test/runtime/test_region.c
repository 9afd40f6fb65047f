/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: steps are pinned and given back under the budget, what the device uses is known by marks, and misuse is named. */
#include "base/atomic.h"
#include "device/host.h"
#include "pool/context.h"
#include "pool/fixture.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEP ((size_t)64 << 10)

static struct weir_runtime *rt;
static struct weir_region  *region;

static void open_region(void)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .pinned_bytes_max = 16 * STEP), &rt));
    ok(weir_region_create(rt, WEIR_OPTS(region, .name = "test", .bytes = 64 * STEP, .step_bytes = STEP), &region));
}

static void close_region(void)
{
    weir_region_destroy(region);
    weir_runtime_destroy(rt);
}

TestSuite(region, .init = open_region, .fini = close_region, .timeout = 240);

static uint64_t pinned(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    ok(weir_runtime_stats_read(rt, &stats));
    return stats.pinned_bytes;
}

static struct weir_region_stats stats_of(void)
{
    struct weir_region_stats stats = {.struct_size = sizeof stats};
    ok(weir_region_stats_read(region, &stats));
    return stats;
}

static char *at(size_t step)
{
    return (char *)weir_region_base(region) + step * STEP;
}

static struct weir_extent steps(size_t first, size_t count)
{
    return (struct weir_extent){first * STEP, count * STEP};
}

static struct weir_region_place place_of(const void *host)
{
    struct weir_region_place place = {.struct_size = sizeof place};
    ok(weir_region_find(region, host, &place));
    return place;
}

static struct weir_error last(void)
{
    struct weir_error error = {.struct_size = sizeof error};
    ok(weir_last_error(&error));
    return error;
}

Test(region, only_what_is_committed_is_charged)
{
    cr_assert_eq(pinned(), 0);
    cr_assert_eq(stats_of().bytes, 64 * STEP);
    ok(weir_region_commit(region, steps(3, 4)));
    cr_assert_eq(pinned(), 4 * STEP);
    for (size_t i = 0; i < 4 * STEP; i++) cr_assert_eq(at(3)[i], 0);
    memset(at(3), 7, 4 * STEP);
    ok(weir_region_decommit(region, steps(3, 4)));
    cr_assert_eq(pinned(), 0);
    ok(weir_region_commit(region, steps(3, 4)));
    for (size_t i = 0; i < 4 * STEP; i++) cr_assert_eq(at(3)[i], 0, "memory that came back is zero");
    struct weir_region_stats stats = stats_of();
    cr_assert_eq(stats.commits, 2);
    cr_assert_eq(stats.decommits, 1);
    cr_assert_eq(stats.bytes_committed, 4 * STEP);
    cr_assert_eq(stats.bytes_committed_peak, 4 * STEP);
    weir_region_destroy(region);
    region = NULL;
    cr_assert_eq(pinned(), 0);
}

Test(region, the_budget_is_hard_and_named)
{
    ok(weir_region_commit(region, steps(0, 10)));
    answers(weir_region_commit(region, steps(20, 7)), EXCEEDS);
    cr_assert_str_eq(last().limit, "pinned_bytes_max");
    cr_assert_str_eq(last().setting, "WEIR_PINNED_BYTES_MAX");
    cr_assert_eq(last().limit_value, 16 * STEP);
    cr_assert_eq(last().wanted, 7 * STEP);
    cr_assert_eq(pinned(), 10 * STEP);
    cr_assert_eq(stats_of().failures, 1);
    ok(weir_region_commit(region, steps(20, 6)));
    ok(weir_region_decommit(region, steps(0, 10)));
    ok(weir_region_commit(region, steps(30, 7)));
}

Test(region, misuse_is_named_and_harms_nothing)
{
    struct weir_region_place place = {.struct_size = sizeof place};
    ok(weir_region_commit(region, steps(4, 4)));
    ok(weir_region_commit(region, steps(8, 2)));
    answers(weir_region_commit(region, steps(7, 1)), BUSY);
    answers(weir_region_commit(region, steps(3, 2)), BUSY);
    answers(weir_region_decommit(region, steps(4, 2)), NOENT);
    answers(weir_region_decommit(region, steps(6, 2)), NOENT);
    answers(weir_region_decommit(region, steps(3, 5)), NOENT);
    answers(weir_region_commit(region, steps(60, 5)), RANGE);
    answers(weir_region_commit(region, (struct weir_extent){1, STEP}), RANGE);
    answers(weir_region_commit(region, (struct weir_extent){0, STEP + 1}), RANGE);
    answers(weir_region_commit(region, (struct weir_extent){0, 0}), RANGE);
    answers(weir_region_find(region, at(0), &place), NOENT);
    answers(weir_region_find(region, at(64), &place), RANGE);
    answers(weir_region_find(region, &place, &place), RANGE);
    cr_assert_eq(pinned(), 6 * STEP);
    ok(weir_region_decommit(region, steps(4, 6))); /* two extents side by side */
    cr_assert_eq(pinned(), 0);
}

Test(region, options_are_checked)
{
    struct weir_region *other;
    answers(weir_region_create(rt, NULL, &other), INVAL);
    answers(weir_region_create(rt, WEIR_OPTS(region, .bytes = STEP, .step_bytes = 3 * STEP), &other), INVAL);
    answers(weir_region_create(rt, WEIR_OPTS(region, .bytes = STEP, .step_bytes = 512), &other), INVAL);
    answers(weir_region_create(rt, WEIR_OPTS(region, .bytes = STEP, .memory = WEIR_MEMORY_DEVICE), &other), INVAL);
    answers(weir_region_create(rt, WEIR_OPTS(region, .bytes = STEP, .flags = 64), &other), OPTS);
    answers(weir_region_create(rt, WEIR_OPTS(region, .bytes = STEP, .step_bytes = STEP, .chunk_bytes_max = 1), &other),
            INVAL);
    answers(weir_region_create(NULL, WEIR_OPTS(region, .bytes = STEP), &other), INVAL);
    weir_region_destroy(NULL);
    weir_region_abandon(NULL);
}

Test(region, a_commit_is_one_registration_unless_it_is_longer_than_a_chunk)
{
    ok(weir_region_commit(region, steps(0, 4)));
    ok(weir_region_commit(region, steps(4, 4)));
    cr_assert_eq(place_of(at(1) + 5).bytes, 3 * STEP - 5);
    cr_assert_eq(place_of(at(4)).bytes, 4 * STEP);
    cr_assert_eq(place_of(at(1)).device, place_of(at(0)).device + STEP);
    cr_assert_eq(place_of(at(1)).memory, WEIR_MEMORY_PINNED);

    struct weir_region *chunked;
    ok(weir_region_create(rt, WEIR_OPTS(region, .bytes = 8 * STEP, .step_bytes = STEP, .chunk_bytes_max = 2 * STEP),
                          &chunked));
    ok(weir_region_commit(chunked, steps(0, 5)));
    struct weir_region_place place = {.struct_size = sizeof place};
    ok(weir_region_find(chunked, (char *)weir_region_base(chunked) + STEP, &place));
    cr_assert_eq(place.bytes, STEP);
    ok(weir_region_find(chunked, (char *)weir_region_base(chunked) + 4 * STEP, &place));
    cr_assert_eq(place.bytes, STEP);
    weir_region_destroy(chunked);
}

Test(region, copies_span_registrations_and_marks_tell_when_they_are_done)
{
    struct weir_stream *stream;
    uint64_t            device;
    struct weir_mark    none, mark;
    ok(weir_device_alloc(rt, 4 * STEP, &device));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));
    for (size_t i = 0; i < 4; i++) ok(weir_region_commit(region, steps(i, 1)));
    for (size_t i = 0; i < 4 * STEP; i++) at(0)[i] = (char)(i / 7);
    ok(weir_region_mark(region, stream, &none));
    ok(weir_region_query(region, none));

    ok(weir_stream_delay(stream, 50000000));
    ok(weir_region_upload(region, stream, device, at(0) + 10, 4 * STEP - 20));
    ok(weir_region_mark(region, stream, &mark));
    cr_assert_neq(mark.stream, 0);
    int answer = weir_region_query(region, mark);
    cr_assert(answer == 0 || answer == WEIR_EAGAIN);
    ok(weir_region_sync(region, mark, WEIR_FOREVER));
    ok(weir_region_query(region, mark));

    memset(at(0), 0, 4 * STEP);
    ok(weir_region_download(region, stream, at(0) + 10, device, 4 * STEP - 20));
    ok(weir_region_mark(region, stream, &mark));
    eventually(weir_region_query(region, mark) == 0); /* nobody but the query asks the driver */
    for (size_t i = 10; i < 4 * STEP - 10; i++) cr_assert_eq(at(0)[i], (char)(i / 7));
    answers(weir_region_upload(region, stream, device, at(3), 2 * STEP), NOENT);
    answers(weir_region_query(region, (struct weir_mark){1000, 1}), INVAL);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    ok(weir_stream_release(stream));
    ok(weir_device_free(rt, device));
}

static void wait_for_gate(void *gate)
{
    while (!wi_load((_Atomic int *)gate, acquire)) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

Test(region, a_mark_is_not_passed_while_work_is_held_back)
{
    static _Atomic int  gate;
    struct weir_stream *stream;
    struct weir_mark    mark;
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));
    ok(weir_stream_call(stream, wait_for_gate, &gate));
    ok(weir_region_mark(region, stream, &mark));
    answers(weir_region_query(region, mark), AGAIN);
    answers(weir_region_sync(region, mark, weir_deadline_after_ns(1000000)), TIMEDOUT);
    answers(weir_region_query(region, mark), AGAIN);
    wi_store(&gate, 1, release);
    ok(weir_region_sync(region, mark, WEIR_FOREVER));
    ok(weir_region_query(region, mark));
    ok(weir_stream_release(stream));
}

Test(region, an_abandoned_one_stays_charged)
{
    ok(weir_region_commit(region, steps(0, 2)));
    char *bytes = at(0);
    weir_region_abandon(region);
    region = NULL;
    bytes[0] = 1;
    cr_assert_eq(pinned(), 2 * STEP);
}

/* The device was lost between two chunks: the first may still be reached. */
Test(region, what_a_commit_that_failed_left_to_the_device_is_not_taken_again)
{
    struct weir_region *chunked;
    struct wi_device   *device = wi_context_of(rt)->device;
    struct wi_emu_fault fault = {.op = WI_EMU_HOST_REGISTER, .nth = 2, .code = WEIR_EDEVICE, .flags = WI_EMU_FAULT_STICKY};
    if (device->ops != &wi_device_host) cr_skip_test("faults are the host backend's");
    ok(weir_region_create(rt, WEIR_OPTS(region, .bytes = 8 * STEP, .step_bytes = STEP, .chunk_bytes_max = STEP), &chunked));
    cr_assert_eq(wi_emu_fault_set(wi_host_emu(device), &fault), 0);
    answers(weir_region_commit(chunked, steps(0, 2)), DEVICE);
    answers(weir_region_commit(chunked, steps(0, 1)), BUSY);
    char *bytes = weir_region_base(chunked);
    weir_region_destroy(chunked);
    bytes[0] = 1; /* mapped still */
    cr_assert_eq(pinned(), STEP);
}

Test(region, its_runtime_may_end_first)
{
    ok(weir_region_commit(region, steps(0, 2)));
    weir_runtime_destroy(rt);
    rt = NULL;
    at(1)[0] = 1;
    answers(weir_region_commit(region, steps(2, 2)), CLOSED);
    weir_region_destroy(region);
    region = NULL;
}

Test(region, a_forked_child_is_told)
{
    ok(weir_region_commit(region, steps(0, 1)));
    pid_t child = fork();
    if (child == 0) {
        struct weir_mark mark = {0, 0};
        bool told = weir_region_commit(region, steps(4, 1)) == WEIR_EFORKED &&
                    weir_region_decommit(region, steps(0, 1)) == WEIR_EFORKED &&
                    weir_region_query(region, mark) == WEIR_EFORKED;
        weir_region_destroy(region); /* does nothing */
        leave_child(told ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    at(0)[0] = 1;
}
