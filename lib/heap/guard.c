/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.c - memory that the device uses
 *
 * A guarded allocation has a record outside of it: the device may be reading the memory, so nothing is written there.
 * The record has a mark for each stream. It is found by the page where the allocation begins, whose tag sends every
 * free of that page here.
 *
 *     guarded --free, pending--> retired --all marks passed--> given back to the arena
 *             --free, passed---> given back at once
 *             --query fails----> quarantined: never reused
 *     failed  --free-----------> quarantined          what was queued could not be marked
 *
 * Who reaps: whoever allocates past the cache, frees into a long list, trims or destroys. Nobody waits for it.
 */
#include "heap/heap.h"

#define MARKS_FIRST 4
#define BUCKETS_FIRST 64
#define REAP_AT_LEAST 32

enum guard_state { LIVE, FAILED, RETIRED, QUARANTINED };

struct heap_guard {
    struct heap_guard *next;    /* in its bucket */
    struct heap_guard *behind;  /* in the retired list */
    char              *ptr;
    size_t             usable;
    enum guard_state   state;
    uint32_t           count, capacity;
    struct weir_mark  *mark;
    struct weir_mark   first[MARKS_FIRST];
};

static size_t bucket_of(const struct weir_heap *heap, const void *ptr)
{
    return (heap_page_of(heap, ptr) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (heap->guards_capacity - 1);
}

static struct heap_guard *find_locked(const struct weir_heap *heap, const void *ptr)
{
    struct heap_guard *guard = heap->guards[bucket_of(heap, ptr)];
    while (guard && guard->ptr != ptr) guard = guard->next;
    return guard;
}

int heap_guards_init(struct weir_heap *heap)
{
    pthread_mutex_init(&heap->guards_lock, NULL);
    heap->guards = heap_calloc(BUCKETS_FIRST, sizeof *heap->guards);
    heap->guards_capacity = BUCKETS_FIRST;
    heap->retired_end = &heap->retired;
    heap->reap_at = REAP_AT_LEAST;
    return heap->guards ? 0 : heap_fail(NOMEM, .call = "calloc", .detail = "a heap's table of guards");
}

/* More buckets, if there is memory for them: else chains grow. */
static void spread_locked(struct weir_heap *heap)
{
    size_t              before = heap->guards_capacity;
    struct heap_guard **old = heap->guards, **guards = heap_calloc(2 * before, sizeof *guards);
    if (!guards) return;
    heap->guards = guards;
    heap->guards_capacity = 2 * before;
    for (size_t i = 0; i < before; i++) {
        for (struct heap_guard *guard = old[i], *next; guard; guard = next) {
            next = guard->next;
            struct heap_guard **bucket = &guards[bucket_of(heap, guard->ptr)];
            guard->next = *bucket;
            *bucket = guard;
        }
    }
    heap_release(old);
}

/* Take a record out; the page is free of guards when it was the last one there. */
static void remove_locked(struct weir_heap *heap, struct heap_guard *guard)
{
    size_t              page = heap_page_of(heap, guard->ptr);
    struct heap_guard **link = &heap->guards[bucket_of(heap, guard->ptr)];
    bool                others = false;
    while (*link) {
        if (*link == guard) {
            *link = guard->next;
            continue;
        }
        others |= heap_page_of(heap, (*link)->ptr) == page;
        link = &(*link)->next;
    }
    heap->guards_count--;
    if (!others) (void)wi_and(&heap->tag[page], (unsigned char)~HEAP_TAG_GUARD, relaxed);
}

static void free_guard(struct heap_guard *guard)
{
    if (guard->mark != guard->first) heap_release(guard->mark);
    heap_release(guard);
}

/* ---- marking ---- */

static int find_or_make_locked(struct weir_heap *heap, void *ptr, struct heap_guard **out)
{
    struct heap_guard *guard = find_locked(heap, ptr);
    if (guard && guard->state >= RETIRED) return heap_fail(NOTLEASED, .detail = "freed already");
    if (!guard) {
        guard = heap_calloc(1, sizeof *guard);
        if (!guard) return heap_fail(NOMEM, .call = "calloc", .detail = "a guard");
        if (heap->guards_count >= 2 * heap->guards_capacity) spread_locked(heap);
        *guard = (struct heap_guard){.ptr = ptr, .usable = weir_heap_usable_bytes(heap, ptr), .capacity = MARKS_FIRST};
        guard->mark = guard->first;
        struct heap_guard **bucket = &heap->guards[bucket_of(heap, ptr)];
        guard->next = *bucket;
        *bucket = guard;
        heap->guards_count++;
        (void)wi_or(&heap->tag[heap_page_of(heap, ptr)], HEAP_TAG_GUARD, relaxed);
    }
    *out = guard;
    return 0;
}

/* Marks that have passed go. 0: none is pending; 1: some are; else why it will never be known. */
static int settle(struct weir_heap *heap, struct heap_guard *guard)
{
    uint32_t kept = 0;
    int      failed = 0;
    for (uint32_t i = 0; i < guard->count; i++) {
        int err = weir_region_query(heap->region, guard->mark[i]);
        if (err == 0) continue;
        if (err != WEIR_EAGAIN) failed = err;
        guard->mark[kept++] = guard->mark[i];
    }
    guard->count = kept;
    return failed ? failed : kept > 0;
}

/* Room for one mark more, so that adding it cannot fail. */
static int reserve_locked(struct weir_heap *heap, struct heap_guard *guard)
{
    if (guard->count < guard->capacity) return 0;
    (void)settle(heap, guard);
    if (guard->count < guard->capacity) return 0;
    uint32_t          capacity = 2 * guard->capacity;
    struct weir_mark *mark = heap_calloc(capacity, sizeof *mark);
    if (!mark) return heap_fail(NOMEM, .call = "calloc", .detail = "a guard's marks");
    for (uint32_t i = 0; i < guard->count; i++) mark[i] = guard->mark[i];
    if (guard->mark != guard->first) heap_release(guard->mark);
    guard->mark = mark;
    guard->capacity = capacity;
    return 0;
}

static void add_mark(struct heap_guard *guard, struct weir_mark mark)
{
    if (mark.stream == 0) return; /* nothing was pending */
    for (uint32_t i = 0; i < guard->count; i++) {
        if (guard->mark[i].stream != mark.stream) continue;
        if (guard->mark[i].point < mark.point) guard->mark[i].point = mark.point;
        return;
    }
    guard->mark[guard->count++] = mark;
}

/* The guard of an allocation, with room for a mark; guards_lock is held if it is 0. */
static int begin(struct weir_heap *heap, void *ptr, struct heap_guard **out)
{
    int err = heap_check_ptr(heap, ptr);
    if (err < 0) return err;
    pthread_mutex_lock(&heap->guards_lock);
    err = find_or_make_locked(heap, ptr, out);
    if (err >= 0) err = reserve_locked(heap, *out);
    if (err < 0) pthread_mutex_unlock(&heap->guards_lock);
    return err;
}

/* The work is queued: mark it. What cannot be marked is never reused. */
static int end(struct weir_heap *heap, struct heap_guard *guard, struct weir_stream *stream, bool queued)
{
    struct weir_mark mark = {0, 0};
    int              err = weir_region_mark(heap->region, stream, &mark);
    if (err >= 0)
        add_mark(guard, mark);
    else if (queued)
        guard->state = FAILED;
    if (guard->count == 0 && guard->state == LIVE) {
        remove_locked(heap, guard);
        free_guard(guard);
    }
    pthread_mutex_unlock(&heap->guards_lock);
    return err;
}

int weir_heap_guard(struct weir_heap *heap, void *ptr, struct weir_stream *stream)
{
    struct heap_guard *guard;
    int                err = begin(heap, ptr, &guard);
    return err < 0 ? err : end(heap, guard, stream, false);
}

static int copy(struct weir_heap *heap, struct weir_stream *stream, struct weir_heap_part part, uint64_t device, bool up)
{
    struct heap_guard *guard;
    int                err = begin(heap, part.ptr, &guard);
    if (err < 0) return err;
    char *host = (char *)part.ptr + part.offset;
    if (part.offset > guard->usable || part.bytes > guard->usable - part.offset)
        err = heap_fail(RANGE, .limit = "bytes of the allocation", .limit_value = guard->usable,
                        .wanted = part.offset + part.bytes, .setting = "a larger allocation");
    else
        err = up ? weir_region_upload(heap->region, stream, device, host, part.bytes)
                 : weir_region_download(heap->region, stream, host, device, part.bytes);
    if (err >= 0) return end(heap, guard, stream, true);
    if (guard->count == 0 && guard->state == LIVE) {
        remove_locked(heap, guard);
        free_guard(guard);
    }
    pthread_mutex_unlock(&heap->guards_lock);
    return err;
}

int weir_heap_upload(struct weir_heap *heap, struct weir_stream *stream, uint64_t device_dst, struct weir_heap_part src)
{
    return copy(heap, stream, src, device_dst, true);
}

int weir_heap_download(struct weir_heap *heap, struct weir_stream *stream, struct weir_heap_part dst, uint64_t device_src)
{
    return copy(heap, stream, dst, device_src, false);
}

/* ---- freeing ---- */

static void append_locked(struct weir_heap *heap, struct heap_guard *guard)
{
    guard->behind = NULL;
    *heap->retired_end = guard;
    heap->retired_end = &guard->behind;
}

int heap_retire(struct weir_heap *heap, void *ptr)
{
    pthread_mutex_lock(&heap->guards_lock);
    struct heap_guard *guard = find_locked(heap, ptr);
    int                answer = 0;
    if (guard && guard->state >= RETIRED) {
        answer = heap_fail(NOTLEASED, .detail = "freed already, and the device may still use it");
    } else if (guard && guard->state == FAILED) {
        answer = 1;
        guard->state = QUARANTINED;
        wi_add(&heap->bytes_quarantined, guard->usable, relaxed);
    } else if (guard) {
        answer = settle(heap, guard);
        if (answer == 0) {
            remove_locked(heap, guard);
            free_guard(guard);
        } else {
            /* A failure is looked at again by the reaper. The free itself is done. */
            answer = 1;
            guard->state = RETIRED;
            append_locked(heap, guard);
            wi_add(&heap->bytes_retiring, guard->usable, relaxed);
            wi_add(&heap->retires, 1, relaxed);
            wi_add(&heap->retired_count, 1, relaxed);
        }
    }
    bool due = wi_load(&heap->retired_count, relaxed) >= heap->reap_at;
    pthread_mutex_unlock(&heap->guards_lock);
    if (due) heap_reap(heap);
    return answer;
}

/* Streams that were found busy in this round, and where: later marks of theirs need no question. */
struct busy {
    struct weir_mark mark[8];
    unsigned         count;
};

static bool known_busy(const struct busy *busy, struct weir_mark mark)
{
    for (unsigned i = 0; i < busy->count; i++) {
        if (busy->mark[i].stream == mark.stream && busy->mark[i].point <= mark.point) return true;
    }
    return false;
}

static int look(struct weir_heap *heap, struct heap_guard *guard, struct busy *busy)
{
    for (uint32_t i = 0; i < guard->count; i++) {
        if (known_busy(busy, guard->mark[i])) return 1;
    }
    int answer = settle(heap, guard);
    if (answer == 1 && busy->count < WI_ARRAY_COUNT(busy->mark)) busy->mark[busy->count++] = guard->mark[0];
    return answer;
}

void heap_reap(struct weir_heap *heap)
{
    struct busy        busy = {.count = 0};
    struct heap_guard *passed = NULL;
    if (wi_load(&heap->retired_count, relaxed) == 0 || pthread_mutex_trylock(&heap->guards_lock) != 0) return;
    struct heap_guard **link = &heap->retired;
    while (*link) {
        struct heap_guard *guard = *link;
        int                answer = look(heap, guard, &busy);
        if (answer == 1) {
            link = &guard->behind;
            continue;
        }
        *link = guard->behind;
        wi_sub(&heap->retired_count, 1, relaxed);
        wi_sub(&heap->bytes_retiring, guard->usable, relaxed);
        if (answer < 0) {
            guard->state = QUARANTINED;
            wi_add(&heap->bytes_quarantined, guard->usable, relaxed);
            continue;
        }
        remove_locked(heap, guard);
        guard->behind = passed;
        passed = guard;
    }
    heap->retired_end = link;
    uint64_t twice = 2 * wi_load(&heap->retired_count, relaxed);
    heap->reap_at = twice > REAP_AT_LEAST ? twice : REAP_AT_LEAST;
    pthread_mutex_unlock(&heap->guards_lock);
    while (passed) {
        struct heap_guard *guard = passed;
        passed = guard->behind;
        wi_add(&heap->reaps, 1, relaxed);
        heap_poison(guard->ptr, guard->usable);
        _Atomic unsigned char *tag = &heap->tag[heap_page_of(heap, guard->ptr)];
        if (wi_load(tag, relaxed) == HEAP_TAG_LARGE) {
            wi_store(tag, 0, relaxed);
            heap_give_large(heap, guard->ptr, guard->usable);
        } else {
            heap_give(heap, guard->ptr, guard->usable);
        }
        free_guard(guard);
    }
}

/* ---- waiting ---- */

int weir_heap_sync(struct weir_heap *heap, void *ptr, uint64_t deadline_ns)
{
    struct weir_mark mark;
    int              answer = heap_check_ptr(heap, ptr);
    if (answer < 0) return answer;
    while (true) {
        pthread_mutex_lock(&heap->guards_lock);
        struct heap_guard *guard = find_locked(heap, ptr);
        answer = guard ? settle(heap, guard) : 0;
        if (answer > 0) mark = guard->mark[0];
        if (guard && guard->state == FAILED) answer = heap_fail(DEVICE, .detail = "work that was queued could not be marked");
        if (guard && guard->state >= RETIRED) answer = heap_fail(NOTLEASED, .detail = "freed already");
        pthread_mutex_unlock(&heap->guards_lock);
        if (answer <= 0) return answer;
        answer = weir_region_sync(heap->region, mark, deadline_ns);
        if (answer < 0) return answer;
    }
}

bool heap_guards_drain(struct weir_heap *heap, uint64_t deadline_ns)
{
    bool drained = wi_load(&heap->bytes_quarantined, relaxed) == 0;
    for (size_t i = 0; i < heap->guards_capacity; i++) {
        for (struct heap_guard *guard = heap->guards[i]; guard; guard = guard->next) {
            drained &= guard->state != FAILED;
            for (uint32_t m = 0; m < guard->count; m++)
                drained &= weir_region_sync(heap->region, guard->mark[m], deadline_ns) == 0;
        }
    }
    return drained;
}

void heap_guards_end(struct weir_heap *heap)
{
    for (size_t i = 0; heap->guards && i < heap->guards_capacity; i++) {
        while (heap->guards[i]) {
            struct heap_guard *guard = heap->guards[i];
            heap->guards[i] = guard->next;
            free_guard(guard);
        }
    }
    heap_release(heap->guards);
    pthread_mutex_destroy(&heap->guards_lock);
}
