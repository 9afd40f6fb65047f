/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - budgets, and slabs of equal blocks
 *
 * A slab is a range of address space: reserved, bound to a NUMA node, populated in parallel,
 * registered with the device in chunks, and cut into blocks. No block straddles a chunk, because a
 * copy must not span two registrations. Chunks are at most WI_CHUNK_BYTES_MAX (or one block, if
 * larger), with a pause between them: one large registration holds a driver-wide lock for seconds
 * and stalls other processes.
 *
 * Thread: the monitor, or the creator of a pool. Progress: blocks.
 * Sources: mmap + populate + chunked register as in Dynamo, vLLM and pegaflow (2026).
 */
#ifndef WI_MEMORY_H
#define WI_MEMORY_H

#include "base/atomic.h"
#include "base/base.h"
#include "device/device.h"

#include <weir/pool.h>

#define WI_CHUNK_BYTES_MAX   ((size_t)256 << 20)
#define WI_BLOCK_ALIGN_BYTES 512

/*
 * A hard limit in bytes. Any thread. Progress: lock-free. Law: bytes <= bytes_max at every moment a
 * take succeeds.
 */
struct wi_budget {
    const char      *name;    /* "pinned_bytes_max": named in EXCEEDS   */
    const char      *setting; /* "WEIR_PINNED_BYTES_MAX"                */
    _Atomic uint64_t bytes_max;
    _Atomic uint64_t bytes;
};

void wi_budget_init(struct wi_budget *budget, const char *name, const char *setting,
                    uint64_t bytes_max);
/* Fails: EXCEEDS, naming the budget, its value, what was wanted and the setting. */
int  wi_budget_take(struct wi_budget *budget, uint64_t bytes);
void wi_budget_give(struct wi_budget *budget, uint64_t bytes);

struct wi_slab_hooks;

struct wi_slab_opts {
    struct wi_device *device;
    struct wi_budget *budget;
    struct wi_budget *fallback; /* charged instead where WI_SLAB_PAGEABLE_OK takes effect; NULL: `budget` stays charged */
    size_t            block_bytes; /* usable bytes of a block */
    size_t            blocks;
    uint32_t          memory;          /* enum weir_memory; 0: pinned */
    uint32_t          flags;           /* WI_SLAB_* */
    uint64_t          numa_mask;       /* 0: the device's node; no effect on a one-node system */
    size_t            chunk_bytes_max; /* whole pages; 0: WI_CHUNK_BYTES_MAX */
    uint32_t          threads_max;     /* that populate; 0: as many as pay */
    uint32_t          reserved;
    const struct weir_memory_source *source; /* of host memory; NULL: the system. Not together with `at` */
    void             *at; /* where, in addresses that the caller has reserved (memory/range.h); NULL: anywhere */
    size_t           *abandoned; /* given the bytes that a failure could not undo; or NULL */
    /*
     * Called on the creator's thread, on no lock, between steps; at the end with bytes_ready ==
     * bytes_total. Ready bytes are populated and registered. Nonzero cancels: everything is undone,
     * CANCELED. It starts again from 0 where another way to get the memory is tried.
     */
    int (*progress)(void *ctx, size_t bytes_ready, size_t bytes_total);
    void *ctx;
};

enum wi_slab_flags { WI_SLAB_PAGEABLE_OK = 1 };

struct wi_slab {
    struct wi_device *device;
    struct wi_budget *budget;
    char             *base;          /* of block 0 and the mapping; NULL for device memory */
    uint64_t          device_base;   /* device memory only */
    size_t            map_bytes;     /* whole mapping */
    size_t            charged_bytes; /* what the budget was charged */
    size_t            block_bytes;
    size_t            stride_bytes; /* block_bytes rounded up to WI_BLOCK_ALIGN_BYTES */
    size_t            blocks;
    size_t            chunk_bytes;  /* registered length of each chunk but the last */
    size_t            chunk_blocks; /* blocks in each chunk but the last */
    size_t            chunks;
    uint32_t          memory;       /* enum weir_memory: the actual kind */
    uint32_t          driver_owned; /* 1: host_alloc made it */
    bool              fixed;        /* in reserved addresses, which stay reserved when it goes */
    struct weir_memory_source source; /* give NULL: the memory is the system's */
    uint64_t         *chunk_device; /* device address of each chunk; 0: not registered */

    /* If all blocks lie one stride apart, on the host and for the device. A side without an address has 0 and 0. */
    struct {
        uintptr_t host;
        uint64_t  device;
        size_t    host_stride, device_stride;
        bool      is;
    } even;

    /* slab_hooks.h; under its lock, but for shown_in: the slab's owner asks whether it is shown. */
    struct wi_slab_hooks *shown_in; /* NULL: no hook knows it */
    struct weir_pool     *shown_as;
    struct wi_slab       *shown_before, *shown_after;
    uint64_t              id;
    uint32_t              hooked; /* bit per hook that has accepted it */
    uint32_t              reserved;
};

struct wi_block {
    void    *host;
    uint64_t device;
};

/*
 * wi_slab_create - make a slab
 *
 * Order: charge, map, bind, then for each chunk populate and register. WI_SLAB_PAGEABLE_OK: where
 * pinning is refused the slab becomes pageable, with a warning in the log; slab->memory tells, and `fallback` is charged. A
 * budget is hard: it is not a reason to fall back, nor is the other exceeded by it. Populating runs ahead of registering on threads
 * of its own.
 *
 * Memory of a source is given back whole, or stays whole: bytes abandoned are then all of the slab's.
 *
 * Fails: EXCEEDS, NOMEM, DEVMEM, DEVICE, INVAL, CANCELED, NOSYS (neither registering nor
 * host_alloc), or what the source answered. On failure nothing is left behind, budget included, but for what wi_slab_destroy()
 * would abandon.
 */
int wi_slab_create(const struct wi_slab_opts *opts, struct wi_slab **out);
/*
 * pre: no device work pending on it. Unregisters, unmaps and gives back chunk by chunk. On a lost
 * device makes no driver call. What the device may still reach (a lost device's memory, or a chunk
 * that it refuses to unregister) stays mapped and charged for good, and is counted as abandoned:
 * returns those bytes. NULL is accepted.
 */
size_t wi_slab_destroy(struct wi_slab *slab);
/* Leave all its memory with a device that may still reach it, mapped, charged and counted. NULL is accepted. */
void wi_slab_abandon(struct wi_slab *slab);
/* Bytes abandoned in this process, of all kinds. Thread: any. */
uint64_t wi_slab_abandoned_bytes(void);
/* pre: index < slab->blocks */
struct wi_block wi_slab_block_in_chunk(const struct wi_slab *slab, size_t index);

/* The same, inline for slabs whose blocks all lie one stride apart: nearly all. Every borrow comes here. */
static inline struct wi_block wi_slab_block(const struct wi_slab *slab, size_t index)
{
    wi_assert(index < slab->blocks);
    if (WI_UNLIKELY(!slab->even.is)) return wi_slab_block_in_chunk(slab, index);
    return (struct wi_block){
        .host = (void *)(slab->even.host + index * slab->even.host_stride),
        .device = slab->even.device + index * slab->even.device_stride,
    };
}

/*
 * Index of the block that contains host, or SIZE_MAX: outside, in a gap between blocks, or device
 * memory.
 */
size_t wi_slab_find(const struct wi_slab *slab, const void *host);

#endif
