/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.h - what weir keeps for each thread, and epochs
 *
 * A thread is attached by its first slow call: it takes a record from the list of records whose
 * threads have gone, or a new one. Records are type-stable: they are never freed, because another thread
 * may still wake the futex word of a waiter in one. A pthread key's destructor gives the record back.
 *
 * Epochs (ck_epoch; after Fraser, "Practical lock-freedom", 2004) protect what readers may still be
 * walking when a pool grows or shrinks. A section is short and never spans a futex wait, a driver call or
 * a user's callback: one sleeping section stops all reclamation. wi_epoch_defer() may be called by any
 * thread; the callbacks run on the thread that calls wi_epoch_reclaim(), which is weir's own.
 *
 * Exclusion: none needed between any two calls; a section must not contain wi_epoch_reclaim().
 */
#ifndef WI_THREAD_H
#define WI_THREAD_H

#include "base/atomic.h"
#include "base/base.h"

/* States of a waiter's word, which is its futex. */
enum wi_waiter_word { WI_WAITING = 0, WI_GIVEN, WI_SHUT, WI_LEFT /* taken out by wi_queue_cancel() */ };

struct wi_record;

/*
 * One acquire that waits. Belongs to its thread (or to an asynchronous request); the fields below `word`
 * are written under the queue's lock while queued.
 */
struct wi_waiter {
    _Atomic uint32_t   word;
    uint32_t           priority; /* 0 is the highest class */
    uint32_t           need;     /* objects wanted         */
    uint32_t           paid;     /* holds a permit of a pool with headroom */
    uint64_t           since_ns;
    struct wi_record **out;
    struct wi_record  *one; /* what out points to where one is wanted: in the line that the server writes anyway */
    struct wi_waiter  *next, *prev;
    void             (*notify)(struct wi_waiter *waiter); /* asynchronous: called instead of a wake, on no lock */
} WI_CACHELINE;

struct wi_reader_chunk;

struct wi_thread {
    struct wi_waiter  waiter;
    void             *epoch; /* private to thread.c */
    _Atomic(struct wi_reader_chunk *) readers; /* reader.h; grown by the thread, scanned by others */
    struct wi_thread *next;  /* in the list of all records; fixed */
    _Atomic uint32_t  used;
};

/* The list of all records, those of exited threads included. */
struct wi_thread *wi_thread_first(void);

extern __thread struct wi_thread *wi_thread_record; /* NULL: this thread is not attached */
WI_COLD struct wi_thread         *wi_thread_attach(void);

/* This thread's record; never NULL: attaching panics only if memory for a first record cannot be had. */
static inline struct wi_thread *wi_thread_self(void)
{
    struct wi_thread *thread = wi_thread_record;
    return WI_LIKELY(thread != NULL) ? thread : wi_thread_attach();
}

void wi_epoch_begin(struct wi_thread *self);
void wi_epoch_end(struct wi_thread *self);

struct wi_deferred {
    void               (*fn)(struct wi_deferred *deferred);
    struct wi_deferred  *next;
    uint64_t             epoch;
};

/* Run deferred->fn once no section that is open now is open any more. */
void wi_epoch_defer(struct wi_deferred *deferred);

/* Run what is due. Returns true while something is still waiting. Weir's own threads only. */
bool wi_epoch_reclaim(void);

/* Wait until every section that is open now has ended. Not inside a section. */
void wi_epoch_synchronize(void);

#endif
