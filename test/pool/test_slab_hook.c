/* SPDX-License-Identifier: Apache-2.0 */
/* Slab hooks: each slab is told once in each direction, in order; a refusal stops the growth and leaves nothing. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#define KIB ((size_t)1 << 10)

struct seen {
    struct weir_slab_info slab[64];
    uint32_t              live[64];
    unsigned              count, commits, decommits, order[128], orders;
    unsigned              refuse_at; /* n-th commit; 0: none */
    unsigned              mark;      /* written to the shared order */
};

static struct {
    unsigned mark[256];
    unsigned count;
} shared_order;

static void note(unsigned mark)
{
    cr_assert_lt(shared_order.count, 256);
    shared_order.mark[shared_order.count++] = mark;
}

static int on_commit(void *ctx, const struct weir_slab_info *slab)
{
    struct seen *seen = ctx;
    note(seen->mark);
    if (++seen->commits == seen->refuse_at) return WEIR_EPRESSURE;
    for (unsigned i = 0; i < seen->count; i++)
        cr_assert_neq(seen->slab[i].id, slab->id, "told twice");
    cr_assert_lt(seen->count, 64);
    seen->live[seen->count] = 1;
    seen->slab[seen->count++] = *slab;
    if (slab->host)
        memset(slab->host, 0x5a, slab->bytes); /* all of it is there, and nobody's yet */
    return 0;
}

static void on_decommit(void *ctx, const struct weir_slab_info *slab)
{
    struct seen *seen = ctx;
    note(seen->mark + 100);
    seen->decommits++;
    for (unsigned i = 0; i < seen->count; i++) {
        if (seen->slab[i].id != slab->id) continue;
        cr_assert(seen->live[i], "gone twice");
        cr_assert_eq(seen->slab[i].host, slab->host);
        if (slab->host) memset(slab->host, 0xa5, slab->bytes); /* it is there still */
        seen->live[i] = 0;
        return;
    }
    cr_assert_fail("a slab goes that never came");
}

static unsigned live(const struct seen *seen)
{
    unsigned count = 0;
    for (unsigned i = 0; i < seen->count; i++) count += seen->live[i];
    return count;
}

static struct weir_slab_hook *hook(struct weir_runtime *rt, struct weir_pool *pool,
                                   struct seen *seen)
{
    struct weir_slab_hook *made;
    ok(weir_slab_hook_create(rt,
                             WEIR_OPTS(slab_hook, .name = "test", .pool = pool, .commit = on_commit,
                                       .decommit = on_decommit, .ctx = seen),
                             &made));
    return made;
}

static struct weir_pool *make_pool(struct weir_runtime *rt, size_t min, size_t max, uint32_t memory)
{
    struct weir_pool *pool;
    ok(weir_pool_create(rt,
                        WEIR_OPTS(pool, .name = "hooked", .buffer_bytes = 64 * KIB,
                                  .buffers_min = min, .buffers_max = max, .memory = memory),
                        &pool));
    return pool;
}

Test(slab_hook, is_told_of_what_is_there_what_comes_and_what_goes)
{
    struct weir_runtime   *rt = make_runtime();
    struct weir_pool      *pool = make_pool(rt, 4, 16, 0);
    struct seen            seen = {.mark = 1};
    struct weir_slab_hook *made = hook(rt, NULL, &seen);
    cr_assert_eq(seen.count, 1, "the slab that was there");
    cr_assert_eq(seen.slab[0].pool, pool);
    cr_assert_eq(seen.slab[0].buffers, 4);
    cr_assert_eq(seen.slab[0].buffer_bytes, 64 * KIB);
    cr_assert_geq(seen.slab[0].bytes, 4 * 64 * KIB);
    cr_assert_eq(seen.slab[0].memory, WEIR_MEMORY_PINNED);
    cr_assert_neq(seen.slab[0].id, 0);

    ok(weir_pool_reserve(pool, 16));
    cr_assert_geq(seen.count, 2);
    struct weir_buffer *buffer[16];
    for (unsigned i = 0; i < 16; i++) {
        bool inside = false;
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[i]));
        for (unsigned s = 0; s < seen.count; s++) {
            uintptr_t offset = (uintptr_t)buffer[i]->host - (uintptr_t)seen.slab[s].host;
            inside |=
                offset < seen.slab[s].bytes && offset + buffer[i]->bytes <= seen.slab[s].bytes;
        }
        cr_assert(inside, "every buffer lies in a slab that was told");
    }
    for (unsigned i = 0; i < 16; i++) ok(weir_buffer_release(buffer[i]));
    ok(weir_pool_trim(pool, 4, WEIR_FOREVER));
    cr_assert_eq(live(&seen), 1);

    struct weir_pool            *device = make_pool(rt, 2, 2, WEIR_MEMORY_DEVICE);
    const struct weir_slab_info *last = &seen.slab[seen.count - 1];
    cr_assert_eq(last->memory, WEIR_MEMORY_DEVICE);
    cr_assert_null(last->host);
    cr_assert_neq(last->device, 0);
    weir_pool_destroy(device);
    weir_pool_destroy(pool);
    cr_assert_eq(live(&seen), 0);
    cr_assert_eq(seen.commits, seen.decommits);
    weir_slab_hook_destroy(made);
    cr_assert_eq(seen.commits, seen.decommits);
    weir_runtime_destroy(rt);
}

