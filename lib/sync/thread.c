/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How deferral is built on ck_epoch: ck_epoch_call keeps its callbacks in the calling thread's record and
 * loses them when that record is unregistered, so weir never uses it. Deferred work goes to one process-wide
 * list instead; wi_epoch_reclaim() takes the whole list, waits for a grace period on its own record, and
 * runs it. A thread that exits therefore has nothing pending to hand over.
 */
#include "sync/thread.h"

#include "base/alloc.h"
#include "sync/annotate.h"

#include <ck_epoch.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <weir/runtime.h>

static ck_epoch_t                   domain;
static pthread_once_t               once = PTHREAD_ONCE_INIT;
static pthread_key_t                key;
static _Atomic(struct wi_thread *)  threads;
static _Atomic(struct wi_deferred *) deferred_list;
static pthread_mutex_t              reclaim_lock = PTHREAD_MUTEX_INITIALIZER;
__thread struct wi_thread          *wi_thread_record;

static void thread_gone(void *arg)
{
    struct wi_thread *thread = arg;
    wi_thread_record = NULL;
    /* order(thread-reuse): release; pairs with the exchange in wi_thread_attach(). The next owner sees a quiet record. */
    wi_store(&thread->used, 0, release);
}

static void set_up(void)
{
    ck_epoch_init(&domain);
    wi_require(pthread_key_create(&key, thread_gone) == 0);
}

struct wi_thread *wi_thread_attach(void)
{
    pthread_once(&once, set_up);
    struct wi_thread *thread = wi_load(&threads, acquire);
    for (; thread; thread = thread->next) {
        /* order(thread-reuse): acquire; pairs with the store in thread_gone(). */
        if (!wi_load(&thread->used, relaxed) && !wi_exchange(&thread->used, 1, acquire)) break;
    }
    if (!thread) {
        ck_epoch_record_t *epoch;
        /*
         * A thread that cannot be attached has no one to tell, so the fault injection of wi_calloc_aligned stays
         * out; the record outlives every user of the library.
         */
        /* tidy-allow: aligned_alloc, because of the above */
        thread = aligned_alloc(_Alignof(struct wi_thread), sizeof *thread);
        size_t bytes = wi_round_up(sizeof *epoch, 2 * WI_CACHELINE_BYTES);
        /* tidy-allow: aligned_alloc, because of the above */
        epoch = aligned_alloc(2 * WI_CACHELINE_BYTES, bytes);
        wi_require(thread && epoch);
        *thread = (struct wi_thread){.epoch = epoch, .used = 1};
        ck_epoch_register(&domain, epoch, NULL);
        struct wi_thread *head = wi_load(&threads, relaxed);
        do {
            thread->next = head;
        } while (!wi_cas(&threads, &head, thread, release));
    }
    wi_thread_record = thread;
    wi_require(pthread_setspecific(key, thread) == 0);
    return thread;
}

struct wi_thread *wi_thread_first(void)
{
    return wi_load(&threads, acquire);
}

void weir_thread_detach(void)
{
    struct wi_thread *thread = wi_thread_record;
    if (!thread) return;
    wi_require(pthread_setspecific(key, NULL) == 0);
    thread_gone(thread);
}

void wi_epoch_begin(struct wi_thread *self)
{
    ck_epoch_begin(self->epoch, NULL);
}

void wi_epoch_end(struct wi_thread *self)
{
    wi_order_release(&domain); /* what the section did is over for whoever has synchronized */
    (void)ck_epoch_end(self->epoch, NULL);
}

void wi_epoch_defer(struct wi_deferred *deferred)
{
    struct wi_deferred *head = wi_load(&deferred_list, relaxed);
    do {
        deferred->next = head;
        /* order(deferred): release; pairs with the exchange in wi_epoch_reclaim(). */
    } while (!wi_cas(&deferred_list, &head, deferred, release));
}

static void yield_while_waiting(ck_epoch_t *epoch, ck_epoch_record_t *record, void *ctx)
{
    (void)epoch, (void)record, (void)ctx;
    sched_yield();
}

void wi_epoch_synchronize(void)
{
    ck_epoch_synchronize_wait(&domain, yield_while_waiting, NULL);
    wi_order_acquire(&domain);
}

bool wi_epoch_reclaim(void)
{
    if (!wi_load(&deferred_list, relaxed)) return false;
    pthread_mutex_lock(&reclaim_lock);
    struct wi_deferred *due = wi_exchange(&deferred_list, NULL, acquire); /* order(deferred) */
    if (due) wi_epoch_synchronize();
    while (due) {
        struct wi_deferred *next = due->next;
        due->fn(due);
        due = next;
    }
    pthread_mutex_unlock(&reclaim_lock);
    return wi_load(&deferred_list, relaxed) != NULL;
}
