/* SPDX-License-Identifier: Apache-2.0 */
/* The pinned heap: what malloc promises, the hard limit, what the device still uses, threads, forks, misuse. */
#include "base/atomic.h"
#include "device/host.h"
#include "pool/context.h"
#include "pool/fixture.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/heap.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISONED(ptr) __asan_address_is_poisoned(ptr)
#define WITH_ASAN     1
#else
#define POISONED(ptr) ((void)(ptr), 0)
#define WITH_ASAN     0
#endif

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

static struct weir_runtime *rt;
static struct weir_heap    *heap;

static void open_with(size_t budget, size_t bytes_max, size_t cache)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .pinned_bytes_max = budget), &rt));
    ok(weir_heap_create(rt, WEIR_OPTS(heap, .name = "test", .bytes_max = bytes_max, .cache_bytes_max = cache), &heap));
}

static void open_heap(void)
{
    open_with(64 * MIB, 32 * MIB, 0);
}

static uint64_t pinned(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    ok(weir_runtime_stats_read(rt, &stats));
    return stats.pinned_bytes;
}

static void close_heap(void)
{
    weir_heap_destroy(heap);
    if (rt) cr_assert_eq(pinned(), 0, "%lu bytes are still charged", (unsigned long)pinned());
    weir_runtime_destroy(rt);
}

TestSuite(heap, .init = open_heap, .fini = close_heap, .timeout = 60);

static struct weir_heap_stats stats_of(void)
{
    struct weir_heap_stats stats = {.struct_size = sizeof stats};
    ok(weir_heap_stats_read(heap, &stats));
    return stats;
}

static struct weir_error last(void)
{
    struct weir_error error = {.struct_size = sizeof error};
    ok(weir_last_error(&error));
    return error;
}

static void *take(size_t bytes)
{
    void *ptr = weir_heap_malloc(heap, bytes);
    char  text[512];
    if (!ptr) {
        (void)weir_error_text(text, sizeof text);
        cr_assert_fail("%zu bytes: %s", bytes, text);
    }
    cr_assert_eq((uintptr_t)ptr % 16, 0);
    cr_assert_geq(weir_heap_usable_bytes(heap, ptr), bytes);
    return ptr;
}

/* A generator with a state of the test's own. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t random_size(uint64_t *state)
{
    return next_random(state) % ((size_t)1 << (3 + next_random(state) % 17)) + 1; /* 1 to 512 KiB, all scales */
}

Test(heap, every_size_is_there_whole_and_nobody_elses)
{
    enum { COUNT = 300 };
    unsigned char *ptr[COUNT];
    size_t         bytes[COUNT];
    uint64_t       state = 12345;
    for (int i = 0; i < COUNT; i++) {
        bytes[i] = random_size(&state) / 4 + 1;
        ptr[i] = take(bytes[i]);
        memset(ptr[i], i, bytes[i]);
    }
    for (int round = 0; round < 3000; round++) {
        int i = (int)(next_random(&state) % COUNT);
        for (size_t b = 0; b < bytes[i]; b += 61) cr_assert_eq(ptr[i][b], (unsigned char)i);
        cr_assert_eq(ptr[i][bytes[i] - 1], (unsigned char)i);
        ok(weir_heap_free(heap, ptr[i]));
        bytes[i] = random_size(&state) / 4 + 1;
        ptr[i] = take(bytes[i]);
        memset(ptr[i], i, bytes[i]);
    }
    for (int i = 0; i < COUNT; i++) ok(weir_heap_free(heap, ptr[i]));
    cr_assert_eq(stats_of().bytes_used, 0);
    ok(weir_heap_trim(heap));
    cr_assert_eq(stats_of().bytes_pinned, 0);
    cr_assert_eq(stats_of().bytes_cached, 0);
    cr_assert_eq(pinned(), 0);
}

