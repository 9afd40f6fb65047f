/* SPDX-License-Identifier: Apache-2.0 */
/* calls.c - malloc and its like */
#include "heap/heap.h"

#include <stdio.h>
#include <string.h>

/* ---- what callers give ---- */

int heap_check(const struct weir_heap *heap)
{
    if (WI_UNLIKELY(!heap)) return heap_fail(INVAL, .detail = "heap is NULL");
    if (WI_UNLIKELY(wi_load(&heap_forked, relaxed)))
        return heap_fail(FORKED, .detail = "a heap of the parent's: the child may only exec");
    return 0;
}

static bool owns(const struct weir_heap *heap, const void *ptr)
{
    return heap_owns(heap, ptr) && (wi_load(&heap->tag[heap_page_of(heap, ptr)], relaxed) & ~HEAP_TAG_GUARD) != 0 &&
           ((uintptr_t)ptr & (HEAP_ALIGN - 1)) == 0;
}

static int foreign(void)
{
    return heap_fail(FOREIGN, .detail = "no allocation of this heap begins there");
}

int heap_check_ptr(const struct weir_heap *heap, const void *ptr)
{
    int err = heap_check(heap);
    return err < 0 || owns(heap, ptr) ? err : foreign();
}

/* ---- past the cache ---- */

static void set_tag(struct weir_heap *heap, const void *ptr, unsigned char tag)
{
    _Atomic unsigned char *place = &heap->tag[heap_page_of(heap, ptr)];
    unsigned char          before = wi_load(place, relaxed);
    /* Where it says the same already others may be guarded on the page; else nothing else lives there. */
    if ((before & ~HEAP_TAG_GUARD) != tag) wi_store(place, tag, relaxed);
}

/* An object of a class: from jemalloc's slabs, or a run of its size. */
static void *take_class_once(struct weir_heap *heap, unsigned class)
{
    size_t bytes = heap->class_bytes[class];
    void  *ptr = bytes <= HEAP_SLAB_MAX ? mallocx(bytes, MALLOCX_ARENA(heap->arena) | MALLOCX_TCACHE_NONE)
                                        : heap_run_take(heap, bytes, 1);
    if (!ptr) return NULL;
    set_tag(heap, ptr, (unsigned char)(class + 1));
    wi_add(&heap->bytes_out, bytes, relaxed);
    return ptr;
}

static void *take_large_once(struct weir_heap *heap, size_t bytes, size_t alignment)
{
    void *ptr = heap_run_take(heap, bytes, alignment);
    if (!ptr) return NULL;
    set_tag(heap, ptr, HEAP_TAG_LARGE);
    wi_add(&heap->bytes_out, wi_round_up(bytes, HEAP_PAGE_BYTES), relaxed);
    return ptr;
}

static void *take_slab_once(struct weir_heap *heap, size_t bytes, size_t alignment)
{
    int    flags = (int)(MALLOCX_ARENA(heap->arena) | MALLOCX_TCACHE_NONE | MALLOCX_ALIGN(alignment));
    size_t usable = nallocx(bytes, flags);
    void  *ptr = usable <= HEAP_SLAB_MAX ? mallocx(bytes, flags) : NULL;
    if (usable > HEAP_SLAB_MAX) return take_large_once(heap, bytes, alignment);
    if (!ptr) return NULL;
    set_tag(heap, ptr, (unsigned char)(heap_class_of(heap, usable) + 1));
    wi_add(&heap->bytes_out, usable, relaxed);
    return ptr;
}

static void flush_own(struct weir_heap *heap)
{
    struct heap_cache *cache = heap_here_id == heap->id ? heap_here : NULL;
    for (unsigned class = 0; cache && class < heap->classes; class++) heap_cache_flush(cache, class, 0);
}

static void purge(const struct weir_heap *heap)
{
    char name[48];
    snprintf(name, sizeof name, "arena.%u.purge", heap->arena);
    (void)mallctl(name, NULL, NULL, NULL, 0);
}

/* What is free may lie in this thread's cache, in slabs, or in segments of another size: give all of it back. */
static void gather(struct weir_heap *heap)
{
    flush_own(heap);
    heap_reap(heap);
    purge(heap);
    heap_segments_unpin(heap);
}

static void *take_once(struct weir_heap *heap, size_t bytes, size_t alignment)
{
    if (alignment > HEAP_ALIGN && bytes <= HEAP_SLAB_MAX) return take_slab_once(heap, bytes, alignment);
    if (alignment <= HEAP_ALIGN && bytes <= HEAP_SMALL_MAX) return take_class_once(heap, heap_class_of(heap, bytes));
    return take_large_once(heap, bytes, alignment);
}

static void *take(struct weir_heap *heap, size_t bytes, size_t alignment)
{
    void *ptr = take_once(heap, bytes, alignment);
    if (WI_LIKELY(ptr)) return ptr;
    gather(heap);
    (void)heap_hook_failed();
    ptr = take_once(heap, bytes, alignment);
    if (ptr) return ptr;
    wi_add(&heap->failures, 1, relaxed);
    /* Who refused pages has told why. */
    if (bytes <= HEAP_SLAB_MAX && !heap_hook_failed())
        (void)heap_fail(NOMEM, .call = "mallocx", .wanted = bytes, .detail = "jemalloc has no memory for its own records");
    return NULL;
}

