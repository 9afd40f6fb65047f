/* SPDX-License-Identifier: Apache-2.0 */
#include "slab_fixture.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct slab_fixture fixture;

static void set_up(void)
{
    slab_fixture_init(&fixture, 4096 * MIB);
}

TestSuite(slab, .init = set_up, .timeout = 240);

static struct wi_slab *make(const struct wi_slab_opts *opts)
{
    struct wi_slab *slab = NULL;
    int             err = wi_slab_create(opts, &slab);
    char            text[256] = "";
    if (err < 0) weir_error_text(text, sizeof text);
    cr_assert_eq(err, 0, "%s", text);
    return slab;
}

static void check_gone(const struct slab_fixture *f)
{
    cr_assert_eq(f->fake.wrong, 0);
    cr_assert_eq(f->fake.registered, 0);
    cr_assert_eq(f->fake.driver_allocations, 0);
    cr_assert_eq(f->fake.device_allocations, 0);
    cr_assert_eq(slab_fixture_charged(f), 0);
}

/* Block sizes that are awkward in one way each; chunks small enough that there are several. */
static const size_t block_sizes[] = {1,    511,   512,   513,    4095,  4096,
                                     4097, 10000, 65536, 100000, 300001};

Test(slab, blocks_are_aligned_distinct_and_inside_one_registration)
{
    for (size_t at = 0; at < WI_ARRAY_COUNT(block_sizes); at++) {
        size_t          block_bytes = block_sizes[at];
        struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = block_bytes, .blocks = 100,
                                              .chunk_bytes_max = 65536));
        const char     *end_before = slab->base;
        for (size_t index = 0; index < slab->blocks; index++) {
            struct wi_block block = wi_slab_block(slab, index);
            char           *host = block.host;
            cr_assert_eq((uintptr_t)host % WI_BLOCK_ALIGN_BYTES, 0);
            cr_assert(host >= end_before, "block %zu of %zu bytes overlaps the one before", index,
                      block_bytes);
            cr_assert(fake_device_covers(&fixture.fake, host, block_bytes), "block %zu straddles",
                      index);
            cr_assert_eq(block.device, (uint64_t)(uintptr_t)host + FAKE_DEVICE_OFFSET);
            end_before = host + block_bytes;
        }
        cr_assert(end_before <= slab->base + slab->map_bytes);
        wi_slab_destroy(slab);
        check_gone(&fixture);
    }
}

/* Most slabs answer by one multiplication. It must say what the chunks say, or stay out. */
Test(slab, blocks_are_where_their_chunks_are)
{
    unsigned even = 0, uneven = 0;
    for (size_t at = 0; at < WI_ARRAY_COUNT(block_sizes); at++) {
        for (unsigned memory = WEIR_MEMORY_PINNED; memory <= WEIR_MEMORY_PAGEABLE; memory++) {
            struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = block_sizes[at], .blocks = 200,
                                                  .memory = memory, .chunk_bytes_max = 65536));
            *(slab->even.is ? &even : &uneven) += 1;
            for (size_t index = 0; index < slab->blocks; index++) {
                struct wi_block block = wi_slab_block(slab, index), is = wi_slab_block_in_chunk(slab, index);
                cr_assert_eq(block.host, is.host);
                cr_assert_eq(block.device, is.device);
            }
            wi_slab_destroy(slab);
        }
    }
    cr_assert(even > 0 && uneven > 0, "%u and %u", even, uneven);
}

/* Chunks that the device sees at addresses of their own are not one stride apart there. */
Test(slab, a_chunk_out_of_line_is_found_by_its_own_address)
{
    fixture.fake.scattered = true;
    struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = 4096, .blocks = 64, .chunk_bytes_max = 65536));
    cr_assert(!slab->even.is);
    for (size_t index = 0; index < slab->blocks; index++) {
        uint64_t chunk = slab->chunk_device[index / slab->chunk_blocks];
        cr_assert_eq(wi_slab_block(slab, index).device, chunk + index % slab->chunk_blocks * 4096);
    }
    wi_slab_destroy(slab);
}

