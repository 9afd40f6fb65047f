/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer_clear.c - resetting what is idle
 *
 * Free buffers are taken one at a time, as RETIRING: at home by their own word, the others out of the lane and the
 * commons. Each goes back before the next is taken. pool->lock keeps growth and shrinking away.
 */
#include "base/alloc.h"
#include "pool/grow.h"
#include "pool/side.h"
#include "pool/transfer.h"
#include "pool/watch.h"

#include <string.h>

#define PASSES_MAX 8 /* a buffer may move behind the walk: walk again, so often */

struct clearing {
    struct weir_pool *pool;
    bool             *reset; /* by record */
    int               err;
};

/* The record is RETIRING and ours. */
static void reset_and_return(struct clearing *clearing, struct wi_record *record)
{
    struct wi_side *side;
    if (!clearing->reset[record->index]) {
        int err = wi_side_make(record, &side); /* remembers how many leases there were */
        if (err < 0) clearing->err = err;
        if (record->face.host) memset(record->face.host, 0, record->face.bytes);
        wi_side_zero(record);
        clearing->reset[record->index] = err == 0;
    }
    (void)wi_store_publish(&clearing->pool->store, record, WI_RETIRING);
}

static bool leaves(const struct wi_record *record)
{
    return wi_load(&record->attention, relaxed) & WI_ATTENTION_DIVERT;
}

static void pass(struct clearing *clearing)
{
    struct wi_store  *store = &clearing->pool->store;
    struct wi_record *record;
    for (uint32_t i = 0; i < store->records_max; i++) {
        record = &store->records[i];
        if (clearing->reset[i] || leaves(record)) continue;
        if (wi_store_take(store, record, WI_RETIRING)) reset_and_return(clearing, record);
    }
    for (int64_t todo = wi_store_elsewhere(store); todo > 0 && (record = wi_store_pull(store, WI_RETIRING)); todo--)
        reset_and_return(clearing, record);
}

static uint32_t count_left(const struct clearing *clearing, uint32_t *idle)
{
    const struct wi_store *store = &clearing->pool->store;
    uint32_t               left = 0;
    *idle = 0;
    for (uint32_t i = 0; i < store->records_max; i++) {
        uint64_t state = wi_word_state(wi_load(&store->records[i].word, acquire));
        if (state == WI_GONE || clearing->reset[i] || leaves(&store->records[i])) continue;
        left++;
        *idle += state == WI_FREE;
    }
    return left;
}

static void zero_counters(struct weir_pool *pool)
{
    wi_store_zero(&pool->store);
    wi_pool_zero_stat(pool);
    wi_store(&pool->leases_before, wi_pool_leases(pool), relaxed);
}

int weir_pool_clear(struct weir_pool *pool)
{
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_TRY(wi_process_check());
    WI_ENSURE(pool->kind == WI_POOL_BUFFERS, KIND, .detail = "only a pool whose buffers stay where they are is cleared");
    struct clearing clearing = {.pool = pool};
    clearing.reset = wi_calloc(pool->store.records_max, sizeof *clearing.reset);
    if (!clearing.reset) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a list of the pool's buffers");

    wi_samples_read(pool); /* what has ended is not to be counted afterwards */
    uint32_t left = 0, idle = 1;
    pthread_mutex_lock(&pool->lock);
    bool open = !(wi_load(&pool->store.gate, relaxed) & WI_GATE_SHUT);
    for (unsigned i = 0; open && i < PASSES_MAX && idle > 0 && clearing.err == 0; i++) {
        pass(&clearing);
        left = count_left(&clearing, &idle);
    }
    if (open) zero_counters(pool);
    pthread_mutex_unlock(&pool->lock);
    wi_free(clearing.reset);
    WI_ENSURE(open, CLOSED, .detail = "the pool or its runtime was destroyed, or its device lost");
    return clearing.err < 0 ? clearing.err : (int)left;
}
