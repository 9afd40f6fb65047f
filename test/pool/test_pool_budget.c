/* SPDX-License-Identifier: Apache-2.0 */
/* Budgets and sizes: what exceeds is refused by name, nothing is rounded up for nothing, a cancelled pool leaves nothing. */
#include "pool/fixture.h"

#include "device/host.h"
#include "pool/context.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB ((size_t)1 << 20)

static struct weir_runtime *rt;
static struct weir_pool    *pool;

static struct weir_runtime_stats stats_of(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    ok(weir_runtime_stats_read(rt, &stats));
    return stats;
}

static uint64_t bytes_of(uint32_t memory)
{
    struct weir_runtime_stats stats = stats_of();
    return memory == WEIR_MEMORY_DEVICE ? stats.device_bytes
           : memory == WEIR_MEMORY_PAGEABLE ? stats.pageable_bytes : stats.pinned_bytes;
}

static void open_runtime(void)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .pinned_bytes_max = 8 * MIB, .device_bytes_max = 9 * MIB,
                                     .pageable_bytes_max = 10 * MIB), &rt));
}

static void assert_exceeds(const char *limit, const char *setting, uint64_t value)
{
    struct weir_error error = {.struct_size = sizeof error};
    char              text[512];
    ok(weir_last_error(&error));
    cr_assert_eq(error.code, WEIR_EEXCEEDS);
    cr_assert_str_eq(error.limit, limit);
    cr_assert_str_eq(error.setting, setting);
    cr_assert_eq(error.limit_value, value);
    cr_assert_gt(error.wanted, 0);
    cr_assert_gt(weir_error_text(text, sizeof text), 0);
    cr_assert_not_null(strstr(text, limit), "%s", text);
    cr_assert_not_null(strstr(text, setting), "%s", text);
}

Test(budget, each_kind_is_hard_and_named)
{
    static const struct {
        uint32_t    memory;
        uint64_t    bytes;
        const char *limit, *setting;
    } kinds[] = {{WEIR_MEMORY_PINNED, 8 * MIB, "pinned_bytes_max", "WEIR_PINNED_BYTES_MAX"},
                 {WEIR_MEMORY_DEVICE, 9 * MIB, "device_bytes_max", "WEIR_DEVICE_BYTES_MAX"},
                 {WEIR_MEMORY_PAGEABLE, 10 * MIB, "pageable_bytes_max", "WEIR_PAGEABLE_BYTES_MAX"}};
    open_runtime();
    for (int i = 0; i < 3; i++) {
        struct weir_pool *small;
        uint64_t          max = kinds[i].bytes;
        answers(weir_pool_create(rt, WEIR_OPTS(pool, .memory = kinds[i].memory, .buffer_bytes = MIB, .buffers_min = max / MIB + 1), &pool), EXCEEDS);
        assert_exceeds(kinds[i].limit, kinds[i].setting, max);
        cr_assert_eq(bytes_of(kinds[i].memory), 0, "a refused pool is charged");
        ok(weir_pool_create(rt, WEIR_OPTS(pool, .memory = kinds[i].memory, .buffer_bytes = MIB, .buffers_min = max / MIB), &pool));
        cr_assert_eq(bytes_of(kinds[i].memory), max, "exactly up to the limit");
        answers(weir_pool_create(rt, WEIR_OPTS(pool, .memory = kinds[i].memory, .buffer_bytes = 1, .buffers_min = 1), &small), EXCEEDS);
        assert_exceeds(kinds[i].limit, kinds[i].setting, max);
        weir_pool_destroy(pool);
        cr_assert_eq(bytes_of(kinds[i].memory), 0);
    }
    weir_runtime_destroy(rt);
}

