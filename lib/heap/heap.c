/* SPDX-License-Identifier: Apache-2.0 */
/* heap.c - making and ending heaps, and their statistics */
#include "heap/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEGMENT_BYTES_DEFAULT ((size_t)8 << 20)
#define CACHE_BYTES_DEFAULT   ((size_t)2 << 20)
#define DRAIN_NS_DEFAULT      (5 * WI_NS_PER_S)
#define ADDRESSES_MIN         ((size_t)1 << 30)

/* What experimental.arenas_create_ext takes. */
struct arena_config {
    extent_hooks_t *hooks;
    bool            metadata_use_hooks;
};

static int import(const struct weir_heap_opts *opts, struct weir_heap_opts *out)
{
    weir_opts_init(out, sizeof *out);
    if (opts) {
        const unsigned char *bytes = (const unsigned char *)opts;
        if (opts->struct_size < sizeof(size_t) || opts->struct_size > 4096)
            return heap_fail(INVAL, .detail = "weir_heap_opts: struct_size is not the sizeof of the struct",
                             .wanted = opts->struct_size);
        for (size_t i = sizeof *out; i < opts->struct_size; i++) {
            if (bytes[i]) return heap_fail(OPTS, .detail = "weir_heap_opts: this weir lacks an option that is set");
        }
        memcpy(out, opts, opts->struct_size < sizeof *out ? opts->struct_size : sizeof *out);
        out->struct_size = sizeof *out;
    }
    if (out->memory == 0) out->memory = WEIR_MEMORY_PINNED;
    if (out->segment_bytes == 0) out->segment_bytes = SEGMENT_BYTES_DEFAULT;
    if (out->cache_bytes_max == 0) out->cache_bytes_max = CACHE_BYTES_DEFAULT;
    if (out->drain_ns == 0) out->drain_ns = DRAIN_NS_DEFAULT;
    if (out->flags) return heap_fail(OPTS, .detail = "weir_heap_opts: flags must be 0");
    if (out->memory != WEIR_MEMORY_PINNED && out->memory != WEIR_MEMORY_PAGEABLE)
        return heap_fail(INVAL, .detail = "a heap is of pinned or of pageable memory", .wanted = out->memory);
    if (out->bytes_max > SIZE_MAX / 16)
        return heap_fail(INVAL, .detail = "weir_heap_opts: bytes_max is absurd", .wanted = out->bytes_max);
    return 0;
}

/* The heap's own limit, or the runtime's budget: whichever it is, a failure names it. */
static int find_limit(struct weir_heap *heap, struct weir_runtime *rt, const struct weir_heap_opts *opts)
{
    heap->bytes_max = opts->bytes_max;
    heap->limit = "bytes_max of the heap";
    heap->setting = "weir_heap_opts.bytes_max";
    if (heap->bytes_max) return 0;
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    int                       err = weir_runtime_stats_read(rt, &stats);
    if (err < 0) return err;
    heap->bytes_max = opts->memory == WEIR_MEMORY_PINNED ? stats.pinned_bytes_max : stats.pageable_bytes_max;
    return 0;
}

static void find_classes(struct weir_heap *heap)
{
    size_t bytes = HEAP_ALIGN, small = 0;
    for (; small < HEAP_CLASSES_MAX && bytes <= HEAP_SMALL_MAX; small++) {
        size_t class_bytes = bytes <= HEAP_SLAB_MAX ? nallocx(bytes, 0) : wi_round_up(bytes, HEAP_PAGE_BYTES);
        heap->class_bytes[small] = class_bytes;
        bytes = class_bytes + 1;
    }
    heap->classes = (unsigned)small;
    unsigned class = 0;
    for (size_t i = 0; i < sizeof heap->small_16; i++) {
        while (heap->class_bytes[class] < i * 16) class++;
        heap->small_16[i] = (unsigned char)class;
    }
    class = 0;
    for (size_t i = 0; i < sizeof heap->small_512; i++) {
        while (heap->class_bytes[class] < i * 512) class++;
        heap->small_512[i] = (unsigned char)class;
    }
}

/* The tables take every size that is cached to the class that jemalloc would take. */
static int check_classes(const struct weir_heap *heap)
{
    for (size_t bytes = 1; bytes <= HEAP_SLAB_MAX; bytes += bytes < 4096 ? 16 : 512) {
        size_t wanted = nallocx(bytes < HEAP_ALIGN ? HEAP_ALIGN : bytes, 0);
        if (heap->class_bytes[heap_class_of(heap, bytes)] != wanted)
            return heap_fail(NOSYS, .call = "nallocx", .detail = "this jemalloc has classes of an unknown kind",
                             .wanted = bytes);
    }
    return 0;
}

