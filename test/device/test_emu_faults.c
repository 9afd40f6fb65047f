/* SPDX-License-Identifier: Apache-2.0 */
/* test_emu_faults.c - what goes wrong in the emulation: planned faults, loss, misuse, capture, no memory, leaks */
#include "device/emu_fixture.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#define BYTES 1024

static void do_nothing(void *ctx)
{
    (void)ctx;
}

/* One of everything, so that each operation can be tried. */
struct thing {
    struct wi_emu        *emu;
    struct wi_emu_stream *stream;
    struct wi_emu_event  *event;
    uint64_t              address;
    void                 *host;
    unsigned char        *pages; /* not known to the device */
};

static void thing_open(struct thing *thing, uint32_t clock)
{
    struct wi_emu *emu = emu_create(clock, 1);

    *thing = (struct thing){.emu = emu, .stream = stream_create(emu), .event = event_create(emu)};
    thing->address = device_alloc(emu, BYTES);
    cr_assert_eq(wi_emu_host_alloc(emu, BYTES, &thing->host), 0);
    thing->pages = calloc(1, BYTES);
    cr_assert(thing->pages != NULL);
}

static void thing_close(struct thing *thing)
{
    wi_emu_destroy(thing->emu, NULL);
    free(thing->pages);
}

/* Try one operation; what it makes is given back where that is another operation's business. */
static int attempt(struct thing *thing, enum wi_emu_op op)
{
    struct wi_emu *emu = thing->emu;
    struct wi_copy copy = {
        .dst = thing->address, .src = (uintptr_t)thing->host, .bytes = 8, .kind = WI_COPY_UP};
    struct wi_emu_stream *stream = NULL;
    struct wi_emu_event  *event = NULL;
    uint64_t              first, second;
    void                 *base;
    bool                  capturing;
    int                   err;

    switch (op) {
    case WI_EMU_MEMORY:
        return wi_emu_memory(emu, &first, &second);
    case WI_EMU_HOST_REGISTER:
        err = wi_emu_host_register(emu, thing->pages, BYTES);
        if (err == 0) cr_assert_eq(wi_emu_host_unregister(emu, thing->pages, BYTES), 0);
        return err;
    case WI_EMU_HOST_UNREGISTER:
        cr_assert_eq(wi_emu_host_register(emu, thing->pages, BYTES), 0);
        err = wi_emu_host_unregister(emu, thing->pages, BYTES);
        if (err < 0) cr_assert_eq(wi_emu_host_unregister(emu, thing->pages, 0), 0);
        return err;
    case WI_EMU_HOST_ALLOC:
        err = wi_emu_host_alloc(emu, BYTES, &base);
        if (err == 0) cr_assert_eq(wi_emu_host_free(emu, base), 0);
        return err;
    case WI_EMU_HOST_FREE:
        cr_assert_eq(wi_emu_host_alloc(emu, BYTES, &base), 0);
        err = wi_emu_host_free(emu, base);
        if (err < 0) cr_assert_eq(wi_emu_host_free(emu, base), 0);
        return err;
    case WI_EMU_DEVICE_ALLOC:
        err = wi_emu_device_alloc(emu, BYTES, &first);
        if (err == 0) cr_assert_eq(wi_emu_device_free(emu, first), 0);
        return err;
    case WI_EMU_DEVICE_FREE:
        first = device_alloc(emu, BYTES);
        err = wi_emu_device_free(emu, first);
        if (err < 0) cr_assert_eq(wi_emu_device_free(emu, first), 0);
        return err;
    case WI_EMU_STREAM_CREATE:
        err = wi_emu_stream_create(emu, 0, &stream);
        if (err == 0) cr_assert_eq(wi_emu_stream_destroy(emu, stream), 0);
        return err;
    case WI_EMU_STREAM_DESTROY:
        stream = stream_create(emu);
        err = wi_emu_stream_destroy(emu, stream);
        if (err < 0) cr_assert_eq(wi_emu_stream_destroy(emu, stream), 0);
        return err;
    case WI_EMU_STREAM_QUERY:
        return wi_emu_stream_query(emu, thing->stream);
    case WI_EMU_STREAM_WAIT:
        return wi_emu_stream_wait(emu, thing->stream, thing->event);
    case WI_EMU_STREAM_CAPTURE:
        return wi_emu_stream_capture(emu, thing->stream, &capturing);
    case WI_EMU_EVENT_CREATE:
        err = wi_emu_event_create(emu, 0, &event);
        if (err == 0) cr_assert_eq(wi_emu_event_destroy(emu, event), 0);
        return err;
    case WI_EMU_EVENT_DESTROY:
        event = event_create(emu);
        err = wi_emu_event_destroy(emu, event);
        if (err < 0) cr_assert_eq(wi_emu_event_destroy(emu, event), 0);
        return err;
    case WI_EMU_EVENT_RECORD:
        return wi_emu_event_record(emu, thing->event, thing->stream);
    case WI_EMU_EVENT_QUERY:
        return wi_emu_event_query(emu, thing->event);
    case WI_EMU_EVENT_SYNC:
        return wi_emu_event_sync(emu, thing->event);
    case WI_EMU_EVENT_ELAPSED:
        cr_assert_eq(wi_emu_event_record(emu, thing->event, thing->stream), 0);
        wi_emu_run(emu);
        return wi_emu_event_elapsed(emu, thing->event, thing->event, &first);
    case WI_EMU_COPY:
        return wi_emu_copy(emu, &copy, thing->stream);
    case WI_EMU_COPY_BATCH:
        return wi_emu_copy_batch(emu, &copy, 1, thing->stream);
    case WI_EMU_FILL:
        return wi_emu_fill(emu, thing->address, 0, 8, thing->stream);
    case WI_EMU_CALL:
        return wi_emu_call(emu, do_nothing, NULL, thing->stream);
    case WI_EMU_DELAY:
        return wi_emu_delay(emu, 1, thing->stream);
    default:
        return 0;
    }
}