void heap_give(struct weir_heap *heap, void *ptr, size_t usable)
{
    wi_sub(&heap->bytes_out, usable, relaxed);
    if (usable <= HEAP_SLAB_MAX)
        dallocx(ptr, MALLOCX_TCACHE_NONE);
    else
        heap_run_give(heap, ptr, usable);
}

void heap_give_large(struct weir_heap *heap, void *ptr, size_t usable)
{
    wi_sub(&heap->bytes_out, usable, relaxed);
    heap_run_give(heap, ptr, usable);
}

/* ---- allocate ---- */

static void *refill(struct weir_heap *heap, struct heap_cache *cache, unsigned class)
{
    struct heap_stack *stack = &cache->stack[class];
    size_t             bytes = heap->class_bytes[class];
    uint32_t           wanted = stack->capacity / 2, count = 0;
    void              *ptr = take(heap, bytes, 1);
    if (!ptr) return NULL;
    /* The rest is not worth a failure, nor a new segment of a heap that is nearly full. */
    while (count < wanted && wi_load(&heap->bytes_pinned, relaxed) < heap->bytes_max / 8 * 7) {
        void *more = take_class_once(heap, class);
        if (!more) break;
        heap_poison(more, bytes);
        stack->slot[count++] = more;
    }
    wi_store(&stack->count, count, relaxed);
    return ptr;
}

static WI_COLD void *malloc_cold(struct weir_heap *heap, size_t bytes)
{
    if (heap_check(heap) < 0) return NULL;
    wi_add(&heap->misses, 1, relaxed);
    if (wi_load(&heap->retired_count, relaxed)) heap_reap(heap);
    void *ptr = NULL;
    if (bytes <= HEAP_SMALL_MAX) {
        struct heap_cache *cache = heap_cache_find(heap);
        unsigned           class = heap_class_of(heap, bytes);
        struct heap_stack *stack = cache ? &cache->stack[class] : NULL;
        uint32_t           count = stack ? wi_load(&stack->count, relaxed) : 0;
        if (count > 0) { /* the thread has come from another heap */
            wi_store(&stack->count, count - 1, relaxed);
            ptr = stack->slot[count - 1];
        } else {
            ptr = cache ? refill(heap, cache, class) : take(heap, bytes, 1);
        }
    } else {
        ptr = take(heap, bytes, 1);
    }
    if (ptr) heap_unpoison(ptr, bytes);
    return ptr;
}

void *weir_heap_malloc(struct weir_heap *heap, size_t bytes)
{
    if (WI_LIKELY(heap && heap_here_id == heap->id && bytes <= HEAP_SMALL_MAX)) {
        struct heap_stack *stack = &heap_here->stack[heap_class_of(heap, bytes)];
        uint32_t           count = wi_load(&stack->count, relaxed);
        if (WI_LIKELY(count > 0)) {
            void *ptr = stack->slot[count - 1];
            wi_store(&stack->count, count - 1, relaxed);
            heap_unpoison(ptr, bytes);
            return ptr;
        }
    }
    return malloc_cold(heap, bytes);
}

void *weir_heap_calloc(struct weir_heap *heap, size_t count, size_t bytes)
{
    size_t product;
    if (__builtin_mul_overflow(count, bytes, &product)) {
        (void)heap_fail(INVAL, .detail = "count times bytes overflows", .wanted = bytes);
        return NULL;
    }
    void *ptr = weir_heap_malloc(heap, product);
    return ptr ? memset(ptr, 0, product) : NULL;
}

void *weir_heap_aligned_alloc(struct weir_heap *heap, size_t alignment, size_t bytes)
{
    if (heap_check(heap) < 0) return NULL;
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > HEAP_ALIGN_MAX) {
        (void)heap_fail(INVAL, .detail = "alignment is not a power of two up to 1 MiB", .wanted = alignment,
                        .limit = "alignment", .limit_value = HEAP_ALIGN_MAX);
        return NULL;
    }
    if (alignment <= HEAP_ALIGN) return weir_heap_malloc(heap, bytes);
    wi_add(&heap->misses, 1, relaxed);
    if (wi_load(&heap->retired_count, relaxed)) heap_reap(heap);
    void *ptr = take(heap, bytes ? bytes : 1, alignment);
    if (ptr) heap_unpoison(ptr, bytes);
    return ptr;
}

/* ---- give back ---- */

/* pre: owns(). */
static size_t usable_of(const struct weir_heap *heap, const void *ptr)
{
    unsigned char tag = wi_load(&heap->tag[heap_page_of(heap, ptr)], relaxed) & ~HEAP_TAG_GUARD;
    return tag == HEAP_TAG_LARGE ? heap_run_bytes(heap, ptr) : heap->class_bytes[tag - 1];
}