Test(slab, chunks_are_whole_pages_and_at_most_the_maximum_or_one_block)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < WI_ARRAY_COUNT(block_sizes); at++) {
        fixture.fake.register_bytes_max = 0;
        struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = block_sizes[at],
                                              .blocks = 100, .chunk_bytes_max = 65536));
        size_t most = block_sizes[at] > 65536 ? wi_round_up(slab->stride_bytes, page) : 65536;
        cr_assert_leq(fixture.fake.register_bytes_max, most);
        cr_assert_eq(slab->chunk_bytes % page, 0);
        cr_assert_eq(slab->map_bytes % page, 0);
        cr_assert_eq(fixture.fake.registered, slab->chunks);
        cr_assert_eq(slab->chunks, (100 + slab->chunk_blocks - 1) / slab->chunk_blocks);
        wi_slab_destroy(slab);
    }
    check_gone(&fixture);
}

Test(slab, find_gives_the_index_of_every_byte_of_a_block_and_of_nothing_else)
{
    for (size_t at = 0; at < WI_ARRAY_COUNT(block_sizes); at++) {
        size_t          block_bytes = block_sizes[at];
        struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = block_bytes, .blocks = 37,
                                              .chunk_bytes_max = 65536));
        for (size_t index = 0; index < slab->blocks; index++) {
            char *host = wi_slab_block(slab, index).host;
            cr_assert_eq(wi_slab_find(slab, host), index);
            cr_assert_eq(wi_slab_find(slab, host + block_bytes / 2), index);
            cr_assert_eq(wi_slab_find(slab, host + block_bytes - 1), index);
            /* The byte behind is the next block's first, or in a gap. */
            char  *behind = host + block_bytes;
            size_t next = SIZE_MAX;
            if (index + 1 < slab->blocks && wi_slab_block(slab, index + 1).host == behind)
                next = index + 1;
            cr_assert_eq(wi_slab_find(slab, behind), next, "%zu bytes, block %zu", block_bytes,
                         index);
        }
        cr_assert_eq(wi_slab_find(slab, slab->base - 1), SIZE_MAX);
        cr_assert_eq(wi_slab_find(slab, slab->base + slab->map_bytes), SIZE_MAX);
        cr_assert_eq(wi_slab_find(slab, NULL), SIZE_MAX);
        cr_assert_eq(wi_slab_find(slab, &fixture), SIZE_MAX);
        cr_assert_eq(wi_slab_find(slab, (void *)UINTPTR_MAX), SIZE_MAX);
        /* Every byte of the mapping belongs to the block that covers it, or to none. */
        for (size_t offset = 0; offset < slab->map_bytes; offset += 61) {
            char  *host = slab->base + offset;
            size_t index = wi_slab_find(slab, host);
            if (index == SIZE_MAX) continue;
            char *start = wi_slab_block(slab, index).host;
            cr_assert(host >= start && host < start + block_bytes);
        }
        wi_slab_destroy(slab);
    }
}

Test(slab, memory_is_exact_not_a_power_of_two)
{
    static const struct {
        size_t block_bytes, blocks;
    } wanted[] = {
        {129500000, 2}, /* 129.5 MB, where a power of two takes 256 MiB */
        {(size_t)1295 * MIB / 10, 2},
        {MIB + 1, 50},
        {33 * MIB + 12345, 3},
        {3300000, 11},
        {257 * MIB + 1, 1}, /* a block longer than a chunk */
        {70000, 1000},
    };
    for (size_t at = 0; at < WI_ARRAY_COUNT(wanted); at++) {
        size_t          rss_before = slab_fixture_rss_bytes();
        struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = wanted[at].block_bytes,
                                              .blocks = wanted[at].blocks));
        double          useful = (double)wanted[at].block_bytes * (double)wanted[at].blocks;
        double          charged = (double)slab_fixture_charged(&fixture);
        double          resident = (double)(slab_fixture_rss_bytes() - rss_before);
        cr_assert_lt(charged, useful * 1.01, "%zu bytes: charged %.0f", wanted[at].block_bytes,
                     charged);
        cr_assert_geq(charged, useful);
        cr_assert_eq(slab->charged_bytes, slab->map_bytes);
        /* What is charged is what the process took. The rest is small and the test's own. */
        cr_assert_lt(resident, charged + 4.0 * (double)MIB);
        cr_assert_gt(resident, charged - 4.0 * (double)MIB);
        wi_slab_destroy(slab);
        check_gone(&fixture);
    }
}

Test(slab, a_real_chunk_is_at_most_256_mib)
{
    struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = 100 * MIB, .blocks = 5));
    cr_assert_eq(slab->chunks, 3);
    cr_assert_eq(fixture.fake.register_bytes_max, 200 * MIB);
    wi_slab_destroy(slab);
    check_gone(&fixture);
}