/* Every operation: fails at its nth use with the code that was planned, once, and does nothing then. */
Test(emu_faults, every_operation_can_be_made_to_fail)
{
    for (uint32_t op = 0; op < WI_EMU_EXECUTE; op++) {
        struct wi_emu_fault fault = {.op = op, .nth = 3, .code = WEIR_ENOSYS};
        struct thing        thing;
        uint64_t            calls;

        thing_open(&thing, WI_EMU_VIRTUAL);
        calls = stats_of(thing.emu).calls[op];
        cr_assert_eq(wi_emu_fault_set(thing.emu, &fault), 0);
        cr_assert_eq(attempt(&thing, op), 0, "operation %u", op);
        wi_emu_run(thing.emu);
        cr_assert_eq(attempt(&thing, op), 0);
        wi_emu_run(thing.emu);
        cr_assert_eq(attempt(&thing, op), WEIR_ENOSYS, "operation %u", op);
        cr_assert_str_eq(wi_emu_reason(), "made to fail by a test");
        wi_emu_run(thing.emu);
        cr_assert_eq(attempt(&thing, op), 0);
        cr_assert_geq(stats_of(thing.emu).calls[op], calls + 4);
        cr_assert_eq(stats_of(thing.emu).lost, 0);
        cr_assert_eq(stats_of(thing.emu).misuses, 0);
        thing_close(&thing);
    }
}

Test(emu_faults, every_operation_can_lose_the_device)
{
    for (uint32_t op = 0; op < WI_EMU_EXECUTE; op++) {
        struct wi_emu_fault fault = {
            .op = op, .nth = 1, .code = WEIR_EDEVICE, .flags = WI_EMU_FAULT_STICKY};
        struct thing thing;

        /* Those that need a helper of another kind first cannot clean up behind themselves any more. */
        if (op == WI_EMU_HOST_UNREGISTER || op == WI_EMU_HOST_FREE || op == WI_EMU_DEVICE_FREE ||
            op == WI_EMU_STREAM_DESTROY || op == WI_EMU_EVENT_DESTROY)
            continue;
        thing_open(&thing, WI_EMU_VIRTUAL);
        cr_assert_eq(wi_emu_fault_set(thing.emu, &fault), 0);
        cr_assert_eq(attempt(&thing, op), WEIR_EDEVICE, "operation %u", op);
        cr_assert_eq(wi_emu_stream_query(thing.emu, thing.stream), WEIR_EDEVICE);
        cr_assert_eq(wi_emu_event_query(thing.emu, thing.event), WEIR_EDEVICE);
        cr_assert_eq(stats_of(thing.emu).lost, 1);
        thing_close(&thing);
    }
}

