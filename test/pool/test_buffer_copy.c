/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in and out of a buffer: from the host, to and from its mirror, in parts, and how long the device took. */
#include "pool/fixture.h"

#include "base/alloc.h"
#include "device/host.h"
#include "pool/context.h"

#include <string.h>

#define KIB ((size_t)1024)
#define MS  UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream;

static void open_pool(size_t bytes, const struct weir_pool_opts *opts)
{
    struct weir_pool_opts filled = *opts;
    filled.buffer_bytes = bytes;
    rt = make_runtime();
    ok(weir_pool_create(rt, &filled, &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
}

static void close_pool(void)
{
    assert_law(pool);
    ok(weir_stream_release(stream));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static struct weir_buffer *take(void)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    return buffer;
}

static struct weir_buffer_info info_of(const struct weir_buffer *buffer)
{
    struct weir_buffer_info info = {.struct_size = sizeof info};
    ok(weir_buffer_info_read(buffer, &info));
    return info;
}

static void fill(unsigned char *bytes, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = (unsigned char)(seed >> 16);
    }
}

Test(copy, bytes_go_to_the_mirror_and_come_back)
{
    static unsigned char bytes[64 * KIB], back[64 * KIB];
    open_pool(sizeof bytes, WEIR_OPTS(pool, .buffers_min = 2));
    struct weir_buffer *buffer = take();
    fill(bytes, sizeof bytes, 1);
    ok(weir_buffer_write(buffer, 0, bytes, sizeof bytes, WEIR_NOW));
    ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_FOREVER));
    cr_assert_eq(weir_stream_query(stream), 0, "with a deadline the copy is waited for");
    memset(buffer->host, 0, buffer->bytes);
    ok(weir_buffer_to_host(weir_slice_all(buffer), stream, WEIR_NOW));
    ok(weir_buffer_read(buffer, 0, back, sizeof back, WEIR_FOREVER));
    cr_assert_arr_eq(back, bytes, sizeof bytes);
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(copy, parts_go_to_their_own_place)
{
    unsigned char part[100], back[100];
    open_pool(64 * KIB, WEIR_OPTS(pool, .buffers_min = 1));
    struct weir_buffer *buffer = take();
    ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_FOREVER));
    for (unsigned i = 0; i < 50; i++) {
        size_t offset = i * 1301, bytes = 1 + i * 2;
        fill(part, bytes, i);
        ok(weir_buffer_write(buffer, offset, part, bytes, WEIR_FOREVER));
        ok(weir_buffer_to_device(weir_slice(buffer, offset, bytes), stream, WEIR_FOREVER));
        memset(buffer->host, 0, buffer->bytes);
        ok(weir_buffer_to_host(weir_slice(buffer, offset, bytes), stream, WEIR_FOREVER));
        ok(weir_buffer_read(buffer, offset, back, bytes, WEIR_NOW));
        cr_assert_arr_eq(back, part, bytes);
        const unsigned char *host = buffer->host;
        if (offset > 0) cr_assert_eq(host[offset - 1], 0);
        cr_assert_eq(host[offset + bytes], 0);
    }
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(copy, out_of_range_is_an_error_and_copies_nothing)
{
    char byte = 1;
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1));
    struct weir_buffer *buffer = take();
    answers(weir_buffer_write(buffer, 4096, &byte, 1, WEIR_NOW), RANGE);
    answers(weir_buffer_write(buffer, SIZE_MAX, &byte, 1, WEIR_NOW), RANGE);
    answers(weir_buffer_write(buffer, 1, &byte, SIZE_MAX, WEIR_NOW), RANGE);
    answers(weir_buffer_read(buffer, 4090, &byte, 7, WEIR_NOW), RANGE);
    answers(weir_buffer_write(buffer, 0, NULL, 1, WEIR_NOW), INVAL);
    answers(weir_buffer_to_device(weir_slice(buffer, 1, 4096), stream, WEIR_NOW), RANGE);
    answers(weir_buffer_to_host(weir_slice(buffer, 4097, 0), stream, WEIR_NOW), RANGE);
    ok(weir_buffer_write(buffer, 4096, &byte, 0, WEIR_NOW));
    cr_assert_eq(info_of(buffer).transfers, 0);
    ok(weir_buffer_release(buffer));
    answers(weir_buffer_write(buffer, 0, &byte, 1, WEIR_NOW), NOTLEASED);
    answers(weir_buffer_to_device(weir_slice(buffer, 0, 1), stream, WEIR_NOW), NOTLEASED);
    answers(weir_buffer_reset(buffer, WEIR_NOW), NOTLEASED);
    close_pool();
}

