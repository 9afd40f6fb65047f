/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - making and closing pools, and bringing records home; growth and shrinking are in grow.c */
#include "pool/pool.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/settings.h"
#include "pool/bias.h"
#include "pool/directory.h"
#include "pool/grow.h"
#include "pool/preempt.h"
#include "pool/side.h"
#include "pool/watch.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

/* ---- blocks ---- */

static pthread_mutex_t   spare_lock = PTHREAD_MUTEX_INITIALIZER;
static struct weir_pool *spares;

static struct weir_pool *take_block(uint32_t slots)
{
    pthread_mutex_lock(&spare_lock);
    struct weir_pool **link = &spares;
    while (*link && (*link)->store.slots_capacity < slots) link = &(*link)->next;
    struct weir_pool *pool = *link;
    if (pool) *link = pool->next;
    pthread_mutex_unlock(&spare_lock);
    if (pool) return pool;

    size_t   slots_at = wi_round_up(sizeof *pool, _Alignof(struct wi_slot));
    uint32_t capacity = slots > wi_store_slots_capacity() ? slots : wi_store_slots_capacity();
    pool = wi_calloc_aligned(_Alignof(struct weir_pool), 1, slots_at + capacity * sizeof(struct wi_slot));
    if (!pool) return NULL;
    wi_store_make(&pool->store, (struct wi_slot *)((char *)pool + slots_at), capacity);
    pthread_mutex_init(&pool->lock, NULL);
    return pool;
}

static void give_block(struct weir_pool *pool)
{
    pthread_mutex_lock(&spare_lock);
    pool->next = spares;
    spares = pool;
    pthread_mutex_unlock(&spare_lock);
}

/* ---- what the store asks of the pool ---- */

__thread bool wi_is_keeper;

static void reap_all(void *ctx)
{
    struct weir_pool  *pool = ctx;
    struct wi_context *context = pool->context;
    struct wi_reaper   reaper = {.home = wi_pool_home};
    uint32_t           streams = wi_load(&context->streams, acquire);
    if (wi_load(&context->device->lost, relaxed)) return;
    for (uint32_t i = 0; i < streams; i++) {
        struct wi_stream *stream = wi_load(&context->stream[i], acquire);
        if (stream && wi_load(&stream->armed, relaxed)) (void)wi_reap(stream, &reaper);
    }
}

static void starved(void *ctx)
{
    struct weir_pool *pool = ctx;
    if (wi_load(&pool->total, relaxed) >= pool->store.records_max) return;
    if (wi_load(&pool->wants_growth, relaxed)) return;
    wi_store(&pool->wants_growth, 1, release);
    wi_kick(&pool->context->monitor);
}

static void kick(void *ctx)
{
    struct weir_pool  *pool = ctx;
    struct wi_context *context = wi_load(&pool->kicked, relaxed);
    wi_store(&pool->wants_service, 1, release);
    /* The keeper's own serving may ask for more of it: it sees the flag at the end of its round, and backs off. */
    if (!wi_is_keeper) wi_kick(&context->keeper);
    if (wi_load(&pool->store.gate, relaxed) & WI_GATE_SHUT) wi_kick(&context->monitor);
}

/* ---- create ---- */

static int fill_min(struct weir_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    int err = wi_pool_grow_locked(pool, pool->opts.buffers_min, pool->opts.progress);
    pthread_mutex_unlock(&pool->lock);
    if (err >= 0) (void)wi_pool_keep(pool); /* nobody else knows the pool yet: the lane has this one producer */
    return err;
}

void wi_pool_zero_stat(struct weir_pool *pool)
{
    wi_store(&pool->stat.retires, 0, relaxed);
    wi_store(&pool->stat.reaps, 0, relaxed);
    wi_store(&pool->stat.grows, 0, relaxed);
    wi_store(&pool->stat.grow_failures, 0, relaxed);
    wi_store(&pool->stat.shrinks, 0, relaxed);
    wi_store(&pool->stat.bytes_up, 0, relaxed);
    wi_store(&pool->stat.bytes_down, 0, relaxed);
    wi_store(&pool->stat.uploads, 0, relaxed);
    wi_store(&pool->stat.downloads, 0, relaxed);
    wi_store(&pool->stat.timed, 0, relaxed);
    wi_store(&pool->stat.timed_bytes, 0, relaxed);
    wi_store(&pool->stat.timed_ns, 0, relaxed);
    wi_store(&pool->stat.hazards, 0, relaxed);
}

