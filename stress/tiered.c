/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiered - buffers that move between tiers while the host and the device read and write them
 *
 * Imitates an engine under memory pressure: request threads read and write cached blocks, on the host and by
 * kernels, while a tuner cuts and raises the budgets of both tiers every 100 ms and the monitor moves blocks all the
 * time. Every word of a block says how often it was written, and a lock beside it, as users would have, says what the
 * answer is: a reader that finds anything else has read a torn, stale or poisoned place.
 *
 *     host read, write     weir_buffer_borrow() for the host, wherever the block is
 *     device read, write   a host function in stream order, queued late, behind work that keeps the stream busy; a
 *                          reader's view is often older than a swap by then, and returned before the kernel has run
 *     stay                 the block is pinned, and must not move until it is unpinned
 *     exchange             the block is released, and another one acquired in its place
 *
 * Only on a device whose memory the host can read. Run for 4 s as a smoke test, 10 s under each sanitizer, 60 s
 * before a merge; --threads 64.
 */
#include "harness.h"

#include <pthread.h>
#include <stdio.h>
#include <weir/stream.h>
#include <weir/tier.h>

#define BLOCKS_MAX 4096
#define NS_PER_MS  UINT64_C(1000000)
#define CUT_NS     (100 * NS_PER_MS)
#define WAIT_NS    (2000 * NS_PER_MS)
#define LAST_NS    (30000 * NS_PER_MS)

static uint64_t blocks = 96, block_bytes = 4096;

static const struct stress_option options[] = {
    {"blocks", &blocks, "buffers of the tiered pool"},
    {"bytes", &block_bytes, "bytes of a buffer"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "tiered",
    .imitates = "an engine whose cached blocks move between memories while requests use them",
    .seconds = 4,
    .threads = 64,
    .options = options,
};

struct block {
    pthread_rwlock_t    lock;
    struct weir_buffer *buffer;
    uint64_t            written; /* what every word says; under the lock */
};

static struct block         block[BLOCKS_MAX];
static struct weir_runtime *rt;
static struct weir_pool    *pool;
static _Atomic uint64_t     host_reads, host_writes, device_reads, device_writes, stays, exchanges, refused, moved_under;

static uint64_t *words_of(const struct weir_view *view)
{
    return view->host ? view->host : (void *)(uintptr_t)view->device;
}

static void check_words(const uint64_t *words, size_t bytes, uint64_t expected)
{
    for (size_t i = 0; i < bytes / 8; i++)
        stress_require(words[i] == expected, "word %zu is %llx, not %llx", i, (unsigned long long)words[i],
                       (unsigned long long)expected);
}

/* A refusal that the budgets of the moment explain. */
static bool was_refused(int err)
{
    if (err == WEIR_EEXCEEDS || err == WEIR_ETIMEDOUT || err == WEIR_EAGAIN) {
        (void)wi_add(&refused, 1, relaxed);
        return true;
    }
    stress_ok(err);
    return false;
}

/* ---- on the host ---- */

static bool borrow_on_host(struct stress_thread *self, struct block *at, enum weir_access access, struct weir_view *view)
{
    bool any = stress_below(self, 4) != 0; /* otherwise it is brought to where the host can reach it on any backend */
    stress_doing(self, "borrowing for the host");
    return !was_refused(weir_buffer_borrow(at->buffer, any ? WEIR_WHERE_ANY : WEIR_WHERE_HOST, access, NULL,
                                           weir_deadline_after_ns(WAIT_NS), view));
}

static void host_read(struct stress_thread *self, struct block *at)
{
    struct weir_view view;
    if (!borrow_on_host(self, at, WEIR_READ, &view)) return;
    if (stress_below(self, 64) == 0) stress_sleep_ns(2 * NS_PER_MS); /* the block may move meanwhile */
    check_words(words_of(&view), view.bytes, at->written);
    stress_ok(weir_view_return(&view));
    (void)wi_add(&host_reads, 1, relaxed);
}

static void host_write(struct stress_thread *self, struct block *at)
{
    struct weir_view view;
    if (!borrow_on_host(self, at, WEIR_READ | WEIR_WRITE, &view)) return;
    uint64_t *words = words_of(&view);
    check_words(words, view.bytes, at->written);
    at->written++;
    for (size_t i = 0; i < view.bytes / 8; i++) words[i] = at->written;
    stress_ok(weir_view_return(&view));
    (void)wi_add(&host_writes, 1, relaxed);
}

/* ---- on the device ---- */

struct kernel {
    uint64_t *words;
    size_t    bytes;
    uint64_t  expected;
    bool      writes;
};

static void run_kernel(void *ctx)
{
    struct kernel *kernel = ctx;
    check_words(kernel->words, kernel->bytes, kernel->expected);
    for (size_t i = 0; kernel->writes && i < kernel->bytes / 8; i++) kernel->words[i] = kernel->expected + 1;
}

static void use_on_device(struct stress_thread *self, struct block *at, bool writes)
{
    struct weir_stream *stream;
    struct weir_view    view;
    struct kernel       kernel = {.expected = at->written, .writes = writes};
    stress_doing(self, "waiting for a stream");
    stress_ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream));
    stress_doing(self, "borrowing for the device");
    enum weir_access access = writes ? WEIR_READ | WEIR_WRITE : WEIR_READ;
    if (!was_refused(weir_buffer_borrow(at->buffer, WEIR_WHERE_DEVICE, access, stream, weir_deadline_after_ns(WAIT_NS),
                                        &view))) {
        struct weir_place_info now = {.struct_size = sizeof now};
        if (stress_below(self, 8) == 0) stress_sleep_ns(3 * NS_PER_MS);
        stress_ok(weir_buffer_place_read(at->buffer, &now));
        if (now.tier != view.tier) (void)wi_add(&moved_under, 1, relaxed); /* what is queued now reads the old place */
        kernel.words = (void *)(uintptr_t)view.device;
        kernel.bytes = view.bytes;
        if (stress_below(self, 2)) stress_ok(weir_stream_delay(stream, stress_below(self, 500000)));
        stress_ok(weir_stream_call(stream, run_kernel, &kernel));
        stress_ok(weir_view_return(&view));
        stress_doing(self, "waiting for its kernel");
        stress_ok(weir_stream_sync(stream, weir_deadline_after_ns(LAST_NS)));
        if (writes) at->written++;
        (void)wi_add(writes ? &device_writes : &device_reads, 1, relaxed);
    }
    stress_ok(weir_stream_release(stream));
}