Test(copy, a_write_waits_for_the_device_or_says_busy)
{
    char byte = 1;
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1));
    struct weir_buffer *buffer = take();
    memset(buffer->host, 7, buffer->bytes);
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW));
    answers(weir_buffer_write(buffer, 0, &byte, 1, WEIR_NOW), BUSY);
    answers(weir_buffer_write(buffer, 0, &byte, 1, weir_deadline_after_ns(MS)), TIMEDOUT);
    answers(weir_buffer_reset(buffer, WEIR_NOW), BUSY);
    cr_assert_eq(((char *)buffer->host)[0], 7, "a refused write wrote");
    ok(weir_buffer_write(buffer, 0, &byte, 1, WEIR_FOREVER));
    cr_assert_eq(weir_stream_query(stream), 0, "written while the device was reading");
    ok(weir_buffer_to_host(weir_slice_all(buffer), stream, WEIR_FOREVER));
    cr_assert_eq(((char *)buffer->host)[0], 7, "the device had read the old byte");
    /* When the device is done nobody needs to wait for weir to have noticed. */
    ok(weir_stream_delay(stream, 5 * MS));
    ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW));
    eventually(weir_stream_query(stream) == 0);
    ok(weir_buffer_write(buffer, 0, &byte, 1, WEIR_NOW));
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(copy, a_deadline_that_passes_leaves_the_copy_queued)
{
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1));
    struct weir_buffer *buffer = take();
    memset(buffer->host, 3, buffer->bytes);
    ok(weir_stream_delay(stream, 250 * MS));
    answers(weir_buffer_to_device(weir_slice_all(buffer), stream, weir_deadline_after_ns(MS)), TIMEDOUT);
    ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    memset(buffer->host, 0, buffer->bytes);
    ok(weir_buffer_to_host(weir_slice_all(buffer), stream, WEIR_FOREVER));
    cr_assert_eq(((char *)buffer->host)[4095], 3);
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(copy, the_mirror_is_made_once_reused_and_freed_with_the_pool)
{
    struct weir_runtime_stats before = {.struct_size = sizeof before}, after = before;
    uint64_t                  mirror, again;
    open_pool(64 * KIB, WEIR_OPTS(pool, .buffers_min = 1));
    struct weir_buffer *buffer = take();
    ok(weir_runtime_stats_read(rt, &before));
    answers(weir_buffer_to_host(weir_slice_all(buffer), stream, WEIR_NOW), NOENT);
    cr_assert_eq(info_of(buffer).mirror, 0);
    ok(weir_buffer_mirror(buffer, &mirror));
    for (int i = 0; i < 10; i++) {
        ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW));
        ok(weir_buffer_release(buffer));
        buffer = take();
        ok(weir_buffer_mirror(buffer, &again));
        cr_assert_eq(again, mirror);
    }
    cr_assert_eq(info_of(buffer).mirror, mirror);
    ok(weir_runtime_stats_read(rt, &after));
    cr_assert_eq(after.device_bytes, before.device_bytes + 64 * KIB);
    ok(weir_buffer_release(buffer));
    weir_pool_destroy(pool);
    eventually((weir_runtime_stats_read(rt, &after), after.device_bytes == before.device_bytes));
    ok(weir_stream_release(stream));
    weir_runtime_destroy(rt);
}

