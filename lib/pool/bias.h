/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bias.h - records that belong to one CPU for a while: a hit and its release without a locked operation
 *
 * A record whose word says BIASED and names a CPU is leased and freed there by sections (sync/rseq.h), each
 * of which ends in one plain store to the word. Everything but that hit and that release revokes first:
 *
 *     section  load stops (0), word (BIASED, this CPU, the right state), gate (0), in this order; store word
 *     revoke   stops++; fence the CPU that the word names; compare-and-swap BIASED away; stops--
 *
 *   B1  Only a section writes a BIASED word by a plain store, and only on the CPU that the word names.
 *   B2  Only who holds `stops` up, and has fenced that CPU since, compares and swaps a BIASED word. No
 *       section that saw stops at 0 before can still store: it has stored, visibly, or begins again. One that
 *       sees stops at 0 afterwards loads the word later, and it is not BIASED any more.
 *   B3  Who raises the gate from 0 fences every CPU if any record is biased (`biased`, raised before a word
 *       says so), and looks only then: what was freed by a section that saw the gate at 0 is visible.
 *
 * Two releases of one lease: sections of one CPU are serial, so the second sees FREE; a release on another
 * CPU revokes, and its compare-and-swap sees what the section stored. One of them gets NOTLEASED, as ever.
 *
 * Which records: the one in a CPU's own slot, when a hit there is timed, once in thousands. A slot whose bias
 * was revoked early waits for twice as many timed hits before the next. So a fence, a system call of
 * microseconds, is paid once in many thousands of leases, also where each buffer is released on another CPU.
 *
 * Progress: a section that is interrupted WI_SECTION_TRIES times gives way to a revocation; both are
 * lock-free. A thread that stalls between stops++ and stops-- only makes others revoke, too.
 *
 * Orders: stops, biased. Model: test/models/bias.pml, with the store buffers of two CPUs.
 * Sources: biased locking after Kawachiya, Koseki and Onodera, "Lock Reservation" (OOPSLA 2002); per-CPU
 * sections after Desnoyers, "Restartable sequences" (Linux Plumbers 2016).
 */
#ifndef WI_BIAS_H
#define WI_BIAS_H

#include "pool/store.h"
#include "sync/rseq.h"

/* Revoke the record's bias, if it has one. Returns its word, which was not BIASED a moment ago. */
WI_COLD uint64_t wi_bias_revoke(struct wi_record *record);

/* Let this CPU have the record, if it lies in this CPU's slot and that slot need not wait. pre: the caller has leased it. */
WI_COLD void wi_bias_grant(struct wi_store *store, struct wi_record *record);

/* The caller has raised the gate from 0, and will look. Holds the queue's lock. */
WI_COLD void wi_bias_gate(struct wi_store *store);

/* The word, revoked if need be: what every compare-and-swap that is not a section starts from. */
static inline uint64_t wi_bias_settled(struct wi_record *record)
{
    uint64_t word = wi_load(&record->word, seq_cst);
    return WI_UNLIKELY(word & WI_BIASED) ? wi_bias_revoke(record) : word;
}

#ifdef WI_HAVE_SECTIONS

_Static_assert(WI_LEASED == WI_FREE + 1, "a release takes one from the word");
_Static_assert((uint64_t)WI_SAMPLE_MASK << WI_GENERATION_SHIFT <= INT32_MAX, "the mask is an immediate of 32 bits");

