/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - leases of streams: which one an acquire takes, and what becomes of it on release; see stream_class.h */
#include "base/options.h"
#include "pool/adopt.h"
#include "pool/current.h"
#include "pool/hit.h"
#include "pool/runtime_pools.h"
#include "pool/stream_class.h"
#include "pool/stream_issue.h"
#include "pool/watch.h"

#define CHOICES 8 /* how often a choice that somebody else took is made again before the slow path */

/* ---- acquire ---- */

enum rank { DRAINED_FREE_OF_KEYS, DRAINED, BUSY, NOT_FREE };

static enum rank rank_of(struct weir_pool *pool, uint32_t at)
{
    const struct wi_record *record = &pool->store.records[at];
    const struct wi_stream *stream = record->object;
    if (wi_word_state(wi_load(&record->word, acquire)) != WI_FREE) return NOT_FREE;
    if (wi_stream_busy(stream)) return BUSY;
    return wi_load(&pool->streams->affinity.bound[at], relaxed) > 0 ? DRAINED : DRAINED_FREE_OF_KEYS;
}

/* The best free stream, and of equals the one released longest ago. False: none is free. */
static bool choose_best(struct weir_pool *pool, uint32_t *at)
{
    enum rank best = NOT_FREE;
    uint64_t  oldest_ns = 0;
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        const struct wi_stream *stream = pool->store.records[i].object;
        enum rank               rank = rank_of(pool, i);
        if (rank == NOT_FREE || rank > best) continue;
        uint64_t released_ns = wi_load(&stream->stat.released_ns, relaxed);
        if (rank == best && released_ns >= oldest_ns) continue;
        best = rank;
        oldest_ns = released_ns;
        *at = i;
    }
    return best != NOT_FREE;
}

static struct wi_record *claim_counted(struct wi_store *store, uint32_t at)
{
    struct wi_record *record = wi_store_claim_at(store, at);
    if (record && &store->slot[at] != wi_store_own_slot(store)) wi_add(&store->stat.steal_hits, 1, relaxed);
    return record;
}

/* NULL: nothing is free, or somebody queues: the slow path decides. */
static struct wi_record *choose(struct weir_pool *pool)
{
    struct wi_store *store = &pool->store;
    uint32_t         at = 0;
    for (int i = 0; i < CHOICES && wi_load(&store->gate, relaxed) == 0 && choose_best(pool, &at); i++) {
        struct wi_record *record = claim_counted(store, at);
        if (record) return record;
    }
    return NULL;
}

/* The stream that the key is bound to, if it is free. */
static struct wi_record *choose_bound(struct weir_pool *pool, uint64_t key, uint32_t *bound)
{
    struct wi_store *store = &pool->store;
    *bound = wi_affinity_find(&pool->streams->affinity, key);
    if (*bound == WI_AFFINITY_NONE || wi_load(&store->gate, relaxed) != 0) return NULL;
    return claim_counted(store, *bound);
}

static int name_the_limit(const struct weir_pool *pool, int err)
{
    static const char *const setting[] = {"", "weir_runtime_opts.streams_compute",
                                          "weir_runtime_opts.streams_comm", "weir_runtime_opts.streams_high"};
    struct wi_cause cause = {.limit = "streams of the class", .limit_value = pool->opts.buffers_max,
                             .wanted = 1, .setting = setting[pool->stream_class]};
    if (err != WEIR_EAGAIN && err != WEIR_ETIMEDOUT) return err;
    return wi_fail_at(err, __FILE__, __LINE__, &cause);
}

static bool choice_matters(struct weir_pool *pool)
{
    return pool->streams->reuse == WEIR_STREAM_OLDEST || wi_load(&pool->streams->affinity.keys, relaxed) > 0;
}

int wi_stream_lease(struct weir_pool *pool, const struct wi_ask *ask, uint64_t key, const void *site,
                    struct weir_stream **out)
{
    struct wi_affinity *affinity = &pool->streams->affinity;
    struct wi_record   *record = NULL;
    uint32_t            bound = WI_AFFINITY_NONE;
    if (!wi_load(&affinity->enabled, relaxed)) key = 0;
    if (key) record = choose_bound(pool, key, &bound);
    bool hit = record != NULL;
    if (!record) record = choice_matters(pool) || key ? choose(pool) : wi_store_hit(&pool->store);
    if (!record) {
        int err = wi_store_acquire_slow(&pool->store, ask, &record);
        if (err < 0) return name_the_limit(pool, err);
        hit = record->index == bound; /* it came free meanwhile */
    }
    if (key) {
        wi_add(hit ? &affinity->hits : &affinity->misses, 1, relaxed);
        if (bound == WI_AFFINITY_NONE) wi_affinity_bind(affinity, key, record->index);
    }
    wi_stream_note_acquired(record->object, weir_clock_ns());
    *out = wi_watch_lease(record, site);
    return 0;
}