Test(copy, the_mirror_obeys_the_budget_of_device_memory)
{
    struct weir_error error = {.struct_size = sizeof error};
    uint64_t          mirror;
    ok(weir_runtime_create(WEIR_OPTS(runtime, .device_bytes_max = 100 * KIB), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 64 * KIB, .buffers_min = 2), &pool));
    struct weir_buffer *one = take(), *two = take();
    ok(weir_buffer_mirror(one, &mirror));
    answers(weir_buffer_mirror(two, &mirror), EXCEEDS);
    ok(weir_last_error(&error));
    cr_assert_str_eq(error.limit, "device_bytes_max");
    cr_assert_str_eq(error.setting, "WEIR_DEVICE_BYTES_MAX");
    cr_assert_eq(info_of(two).mirror, 0);
    ok(weir_buffer_release(one));
    ok(weir_buffer_release(two));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(copy, a_mirror_that_cannot_be_made_leaves_nothing)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    uint64_t                  mirror;
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1, .flags = WEIR_POOL_SCRUB));
    struct wi_device *device = wi_context_of(rt)->device;
    if (device->ops != &wi_device_host) cr_skip_test("faults are the host backend's");
    struct weir_buffer *buffer = take();
    struct wi_emu_fault fault = {.op = WI_EMU_DEVICE_ALLOC, .nth = 1, .code = WEIR_EDEVMEM};
    cr_assert_eq(wi_emu_fault_set(wi_host_emu(device), &fault), 0);
    answers(weir_buffer_mirror(buffer, &mirror), DEVMEM);
    ok(weir_runtime_stats_read(rt, &stats));
    cr_assert_eq(stats.device_bytes, 0);
    cr_assert_eq(info_of(buffer).mirror, 0);
    /* To zero it for this lease fails at each step once; then it is zeroed. */
    static const uint32_t steps[] = {WI_EMU_STREAM_CREATE, WI_EMU_EVENT_CREATE, WI_EMU_FILL, WI_EMU_EVENT_RECORD, WI_EMU_EVENT_SYNC};
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        fault = (struct wi_emu_fault){.op = steps[i], .nth = 1, .code = WEIR_ENOMEM};
        cr_assert_eq(wi_emu_fault_set(wi_host_emu(device), &fault), 0);
        answers(weir_buffer_mirror(buffer, &mirror), NOMEM);
    }
    ok(weir_buffer_mirror(buffer, &mirror));
    for (uint64_t n = 1;; n++) { /* the first copy of another buffer, with each allocation failing once */
        struct weir_buffer *fresh;
        ok(weir_buffer_create(rt, 4096, 0, &fresh));
        (void)wi_alloc_fail_at(n);
        int err = weir_buffer_to_device(weir_slice_all(fresh), stream, WEIR_NOW);
        bool failed = wi_alloc_fail_at(0) == 0;
        cr_assert_eq(err, failed ? WEIR_ENOMEM : 0);
        weir_buffer_destroy(fresh);
        if (!failed) break;
    }
    ok(weir_buffer_release(buffer));
    close_pool();
}

