/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - budgets, and slabs of equal blocks
 *
 * A slab is a range of address space: reserved, bound to a NUMA node, populated in parallel, registered
 * with the device in chunks, and cut into blocks. No block straddles a chunk, because a copy must not
 * span two registrations. Chunks are at most WI_CHUNK_BYTES_MAX (or one block, if larger), with a pause
 * between them: one large registration holds a driver-wide lock for seconds and stalls other processes.
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

/* A hard limit in bytes. Any thread. Progress: lock-free. Law: bytes <= bytes_max at every moment a take succeeds. */
struct wi_budget {
    const char      *name;    /* "pinned_bytes_max": named in EXCEEDS   */
    const char      *setting; /* "WEIR_PINNED_BYTES_MAX"                */
    _Atomic uint64_t bytes_max;
    _Atomic uint64_t bytes;
};

void wi_budget_init(struct wi_budget *budget, const char *name, const char *setting, uint64_t bytes_max);
/* Fails: EXCEEDS, naming the budget, its value, what was wanted and the setting. */
int  wi_budget_take(struct wi_budget *budget, uint64_t bytes);
void wi_budget_give(struct wi_budget *budget, uint64_t bytes);

struct wi_slab_opts {
    struct wi_device *device;
    struct wi_budget *budget;
    size_t            block_bytes;  /* usable bytes of a block                              */
    size_t            blocks;
    uint32_t          memory;       /* enum weir_memory                                     */
    uint32_t          flags;        /* WI_SLAB_*                                            */
    uint64_t          numa_mask;    /* 0: the device's node; no effect on a one-node system */
    /* Called between steps with bytes ready so far; nonzero cancels: everything is undone, CANCELED. */
    int             (*progress)(void *ctx, size_t bytes_ready, size_t bytes_total);
    void             *ctx;
};

enum wi_slab_flags { WI_SLAB_PAGEABLE_OK = 1 };

struct wi_slab {
    struct wi_device *device;
    struct wi_budget *budget;
    char             *base;         /* host address of block 0's chunk; NULL for device memory */
    uint64_t          device_base;  /* device memory only                                     */
    size_t            map_bytes;    /* whole mapping                                          */
    size_t            charged_bytes; /* what the budget was charged                           */
    size_t            block_bytes;
    size_t            stride_bytes; /* block_bytes rounded up to WI_BLOCK_ALIGN_BYTES         */
    size_t            blocks;
    size_t            chunk_bytes;  /* registered length of each chunk but the last           */
    size_t            chunk_blocks; /* blocks in each chunk but the last                      */
    size_t            chunks;
    uint32_t          memory;       /* the actual kind                                        */
    uint32_t          driver_owned; /* host_alloc made it                                     */
    uint64_t         *chunk_device; /* device address of each chunk                           */
};

struct wi_block {
    void    *host;
    uint64_t device;
};

/* Fails: EXCEEDS, NOMEM, DEVMEM, DEVICE, INVAL, CANCELED. On failure nothing is left behind, budget included. */
int  wi_slab_create(const struct wi_slab_opts *opts, struct wi_slab **out);
/* pre: no device work pending on it. Unregisters chunk by chunk, unmaps, gives the budget back. On a lost
 * device: makes no driver call; pinned memory stays mapped and charged and is counted as abandoned. */
void wi_slab_destroy(struct wi_slab *slab);
/* pre: index < slab->blocks */
struct wi_block wi_slab_block(const struct wi_slab *slab, size_t index);
/* Index of the block that contains host, or SIZE_MAX. */
size_t wi_slab_find(const struct wi_slab *slab, const void *host);

#endif