Test(heap, sizes_at_the_edges_of_classes)
{
    for (size_t bytes = 0; bytes <= 40 * KIB; bytes += bytes < 600 ? 1 : 509) {
        unsigned char *ptr = take(bytes);
        size_t         usable = weir_heap_usable_bytes(heap, ptr);
        memset(ptr, 1, bytes);
        if (bytes > 128 && bytes <= 14 * KIB) cr_assert_leq(usable, bytes + bytes / 4 + 16);
        if (bytes > 14 * KIB) cr_assert_lt(usable, bytes + 4 * KIB);
        ok(weir_heap_free(heap, ptr));
    }
}

Test(heap, calloc_is_zero_also_where_memory_was_used)
{
    for (size_t bytes = 16; bytes < 8 * MIB; bytes *= 3) {
        unsigned char *ptr = take(bytes);
        memset(ptr, 0xff, bytes);
        ok(weir_heap_free(heap, ptr));
        ptr = weir_heap_calloc(heap, bytes / 16, 16);
        cr_assert_not_null(ptr);
        for (size_t b = 0; b < bytes / 16 * 16; b++) cr_assert_eq(ptr[b], 0);
        ok(weir_heap_free(heap, ptr));
    }
    cr_assert_null(weir_heap_calloc(heap, SIZE_MAX / 2, 3));
    cr_assert_eq(last().code, WEIR_EINVAL);
}

Test(heap, aligned_memory)
{
    void *held[64];
    int   count = 0;
    for (size_t alignment = 1; alignment <= MIB; alignment *= 2) {
        for (size_t bytes = 1; bytes < 3 * MIB; bytes *= 97) {
            void *ptr = weir_heap_aligned_alloc(heap, alignment, bytes);
            cr_assert_not_null(ptr);
            cr_assert_eq((uintptr_t)ptr % alignment, 0);
            cr_assert_geq(weir_heap_usable_bytes(heap, ptr), bytes);
            memset(ptr, 3, bytes);
            if (count < 64 && bytes < 100000) held[count++] = ptr;
            else ok(weir_heap_free(heap, ptr));
        }
    }
    while (count > 0) ok(weir_heap_free(heap, held[--count]));
    cr_assert_eq(stats_of().bytes_used, 0);
    cr_assert_null(weir_heap_aligned_alloc(heap, 48, 100));
    cr_assert_eq(last().code, WEIR_EINVAL);
    cr_assert_null(weir_heap_aligned_alloc(heap, 2 * MIB, 100));
    cr_assert_null(weir_heap_aligned_alloc(heap, 0, 100));
}

Test(heap, realloc_keeps_what_was_there)
{
    unsigned char *ptr = NULL;
    size_t         before = 0;
    static const size_t sizes[] = {10, 100, 5000, 5100, 20000, 40000, 100000, 3 * MIB, 4 * MIB, 90000, 39000, 200, 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        ptr = weir_heap_realloc(heap, ptr, sizes[i]);
        cr_assert_not_null(ptr);
        for (size_t b = 0; b < before && b < sizes[i]; b++) cr_assert_eq(ptr[b], (unsigned char)b);
        for (size_t b = 0; b < sizes[i]; b++) ptr[b] = (unsigned char)b;
        before = sizes[i];
    }
    ok(weir_heap_free(heap, ptr));
    cr_assert_eq(stats_of().bytes_used, 0);
    /* In place where there is room behind it. */
    ptr = take(100 * KIB);
    cr_assert_eq((void *)weir_heap_realloc(heap, ptr, 200 * KIB), (void *)ptr);
    cr_assert_eq((void *)weir_heap_realloc(heap, ptr, 50 * KIB), (void *)ptr);
    cr_assert_eq(weir_heap_usable_bytes(heap, ptr), 52 * KIB);
    /* A failure leaves it as it was. */
    ptr[50 * KIB - 1] = 77;
    cr_assert_null(weir_heap_realloc(heap, ptr, 100 * MIB));
    cr_assert_eq(last().code, WEIR_EEXCEEDS);
    cr_assert_eq(ptr[50 * KIB - 1], 77);
    ok(weir_heap_free(heap, ptr));
}

