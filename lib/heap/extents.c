/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extents.c - the hooks of a heap's arena
 *
 * jemalloc has its extents from the heap's runs and gives them back there, whole or in parts. They may be split at will
 * and merged only within a segment. All of them have memory, so there is nothing to commit or to purge.
 */
#include "heap/heap.h"

static _Thread_local bool failed;

bool heap_hook_failed(void)
{
    bool before = failed;
    failed = false;
    return before;
}

static struct weir_heap *heap_of(extent_hooks_t *hooks)
{
    return (struct weir_heap *)hooks; /* first member */
}

static void *alloc(extent_hooks_t *hooks, void *at, size_t bytes, size_t alignment, bool *zero, bool *commit,
                   unsigned arena)
{
    (void)arena;
    if (at) return NULL; /* jemalloc would like an extent to grow: only heap_run_resize() does that */
    /* It asks for room to come first, which it would keep; and when that is refused for what it needs. */
    if (bytes > HEAP_SLAB_PAGES_MAX * HEAP_PAGE_BYTES) return NULL;
    void *address = heap_run_take(heap_of(hooks), bytes, alignment);
    if (!address) {
        failed = true;
        return NULL;
    }
    *commit = true;
    *zero = false;
    return address;
}

static bool dalloc(extent_hooks_t *hooks, void *address, size_t bytes, bool committed, unsigned arena)
{
    (void)committed, (void)arena;
    heap_run_give(heap_of(hooks), address, bytes);
    return false;
}

/* The arena ends, and with it the region: nothing is to be given back. */
static void destroy(extent_hooks_t *hooks, void *address, size_t bytes, bool committed, unsigned arena)
{
    (void)hooks, (void)address, (void)bytes, (void)committed, (void)arena;
}

static bool split(extent_hooks_t *hooks, void *address, size_t bytes, size_t left, size_t right, bool committed,
                  unsigned arena)
{
    (void)hooks, (void)address, (void)bytes, (void)left, (void)right, (void)committed, (void)arena;
    return false;
}

static bool merge(extent_hooks_t *hooks, void *left, size_t left_bytes, void *right, size_t right_bytes, bool committed,
                  unsigned arena)
{
    struct weir_heap *heap = heap_of(hooks);
    (void)left_bytes, (void)right_bytes, (void)committed, (void)arena;
    /* A segment's steps get their head before jemalloc has seen its addresses, and keep it. */
    return heap->head[heap_page_of(heap, left) / HEAP_STEP_PAGES] !=
           heap->head[heap_page_of(heap, right) / HEAP_STEP_PAGES];
}

void heap_hooks_init(struct weir_heap *heap)
{
    heap->hooks = (extent_hooks_t){.alloc = alloc, .dalloc = dalloc, .destroy = destroy, .split = split, .merge = merge};
}