Test(budget, growth_and_reserve_obey_it_too)
{
    open_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 2, .buffers_max = 64), &pool));
    ok(weir_pool_reserve(pool, 8));
    answers(weir_pool_reserve(pool, 9), EXCEEDS);
    assert_exceeds("pinned_bytes_max", "WEIR_PINNED_BYTES_MAX", 8 * MIB);
    cr_assert_eq(pool_stats(pool).total, 8);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(budget, pageable_is_never_taken_in_silence)
{
    open_runtime();
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 9 * MIB, .buffers_min = 1, .flags = WEIR_POOL_PAGEABLE_OK), &pool), EXCEEDS);
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 1, .flags = WEIR_POOL_PAGEABLE_OK), &pool));
    cr_assert_eq(pool_stats(pool).memory, WEIR_MEMORY_PINNED, "pinning did not fail");
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* Where nothing can be pinned: an error for who did not accept pageable memory, and for who did it is told. */
Test(budget, where_pinning_fails_pageable_is_for_who_accepts_it)
{
    open_runtime();
    struct wi_device *device = wi_context_of(rt)->device;
    if (device->ops != &wi_device_host) cr_skip_test("faults are the host backend's");
    for (unsigned accepted = 0; accepted < 2; accepted++) {
        struct wi_emu_fault fault = {.op = WI_EMU_HOST_REGISTER, .nth = 1, .code = WEIR_ENOSYS};
        cr_assert_eq(wi_emu_fault_set(wi_host_emu(device), &fault), 0);
        fault.op = WI_EMU_HOST_ALLOC;
        cr_assert_eq(wi_emu_fault_set(wi_host_emu(device), &fault), 0);
        int err = weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 1,
                                                 .flags = accepted ? WEIR_POOL_PAGEABLE_OK : 0), &pool);
        cr_assert_eq(err, accepted ? 0 : WEIR_ENOSYS, "%s", weir_errname(err));
    }
    cr_assert_eq(pool_stats(pool).memory, WEIR_MEMORY_PAGEABLE);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* The next slab is not pinned, in neither way. */
static void refuse_to_pin(void)
{
    struct wi_emu      *emu = wi_host_emu(wi_context_of(rt)->device);
    struct wi_emu_fault fault = {.op = WI_EMU_HOST_REGISTER, .nth = 1, .code = WEIR_ENOSYS};
    cr_assert_eq(wi_emu_fault_set(emu, &fault), 0);
    fault.op = WI_EMU_HOST_ALLOC;
    cr_assert_eq(wi_emu_fault_set(emu, &fault), 0);
}

Test(budget, what_falls_back_is_charged_as_what_it_is)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .pinned_bytes_max = 4 * MIB, .pageable_bytes_max = 2 * MIB), &rt));
    if (wi_context_of(rt)->device->ops != &wi_device_host) cr_skip_test("faults are the host backend's");
    refuse_to_pin();
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 4, .flags = WEIR_POOL_PAGEABLE_OK), &pool), EXCEEDS);
    assert_exceeds("pageable_bytes_max", "WEIR_PAGEABLE_BYTES_MAX", 2 * MIB);
    cr_assert_eq(bytes_of(WEIR_MEMORY_PINNED), 0);
    cr_assert_eq(bytes_of(WEIR_MEMORY_PAGEABLE), 0);
    refuse_to_pin();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 2, .flags = WEIR_POOL_PAGEABLE_OK), &pool));
    cr_assert_eq(bytes_of(WEIR_MEMORY_PINNED), 0);
    cr_assert_eq(bytes_of(WEIR_MEMORY_PAGEABLE), 2 * MIB);
    struct weir_pool *pinned;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 4), &pinned));
    weir_pool_destroy(pinned);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* A pool may have memory of two budgets. Each takes back only what was charged to it, and counts only that. */
Test(budget, a_trim_of_one_kind_leaves_the_other_alone)
{
    struct weir_buffer *buffer[4];
    open_runtime();
    struct wi_device *device = wi_context_of(rt)->device;
    if (device->ops != &wi_device_host) cr_skip_test("faults are the host backend's");
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 2, .buffers_max = 4,
                                      .flags = WEIR_POOL_PAGEABLE_OK), &pool));
    refuse_to_pin();
    ok(weir_pool_reserve(pool, 4));
    cr_assert_eq(bytes_of(WEIR_MEMORY_PINNED), 2 * MIB);
    cr_assert_eq(bytes_of(WEIR_MEMORY_PAGEABLE), 2 * MIB);
    answers(weir_runtime_trim(rt, WEIR_MEMORY_PINNED, 0, WEIR_FOREVER), BUSY);
    cr_assert_eq(pool_stats(pool).total, 4, "the other budget's memory went");
    ok(weir_buffers_acquire(pool, 4, WEIR_NOW, buffer));
    answers(weir_pool_trim(pool, 2, WEIR_NOW), TIMEDOUT); /* that is on its way out now ... */
    answers(weir_runtime_trim(rt, WEIR_MEMORY_PINNED, 0, WEIR_FOREVER), BUSY); /* ... which helps this budget nothing */
    ok(weir_buffers_release(buffer, 4));
    ok(weir_runtime_trim(rt, WEIR_MEMORY_PAGEABLE, 0, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).total, 2);
    cr_assert_eq(bytes_of(WEIR_MEMORY_PINNED), 2 * MIB);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* To 512 bytes, and the whole to pages; never to a power of two. */
