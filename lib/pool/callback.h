/* SPDX-License-Identifier: Apache-2.0 */
/*
 * callback.h - the thread that runs users' callbacks, so that no helper thread ever waits for a user
 *
 * Started by the first use in a runtime. Work is posted to a lock-free inbox; a timer is a deadline in the
 * work itself. Callbacks of one runtime run one after another, on no lock and outside epochs.
 *
 * Thread: wi_callback_post() by any thread, also under the queue's lock: it pushes and wakes, no more.
 */
#ifndef WI_CALLBACK_H
#define WI_CALLBACK_H

#include "sync/kick.h"

#include <pthread.h>

struct wi_callback {
    struct wi_callback *next;
    /* Called with the bits posted since the last run, or with 0 because due_ns has passed. It may free the work. */
    void              (*run)(struct wi_callback *callback, uint32_t bits);
    uint64_t            due_ns; /* WEIR_FOREVER: no timer. Written before the first post, and by run */
    struct wi_callback *next_timed, *prev_timed; /* the thread's own list */
    _Atomic uint32_t    bits;                    /* posted and not yet run; not 0: it is in the inbox */
    bool                timed;
};

struct wi_callbacks {
    pthread_mutex_t               lock; /* starting and stopping */
    pthread_t                     thread;
    bool                          started;
    _Atomic uint32_t              stop;
    _Atomic(struct wi_callback *) inbox;
    struct wi_callback           *timers; /* the thread's own */
    struct wi_kick                kick;
};

void wi_callbacks_init(struct wi_callbacks *callbacks);
/* Fails: NOMEM. Cheap when it runs already. */
int  wi_callbacks_start(struct wi_callbacks *callbacks);
/* Run what is posted, then stop and join. pre: nobody posts any more. */
void wi_callbacks_stop(struct wi_callbacks *callbacks);
/*
 * bits is not 0. When this returns the caller has touched the work for the last time, so a bit may say "from here on
 * the work is yours to free".
 */
void wi_callback_post(struct wi_callbacks *callbacks, struct wi_callback *callback, uint32_t bits);
/* From `run` only: forget the timer, because the work is about to be freed or needs none any more. */
void wi_callback_untime(struct wi_callbacks *callbacks, struct wi_callback *callback);

#endif
