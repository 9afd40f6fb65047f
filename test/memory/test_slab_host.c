/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs on the host backend: its emulation refuses what a driver would refuse, and moves the bytes.
 */
#include "device/host.h"
#include "memory/memory.h"

#include <criterion/criterion.h>
#include <string.h>

#define MIB ((size_t)1 << 20)

static struct wi_device *device;
static struct wi_budget  budget;

static void set_up(void)
{
    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    wi_budget_init(&budget, "pinned_bytes_max", "WEIR_PINNED_BYTES_MAX", 1024 * MIB);
}

static void tear_down(void)
{
    device->ops->close(device);
}

TestSuite(slab_host, .init = set_up, .fini = tear_down, .timeout = 240);

static struct wi_emu_stats stats(void)
{
    struct wi_emu_stats now;
    wi_emu_stats_read(wi_host_emu(device), &now);
    return now;
}

static struct wi_slab *make(uint32_t memory, size_t block_bytes, size_t blocks)
{
    struct wi_slab *slab = NULL;
    cr_assert_eq(wi_slab_create(&(struct wi_slab_opts){.device = device,
                                                       .budget = &budget,
                                                       .memory = memory,
                                                       .block_bytes = block_bytes,
                                                       .blocks = blocks,
                                                       .chunk_bytes_max = 8 * MIB},
                                &slab),
                 0);
    return slab;
}

static void copy(uint32_t kind, uint64_t dst, uint64_t src, size_t bytes, void *stream)
{
    cr_assert_eq(
        device->ops->copy(device,
                          &(struct wi_copy){.dst = dst, .src = src, .bytes = bytes, .kind = kind},
                          stream),
        0);
}

static void drain(void *stream)
{
    void *event;
    cr_assert_eq(device->ops->event_create(device, 0, &event), 0);
    cr_assert_eq(device->ops->event_record(device, event, stream), 0);
    cr_assert_eq(device->ops->event_sync(device, event), 0);
    cr_assert_eq(device->ops->event_destroy(device, event), 0);
}

Test(slab_host, every_block_travels_whole)
{
    size_t          block_bytes = 3 * MIB + 777;
    size_t          blocks = 9;
    struct wi_slab *pinned = make(WEIR_MEMORY_PINNED, block_bytes, blocks);
    struct wi_slab *memory = make(WEIR_MEMORY_DEVICE, block_bytes, blocks);
    void           *stream;
    cr_assert_eq(stats().registrations, pinned->chunks);
    cr_assert_eq(stats().registered_bytes, pinned->map_bytes);
    cr_assert_eq(stats().device_allocations, 1);
    cr_assert_eq(wi_load(&budget.bytes, relaxed), pinned->map_bytes + memory->map_bytes);
    cr_assert_eq(device->ops->stream_create(device, 0, &stream), 0);

    for (size_t index = 0; index < blocks; index++) {
        struct wi_block host = wi_slab_block(pinned, index);
        memset(host.host, (int)index + 1, block_bytes);
        copy(WI_COPY_UP, wi_slab_block(memory, index).device, (uint64_t)(uintptr_t)host.host,
             block_bytes, stream);
    }
    drain(stream);
    for (size_t index = 0; index < blocks; index++) {
        struct wi_block host = wi_slab_block(pinned, blocks - 1 - index);
        copy(WI_COPY_DOWN, (uint64_t)(uintptr_t)host.host, wi_slab_block(memory, index).device,
             block_bytes, stream);
    }
    drain(stream);
    for (size_t index = 0; index < blocks; index++) {
        const char *host = wi_slab_block(pinned, blocks - 1 - index).host;
        for (size_t at = 0; at < block_bytes; at++) cr_assert_eq(host[at], (char)(index + 1));
    }
    cr_assert_eq(stats().pageable_copies, 0, "pinned memory is known as pinned to the last byte");

    cr_assert_eq(device->ops->stream_destroy(device, stream), 0);
    wi_slab_destroy(pinned);
    wi_slab_destroy(memory);
    cr_assert_eq(stats().registrations, 0);
    cr_assert_eq(stats().device_allocations, 0);
    cr_assert_eq(stats().misuses, 0);
    cr_assert_eq(wi_load(&budget.bytes, relaxed), 0);
}

Test(slab_host, device_memory_used_up_is_told_and_charges_nothing)
{
    struct wi_slab *slab = NULL;
    uint64_t        bytes_free, bytes_total;
    cr_assert_eq(device->ops->memory(device, &bytes_free, &bytes_total), 0);
    wi_store(&budget.bytes_max, UINT64_MAX, relaxed);
    cr_assert_eq(wi_slab_create(&(struct wi_slab_opts){.device = device,
                                                       .budget = &budget,
                                                       .memory = WEIR_MEMORY_DEVICE,
                                                       .block_bytes = bytes_total,
                                                       .blocks = 2},
                                &slab),
                 WEIR_EDEVMEM);
    cr_assert_eq(wi_load(&budget.bytes, relaxed), 0);
}