Test(heap, the_device_can_use_each_allocation_in_one_copy)
{
    struct weir_stream *stream;
    uint64_t            device;
    uint64_t            state = 99;
    ok(weir_device_alloc(rt, 8 * MIB, &device));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));
    unsigned char *ptr[40];
    for (int i = 0; i < 40; i++) {
        size_t   bytes = random_size(&state);
        uint64_t address;
        ptr[i] = take(bytes);
        memset(ptr[i], i + 1, bytes);
        ok(weir_heap_device(heap, ptr[i], &address));
        cr_assert_neq(address, 0);
        ok(weir_heap_upload(heap, stream, device, (struct weir_heap_part){ptr[i], 0, bytes}));
        ok(weir_heap_sync(heap, ptr[i], WEIR_FOREVER));
        memset(ptr[i], 0, bytes);
        ok(weir_heap_download(heap, stream, (struct weir_heap_part){ptr[i], bytes / 2, bytes - bytes / 2}, device));
        ok(weir_heap_sync(heap, ptr[i], WEIR_FOREVER));
        cr_assert_eq(ptr[i][bytes - 1], i + 1);
        cr_assert_eq(ptr[i][0], bytes > 1 ? 0 : i + 1);
        answers(weir_heap_upload(heap, stream, device, (struct weir_heap_part){ptr[i], 1, 9 * MIB}), RANGE);
    }
    for (int i = 0; i < 40; i++) ok(weir_heap_free(heap, ptr[i]));
    cr_assert_eq(stats_of().retires, 0, "what was waited for does not retire");
    ok(weir_stream_release(stream));
    ok(weir_device_free(rt, device));
}

/* ---- what the device still uses ---- */

static _Atomic int gate;

static void wait_for_gate(void *ctx)
{
    (void)ctx;
    while (!wi_load(&gate, acquire)) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

/* A stream whose work waits until the gate opens. */
static struct weir_stream *held_stream(void)
{
    struct weir_stream *stream;
    wi_store(&gate, 0, release);
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));
    ok(weir_stream_call(stream, wait_for_gate, NULL));
    return stream;
}

static void open_gate(struct weir_stream *stream)
{
    wi_store(&gate, 1, release);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    ok(weir_stream_release(stream));
}

/* Is ptr handed out again while others of its size are taken and held? */
static bool comes_back(const void *ptr, size_t bytes)
{
    enum { COUNT = 200 };
    void *taken[COUNT];
    bool  seen = false;
    for (int i = 0; i < COUNT; i++) {
        taken[i] = take(bytes);
        seen |= taken[i] == ptr;
    }
    for (int i = 0; i < COUNT; i++) ok(weir_heap_free(heap, taken[i]));
    return seen;
}

static void not_reused_in_flight(size_t bytes, int way)
{
    uint64_t device;
    ok(weir_device_alloc(rt, bytes, &device));
    struct weir_stream *stream = held_stream();
    void               *ptr = take(bytes), *other = take(bytes);
    if (way == 0) {
        ok(weir_heap_upload(heap, stream, device, (struct weir_heap_part){ptr, 0, bytes}));
        ok(weir_heap_free(heap, ptr));
    } else if (way == 1) {
        ok(weir_heap_guard(heap, ptr, stream));
        ok(weir_heap_free(heap, ptr));
    } else {
        ok(weir_heap_free_on(heap, ptr, stream));
    }
    cr_assert_eq(stats_of().retires, 1);
    cr_assert_geq(stats_of().bytes_retiring, bytes);
    answers(weir_heap_free(heap, ptr), NOTLEASED);
    answers(weir_heap_guard(heap, ptr, stream), NOTLEASED);
    cr_assert_not(comes_back(ptr, bytes));
    ok(weir_heap_free(heap, other)); /* on the same page perhaps, and not guarded */
    open_gate(stream);
    ok(weir_heap_trim(heap));
    cr_assert_eq(stats_of().bytes_retiring, 0);
    cr_assert_eq(stats_of().reaps, 1);
    cr_assert(comes_back(ptr, bytes));
    cr_assert_eq(stats_of().bytes_used, 0);
    ok(weir_device_free(rt, device));
}

