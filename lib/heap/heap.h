/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.h - inside libweir_heap
 *
 *     calls.c      malloc and its like                  guard.c   what the device still uses
 *     cache.c      a stack of freed pointers for each thread, heap and class: most pairs end here
 *     jemalloc     up to 14 KiB: an arena of its own for each heap; extents.c has its hooks
 *     runs.c       whole pages, for jemalloc's slabs and for all that is larger
 *     weir/region.h
 *
 * It stands on weir's public headers alone: libweir_heap is a library of its own, because Debian's jemalloc cannot be
 * opened at run time and libweir must be. (base/base.h and base/atomic.h are macros.)
 *
 * Locks, in order: registry (cache.c) > caches_lock > guards_lock > jemalloc's > grow_lock > runs_lock, weir's. The
 * hooks run under jemalloc's locks, and pin. jemalloc lets a hook allocate by sending it to another arena, so that
 * this is safe also where malloc is jemalloc; no hook takes a lock of the heap but grow_lock and runs_lock.
 */
#ifndef WI_HEAP_H
#define WI_HEAP_H

#include "base/atomic.h"
#include "base/base.h"

#include <jemalloc/jemalloc.h>
#include <pthread.h>
#include <weir/heap.h>
#include <weir/region.h>
#include <weir/weir.h>

#define HEAP_STEP_BYTES    ((size_t)512 << 10)
#define HEAP_PAGE_SHIFT    12
#define HEAP_PAGE_BYTES    ((size_t)1 << HEAP_PAGE_SHIFT)
#define HEAP_STEP_PAGES    (HEAP_STEP_BYTES >> HEAP_PAGE_SHIFT)
#define HEAP_SLAB_PAGES_MAX 32 /* no slab of jemalloc 5 is longer than 14 pages */
#define HEAP_SLAB_MAX      ((size_t)14 << 10) /* largest class that jemalloc keeps in slabs; above are runs */
#define HEAP_SMALL_MAX     ((size_t)32 << 10) /* largest class that is cached */
#define HEAP_BINS_EXACT    1024 /* free runs of up to so many pages are found exactly */
#define HEAP_BINS_SHIFT    7    /* the first shift of the others: 1024 pages are 8 << 7 */
#define HEAP_BINS          1216
#define HEAP_CLASSES_MAX   60
#define HEAP_ALIGN         16
#define HEAP_ALIGN_MAX     ((size_t)1 << 20)
#define HEAP_STACK_MAX     64
#define HEAP_ADDRESSES     4 /* addresses reserved, as a multiple of bytes_max */
#define HEAP_CACHES_MAX    16 /* heaps that one thread has caches of */

/*
 * A byte for each page of the region says what begins there: 0 nothing, class + 1, or HEAP_TAG_LARGE; with
 * HEAP_TAG_GUARD, something on the page is guarded or retiring. Who allocates past the cache writes it; all objects
 * that begin on a page are of one class. Relaxed: whoever has the pointer was given it after the byte was written.
 */
#define HEAP_TAG_LARGE 0x7f
#define HEAP_TAG_GUARD 0x80

struct heap_segment {
    uint32_t steps; /* 0: no segment begins at this step */
    uint32_t pages; /* in use */
    bool     pinned;
};

struct heap_page;

struct heap_stack {
    _Atomic uint32_t count; /* written by the owner, read by statistics */
    uint32_t         capacity;
    void           **slot;
};

/* A thread's cache of one heap. In the heap's list under caches_lock; used by its thread alone. */
struct heap_cache {
    struct weir_heap  *heap;
    struct heap_cache *next;
    struct heap_stack  stack[HEAP_CLASSES_MAX];
    void              *slots[];
};

struct heap_guard;

struct weir_heap {
    extent_hooks_t hooks; /* first: what jemalloc gives the hooks */

    /* Fixed. What a hit reads is together. */
    uint64_t id WI_CACHELINE; /* never used again for another heap */
    char    *base;
    size_t   bytes; /* of addresses */
    _Atomic unsigned char *tag;
    unsigned arena;
    unsigned classes;
    size_t   class_bytes[HEAP_CLASSES_MAX];
    unsigned char small_16[4096 / 16 + 1];              /* class of so many 16 bytes */
    unsigned char small_512[HEAP_SMALL_MAX / 512 + 1];
    struct weir_region *region;
    size_t   bytes_max;
    size_t   cache_bytes_max;
    uint64_t drain_ns;
    const char *limit;   /* of bytes_max */
    const char *setting;
    struct weir_heap *next; /* in the registry */

    pthread_mutex_t    caches_lock;
    struct heap_cache *caches;
    unsigned           threads;

    pthread_mutex_t     guards_lock;
    struct heap_guard **guards; /* hash by page */
    size_t              guards_capacity, guards_count;
    struct heap_guard  *retired, **retired_end;
    _Atomic uint64_t    retired_count;
    uint64_t            reap_at; /* reap when so many are retired */

    /* runs.c. steps_used, segments and heads change under both locks, the rest under runs_lock. */
    pthread_mutex_t      grow_lock, runs_lock;
    struct heap_segment *segment; /* by first step */
    uint32_t            *head;    /* of each step: first step of its segment */
    size_t               steps_used;
    size_t               segment_bytes;
    struct heap_page    *page;
    uint32_t             bin[HEAP_BINS];
    uint64_t             bin_used[HEAP_BINS / 64];

