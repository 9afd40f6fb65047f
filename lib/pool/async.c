/* SPDX-License-Identifier: Apache-2.0 */
/*
 * async.c - acquires that wait without a thread
 *
 * A request's waiter stands in the store's queue like any other. Whoever has something to say about a request
 * posts a bit to the callback thread, and touches the request no more in that step:
 *
 *   SUBMITTED  the submitter is done with it
 *   END        the queue: the waiter was given an object, or shut
 *   FREE       the user: it was cancelled or taken
 *
 * The callback thread alone runs the user's function, keeps the deadline, and frees requests.
 */
#include <weir/async.h>

#include "base/alloc.h"
#include "base/options.h"
#include "pool/callback.h"
#include "pool/pool.h"
#include "pool/preempt.h"
#include "pool/watch.h"

#include <sched.h>
#include <unistd.h>

enum bits { SUBMITTED = 1, END = 2, FREE = 4 };
enum state { PENDING = 0, SIGNALING, ENDED };

struct weir_request {
    struct wi_waiter   waiter; /* first: cache-line aligned */
    struct wi_callback callback;
    struct weir_pool  *pool;    /* may end before the request does: then its memory is another pool's */
    struct wi_context *context; /* lives until no callback will run any more */
    uint64_t           buffers_max;
    struct wi_record  *record;
    weir_acquired_fn  *fn; /* NULL: eventfd */
    void              *ctx;
    int                eventfd;
    int                result;
    uint32_t           priority;
    uint64_t           user;
    uint32_t           seen;  /* bits so far; the callback thread's own */
    _Atomic uint32_t   state; /* for weir_request_take() */
};

static void notify(struct wi_waiter *waiter)
{
    struct weir_request *request = WI_CONTAINER(waiter, struct weir_request, waiter);
    wi_callback_post(&request->context->callbacks, &request->callback, END);
}

static void free_request(struct weir_request *request)
{
    wi_callback_untime(&request->context->callbacks, &request->callback);
    wi_free(request);
}

static int result_of(struct weir_request *request)
{
    /* order(given): acquire; pairs with the queue's store. */
    if (wi_load(&request->waiter.word, acquire) == WI_GIVEN) return 0;
    return wi_load(&request->context->device->lost, acquire) ? WEIR_EDEVICE : WEIR_ECLOSED;
}

static struct weir_buffer *lease_of(struct weir_request *request)
{
    if (request->result == 0 && request->pool->opts.preempt)
        wi_preempt_note(request->record, request->priority, request->user);
    return request->result == 0 ? wi_watch_lease(request->record, (const void *)request->fn) : NULL;
}

static void end(struct weir_request *request, int result)
{
    wi_callback_untime(&request->context->callbacks, &request->callback);
    request->callback.due_ns = WEIR_FOREVER;
    request->result = result;
    if (request->fn) {
        request->fn(request->ctx, result, lease_of(request));
        free_request(request);
        return;
    }
    /* The user may close the descriptor once he has taken the request: not before it was written to. */
    uint64_t one = 1;
    wi_store(&request->state, SIGNALING, release);
    (void)!write(request->eventfd, &one, sizeof one);
    wi_store(&request->state, ENDED, release);
}

static void run(struct wi_callback *callback, uint32_t bits)
{
    struct weir_request *request = WI_CONTAINER(callback, struct weir_request, callback);
    request->seen |= bits;
    if (!(request->seen & SUBMITTED)) return;
    if (request->seen & FREE) {
        free_request(request);
    } else if (wi_load(&request->state, relaxed) != PENDING) {
        return; /* unreached: it ended by its deadline, and END was on its way */
    } else if (request->seen & END) {
        end(request, result_of(request));
    } else if (weir_clock_ns() >= callback->due_ns &&
               wi_queue_cancel(&request->pool->store, &request->waiter) == 0) {
        end(request, WEIR_ETIMEDOUT); /* if it could not be cancelled, END or FREE is on its way */
    }
}