static int class_pool(struct weir_runtime *rt, uint32_t stream_class, struct weir_pool **out)
{
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_ENSURE(stream_class >= WEIR_STREAM_COMPUTE && stream_class <= WEIR_STREAM_HIGH, INVAL,
              .detail = "stream_class is not one of enum weir_stream_class");
    *out = wi_runtime_stream_pool(rt, stream_class);
    return 0;
}

int weir_stream_acquire(struct weir_runtime *rt, uint32_t stream_class, uint64_t deadline_ns,
                        struct weir_stream **out)
{
    struct weir_pool *pool;
    struct wi_ask     ask = {.deadline_ns = deadline_ns, .priority = 1, .need = 1};
    WI_TRY(class_pool(rt, stream_class, &pool));
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    return wi_stream_lease(pool, &ask, 0, __builtin_return_address(0), out);
}

int weir_stream_acquire_with(struct weir_runtime *rt, const struct weir_stream_opts *opts,
                             uint64_t deadline_ns, struct weir_stream **out)
{
    struct weir_stream_opts given;
    struct weir_pool       *pool;
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_stream_opts"));
    WI_ENSURE(given.priority <= WEIR_PRIORITY_HIGH, INVAL, .detail = "priority is not one of enum weir_priority");
    WI_TRY(class_pool(rt, given.stream_class ? given.stream_class : WEIR_STREAM_COMPUTE, &pool));
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    uint32_t      class = given.priority ? WEIR_PRIORITY_HIGH - given.priority : 1;
    struct wi_ask ask = {.deadline_ns = deadline_ns, .priority = class, .need = 1};
    return wi_stream_lease(pool, &ask, given.affinity_key, __builtin_return_address(0), out);
}

/* ---- affinity ---- */

int weir_stream_clear_affinity(struct weir_runtime *rt)
{
    uint32_t count = 0;
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_HIGH; class++)
        count += wi_affinity_clear(&wi_runtime_stream_pool(rt, class)->streams->affinity);
    return (int)count;
}

int weir_stream_set_affinity(struct weir_runtime *rt, uint32_t affinity)
{
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_ENSURE(affinity == WEIR_AFFINITY_ON || affinity == WEIR_AFFINITY_OFF, INVAL,
              .detail = "affinity is not one of enum weir_affinity");
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_HIGH; class++)
        wi_store(&wi_runtime_stream_pool(rt, class)->streams->affinity.enabled, affinity == WEIR_AFFINITY_ON, relaxed);
    return 0;
}

/* ---- release ---- */

void wi_stream_note_acquired(struct wi_stream *stream, uint64_t now_ns)
{
    wi_bump(&stream->stat.acquires, 1);
    wi_store(&stream->stat.acquired_ns, now_ns, relaxed);
    if (wi_load(&stream->drain, relaxed)) wi_store(&stream->drain, 0, seq_cst);
    stream->graph = NULL;
}

void wi_stream_note_released(struct wi_stream *stream)
{
    uint64_t now_ns = weir_clock_ns();
    uint64_t since_ns = wi_load(&stream->stat.acquired_ns, relaxed);
    wi_bump(&stream->stat.active_ns, now_ns - since_ns);
    wi_store(&stream->stat.released_ns, now_ns, relaxed);
}

static int release_shared(struct weir_pool *pool, struct wi_stream *stream)
{
    uint64_t shares = wi_load(&stream->stat.shares, relaxed);
    do {
        if (shares > 0) continue;
        wi_add(&pool->store.stat.misuses, 1, relaxed);
        return WI_FAIL(NOTLEASED, .detail = "released more often than it was shared");
    } while (!wi_cas(&stream->stat.shares, &shares, shares - 1, relaxed));
    return 0;
}

int weir_stream_release(struct weir_stream *lease)
{
    struct wi_stream *stream;
    if (!lease) return 0;
    WI_TRY(wi_lease_stream(lease, &stream));
    struct wi_record *record = stream->record;
    struct weir_pool *pool = wi_pool_of(record);
    if (stream->adopted) return weir_stream_disown(lease);
    if (pool->stream_class == WI_STREAMS_SHARED) return release_shared(pool, stream);

    wi_issue_seal(stream);
    wi_stream_note_released(stream);
    if (wi_stream_busy(stream)) {
        if (pool->streams->reuse == WEIR_STREAM_OLDEST) {
            wi_stream_watch(stream);
        } else {
            /* It retires on its own queue: it is free again when it has drained. */
            WI_TRY(wi_mark_reserve(record, stream));
            wi_mark_end(record, stream);
        }
    }
    return wi_lease_release(lease, WI_POOL_STREAMS);
}
