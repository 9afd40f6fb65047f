/* SPDX-License-Identifier: Apache-2.0 */
/* bias.c - giving a record to a CPU, and taking it back; see bias.h for the law */
#include "pool/bias.h"

enum {
    STINT_LEASES = 1 << 16, /* a bias that lasted so many leases was worth its fence */
    PATIENCE_MOST = 63,     /* timed hits that a slot waits at most */
    GATE_BATCH = 32         /* records whose bias one fence takes */
};

#define NO_CPU (WI_RSEQ_EVERY_CPU - 1)

static uint32_t cpu_of(uint64_t word)
{
    return (uint32_t)(word & WI_BIAS_CPU_MASK) >> WI_BIAS_CPU_SHIFT;
}

/* A bias that ended early makes its slot wait longer for the next. Approximate, and nobody's law. */
static void note_end(struct wi_store *store, uint64_t word)
{
    struct wi_slot *slot = &store->slot[cpu_of(word)];
    uint64_t        leases = (word >> WI_GENERATION_SHIFT) - wi_load(&slot->since, relaxed);
    uint32_t patience = leases >= STINT_LEASES ? 0 : 2 * wi_load(&slot->patience, relaxed) + 1;
    if (patience > PATIENCE_MOST) patience = PATIENCE_MOST;
    wi_store(&slot->patience, patience, relaxed);
    wi_store(&slot->sour, patience, relaxed);
    wi_add(&store->stat.revokes, 1, relaxed);
}

/* pre: stops is up. `fenced`: the CPU that has been fenced since. */
static uint64_t clear_stopped(struct wi_record *record, uint32_t fenced)
{
    uint64_t word = wi_load(&record->word, seq_cst);
    while (word & WI_BIASED) {
        uint32_t cpu = cpu_of(word);
        if (fenced != cpu && fenced != WI_RSEQ_EVERY_CPU) {
            wi_rseq_fence(cpu);
            fenced = cpu;
            word = wi_load(&record->word, seq_cst);
            continue;
        }
        struct wi_store *store = record->store; /* a biased record stays in its store */
        uint64_t         shared = word & ~(uint64_t)(WI_BIASED | WI_BIAS_CPU_MASK);
        if (!wi_cas(&record->word, &word, shared, seq_cst)) continue;
        note_end(store, word);
        /* order(biased): lowered after the word says so. */
        wi_sub(&store->biased, 1, seq_cst);
        word = shared;
    }
    return word;
}

uint64_t wi_bias_revoke(struct wi_record *record)
{
    /* order(stops): seq_cst, before the fence; pairs with the sections' load. */
    wi_add(&record->stops, 1, seq_cst);
    uint64_t word = clear_stopped(record, NO_CPU);
    wi_sub(&record->stops, 1, release);
    return word;
}

void wi_bias_grant(struct wi_store *store, struct wi_record *record)
{
    uint32_t cpu = wi_rseq_cpu();
    uint64_t word = wi_load(&record->word, relaxed);
    if (!store->bias || cpu >= store->slots || cpu > WI_BIAS_CPU_MOST) return;
    struct wi_slot *slot = &store->slot[cpu];
    if (wi_load(&slot->record, relaxed) != record || wi_load(&store->gate, relaxed) != 0) return;
    if ((word & (WI_STATE_MASK | WI_HOME | WI_BIASED)) != (WI_LEASED | WI_HOME)) return;
    uint32_t sour = wi_load(&slot->sour, relaxed);
    if (sour > 0 && store->sample_mask) {
        wi_store(&slot->sour, sour - 1, relaxed);
        return;
    }
    wi_store(&slot->since, word >> WI_GENERATION_SHIFT, relaxed);
    /* order(biased): raised before the word says so; pairs with the load in wi_bias_gate(). */
    wi_add(&store->biased, 1, seq_cst);
    if (wi_cas(&record->word, &word, word | WI_BIASED | (uint64_t)cpu << WI_BIAS_CPU_SHIFT,
               seq_cst)) {
        wi_add(&store->stat.grants, 1, relaxed);
    } else {
        /* unreached: but beside a thread that claims the object between the two steps. */
        wi_sub(&store->biased, 1, seq_cst);
    }
}

void wi_bias_gate(struct wi_store *store)
{
    uint32_t at = 0;
    if (wi_load(&store->biased, seq_cst) == 0) return;
    /* The gate was 0 until now, so there will be waits: no bias, for a while. */
    do {
        struct wi_record *stopped[GATE_BATCH];
        unsigned          count = 0;
        for (; at < store->slots && count < GATE_BATCH; at++) {
            struct wi_record *record = wi_load(&store->slot[at].record, acquire);
            if (!record || !(wi_load(&record->word, relaxed) & WI_BIASED)) continue;
            wi_add(&record->stops, 1, seq_cst);
            stopped[count++] = record;
        }
        wi_rseq_fence(WI_RSEQ_EVERY_CPU);
        for (unsigned i = 0; i < count; i++) {
            (void)clear_stopped(stopped[i], WI_RSEQ_EVERY_CPU);
            wi_sub(&stopped[i]->stops, 1, release);
        }
    } while (at < store->slots);
}
