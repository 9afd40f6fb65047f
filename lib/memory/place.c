/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/place.h"

#include "base/log.h"
#include "memory/limits.h"
#include "memory/source.h"
#include "memory/numa.h"
#include "memory/populate.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Registering holds a lock of the whole driver; between two chunks others get their turn. */
#define CHUNK_PAUSE_NS (100 * WI_NS_PER_US)

static void pause_between_chunks(void)
{
    struct timespec pause = {.tv_nsec = (long)CHUNK_PAUSE_NS};
    /* tidy-allow: clock_nanosleep, because nothing is waited for; others get the lock. */
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static int report(const struct wi_placing *placing, size_t bytes_ready)
{
    const struct wi_slab_opts *opts = placing->opts;
    if (!opts->progress || opts->progress(opts->ctx, bytes_ready, placing->slab->map_bytes) == 0)
        return 0;
    return WI_FAIL(CANCELED, .detail = "the progress function cancelled the making of a slab");
}

static uint64_t device_node(struct wi_device *device, uint64_t online)
{
    struct weir_runtime_info info = {.struct_size = sizeof info};
    device->ops->info(device, &info);
    if (info.numa_node < 0 || info.numa_node > 63) return 0;
    return online & (UINT64_C(1) << info.numa_node);
}

/*
 * Binding strictly makes the kernel drop page cache of the right node rather than go to a wrong
 * one. But on a node that is full for good it kills processes, so there the device's node is only
 * preferred, and a mask that the caller gave is refused.
 */
int wi_place_nodes(struct wi_placing *placing)
{
    const struct wi_slab_opts *opts = placing->opts;
    uint64_t                   online = wi_numa_online();
    placing->nodes = 0;
    if ((online & (online - 1)) == 0) return 0;
    WI_ENSURE(opts->numa_mask == 0 || (opts->numa_mask & online) != 0, INVAL,
              .detail = "numa_mask names no node of this system", .limit = "nodes online",
              .limit_value = online, .wanted = opts->numa_mask);
    uint64_t nodes = opts->numa_mask ? opts->numa_mask & online : device_node(opts->device, online);
    if (nodes == 0 || nodes == online) return 0;

    size_t   bytes = placing->slab->map_bytes;
    uint64_t available = wi_numa_available_bytes(nodes);
    placing->nodes = nodes;
    placing->strength = WI_BIND_STRICT;
    if (available >= bytes) return 0;
    WI_ENSURE(opts->numa_mask == 0, EXCEEDS, .limit = "memory of the nodes in numa_mask",
              .limit_value = available, .wanted = bytes);
    placing->strength = WI_BIND_PREFER;
    wi_log(WARN, "memory",
           "the device's NUMA node has %llu MiB left for a slab of %zu MiB: using other nodes too",
           (unsigned long long)(available >> 20), bytes >> 20);
    return 0;
}

static int bind(const struct wi_placing *placing)
{
    const struct wi_slab *slab = placing->slab;
    if (placing->nodes == 0) return 0;
    int rc = wi_numa_bind(slab->base, slab->map_bytes, placing->nodes, placing->strength);
    if (rc == 0) return 0;
    WI_ENSURE(rc != -EINVAL || placing->opts->numa_mask == 0, INVAL, .call = "mbind",
              .sys_errno = EINVAL, .detail = "numa_mask names nodes that this process may not use",
              .wanted = placing->nodes);
    /*
     * Containers often forbid mbind. The populating threads still run on the nodes' CPUs and touch
     * first.
     */
    wi_log(WARN, "memory",
           "cannot bind a slab to NUMA nodes 0x%llx (errno %d): first touch places its pages",
           (unsigned long long)placing->nodes, -rc);
    return 0;
}

/* The pages go, the addresses stay reserved. */
static void unmap_fixed(char *base, size_t bytes)
{
    void *at = mmap(base, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (at != MAP_FAILED) return;
    int sys_errno = errno;
    (void)madvise(base, bytes, MADV_DONTNEED);
    wi_log(WARN, "memory", "mmap over %zu MiB failed (errno %d): their pages are given back all the same", bytes >> 20,
           sys_errno);
}

static void unmap(char *base, size_t bytes)
{
    if (bytes == 0 || munmap(base, bytes) == 0) return;
    /*
     * Unmapping the middle of a mapping can exceed vm.max_map_count. The pages go, the addresses
     * stay.
     */
    int sys_errno = errno;
    (void)madvise(base, bytes, MADV_DONTNEED);
    wi_log(WARN, "memory", "munmap of %zu MiB failed (errno %d): the address range is lost",
           bytes >> 20, sys_errno);
}

static int map_fixed(struct wi_slab *slab, void *at)
{
    if (mmap(at, slab->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        return wi_map_refused(slab->map_bytes, errno);
    slab->base = at;
    return 0;
}

/* A huge page needs its own alignment, which mmap gives only from Linux 6.7 on. */
static int map(struct wi_slab *slab)
{
    size_t slack = slab->map_bytes >= WI_HUGE_PAGE_BYTES ? WI_HUGE_PAGE_BYTES : 0;
    char  *at = mmap(NULL, slab->map_bytes + slack, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return wi_map_refused(slab->map_bytes + slack, errno);
    size_t skip = slack ? (size_t)(-(uintptr_t)at & (WI_HUGE_PAGE_BYTES - 1)) : 0;
    unmap(at, skip);
    unmap(at + skip + slab->map_bytes, slack - skip);
    slab->base = at + skip;
    return 0;
}

static int obtain(struct wi_placing *placing)
{
    struct wi_slab *slab = placing->slab;
    if (slab->source.give) return wi_source_take(slab, placing->opts->numa_mask);
    return slab->fixed ? map_fixed(slab, placing->opts->at) : map(slab);
}

static int pin_chunk(struct wi_placing *placing, size_t chunk)
{
    struct wi_slab   *slab = placing->slab;
    struct wi_device *device = slab->device;
    size_t            bytes = wi_slab_chunk_bytes(slab, chunk);
    int err = device->ops->host_register(device, slab->base + chunk * slab->chunk_bytes, bytes,
                                         &slab->chunk_device[chunk]);
    if (err == 0) {
        wi_assert(slab->chunk_device[chunk] != 0);
        return 0;
    }
    placing->refused = true;
    return wi_pin_refused(err, chunk * slab->chunk_bytes + bytes);
}

static int fill_chunk(struct wi_placing *placing, struct wi_populate *crew, size_t chunk)
{
    size_t start = chunk * placing->slab->chunk_bytes;
    size_t end = start + wi_slab_chunk_bytes(placing->slab, chunk);
    while (wi_populate_ready(crew) < end) {
        WI_TRY(report(placing, start));
        WI_TRY(wi_populate_step(crew));
    }
    return 0;
}

static int fill_and_pin(struct wi_placing *placing, struct wi_populate *crew, bool pin)
{
    struct wi_slab *slab = placing->slab;
    for (size_t chunk = 0; chunk < slab->chunks; chunk++) {
        WI_TRY(fill_chunk(placing, crew, chunk));
        if (pin && chunk > 0) pause_between_chunks();
        if (pin) WI_TRY(pin_chunk(placing, chunk));
    }
    return report(placing, slab->map_bytes);
}

int wi_place_mapped(struct wi_placing *placing, bool pin)
{
    struct wi_slab     *slab = placing->slab;
    struct wi_populate *crew = NULL;
    WI_TRY(obtain(placing));
    struct wi_populate_opts opts = {
        .base = slab->base,
        .bytes = slab->map_bytes,
        .nodes = placing->nodes,
        .threads_max = placing->opts->threads_max,
        .unadvised = slab->source.give != NULL,
    };
    int err = bind(placing);
    if (err == 0) err = wi_populate_start(&opts, &crew);
    if (err == 0) err = fill_and_pin(placing, crew, pin);
    /* Helpers must be gone before what they fill is unmapped. */
    wi_populate_end(crew);
    if (err < 0) placing->abandoned += wi_place_release(slab);
    return err;
}

int wi_place_driver_owned(struct wi_placing *placing)
{
    struct wi_slab   *slab = placing->slab;
    struct wi_device *device = slab->device;
    void             *base;
    int err = device->ops->host_alloc(device, slab->map_bytes, &base, &slab->chunk_device[0]);
    if (err < 0) {
        placing->refused = true;
        return wi_pin_refused(err, slab->map_bytes);
    }
    wi_assert((uintptr_t)base % WI_BLOCK_ALIGN_BYTES == 0);
    slab->base = base;
    slab->driver_owned = 1;
    err = report(placing, slab->map_bytes);
    if (err < 0) placing->abandoned += wi_place_release(slab);
    return err;
}

int wi_place_device(struct wi_placing *placing)
{
    struct wi_slab   *slab = placing->slab;
    struct wi_device *device = slab->device;
    WI_TRY(device->ops->device_alloc(device, slab->map_bytes, &slab->device_base));
    int err = report(placing, slab->map_bytes);
    if (err < 0) placing->abandoned += wi_place_release(slab);
    return err;
}

/* Chunk by chunk, so that memory comes back while the driver is still busy with the rest. */
static size_t release_mapped(struct wi_slab *slab)
{
    struct wi_device *device = slab->device;
    size_t            abandoned = 0;
    for (size_t chunk = 0; chunk < slab->chunks; chunk++) {
        char  *base = slab->base + chunk * slab->chunk_bytes;
        size_t bytes = wi_slab_chunk_bytes(slab, chunk);
        if (slab->chunk_device[chunk] != 0) {
            if (wi_load(&device->lost, acquire) ||
                device->ops->host_unregister(device, base, bytes) < 0) {
                abandoned += bytes;
                continue;
            }
            slab->chunk_device[chunk] = 0;
            if (chunk + 1 < slab->chunks) pause_between_chunks();
        }
        if (slab->source.give) continue;
        if (slab->fixed)
            unmap_fixed(base, bytes);
        else
            unmap(base, bytes);
    }
    if (!slab->source.give) return abandoned;
    if (abandoned > 0) return slab->map_bytes;
    slab->source.give(slab->source.ctx, slab->base, slab->map_bytes);
    return 0;
}

size_t wi_place_release(struct wi_slab *slab)
{
    struct wi_device *device = slab->device;
    bool              lost = wi_load(&device->lost, acquire) != 0;
    size_t            abandoned = 0;
    if (slab->device_base != 0) {
        if (lost || device->ops->device_free(device, slab->device_base) < 0)
            abandoned = slab->map_bytes;
    } else if (slab->driver_owned) {
        if (lost || device->ops->host_free(device, slab->base, slab->map_bytes) < 0)
            abandoned = slab->map_bytes;
        slab->chunk_device[0] = 0;
    } else if (slab->base) {
        abandoned = release_mapped(slab);
    }
    slab->base = NULL;
    slab->device_base = 0;
    slab->driver_owned = 0;
    return abandoned;
}