/* Whether the fill has ended nobody knows, so that memory is neither used again nor freed. */
Test(copy, a_mirror_whose_fill_is_adrift_is_given_up)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    uint64_t                  mirror;
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1, .flags = WEIR_POOL_SCRUB));
    struct wi_device *device = wi_context_of(rt)->device;
    if (device->ops != &wi_device_host) cr_skip_test("faults are the host backend's");
    struct weir_buffer *buffer = take();
    static const uint32_t steps[] = {WI_EMU_EVENT_RECORD, WI_EMU_STREAM_QUERY};
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct wi_emu_fault fault = {.op = steps[i], .nth = 1, .code = WEIR_ENOMEM};
        cr_assert_eq(wi_emu_fault_set(wi_host_emu(device), &fault), 0);
    }
    answers(weir_buffer_mirror(buffer, &mirror), NOMEM);
    cr_assert_eq(info_of(buffer).mirror, 0);
    ok(weir_buffer_mirror(buffer, &mirror));
    cr_assert_eq(info_of(buffer).mirror, mirror);
    ok(weir_runtime_stats_read(rt, &stats));
    cr_assert_eq(stats.device_bytes, 2 * 4096, "what was given up stays in the budget");
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(copy, a_mirror_goes_when_its_buffer_is_shrunk_away)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    struct weir_buffer       *buffer[8];
    uint64_t                  mirror;
    open_pool(64 * KIB, WEIR_OPTS(pool, .buffers_min = 2, .buffers_max = 8));
    ok(weir_pool_reserve(pool, 8));
    for (int i = 0; i < 8; i++) {
        buffer[i] = take();
        ok(weir_buffer_mirror(buffer[i], &mirror));
    }
    ok(weir_runtime_stats_read(rt, &stats));
    cr_assert_eq(stats.device_bytes, 8 * 64 * KIB);
    ok(weir_buffers_release(buffer, 8));
    ok(weir_pool_trim(pool, 2, WEIR_FOREVER));
    ok(weir_runtime_stats_read(rt, &stats));
    cr_assert_eq(stats.device_bytes, 2 * 64 * KIB);
    close_pool();
}

Test(copy, a_buffer_of_device_memory_has_no_host_side)
{
    char     byte = 0;
    uint64_t mirror;
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1, .memory = WEIR_MEMORY_DEVICE));
    struct weir_buffer *buffer = take();
    cr_assert_null(buffer->host);
    cr_assert_neq(buffer->device, 0);
    answers(weir_buffer_write(buffer, 0, &byte, 1, WEIR_NOW), KIND);
    answers(weir_buffer_mirror(buffer, &mirror), KIND);
    answers(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW), KIND);
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(copy, reset_zeroes_the_bytes_and_the_counters)
{
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1));
    for (int i = 0; i < 3; i++) ok(weir_buffer_release(take()));
    struct weir_buffer *buffer = take();
    memset(buffer->host, 9, buffer->bytes);
    ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_FOREVER));
    struct weir_buffer_info info = info_of(buffer);
    cr_assert_eq(info.acquires, 4);
    cr_assert_eq(info.bytes_up, 4096);
    cr_assert_eq(info.peak_bytes, 4096);
    ok(weir_buffer_reset(buffer, WEIR_FOREVER));
    for (size_t i = 0; i < buffer->bytes; i++) cr_assert_eq(((char *)buffer->host)[i], 0);
    info = info_of(buffer);
    cr_assert_eq(info.acquires + info.bytes_up + info.bytes_down + info.transfers + info.peak_bytes + info.timed, 0);
    cr_assert_neq(info.mirror, 0);
    ok(weir_buffer_release(buffer));
    buffer = take();
    cr_assert_eq(info_of(buffer).acquires, 1);
    ok(weir_buffer_release(buffer));
    cr_assert_eq(pool_stats(pool).acquires, 5, "the pool's own count goes on");
    close_pool();
}

Test(copy, counts_of_a_buffer)
{
    open_pool(8192, WEIR_OPTS(pool, .buffers_min = 1));
    struct weir_buffer *buffer = take();
    uint64_t            before_ns = weir_clock_ns();
    ok(weir_buffer_to_device(weir_slice(buffer, 0, 1000), stream, WEIR_FOREVER));
    ok(weir_buffer_to_device(weir_slice(buffer, 4000, 100), stream, WEIR_FOREVER));
    ok(weir_buffer_to_host(weir_slice(buffer, 10, 20), stream, WEIR_FOREVER));
    struct weir_buffer_info info = info_of(buffer);
    cr_assert_eq(info.acquires, 1);
    cr_assert_eq(info.transfers, 3);
    cr_assert_eq(info.bytes_up, 1100);
    cr_assert_eq(info.bytes_down, 20);
    cr_assert_eq(info.peak_bytes, 4100);
    cr_assert(info.last_use_ns >= before_ns && info.last_use_ns <= weir_clock_ns());
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.uploads, 2);
    cr_assert_eq(stats.downloads, 1);
    cr_assert_eq(stats.bytes_up, 1100);
    cr_assert_eq(stats.bytes_down, 20);
    ok(weir_buffer_release(buffer));
    buffer = take();
    cr_assert_eq(info_of(buffer).acquires, 2);
    ok(weir_buffer_release(buffer));
    close_pool();
}

