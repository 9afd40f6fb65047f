/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - which threads have caches of which heaps
 *
 * A cache belongs to a thread and a heap. The thread finds it in a table of its own, by the heap's id, which is never
 * used twice: an entry of a heap that has ended is dead, and its memory was freed with the heap. The heap finds it in a
 * list. Both ends are changed under the registry's lock: when a thread ends it gives back what its living caches
 * hold, and when a heap ends it frees all of its caches.
 *
 * jemalloc's own thread caches are not used: through mallocx() with a named cache a pair takes two and a half times
 * what malloc() takes, and they would hold pinned memory a second time.
 */
#include "heap/heap.h"

struct entry {
    uint64_t           id; /* 0: free */
    struct heap_cache *cache;
};

struct table {
    struct entry entry[HEAP_CACHES_MAX];
};

_Thread_local uint64_t           heap_here_id;
_Thread_local struct heap_cache *heap_here;
_Atomic uint32_t                 heap_forked;

static pthread_mutex_t   registry = PTHREAD_MUTEX_INITIALIZER;
static struct weir_heap *heaps;
static uint64_t          ids;
static pthread_once_t    once = PTHREAD_ONCE_INIT;
static pthread_key_t     key;
static bool              key_made;

static struct weir_heap *living_locked(uint64_t id)
{
    struct weir_heap *heap = heaps;
    while (heap && heap->id != id) heap = heap->next;
    return heap;
}

void heap_cache_flush(struct heap_cache *cache, unsigned class, uint32_t keep)
{
    struct weir_heap  *heap = cache->heap;
    struct heap_stack *stack = &cache->stack[class];
    uint32_t           count = wi_load(&stack->count, relaxed);
    if (count <= keep) return;
    /* The oldest go, the newest stay: they are warm. */
    uint32_t leave = count - keep;
    for (uint32_t i = 0; i < leave; i++) heap_give(heap, stack->slot[i], heap->class_bytes[class]);
    for (uint32_t i = 0; i < keep; i++) stack->slot[i] = stack->slot[leave + i];
    wi_store(&stack->count, keep, relaxed);
}

static void end_cache(struct heap_cache *cache)
{
    struct weir_heap *heap = cache->heap;
    for (unsigned class = 0; class < heap->classes; class++) heap_cache_flush(cache, class, 0);
    pthread_mutex_lock(&heap->caches_lock);
    struct heap_cache **link = &heap->caches;
    while (*link != cache) link = &(*link)->next;
    *link = cache->next;
    heap->threads--;
    pthread_mutex_unlock(&heap->caches_lock);
    heap_release(cache);
}

static void end_thread(void *arg)
{
    struct table *table = arg;
    heap_here_id = 0;
    if (wi_load(&heap_forked, relaxed)) return;
    pthread_mutex_lock(&registry);
    for (unsigned i = 0; i < HEAP_CACHES_MAX; i++) {
        if (table->entry[i].id && living_locked(table->entry[i].id)) end_cache(table->entry[i].cache);
    }
    pthread_mutex_unlock(&registry);
    heap_release(table);
}

static void before_fork(void)
{
    pthread_mutex_lock(&registry);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&registry);
}

static void in_child(void)
{
    wi_store(&heap_forked, 1, relaxed);
    heap_here_id = 0;
    after_fork();
}

static void start(void)
{
    key_made = pthread_key_create(&key, end_thread) == 0 && pthread_atfork(before_fork, after_fork, in_child) == 0;
}

static size_t slots_of(const struct weir_heap *heap, unsigned class)
{
    size_t slots = heap->cache_bytes_max / heap->classes / heap->class_bytes[class];
    return slots < 2 ? 2 : slots > HEAP_STACK_MAX ? HEAP_STACK_MAX : slots;
}

static struct heap_cache *make_cache(struct weir_heap *heap)
{
    size_t slots = 0;
    for (unsigned class = 0; class < heap->classes; class++) slots += slots_of(heap, class);
    struct heap_cache *cache = heap_calloc(1, sizeof *cache + slots * sizeof cache->slots[0]);
    if (!cache) return NULL;
    void **slot = cache->slots;
    for (unsigned class = 0; class < heap->classes; class++) {
        cache->stack[class].capacity = (uint32_t)slots_of(heap, class);
        cache->stack[class].slot = slot;
        slot += cache->stack[class].capacity;
    }
    cache->heap = heap;
    pthread_mutex_lock(&heap->caches_lock);
    cache->next = heap->caches;
    heap->caches = cache;
    heap->threads++;
    pthread_mutex_unlock(&heap->caches_lock);
    return cache;
}

static struct table *find_table(void)
{
    struct table *table = pthread_getspecific(key);
    if (table) return table;
    table = heap_calloc(1, sizeof *table);
    if (table && pthread_setspecific(key, table) != 0) {
        heap_release(table);
        return NULL;
    }
    return table;
}

static struct entry *find_entry(struct table *table, uint64_t id)
{
    for (unsigned i = 0; i < HEAP_CACHES_MAX; i++) {
        if (table->entry[i].id == id) return &table->entry[i];
    }
    return NULL;
}

static struct entry *free_entry(struct table *table)
{
    struct entry *entry = find_entry(table, 0);
    if (entry) return entry;
    pthread_mutex_lock(&registry);
    for (unsigned i = 0; i < HEAP_CACHES_MAX; i++) {
        if (!living_locked(table->entry[i].id)) table->entry[i] = (struct entry){0, NULL};
    }
    pthread_mutex_unlock(&registry);
    return find_entry(table, 0);
}

struct heap_cache *heap_cache_find(struct weir_heap *heap)
{
    if (heap_here_id == heap->id) return heap_here;
    if (heap->cache_bytes_max == SIZE_MAX) return NULL;
    struct table *table = find_table();
    if (!table) return NULL;
    struct entry *entry = find_entry(table, heap->id);
    if (!entry) {
        entry = free_entry(table);
        struct heap_cache *cache = entry ? make_cache(heap) : NULL;
        if (!cache) return NULL;
        *entry = (struct entry){heap->id, cache};
    }
    heap_here = entry->cache;
    heap_here_id = heap->id;
    return heap_here;
}

void weir_heap_detach(struct weir_heap *heap)
{
    if (!heap || wi_load(&heap_forked, relaxed) || !key_made) return;
    struct table *table = pthread_getspecific(key);
    struct entry *entry = table ? find_entry(table, heap->id) : NULL;
    if (!entry) return;
    heap_here_id = 0;
    end_cache(entry->cache);
    *entry = (struct entry){0, NULL};
}

int heap_register(struct weir_heap *heap)
{
    pthread_once(&once, start);
    if (!key_made)
        return heap_fail(NOMEM, .call = "pthread_key_create", .limit = "PTHREAD_KEYS_MAX",
                         .detail = "no thread-specific key is left for heaps");
    pthread_mutex_lock(&registry);
    heap->id = ++ids;
    heap->next = heaps;
    heaps = heap;
    pthread_mutex_unlock(&registry);
    return 0;
}

void heap_unregister(struct weir_heap *heap)
{
    pthread_mutex_lock(&registry);
    struct weir_heap **link = &heaps;
    while (*link && *link != heap) link = &(*link)->next;
    if (*link) *link = heap->next;
    while (heap->caches) end_cache(heap->caches);
    pthread_mutex_unlock(&registry);
}