Test(slab_hook, of_one_pool_hears_of_no_other)
{
    struct weir_runtime   *rt = make_runtime();
    struct weir_pool      *mine = make_pool(rt, 2, 4, 0), *other = make_pool(rt, 2, 4, 0);
    struct seen            seen = {.mark = 1};
    struct weir_slab_hook *made = hook(rt, mine, &seen);
    ok(weir_pool_reserve(other, 4));
    cr_assert_eq(seen.commits, 1);
    ok(weir_pool_reserve(mine, 4));
    cr_assert_eq(seen.commits, 2);
    weir_slab_hook_destroy(made);
    cr_assert_eq(seen.decommits, 2);
    ok(weir_pool_trim(mine, 2, WEIR_FOREVER));
    cr_assert_eq(seen.decommits, 2, "told no more");
    weir_pool_destroy(mine);
    weir_pool_destroy(other);
    weir_runtime_destroy(rt);
}

Test(slab_hook, refusal_stops_the_growth_and_undoes_it)
{
    struct weir_runtime      *rt = make_runtime();
    struct weir_pool         *pool = make_pool(rt, 4, 16, 0);
    struct seen               first = {.mark = 1}, second = {.mark = 2, .refuse_at = 2};
    struct weir_slab_hook    *one = hook(rt, NULL, &first), *two = hook(rt, NULL, &second);
    struct weir_runtime_stats before = {.struct_size = sizeof before}, after = before;
    ok(weir_runtime_stats_read(rt, &before));
    shared_order.count = 0;
    answers(weir_pool_reserve(pool, 16), PRESSURE);
    struct weir_error error = {.struct_size = sizeof error};
    ok(weir_last_error(&error));
    cr_assert(strstr(error.detail, "hook"), "%s", error.detail);
    const unsigned expected[] = {1, 2,
                                 101}; /* who accepted is told that it goes; who refused is not */
    cr_assert_eq(shared_order.count, 3);
    cr_assert_eq(memcmp(shared_order.mark, expected, sizeof expected), 0);
    ok(weir_runtime_stats_read(rt, &after));
    cr_assert_eq(before.pinned_bytes, after.pinned_bytes, "the budget has it back");
    cr_assert_eq(pool_stats(pool).total, 4);
    ok(weir_pool_reserve(pool, 16)); /* the next try is accepted */
    cr_assert_eq(pool_stats(pool).total, 16);
    assert_law(pool);

    struct seen            third = {.mark = 3, .refuse_at = 2};
    struct weir_slab_hook *refused;
    answers(weir_slab_hook_create(
                rt,
                WEIR_OPTS(slab_hook, .commit = on_commit, .decommit = on_decommit, .ctx = &third),
                &refused),
            PRESSURE);
    cr_assert_eq(third.decommits, 1, "what had been accepted is undone");

    struct seen            fourth = {.mark = 4, .refuse_at = 1};
    struct weir_slab_hook *four = hook(rt, NULL, &(struct seen){.mark = 5});
    weir_slab_hook_destroy(four);
    struct weir_pool *none;
    struct seen      *later = &fourth;
    weir_pool_destroy(pool);
    four = hook(rt, NULL, later);
    answers(
        weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 64 * KIB, .buffers_min = 2), &none),
        PRESSURE);
    weir_slab_hook_destroy(four);
    weir_slab_hook_destroy(two);
    weir_slab_hook_destroy(one);
    weir_runtime_destroy(rt);
}