static int set(unsigned arena, const char *what, const void *value, size_t bytes)
{
    char name[48];
    snprintf(name, sizeof name, "arena.%u.%s", arena, what);
    int rc = mallctl(name, NULL, NULL, (void *)(uintptr_t)value, bytes);
    return rc == 0 ? 0 : heap_fail(NOSYS, .call = "mallctl", .sys_errno = rc, .detail = "this jemalloc refuses a setting of its arena");
}

static int make_arena(struct weir_heap *heap)
{
    struct arena_config config = {&heap->hooks, false};
    extent_hooks_t     *hooks = &heap->hooks;
    size_t              bytes = sizeof heap->arena;
    ssize_t             never = -1; /* what slabs leave is for other slabs, until a trim or a shortage */
    heap_hooks_init(heap);
    /* Its records outside pinned memory; else they take 2 MiB of it. */
    int rc = mallctl("experimental.arenas_create_ext", &heap->arena, &bytes, &config, sizeof config);
    if (rc != 0) rc = mallctl("arenas.create", &heap->arena, &bytes, &hooks, sizeof hooks);
    if (rc != 0) {
        heap->arena = 0;
        return heap_fail(NOMEM, .call = "mallctl", .sys_errno = rc, .detail = "jemalloc cannot make another arena");
    }
    int err = set(heap->arena, "dirty_decay_ms", &never, sizeof never);
    if (err >= 0) err = set(heap->arena, "muzzy_decay_ms", &never, sizeof never);
    return err;
}

static void end_arena(struct weir_heap *heap)
{
    char name[48];
    if (heap->arena == 0) return; /* 0 is jemalloc's own */
    snprintf(name, sizeof name, "arena.%u.destroy", heap->arena);
    (void)mallctl(name, NULL, NULL, NULL, 0);
}

static void free_heap(struct weir_heap *heap)
{
    heap_guards_end(heap);
    pthread_mutex_destroy(&heap->caches_lock);
    pthread_mutex_destroy(&heap->grow_lock);
    pthread_mutex_destroy(&heap->runs_lock);
    heap_runs_end(heap);
    if (heap->tag) (void)munmap((void *)heap->tag, heap->bytes >> HEAP_PAGE_SHIFT);
    heap_release(heap->segment);
    heap_release(heap->head);
    heap_release(heap);
}

