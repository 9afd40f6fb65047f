/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/callback.h"

#include "sync/start.h"

#include <sys/prctl.h>

void wi_callbacks_init(struct wi_callbacks *callbacks)
{
    pthread_mutex_init(&callbacks->lock, NULL);
}

void wi_callback_post(struct wi_callbacks *callbacks, struct wi_callback *callback, uint32_t bits)
{
    /*
     * order(callback): what was written before a post is seen by the run; pairs with the exchange in run_inbox().
     * Who sets the first bit puts the work into the inbox, and nobody runs it before; for the others this
     * is the last touch.
     */
    if (wi_or(&callback->bits, bits, acq_rel) == 0) {
        struct wi_callback *head = wi_load(&callbacks->inbox, relaxed);
        do {
            callback->next = head;
        } while (!wi_cas(&callbacks->inbox, &head, callback, release));
    }
    wi_kick(&callbacks->kick);
}

static void time_it(struct wi_callbacks *callbacks, struct wi_callback *callback)
{
    callback->timed = true;
    callback->prev_timed = NULL;
    callback->next_timed = callbacks->timers;
    if (callbacks->timers) callbacks->timers->prev_timed = callback;
    callbacks->timers = callback;
}

void wi_callback_untime(struct wi_callbacks *callbacks, struct wi_callback *callback)
{
    if (!callback->timed) return;
    callback->timed = false;
    if (callback->prev_timed) {
        callback->prev_timed->next_timed = callback->next_timed;
    } else {
        callbacks->timers = callback->next_timed;
    }
    if (callback->next_timed) callback->next_timed->prev_timed = callback->prev_timed;
}

static void run_inbox(struct wi_callbacks *callbacks)
{
    struct wi_callback *fresh = wi_exchange(&callbacks->inbox, NULL, acquire);
    struct wi_callback *ordered = NULL;
    while (fresh) { /* oldest first */
        struct wi_callback *next = fresh->next;
        fresh->next = ordered;
        ordered = fresh;
        fresh = next;
    }
    while (ordered) {
        struct wi_callback *callback = ordered;
        ordered = callback->next;
        if (!callback->timed && callback->due_ns != WEIR_FOREVER) time_it(callbacks, callback);
        uint32_t bits = wi_exchange(&callback->bits, 0, acq_rel); /* order(callback) */
        callback->run(callback, bits);
    }
}

/* Returns the next deadline. */
static uint64_t run_timers(struct wi_callbacks *callbacks)
{
    uint64_t now_ns = weir_clock_ns();
    uint64_t next_ns = WEIR_FOREVER;
    struct wi_callback *callback = callbacks->timers;
    while (callback) {
        struct wi_callback *next = callback->next_timed; /* run() frees its own work only */
        if (callback->due_ns <= now_ns) {
            wi_callback_untime(callbacks, callback);
            callback->run(callback, 0);
        } else if (callback->due_ns < next_ns) {
            next_ns = callback->due_ns;
        }
        callback = next;
    }
    return next_ns;
}

static void *callbacks_main(void *arg)
{
    struct wi_callbacks *callbacks = arg;
    (void)prctl(PR_SET_NAME, "weir-callbacks");
    while (true) {
        uint32_t seen = wi_kick_begin(&callbacks->kick);
        run_inbox(callbacks);
        uint64_t next_ns = run_timers(callbacks);
        if (wi_load(&callbacks->stop, acquire) && !wi_load(&callbacks->inbox, acquire)) break;
        wi_kick_sleep(&callbacks->kick, seen, next_ns);
    }
    return NULL;
}

int wi_callbacks_start(struct wi_callbacks *callbacks)
{
    int err = 0;
    pthread_mutex_lock(&callbacks->lock);
    if (!callbacks->started) {
        err = wi_thread_start(&callbacks->thread, callbacks_main, callbacks);
        if (err) {
            err = WI_FAIL(NOMEM, .call = "pthread_create", .sys_errno = err, .detail = "the callback thread");
        } else {
            callbacks->started = true;
        }
    }
    pthread_mutex_unlock(&callbacks->lock);
    return err;
}

void wi_callbacks_stop(struct wi_callbacks *callbacks)
{
    wi_store(&callbacks->stop, 1, seq_cst);
    wi_kick(&callbacks->kick);
    if (callbacks->started) pthread_join(callbacks->thread, NULL);
    callbacks->started = false;
    pthread_mutex_destroy(&callbacks->lock);
}