/* ---- the rest ---- */

static uint32_t tier_of(const struct block *at)
{
    struct weir_place_info place = {.struct_size = sizeof place};
    stress_ok(weir_buffer_place_read(at->buffer, &place));
    return place.tier;
}

static void stay(struct stress_thread *self, struct block *at)
{
    stress_doing(self, "pinning a block");
    stress_ok(weir_buffer_set_pinned(at->buffer, 1));
    uint32_t before = tier_of(at);
    stress_sleep_ns(2 * NS_PER_MS);
    stress_require(tier_of(at) == before, "a pinned block has moved");
    stress_ok(weir_buffer_set_pinned(at->buffer, 0));
    (void)wi_add(&stays, 1, relaxed);
}

static void fill(struct stress_thread *self, struct block *at)
{
    struct weir_view view;
    stress_ok(weir_buffer_borrow(at->buffer, WEIR_WHERE_ANY, WEIR_WRITE, NULL, WEIR_NOW, &view));
    uint64_t *words = words_of(&view);
    at->written = self ? stress_random(self) : 1;
    for (size_t i = 0; i < view.bytes / 8; i++) words[i] = at->written;
    stress_ok(weir_view_return(&view));
}

static void exchange(struct stress_thread *self, struct block *at)
{
    stress_doing(self, "exchanging a block");
    stress_ok(weir_buffer_release(at->buffer));
    stress_ok(weir_buffer_acquire(pool, weir_deadline_after_ns(LAST_NS), &at->buffer));
    fill(self, at);
    (void)wi_add(&exchanges, 1, relaxed);
}

static void work(struct stress_thread *self)
{
    while (stress_going(self)) {
        uint64_t      roll = stress_below(self, 128);
        bool          alone = roll < 32 || roll >= 120;
        uint64_t      number = stress_below(self, stress_below(self, 4) ? blocks / 8 + 1 : blocks); /* some are hot */
        struct block *at = &block[number];
        stress_doing(self, "looking for a block");
        if ((alone ? pthread_rwlock_trywrlock(&at->lock) : pthread_rwlock_tryrdlock(&at->lock)) != 0) {
            stress_pause(self);
            continue;
        }
        if (roll < 16) host_write(self, at);
        else if (roll < 32) use_on_device(self, at, true);
        else if (roll < 64) use_on_device(self, at, false);
        else if (roll < 120) host_read(self, at);
        else if (roll < 126) exchange(self, at);
        else stay(self, at);
        pthread_rwlock_unlock(&at->lock);
        stress_step(self);
    }
}

