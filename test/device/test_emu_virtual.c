/* SPDX-License-Identifier: Apache-2.0 */
/* test_emu_virtual.c - the emulation without time: who moves when, by seed, step and hold; and exact device time */
#include "device/emu_fixture.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES 64

static char   order[ENTRIES + 1];
static size_t order_count;

static void note(void *ctx)
{
    cr_assert_lt(order_count, ENTRIES);
    order[order_count++] = *(const char *)ctx;
    order[order_count] = '\0';
}

static void queue_note(struct wi_emu *emu, struct wi_emu_stream *stream, const char *letter)
{
    cr_assert_eq(wi_emu_call(emu, note, (void *)(uintptr_t)letter, stream), 0);
}

static uint64_t elapsed(struct wi_emu *emu, struct wi_emu_event *start, struct wi_emu_event *end)
{
    uint64_t ns = 0;

    cr_assert_eq(wi_emu_event_elapsed(emu, start, end, &ns), 0);
    return ns;
}

Test(emu_virtual, nothing_runs_by_itself)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 1);
    struct wi_emu_stream *stream = stream_create(emu);
    struct wi_emu_event  *event = event_create(emu);
    uint64_t              address = device_alloc(emu, 100);

    memset((void *)(uintptr_t)address, 1, 100);
    cr_assert_eq(wi_emu_step(emu), 0);
    cr_assert_eq(wi_emu_fill(emu, address, 2, 100, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, event, stream), 0);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(wi_emu_event_query(emu, event), WEIR_EAGAIN);
        cr_assert_eq(wi_emu_stream_query(emu, stream), WEIR_EAGAIN);
    }
    cr_assert_eq(*(unsigned char *)(uintptr_t)address, 1);

    cr_assert_eq(wi_emu_step(emu), 1);
    cr_assert_eq(*(unsigned char *)(uintptr_t)address, 2);
    cr_assert_eq(wi_emu_event_query(emu, event), WEIR_EAGAIN);
    cr_assert_eq(wi_emu_step(emu), 1);
    cr_assert_eq(wi_emu_event_query(emu, event), 0);
    cr_assert_eq(wi_emu_stream_query(emu, stream), 0);
    cr_assert_eq(wi_emu_step(emu), 0);
    cr_assert_eq(stats_of(emu).workers, 0);
    wi_emu_destroy(emu, NULL);
}

/* "ab" on one stream, "xy" on another, and "12" on a third that waits for 'a'. */
static void run_three(uint64_t seed, char out[ENTRIES + 1])
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, seed);
    struct wi_emu_stream *first = stream_create(emu), *second = stream_create(emu);
    struct wi_emu_stream *third = stream_create(emu);
    struct wi_emu_event  *event = event_create(emu);

    order_count = 0;
    queue_note(emu, first, "a");
    cr_assert_eq(wi_emu_event_record(emu, event, first), 0);
    cr_assert_eq(wi_emu_stream_wait(emu, third, event), 0);
    queue_note(emu, first, "b");
    queue_note(emu, second, "x");
    queue_note(emu, second, "y");
    queue_note(emu, third, "1");
    queue_note(emu, third, "2");
    cr_assert_eq(wi_emu_run(emu), 8);
    memcpy(out, order, sizeof(order));
    wi_emu_destroy(emu, NULL);
}

static bool comes_before(const char *text, char a, char b)
{
    return strchr(text, a) < strchr(text, b);
}

Test(emu_virtual, a_seed_is_a_schedule)
{
    char once[ENTRIES + 1], again[ENTRIES + 1];

    for (uint64_t seed = 0; seed < 50; seed++) {
        run_three(seed, once);
        run_three(seed, again);
        cr_assert_str_eq(once, again, "seed %llu", (unsigned long long)seed);
    }
}

Test(emu_virtual, every_schedule_keeps_order)
{
    char text[ENTRIES + 1];

    for (uint64_t seed = 0; seed < 500; seed++) {
        run_three(seed, text);
        cr_assert_eq(strlen(text), 6);
        cr_assert(comes_before(text, 'a', 'b'));
        cr_assert(comes_before(text, 'x', 'y'));
        cr_assert(comes_before(text, 'a', '1'));
        cr_assert(comes_before(text, '1', '2'));
    }
}