static int make_tables(struct weir_heap *heap)
{
    size_t steps = heap->bytes / HEAP_STEP_BYTES;
    /* Its pages come as addresses are used. */
    void *tag = mmap(NULL, heap->bytes >> HEAP_PAGE_SHIFT, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    heap->tag = tag == MAP_FAILED ? NULL : tag;
    heap->segment = heap_calloc(steps, sizeof *heap->segment);
    heap->head = heap_calloc(steps, sizeof *heap->head);
    if (!heap->tag || !heap->segment || !heap->head)
        return heap_fail(NOMEM, .call = "calloc", .detail = "a heap's tables", .wanted = steps);
    return 0;
}

static int build(struct weir_heap *heap, struct weir_runtime *rt, const struct weir_heap_opts *opts)
{
    int err = heap_guards_init(heap);
    if (err >= 0) err = find_limit(heap, rt, opts);
    if (err < 0) return err;
    find_classes(heap);
    err = check_classes(heap);
    if (err < 0) return err;
    size_t addresses = heap->bytes_max * HEAP_ADDRESSES;
    if (addresses < ADDRESSES_MIN) addresses = ADDRESSES_MIN;
    heap->bytes = wi_round_up(addresses, HEAP_STEP_BYTES);
    struct weir_region_opts region = {.struct_size = sizeof region, .name = opts->name ? opts->name : "heap",
                                      .bytes = heap->bytes, .step_bytes = HEAP_STEP_BYTES,
                                      .numa_mask = opts->numa_mask, .memory = opts->memory};
    err = weir_region_create(rt, &region, &heap->region);
    if (err < 0) return err;
    heap->base = weir_region_base(heap->region);
    err = make_tables(heap);
    if (err >= 0) err = heap_runs_init(heap);
    if (err >= 0) err = make_arena(heap);
    if (err >= 0) err = heap_register(heap);
    return err;
}

int weir_heap_create(struct weir_runtime *rt, const struct weir_heap_opts *opts, struct weir_heap **out)
{
    struct weir_heap_opts given;
    if (!rt || !out) return heap_fail(INVAL, .detail = "runtime or out is NULL");
    int err = import(opts, &given);
    if (err < 0) return err;
    if (wi_load(&heap_forked, relaxed)) return heap_fail(FORKED, .detail = "the child may only exec");
    if (sysconf(_SC_PAGESIZE) != (long)HEAP_PAGE_BYTES)
        return heap_fail(NOSYS, .limit = "page size", .limit_value = HEAP_PAGE_BYTES, .wanted = (uint64_t)sysconf(_SC_PAGESIZE),
                         .detail = "heaps need pages of 4 KiB");
    struct weir_heap *heap = NULL;
    /* tidy-allow: posix_memalign, because a library of its own cannot reach lib/base. */
    if (posix_memalign((void **)&heap, _Alignof(struct weir_heap), sizeof *heap) != 0)
        return heap_fail(NOMEM, .call = "posix_memalign", .detail = "a heap");
    memset(heap, 0, sizeof *heap);
    heap->cache_bytes_max = given.cache_bytes_max;
    heap->drain_ns = given.drain_ns;
    pthread_mutex_init(&heap->caches_lock, NULL);
    pthread_mutex_init(&heap->grow_lock, NULL);
    pthread_mutex_init(&heap->runs_lock, NULL);
    heap->segment_bytes = wi_round_up(given.segment_bytes, HEAP_STEP_BYTES);
    err = build(heap, rt, &given);
    if (err < 0) {
        end_arena(heap);
        weir_region_destroy(heap->region);
        free_heap(heap);
        return err;
    }
    *out = heap;
    return 0;
}

void weir_heap_destroy(struct weir_heap *heap)
{
    if (!heap || wi_load(&heap_forked, relaxed)) return;
    heap_unregister(heap);
    bool drained = heap_guards_drain(heap, weir_deadline_after_ns(heap->drain_ns));
    end_arena(heap);
    heap_unpoison(heap->base, heap->steps_used * HEAP_STEP_BYTES);
    if (drained)
        weir_region_destroy(heap->region);
    else
        weir_region_abandon(heap->region);
    free_heap(heap);
}

int weir_heap_device(struct weir_heap *heap, const void *ptr, uint64_t *out)
{
    struct weir_region_place place = {.struct_size = sizeof place};
    if (!heap || !out) return heap_fail(INVAL, .detail = "heap or out is NULL");
    if (!heap_owns(heap, ptr)) return heap_fail(FOREIGN, .detail = "the address is not in this heap");
    int err = weir_region_find(heap->region, ptr, &place);
    if (err < 0) return heap_fail(FOREIGN, .detail = "nothing is allocated at that address");
    if (!place.device) return heap_fail(KIND, .detail = "the device cannot address pageable memory");
    *out = place.device;
    return 0;
}

static uint64_t cached_bytes(struct weir_heap *heap, uint64_t *threads)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&heap->caches_lock);
    for (const struct heap_cache *cache = heap->caches; cache; cache = cache->next) {
        for (unsigned class = 0; class < heap->classes; class++)
            bytes += wi_load(&cache->stack[class].count, relaxed) * heap->class_bytes[class];
    }
    *threads = heap->threads;
    pthread_mutex_unlock(&heap->caches_lock);
    return bytes;
}

int weir_heap_stats_read(struct weir_heap *heap, struct weir_heap_stats *out)
{
    if (!heap || !out || out->struct_size < sizeof(size_t) || out->struct_size > 4096)
        return heap_fail(INVAL, .detail = "heap or out is NULL, or out's struct_size is not set");
    struct weir_region_stats region = {.struct_size = sizeof region};
    int                      err = weir_region_stats_read(heap->region, &region);
    if (err < 0) return err;
    struct weir_heap_stats stats = {
        .struct_size = out->struct_size,
        .bytes_max = heap->bytes_max,
        .bytes_pinned = region.bytes_committed,
        .bytes_pinned_peak = region.bytes_committed_peak,
        .bytes_retiring = wi_load(&heap->bytes_retiring, relaxed),
        .bytes_quarantined = wi_load(&heap->bytes_quarantined, relaxed),
        .segments = wi_load(&heap->segments, relaxed),
        .misses = wi_load(&heap->misses, relaxed),
        .retires = wi_load(&heap->retires, relaxed),
        .reaps = wi_load(&heap->reaps, relaxed),
        .failures = wi_load(&heap->failures, relaxed),
    };
    stats.bytes_cached = cached_bytes(heap, &stats.threads);
    uint64_t away = stats.bytes_cached + stats.bytes_retiring + stats.bytes_quarantined;
    uint64_t taken = wi_load(&heap->bytes_out, relaxed);
    stats.bytes_used = taken > away ? taken - away : 0;
    memcpy(out, &stats, out->struct_size < sizeof stats ? out->struct_size : sizeof stats);
    return 0;
}