#define WI_BIAS_HIT(due)                                                                           \
    struct wi_record *record;                                                                      \
    uint64_t          scratch, word, cpu;                                                          \
    __asm__ volatile goto(                                                                         \
        WI_RSEQ_BEGIN WI_RSEQ_CPU("%k[cpu]") "cmpl %c[slots](%[store]), %k[cpu]\n\t"               \
                                             "jae %l[missed]\n\t"                                  \
                                             "movq %[cpu], %[record]\n\t"                          \
                                             "shlq %[slot_shift], %[record]\n\t"                   \
                                             "addq %c[slot](%[store]), %[record]\n\t"              \
                                             "movq (%[record]), %[record]\n\t"                     \
                                             "testq %[record], %[record]\n\t"                      \
                                             "jz %l[missed]\n\t"                                   \
                                             "cmpl $0, %c[stops](%[record])\n\t"                   \
                                             "jne %l[missed]\n\t"                                  \
                                             "movq %c[word_at](%[record]), %[word]\n\t"            \
                                             "shll %[cpu_shift], %k[cpu]\n\t"                      \
                                             "orl %[free], %k[cpu]\n\t"                            \
                                             "movzwl %w[word], %k[scratch]\n\t"                    \
                                             "cmpl %k[cpu], %k[scratch]\n\t"                       \
                                             "jne %l[missed]\n\t"                                  \
                                             "addq %[lease], %[word]\n\t" due                      \
                                             "cmpl $0, %c[gate](%[store])\n\t"                     \
                                             "jne %l[missed]\n\t"                                  \
                                             "movq %[word], %c[word_at](%[record])" WI_RSEQ_END    \
        : [record] "=&r"(record), [scratch] "=&r"(scratch), [word] "=&r"(word), [cpu] "=&r"(cpu)   \
        : [area] "r"(wi_rseq_offset), [store] "r"(store),                                          \
          [slots] "i"(offsetof(struct wi_store, slots)),                                           \
          [slot] "i"(offsetof(struct wi_store, slot)),                                             \
          [gate] "i"(offsetof(struct wi_store, gate)), [slot_shift] "i"(WI_SLOT_SHIFT),            \
          [word_at] "i"(offsetof(struct wi_record, word)),                                         \
          [stops] "i"(offsetof(struct wi_record, stops)), [cpu_shift] "i"(WI_BIAS_CPU_SHIFT),      \
          [free] "i"(WI_FREE | WI_HOME | WI_BIASED),                                               \
          [lease] "i"(WI_GENERATION_ONE + WI_LEASED - WI_FREE),                                    \
          [sample] "i"(WI_SAMPLE_MASK << WI_GENERATION_SHIFT)                                      \
        : "memory", "cc"                                                                           \
        : missed, aborted);                                                                        \
    return record;                                                                                 \
    aborted:                                                                                       \
    missed:                                                                                        \
    return NULL

/*
 * order(stops): acquire, as every load of x86-64: the word is loaded after it. Pairs with the add in wi_bias_revoke().
 */

/* The hit. NULL: not this CPU's, not free, interrupted, or to be timed. */
static inline __attribute__((always_inline)) struct wi_record *wi_bias_hit(struct wi_store *store)
{
    WI_BIAS_HIT("testl %[sample], %k[word]\n\t"
                "jz %l[missed]\n\t");
}

/* The same, also when it is to be timed. */
static inline struct wi_record *wi_bias_hit_due(struct wi_store *store)
{
    WI_BIAS_HIT("");
}

/* The release of a record that needs no attention. False: nothing was done. pre: wi_record_valid(). */
static inline __attribute__((always_inline)) bool wi_bias_release(struct wi_record *record)
{
    uint64_t scratch, word, cpu;
    __asm__ volatile goto(
        WI_RSEQ_BEGIN WI_RSEQ_CPU("%k[cpu]") "cmpq $0, %c[attention](%[record])\n\t" /* and stops */
                                             "jne %l[missed]\n\t"
                                             "movq %c[word_at](%[record]), %[word]\n\t"
                                             "shll %[cpu_shift], %k[cpu]\n\t"
                                             "orl %[leased], %k[cpu]\n\t"
                                             "movzwl %w[word], %k[scratch]\n\t"
                                             "cmpl %k[cpu], %k[scratch]\n\t"
                                             "jne %l[missed]\n\t"
                                             "decq %[word]\n\t" /* LEASED to FREE */
                                             "movq %c[store](%[record]), %[scratch]\n\t"
                                             "cmpl $0, %c[gate](%[scratch])\n\t"
                                             "jne %l[missed]\n\t"
                                             "movq %[word], %c[word_at](%[record])" WI_RSEQ_END
        : [scratch] "=&r"(scratch), [word] "=&r"(word), [cpu] "=&r"(cpu)
        :
        [area] "r"(wi_rseq_offset), [record] "r"(record),
        [gate] "i"(offsetof(struct wi_store, gate)), [store] "i"(offsetof(struct wi_record, store)),
        [word_at] "i"(offsetof(struct wi_record, word)),
        [attention] "i"(offsetof(struct wi_record, attention)), [cpu_shift] "i"(WI_BIAS_CPU_SHIFT),
        [leased] "i"(WI_LEASED | WI_HOME | WI_BIASED)
        : "memory", "cc"
        : missed, aborted);
    return true;
aborted:
missed:
    return false;
}

#else

static inline struct wi_record *wi_bias_hit(struct wi_store *store)
{
    (void)store;
    return NULL;
}

static inline struct wi_record *wi_bias_hit_due(struct wi_store *store)
{
    (void)store;
    return NULL;
}

static inline bool wi_bias_release(struct wi_record *record)
{
    (void)record;
    return false;
}

#endif

#endif