/*
 * 16 MiB at 1 GB/s take 15.6 ms; to queue the copy takes far less, and to wait for its stream, which is busy, far more.
 * A machine that is busy itself may be late with the copy, but not every time.
 */
static bool is_device_time(struct weir_buffer *buffer)
{
    uint64_t begin_ns = weir_clock_ns();
    ok(weir_buffer_reset(buffer, WEIR_FOREVER));
    ok(weir_stream_delay(stream, 200 * MS));
    ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW));
    bool in_time = weir_clock_ns() - begin_ns < 150 * MS;
    if (in_time) cr_assert_eq(info_of(buffer).timed, 0, "a time before the end");
    ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    struct weir_buffer_info info = info_of(buffer);
    cr_assert_eq(info.timed, 1);
    cr_assert_eq(info.timed_bytes, buffer->bytes);
    cr_assert_eq(info.transfer_ns, info.timed_ns);
    cr_assert_geq(info.transfer_ns, 15 * MS, "less than the device took");
    cr_assert_eq(info.transfer_bytes_per_s, info.timed_bytes * 1000000000 / info.timed_ns);
    cr_assert_leq(info.transfer_bytes_per_s, UINT64_C(1100000000));
    return in_time && info.transfer_ns < 150 * MS;
}

Test(copy, transfer_time_is_the_devices_own)
{
    struct weir_runtime_info runtime = {.struct_size = sizeof runtime};
    uint64_t                 mirror;
    bool                     seen = false;
    setenv("WEIR_HOST_MODEL", "up=1G,down=1G", 1);
    open_pool((size_t)16 << 20, WEIR_OPTS(pool, .buffers_min = 1, .sample_every = 1));
    ok(weir_runtime_info_read(rt, &runtime));
    if (strcmp(runtime.backend, "host") != 0) cr_skip_test("the cost model is the host backend's");
    struct weir_buffer *buffer = take();
    ok(weir_buffer_mirror(buffer, &mirror));
    for (int i = 0; i < 10 && !seen; i++) seen = is_device_time(buffer);
    cr_assert(seen, "the wait for the stream was taken for transfer time");
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.timed, stats.uploads);
    cr_assert_eq(stats.transfer_ns, stats.timed_ns / stats.timed);
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(copy, one_in_so_many_is_timed)
{
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1, .sample_every = 10));
    struct weir_buffer *buffer = take();
    for (int i = 0; i < 50; i++) ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_FOREVER));
    cr_assert_eq(info_of(buffer).timed, 5);
    ok(weir_buffer_release(buffer));
    close_pool();
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1, .sample_every = UINT64_MAX));
    buffer = take();
    ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_FOREVER));
    cr_assert_leq(info_of(buffer).timed, 1, "the first, and no more");
    ok(weir_buffer_release(buffer));
    close_pool();
}

/* More copies than samples can be under way: the others wait their turn and none is lost. */
Test(copy, samples_are_bounded)
{
    struct weir_buffer *buffer[16];
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 16));
    for (int i = 0; i < 16; i++) buffer[i] = take();
    ok(weir_stream_delay(stream, 10 * MS));
    for (int i = 0; i < 16; i++) ok(weir_buffer_to_device(weir_slice_all(buffer[i]), stream, WEIR_NOW));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    uint64_t timed = pool_stats(pool).timed;
    cr_assert(timed >= 1 && timed <= 4, "%lu", (unsigned long)timed);
    for (int i = 0; i < 16; i++) ok(weir_buffer_to_device(weir_slice_all(buffer[i]), stream, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).timed, 16);
    ok(weir_buffers_release(buffer, 16));
    close_pool();
}