Test(emu_faults, a_call_can_be_late)
{
    struct wi_emu_fault fault = {.op = WI_EMU_EVENT_QUERY, .nth = 1, .delay_ns = 5000};
    struct thing        thing;

    thing_open(&thing, WI_EMU_VIRTUAL);
    cr_assert_eq(wi_emu_fault_set(thing.emu, &fault), 0);
    cr_assert_eq(wi_emu_event_query(thing.emu, thing.event), 0);
    cr_assert_eq(wi_emu_clock_ns(thing.emu), 5000);
    thing_close(&thing);

    uint64_t began_ns = weir_clock_ns();
    thing_open(&thing, WI_EMU_REAL);
    fault.delay_ns = 3 * WI_NS_PER_MS;
    cr_assert_eq(wi_emu_fault_set(thing.emu, &fault), 0);
    cr_assert_eq(wi_emu_event_query(thing.emu, thing.event), 0);
    cr_assert_geq(weir_clock_ns() - began_ns, 3 * WI_NS_PER_MS);
    thing_close(&thing);
}

/* The second queued piece of work fails on the device: what was before it stands, the rest never comes. */
static void check_execute(uint32_t clock)
{
    struct wi_emu_fault fault = {.op = WI_EMU_EXECUTE, .nth = 2, .code = WEIR_EDEVICE};
    struct thing        thing;

    thing_open(&thing, clock);
    memset((void *)(uintptr_t)thing.address, 0, BYTES);
    cr_assert_eq(wi_emu_fault_set(thing.emu, &fault), 0);
    wi_emu_hold(thing.emu, thing.stream);
    cr_assert_eq(wi_emu_fill(thing.emu, thing.address, 1, 1, thing.stream), 0);
    cr_assert_eq(wi_emu_fill(thing.emu, thing.address + 1, 1, 1, thing.stream), 0);
    cr_assert_eq(wi_emu_fill(thing.emu, thing.address + 2, 1, 1, thing.stream), 0);
    cr_assert_eq(wi_emu_event_record(thing.emu, thing.event, thing.stream), 0);
    wi_emu_release(thing.emu, thing.stream);
    wi_emu_run(thing.emu);
    cr_assert_eq(wi_emu_event_query(thing.emu, thing.event), WEIR_EDEVICE);
    cr_assert_eq(memcmp((void *)(uintptr_t)thing.address, "\1\0\0", 3), 0);
    cr_assert_eq(stats_of(thing.emu).lost, 1);
    cr_assert_eq(stats_of(thing.emu).finished, 1);
    cr_assert_eq(stats_of(thing.emu).dropped, 3);
    cr_assert_eq(stats_of(thing.emu).pending, 0);
    thing_close(&thing);
}

Test(emu_faults, failing_work_loses_the_device)
{
    check_execute(WI_EMU_VIRTUAL);
    check_execute(WI_EMU_REAL);
}

Test(emu_faults, slow_work_takes_longer)
{
    struct wi_emu_fault fault = {.op = WI_EMU_EXECUTE, .nth = 1, .delay_ns = 40000};
    struct thing        thing;

    thing_open(&thing, WI_EMU_VIRTUAL);
    cr_assert_eq(wi_emu_fault_set(thing.emu, &fault), 0);
    cr_assert_eq(wi_emu_fill(thing.emu, thing.address, 1, 400, thing.stream), 0);
    cr_assert_eq(wi_emu_run(thing.emu), 1);
    cr_assert_eq(wi_emu_clock_ns(thing.emu), 1000 + 100 + 40000);
    thing_close(&thing);
}

