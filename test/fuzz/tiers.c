/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiers.c - any sequence of operations on a tiered pool: leases, views, periods, budgets
 *
 * Whatever moves, a view shows what was written last; a buffer is in one tier; the tiers hold as many as there are; and at
 * the end everything comes home.
 */
#include "fuzz/calls.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define BYTES  512
#define LEASES 12
#define VIEWS  6

const char *const fuzz_words[] = {NULL};

struct lease {
    struct weir_buffer *buffer;
    uint8_t             stamp;
    uint32_t            views;
    bool                known;
};

struct use {
    struct weir_view view;
    size_t           lease;
};

static struct world {
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    struct weir_stream  *stream;
    size_t               buffers;
    struct lease         lease[LEASES]; /* buffer NULL: none */
    struct use           use[VIEWS];    /* view.buffer NULL: none */
    uint64_t             now_ns;
    uint8_t              stamps;
} world;

int LLVMFuzzerInitialize(int *count, char ***words)
{
    (void)count;
    (void)words;
    weir_log_set(hear_no_error, NULL);
    (void)setenv("WEIR_CHECK", "2", 1);
    (void)setenv("WEIR_HOST_MODEL", "latency=1us", 0);
    return 0;
}

static uint64_t soon(uint8_t how)
{
    return how & 1 ? weir_deadline_after_ns(2000000) : WEIR_NOW;
}

/* ---- leases ---- */

static void lease(struct fuzz_input *input)
{
    struct lease *lease = &world.lease[fuzz_below(input, LEASES)];
    if (lease->buffer) {
        if (lease->views > 0) return;
        must(weir_buffer_release(lease->buffer));
        fuzz_require(may(weir_buffer_release(lease->buffer), WEIR_ENOTLEASED, WEIR_ESTALE) < 0,
                     "released twice");
        lease->buffer = NULL;
        return;
    }
    size_t leased = 0;
    for (size_t i = 0; i < LEASES; i++) leased += world.lease[i].buffer != NULL;
    struct weir_buffer *buffer;
    int err = may(weir_buffer_acquire(world.pool, WEIR_NOW, &buffer), WEIR_EAGAIN, WEIR_EPRESSURE);
    /* Released with device work pending it retires, so a refusal proves nothing once there were views. */
    fuzz_require(err < 0 || leased < world.buffers, "%zu buffers, and one more", leased);
    if (err == 0) *lease = (struct lease){.buffer = buffer};
}

/* ---- views ---- */

static uint8_t *bytes_of(const struct weir_view *view)
{
    return view->host ? view->host
                      : (uint8_t *)(uintptr_t)view->device; /* the device is the host */
}

static void check_view(const struct use *use)
{
    const struct lease *lease = &world.lease[use->lease];
    const uint8_t      *at = bytes_of(&use->view);
    /* Whoever only reads may miss writes that began after he did. */
    for (size_t i = 0; lease->known && lease->views == 1 && i < BYTES; i++)
        fuzz_require(at[i] == lease->stamp, "byte %zu is %u, not %u", i, at[i], lease->stamp);
}

static void borrow(struct fuzz_input *input)
{
    struct use   *use = &world.use[fuzz_below(input, VIEWS)];
    size_t        i = fuzz_below(input, LEASES);
    struct lease *lease = &world.lease[i];
    uint8_t       how = fuzz_u8(input);
    uint32_t      where = how & 3, access = how >> 2 & 7;
    if (use->view.buffer || !lease->buffer) return;
    struct weir_view view = {0};
    bool             device = where == WEIR_WHERE_DEVICE;
    int err = may(weir_buffer_borrow(lease->buffer, where, access, device ? world.stream : NULL,
                                     soon(how >> 5), &view),
                  WEIR_EAGAIN, WEIR_ETIMEDOUT, WEIR_EBUSY, WEIR_EEXCEEDS, WEIR_EINVAL);
    if (err < 0) {
        fuzz_require(!view.buffer, "refused, and yet a view");
        return;
    }
    fuzz_require(where >= WEIR_WHERE_HOST && access & (WEIR_READ | WEIR_WRITE), "no such borrow");
    fuzz_require(view.bytes == BYTES && bytes_of(&view) && view.tier < WEIR_TIERS, "a view");
    fuzz_require(where != WEIR_WHERE_HOST || view.host, "no host pointer");
    fuzz_require(where != WEIR_WHERE_DEVICE || view.device, "no device pointer");
    lease->views++;
    use->view = view;
    use->lease = i;
    check_view(use);
    if (access & WEIR_WRITE && lease->views == 1) {
        lease->stamp = ++world.stamps;
        lease->known = true;
        memset(bytes_of(&view), lease->stamp, BYTES);
        if (fuzz_planted() && world.stamps == 3) bytes_of(&view)[7]++;
    } else if (access & WEIR_WRITE) {
        lease->known = false;
    }
}

static void give_back(struct fuzz_input *input)
{
    struct use *use = &world.use[fuzz_below(input, VIEWS)];
    if (!use->view.buffer) return;
    if (use->view.access & WEIR_WRITE) check_view(use);
    world.lease[use->lease].views--;
    must(weir_view_return(&use->view));
    fuzz_require(!use->view.buffer && !use->view.host, "a view that was returned is not cleared");
    must(weir_view_return(&use->view));
}

/* ---- moves ---- */

