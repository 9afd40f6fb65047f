/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/memory.h"

#include "base/alloc.h"
#include "base/log.h"
#include "memory/limits.h"
#include "memory/place.h"
#include "memory/slab_hooks.h"

#include <unistd.h>

static _Atomic uint64_t abandoned_bytes;

uint64_t wi_slab_abandoned_bytes(void)
{
    return wi_load(&abandoned_bytes, relaxed);
}

size_t wi_slab_chunk_bytes(const struct wi_slab *slab, size_t chunk)
{
    wi_assert(chunk < slab->chunks);
    return chunk + 1 < slab->chunks ? slab->chunk_bytes
                                    : slab->map_bytes - chunk * slab->chunk_bytes;
}

/*
 *      chunk 0                        chunk 1                     last
 *     |block|block|block| |          |block|block|block| |       |block| |
 *      stride_bytes      page        chunk_bytes                          map_bytes
 *
 * Registering wants whole pages, so a chunk ends at a page; that is the only memory beyond the
 * blocks.
 */
static int lay_out(const struct wi_slab_opts *opts, size_t chunk_bytes_max, struct wi_slab *slab)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes;
    WI_ENSURE(opts->block_bytes > 0, INVAL, .detail = "a slab's block_bytes is 0");
    WI_ENSURE(opts->blocks > 0, INVAL, .detail = "a slab's count of blocks is 0");
    WI_ENSURE(opts->block_bytes <= SIZE_MAX / 4, INVAL, .detail = "a slab's block_bytes is absurd",
              .wanted = opts->block_bytes);
    slab->block_bytes = opts->block_bytes;
    slab->stride_bytes = wi_round_up(opts->block_bytes, WI_BLOCK_ALIGN_BYTES);
    slab->blocks = opts->blocks;
    /* Each chunk adds less than a page to its blocks. */
    WI_ENSURE(!__builtin_mul_overflow(slab->stride_bytes + page_bytes, slab->blocks, &bytes) &&
                  bytes <= SIZE_MAX / 4,
              INVAL, .detail = "a slab's size overflows", .wanted = opts->blocks);

    slab->chunk_blocks = chunk_bytes_max / slab->stride_bytes;
    if (slab->chunk_blocks < 1) slab->chunk_blocks = 1;
    if (slab->chunk_blocks > slab->blocks) slab->chunk_blocks = slab->blocks;
    slab->chunks = (slab->blocks + slab->chunk_blocks - 1) / slab->chunk_blocks;
    slab->chunk_bytes = wi_round_up(slab->chunk_blocks * slab->stride_bytes, page_bytes);
    size_t last_blocks = slab->blocks - (slab->chunks - 1) * slab->chunk_blocks;
    slab->map_bytes = (slab->chunks - 1) * slab->chunk_bytes +
                      wi_round_up(last_blocks * slab->stride_bytes, page_bytes);
    return 0;
}

/* One allocation of the driver is one chunk. */
static void lay_out_whole(const struct wi_slab_opts *opts, struct wi_slab *slab)
{
    int err = lay_out(opts, SIZE_MAX, slab);
    wi_require(err == 0 && slab->chunks == 1);
}

static bool other_way_is_open(const struct wi_placing *placing)
{
    return placing->refused && placing->abandoned == 0 &&
           !wi_load(&placing->slab->device->lost, acquire);
}

/* Charged as what it is from here on. */
static int become_pageable(const struct wi_placing *placing, int reason)
{
    struct wi_slab   *slab = placing->slab;
    struct wi_budget *fallback = placing->opts->fallback;
    if (fallback) {
        WI_TRY(wi_budget_take(fallback, slab->map_bytes));
        wi_budget_give(slab->budget, slab->charged_bytes);
        slab->budget = fallback;
        slab->charged_bytes = slab->map_bytes;
    }
    wi_log(WARN, "memory", "pinning %zu MiB failed (%s): the slab is pageable, and copies from it will be slower",
           slab->map_bytes >> 20, weir_errname(reason));
    slab->memory = WEIR_MEMORY_PAGEABLE;
    return 0;
}

static int place_pinned(struct wi_placing *placing)
{
    struct wi_slab *slab = placing->slab;
    int             err = wi_place_mapped(placing, true);
    if (err == WEIR_ENOSYS && !slab->fixed && !slab->source.give && other_way_is_open(placing)) {
        struct wi_slab chunked = *slab;
        char           text[256];
        (void)weir_error_text(text, sizeof text);
        lay_out_whole(placing->opts, slab);
        wi_log(INFO, "memory", "the driver allocates %zu MiB itself, since registering failed: %s",
               slab->map_bytes >> 20, text);
        err = wi_place_driver_owned(placing);
        if (err == 0) {
            wi_assert(slab->map_bytes <= slab->charged_bytes);
            wi_budget_give(slab->budget, slab->charged_bytes - slab->map_bytes);
            slab->charged_bytes = slab->map_bytes;
        } else {
            chunked.chunk_device[0] = 0;
            *slab = chunked;
        }
    }
    if (err < 0 && other_way_is_open(placing) && (placing->opts->flags & WI_SLAB_PAGEABLE_OK)) {
        WI_TRY(become_pageable(placing, err));
        placing->refused = false;
        err = wi_place_mapped(placing, false);
    }
    return err;
}