Test(heap, an_upload_in_flight_keeps_small_memory)  { not_reused_in_flight(200, 0); }
Test(heap, an_upload_in_flight_keeps_large_memory)  { not_reused_in_flight(60 * KIB, 0); }
Test(heap, a_guard_keeps_memory)                    { not_reused_in_flight(3000, 1); }
Test(heap, a_free_on_a_stream_keeps_memory)         { not_reused_in_flight(30 * KIB, 2); }

/* The device has let go of one, and uses the other still. */
Test(heap, two_on_one_page_are_guarded_each)
{
    enum { COUNT = 40, SIZE = 200 };
    struct weir_stream *idle, *stream = held_stream();
    char               *ptr[COUNT], *done = NULL, *used = NULL;
    uint64_t            device;
    ok(weir_device_alloc(rt, SIZE, &device));
    ok(weir_stream_share(rt, WEIR_STREAM_COMPUTE, &idle));
    for (int i = 0; i < COUNT; i++) ptr[i] = take(SIZE);
    for (int i = 1; i < COUNT && !used; i++) {
        if ((uintptr_t)ptr[i] / 4096 != (uintptr_t)ptr[i - 1] / 4096) continue;
        done = ptr[i - 1];
        used = ptr[i];
    }
    cr_assert(used != NULL, "40 of 200 bytes, and no two on one page");
    ok(weir_heap_guard(heap, used, stream));
    /* A copy: a driver calls the host from one thread, and that one waits for the gate. */
    ok(weir_heap_upload(heap, idle, device, (struct weir_heap_part){done, 0, SIZE}));
    ok(weir_stream_sync(idle, WEIR_FOREVER));
    ok(weir_heap_free(heap, done));
    cr_assert_eq(stats_of().retires, 0);
    ok(weir_heap_free(heap, used));
    cr_assert_eq(stats_of().retires, 1, "its guard was forgotten");
    cr_assert_not(comes_back(used, SIZE));
    open_gate(stream);
    for (int i = 0; i < COUNT; i++) {
        if (ptr[i] != done && ptr[i] != used) ok(weir_heap_free(heap, ptr[i]));
    }
    ok(weir_heap_trim(heap));
    cr_assert_eq(stats_of().bytes_used, 0);
    ok(weir_device_free(rt, device));
}

Test(heap, several_streams_must_all_be_done)
{
    struct weir_stream *idle, *stream;
    void               *ptr = take(500);
    for (int i = 0; i < 6; i++) {
        ok(weir_stream_share(rt, WEIR_STREAM_COMPUTE, &idle));
        ok(weir_stream_delay(idle, 1000));
        ok(weir_heap_guard(heap, ptr, idle));
        ok(weir_stream_sync(idle, WEIR_FOREVER));
    }
    stream = held_stream();
    ok(weir_heap_guard(heap, ptr, stream));
    answers(weir_heap_sync(heap, ptr, weir_deadline_after_ns(1000000)), TIMEDOUT);
    ok(weir_heap_free(heap, ptr));
    cr_assert_not(comes_back(ptr, 500));
    open_gate(stream);
    eventually(comes_back(ptr, 500));
}

/* The copy is queued, and then the driver will not say whether the stream is captured: where its end is nobody knows. */
Test(heap, what_could_not_be_marked_is_never_reused)
{
    struct wi_device   *device = wi_context_of(rt)->device;
    struct wi_emu_fault fault = {.op = WI_EMU_STREAM_CAPTURE, .nth = 2, .code = WEIR_EINTERNAL};
    struct weir_stream *stream;
    uint64_t            target;
    void               *handle, *ptr;
    if (device->ops != &wi_device_host) cr_skip_test("faults are the host backend's");
    ok(device->ops->stream_create(device, 0, &handle));
    ok(weir_stream_adopt(rt, handle, &stream));
    ok(weir_device_alloc(rt, 200, &target));
    ptr = take(200);
    cr_assert_eq(wi_emu_fault_set(wi_host_emu(device), &fault), 0);
    cr_assert_lt(weir_heap_upload(heap, stream, target, (struct weir_heap_part){ptr, 0, 200}), 0);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    ok(weir_heap_free(heap, ptr));
    cr_assert_geq(stats_of().bytes_quarantined, 200);
    cr_assert_not(comes_back(ptr, 200));
    ok(weir_stream_release(stream));
    ok(device->ops->stream_destroy(device, handle));
    ok(weir_device_free(rt, target));
    weir_heap_destroy(heap); /* its memory stays */
    heap = NULL;
    weir_runtime_destroy(rt);
    rt = NULL;
}

