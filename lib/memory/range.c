/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/range.h"

#include "base/alloc.h"
#include "memory/limits.h"
#include "memory/populate.h"

#include <sys/mman.h>

/* In the place of a slab. */
#define WORKING   ((struct wi_slab *)1) /* a commit or decommit is at work */
#define ABANDONED ((struct wi_slab *)2)

static bool is_slab(const struct wi_slab *slab)
{
    return slab && slab != WORKING && slab != ABANDONED;
}

static struct wi_slab *slab_at(const struct wi_range *range, size_t step)
{
    /* order(range-slab): acquire; pairs with the release in settle(). */
    return wi_load(&range->slab[step], acquire);
}

/* Give steps a slab, or what stands for one. */
static void settle(struct wi_range *range, struct wi_steps steps, struct wi_slab *slab)
{
    for (size_t i = 0; i < steps.count; i++) {
        /* order(range-slab): release; the slab's fields come first. */
        wi_store(&range->slab[steps.first + i], slab, release);
    }
}

int wi_range_reserve(struct wi_range *range, size_t bytes, size_t step_bytes)
{
    wi_assert(step_bytes > 0 && bytes % step_bytes == 0);
    *range = (struct wi_range){.bytes = bytes, .step_bytes = step_bytes, .steps = bytes / step_bytes};
    range->slab = wi_calloc(range->steps, sizeof *range->slab);
    if (!range->slab) return WI_FAIL(NOMEM, .call = "calloc", .detail = "the table of a range", .wanted = range->steps);
    size_t align = step_bytes > WI_HUGE_PAGE_BYTES ? step_bytes : WI_HUGE_PAGE_BYTES;
    char  *at = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        int sys_errno = errno;
        wi_free(range->slab);
        return wi_map_refused(bytes + align, sys_errno);
    }
    size_t skip = (size_t)(-(uintptr_t)at & (align - 1));
    if (skip > 0) (void)munmap(at, skip);
    if (skip < align) (void)munmap(at + skip + bytes, align - skip);
    range->base = at + skip;
    pthread_mutex_init(&range->lock, NULL);
    return 0;
}

/* Unmap all but what the device may still reach. */
static void unmap(struct wi_range *range)
{
    size_t start = 0;
    for (size_t step = 0; step <= range->steps; step++) {
        if (step < range->steps && slab_at(range, step) != ABANDONED) continue;
        if (step > start)
            (void)munmap(range->base + start * range->step_bytes, (step - start) * range->step_bytes);
        start = step + 1;
    }
    pthread_mutex_destroy(&range->lock);
    wi_free(range->slab);
    range->slab = NULL;
}

static struct wi_steps steps_of(const struct wi_range *range, size_t first)
{
    const struct wi_slab *slab = slab_at(range, first);
    return (struct wi_steps){first, is_slab(slab) ? slab->map_bytes / range->step_bytes : 1};
}

/* pre: nobody else works on the steps. */
static void end_slab(struct wi_range *range, struct wi_steps steps, struct wi_slab *slab, bool keep)
{
    size_t bytes = slab->map_bytes, abandoned = bytes;
    if (keep)
        wi_slab_abandon(slab);
    else
        abandoned = wi_slab_destroy(slab);
    wi_sub(&range->bytes_committed, bytes, relaxed);
    wi_add(&range->bytes_abandoned, abandoned, relaxed);
    wi_add(&range->decommits, 1, relaxed);
    settle(range, steps, abandoned ? ABANDONED : NULL);
}

static void end_all(struct wi_range *range, bool keep)
{
    struct wi_steps steps = {0, 0};
    for (; steps.first < range->steps; steps.first += steps.count) {
        struct wi_slab *slab = slab_at(range, steps.first);
        steps = steps_of(range, steps.first);
        wi_assert(slab != WORKING);
        if (is_slab(slab)) end_slab(range, steps, slab, keep);
    }
}