static void check_tiers(void)
{
    struct weir_tier_stats stats = {.struct_size = sizeof stats};
    must(weir_tier_stats_read(world.pool, &stats));
    uint64_t sum = stats.buffers_device + stats.buffers_pinned + stats.buffers_pageable;
    fuzz_require(sum == world.buffers, "%llu buffers in the tiers, of %zu", (unsigned long long)sum,
                 world.buffers);
}

static void move(struct fuzz_input *input)
{
    struct lease *lease = &world.lease[fuzz_below(input, LEASES)];
    uint8_t       what = fuzz_u8(input);
    switch (what & 7) {
    case 0:
    case 1:
    case 2:
        world.now_ns += (uint64_t)what * 4000000;
        must(weir_tier_step(world.pool, world.now_ns));
        check_tiers();
        break;
    case 3:
    case 4:
        if (!lease->buffer) break;
        (void)may(weir_buffer_prefetch(lease->buffer, what >> 3 & 3, soon(what >> 5)), WEIR_EAGAIN,
                  WEIR_ETIMEDOUT, WEIR_EBUSY, WEIR_EEXCEEDS, WEIR_EINVAL);
        break;
    case 5:
        if (lease->buffer) must(weir_buffer_set_pinned(lease->buffer, what >> 3 & 1));
        break;
    case 6:
        (void)may(
            weir_tier_set_budget(world.pool,
                                 (struct weir_tier_budget){.device_buffers = what >> 3 & 7,
                                                           .pinned_buffers = fuzz_below(input, 8)}),
            WEIR_EEXCEEDS, WEIR_EINVAL);
        break;
    default:
        (void)may(weir_tier_set_budget(
                      world.pool, (struct weir_tier_budget){.device_percent = fuzz_u8(input) - 10,
                                                            .pinned_bytes = fuzz_u16(input)}),
                  WEIR_EEXCEEDS, WEIR_EINVAL);
        break;
    }
}

static void look(struct fuzz_input *input)
{
    struct lease          *lease = &world.lease[fuzz_below(input, LEASES)];
    struct weir_place_info info = {.struct_size = fuzz_below(input, sizeof info + 1)};
    uint64_t               device;
    if (!lease->buffer) return;
    int err = may(weir_buffer_place_read(lease->buffer, &info), WEIR_EINVAL);
    fuzz_require(err < 0 || info.tier < WEIR_TIERS, "tier %u", info.tier);
    fuzz_require(may(weir_buffer_hold(lease->buffer), WEIR_EKIND) < 0, "a tiered buffer is held");
    fuzz_require(may(weir_buffer_mirror(lease->buffer, &device), WEIR_EKIND) < 0,
                 "a tiered buffer has a mirror");
}

/* ---- the whole ---- */

static void open_world(struct fuzz_input *input)
{
    struct weir_runtime_opts rt = {.struct_size = sizeof rt, .backend = "host"};
    struct weir_tier_opts    tier = {
           .struct_size = sizeof tier, .buffer_bytes = BYTES, .flags = WEIR_TIER_MANUAL};
    static const char *const policies[] = {NULL, "lru", "hazard", "static"};
    memset(&world, 0, sizeof world);
    tier.buffers_max = world.buffers = 1 + fuzz_below(input, 10);
    tier.device_buffers = fuzz_below(input, 5);
    tier.pinned_buffers = fuzz_below(input, 5);
    tier.flags |= fuzz_below(input, 2) ? WEIR_TIER_POISON : 0;
    tier.moves_max = fuzz_below(input, 4);
    const char *policy = policies[fuzz_below(input, 4)];
    if (policy) must(weir_policy_find(policy, &tier.policy));
    if (tier.device_buffers > tier.buffers_max) tier.device_buffers = tier.buffers_max;
    if (tier.pinned_buffers > tier.buffers_max) tier.pinned_buffers = tier.buffers_max;
    must(weir_runtime_create(&rt, &world.rt));
    must(weir_tier_create(world.rt, &tier, &world.pool));
    must(weir_stream_acquire(world.rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &world.stream));
}

static void check_law(void)
{
    for (;; (void)poll(NULL, 0, 1)) {
        struct weir_pool_stats stats = {.struct_size = sizeof stats};
        must(weir_pool_stats_read(world.pool, &stats));
        fuzz_require(stats.leased == 0 && stats.quarantined == 0, "%llu leased",
                     (unsigned long long)stats.leased);
        fuzz_require(stats.total == world.buffers, "%llu buffers", (unsigned long long)stats.total);
        if (stats.free == stats.total && stats.retiring == 0) return;
    }
}

static void close_world(bool early)
{
    if (early) weir_pool_destroy(world.pool); /* what is leased comes home all the same */
    for (size_t i = 0; i < VIEWS; i++) must(weir_view_return(&world.use[i].view));
    for (size_t i = 0; i < LEASES; i++)
        if (world.lease[i].buffer) must(weir_buffer_release(world.lease[i].buffer));
    must(weir_runtime_sync(world.rt, 0, WEIR_FOREVER));
    must(weir_stream_release(world.stream));
    if (!early) {
        check_law();
        check_tiers();
        weir_pool_destroy(world.pool);
    }
    weir_runtime_destroy(world.rt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static void (*const operations[])(struct fuzz_input * input) = {
        lease, lease, borrow, borrow, borrow, give_back, give_back, move, move, look};
    struct fuzz_input input = {data, bytes > 1024 ? 1024 : bytes};
    open_world(&input);
    bool early = fuzz_below(&input, 4) == 3;
    while (input.left > 0) operations[fuzz_below(&input, WI_ARRAY_COUNT(operations))](&input);
    close_world(early);
    return 0;
}