Test(heap, many_retire_and_all_come_back)
{
    struct weir_stream *stream = held_stream();
    void               *ptr[500];
    for (int i = 0; i < 500; i++) ptr[i] = take(1000);
    for (int i = 0; i < 500; i++) ok(weir_heap_free_on(heap, ptr[i], stream));
    cr_assert_eq(stats_of().retires, 500);
    open_gate(stream);
    ok(weir_heap_trim(heap));
    cr_assert_eq(stats_of().reaps, 500);
    cr_assert_eq(stats_of().bytes_pinned, 0);
}

Test(heap, realloc_of_what_is_in_flight_moves)
{
    struct weir_stream *stream = held_stream();
    char               *ptr = take(100 * KIB), *moved;
    ptr[7] = 42;
    ok(weir_heap_guard(heap, ptr, stream));
    moved = weir_heap_realloc(heap, ptr, 50 * KIB);
    cr_assert_not_null(moved);
    cr_assert_neq((void *)moved, (void *)ptr);
    cr_assert_eq(moved[7], 42);
    cr_assert_eq(stats_of().retires, 1);
    open_gate(stream);
    ok(weir_heap_free(heap, moved));
}

Test(heap, what_never_ends_is_left_to_the_device)
{
    weir_heap_destroy(heap);
    ok(weir_heap_create(rt, WEIR_OPTS(heap, .drain_ns = 1000000), &heap));
    struct weir_stream *stream = held_stream();
    char               *ptr = take(100);
    ok(weir_heap_free_on(heap, ptr, stream));
    weir_heap_destroy(heap);
    heap = NULL;
    ptr[0] = 1; /* mapped still */
    cr_assert_gt(pinned(), 0);
    open_gate(stream);
    weir_runtime_destroy(rt);
    rt = NULL;
}

Test(heap, a_sanitizer_sees_freed_memory, .disabled = !WITH_ASAN)
{
    static const size_t sizes[] = {100, 20 * KIB, 100 * KIB};
    for (int i = 0; i < 3; i++) {
        char *ptr = take(sizes[i]);
        cr_assert_not(POISONED(ptr) || POISONED(ptr + sizes[i] - 1));
        ok(weir_heap_free(heap, ptr));
        cr_assert(POISONED(ptr) && POISONED(ptr + sizes[i] - 1));
        ptr = take(sizes[i]);
        cr_assert_not(POISONED(ptr) || POISONED(ptr + sizes[i] - 1));
        /* Memory that the device may read is not poisoned before it is done. */
        struct weir_stream *stream = held_stream();
        ok(weir_heap_free_on(heap, ptr, stream));
        cr_assert_not(POISONED(ptr));
        open_gate(stream);
        ok(weir_heap_trim(heap));
    }
}

/* ---- limits and misuse ---- */

static size_t fill(void **ptr, size_t most, size_t bytes)
{
    size_t count = 0;
    while (count < most && (ptr[count] = weir_heap_malloc(heap, bytes)) != NULL) {
        memset(ptr[count], (int)count, bytes < 64 ? bytes : 64);
        count++;
    }
    return count;
}

static void fills_up_and_recovers(size_t bytes, size_t bytes_max)
{
    static void *ptr[40000];
    size_t       first = fill(ptr, 40000, bytes);
    cr_assert_lt(first, 40000);
    cr_assert_eq(last().code, WEIR_EEXCEEDS);
    cr_assert_leq(stats_of().bytes_pinned, bytes_max);
    cr_assert_geq(first * bytes, bytes_max / 100 * 90, "%zu of %zu bytes", first * bytes, bytes_max);
    for (size_t i = 0; i < first; i++) ok(weir_heap_free(heap, ptr[i]));
    size_t again = fill(ptr, 40000, bytes);
    cr_assert_geq(again + again / 50 + 1, first);
    for (size_t i = 0; i < again; i++) ok(weir_heap_free(heap, ptr[i]));
}