static int place(struct wi_placing *placing)
{
    const struct wi_slab *slab = placing->slab;
    struct wi_device     *device = slab->device;
    if (slab->memory != WEIR_MEMORY_PAGEABLE)
        WI_ENSURE(!wi_load(&device->lost, acquire), DEVICE,
                  .detail = "no slab is made for a lost device");
    if (slab->memory == WEIR_MEMORY_DEVICE) return wi_place_device(placing);
    if (!slab->source.give) {
        WI_TRY(wi_memory_suffices(slab->map_bytes));
        WI_TRY(wi_place_nodes(placing));
    }
    return slab->memory == WEIR_MEMORY_PINNED ? place_pinned(placing)
                                              : wi_place_mapped(placing, false);
}

/* Chunks without a rest at their ends, and the device sees them as the host does: one behind the other. */
static void look_whether_even(struct wi_slab *slab)
{
    uint64_t device = slab->memory == WEIR_MEMORY_DEVICE ? slab->device_base : slab->chunk_device[0];
    if (slab->chunks > 1 && slab->chunk_bytes != slab->chunk_blocks * slab->stride_bytes) return;
    for (size_t chunk = 1; chunk < slab->chunks; chunk++) {
        uint64_t in_line = device ? device + chunk * slab->chunk_bytes : 0;
        if (slab->chunk_device[chunk] != in_line) return;
    }
    slab->even.host = (uintptr_t)slab->base;
    slab->even.device = device;
    slab->even.host_stride = slab->base ? slab->stride_bytes : 0;
    slab->even.device_stride = device ? slab->stride_bytes : 0;
    slab->even.is = true;
}

static WI_COLD void abandon(const struct wi_slab *slab, size_t bytes)
{
    (void)wi_add(&abandoned_bytes, bytes, relaxed);
    wi_log(ERROR, "memory", "%zu MiB of %zu MiB stay with a device that may still reach them",
           bytes >> 20, slab->map_bytes >> 20);
}

static void forget(struct wi_slab *slab, size_t abandoned)
{
    if (abandoned > 0) abandon(slab, abandoned);
    wi_assert(abandoned <= slab->charged_bytes);
    wi_budget_give(slab->budget, slab->charged_bytes - abandoned);
    wi_free(slab->chunk_device);
    wi_free(slab);
}

int wi_slab_create(const struct wi_slab_opts *opts, struct wi_slab **out)
{
    wi_assert(opts->device && opts->budget);
    struct wi_slab plan = {
        .device = opts->device,
        .budget = opts->budget,
        .memory = opts->memory ? opts->memory : WEIR_MEMORY_PINNED,
        .fixed = opts->at != NULL,
    };
    if (opts->source) plan.source = *opts->source;
    wi_assert(!plan.fixed || plan.memory != WEIR_MEMORY_DEVICE);
    wi_assert(!opts->source || (plan.source.give && !plan.fixed && plan.memory != WEIR_MEMORY_DEVICE));
    WI_ENSURE(plan.memory <= WEIR_MEMORY_PAGEABLE, INVAL, .detail = "no such kind of memory",
              .wanted = plan.memory);
    size_t chunk_bytes_max = opts->chunk_bytes_max ? opts->chunk_bytes_max : WI_CHUNK_BYTES_MAX;
    WI_TRY(lay_out(opts, plan.memory == WEIR_MEMORY_DEVICE ? SIZE_MAX : chunk_bytes_max, &plan));

    WI_TRY(wi_budget_take(plan.budget, plan.map_bytes));
    plan.charged_bytes = plan.map_bytes;
    plan.chunk_device = wi_calloc(plan.chunks, sizeof *plan.chunk_device);
    struct wi_slab *slab = wi_calloc(1, sizeof *slab);
    if (!slab || !plan.chunk_device) {
        wi_budget_give(plan.budget, plan.charged_bytes);
        wi_free(plan.chunk_device);
        wi_free(slab);
        return WI_FAIL(NOMEM, .detail = "no memory for a slab's own record");
    }
    *slab = plan;
    struct wi_placing placing = {.opts = opts, .slab = slab};
    int               err = place(&placing);
    if (err < 0) {
        if (opts->abandoned) *opts->abandoned = placing.abandoned;
        forget(slab, placing.abandoned);
        return err;
    }
    look_whether_even(slab);
    *out = slab;
    return 0;
}

size_t wi_slab_destroy(struct wi_slab *slab)
{
    if (!slab) return 0;
    wi_slab_hide(slab);
    size_t abandoned = wi_place_release(slab);
    forget(slab, abandoned);
    return abandoned;
}

void wi_slab_abandon(struct wi_slab *slab)
{
    if (!slab) return;
    wi_slab_hide(slab);
    forget(slab, slab->charged_bytes);
}

struct wi_block wi_slab_block_in_chunk(const struct wi_slab *slab, size_t index)
{
    size_t chunk = index / slab->chunk_blocks;
    size_t within = index % slab->chunk_blocks * slab->stride_bytes;
    if (slab->memory == WEIR_MEMORY_DEVICE) return (struct wi_block){.device = slab->device_base + within};
    uint64_t device = slab->chunk_device[chunk];
    return (struct wi_block){
        .host = slab->base + chunk * slab->chunk_bytes + within,
        .device = device ? device + within : 0,
    };
}

size_t wi_slab_find(const struct wi_slab *slab, const void *host)
{
    size_t offset = (size_t)((uintptr_t)host - (uintptr_t)slab->base);
    if (!slab->base || offset >= slab->map_bytes) return SIZE_MAX;
    size_t within = offset % slab->chunk_bytes;
    size_t slot = within / slab->stride_bytes;
    size_t index = offset / slab->chunk_bytes * slab->chunk_blocks + slot;
    /*
     * Behind a chunk's last block is the rest of its page; behind a block the rest of its stride.
     */
    if (slot >= slab->chunk_blocks || index >= slab->blocks ||
        within % slab->stride_bytes >= slab->block_bytes)
        return SIZE_MAX;
    return index;
}