/* ab and 12 with a first interleave in 3 ways, and xy falls among these four in 15. */
Test(emu_virtual, every_order_is_some_seeds_order)
{
    static char seen[3 * 15][ENTRIES + 1];
    size_t      seen_count = 0, at;
    char        text[ENTRIES + 1];

    for (uint64_t seed = 0; seed < 5000; seed++) {
        run_three(seed, text);
        for (at = 0; at < seen_count && strcmp(seen[at], text) != 0; at++) continue;
        if (at < seen_count) continue;
        cr_assert_lt(seen_count, WI_ARRAY_COUNT(seen));
        memcpy(seen[seen_count++], text, sizeof(text));
    }
    cr_assert_eq(seen_count, WI_ARRAY_COUNT(seen));
}

Test(emu_virtual, time_is_what_the_model_says)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 3);
    struct wi_emu_stream *stream = stream_create(emu);
    struct wi_emu_event  *marks[5];
    uint64_t              address = device_alloc(emu, 8000);
    void                 *host = NULL;
    struct wi_copy        up = {.dst = address, .bytes = 3000, .kind = WI_COPY_UP};
    struct wi_copy        down = {.src = address, .bytes = 3000, .kind = WI_COPY_DOWN};

    cr_assert_eq(wi_emu_host_alloc(emu, 8000, &host), 0);
    up.src = down.dst = (uintptr_t)host;
    for (size_t i = 0; i < WI_ARRAY_COUNT(marks); i++) marks[i] = event_create(emu);
    cr_assert_eq(wi_emu_event_record(emu, marks[0], stream), 0);
    cr_assert_eq(wi_emu_copy(emu, &up, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, marks[1], stream), 0);
    cr_assert_eq(wi_emu_copy(emu, &down, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, marks[2], stream), 0);
    cr_assert_eq(wi_emu_fill(emu, address, 0, 8000, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, marks[3], stream), 0);
    cr_assert_eq(wi_emu_delay(emu, 12345, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, marks[4], stream), 0);
    cr_assert_eq(wi_emu_run(emu), 9);
    cr_assert_eq(elapsed(emu, marks[0], marks[1]), 1000 + 3000);
    cr_assert_eq(elapsed(emu, marks[1], marks[2]), 1000 + 6000);
    cr_assert_eq(elapsed(emu, marks[2], marks[3]), 1000 + 2000);
    cr_assert_eq(elapsed(emu, marks[3], marks[4]), 12345);
    cr_assert_eq(elapsed(emu, marks[4], marks[3]), 0);
    cr_assert_eq(wi_emu_clock_ns(emu), 4000 + 7000 + 3000 + 12345);
    wi_emu_destroy(emu, NULL);
}

/* Two streams share the engine of one direction, and do not share those of two. */
Test(emu_virtual, engines_are_serial_and_independent)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, seed);
        struct wi_emu_stream *streams[3] = {stream_create(emu), stream_create(emu),
                                            stream_create(emu)};
        uint64_t              address = device_alloc(emu, 8000);
        void                 *host = NULL;
        struct wi_copy        copy = {.dst = address, .bytes = 2000, .kind = WI_COPY_UP};

        cr_assert_eq(wi_emu_host_alloc(emu, 8000, &host), 0);
        copy.src = (uintptr_t)host;
        cr_assert_eq(wi_emu_copy(emu, &copy, streams[0]), 0);
        cr_assert_eq(wi_emu_copy(emu, &copy, streams[1]), 0);
        copy = (struct wi_copy){.dst = (uintptr_t)host + 4000,
                                .src = address + 4000,
                                .bytes = 1500,
                                .kind = WI_COPY_DOWN};
        cr_assert_eq(wi_emu_copy(emu, &copy, streams[2]), 0);
        cr_assert_eq(wi_emu_run(emu), 3);
        /* Up: 3000 and 3000 one after the other. Down: 4000, beside them. */
        cr_assert_eq(wi_emu_clock_ns(emu), 6000);
        wi_emu_destroy(emu, NULL);
    }
}

Test(emu_virtual, a_batch_pays_one_latency)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 3);
    struct wi_emu_stream *stream = stream_create(emu);
    uint64_t              address = device_alloc(emu, 1000);
    void                 *host = NULL;
    struct wi_copy        copies[10];

    cr_assert_eq(wi_emu_host_alloc(emu, 1000, &host), 0);
    for (size_t i = 0; i < 10; i++)
        copies[i] = (struct wi_copy){.dst = address + i * 100,
                                     .src = (uintptr_t)host + i * 100,
                                     .bytes = 100,
                                     .kind = WI_COPY_UP};
    cr_assert_eq(wi_emu_copy_batch(emu, copies, 10, stream), 0);
    cr_assert_eq(wi_emu_run(emu), 10);
    cr_assert_eq(wi_emu_clock_ns(emu), 1000 + 1000);
    wi_emu_destroy(emu, NULL);
}

