/* SPDX-License-Identifier: Apache-2.0 */
/* Budgets changed, and memory given back, while a runtime works. */
#include "pool/fixture.h"

#include <string.h>

#define MIB ((size_t)1 << 20)
#define MS  UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;

static uint64_t pinned(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    ok(weir_runtime_stats_read(rt, &stats));
    return stats.pinned_bytes;
}

static struct weir_pool *make_pool(size_t min, size_t max)
{
    struct weir_pool *made;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .buffers_min = min, .buffers_max = max), &made));
    return made;
}

Test(budget, is_set_for_each_kind)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    rt = make_runtime();
    ok(weir_runtime_set_budget(rt, WEIR_MEMORY_PINNED, 3 * MIB));
    ok(weir_runtime_set_budget(rt, WEIR_MEMORY_DEVICE, 4 * MIB));
    ok(weir_runtime_set_budget(rt, WEIR_MEMORY_PAGEABLE, 0));
    answers(weir_runtime_set_budget(rt, 0, MIB), INVAL);
    answers(weir_runtime_set_budget(rt, 4, MIB), INVAL);
    answers(weir_runtime_set_budget(NULL, WEIR_MEMORY_PINNED, MIB), INVAL);
    ok(weir_runtime_stats_read(rt, &stats));
    cr_assert_eq(stats.pinned_bytes_max, 3 * MIB);
    cr_assert_eq(stats.device_bytes_max, 4 * MIB);
    cr_assert_eq(stats.pageable_bytes_max, 0);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIB, .memory = WEIR_MEMORY_PAGEABLE), &pool), EXCEEDS);
    pool = make_pool(2, 8);
    answers(weir_pool_reserve(pool, 8), EXCEEDS);
    ok(weir_runtime_set_budget(rt, WEIR_MEMORY_PINNED, 8 * MIB));
    ok(weir_pool_reserve(pool, 8));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(budget, lowered_below_what_is_charged_it_takes_nothing_away)
{
    struct weir_buffer *buffer[4];
    rt = make_runtime();
    pool = make_pool(4, 8);
    ok(weir_runtime_set_budget(rt, WEIR_MEMORY_PINNED, MIB));
    ok(weir_buffers_acquire(pool, 4, WEIR_NOW, buffer));
    for (int i = 0; i < 4; i++) memset(buffer[i]->host, i, MIB);
    answers(weir_pool_reserve(pool, 5), EXCEEDS);
    ok(weir_buffers_release(buffer, 4));
    cr_assert_eq(pinned(), 4 * MIB);
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(trim, gives_back_down_to_a_number_of_bytes)
{
    rt = make_runtime();
    pool = make_pool(2, 16);
    struct weir_pool *other = make_pool(2, 16);
    for (size_t n = 4; n <= 16; n += 4) {
        ok(weir_pool_reserve(pool, n));
        ok(weir_pool_reserve(other, n));
    }
    cr_assert_eq(pinned(), 32 * MIB);
    ok(weir_runtime_trim(rt, WEIR_MEMORY_PINNED, 40 * MIB, WEIR_NOW));
    cr_assert_eq(pinned(), 32 * MIB);
    ok(weir_runtime_trim(rt, WEIR_MEMORY_PINNED, 24 * MIB, WEIR_FOREVER));
    cr_assert(pinned() <= 24 * MIB && pinned() >= 20 * MIB, "%lu", (unsigned long)pinned());
    ok(weir_runtime_trim(rt, WEIR_MEMORY_PINNED, 4 * MIB, WEIR_FOREVER));
    cr_assert_eq(pinned(), 4 * MIB);
    answers(weir_runtime_trim(rt, WEIR_MEMORY_PINNED, 3 * MIB, WEIR_FOREVER), BUSY);
    cr_assert_eq(pool_stats(pool).total, 2);
    cr_assert_eq(pool_stats(other).total, 2);
    answers(weir_runtime_trim(rt, 7, 0, WEIR_NOW), INVAL);
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_pool_destroy(other);
    weir_runtime_destroy(rt);
}

Test(trim, waits_for_leases_until_the_deadline)
{
    struct weir_buffer *buffer[8];
    rt = make_runtime();
    pool = make_pool(2, 8);
    ok(weir_pool_reserve(pool, 8));
    for (int i = 0; i < 8; i++) ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i]));
    for (int i = 0; i < 8; i++) memset(buffer[i]->host, i, MIB);
    uint64_t deadline_ns = weir_deadline_after_ns(30 * MS);
    answers(weir_runtime_trim(rt, WEIR_MEMORY_PINNED, 2 * MIB, deadline_ns), TIMEDOUT);
    cr_assert_geq(weir_clock_ns(), deadline_ns);
    for (int i = 0; i < 8; i++) cr_assert_eq(((char *)buffer[i]->host)[MIB - 1], i, "a leased block was taken");
    ok(weir_buffers_release(buffer, 8));
    eventually(pinned() == 2 * MIB); /* the rest goes by itself as it comes home */
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}