Test(size, is_exact)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    open_runtime();
    static const size_t bytes[] = {1, 511, 512, 513, 4097, 100000, 1234567};
    for (unsigned i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        struct weir_buffer *buffer[3];
        size_t              stride = (bytes[i] + 511) / 512 * 512;
        size_t              whole = (3 * stride + page - 1) / page * page;
        ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = bytes[i], .buffers_min = 3), &pool));
        cr_assert_eq(bytes_of(WEIR_MEMORY_PINNED), whole, "%zu bytes were charged %lu", bytes[i],
                     (unsigned long)bytes_of(WEIR_MEMORY_PINNED));
        ok(weir_buffers_acquire(pool, 3, WEIR_NOW, buffer));
        for (int j = 0; j < 3; j++) {
            cr_assert_eq(buffer[j]->bytes, bytes[i]);
            memset(buffer[j]->host, j, bytes[i]);
        }
        for (int j = 0; j < 3; j++) {
            cr_assert_eq(((char *)buffer[j]->host)[0], j);
            cr_assert_eq(((char *)buffer[j]->host)[bytes[i] - 1], j);
        }
        ok(weir_buffers_release(buffer, 3));
        weir_pool_destroy(pool);
    }
    weir_runtime_destroy(rt);
}

/* ---- progress ---- */

struct watcher {
    unsigned calls;
    unsigned cancel_at; /* 0: never */
    size_t   last, total;
};

static int on_progress(void *ctx, size_t ready, size_t total)
{
    struct watcher *watcher = ctx;
    watcher->calls++;
    cr_assert(ready <= total && (watcher->calls == 1 || ready >= watcher->last));
    watcher->last = ready;
    watcher->total = total;
    return watcher->calls == watcher->cancel_at;
}

Test(progress, is_told_while_a_pool_is_made_and_reserved)
{
    struct watcher watcher = {0};
    open_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 2, .buffers_max = 8,
                                      .progress = on_progress, .progress_ctx = &watcher), &pool));
    cr_assert_geq(watcher.calls, 1);
    cr_assert_eq(watcher.last, 2 * MIB);
    cr_assert_eq(watcher.total, 2 * MIB);
    watcher = (struct watcher){0};
    ok(weir_pool_reserve(pool, 5));
    cr_assert_eq(watcher.last, 3 * MIB);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static size_t mapped_bytes(void)
{
    size_t pages = 0;
    FILE  *file = fopen("/proc/self/statm", "r");
    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%zu", &pages), 1);
    (void)fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

Test(progress, a_cancel_unmaps_its_memory)
{
    size_t before = 0;
    rt = make_runtime();
    for (unsigned i = 0; i < 20; i++) {
        struct watcher watcher = {.cancel_at = 1};
        answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 64 * MIB, .buffers_min = 1, .progress = on_progress,
                                               .progress_ctx = &watcher), &pool), CANCELED);
        if (i == 0) before = mapped_bytes(); /* what threads need is mapped now */
    }
    cr_assert_lt(mapped_bytes(), before + 10 * 64 * MIB);
    weir_runtime_destroy(rt);
}

Test(progress, a_cancel_leaves_nothing_behind)
{
    open_runtime();
    for (unsigned at = 1;; at++) {
        struct watcher watcher = {.cancel_at = at};
        int err = weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 4, .progress = on_progress,
                                                 .progress_ctx = &watcher), &pool);
        if (err == 0) {
            cr_assert_gt(at, 1, "no step could be cancelled");
            weir_pool_destroy(pool);
            break;
        }
        cr_assert_eq(err, WEIR_ECANCELED);
        cr_assert_eq(watcher.calls, at, "called after it cancelled");
        cr_assert_eq(stats_of().pinned_bytes, 0);
        cr_assert_eq(stats_of().pools, 0);
    }
    struct watcher watcher = {0};
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = 2, .buffers_max = 6, .progress = on_progress,
                                      .progress_ctx = &watcher), &pool));
    watcher = (struct watcher){.cancel_at = 1};
    answers(weir_pool_reserve(pool, 6), CANCELED);
    cr_assert_eq(pool_stats(pool).total, 2);
    cr_assert_eq(stats_of().pinned_bytes, 2 * MIB);
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_buffer_release(buffer));
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* What the keeper has not seen yet is freed with the pool. */
Test(size, a_pool_destroyed_right_after_reserve_frees_all)
{
    open_runtime();
    for (int i = 0; i < 200; i++) {
        ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .buffers_max = 64), &pool));
        ok(weir_pool_reserve(pool, 64));
        weir_pool_destroy(pool);
    }
    eventually(stats_of().pinned_bytes == 0);
    weir_runtime_destroy(rt);
}