    _Atomic uint64_t bytes_pinned, segments;
    _Atomic uint64_t bytes_out; /* taken from the arena: used, cached, retiring or quarantined */
    _Atomic uint64_t bytes_retiring, bytes_quarantined;
    _Atomic uint64_t misses, retires, reaps, failures;
};

/* Record a failure. heap_fail(EXCEEDS, .limit = "..."): the fields of struct weir_error. */
#define heap_fail(fault, ...)                                                                      \
    weir_error_record(&(const struct weir_error){.struct_size = sizeof(struct weir_error),         \
                                                 .code = WEIR_E##fault, .file = __FILE__,          \
                                                 .line = __LINE__, __VA_ARGS__})

/* ---- memory.c ---- */
void *heap_calloc(size_t count, size_t bytes);
void  heap_release(void *memory);

/* ---- runs.c ---- */
int  heap_runs_init(struct weir_heap *heap);
void heap_runs_end(struct weir_heap *heap);
/* Whole pages; alignment is a power of two up to HEAP_ALIGN_MAX. NULL: recorded as EXCEEDS, NOMEM, DEVICE ... */
void *heap_run_take(struct weir_heap *heap, size_t bytes, size_t alignment);
/* bytes are whole pages: a run, or any part of what jemalloc took as one. */
void   heap_run_give(struct weir_heap *heap, void *ptr, size_t bytes);
size_t heap_run_bytes(const struct weir_heap *heap, const void *ptr);
/* In place; false: there is no room. */
bool heap_run_resize(struct weir_heap *heap, void *ptr, size_t bytes);
/* Give back the memory of segments that nothing is in. */
void heap_segments_unpin(struct weir_heap *heap);

/* ---- extents.c ---- */
void heap_hooks_init(struct weir_heap *heap);
/* Was this thread's latest failure recorded by a hook? Forgets it. */
bool heap_hook_failed(void);

/* ---- cache.c ---- */
extern _Thread_local uint64_t           heap_here_id; /* the heap of heap_here */
extern _Thread_local struct heap_cache *heap_here;
extern _Atomic uint32_t                 heap_forked; /* 1: this is a child */

/* The calling thread's cache, made if need be; NULL: it works without one. */
struct heap_cache *heap_cache_find(struct weir_heap *heap);
/* Give back all but `keep` of a stack. */
void heap_cache_flush(struct heap_cache *cache, unsigned class, uint32_t keep);
int  heap_register(struct weir_heap *heap);
/* Ends all caches of the heap; no thread may be using it. */
void heap_unregister(struct weir_heap *heap);

/* ---- calls.c ---- */
/* May the heap be used? Fails: INVAL, FORKED. */
int heap_check(const struct weir_heap *heap);
/* And does an allocation begin there, as far as the tags tell? Fails also: FOREIGN. */
int heap_check_ptr(const struct weir_heap *heap, const void *ptr);
/* Give back an object of a class past the cache, or what is tagged HEAP_TAG_LARGE. */
void heap_give(struct weir_heap *heap, void *ptr, size_t usable);
void heap_give_large(struct weir_heap *heap, void *ptr, size_t usable);

static inline size_t heap_page_of(const struct weir_heap *heap, const void *ptr)
{
    return ((uintptr_t)ptr - (uintptr_t)heap->base) >> HEAP_PAGE_SHIFT;
}

static inline bool heap_owns(const struct weir_heap *heap, const void *ptr)
{
    return (uintptr_t)ptr - (uintptr_t)heap->base < heap->bytes;
}

static inline unsigned heap_class_of(const struct weir_heap *heap, size_t bytes)
{
    return bytes <= 4096 ? heap->small_16[(bytes + 15) / 16] : heap->small_512[(bytes + 511) / 512];
}

/* ---- guard.c ---- */
int  heap_guards_init(struct weir_heap *heap);
/* The page of ptr is marked: retire it (1), or it has no guard that is pending (0), or it was freed before (NOTLEASED). */
int  heap_retire(struct weir_heap *heap, void *ptr);
/* Give back what the device has finished with. */
void heap_reap(struct weir_heap *heap);
/* Wait for all device work that the heap knows of. Returns false where that has not ended, or has failed. */
bool heap_guards_drain(struct weir_heap *heap, uint64_t deadline_ns);
void heap_guards_end(struct weir_heap *heap);

/* ---- poison.h ---- */
#if defined(__SANITIZE_ADDRESS__)
#define HEAP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_ASAN 1
#endif
#endif
#ifdef HEAP_ASAN
#include <sanitizer/asan_interface.h>
#define heap_poison(ptr, bytes)   __asan_poison_memory_region((ptr), (bytes))
#define heap_unpoison(ptr, bytes) __asan_unpoison_memory_region((ptr), (bytes))
#else
#define heap_poison(ptr, bytes)   ((void)(ptr), (void)(bytes))
#define heap_unpoison(ptr, bytes) ((void)(ptr), (void)(bytes))
#endif

#endif
