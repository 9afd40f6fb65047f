/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hit.h - the hit and its release, inline: first as the CPU's own (bias.h), then by compare-and-swap (store.h)
 *
 * Progress: lock-free; wait-free where the record is this CPU's own and no signal comes between.
 */
#ifndef WI_HIT_H
#define WI_HIT_H

#include "pool/bias.h"

static inline void wi_hit_note_period(const struct wi_store *store, struct wi_record *record)
{
    uint32_t period = wi_load(&store->period, relaxed);
    if (WI_UNLIKELY(wi_load(&record->period, relaxed) != period))
        wi_store(&record->period, period, relaxed);
}

/* By compare-and-swap, where the record in this CPU's slot is not biased. NULL: miss. */
static inline struct wi_record *wi_hit_shared(struct wi_store *store)
{
    /* Read first and relaxed: a stale 0 only lets this acquire pass someone who queued a moment ago. */
    if (WI_UNLIKELY(wi_load(&store->gate, relaxed) != 0)) return NULL;
    /* order(slot): acquire; pairs with the exchange in wi_store_publish(). The record's fields are visible. */
    struct wi_record *record = wi_load(&wi_store_own_slot(store)->record, acquire);
    if (WI_UNLIKELY(!record)) return NULL;
    uint64_t word = wi_load(&record->word, relaxed);
    while ((word & (WI_STATE_MASK | WI_HOME | WI_BIASED)) == (WI_FREE | WI_HOME)) {
        if (WI_UNLIKELY((~(word >> WI_GENERATION_SHIFT) & store->sample_mask) == 0)) return NULL;
        uint64_t leased = wi_word_with(word, WI_LEASED) + WI_GENERATION_ONE;
        /* order(claim): acquire; pairs with the compare-and-swap in wi_store_release(). */
        if (WI_LIKELY(wi_cas(&record->word, &word, leased, acquire))) return record;
    }
    return NULL;
}

/* The hit. NULL: miss, or a hit that is to be timed: wi_store_acquire_slow() decides. */
static inline struct wi_record *wi_store_hit(struct wi_store *store)
{
    struct wi_record *record = wi_bias_hit(store);
    if (WI_UNLIKELY(!record)) {
        record = wi_hit_shared(store);
        if (!record) return NULL;
    }
    wi_hit_note_period(store, record);
    return record;
}

/*
 * Release of a record that needs no attention. The caller has validated the pointer.
 *
 * Returns 0, or NOTLEASED.
 */
static inline int wi_store_release(struct wi_record *record)
{
    struct wi_store *store = record->store;
    uint64_t         word = wi_load(&record->word, relaxed);
    if (WI_UNLIKELY((word & (WI_STATE_MASK | WI_HOME | WI_BIASED)) != (WI_LEASED | WI_HOME)))
        return wi_store_release_slow(record, word);
    /*
     * order(claim): seq_cst for what follows and release for the next owner; pairs with wi_hit_shared().
     * order(release-gate): the word is free before the gate is read; pairs with wi_queue_wait(), which raises
     * the gate before it looks. One of the two sees the other: a waiter and a free object never miss each other.
     */
    if (WI_UNLIKELY(!wi_cas(&record->word, &word, wi_word_with(word, WI_FREE), seq_cst)))
        return wi_store_release_slow(record, word);
    if (WI_UNLIKELY(wi_load(&store->gate, seq_cst) != 0)) return wi_store_gated(store);
    return 0;
}

#endif