static int free_large(struct weir_heap *heap, void *ptr)
{
    _Atomic unsigned char *tag = &heap->tag[heap_page_of(heap, ptr)];
    unsigned char          mine = HEAP_TAG_LARGE;
    if (((uintptr_t)ptr & (HEAP_PAGE_BYTES - 1)) != 0) return foreign();
    /* Nothing begins there any more: freeing it again is told. */
    if (!wi_cas(tag, &mine, 0, relaxed)) return heap_fail(NOTLEASED, .detail = "freed already");
    size_t usable = heap_run_bytes(heap, ptr);
    heap_poison(ptr, usable);
    heap_give_large(heap, ptr, usable);
    return 0;
}

static int free_small(struct weir_heap *heap, void *ptr, unsigned class)
{
    size_t             bytes = heap->class_bytes[class];
    struct heap_cache *cache = heap_cache_find(heap);
    heap_poison(ptr, bytes);
    if (!cache) {
        heap_give(heap, ptr, bytes);
        return 0;
    }
    struct heap_stack *stack = &cache->stack[class];
    if (wi_load(&stack->count, relaxed) == stack->capacity) heap_cache_flush(cache, class, stack->capacity / 2);
    uint32_t count = wi_load(&stack->count, relaxed);
    stack->slot[count] = ptr;
    wi_store(&stack->count, count + 1, relaxed);
    return 0;
}

static WI_COLD int free_cold(struct weir_heap *heap, void *ptr)
{
    int err = heap_check(heap);
    if (err < 0) return err;
    if (!ptr) return 0;
    if (!owns(heap, ptr)) return foreign();
    unsigned char tag = wi_load(&heap->tag[heap_page_of(heap, ptr)], relaxed);
    if (tag & HEAP_TAG_GUARD) {
        err = heap_retire(heap, ptr);
        if (err != 0) return err < 0 ? err : 0;
    }
    tag &= ~HEAP_TAG_GUARD;
    return tag == HEAP_TAG_LARGE ? free_large(heap, ptr) : free_small(heap, ptr, tag - 1u);
}

int weir_heap_free(struct weir_heap *heap, void *ptr)
{
    if (WI_LIKELY(heap && heap_here_id == heap->id && heap_owns(heap, ptr))) {
        unsigned class = wi_load(&heap->tag[heap_page_of(heap, ptr)], relaxed) - 1u;
        if (WI_LIKELY(class < HEAP_CLASSES_MAX)) {
            struct heap_stack *stack = &heap_here->stack[class];
            uint32_t           count = wi_load(&stack->count, relaxed);
            if (WI_LIKELY(count < stack->capacity && ((uintptr_t)ptr & (HEAP_ALIGN - 1)) == 0)) {
                heap_poison(ptr, heap->class_bytes[class]);
                stack->slot[count] = ptr;
                wi_store(&stack->count, count + 1, relaxed);
                return 0;
            }
        }
    }
    return free_cold(heap, ptr);
}

int weir_heap_free_on(struct weir_heap *heap, void *ptr, struct weir_stream *stream)
{
    int err = ptr ? weir_heap_guard(heap, ptr, stream) : heap_check(heap);
    return err < 0 ? err : weir_heap_free(heap, ptr);
}

size_t weir_heap_usable_bytes(struct weir_heap *heap, const void *ptr)
{
    return heap_check(heap) >= 0 && ptr && owns(heap, ptr) ? usable_of(heap, ptr) : 0;
}

/* ---- resize ---- */

static bool resize_in_place(struct weir_heap *heap, void *ptr, size_t usable, size_t bytes)
{
    unsigned char tag = wi_load(&heap->tag[heap_page_of(heap, ptr)], relaxed);
    if ((tag & ~HEAP_TAG_GUARD) != HEAP_TAG_LARGE)
        return bytes <= HEAP_SMALL_MAX && heap_class_of(heap, bytes) + 1u == (tag & ~HEAP_TAG_GUARD);
    /* What the device may still read is not cut off. */
    if (tag != HEAP_TAG_LARGE || bytes <= HEAP_SMALL_MAX || !heap_run_resize(heap, ptr, bytes)) return false;
    wi_add(&heap->bytes_out, wi_round_up(bytes, HEAP_PAGE_BYTES) - usable, relaxed);
    return true;
}

void *weir_heap_realloc(struct weir_heap *heap, void *ptr, size_t bytes)
{
    if (!ptr) return weir_heap_malloc(heap, bytes);
    if (heap_check(heap) < 0) return NULL;
    if (!owns(heap, ptr)) {
        (void)foreign();
        return NULL;
    }
    size_t usable = usable_of(heap, ptr);
    if (resize_in_place(heap, ptr, usable, bytes)) {
        heap_unpoison(ptr, bytes);
        heap_poison((char *)ptr + bytes, usable_of(heap, ptr) - bytes);
        return ptr;
    }
    usable = usable_of(heap, ptr);
    void *moved = weir_heap_malloc(heap, bytes);
    if (!moved) return NULL;
    heap_unpoison(ptr, usable);
    memcpy(moved, ptr, usable < bytes ? usable : bytes);
    (void)weir_heap_free(heap, ptr);
    return moved;
}

int weir_heap_trim(struct weir_heap *heap)
{
    int err = heap_check(heap);
    if (err < 0) return err;
    gather(heap);
    return 0;
}
