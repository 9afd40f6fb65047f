/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/grow.h"

#include "base/alloc.h"
#include "base/log.h"
#include "pool/directory.h"
#include "pool/mirror.h"

/* ---- growing ---- */

/* order(fresh): release; pairs with the exchange in wi_pool_keep(). The record's fields are written first. */
static void push_fresh(struct weir_pool *pool, struct wi_record *record)
{
    struct wi_record *head = wi_load(&pool->fresh, relaxed);
    (void)wi_or(&record->attention, WI_ATTENTION_FRESH, relaxed);
    wi_add(&pool->total, 1, release);
    do {
        record->next = head;
    } while (!wi_cas(&pool->fresh, &head, record, release));
}

/* The next record without an object, from *at on. The caller knows that there is one. */
static struct wi_record *next_unused(struct weir_pool *pool, uint32_t *at)
{
    for (;; (*at)++) {
        wi_require(*at < pool->store.records_max);
        struct wi_record *record = &pool->store.records[*at];
        if (!record->object) {
            (*at)++;
            return record;
        }
    }
}

static uint32_t attention_of(const struct weir_pool *pool)
{
    return pool->opts.flags & WEIR_POOL_SCRUB ? WI_ATTENTION_SCRUB : 0;
}

static int make_stretch(struct weir_pool *pool, size_t count, weir_progress_fn *progress, struct wi_stretch **out)
{
    struct wi_stretch *stretch = wi_calloc(1, sizeof *stretch);
    int                err;
    if (!stretch) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a stretch of a pool");
    stretch->record = wi_calloc(count, sizeof *stretch->record);
    if (!stretch->record) {
        err = WI_FAIL(NOMEM, .call = "calloc", .detail = "a stretch of a pool");
        goto free_stretch;
    }
    uint32_t            memory = wi_load(&pool->memory, relaxed);
    struct wi_slab_opts slab = {
        .device = pool->context->device,
        .budget = wi_context_budget(pool->context, memory),
        .fallback = &pool->context->pageable,
        .block_bytes = pool->opts.buffer_bytes,
        .blocks = count,
        .memory = memory,
        .flags = pool->opts.flags & WEIR_POOL_PAGEABLE_OK ? WI_SLAB_PAGEABLE_OK : 0,
        .numa_mask = pool->opts.numa_mask,
        .source = pool->opts.source,
        .progress = progress,
        .ctx = pool->opts.progress_ctx,
    };
    err = wi_slab_create(&slab, &stretch->slab);
    if (err < 0) goto free_records;
    err = wi_slab_show(&pool->context->slab_hooks, stretch->slab, pool);
    if (err < 0) goto free_slab;
    *out = stretch;
    return 0;

free_slab:
    wi_slab_destroy(stretch->slab);
free_records:
    wi_free(stretch->record);
free_stretch:
    wi_free(stretch);
    return err;
}

static void free_stretch(struct wi_stretch *stretch)
{
    wi_slab_destroy(stretch->slab);
    wi_free(stretch->record);
    wi_free(stretch);
}

static int grow_buffers_locked(struct weir_pool *pool, size_t count, weir_progress_fn *progress)
{
    struct wi_stretch *stretch = NULL;
    WI_TRY(make_stretch(pool, count, progress, &stretch));
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++) {
        struct wi_record *record = next_unused(pool, &at);
        struct wi_block   block = wi_slab_block(stretch->slab, i);
        record->object = stretch;
        record->face = (struct weir_buffer){block.host, block.device, pool->opts.buffer_bytes};
        wi_store(&record->attention, attention_of(pool), relaxed);
        stretch->record[i] = record;
    }
    int err = wi_directory_add(stretch);
    if (err < 0) {
        for (size_t i = 0; i < count; i++) stretch->record[i]->object = NULL;
        free_stretch(stretch);
        return err;
    }
    wi_store(&pool->memory, stretch->slab->memory, relaxed); /* the actual kind is readable */
    stretch->next = pool->stretches;
    pool->stretches = stretch;
    for (size_t i = 0; i < count; i++) push_fresh(pool, stretch->record[i]);
    return 0;
}

