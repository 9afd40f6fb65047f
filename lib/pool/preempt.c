/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/preempt.h"

#include "base/alloc.h"
#include "pool/lease.h"

#include <sched.h>

struct question {
    struct wi_callback callback;
    struct weir_pool  *pool;
    struct wi_record  *record;
    uint64_t           generation;
    uint32_t           priority; /* the asker's */
};

enum { POSTED = 1 };

/* A lease's low 30 bits of generation, and its priority: a lease that was not noted yet is not taken for the one before. */
static uint32_t note_of(uint64_t generation, uint32_t priority)
{
    return (uint32_t)(generation << 2) | priority;
}

void wi_preempt_note(struct wi_record *record, uint32_t priority, uint64_t user)
{
    uint64_t generation = wi_load(&record->word, relaxed) >> WI_GENERATION_SHIFT;
    /* order(preempt-user): release, after the lease; pairs with the load in ask_holder(). */
    wi_store(&record->user, user, release);
    /* order(preempt): release, after user; pairs with the load in find_victim(). */
    wi_store(&record->preempt, note_of(generation, priority), release);
}

static bool is_lease(const struct wi_record *record, uint64_t generation)
{
    uint64_t word = wi_load(&record->word, seq_cst);
    return wi_word_state(word) == WI_LEASED && word >> WI_GENERATION_SHIFT == generation;
}

/* The lease of the lowest priority below the asker's whose holder was not asked yet. Marks it as asked. */
static struct wi_record *find_victim(struct weir_pool *pool, uint32_t priority, uint64_t *generation)
{
    struct wi_record *victim = NULL;
    uint32_t          lowest = priority;
    for (uint32_t i = 0; i < pool->store.records_max; i++) {
        struct wi_record *record = &pool->store.records[i];
        uint64_t          word = wi_load(&record->word, acquire);
        uint32_t          note = wi_load(&record->preempt, acquire); /* order(preempt) */
        uint32_t          its = note & 3;
        if (wi_word_state(word) != WI_LEASED || its <= lowest) continue;
        if (note != note_of(word >> WI_GENERATION_SHIFT, its)) continue;
        if (wi_load(&record->attention, relaxed) & WI_ATTENTION_ASKED) continue;
        victim = record;
        lowest = its;
        *generation = word >> WI_GENERATION_SHIFT;
    }
    if (!victim) return NULL;
    if (wi_or(&victim->attention, WI_ATTENTION_ASKED | WI_ATTENTION_WANTED, seq_cst) & WI_ATTENTION_ASKED) return NULL;
    if (is_lease(victim, *generation)) return victim;
    /* unreached: it ended meanwhile, between two looks. Whoever has the buffer now was not asked. */
    (void)wi_and(&victim->attention, ~(uint32_t)(WI_ATTENTION_ASKED | WI_ATTENTION_WANTED), seq_cst);
    return NULL;
}

static void ask_holder(struct question *question)
{
    struct weir_pool *pool = question->pool;
    struct wi_record *record = question->record;
    /* The lease may end at any moment; `user` belongs to the caller's bookkeeping and stays meaningful. */
    /* order(preempt-user): acquire. If it is a later lease's, the word is seen to be, too. */
    uint64_t user = wi_load(&record->user, acquire);
    if (!is_lease(record, question->generation)) return;
    uint32_t answer = pool->opts.preempt(pool->opts.preempt_ctx, &record->face, user);
    if (answer == WEIR_PREEMPT_NOW) {
        (void)wi_pool_release_generation(record, question->generation);
    } else if (answer != WEIR_PREEMPT_LATER) {
        (void)wi_and(&record->attention, ~(uint32_t)WI_ATTENTION_WANTED, relaxed);
        if (wi_load(&pool->store.gate, relaxed) & WI_GATE_QUEUED) wi_preempt_ask(pool, question->priority);
    }
}

static void run(struct wi_callback *callback, uint32_t bits)
{
    struct question  *question = WI_CONTAINER(callback, struct question, callback);
    struct weir_pool *pool = question->pool;
    (void)bits;
    /* order(asking): seq_cst, before the gate is read; pairs with wi_preempt_quiesce(), which shuts the gate first. */
    wi_add(&pool->asking, 1, seq_cst);
    if (!(wi_load(&pool->store.gate, seq_cst) & WI_GATE_SHUT)) ask_holder(question);
    wi_sub(&pool->asking, 1, release);
    wi_free(question);
}

void wi_preempt_ask(void *ctx, uint32_t priority)
{
    struct weir_pool *pool = ctx;
    uint64_t          generation = 0;
    struct wi_record *victim = find_victim(pool, priority, &generation);
    if (!victim) return;
    struct question *question = wi_calloc(1, sizeof *question);
    if (!question) { /* the asker waits as it would without preemption */
        (void)wi_and(&victim->attention, ~(uint32_t)(WI_ATTENTION_ASKED | WI_ATTENTION_WANTED), relaxed);
        return;
    }
    *question = (struct question){.callback = {.run = run, .due_ns = WEIR_FOREVER},
                                  .pool = pool,
                                  .record = victim,
                                  .generation = generation,
                                  .priority = priority};
    wi_callback_post(&pool->context->callbacks, &question->callback, POSTED);
}

void wi_preempt_quiesce(struct weir_pool *pool)
{
    /* order(asking): acquire; what the callback did is over. A cold call that waits for a user's function. */
    while (wi_load(&pool->asking, acquire) > 0) sched_yield();
}

int weir_buffer_wanted(struct weir_buffer *buffer)
{
    struct wi_record *record;
    WI_TRY(wi_lease_buffer(buffer, &record));
    return (wi_load(&record->attention, relaxed) & WI_ATTENTION_WANTED) != 0;
}