Test(emu_faults, several_faults_of_one_operation)
{
    struct wi_emu_fault first = {.op = WI_EMU_DELAY, .nth = 1, .code = WEIR_ENOMEM};
    struct wi_emu_fault third = {.op = WI_EMU_DELAY, .nth = 3, .code = WEIR_EBUSY};
    struct thing        thing;

    thing_open(&thing, WI_EMU_VIRTUAL);
    cr_assert_eq(wi_emu_fault_set(thing.emu, &third), 0);
    cr_assert_eq(wi_emu_fault_set(thing.emu, &first), 0);
    cr_assert_eq(attempt(&thing, WI_EMU_DELAY), WEIR_ENOMEM);
    cr_assert_eq(attempt(&thing, WI_EMU_DELAY), 0);
    cr_assert_eq(attempt(&thing, WI_EMU_DELAY), WEIR_EBUSY);
    cr_assert_eq(attempt(&thing, WI_EMU_DELAY), 0);

    cr_assert_eq(wi_emu_fault_set(thing.emu, &first), 0);
    wi_emu_fault_clear(thing.emu);
    cr_assert_eq(attempt(&thing, WI_EMU_DELAY), 0);
    thing_close(&thing);
}

Test(emu_faults, wrong_faults_are_refused)
{
    struct wi_emu_fault fault = {.op = WI_EMU_DELAY, .nth = 1};
    struct thing        thing;

    thing_open(&thing, WI_EMU_VIRTUAL);
    cr_assert_eq(
        wi_emu_fault_set(thing.emu, &(struct wi_emu_fault){.op = WI_EMU_OPS_COUNT, .nth = 1}),
        WEIR_EINVAL);
    cr_assert_eq(wi_emu_fault_set(thing.emu, &(struct wi_emu_fault){.op = WI_EMU_DELAY}),
                 WEIR_EINVAL);
    cr_assert_eq(wi_emu_fault_set(thing.emu,
                                  &(struct wi_emu_fault){.op = WI_EMU_DELAY, .nth = 1, .code = 5}),
                 WEIR_EINVAL);
    for (int i = 0; i < WI_EMU_FAULTS_MAX; i++)
        cr_assert_eq(wi_emu_fault_set(thing.emu, &fault), 0);
    cr_assert_eq(wi_emu_fault_set(thing.emu, &fault), WEIR_EEXCEEDS);
    thing_close(&thing);
}

/* ---- misuse ---- */

static unsigned misuses_told;

static void tell(void *ctx, const char *text)
{
    cr_assert_eq(ctx, &misuses_told);
    cr_assert(text[0] != '\0');
    misuses_told++;
}

static struct wi_emu *emu_with_hook(uint32_t clock)
{
    struct wi_emu_opts opts = {
        .model = plain_model(), .clock = clock, .misuse = tell, .ctx = &misuses_told};
    struct wi_emu *emu = NULL;

    misuses_told = 0;
    cr_assert_eq(wi_emu_create(&opts, &emu), 0);
    return emu;
}

Test(emu_misuse, memory_given_up_under_pending_work)
{
    struct wi_emu           *emu = emu_with_hook(WI_EMU_VIRTUAL);
    struct wi_emu_stream    *stream = stream_create(emu);
    uint64_t                 address = device_alloc(emu, BYTES);
    unsigned char           *pages = calloc(1, BYTES);
    void                    *host = NULL;
    struct wi_copy           copy = {.dst = address, .bytes = BYTES, .kind = WI_COPY_UP};
    struct wi_emu_range_info info;

    cr_assert_eq(wi_emu_host_alloc(emu, BYTES, &host), 0);
    cr_assert_eq(wi_emu_host_register(emu, pages, BYTES), 0);
    copy.src = (uintptr_t)pages;
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), 0);
    copy.src = (uintptr_t)host;
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), 0);

    cr_assert_eq(wi_emu_range_find(emu, address + 5, &info), 0);
    cr_assert_eq(info.pending, 2);
    cr_assert_eq(wi_emu_device_free(emu, address), WEIR_EINTERNAL);
    cr_assert_eq(wi_emu_host_free(emu, host), WEIR_EINTERNAL);
    cr_assert_eq(wi_emu_host_unregister(emu, pages, BYTES), WEIR_EINTERNAL);
    cr_assert_eq(misuses_told, 3);
    cr_assert_eq(stats_of(emu).misuses, 3);

    cr_assert_eq(wi_emu_run(emu), 2);
    cr_assert_eq(wi_emu_device_free(emu, address), 0);
    cr_assert_eq(wi_emu_host_free(emu, host), 0);
    cr_assert_eq(wi_emu_host_unregister(emu, pages, BYTES), 0);
    cr_assert_eq(misuses_told, 3);
    wi_emu_destroy(emu, NULL);
    free(pages);
}