static int grow_objects_locked(struct weir_pool *pool, size_t count)
{
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++) {
        struct wi_record *record = next_unused(pool, &at);
        int               err = pool->make(pool, record);
        if (err < 0) return err; /* what was made stays: the pool is larger than before */
        if (pool->tier) wi_store(&record->attention, WI_ATTENTION_TIERED, relaxed);
        push_fresh(pool, record);
    }
    return 0;
}

static bool is_gone(const struct wi_record *record)
{
    /*
     * order(fresh): acquire; pairs with the clearing in wi_pool_keep(). FRESH before the word: read the other way
     * round, a record that the keeper publishes in between would seem GONE, and be pushed a second time.
     */
    if (wi_load(&record->attention, acquire) & WI_ATTENTION_FRESH) return false;
    return wi_word_state(wi_load(&record->word, acquire)) == WI_GONE;
}

/* Put back what is GONE though its stretch is not retiring. Returns how many objects came back. */
static size_t restore_gone(struct weir_pool *pool, struct wi_stretch *stretch)
{
    size_t restored = 0;
    for (size_t i = 0; i < stretch->slab->blocks; i++) {
        if (!is_gone(stretch->record[i])) continue;
        push_fresh(pool, stretch->record[i]);
        restored++;
    }
    return restored;
}

/* Demand is back: stretches on their way out stay. Returns how many objects came back. */
static size_t revive_locked(struct weir_pool *pool)
{
    size_t revived = 0;
    for (struct wi_stretch *stretch = pool->stretches; stretch; stretch = stretch->next) {
        if (!stretch->retiring) continue;
        stretch->retiring = false;
        for (size_t i = 0; i < stretch->slab->blocks; i++)
            (void)wi_and(&stretch->record[i]->attention, ~(uint32_t)WI_ATTENTION_DIVERT, seq_cst);
        revived += restore_gone(pool, stretch);
        /* A release that saw DIVERT a moment ago may still make its record GONE: settle looks again. */
        pool->revived = true;
    }
    return revived;
}

static size_t unused_records(const struct weir_pool *pool)
{
    size_t unused = 0;
    for (uint32_t i = 0; i < pool->store.records_max; i++) unused += !pool->store.records[i].object;
    return unused;
}

int wi_pool_grow_locked(struct weir_pool *pool, size_t count, weir_progress_fn *progress)
{
    if (pool->kind != WI_POOL_BUFFERS) return grow_objects_locked(pool, count);
    size_t revived = revive_locked(pool);
    if (revived >= count) return 0;
    size_t room = unused_records(pool);
    size_t wanted = count - revived < room ? count - revived : room;
    return wanted > 0 ? grow_buffers_locked(pool, wanted, progress) : 0;
}

/* ---- shrinking ---- */

void wi_pool_divert(void *ctx, struct wi_record *record)
{
    struct weir_pool *pool = ctx;
    uint64_t          word = wi_load(&record->word, relaxed);
    /* A displacer may clear HOME meanwhile, nothing else changes: the caller owns the record. */
    while (!wi_cas(&record->word, &word, wi_word_with(word, WI_GONE), seq_cst)) {}
    wi_sub(&pool->total, 1, release);
    wi_kick(&pool->context->monitor);
}

/* Take what is free and at home; the rest comes by divert. */
static void take_free(struct weir_pool *pool, struct wi_stretch *stretch)
{
    for (size_t i = 0; i < stretch->slab->blocks; i++) {
        if (wi_store_take(&pool->store, stretch->record[i], WI_GONE)) wi_sub(&pool->total, 1, release);
    }
}

static void mark_stretch(struct weir_pool *pool, struct wi_stretch *stretch)
{
    stretch->retiring = true;
    for (size_t i = 0; i < stretch->slab->blocks; i++)
        (void)wi_or(&stretch->record[i]->attention, WI_ATTENTION_DIVERT, seq_cst);
    take_free(pool, stretch);
    wi_store_sweep(&pool->store);
}

static size_t still_out(const struct wi_stretch *stretch)
{
    size_t out = 0;
    for (size_t i = 0; i < stretch->slab->blocks; i++)
        out += !is_gone(stretch->record[i]);
    return out;
}

/*
 * May the stretch leave, so that `buffers` of `total` stay? The oldest one never does: it has buffers_min, and were
 * it to go while a larger one stays, the pool could not come down to buffers_min any more.
 */
