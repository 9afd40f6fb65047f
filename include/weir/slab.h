/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/slab.h - being told when memory comes and goes, for engines that register memory
 *
 * Pools get their memory in slabs: one range for many buffers. An engine that must know memory before it can move it
 * (UCX, NIXL, NCCL, libfabric, a GPU direct storage library) registers each slab once, in a hook, and no buffer ever.
 *
 *      reserve, bind, populate, pin  ->  commit hooks, first to last  ->  buffers may be leased
 *      last buffer came home         ->  decommit hooks, last to first ->  unpin, unmap
 *
 * What excludes what: the hooks of a runtime are called one at a time, on whichever thread grows or shrinks: the
 * monitor, or who calls weir_pool_create(), weir_pool_reserve(), weir_pool_trim(), weir_pool_destroy(),
 * weir_slab_hook_create() or weir_slab_hook_destroy(). A hook may block; growth of the runtime waits for it, acquires and releases
 * do not. It must not call what makes, grows, shrinks or ends a pool of the same runtime, nor what makes or ends
 * hooks. weir_slab_hook_destroy() must have returned before weir_runtime_destroy() is called.
 *
 * Example:
 *
 *     #include <weir/slab.h>
 *
 *     static int came(void *ctx, const struct weir_slab_info *slab)
 *     {
 *         *(size_t *)ctx += slab->bytes;
 *         return 0;
 *     }
 *
 *     static void went(void *ctx, const struct weir_slab_info *slab)
 *     {
 *         *(size_t *)ctx -= slab->bytes;
 *     }
 *
 *     int count_bytes(struct weir_runtime *rt, size_t *bytes, struct weir_slab_hook **out)
 *     {
 *         return weir_slab_hook_create(rt, WEIR_OPTS(slab_hook, .name = "count", .commit = came, .decommit = went, .ctx = bytes), out);
 *     }
 */
#ifndef WEIR_SLAB_H
#define WEIR_SLAB_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

struct weir_slab_hook;

/* One slab. Lives for the call only; id names it afterwards. */
struct weir_slab_info {
    size_t   struct_size;
    uint64_t id; /* of this process, never used twice; not 0 */
    struct weir_pool      *
        pool; /* whose buffers it holds; NULL: a tier of a tiered pool. Just being made, perhaps: compare only */
    void    *host;   /* its first byte; NULL for device memory */
    uint64_t device; /* its address for the device; 0: not addressable as a whole */
    size_t   bytes;  /* whole pages; buffers lie in it with gaps */
    size_t   buffer_bytes;
    size_t   buffers;
    uint32_t memory;    /* enum weir_memory */
    int32_t  numa_node; /* of its first page; -1: unknown, or device memory */
    uint32_t ordinal;   /* of the runtime's device */
    uint32_t reserved;
};

/*
 * A slab has come. Negative: it is refused; the hooks that had accepted it are told that it goes, its memory
 * is given back, and the growth fails with that code.
 */
typedef int weir_slab_commit_fn(void *ctx, const struct weir_slab_info *slab);

/* A slab that was accepted goes. No buffer of it is leased or in use by the device; the engine lets go of it before it returns. */
typedef void weir_slab_decommit_fn(void *ctx, const struct weir_slab_info *slab);

struct weir_slab_hook_opts {
    size_t      struct_size;
    const char *name; /* copied; shown in the log; NULL: "hook" */
    struct weir_pool
        *pool; /* slabs of this pool only; NULL: of every pool of the runtime, also of later ones */
    weir_slab_commit_fn   *commit;   /* must be given */
    weir_slab_decommit_fn *decommit; /* NULL: nothing to do */
    void                  *ctx;
};

/*
 * weir_slab_hook_create - be told of slabs; commit is called at once for those that exist already, in the order of their making
 *
 * If commit refuses one of those, the ones accepted before are decommitted, and the call fails with that code.
 *
 * Thread:   any.  Progress: blocks while memory of the runtime comes or goes.
 * Owner:    the caller, until weir_slab_hook_destroy().
 * Fails:    INVAL, NOMEM, EXCEEDS (32 hooks of a runtime), FORKED, or what commit answered.
 */
WEIR_API WEIR_MUST_CHECK int weir_slab_hook_create(struct weir_runtime              *rt,
                                                   const struct weir_slab_hook_opts *opts,
                                                   struct weir_slab_hook           **out);

/*
 * weir_slab_hook_destroy - be told no more; decommit is called for every slab that commit had accepted, last to first
 *
 * NULL is accepted. Cannot fail.  Thread: any, once.  Progress: blocks as weir_slab_hook_create() does.
 */
WEIR_API void weir_slab_hook_destroy(struct weir_slab_hook *hook);

WEIR_END_DECLS

#endif