uint64_t wi_pool_leases(const struct weir_pool *pool)
{
    uint64_t leases = 0;
    for (uint32_t i = 0; i < pool->store.records_max; i++)
        leases += wi_load(&pool->store.records[i].word, relaxed) >> WI_GENERATION_SHIFT;
    return leases;
}

int wi_pool_make(const struct wi_pool_spec *spec, struct weir_pool **out)
{
    struct weir_pool *pool = take_block(spec->slots ? spec->slots : wi_store_slots_capacity());
    if (!pool) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a pool");
    pool->rt = spec->rt;
    pool->context = wi_context_of(spec->rt);
    wi_store(&pool->kicked, pool->context, relaxed);
    pool->kind = spec->kind;
    pool->stream_class = spec->stream_class;
    pool->event_flags = spec->event_flags;
    pool->opts = *spec->opts;
    pool->streams = spec->streams;
    pool->make = spec->make;
    pool->drop = spec->drop;
    pool->hooks = spec->hooks;
    pool->tier = spec->tier;
    pool->life = WI_POOL_OPEN;
    pool->stretches = NULL;
    pool->revived = false;
    pool->single = false;
    pool->grown_ns = pool->shrunk_ns = pool->quiet_ns = 0;
    wi_store(&pool->total, 0, relaxed);
    wi_store(&pool->memory, pool->opts.memory, relaxed);
    wi_store(&pool->fresh, NULL, relaxed);
    wi_store(&pool->wants_growth, 0, relaxed);
    wi_store(&pool->wants_service, 0, relaxed);
    wi_store(&pool->asking, 0, relaxed);
    wi_pool_zero_stat(pool);
    snprintf(pool->name, sizeof pool->name, "%s", spec->opts->name ? spec->opts->name : "pool");
    pool->opts.name = pool->name;
    if (spec->opts->source) pool->source = *spec->opts->source;
    if (spec->opts->source) pool->opts.source = &pool->source;

    bool fifo = pool->opts.strategy == WEIR_STRATEGY_ROUND_ROBIN ||
                pool->opts.strategy == WEIR_STRATEGY_LEAST_RECENT;
    /* A hit asks nothing about watching: it is kept off the short path. Streams ask, and choose by the gate. */
    bool watched = wi_watching && pool->kind != WI_POOL_STREAMS;
    int  err = wi_records_reserve(pool->opts.buffers_max, &pool->range);
    if (err < 0) goto give_pool;
    struct wi_store_opts store = {
        .context = pool->context,
        .records = pool->range.base,
        .records_max = pool->opts.buffers_max,
        .slots = spec->slots ? spec->slots : fifo ? 0 : wi_store_slots(pool->opts.buffers_max),
        .headroom = pool->opts.strategy == WEIR_STRATEGY_PRIORITY ? pool->opts.headroom : 0,
        .low_water = (uint32_t)(pool->opts.buffers_min * pool->opts.low_water_percent / 100),
        .gate = pool->opts.preempt || watched ? WI_GATE_LONG : 0,
        .bias = pool->kind == WI_POOL_BUFFERS || pool->kind == WI_POOL_EVENTS,
        .age_ns = wi_settings()->waiters_age_ms * WI_NS_PER_MS,
        .owner = {.reap = reap_all, .starved = starved, .kick = kick, .divert = wi_pool_divert,
                  .contend = pool->opts.preempt ? wi_preempt_ask : NULL, .ctx = pool},
    };
    err = wi_store_init(&pool->store, &store);
    if (err < 0) goto give_range;
    wi_store(&pool->leases_before, wi_pool_leases(pool), relaxed);
    err = fill_min(pool);
    if (err < 0) goto close_store;
    wi_runtime_add_pool(pool->rt, pool);
    *out = pool;
    return 0;

close_store:
    wi_store_shut(&pool->store, WI_GATE_CLOSED);
    (void)wi_store_collect(&pool->store);
    wi_pool_free_stretches(pool);
    wi_store_fini(&pool->store);
give_range:
    wi_records_return(&pool->range);
give_pool:
    give_block(pool);
    return err;
}

