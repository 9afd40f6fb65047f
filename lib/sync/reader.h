/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.h - hazard slots: what a thread is reading now, told without a shared write
 *
 * A reader stores a name (not 0) into a slot of its own thread and then looks again whether what it names is still
 * current. Who wants to free it first makes it not current, then calls wi_membarrier(), then scans all
 * slots: a name that is not there is not being read, and will not be.
 *
 *      reader:  slot = name; (compiler barrier); current still name?  no: slot = 0, again
 *      freer:   current = other; wi_membarrier(); scan slots for name
 *
 * The reader's fence is paid by the freer: membarrier(2), PRIVATE_EXPEDITED. Where the kernel refuses it, the
 * reader fences itself (wi_reader_fence).
 *
 * A slot is taken by its thread and may be cleared by any. Slots of a thread that has exited stay valid while set; its
 * record's next owner passes over them. Slots grow in chunks and are never freed.
 *
 * Progress: all wait-free but for a thread that holds very many slots (a chunk is allocated).
 * Sources: Michael, "Hazard Pointers" (IEEE TPDS 2004); asymmetric fences: membarrier(2), Desnoyers.
 */
#ifndef WI_READER_H
#define WI_READER_H

#include "sync/thread.h"

#define WI_READER_CHUNK 64

struct wi_reader_chunk {
    _Atomic uint64_t                  slot[WI_READER_CHUNK];
    _Atomic(struct wi_reader_chunk *) next;
    uint32_t                          at; /* the owning thread's: where it looked last */
};

/* 1: the kernel has no private membarrier, readers fence. Set before the first reader. */
extern uint32_t wi_reader_fence_needed;

/* Once before the first use in the process. */
void wi_reader_start(void);
/* A free slot (0) of this thread. NULL: no memory for another chunk. */
WI_COLD _Atomic uint64_t *wi_reader_slot_cold(struct wi_thread *self);

/* The same, of the first chunk and looking no further than a few. NULL: none at once. */
static inline _Atomic uint64_t *wi_reader_slot_near(struct wi_thread *self)
{
    struct wi_reader_chunk *chunk = wi_load(&self->readers, relaxed);
    for (unsigned tries = 0; tries < 4 && WI_LIKELY(chunk != NULL); tries++) {
        _Atomic uint64_t *slot = &chunk->slot[chunk->at];
        /* order(reader-clear): acquire; whichever thread cleared it. The next name hands that on to the scan. */
        if (WI_LIKELY(wi_load(slot, acquire) == 0)) return slot;
        chunk->at = (chunk->at + 1) % WI_READER_CHUNK;
    }
    return NULL;
}

static inline _Atomic uint64_t *wi_reader_slot(struct wi_thread *self)
{
    _Atomic uint64_t *slot = wi_reader_slot_near(self);
    return WI_LIKELY(slot != NULL) ? slot : wi_reader_slot_cold(self);
}

/* Between the store of a name and the second look. */
static inline void wi_reader_fence(void)
{
    if (WI_UNLIKELY(wi_reader_fence_needed)) {
        /* unreached: the kernel of the tests has membarrier(2). */
        wi_fence(seq_cst);
    } else {
        wi_compiler_fence();
    }
}

/* All threads of the process have passed a full barrier. A system call. */
void wi_membarrier(void);
/* Call seen(ctx, name) for every slot that is set. */
void wi_reader_scan(void (*seen)(void *ctx, uint64_t name), void *ctx);

#endif