Test(emu_misuse, handles_that_are_dead)
{
    struct wi_emu        *emu = emu_with_hook(WI_EMU_VIRTUAL);
    struct wi_emu_stream *stream = stream_create(emu), *dead_stream = stream_create(emu);
    struct wi_emu_event  *event = event_create(emu), *dead_event = event_create(emu);

    cr_assert_eq(wi_emu_stream_destroy(emu, dead_stream), 0);
    cr_assert_eq(wi_emu_event_destroy(emu, dead_event), 0);
    cr_assert_eq(wi_emu_stream_destroy(emu, dead_stream), WEIR_EINTERNAL);
    cr_assert_eq(wi_emu_event_destroy(emu, dead_event), WEIR_EINTERNAL);
    cr_assert_eq(wi_emu_event_record(emu, dead_event, stream), WEIR_EINTERNAL);
    cr_assert_eq(wi_emu_event_record(emu, event, dead_stream), WEIR_EINTERNAL);
    cr_assert_eq(wi_emu_delay(emu, 1, dead_stream), WEIR_EINTERNAL);
    cr_assert_eq(misuses_told, 5);
    /* Storage is used again late: the next ones made are others. */
    for (int i = 0; i < 20; i++) {
        cr_assert_neq(stream_create(emu), dead_stream);
        cr_assert_neq(event_create(emu), dead_event);
    }
    cr_assert_eq(wi_emu_delay(emu, 1, NULL), WEIR_EINVAL);
    cr_assert_eq(wi_emu_event_query(emu, NULL), WEIR_EINVAL);
    cr_assert_eq(misuses_told, 5);
    wi_emu_destroy(emu, NULL);
}

struct inside {
    struct wi_emu       *emu;
    struct wi_emu_event *event;
    int                  err;
    bool                 knows;
};

static void call_in(void *ctx)
{
    struct inside *inside = ctx;

    inside->knows = wi_emu_inside_call();
    inside->err = wi_emu_event_query(inside->emu, inside->event);
}

Test(emu_misuse, device_calls_inside_a_host_function)
{
    for (uint32_t clock = WI_EMU_REAL; clock <= WI_EMU_VIRTUAL; clock++) {
        struct wi_emu        *emu = emu_with_hook(clock);
        struct wi_emu_stream *stream = stream_create(emu);
        struct inside         inside = {.emu = emu, .event = event_create(emu)};

        cr_assert_eq(wi_emu_call(emu, call_in, &inside, stream), 0);
        wi_emu_run(emu);
        cr_assert(inside.knows);
        cr_assert_eq(inside.err, WEIR_EINTERNAL);
        cr_assert_eq(misuses_told, 1);
        cr_assert(!wi_emu_inside_call());
        cr_assert_eq(wi_emu_event_query(emu, inside.event), 0);
        wi_emu_destroy(emu, NULL);
    }
}

/* ---- capture ---- */