Test(heap, its_limit_is_hard_and_named)
{
    fills_up_and_recovers(1000, 32 * MIB);
    fills_up_and_recovers(100 * KIB, 32 * MIB);
    /* What is free in segments of one size serves another. */
    fills_up_and_recovers(5 * MIB, 32 * MIB);
    void *all = weir_heap_malloc(heap, 32 * MIB);
    cr_assert_not_null(all);
    cr_assert_null(weir_heap_malloc(heap, 100 * KIB));
    cr_assert_str_eq(last().limit, "bytes_max of the heap");
    cr_assert_str_eq(last().setting, "weir_heap_opts.bytes_max");
    cr_assert_eq(last().limit_value, 32 * MIB);
    cr_assert_gt(last().wanted, 32 * MIB);
    ok(weir_heap_free(heap, all));
    cr_assert_null(weir_heap_malloc(heap, 33 * MIB));
    cr_assert_eq(last().code, WEIR_EEXCEEDS);
    cr_assert_null(weir_heap_malloc(heap, SIZE_MAX));
    cr_assert_eq(last().code, WEIR_EEXCEEDS);
    cr_assert_gt(stats_of().failures, 3);
}

Test(heap, the_runtimes_budget_is_hard_and_named, .init = NULL)
{
    open_with(8 * MIB, 32 * MIB, 0);
    void  *ptr[64];
    size_t count = fill(ptr, 64, MIB);
    cr_assert(count >= 6 && count <= 8, "%zu", count);
    cr_assert_str_eq(last().limit, "pinned_bytes_max");
    cr_assert_str_eq(last().setting, "WEIR_PINNED_BYTES_MAX");
    cr_assert_leq(pinned(), 8 * MIB);
    cr_assert_eq(pinned(), stats_of().bytes_pinned);
    while (count > 0) ok(weir_heap_free(heap, ptr[--count]));
}

Test(heap, misuse_is_named_and_harms_nothing)
{
    char  *large = take(100 * KIB), *small = take(100);
    int    mine;
    struct weir_stream *stream;
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));
    ok(weir_heap_free(heap, NULL));
    answers(weir_heap_free(heap, &mine), FOREIGN);
    answers(weir_heap_free(heap, large + 8), FOREIGN);
    answers(weir_heap_free(heap, large + 4 * KIB), FOREIGN);
    answers(weir_heap_free(heap, small + 3), FOREIGN);
    answers(weir_heap_guard(heap, &mine, stream), FOREIGN);
    answers(weir_heap_sync(heap, &mine, WEIR_NOW), FOREIGN);
    answers(weir_heap_free(NULL, small), INVAL);
    cr_assert_null(weir_heap_malloc(NULL, 1));
    cr_assert_null(weir_heap_realloc(heap, &mine, 10));
    cr_assert_eq(last().code, WEIR_EFOREIGN);
    cr_assert_eq(weir_heap_usable_bytes(heap, &mine), 0);
    cr_assert_eq(weir_heap_usable_bytes(heap, NULL), 0);
    ok(weir_heap_free(heap, large));
    int again = weir_heap_free(heap, large);
    cr_assert(again == WEIR_ENOTLEASED || again == WEIR_EFOREIGN, "%s", weir_errname(again));
    ok(weir_heap_free(heap, small));
    cr_assert_eq(stats_of().bytes_used, 0);
    ok(weir_stream_release(stream));

    struct weir_heap *other;
    answers(weir_heap_create(NULL, NULL, &other), INVAL);
    answers(weir_heap_create(rt, WEIR_OPTS(heap, .flags = 1), &other), OPTS);
    answers(weir_heap_create(rt, WEIR_OPTS(heap, .memory = WEIR_MEMORY_DEVICE), &other), INVAL);
    answers(weir_heap_create(rt, &(struct weir_heap_opts){.struct_size = 1}, &other), INVAL);
    struct { struct weir_heap_opts opts; uint64_t later; } newer = {{.struct_size = sizeof newer}, 1};
    answers(weir_heap_create(rt, &newer.opts, &other), OPTS);
    weir_heap_destroy(NULL);
    weir_heap_detach(NULL);
}