static void cut(struct stress_thread *self)
{
    static const unsigned shares[][2] = {{4, 4}, {1, 1}, {0, 4}, {4, 0}, {2, 3}}; /* quarters */
    for (unsigned i = 0; stress_going(self); i++) {
        const unsigned *share = shares[i % (sizeof shares / sizeof shares[0])];
        stress_ok(weir_tier_set_budget(pool, (struct weir_tier_budget){.device_buffers = blocks / 4 * share[0] / 4,
                                                                      .pinned_buffers = blocks / 3 * share[1] / 4}));
        stress_doing(self, "sleeping between budgets");
        stress_sleep_ns(CUT_NS);
        stress_step(self);
    }
}

static void make_blocks(void)
{
    for (uint64_t i = 0; i < blocks; i++) {
        stress_require(pthread_rwlock_init(&block[i].lock, NULL) == 0);
        stress_ok(weir_buffer_acquire(pool, WEIR_NOW, &block[i].buffer));
        fill(NULL, &block[i]);
    }
}

static void check_and_release(void)
{
    for (uint64_t i = 0; i < blocks; i++) {
        struct weir_view view;
        stress_ok(weir_buffer_borrow(block[i].buffer, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view));
        check_words(words_of(&view), view.bytes, block[i].written);
        stress_ok(weir_view_return(&view));
        stress_ok(weir_buffer_release(block[i].buffer));
        pthread_rwlock_destroy(&block[i].lock);
    }
}

int main(int count, char **words)
{
    struct weir_runtime_info info = {.struct_size = sizeof info};
    struct weir_tier_stats   stats = {.struct_size = sizeof stats};
    stress_begin(&spec, count, words);
    stress_require(blocks >= 16 && blocks <= BLOCKS_MAX, "--blocks is from 16 to %d", BLOCKS_MAX);
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_runtime_info_read(rt, &info));
    if (!(info.flags & WEIR_INFO_DEVICE_IS_HOST)) {
        puts("tiered: skipped: the host cannot read this device's memory");
        weir_runtime_destroy(rt);
        return 77;
    }
    /* Some buffers more than blocks: a released one may wait for the device. */
    stress_ok(weir_tier_create(rt,
                               WEIR_OPTS(tier, .name = "tiered", .buffer_bytes = block_bytes, .buffers_max = blocks + 32,
                                         .device_buffers = blocks / 4, .pinned_buffers = blocks / 3,
                                         .period_ns = 2 * NS_PER_MS, .flags = WEIR_TIER_POISON),
                               &pool));
    make_blocks();
    stress_start(work, NULL, stress_threads());
    stress_start(cut, NULL, 1);
    stress_join();
    stress_ok(weir_runtime_sync(rt, 0, weir_deadline_after_ns(LAST_NS)));
    stress_ok(weir_tier_stats_read(pool, &stats));
    check_and_release();
    stress_check_rest(pool);
    stress_require(stats.buffers_device + stats.buffers_pinned + stats.buffers_pageable == blocks + 32);
    stress_require(stats.demands > 0, "no move was waited for");
    stress_note("host_reads", (double)wi_load(&host_reads, relaxed));
    stress_note("host_writes", (double)wi_load(&host_writes, relaxed));
    stress_note("device_reads", (double)wi_load(&device_reads, relaxed));
    stress_note("device_writes", (double)wi_load(&device_writes, relaxed));
    stress_note("moved_between_borrow_and_kernel", (double)wi_load(&moved_under, relaxed));
    stress_note("refused", (double)wi_load(&refused, relaxed));
    stress_note("exchanges", (double)wi_load(&exchanges, relaxed));
    stress_note("stays", (double)wi_load(&stays, relaxed));
    stress_note("periods", (double)stats.periods);
    stress_note("promotions", (double)(stats.promotions_device + stats.promotions_pinned));
    stress_note("demotions", (double)stats.demotions);
    stress_note("moves_dropped", (double)stats.moves_dropped);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return stress_end();
}