Test(emu_capture, work_is_counted_and_not_run)
{
    struct wi_emu        *emu = emu_create(WI_EMU_VIRTUAL, 1);
    struct wi_emu_stream *stream = stream_create(emu), *other = stream_create(emu);
    struct wi_emu_event  *event = event_create(emu);
    uint64_t              address = device_alloc(emu, BYTES);
    unsigned char         pageable[8] = {0};
    struct wi_copy        copy = {
               .dst = address, .src = (uintptr_t)pageable, .bytes = 8, .kind = WI_COPY_UP};

    memset((void *)(uintptr_t)address, 1, BYTES);
    wi_emu_capture_begin(emu, stream);
    cr_assert_eq(wi_emu_fill(emu, address, 2, BYTES, stream), 0);
    cr_assert_eq(wi_emu_delay(emu, 1, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, event, stream), 0);
    cr_assert_eq(wi_emu_copy(emu, &copy, stream), WEIR_ECAPTURE);
    cr_assert_eq(stats_of(emu).captured, 3);
    cr_assert_eq(wi_emu_run(emu), 0);
    cr_assert_eq(*(unsigned char *)(uintptr_t)address, 1);

    cr_assert_eq(wi_emu_stream_query(emu, stream), WEIR_ECAPTURE);
    cr_assert_eq(wi_emu_event_query(emu, event), WEIR_ECAPTURE);
    cr_assert_eq(wi_emu_event_sync(emu, event), WEIR_ECAPTURE);
    cr_assert_eq(wi_emu_stream_wait(emu, other, event), WEIR_ECAPTURE);
    wi_emu_capture_end(emu, stream);
    cr_assert_eq(wi_emu_stream_query(emu, stream), 0);
    cr_assert_eq(wi_emu_event_record(emu, event, stream), 0);
    cr_assert_eq(wi_emu_run(emu), 1);
    cr_assert_eq(wi_emu_event_query(emu, event), 0);
    wi_emu_destroy(emu, NULL);
}

/* ---- no memory, and leaks ---- */

/* Everything that allocates. What was made before a failure is left to destroy. */
static int use_everything(struct wi_emu *emu, unsigned char *pages)
{
    struct wi_emu_stream *stream;
    struct wi_emu_event  *event;
    uint64_t              address;
    void                 *host;

    WI_TRY(wi_emu_stream_create(emu, 0, &stream));
    WI_TRY(wi_emu_event_create(emu, 0, &event));
    WI_TRY(wi_emu_device_alloc(emu, BYTES, &address));
    WI_TRY(wi_emu_host_alloc(emu, BYTES, &host));
    WI_TRY(wi_emu_host_register(emu, pages, BYTES));
    WI_TRY(wi_emu_event_record(emu, event, stream));
    WI_TRY(wi_emu_fill(emu, address, 0, BYTES, stream));
    return wi_emu_event_sync(emu, event);
}

Test(emu_faults, every_allocation_can_fail)
{
    struct wi_emu_opts opts = {.model = plain_model(), .clock = WI_EMU_VIRTUAL};
    unsigned char     *pages = calloc(1, BYTES);
    uint64_t           failures = 0;

    for (uint64_t nth = 1;; nth++) {
        struct wi_emu *emu = NULL;
        int            err;

        wi_alloc_fail_at(nth);
        err = wi_emu_create(&opts, &emu);
        if (err == 0) err = use_everything(emu, pages);
        if (wi_alloc_fail_at(0) != 0) {
            cr_assert_eq(err, 0);
            wi_emu_destroy(emu, NULL);
            break;
        }
        failures++;
        cr_assert_eq(err, WEIR_ENOMEM, "allocation %llu", (unsigned long long)nth);
        /* And what is left still works. */
        if (emu != NULL) {
            (void)wi_emu_host_unregister(emu, pages, 0);
            cr_assert_eq(use_everything(emu, pages), 0);
        }
        wi_emu_destroy(emu, NULL);
    }
    /* The device, five arenas, the table. */
    cr_assert_eq(failures, 7);
    free(pages);
}

Test(emu_faults, what_is_left_behind_is_told)
{
    struct wi_emu      *emu = emu_create(WI_EMU_REAL, 0);
    unsigned char      *pages = calloc(1, BYTES);
    struct wi_emu_stats last;

    cr_assert_eq(use_everything(emu, pages), 0);
    cr_assert_eq(wi_emu_event_destroy(emu, event_create(emu)), 0);
    wi_emu_destroy(emu, &last);
    cr_assert_eq(last.streams, 1);
    cr_assert_eq(last.events, 1);
    cr_assert_eq(last.device_allocations, 1);
    cr_assert_eq(last.device_bytes, BYTES);
    cr_assert_eq(last.host_allocations, 1);
    cr_assert_eq(last.host_bytes, BYTES);
    cr_assert_eq(last.registrations, 1);
    cr_assert_eq(last.registered_bytes, BYTES);
    cr_assert_eq(last.pending, 0);
    wi_emu_destroy(NULL, NULL);
    free(pages);
}