/* A batch is timed as a whole, on behalf of each of its copies. */
Test(copy, batches_are_timed_together)
{
    struct weir_buffer *buffer[3];
    struct weir_copy    copies[3];
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 3));
    for (int i = 0; i < 3; i++) {
        buffer[i] = take();
        copies[i].slice = weir_slice(buffer[i], 0, 1000);
        ok(weir_buffer_mirror(buffer[i], &copies[i].device));
    }
    ok(weir_stream_upload_batch(stream, copies, 3));
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.uploads, 3);
    cr_assert_eq(stats.timed, 3);
    cr_assert_eq(stats.timed_bytes, 3000);
    cr_assert_eq(stats.transfer_ns, stats.timed_ns / 3);
    ok(weir_buffers_release(buffer, 3));
    close_pool();
}

/* Host, UVA, mirror: three addresses, of two memories. The device itself reads through the UVA address here. */
Test(copy, three_views_of_a_buffer)
{
    open_pool(4096, WEIR_OPTS(pool, .buffers_min = 1));
    struct weir_buffer *buffer = take();
    struct wi_device   *device = wi_context_of(rt)->device;
    uint64_t            mirror;
    void               *raw;
    fill(buffer->host, 4096, 5);
    ok(weir_buffer_mirror(buffer, &mirror));
    cr_assert_neq(mirror, buffer->device);
    struct wi_copy copy = {.dst = mirror, .src = buffer->device, .bytes = 4096, .kind = WI_COPY_DEVICE};
    ok(device->ops->stream_create(device, 0, &raw));
    ok(device->ops->copy(device, &copy, raw));
    eventually(device->ops->stream_query(device, raw) == 0);
    ok(device->ops->stream_destroy(device, raw));
    unsigned char expected[4096];
    memcpy(expected, buffer->host, sizeof expected);
    memset(buffer->host, 0, 4096);
    ok(weir_buffer_to_host(weir_slice_all(buffer), stream, WEIR_FOREVER));
    cr_assert_arr_eq(buffer->host, expected, 4096);
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(copy, a_scrubbed_pool_shows_nobody_the_mirror_of_another)
{
    unsigned char seen[4096];
    open_pool(sizeof seen, WEIR_OPTS(pool, .buffers_min = 1, .flags = WEIR_POOL_SCRUB));
    uint64_t            mirror;
    struct weir_buffer *buffer = take();
    memset(buffer->host, 0x5a, buffer->bytes);
    ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW));
    ok(weir_buffer_to_device(weir_slice(buffer, 0, 1), stream, WEIR_NOW)); /* the same lease: nothing is zeroed */
    ok(weir_buffer_to_host(weir_slice_all(buffer), stream, WEIR_FOREVER));
    cr_assert_eq(((unsigned char *)buffer->host)[4095], 0x5a);
    ok(weir_buffer_release(buffer));
    buffer = take();
    for (size_t i = 0; i < sizeof seen; i++) cr_assert_eq(((unsigned char *)buffer->host)[i], 0);
    ok(weir_buffer_mirror(buffer, &mirror));
    memset(buffer->host, 1, buffer->bytes);
    ok(weir_buffer_to_host(weir_slice_all(buffer), stream, WEIR_FOREVER));
    ok(weir_buffer_read(buffer, 0, seen, sizeof seen, WEIR_NOW));
    for (size_t i = 0; i < sizeof seen; i++) cr_assert_eq(seen[i], 0);
    ok(weir_buffer_release(buffer));
    close_pool();
}