Test(slab_hook, order_is_first_to_last_and_back)
{
    struct weir_runtime   *rt = make_runtime();
    struct seen            seen[3] = {{.mark = 1}, {.mark = 2}, {.mark = 3}};
    struct weir_slab_hook *made[3];
    for (int i = 0; i < 3; i++) made[i] = hook(rt, NULL, &seen[i]);
    shared_order.count = 0;
    weir_pool_destroy(make_pool(rt, 2, 2, 0));
    const unsigned expected[] = {1, 2, 3, 103, 102, 101};
    cr_assert_eq(shared_order.count, 6);
    cr_assert_eq(memcmp(shared_order.mark, expected, sizeof expected), 0);
    weir_slab_hook_destroy(made[1]);
    shared_order.count = 0;
    weir_pool_destroy(make_pool(rt, 2, 2, 0));
    cr_assert_eq(shared_order.count, 4);
    weir_slab_hook_destroy(made[0]);
    weir_slab_hook_destroy(made[2]);
    weir_slab_hook_destroy(NULL);
    weir_runtime_destroy(rt);
}

Test(slab_hook, tiers_are_slabs_too)
{
    struct weir_runtime   *rt = make_runtime();
    struct seen            seen = {.mark = 1};
    struct weir_slab_hook *made = hook(rt, NULL, &seen);
    struct weir_pool      *pool;
    ok(weir_tier_create(rt,
                        WEIR_OPTS(tier, .buffer_bytes = 4 * KIB, .buffers_max = 32,
                                  .pinned_buffers = 8, .device_buffers = 4),
                        &pool));
    cr_assert_eq(live(&seen), 3);
    for (int i = 0; i < 3; i++) cr_assert_null(seen.slab[i].pool);
    weir_pool_destroy(pool);
    cr_assert_eq(live(&seen), 0);
    seen.refuse_at = seen.commits + 3;
    answers(weir_tier_create(rt,
                             WEIR_OPTS(tier, .buffer_bytes = 4 * KIB, .buffers_max = 32,
                                       .pinned_buffers = 8, .device_buffers = 4),
                             &pool),
            PRESSURE);
    cr_assert_eq(live(&seen), 0);
    weir_slab_hook_destroy(made);
    weir_runtime_destroy(rt);
}

Test(slab_hook, what_is_wrong_is_named)
{
    struct weir_runtime   *rt = make_runtime();
    struct weir_slab_hook *made, *many[32];
    struct seen            seen = {.mark = 1};
    answers(weir_slab_hook_create(NULL, NULL, &made), INVAL);
    answers(weir_slab_hook_create(rt, NULL, &made), INVAL);
    for (int i = 0; i < 32; i++) many[i] = hook(rt, NULL, &seen);
    answers(
        weir_slab_hook_create(rt, WEIR_OPTS(slab_hook, .commit = on_commit, .ctx = &seen), &made),
        EXCEEDS);
    for (int i = 0; i < 32; i++) weir_slab_hook_destroy(many[i]);
    weir_runtime_destroy(rt);
}

/* ---- hooks that come and go while pools do ---- */

struct counting {
    _Atomic int live;
    _Atomic int wrong;
};

static int count_up(void *ctx, const struct weir_slab_info *slab)
{
    struct counting *counting = ctx;
    (void)slab;
    (void)wi_add(&counting->live, 1, relaxed);
    return 0;
}

static void count_down(void *ctx, const struct weir_slab_info *slab)
{
    struct counting *counting = ctx;
    (void)slab;
    if (wi_sub(&counting->live, 1, relaxed) <= 0) wi_store(&counting->wrong, 1, relaxed);
}

static void *pools_come_and_go(void *arg)
{
    struct weir_runtime *rt = arg;
    for (int i = 0; i < 60; i++) {
        struct weir_pool *pool;
        if (weir_pool_create(
                rt, WEIR_OPTS(pool, .buffer_bytes = 4 * KIB, .buffers_min = 1, .buffers_max = 8),
                &pool) < 0)
            abort();
        if (weir_pool_reserve(pool, 8) < 0) abort();
        weir_pool_destroy(pool);
    }
    return NULL;
}

Test(slab_hook, come_and_go_beside_growth)
{
    struct weir_runtime *rt = make_runtime();
    pthread_t            thread[2];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, pools_come_and_go, rt), 0);
    for (int i = 0; i < 60; i++) {
        struct counting        counting = {0};
        struct weir_slab_hook *made;
        ok(weir_slab_hook_create(
            rt, WEIR_OPTS(slab_hook, .commit = count_up, .decommit = count_down, .ctx = &counting),
            &made));
        weir_slab_hook_destroy(made);
        cr_assert_eq(wi_load(&counting.live, relaxed), 0);
        cr_assert_eq(wi_load(&counting.wrong, relaxed), 0);
    }
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    weir_runtime_destroy(rt);
}
