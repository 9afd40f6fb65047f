/* SPDX-License-Identifier: Apache-2.0 */
/* emu_memory.c - the table of ranges: device memory, registered host memory, host memory made here */
#include "device/emu_state.h"

#include "base/alloc.h"

#include <string.h>
#include <sys/mman.h>

#define DEVICE_ALIGN_BYTES 256
#define TABLE_FIRST_COUNT  64

/* Index of the first range whose base is above the address. */
static size_t upper_bound_locked(const struct wi_emu *emu, uint64_t address)
{
    size_t low = 0, high = emu->ranges_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (emu->ranges[middle]->base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int wi_emu_range_resolve_locked(struct wi_emu *emu, uint64_t address, size_t bytes,
                                struct emu_range **range)
{
    size_t            above = upper_bound_locked(emu, address);
    struct emu_range *below = above > 0 ? emu->ranges[above - 1] : NULL;
    uint64_t          end;

    if (__builtin_add_overflow(address, bytes, &end))
        return wi_emu_refuse(WEIR_EINVAL, "the range wraps around the address space");
    if (below != NULL && address - below->base < below->bytes) {
        if (end - below->base > below->bytes)
            return wi_emu_refuse(WEIR_EINVAL,
                                 "the copy runs past the end of its registration or allocation");
        *range = below;
        return 0;
    }
    if (above < emu->ranges_count && emu->ranges[above]->base < end)
        return wi_emu_refuse(WEIR_EINVAL, "the copy starts before its registration or allocation");
    *range = NULL;
    return 0;
}

int wi_emu_range_find(struct wi_emu *emu, uint64_t address, struct wi_emu_range_info *out)
{
    struct emu_range *range = NULL;

    pthread_mutex_lock(&emu->lock);
    (void)wi_emu_range_resolve_locked(emu, address, 1, &range);
    if (range != NULL)
        *out = (struct wi_emu_range_info){.base = range->base,
                                          .bytes = range->bytes,
                                          .kind = range->kind,
                                          .pending = range->pending};
    pthread_mutex_unlock(&emu->lock);
    return range != NULL ? 0 : wi_emu_refuse(WEIR_ENOENT, "the address is in no range");
}

/*
 * Mappings of their own, because heap memory of the caller that is registered must never lie on a page beside device
 * memory. Pages come with their first use, so a device may claim more than the host has.
 */
static void *map_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory != MAP_FAILED ? memory : NULL;
}

/* Room for one more. */
static bool table_reserve_locked(struct wi_emu *emu)
{
    size_t capacity = emu->ranges_capacity > 0 ? 2 * emu->ranges_capacity : TABLE_FIRST_COUNT;
    struct emu_range **ranges;

    if (emu->ranges_count < emu->ranges_capacity) return true;
    ranges = wi_calloc(capacity, sizeof(struct emu_range *));
    if (ranges == NULL) return false;
    if (emu->ranges_count > 0)
        memcpy(ranges, emu->ranges, emu->ranges_count * sizeof(struct emu_range *));
    wi_free(emu->ranges);
    emu->ranges = ranges;
    emu->ranges_capacity = capacity;
    return true;
}

/* NULL: no memory. pre: it overlaps none. */
static struct emu_range *range_make_locked(struct wi_emu *emu, const struct emu_range *like)
{
    size_t            at = upper_bound_locked(emu, like->base);
    struct emu_range *range;

    if (!table_reserve_locked(emu)) return NULL;
    range = wi_emu_arena_take(&emu->range_records);
    if (range == NULL) return NULL;
    *range = *like;
    memmove(&emu->ranges[at + 1], &emu->ranges[at],
            (emu->ranges_count - at) * sizeof(struct emu_range *));
    emu->ranges[at] = range;
    emu->ranges_count++;
    return range;
}

/* Find by base and kind, see that nothing is pending on it, take it out of the table. */
static int range_remove_locked(struct wi_emu *emu, uint64_t base, uint32_t kind,
                               struct emu_range *out)
{
    size_t            above = upper_bound_locked(emu, base);
    struct emu_range *range = above > 0 ? emu->ranges[above - 1] : NULL;

    if (range == NULL || range->base != base || range->kind != kind)
        return wi_emu_refuse(WEIR_ENOENT, "the address is not the base of such a range");
    if (range->pending > 0)
        return wi_emu_misuse_locked(emu, "memory given up while device work is pending on it");
    if (out->bytes != 0 && out->bytes != range->bytes)
        return wi_emu_refuse(WEIR_EINVAL, "the range was registered with another length");
    *out = *range;
    emu->ranges_count--;
    memmove(&emu->ranges[above - 1], &emu->ranges[above],
            (emu->ranges_count - (above - 1)) * sizeof(struct emu_range *));
    wi_emu_arena_give(&emu->range_records, range);
    return 0;
}

int wi_emu_memory(struct wi_emu *emu, uint64_t *bytes_free, uint64_t *bytes_total)
{
    WI_TRY(wi_emu_enter(emu, WI_EMU_MEMORY));
    *bytes_total = emu->opts.model.memory_bytes;
    *bytes_free = emu->opts.model.memory_bytes - emu->stats.device_bytes;
    return wi_emu_leave(emu, 0);
}

/* ---- registered host memory ---- */

static int host_register_locked(struct wi_emu *emu, const struct emu_range *like)
{
    size_t            above = upper_bound_locked(emu, like->base);
    struct emu_range *below = above > 0 ? emu->ranges[above - 1] : NULL;
    uint64_t          end;

    if (like->bytes == 0) return wi_emu_refuse(WEIR_EINVAL, "an empty range");
    if (__builtin_add_overflow(like->base, like->bytes, &end))
        return wi_emu_refuse(WEIR_EINVAL, "the range wraps around the address space");
    if (below != NULL && like->base - below->base < below->bytes)
        return wi_emu_refuse(WEIR_EBUSY, "the range begins in one that is registered or allocated");
    if (above < emu->ranges_count && emu->ranges[above]->base < end)
        return wi_emu_refuse(WEIR_EBUSY, "the range runs into one that is registered or allocated");
    if (range_make_locked(emu, like) == NULL)
        return wi_emu_refuse(WEIR_ENOMEM, "no memory for the table of ranges");
    emu->stats.registrations++;
    emu->stats.registered_bytes += like->bytes;
    return 0;
}

int wi_emu_host_register(struct wi_emu *emu, void *base, size_t bytes)
{
    struct emu_range like = {
        .base = (uintptr_t)base, .bytes = bytes, .kind = WI_EMU_RANGE_REGISTERED};

    WI_TRY(wi_emu_enter(emu, WI_EMU_HOST_REGISTER));
    return wi_emu_leave(emu, host_register_locked(emu, &like));
}

int wi_emu_host_unregister(struct wi_emu *emu, void *base, size_t bytes)
{
    struct emu_range range = {.bytes = bytes};
    int              err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_HOST_UNREGISTER));
    err = range_remove_locked(emu, (uintptr_t)base, WI_EMU_RANGE_REGISTERED, &range);
    if (err == 0) {
        emu->stats.registrations--;
        emu->stats.registered_bytes -= range.bytes;
    }
    return wi_emu_leave(emu, err);
}