void wi_range_release(struct wi_range *range)
{
    end_all(range, false);
    unmap(range);
}

void wi_range_abandon(struct wi_range *range)
{
    end_all(range, true);
    unmap(range);
}

static int claim_free(struct wi_range *range, struct wi_steps steps)
{
    size_t free = 0;
    pthread_mutex_lock(&range->lock);
    while (free < steps.count && !slab_at(range, steps.first + free)) free++;
    if (free == steps.count) settle(range, steps, WORKING);
    pthread_mutex_unlock(&range->lock);
    WI_ENSURE(free == steps.count, BUSY, .detail = "part of it has memory already, or was left to a lost device");
    return 0;
}

static void raise_peak(struct wi_range *range, uint64_t bytes)
{
    uint64_t peak = wi_load(&range->bytes_committed_peak, relaxed);
    while (peak < bytes && !wi_cas(&range->bytes_committed_peak, &peak, bytes, relaxed)) {}
}

int wi_range_commit(struct wi_range *range, struct wi_steps steps, const struct wi_slab_opts *opts)
{
    struct wi_slab_opts filled = *opts;
    struct wi_slab     *slab;
    size_t              abandoned = 0;
    wi_assert(steps.first < range->steps && steps.count <= range->steps - steps.first);
    filled.abandoned = &abandoned;
    filled.at = range->base + steps.first * range->step_bytes;
    filled.block_bytes = range->step_bytes;
    filled.blocks = steps.count;
    if (filled.chunk_bytes_max == 0) filled.chunk_bytes_max = steps.count * range->step_bytes;
    WI_TRY(claim_free(range, steps));
    int err = wi_slab_create(&filled, &slab);
    if (err < 0) {
        wi_add(&range->failures, 1, relaxed);
        wi_add(&range->bytes_abandoned, abandoned, relaxed);
        settle(range, steps, abandoned ? ABANDONED : NULL);
        return err;
    }
    wi_add(&range->commits, 1, relaxed);
    raise_peak(range, wi_add(&range->bytes_committed, slab->map_bytes, relaxed) + slab->map_bytes);
    settle(range, steps, slab);
    return 0;
}

/* Whole slabs that lie side by side. */
static bool are_whole_locked(const struct wi_range *range, struct wi_steps steps)
{
    size_t end = steps.first + steps.count, step = steps.first;
    while (step < end) {
        const struct wi_slab *slab = slab_at(range, step);
        if (!is_slab(slab) || slab->base != range->base + step * range->step_bytes) return false;
        step += slab->map_bytes / range->step_bytes;
    }
    return step == end;
}

/* The next slab of the steps, now WORKING; or NULL: there is none left. */
static struct wi_slab *claim_next(struct wi_range *range, struct wi_steps *left, struct wi_steps *out)
{
    struct wi_slab *slab = NULL;
    if (left->count == 0) return NULL;
    pthread_mutex_lock(&range->lock);
    if (are_whole_locked(range, *left)) {
        slab = slab_at(range, left->first);
        *out = steps_of(range, left->first);
        settle(range, *out, WORKING);
        left->first += out->count;
        left->count -= out->count;
    }
    pthread_mutex_unlock(&range->lock);
    return slab;
}

int wi_range_decommit(struct wi_range *range, struct wi_steps steps)
{
    struct wi_steps left = steps, mine;
    wi_assert(steps.first < range->steps && steps.count <= range->steps - steps.first);
    for (struct wi_slab *slab; (slab = claim_next(range, &left, &mine)) != NULL;) end_slab(range, mine, slab, false);
    WI_ENSURE(left.count == 0, NOENT, .detail = "not whole extents that were committed");
    return 0;
}

const struct wi_slab *wi_range_find(const struct wi_range *range, size_t step)
{
    wi_assert(step < range->steps);
    const struct wi_slab *slab = slab_at(range, step);
    return is_slab(slab) ? slab : NULL;
}