Test(slab, memory_is_zero_and_writable)
{
    struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 8));
    for (size_t index = 0; index < 8; index++) {
        char *host = wi_slab_block(slab, index).host;
        for (size_t at = 0; at < MIB; at++) cr_assert_eq(host[at], 0);
        memset(host, (int)index + 1, MIB);
    }
    for (size_t index = 0; index < 8; index++) {
        const char *host = wi_slab_block(slab, index).host;
        cr_assert(host[0] == (char)index + 1 && host[MIB - 1] == (char)index + 1);
    }
    wi_slab_destroy(slab);
}

Test(slab, destroying_gives_the_memory_back_to_the_system)
{
    size_t          before = slab_fixture_rss_bytes();
    struct wi_slab *slab = make(
        SLAB_OPTS(&fixture, .block_bytes = 7 * MIB, .blocks = 20, .chunk_bytes_max = 32 * MIB));
    char  *base = slab->base;
    size_t bytes = slab->map_bytes;
    cr_assert_gt(slab_fixture_rss_bytes(), before + 135 * MIB);
    wi_slab_destroy(slab);
    cr_assert_lt(slab_fixture_rss_bytes(), before + 4 * MIB);
    unsigned char present;
    cr_assert(mincore(base, 1, &present) == -1 && errno == ENOMEM,
              "the first page is still mapped");
    cr_assert(mincore(base + bytes - 4096, 1, &present) == -1 && errno == ENOMEM,
              "the last page is still mapped");
    check_gone(&fixture);
    wi_slab_destroy(NULL);
}

Test(slab, pageable_memory_is_not_registered)
{
    struct wi_slab *slab =
        make(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 4, .memory = WEIR_MEMORY_PAGEABLE));
    cr_assert_eq(slab->memory, WEIR_MEMORY_PAGEABLE);
    cr_assert_eq(fixture.fake.operations, 0);
    cr_assert_eq(wi_slab_block(slab, 3).device, 0);
    cr_assert_eq(wi_slab_find(slab, wi_slab_block(slab, 3).host), 3);
    wi_slab_destroy(slab);
    cr_assert_eq(fixture.fake.operations, 0);
    check_gone(&fixture);
}

Test(slab, device_memory_is_one_allocation)
{
    size_t          before = slab_fixture_rss_bytes();
    struct wi_slab *slab = make(
        SLAB_OPTS(&fixture, .block_bytes = 1000, .blocks = 1 << 20, .memory = WEIR_MEMORY_DEVICE));
    cr_assert_eq(fixture.fake.device_allocations, 1);
    cr_assert_eq(slab_fixture_charged(&fixture), 1024 * MIB);
    struct wi_block first = wi_slab_block(slab, 0);
    struct wi_block last = wi_slab_block(slab, (1 << 20) - 1);
    cr_assert_null(first.host);
    cr_assert_eq(first.device, slab->device_base);
    cr_assert_eq(last.device, slab->device_base + 1024 * MIB - 1024);
    cr_assert_eq(wi_slab_find(slab, NULL), SIZE_MAX);
    cr_assert_eq(wi_slab_find(slab, (void *)(uintptr_t)first.device), SIZE_MAX);
    cr_assert_lt(slab_fixture_rss_bytes(), before + 4 * MIB);
    wi_slab_destroy(slab);
    check_gone(&fixture);
}

Test(slab, driver_allocates_where_registering_is_not_supported)
{
    fixture.fake.no_register = true;
    struct wi_slab *slab = make(
        SLAB_OPTS(&fixture, .block_bytes = 100001, .blocks = 30, .chunk_bytes_max = 128 * 1024));
    cr_assert_eq(slab->memory, WEIR_MEMORY_PINNED);
    cr_assert_eq(slab->driver_owned, 1);
    /* The padding of the chunks is gone, and what it was charged. */
    cr_assert_eq(slab->chunks, 1);
    cr_assert_lt(slab->map_bytes, 30 * wi_round_up(slab->stride_bytes, 4096));
    cr_assert_eq(fixture.fake.driver_allocations, 1);
    cr_assert_eq(slab_fixture_charged(&fixture), slab->map_bytes);
    for (size_t index = 0; index < slab->blocks; index++) {
        struct wi_block block = wi_slab_block(slab, index);
        cr_assert_eq(block.device, (uint64_t)(uintptr_t)block.host + FAKE_DEVICE_OFFSET);
        cr_assert_eq(wi_slab_find(slab, (char *)block.host + 100000), index);
        memset(block.host, 0x5a, 100001);
    }
    wi_slab_destroy(slab);
    check_gone(&fixture);
}