/* ---- host memory made here ---- */

int wi_emu_host_alloc(struct wi_emu *emu, size_t bytes, void **base)
{
    struct emu_range like = {.bytes = bytes, .kind = WI_EMU_RANGE_HOST};
    void            *memory;

    WI_TRY(wi_emu_enter(emu, WI_EMU_HOST_ALLOC));
    if (bytes == 0) return wi_emu_leave(emu, wi_emu_refuse(WEIR_EINVAL, "an empty allocation"));
    memory = map_memory(bytes);
    if (memory == NULL) return wi_emu_leave(emu, wi_emu_refuse(WEIR_ENOMEM, "mmap failed"));
    like.base = (uintptr_t)memory;
    if (range_make_locked(emu, &like) == NULL) {
        munmap(memory, bytes);
        return wi_emu_leave(emu, wi_emu_refuse(WEIR_ENOMEM, "no memory for the table of ranges"));
    }
    emu->stats.host_allocations++;
    emu->stats.host_bytes += bytes;
    *base = memory;
    return wi_emu_leave(emu, 0);
}

int wi_emu_host_free(struct wi_emu *emu, void *base)
{
    struct emu_range range = {0};
    int              err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_HOST_FREE));
    err = range_remove_locked(emu, (uintptr_t)base, WI_EMU_RANGE_HOST, &range);
    if (err == 0) {
        emu->stats.host_allocations--;
        emu->stats.host_bytes -= range.bytes;
    }
    wi_emu_leave(emu, err);
    /* Outside the lock: giving back a gigabyte takes long. */
    if (err == 0) munmap(base, range.bytes);
    return err;
}

/* ---- device memory ---- */

static int device_alloc_locked(struct wi_emu *emu, size_t bytes, uint64_t *address)
{
    struct emu_range like = {.kind = WI_EMU_RANGE_DEVICE};
    uint64_t         bytes_free = emu->opts.model.memory_bytes - emu->stats.device_bytes;
    void            *memory;

    if (bytes == 0) return wi_emu_refuse(WEIR_EINVAL, "an empty allocation");
    /* Compared before rounding, which could wrap. */
    if (bytes > bytes_free || wi_round_up(bytes, DEVICE_ALIGN_BYTES) > bytes_free)
        return wi_emu_refuse(WEIR_EDEVMEM, "the emulated device has less free memory");
    like.bytes = wi_round_up(bytes, DEVICE_ALIGN_BYTES);
    memory = map_memory(like.bytes);
    if (memory == NULL)
        return wi_emu_refuse(WEIR_EDEVMEM, "the host has no memory for the emulated device");
    like.base = (uintptr_t)memory;
    if (range_make_locked(emu, &like) == NULL) {
        munmap(memory, like.bytes);
        return wi_emu_refuse(WEIR_ENOMEM, "no memory for the table of ranges");
    }
    emu->stats.device_allocations++;
    emu->stats.device_bytes += like.bytes;
    *address = like.base;
    return 0;
}

int wi_emu_device_alloc(struct wi_emu *emu, size_t bytes, uint64_t *address)
{
    WI_TRY(wi_emu_enter(emu, WI_EMU_DEVICE_ALLOC));
    return wi_emu_leave(emu, device_alloc_locked(emu, bytes, address));
}

int wi_emu_device_free(struct wi_emu *emu, uint64_t address)
{
    struct emu_range range = {0};
    int              err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_DEVICE_FREE));
    err = range_remove_locked(emu, address, WI_EMU_RANGE_DEVICE, &range);
    if (err == 0) {
        emu->stats.device_allocations--;
        emu->stats.device_bytes -= range.bytes;
    }
    wi_emu_leave(emu, err);
    if (err == 0) munmap((void *)(uintptr_t)address, range.bytes);
    return err;
}

void wi_emu_memory_fini(struct wi_emu *emu)
{
    for (size_t i = 0; i < emu->ranges_count; i++) {
        struct emu_range *range = emu->ranges[i];

        if (range->kind != WI_EMU_RANGE_REGISTERED)
            munmap((void *)(uintptr_t)range->base, range->bytes);
    }
    wi_free(emu->ranges);
    emu->ranges = NULL;
    emu->ranges_count = 0;
}