/* ---- close ---- */

bool wi_pool_collect(struct weir_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool done = false;
    if (pool->life == WI_POOL_CLOSING) {
        struct wi_record *fresh = wi_exchange(&pool->fresh, NULL, acquire); /* made, still GONE, never to be seen */
        for (; fresh; fresh = fresh->next) (void)wi_and(&fresh->attention, ~(uint32_t)WI_ATTENTION_FRESH, relaxed);
        done = wi_store_collect(&pool->store) == 0;
        if (done) pool->life = WI_POOL_ENDED;
    }
    pthread_mutex_unlock(&pool->lock);
    return done;
}

static void clear_record(struct wi_record *record)
{
    wi_marks_clear(record);
    wi_marks_free(record);
    wi_side_free(record);
    uint64_t generation = wi_load(&record->word, relaxed) >> WI_GENERATION_SHIFT;
    wi_store(&record->word, generation << WI_GENERATION_SHIFT, release);
    wi_store(&record->attention, 0, relaxed);
    record->face = (struct weir_buffer){0};
    record->object = NULL;
}

void wi_pool_recycle(struct weir_pool *pool)
{
    uint64_t lost = 0;
    wi_epoch_synchronize(); /* releases that are half-way through the store have left it */
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        uint64_t state = wi_word_state(wi_load(&pool->store.records[i].word, acquire));
        lost += state == WI_QUARANTINED;
    }
    if (lost > 0)
        wi_log(WARN, "pool", "%s: %llu quarantined objects stay mapped", pool->name, (unsigned long long)lost);
    if (pool->hooks.end) pool->hooks.end(pool);
    wi_samples_free(pool);
    wi_pool_free_stretches(pool);
    wi_store_fini(&pool->store);
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        struct wi_record *record = &pool->store.records[i];
        if (wi_word_state(wi_load(&record->word, relaxed)) != WI_QUARANTINED) clear_record(record);
    }
    if (lost == 0) wi_records_return(&pool->range);
    give_block(pool);
}

size_t wi_pool_close(struct weir_pool *pool)
{
    wi_store_shut(&pool->store, WI_GATE_CLOSED);
    wi_preempt_quiesce(pool);
    if (pool->hooks.close) pool->hooks.close(pool);
    pthread_mutex_lock(&pool->lock);
    pool->life = WI_POOL_CLOSING;
    pthread_mutex_unlock(&pool->lock);
    reap_all(pool);
    struct weir_pool_stats stats;
    wi_pool_read_stats(pool, &stats);
    return stats.leased;
}

/* ---- home ---- */

/* The caller owns the record, RETIRING. True: holds are left, and the last of them to end owns it from here on. */
static bool park(struct wi_record *record)
{
    /* order(hold): acquire; pairs with the step in end_hold(). What the holder did to the bytes is over. */
    if (wi_holds(wi_load(&record->attention, acquire)) == 0) return false;
    if (wi_holds(wi_or(&record->attention, WI_ATTENTION_PARKED, acq_rel)) > 0) return true;
    (void)wi_and(&record->attention, ~(uint32_t)WI_ATTENTION_PARKED, relaxed);
    return false;
}

static WI_COLD void quarantine(struct weir_pool *pool, struct wi_record *record)
{
    uint64_t word = wi_load(&record->word, relaxed);
    while (!wi_cas(&record->word, &word, wi_word_with(word, WI_QUARANTINED), seq_cst)) {}
    wi_log(WARN, "pool", "%s: a buffer whose use was lost is quarantined", pool->name);
}

/* The caller owns the record, RETIRING, and nobody uses it any more. */
static void bring_home(struct weir_pool *pool, struct wi_record *record)
{
    wi_marks_clear(record);
    uint32_t ends = WI_ATTENTION_GUARD | WI_ATTENTION_ASKED | WI_ATTENTION_WANTED | WI_ATTENTION_PARKED; /* with the lease */
    if (wi_load(&record->attention, relaxed) & WI_ATTENTION_LOST) {
        quarantine(pool, record);
        return;
    }
    uint32_t attention = wi_and(&record->attention, ~ends, relaxed);
    if (attention & WI_ATTENTION_SCRUB) memset(record->face.host, 0, record->face.bytes);
    if (pool->hooks.released) pool->hooks.released(pool, record);
    if (attention & WI_ATTENTION_DIVERT) {
        wi_pool_divert(pool, record);
    } else if (wi_is_keeper) {
        wi_store_publish_lane(&pool->store, record, WI_RETIRING);
    } else {
        (void)wi_store_publish(&pool->store, record, WI_RETIRING);
    }
}