Test(slab, pinned_is_not_silently_pageable)
{
    struct wi_slab *slab = NULL;
    fixture.fake.fail_at = 2;
    fixture.fake.fail_code = WEIR_ENOMEM;
    cr_assert_eq(
        wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 4, .chunk_bytes_max = MIB),
                       &slab),
        WEIR_ENOMEM);
    cr_assert_null(slab);
    check_gone(&fixture);
}

Test(slab, pageable_where_the_caller_accepts_it)
{
    fixture.fake.fail_at = 3;
    fixture.fake.fail_code = WEIR_ENOMEM;
    struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 4,
                                          .chunk_bytes_max = MIB, .flags = WI_SLAB_PAGEABLE_OK));
    cr_assert_eq(slab->memory, WEIR_MEMORY_PAGEABLE);
    cr_assert_eq(fixture.fake.registered, 0,
                 "what was registered before the failure was not undone");
    cr_assert_eq(wi_slab_block(slab, 0).device, 0);
    cr_assert_eq(slab_fixture_logged("pageable"), 1);
    cr_assert_eq(slab_fixture_charged(&fixture), 4 * MIB);
    memset(wi_slab_block(slab, 3).host, 1, MIB);
    wi_slab_destroy(slab);
    check_gone(&fixture);
}

Test(slab, pageable_where_neither_way_of_pinning_works)
{
    fixture.fake.no_register = true;
    fixture.fake.no_host_alloc = true;
    struct wi_slab *slab = NULL;
    cr_assert_eq(wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = 5000, .blocks = 40,
                                          .chunk_bytes_max = 65536),
                                &slab),
                 WEIR_ENOSYS);
    check_gone(&fixture);
    slab = make(SLAB_OPTS(&fixture, .block_bytes = 5000, .blocks = 40, .chunk_bytes_max = 65536,
                          .flags = WI_SLAB_PAGEABLE_OK));
    cr_assert_eq(slab->memory, WEIR_MEMORY_PAGEABLE);
    cr_assert_gt(slab->chunks, 1, "the layout is that of a mapping again");
    cr_assert_eq(wi_slab_find(slab, wi_slab_block(slab, 39).host), 39);
    wi_slab_destroy(slab);
    check_gone(&fixture);
}

Test(slab, budget_is_hard)
{
    struct wi_slab *slab = NULL;
    wi_store(&fixture.budget.bytes_max, 4 * MIB - 1, relaxed);
    cr_assert_eq(wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 4,
                                          .flags = WI_SLAB_PAGEABLE_OK),
                                &slab),
                 WEIR_EEXCEEDS);
    struct weir_error last = {.struct_size = sizeof last};
    cr_assert_eq(weir_last_error(&last), 0);
    cr_assert_str_eq(last.limit, "pinned_bytes_max");
    cr_assert_eq(last.wanted, 4 * MIB);
    cr_assert_eq(fixture.fake.operations, 0);
    wi_store(&fixture.budget.bytes_max, 4 * MIB, relaxed);
    wi_slab_destroy(make(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 4)));
    check_gone(&fixture);
}

Test(slab, bad_options_are_refused)
{
    struct wi_slab *slab = NULL;
    cr_assert_eq(wi_slab_create(SLAB_OPTS(&fixture, .blocks = 1), &slab), WEIR_EINVAL);
    cr_assert_eq(wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = 1), &slab), WEIR_EINVAL);
    cr_assert_eq(
        wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = 1, .blocks = 1, .memory = 4), &slab),
        WEIR_EINVAL);
    cr_assert_eq(wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = SIZE_MAX, .blocks = 1), &slab),
                 WEIR_EINVAL);
    cr_assert_eq(
        wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = SIZE_MAX / 8, .blocks = 9), &slab),
        WEIR_EINVAL);
    cr_assert_eq(wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = 1, .blocks = SIZE_MAX), &slab),
                 WEIR_EINVAL);
    cr_assert_null(slab);
    check_gone(&fixture);
}

struct progress {
    unsigned calls;
    unsigned cancel_at; /* 0: never */
    size_t   last_ready;
    size_t   total;
    unsigned backwards;
};

static int progress(void *ctx, size_t bytes_ready, size_t bytes_total)
{
    struct progress *seen = ctx;
    if (bytes_ready < seen->last_ready || bytes_ready > bytes_total) seen->backwards++;
    seen->last_ready = bytes_ready;
    seen->total = bytes_total;
    return ++seen->calls == seen->cancel_at;
}