static int submit(struct weir_pool *pool, const struct weir_acquire_opts *opts, uint64_t deadline_ns,
                  struct weir_request *like, struct weir_request **out)
{
    struct weir_acquire_opts given;
    WI_TRY(wi_process_check());
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_acquire_opts"));
    WI_ENSURE(given.priority <= WEIR_PRIORITY_HIGH, INVAL, .detail = "priority is not one of enum weir_priority");
    WI_ENSURE(given.flags == 0, OPTS, .detail = "flags must be 0");
    WI_TRY(wi_callbacks_start(&pool->context->callbacks));
    struct weir_request *request = wi_calloc_aligned(_Alignof(struct weir_request), 1, sizeof *request);
    if (!request) return WI_FAIL(NOMEM, .call = "calloc", .detail = "an asynchronous request");
    *request = *like;
    request->pool = pool;
    request->context = pool->context;
    request->buffers_max = pool->opts.buffers_max;
    request->callback.run = run;
    request->callback.due_ns = deadline_ns;
    request->waiter.notify = notify;
    if (out) *out = request;
    struct wi_callbacks *callbacks = &pool->context->callbacks;
    struct wi_ask        ask = {.deadline_ns = deadline_ns, .need = 1,
                                .priority = given.priority ? WEIR_PRIORITY_HIGH - given.priority : 1};
    request->priority = ask.priority;
    request->user = given.user;
    int err = wi_queue_submit(&pool->store, &ask, &request->waiter, &request->record);
    if (err < 0) {
        if (out) *out = NULL;
        wi_free(request);
        return err;
    }
    if (pool->store.owner.starved) pool->store.owner.starved(pool);
    if (pool->opts.preempt) wi_preempt_ask(pool, ask.priority);
    wi_callback_post(callbacks, &request->callback, SUBMITTED); /* starts the timer, too */
    return 0;
}

int weir_buffer_acquire_async(struct weir_pool *pool, const struct weir_acquire_opts *opts, uint64_t deadline_ns,
                              weir_acquired_fn *fn, void *ctx, struct weir_request **out)
{
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_ENSURE(fn, INVAL, .detail = "fn is NULL");
    return submit(pool, opts, deadline_ns, &(struct weir_request){.fn = fn, .ctx = ctx, .eventfd = -1}, out);
}

int weir_buffer_acquire_eventfd(struct weir_pool *pool, const struct weir_acquire_opts *opts, uint64_t deadline_ns,
                                int eventfd, struct weir_request **out)
{
    WI_ENSURE(pool && out, INVAL, .detail = "pool or out is NULL");
    WI_ENSURE(eventfd >= 0, INVAL, .detail = "eventfd is not a descriptor");
    return submit(pool, opts, deadline_ns, &(struct weir_request){.eventfd = eventfd}, out);
}

int weir_request_take(struct weir_request *request, struct weir_buffer **out)
{
    WI_ENSURE(request && out, INVAL, .detail = "request or out is NULL");
    WI_ENSURE(!request->fn, INVAL, .detail = "the request has a callback");
    uint32_t state = wi_load(&request->state, acquire);
    if (state == PENDING) return WEIR_EAGAIN;
    while (state == SIGNALING) { /* the descriptor is being written to at this moment */
        sched_yield();
        state = wi_load(&request->state, acquire);
    }
    int      result = request->result;
    uint64_t buffers_max = request->buffers_max;
    if (result == 0) *out = lease_of(request);
    wi_callback_post(&request->context->callbacks, &request->callback, FREE);
    if (result < 0) {
        struct wi_cause cause = {.detail = "the asynchronous acquire ended without a lease", .limit = "buffers_max",
                                 .limit_value = buffers_max, .setting = "weir_pool_opts.buffers_max"};
        return wi_fail_at(result, __FILE__, __LINE__, &cause);
    }
    return 0;
}

int weir_request_cancel(struct weir_request *request)
{
    WI_ENSURE(request, INVAL, .detail = "request is NULL");
    if (wi_queue_cancel(&request->pool->store, &request->waiter) < 0)
        return WI_FAIL(BUSY, .detail = "the request has ended already");
    wi_callback_post(&request->context->callbacks, &request->callback, FREE);
    return 0;
}