Test(heap, pageable_memory_and_no_caches)
{
    struct weir_heap *plain;
    uint64_t          device;
    ok(weir_heap_create(rt, WEIR_OPTS(heap, .memory = WEIR_MEMORY_PAGEABLE, .cache_bytes_max = SIZE_MAX), &plain));
    void *one = weir_heap_malloc(plain, 100);
    cr_assert_not_null(one);
    answers(weir_heap_device(plain, one, &device), KIND);
    ok(weir_heap_free(plain, one));
    cr_assert_eq(pinned(), 0);
    struct weir_heap_stats stats = {.struct_size = sizeof stats};
    ok(weir_heap_stats_read(plain, &stats));
    cr_assert_eq(stats.threads, 0);
    cr_assert_eq(stats.bytes_cached, 0);
    weir_heap_destroy(plain);
}

/* ---- threads, heaps that come and go, forks ---- */

static void *work(void *arg)
{
    uint64_t       state = (uintptr_t)arg * 7919 + 1;
    unsigned char *ptr[64] = {NULL};
    size_t         bytes[64] = {0};
    for (int round = 0; round < 4000; round++) {
        int i = (int)(next_random(&state) % 64);
        if (ptr[i] && (ptr[i][0] != (unsigned char)i || ptr[i][bytes[i] - 1] != (unsigned char)i)) return "torn";
        if (weir_heap_free(heap, ptr[i]) < 0) return "free";
        bytes[i] = random_size(&state) / 8 + 1;
        ptr[i] = weir_heap_malloc(heap, bytes[i]);
        if (!ptr[i]) return "malloc";
        ptr[i][0] = ptr[i][bytes[i] - 1] = (unsigned char)i;
    }
    for (int i = 0; i < 64; i++) {
        if (weir_heap_free(heap, ptr[i]) < 0) return "free";
    }
    return NULL;
}

Test(heap, threads_share_it_and_leave_nothing)
{
    pthread_t thread[4];
    for (uintptr_t i = 0; i < 4; i++) cr_assert_eq(pthread_create(&thread[i], NULL, work, (void *)i), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        cr_assert_null(failed, "%s", (char *)failed);
    }
    cr_assert_eq(stats_of().bytes_used, 0);
    cr_assert_eq(stats_of().threads, 0, "caches end with their threads");
    ok(weir_heap_trim(heap));
    cr_assert_eq(stats_of().bytes_pinned, 0);
}

Test(heap, heaps_come_and_go_under_a_thread)
{
    for (int i = 0; i < 40; i++) {
        struct weir_heap *others[3];
        for (int h = 0; h < 3; h++) ok(weir_heap_create(rt, NULL, &others[h]));
        for (int h = 0; h < 3; h++) {
            void *ptr = weir_heap_malloc(others[h], 100);
            cr_assert_not_null(ptr);
            answers(weir_heap_free(heap, ptr), FOREIGN);
            ok(weir_heap_free(others[h], ptr));
        }
        for (int h = 0; h < 3; h++) weir_heap_destroy(others[(h + i) % 3]);
    }
    weir_heap_detach(heap);
    ok(weir_heap_free(heap, take(10)));
    cr_assert_eq(stats_of().threads, 1);
}

Test(heap, what_is_allocated_goes_with_the_heap)
{
    for (int i = 0; i < 100; i++) (void)take(50 * KIB);
    cr_assert_gt(pinned(), 0); /* close_heap() sees that nothing stays charged */
}

Test(heap, a_forked_child_is_told)
{
    void *ptr = take(100);
    pid_t child = fork();
    if (child == 0) {
        struct weir_error error = {.struct_size = sizeof error};
        bool told = weir_heap_malloc(heap, 100) == NULL && weir_last_error(&error) == 0 && error.code == WEIR_EFORKED &&
                    weir_heap_free(heap, ptr) == WEIR_EFORKED && weir_heap_trim(heap) == WEIR_EFORKED;
        weir_heap_destroy(heap);
        _exit(told ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ok(weir_heap_free(heap, ptr));
}