/* One wrong copy, and none is queued. */
Test(emu_virtual, a_batch_is_all_or_nothing)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 3);
    struct wi_emu_stream *stream = stream_create(emu);
    uint64_t              address = device_alloc(emu, 1000);
    struct wi_copy        copies[2] = {
               {.dst = address, .src = address + 100, .bytes = 100, .kind = WI_COPY_DEVICE},
               {.dst = address, .src = address + 1000, .bytes = 100, .kind = WI_COPY_DEVICE}};

    cr_assert_eq(wi_emu_copy_batch(emu, copies, 2, stream), WEIR_EINVAL);
    cr_assert_eq(wi_emu_stream_query(emu, stream), 0);
    cr_assert_eq(wi_emu_copy_batch(emu, copies, 0, stream), WEIR_EINVAL);
    cr_assert_eq(wi_emu_copy_batch(emu, copies, 1, stream), 0);
    cr_assert_eq(wi_emu_run(emu), 1);
    wi_emu_destroy(emu, NULL);
}

Test(emu_virtual, a_late_source_is_read_late)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 3);
    struct wi_emu_stream *stream = stream_create(emu);
    uint64_t              address = device_alloc(emu, 100);
    void                 *host = NULL;

    cr_assert_eq(wi_emu_host_alloc(emu, 100, &host), 0);
    memset(host, 1, 100);
    cr_assert_eq(
        wi_emu_copy(emu,
                    &(struct wi_copy){
                        .dst = address, .src = (uintptr_t)host, .bytes = 100, .kind = WI_COPY_UP},
                    stream),
        0);
    memset(host, 2, 100);
    wi_emu_run(emu);
    cr_assert_eq(*(unsigned char *)(uintptr_t)address, 2);
    wi_emu_destroy(emu, NULL);
}

/* Calls that must block bring the work about themselves. */
Test(emu_virtual, blocking_calls_step)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 3);
    struct wi_emu_stream *stream = stream_create(emu), *other = stream_create(emu);
    struct wi_emu_event  *event = event_create(emu);
    uint64_t              address = device_alloc(emu, 100);
    unsigned char         bytes[100];

    cr_assert_eq(wi_emu_fill(emu, address, 7, 100, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, event, stream), 0);
    cr_assert_eq(wi_emu_event_sync(emu, event), 0);
    cr_assert_eq(wi_emu_copy(emu,
                             &(struct wi_copy){.dst = (uintptr_t)bytes,
                                               .src = address,
                                               .bytes = 100,
                                               .kind = WI_COPY_DOWN},
                             other),
                 0);
    for (size_t i = 0; i < sizeof(bytes); i++) cr_assert_eq(bytes[i], 7);
    cr_assert_eq(stats_of(emu).pageable_copies, 1);
    wi_emu_destroy(emu, NULL);
}

Test(emu_virtual, time_passes_when_told)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 3);
    struct wi_emu_stream *stream = stream_create(emu);
    struct wi_emu_event  *before = event_create(emu), *after = event_create(emu);

    cr_assert_eq(wi_emu_event_record(emu, before, stream), 0);
    wi_emu_clock_advance(emu, 777);
    cr_assert_eq(wi_emu_event_record(emu, after, stream), 0);
    wi_emu_run(emu);
    cr_assert_eq(elapsed(emu, before, after), 777);
    wi_emu_destroy(emu, NULL);
}

/* ---- holds, with both clocks ---- */