void wi_pool_home(struct wi_reaper *reaper, struct wi_record *record)
{
    struct weir_pool *pool = wi_pool_of(record);
    (void)reaper;
    if (park(record)) return;
    wi_add(&pool->stat.reaps, 1, relaxed);
    bring_home(pool, record);
}

static int finish_release(struct weir_pool *pool, struct wi_record *record)
{
    bring_home(pool, record);
    uint32_t gate = wi_load(&pool->store.gate, seq_cst);
    if (gate & WI_GATE_FORKED) return WI_FAIL(FORKED, .detail = "a forked child may only exec");
    if (gate & WI_GATE_DEAD) return WI_FAIL(CLOSED, .detail = "released after its runtime was destroyed");
    return 0;
}

int wi_pool_unpark(struct wi_record *record)
{
    struct weir_pool *pool = wi_pool_of(record);
    wi_add(&pool->stat.reaps, 1, relaxed);
    return finish_release(pool, record);
}

/* generation 0: any. From here on this release owns the record. */
static int take_lease_back(struct wi_record *record, uint64_t generation)
{
    uint64_t word;
    do {
        word = wi_bias_settled(record);
        bool other = generation && word >> WI_GENERATION_SHIFT != generation;
        if (wi_word_state(word) != WI_LEASED || other) return WEIR_ENOTLEASED;
    } while (!wi_cas(&record->word, &word, wi_word_with(word, WI_RETIRING), seq_cst));
    return 0;
}

static int release_taken(struct wi_record *record)
{
    struct weir_pool *pool = wi_pool_of(record);
    bool guarded = wi_load(&record->attention, relaxed) & WI_ATTENTION_GUARD;
    if (guarded && !(pool->opts.flags & WEIR_POOL_IGNORE_GUARDS) &&
        wi_load(&pool->context->closed, acquire) < 2 && wi_retire(record)) {
        wi_add(&pool->stat.retires, 1, relaxed);
        return 0;
    }
    if (guarded && park(record)) {
        wi_add(&pool->stat.retires, 1, relaxed);
        return 0;
    }
    return finish_release(pool, record);
}

int wi_pool_release_attentive(struct wi_record *record)
{
    int err = take_lease_back(record, 0);
    if (err < 0) {
        wi_add(&record->store->stat.misuses, 1, relaxed);
        return err;
    }
    return release_taken(record);
}

int wi_pool_release_generation(struct wi_record *record, uint64_t generation)
{
    WI_TRY(take_lease_back(record, generation));
    return release_taken(record);
}

/* ---- keeper ---- */

/* In the order of their making. Into the lane by its one producer, else by the ordinary way. */
static void publish_fresh(struct weir_pool *pool, bool by_lane)
{
    /* order(fresh): acquire; pairs with the push in grow.c. Newest first, so it is reversed. */
    struct wi_record *fresh = wi_exchange(&pool->fresh, NULL, acquire);
    struct wi_record *ordered = NULL;
    while (fresh) {
        struct wi_record *next = fresh->next;
        fresh->next = ordered;
        ordered = fresh;
        fresh = next;
    }
    while (ordered) {
        struct wi_record *next = ordered->next;
        if (by_lane) {
            wi_store_publish_lane(&pool->store, ordered, WI_GONE);
        } else {
            (void)wi_store_publish(&pool->store, ordered, WI_GONE);
        }
        (void)wi_and(&ordered->attention, ~(uint32_t)WI_ATTENTION_FRESH, seq_cst); /* only now it may be taken as GONE */
        /* The monitor passes over a FRESH record: if it has become GONE meanwhile he must look again. */
        if (wi_word_state(wi_load(&ordered->word, seq_cst)) == WI_GONE) wi_kick(&pool->context->monitor);
        ordered = next;
    }
}