Test(slab, progress_grows_and_ends_at_the_total)
{
    static const uint32_t kinds[] = {WEIR_MEMORY_PINNED, WEIR_MEMORY_DEVICE, WEIR_MEMORY_PAGEABLE};
    for (size_t at = 0; at < WI_ARRAY_COUNT(kinds); at++) {
        struct progress seen = {0};
        struct wi_slab *slab = make(SLAB_OPTS(&fixture, .block_bytes = 10 * MIB, .blocks = 10,
                                              .chunk_bytes_max = 20 * MIB, .memory = kinds[at],
                                              .progress = progress, .ctx = &seen));
        cr_assert_eq(seen.backwards, 0);
        cr_assert_eq(seen.last_ready, slab->map_bytes);
        cr_assert_eq(seen.total, slab->map_bytes);
        cr_assert_geq(seen.calls, kinds[at] == WEIR_MEMORY_DEVICE ? 1 : 5);
        wi_slab_destroy(slab);
    }
}

Test(slab, cancelling_at_any_step_leaves_nothing_behind)
{
    static const uint32_t kinds[] = {WEIR_MEMORY_PINNED, WEIR_MEMORY_DEVICE, WEIR_MEMORY_PAGEABLE};
    size_t                before = slab_fixture_rss_bytes();
    for (size_t at = 0; at < 2 * WI_ARRAY_COUNT(kinds); at++) {
        unsigned cancelled = 0;
        fixture.fake.no_register = at >= WI_ARRAY_COUNT(kinds);
        for (unsigned cancel_at = 1;; cancel_at++) {
            struct progress seen = {.cancel_at = cancel_at};
            struct wi_slab *slab = NULL;
            /* Also where a fall-back is allowed: a cancel is not a reason to try another way. */
            int err = wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = 10 * MIB, .blocks = 10,
                                               .chunk_bytes_max = 20 * MIB, .memory = kinds[at % 3],
                                               .flags = WI_SLAB_PAGEABLE_OK, .progress = progress,
                                               .ctx = &seen),
                                     &slab);
            if (err == 0) {
                wi_slab_destroy(slab);
                check_gone(&fixture);
                break;
            }
            cr_assert_eq(err, WEIR_ECANCELED);
            cr_assert_null(slab);
            cr_assert_eq(seen.calls, cancel_at, "called again after it cancelled");
            check_gone(&fixture);
            cancelled++;
        }
        /*
         * The device's memory comes in one step, and so does the driver's after a chunk was tried.
         */
        unsigned least = kinds[at % 3] == WEIR_MEMORY_DEVICE ? 1 : 5;
        if (fixture.fake.no_register && kinds[at % 3] == WEIR_MEMORY_PINNED) least = 2;
        cr_assert_geq(cancelled, least);
    }
    cr_assert_lt(slab_fixture_rss_bytes(), before + 4 * MIB);
}

Test(slab, on_a_lost_device_makes_no_call_and_keeps_what_it_may_reach)
{
    uint64_t        abandoned = wi_slab_abandoned_bytes();
    struct wi_slab *pinned =
        make(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 4, .chunk_bytes_max = MIB));
    struct wi_slab *device =
        make(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 3, .memory = WEIR_MEMORY_DEVICE));
    struct wi_slab *pageable =
        make(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 2, .memory = WEIR_MEMORY_PAGEABLE));
    char    *still_mapped = wi_slab_block(pinned, 3).host;
    uint64_t operations = fixture.fake.operations;
    wi_store(&fixture.fake.device.lost, 1, release);

    wi_slab_destroy(pinned);
    wi_slab_destroy(device);
    wi_slab_destroy(pageable);
    cr_assert_eq(fixture.fake.operations, operations);
    cr_assert_eq(fixture.fake.wrong, 0);
    cr_assert_eq(wi_slab_abandoned_bytes() - abandoned, 7 * MIB);
    cr_assert_eq(slab_fixture_charged(&fixture), 7 * MIB, "the pageable slab alone is given back");
    memset(still_mapped, 1, MIB);

    struct wi_slab *slab = NULL;
    cr_assert_eq(wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 1,
                                          .flags = WI_SLAB_PAGEABLE_OK),
                                &slab),
                 WEIR_EDEVICE);
    cr_assert_eq(slab_fixture_charged(&fixture), 7 * MIB);
}
