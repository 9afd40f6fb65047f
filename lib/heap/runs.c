/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runs.c - whole pages of a heap: segments, and best fit in them
 *
 *     segment: pinned as one registration           segment
 *     | run in use | free run |  run in use  | free |     | free run                 |
 *
 * A run never leaves its segment, so no allocation spans two registrations. Free runs lie in bins by their number of
 * pages, exact up to BINS_EXACT; the smallest that fits is taken, its rest stays free, and neighbours that are free
 * become one. First and last page of each run know its length.
 *
 * Used by what is larger than jemalloc's slabs, and by jemalloc's arena for the slabs themselves (extents.c).
 *
 * Locks: grow_lock > runs_lock. Pinning happens under grow_lock alone: who finds room goes on meanwhile.
 */
#include "heap/heap.h"

#include <sys/mman.h>

#define FREE_BIT   UINT32_C(0x80000000)
#define NONE       UINT32_MAX
#define SEGMENT_BYTES_MIN ((size_t)1 << 20) /* where the limit has room for it */
#define BIN_SHARES 8 /* bins for each doubling beyond the exact ones */

/* Of each page; only a run's first and last have something to say. Links are of free runs. */
struct heap_page {
    uint32_t run; /* pages, and FREE_BIT */
    uint32_t next, before;
};

static unsigned bin_of(uint32_t pages)
{
    if (pages <= HEAP_BINS_EXACT) return pages - 1;
    unsigned shift = 31u - (unsigned)__builtin_clz(pages) - 3; /* three bits below the first */
    return HEAP_BINS_EXACT + (shift - HEAP_BINS_SHIFT) * BIN_SHARES + ((pages >> shift) & (BIN_SHARES - 1));
}

static uint32_t pages_of(const struct weir_heap *heap, uint32_t page)
{
    return heap->page[page].run & ~FREE_BIT;
}

static void write_run(struct weir_heap *heap, uint32_t page, uint32_t pages, uint32_t bit)
{
    heap->page[page].run = heap->page[page + pages - 1].run = pages | bit;
}

static void insert_locked(struct weir_heap *heap, uint32_t page, uint32_t pages)
{
    unsigned bin = bin_of(pages);
    write_run(heap, page, pages, FREE_BIT);
    heap->page[page].before = NONE;
    heap->page[page].next = heap->bin[bin];
    if (heap->bin[bin] != NONE) heap->page[heap->bin[bin]].before = page;
    heap->bin[bin] = page;
    heap->bin_used[bin / 64] |= UINT64_C(1) << (bin % 64);
}