void wi_pool_show(struct weir_pool *pool)
{
    publish_fresh(pool, false);
    /* The keeper may have taken some a moment before, and be at it still. */
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        const struct wi_record *record = &pool->store.records[i];
        while (wi_load(&record->attention, acquire) & WI_ATTENTION_FRESH) sched_yield(); /* order(fresh) */
    }
}

bool wi_pool_keep(struct weir_pool *pool)
{
    publish_fresh(pool, true);
    if (wi_load(&pool->wants_service, relaxed) && wi_exchange(&pool->wants_service, 0, acquire) &&
        (wi_load(&pool->store.gate, seq_cst) & WI_GATE_QUEUED))
        wi_store_serve(&pool->store);
    return wi_load(&pool->wants_service, relaxed) != 0;
}

/* ---- stats ---- */

void wi_pool_read_stats(struct weir_pool *pool, struct weir_pool_stats *out)
{
    struct wi_store *store = &pool->store;
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", pool->name);
    out->buffer_bytes = pool->kind <= WI_POOL_TIERED ? pool->opts.buffer_bytes : 0;
    out->memory = wi_load(&pool->memory, relaxed);
    out->dtype = pool->opts.dtype;
    out->total = wi_load(&pool->total, acquire);
    for (uint32_t i = 0; i < store->records_max; i++) {
        uint64_t word = wi_load(&store->records[i].word, acquire);
        out->acquires += word >> WI_GENERATION_SHIFT;
        switch (wi_word_state(word)) {
        case WI_FREE: out->free++; break;
        case WI_LEASED: out->leased++; break;
        case WI_RETIRING: out->retiring++; break;
        case WI_QUARANTINED: out->quarantined++; break;
        default: break;
        }
    }
    uint64_t others_acquires = wi_load(&pool->leases_before, relaxed) + wi_load(&store->stat.ungiven, relaxed);
    out->acquires = out->acquires > others_acquires ? out->acquires - others_acquires : 0;
    out->waiting = wi_load(&store->gate, relaxed) & WI_GATE_QUEUED;
    out->lane_hits = wi_load(&store->stat.lane_hits, relaxed);
    out->commons_hits = wi_load(&store->stat.commons_hits, relaxed);
    out->steal_hits = wi_load(&store->stat.steal_hits, relaxed);
    out->handoffs = wi_load(&store->handoffs, relaxed);
    out->misses = wi_load(&store->stat.misses, relaxed);
    out->timeouts = wi_load(&store->stat.timeouts, relaxed);
    out->misuses = wi_load(&store->stat.misuses, relaxed);
    uint64_t others = out->lane_hits + out->commons_hits + out->steal_hits;
    out->slot_hits = out->acquires > others ? out->acquires - others : 0;
    out->retires = wi_load(&pool->stat.retires, relaxed);
    out->reaps = wi_load(&pool->stat.reaps, relaxed);
    out->grows = wi_load(&pool->stat.grows, relaxed);
    out->grow_failures = wi_load(&pool->stat.grow_failures, relaxed);
    out->shrinks = wi_load(&pool->stat.shrinks, relaxed);
    out->bytes_up = wi_load(&pool->stat.bytes_up, relaxed);
    out->bytes_down = wi_load(&pool->stat.bytes_down, relaxed);
    out->uploads = wi_load(&pool->stat.uploads, relaxed);
    out->downloads = wi_load(&pool->stat.downloads, relaxed);
    out->timed = wi_load(&pool->stat.timed, relaxed);
    out->timed_bytes = wi_load(&pool->stat.timed_bytes, relaxed);
    out->timed_ns = wi_load(&pool->stat.timed_ns, relaxed);
    out->hazards = wi_load(&pool->stat.hazards, relaxed);
    out->contention_ppm = out->acquires ? out->misses * 1000000 / out->acquires : 0;
    out->transfer_ns = out->timed ? out->timed_ns / out->timed : 0;
    out->transfer_bytes_per_s = wi_rate(out->timed_bytes, out->timed_ns);
    wi_histogram_read(&store->acquire, &out->acquire);
    wi_histogram_read(&store->wait, &out->wait);
}