static bool may_leave(const struct wi_stretch *stretch, size_t total, size_t buffers)
{
    return stretch->next && total >= buffers && total - buffers >= stretch->slab->blocks;
}

size_t wi_pool_shrink_locked(struct weir_pool *pool, size_t buffers)
{
    size_t total = wi_load(&pool->total, relaxed);
    for (struct wi_stretch *stretch = pool->stretches; stretch; stretch = stretch->next) {
        if (stretch->retiring) {
            total -= still_out(stretch);
            continue;
        }
        if (!may_leave(stretch, total, buffers)) continue;
        mark_stretch(pool, stretch);
        total -= stretch->slab->blocks;
    }
    return wi_pool_settle_locked(pool);
}

uint64_t wi_pool_retire_bytes_locked(struct weir_pool *pool, const struct wi_budget *budget, uint64_t bytes)
{
    uint64_t leaving = 0;
    size_t   total = wi_load(&pool->total, relaxed);
    for (struct wi_stretch *stretch = pool->stretches; stretch; stretch = stretch->next) {
        bool mine = stretch->slab->budget == budget;
        if (stretch->retiring) {
            total -= still_out(stretch);
        } else if (mine && leaving < bytes && may_leave(stretch, total, pool->opts.buffers_min)) {
            mark_stretch(pool, stretch);
            total -= stretch->slab->blocks;
        } else {
            continue;
        }
        if (mine) leaving += stretch->slab->charged_bytes;
    }
    return leaving;
}

static void end_stretch_locked(struct weir_pool *pool, struct wi_stretch *stretch)
{
    size_t blocks = stretch->slab->blocks;
    wi_directory_remove(stretch);
    /* Readers that found the slab before it left the directory, and walks, have ended after this. */
    wi_epoch_synchronize();
    for (size_t i = 0; i < blocks; i++) {
        struct wi_record *record = stretch->record[i];
        wi_mirror_free(record);
        wi_store(&record->attention, 0, relaxed);
        record->face = (struct weir_buffer){0};
        record->object = NULL;
    }
    free_stretch(stretch);
    wi_add(&pool->stat.shrinks, 1, relaxed);
    wi_log(INFO, "pool", "%s shrank by %zu to %llu", pool->name, blocks,
           (unsigned long long)wi_load(&pool->total, relaxed));
}

size_t wi_pool_settle_locked(struct weir_pool *pool)
{
    size_t              waiting = 0;
    struct wi_stretch **link = &pool->stretches;
    while (*link) {
        struct wi_stretch *stretch = *link;
        size_t             out = 0;
        if (stretch->retiring) {
            take_free(pool, stretch);
            out = still_out(stretch);
            if (out > 0) {
                wi_store_sweep(&pool->store);
                out = still_out(stretch);
            }
        }
        waiting += out;
        if (!stretch->retiring && pool->revived && restore_gone(pool, stretch) > 0) wi_kick(&pool->context->keeper);
        if (!stretch->retiring || out > 0) {
            link = &stretch->next;
            continue;
        }
        *link = stretch->next;
        end_stretch_locked(pool, stretch);
    }
    return waiting;
}

void wi_pool_free_stretches(struct weir_pool *pool)
{
    while (pool->stretches) {
        struct wi_stretch *stretch = pool->stretches;
        pool->stretches = stretch->next;
        wi_directory_remove(stretch);
        wi_epoch_synchronize();
        bool stays = still_out(stretch) > 0;
        for (size_t i = 0; i < stretch->slab->blocks; i++) {
            if (is_gone(stretch->record[i])) wi_mirror_free(stretch->record[i]);
            if (!stays) stretch->record[i]->object = NULL;
        }
        wi_slab_hide(stretch->slab);
        if (!stays) free_stretch(stretch);
        /* else the device may still touch a quarantined block: the slab stays mapped and charged for good */
    }
    for (uint32_t i = 0; pool->drop && i < pool->store.records_max; i++) {
        struct wi_record *record = &pool->store.records[i];
        bool              mine = wi_word_state(wi_load(&record->word, relaxed)) != WI_QUARANTINED;
        if (!mine) continue; /* the device may still use the object: it stays */
        if (record->object) pool->drop(pool, record);
        record->object = NULL;
    }
}