static void remove_locked(struct weir_heap *heap, uint32_t page)
{
    struct heap_page *run = &heap->page[page];
    unsigned          bin = bin_of(pages_of(heap, page));
    if (run->before == NONE)
        heap->bin[bin] = run->next;
    else
        heap->page[run->before].next = run->next;
    if (run->next != NONE) heap->page[run->next].before = run->before;
    if (heap->bin[bin] == NONE) heap->bin_used[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
}

static unsigned next_bin(const struct weir_heap *heap, unsigned bin)
{
    unsigned word = bin / 64;
    if (bin >= HEAP_BINS) return HEAP_BINS;
    uint64_t bits = heap->bin_used[word] & ~UINT64_C(0) << (bin % 64);
    while (bits == 0) {
        if (++word == HEAP_BINS / 64) return HEAP_BINS;
        bits = heap->bin_used[word];
    }
    return word * 64 + (unsigned)__builtin_ctzll(bits);
}

/* Where `pages` at a multiple of `unit` pages begin in a run; NONE: they do not fit. */
static uint32_t place_in(const struct weir_heap *heap, uint32_t run, uint32_t pages, uint32_t unit)
{
    uint32_t at = (run + unit - 1) / unit * unit; /* the region begins at a multiple of every unit */
    return at - run <= pages_of(heap, run) && pages_of(heap, run) - (at - run) >= pages ? at : NONE;
}

static void add_pages_locked(struct weir_heap *heap, uint32_t page, int64_t pages)
{
    struct heap_segment *segment = &heap->segment[heap->head[page / HEAP_STEP_PAGES]];
    segment->pages = (uint32_t)(segment->pages + pages);
}

static uint32_t take_locked(struct weir_heap *heap, uint32_t pages, uint32_t unit)
{
    for (unsigned bin = next_bin(heap, bin_of(pages)); bin < HEAP_BINS; bin = next_bin(heap, bin + 1)) {
        /* All runs of an exact bin are alike; in another the first that fits is near enough. */
        for (uint32_t run = heap->bin[bin]; run != NONE; run = heap->page[run].next) {
            uint32_t at = place_in(heap, run, pages, unit), all = pages_of(heap, run);
            if (at == NONE) {
                if (bin < HEAP_BINS_EXACT && unit == 1) break;
                continue;
            }
            remove_locked(heap, run);
            if (at > run) insert_locked(heap, run, at - run);
            if (run + all > at + pages) insert_locked(heap, at + pages, run + all - at - pages);
            /* jemalloc may give back any part of what it has: no page in it may say what it once was. */
            for (uint32_t i = 0; pages <= HEAP_SLAB_PAGES_MAX && i < pages; i++) heap->page[at + i].run = 0;
            write_run(heap, at, pages, 0);
            add_pages_locked(heap, at, pages);
            return at;
        }
    }
    return NONE;
}

/* The segment's end that a page is in: runs of others do not join. */
static bool same_segment(const struct weir_heap *heap, uint32_t page, uint32_t other)
{
    return other / HEAP_STEP_PAGES < heap->steps_used &&
           heap->head[page / HEAP_STEP_PAGES] == heap->head[other / HEAP_STEP_PAGES];
}

static void give_locked(struct weir_heap *heap, uint32_t page, uint32_t pages)
{
    add_pages_locked(heap, page, -(int64_t)pages);
    uint32_t behind = page + pages;
    if (same_segment(heap, page, behind) && (heap->page[behind].run & FREE_BIT)) {
        pages += pages_of(heap, behind);
        remove_locked(heap, behind);
    }
    if (page > 0 && same_segment(heap, page, page - 1) && (heap->page[page - 1].run & FREE_BIT)) {
        uint32_t before = pages_of(heap, page - 1);
        remove_locked(heap, page - before);
        page -= before;
        pages += before;
    }
    insert_locked(heap, page, pages);
}

/* ---- segments ---- */

static struct weir_extent extent_of(size_t first, const struct heap_segment *segment)
{
    return (struct weir_extent){first * HEAP_STEP_BYTES, segment->steps * HEAP_STEP_BYTES};
}

/* A segment that was unpinned, or new addresses. SIZE_MAX: neither. */
static size_t find_segment(struct weir_heap *heap, size_t steps_min, size_t steps)
{
    size_t best = SIZE_MAX;
    for (size_t step = 0; step < heap->steps_used; step += heap->segment[step].steps) {
        const struct heap_segment *segment = &heap->segment[step];
        if (!segment->pinned && segment->steps >= steps_min && segment->steps <= 2 * steps &&
            (best == SIZE_MAX || segment->steps < heap->segment[best].steps))
            best = step;
    }
    if (best != SIZE_MAX) return best;
    size_t first = heap->steps_used;
    if (steps > heap->bytes / HEAP_STEP_BYTES - first) return SIZE_MAX;
    pthread_mutex_lock(&heap->runs_lock);
    for (size_t i = 0; i < steps; i++) heap->head[first + i] = (uint32_t)first;
    heap->segment[first].steps = (uint32_t)steps;
    heap->steps_used = first + steps;
    pthread_mutex_unlock(&heap->runs_lock);
    return first;
}

static int pin(struct weir_heap *heap, size_t first)
{
    struct heap_segment *segment = &heap->segment[first];
    struct weir_extent   extent = extent_of(first, segment);
    heap_unpoison(heap->base + extent.offset, extent.bytes);
    int err = weir_region_commit(heap->region, extent);
    if (err < 0) return err;
    wi_add(&heap->bytes_pinned, extent.bytes, relaxed);
    wi_add(&heap->segments, 1, relaxed);
    pthread_mutex_lock(&heap->runs_lock);
    segment->pinned = true;
    insert_locked(heap, (uint32_t)(first * HEAP_STEP_PAGES), (uint32_t)(segment->steps * HEAP_STEP_PAGES));
    pthread_mutex_unlock(&heap->runs_lock);
    return 0;
}

static int refuse(const struct weir_heap *heap, uint64_t wanted)
{
    return heap_fail(EXCEEDS, .limit = heap->limit, .setting = heap->setting, .limit_value = heap->bytes_max,
                     .wanted = wanted, .detail = "the heap may not pin another segment");
}

/* Segments grow with the heap: an eighth of it, so that what the last one has to spare stays small. */
static int grow(struct weir_heap *heap, uint32_t pages)
{
    uint64_t pinned = wi_load(&heap->bytes_pinned, relaxed);
    size_t   least = wi_round_up((size_t)pages << HEAP_PAGE_SHIFT, HEAP_STEP_BYTES);
    size_t   wanted = wi_round_up(pinned / 8, HEAP_STEP_BYTES);
    int      err;
    if (wanted < SEGMENT_BYTES_MIN) wanted = SEGMENT_BYTES_MIN;
    if (wanted > heap->segment_bytes) wanted = heap->segment_bytes;
    if (wanted < least) wanted = least;
    if (least > heap->bytes_max || pinned > heap->bytes_max - least) return refuse(heap, pinned + least);
    if (pinned + wanted > heap->bytes_max) wanted = least;
    do {
        size_t first = find_segment(heap, least / HEAP_STEP_BYTES, wanted / HEAP_STEP_BYTES);
        if (first == SIZE_MAX)
            return heap_fail(EXCEEDS, .limit = "addresses of the heap", .setting = heap->setting,
                             .limit_value = heap->bytes, .wanted = wanted, .detail = "the heap has used up its addresses");
        if (pinned + heap->segment[first].steps * HEAP_STEP_BYTES > heap->bytes_max)
            err = refuse(heap, pinned + heap->segment[first].steps * HEAP_STEP_BYTES);
        else
            err = pin(heap, first);
        /* The runtime's budget may have room for less. */
        bool again = err == WEIR_EEXCEEDS && wanted > least;
        wanted = least;
        if (!again) break;
    } while (true);
    return err;
}

void heap_segments_unpin(struct weir_heap *heap)
{
    pthread_mutex_lock(&heap->grow_lock);
    for (size_t step = 0; step < heap->steps_used; step += heap->segment[step].steps) {
        struct heap_segment *segment = &heap->segment[step];
        pthread_mutex_lock(&heap->runs_lock);
        bool idle = segment->pinned && segment->pages == 0;
        if (idle) {
            remove_locked(heap, (uint32_t)(step * HEAP_STEP_PAGES));
            heap->page[step * HEAP_STEP_PAGES].run = 0;
            heap->page[(step + segment->steps) * HEAP_STEP_PAGES - 1].run = 0;
            segment->pinned = false;
        }
        pthread_mutex_unlock(&heap->runs_lock);
        if (!idle) continue;
        struct weir_extent extent = extent_of(step, segment);
        heap_unpoison(heap->base + extent.offset, extent.bytes);
        /* It refuses only what is misuse; what a lost device keeps is for the region to count. */
        int err = weir_region_decommit(heap->region, extent);
        (void)err;
        wi_sub(&heap->bytes_pinned, extent.bytes, relaxed);
        wi_sub(&heap->segments, 1, relaxed);
    }
    pthread_mutex_unlock(&heap->grow_lock);
}

/* ---- runs ---- */

void *heap_run_take(struct weir_heap *heap, size_t bytes, size_t alignment)
{
    size_t   whole = wi_round_up(bytes, HEAP_PAGE_BYTES);
    uint32_t pages = (uint32_t)(whole >> HEAP_PAGE_SHIFT);
    uint32_t unit = alignment > HEAP_PAGE_BYTES ? (uint32_t)(alignment >> HEAP_PAGE_SHIFT) : 1;
    if (whole < bytes || whole > heap->bytes_max) {
        (void)refuse(heap, bytes);
        return NULL;
    }
    pthread_mutex_lock(&heap->runs_lock);
    uint32_t page = take_locked(heap, pages, unit);
    pthread_mutex_unlock(&heap->runs_lock);
    if (WI_UNLIKELY(page == NONE)) {
        pthread_mutex_lock(&heap->grow_lock);
        for (int err = 0; page == NONE && err >= 0;) {
            /* Another thread may have grown the heap meanwhile. */
            pthread_mutex_lock(&heap->runs_lock);
            page = take_locked(heap, pages, unit);
            pthread_mutex_unlock(&heap->runs_lock);
            if (page == NONE) err = grow(heap, pages + unit - 1);
        }
        pthread_mutex_unlock(&heap->grow_lock);
    }
    return page == NONE ? NULL : heap->base + ((size_t)page << HEAP_PAGE_SHIFT);
}

void heap_run_give(struct weir_heap *heap, void *ptr, size_t bytes)
{
    pthread_mutex_lock(&heap->runs_lock);
    give_locked(heap, (uint32_t)heap_page_of(heap, ptr), (uint32_t)(bytes >> HEAP_PAGE_SHIFT));
    pthread_mutex_unlock(&heap->runs_lock);
}

/* Nobody but the run's owner changes its first page's word, so no lock is needed. */
size_t heap_run_bytes(const struct weir_heap *heap, const void *ptr)
{
    return (size_t)pages_of(heap, (uint32_t)heap_page_of(heap, ptr)) << HEAP_PAGE_SHIFT;
}

bool heap_run_resize(struct weir_heap *heap, void *ptr, size_t bytes)
{
    uint32_t page = (uint32_t)heap_page_of(heap, ptr);
    size_t   wanted = wi_round_up(bytes, HEAP_PAGE_BYTES) >> HEAP_PAGE_SHIFT;
    bool     resized = true;
    pthread_mutex_lock(&heap->runs_lock);
    uint32_t pages = pages_of(heap, page), behind = page + pages;
    if (wanted < pages) {
        write_run(heap, page, (uint32_t)wanted, 0);
        write_run(heap, page + (uint32_t)wanted, pages - (uint32_t)wanted, 0);
        give_locked(heap, page + (uint32_t)wanted, pages - (uint32_t)wanted);
    } else if (wanted > pages) {
        size_t   more = wanted - pages;
        uint32_t room = same_segment(heap, page, behind) && (heap->page[behind].run & FREE_BIT) ? pages_of(heap, behind) : 0;
        resized = room >= more;
        if (resized) {
            remove_locked(heap, behind);
            if (room > more) insert_locked(heap, behind + (uint32_t)more, room - (uint32_t)more);
            write_run(heap, page, (uint32_t)wanted, 0);
            add_pages_locked(heap, page, (int64_t)more);
        }
    }
    pthread_mutex_unlock(&heap->runs_lock);
    return resized;
}

int heap_runs_init(struct weir_heap *heap)
{
    size_t pages = heap->bytes >> HEAP_PAGE_SHIFT;
    for (unsigned bin = 0; bin < HEAP_BINS; bin++) heap->bin[bin] = NONE;
    /* Its own pages come as addresses are used. */
    void *page = mmap(NULL, pages * sizeof *heap->page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    heap->page = page == MAP_FAILED ? NULL : page;
    return heap->page ? 0 : heap_fail(NOMEM, .call = "mmap", .wanted = pages * sizeof *heap->page, .detail = "a heap's table of pages");
}

void heap_runs_end(struct weir_heap *heap)
{
    if (heap->page) (void)munmap(heap->page, (heap->bytes >> HEAP_PAGE_SHIFT) * sizeof *heap->page);
}