static void check_holds(uint32_t clock)
{
    struct wi_emu        *emu = emu_create(clock, 3);
    struct wi_emu_stream *held = stream_create(emu), *other = stream_create(emu);
    struct wi_emu_event  *event = event_create(emu), *elsewhere = event_create(emu);

    order_count = 0;
    wi_emu_hold(emu, held);
    queue_note(emu, held, "a");
    queue_note(emu, held, "b");
    queue_note(emu, held, "c");
    cr_assert_eq(wi_emu_event_record(emu, event, held), 0);
    queue_note(emu, other, "x");
    wi_emu_run(emu);
    cr_assert_str_eq(order, "x");
    cr_assert_eq(wi_emu_event_query(emu, event), WEIR_EAGAIN);

    wi_emu_permit(emu, held, 1);
    wi_emu_run(emu);
    cr_assert_str_eq(order, "xa");
    wi_emu_permit(emu, held, 2);
    wi_emu_run(emu);
    cr_assert_str_eq(order, "xabc");
    cr_assert_eq(wi_emu_event_query(emu, event), WEIR_EAGAIN);
    wi_emu_release(emu, held);
    wi_emu_run(emu);
    cr_assert_eq(wi_emu_event_query(emu, event), 0);

    /* A release uses up the permits that are left. */
    wi_emu_hold(emu, held);
    wi_emu_permit(emu, held, 5);
    wi_emu_release(emu, held);
    wi_emu_hold(emu, held);
    queue_note(emu, held, "z");
    wi_emu_run(emu);
    cr_assert_str_eq(order, "xabc");
    wi_emu_release(emu, held);
    wi_emu_run(emu);
    cr_assert_str_eq(order, "xabcz");

    /* The whole device, also what is made later; an event on a drained stream is work like any other. */
    wi_emu_hold(emu, NULL);
    struct wi_emu_stream *later = stream_create(emu);
    queue_note(emu, later, "y");
    cr_assert_eq(wi_emu_event_record(emu, elsewhere, other), 0);
    wi_emu_hold(emu, held);
    queue_note(emu, held, "d");
    wi_emu_run(emu);
    cr_assert_str_eq(order, "xabcz");
    cr_assert_eq(wi_emu_event_query(emu, elsewhere), WEIR_EAGAIN);
    wi_emu_release(emu, NULL);
    wi_emu_run(emu);
    cr_assert_str_eq(order, "xabczy");
    cr_assert_eq(wi_emu_event_query(emu, elsewhere), 0);
    wi_emu_release(emu, held);
    wi_emu_run(emu);
    cr_assert_str_eq(order, "xabczyd");
    wi_emu_destroy(emu, NULL);
}

Test(emu_virtual, a_held_stream_waits)
{
    check_holds(WI_EMU_VIRTUAL);
}

Test(emu_real, a_held_stream_waits)
{
    check_holds(WI_EMU_REAL);
}

Test(emu_virtual, time_stands_still_on_a_held_stream)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 3);
    struct wi_emu_stream *held = stream_create(emu), *other = stream_create(emu);
    struct wi_emu_event  *before = event_create(emu), *after = event_create(emu);

    cr_assert_eq(wi_emu_event_record(emu, before, other), 0);
    wi_emu_hold(emu, held);
    cr_assert_eq(wi_emu_event_record(emu, after, held), 0);
    wi_emu_run(emu);
    wi_emu_clock_advance(emu, 500);
    wi_emu_release(emu, held);
    wi_emu_run(emu);
    cr_assert_eq(elapsed(emu, before, after), 500);
    wi_emu_destroy(emu, NULL);
}

/* Nobody could release it any more. */
static void check_destroyed_while_held(uint32_t clock)
{
    struct wi_emu        *emu = emu_create(clock, 3);
    struct wi_emu_stream *held = stream_create(emu);

    order_count = 0;
    wi_emu_hold(emu, held);
    queue_note(emu, held, "a");
    cr_assert_eq(wi_emu_stream_destroy(emu, held), 0);
    wi_emu_run(emu);
    cr_assert_str_eq(order, "a");
    wi_emu_destroy(emu, NULL);
}

Test(emu_virtual, a_held_stream_can_be_destroyed)
{
    check_destroyed_while_held(WI_EMU_VIRTUAL);
}

Test(emu_real, a_held_stream_can_be_destroyed)
{
    check_destroyed_while_held(WI_EMU_REAL);
}

/* What is held when the device goes is dropped, and everything else has run. */
static void check_end(uint32_t clock)
{
    struct wi_emu        *emu = emu_create(clock, 3);
    struct wi_emu_stream *held = stream_create(emu), *other = stream_create(emu);
    struct wi_emu_stats   last;

    order_count = 0;
    wi_emu_hold(emu, held);
    queue_note(emu, held, "a");
    queue_note(emu, held, "b");
    queue_note(emu, other, "x");
    cr_assert_eq(wi_emu_delay(emu, 1000, other), 0);
    queue_note(emu, other, "y");
    cr_assert_eq(wi_emu_stream_destroy(emu, other), 0);
    wi_emu_destroy(emu, &last);
    cr_assert_str_eq(order, "xy");
    cr_assert_eq(last.dropped, 2);
    cr_assert_eq(last.finished, 3);
    cr_assert_eq(last.pending, 0);
    cr_assert_eq(last.streams, 1);
}

Test(emu_virtual, destroy_finishes_what_can_run)
{
    check_end(WI_EMU_VIRTUAL);
}

Test(emu_real, destroy_finishes_what_can_run)
{
    check_end(WI_EMU_REAL);
}
