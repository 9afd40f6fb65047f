/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/async.h - acquiring without waiting in the call: by callback, or by eventfd for event loops
 *
 * An asynchronous acquire queues like any other and is served in the same order. Callbacks run on a thread
 * of weir's own that is started by the first use; they may call anything in weir but must not block for long,
 * because callbacks of one runtime run one after another.
 *
 * Ownership: a request belongs to weir. The caller's pointer to it is good until the callback begins, until
 * weir_request_take() answers something else than AGAIN, or until weir_request_cancel() answers 0.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 *
 * Example:
 *
 *     #include <poll.h>
 *     #include <weir/async.h>
 *
 *     int lease_by_poll(struct weir_pool *pool, int fd, struct weir_buffer **out)
 *     {
 *         struct weir_request *request;
 *         struct pollfd        ready = {.fd = fd, .events = POLLIN};
 *         int err = weir_buffer_acquire_eventfd(pool, NULL, weir_deadline_after_ns(50000000), fd, &request);
 *         if (err < 0) return err;
 *         while (poll(&ready, 1, -1) < 0) continue;
 *         return weir_request_take(request, out);
 *     }
 */
#ifndef WEIR_ASYNC_H
#define WEIR_ASYNC_H

#include <weir/base.h>
#include <weir/pool.h>

WEIR_BEGIN_DECLS

struct weir_request;

/*
 * How an asynchronous acquire ends: result 0 and a lease that is now the callee's, or a negative code
 * (TIMEDOUT, CLOSED, DEVICE) and NULL. Called exactly once, unless the request was cancelled.
 */
typedef void weir_acquired_fn(void *ctx, int result, struct weir_buffer *buffer);

/*
 * weir_buffer_acquire_async - call fn with a lease, or with the reason why there is none, by deadline_ns
 *
 * opts may be NULL. out may be NULL if the request will never be cancelled. *out is written before fn is called.
 * Progress: never waits for a buffer; takes a lock, allocates, and starts a thread the first time.
 * Fails: INVAL, OPTS, CLOSED, DEVICE, FORKED, NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_acquire_async(struct weir_pool               *pool,
                                                       const struct weir_acquire_opts *opts,
                                                       uint64_t deadline_ns, weir_acquired_fn *fn,
                                                       void *ctx, struct weir_request **out);

/*
 * weir_buffer_acquire_eventfd - add 1 to an eventfd when the request has ended; then take it
 *
 * The descriptor stays the caller's and must be open until the request has been taken or cancelled. out must be given.
 * As weir_buffer_acquire_async() else.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_acquire_eventfd(struct weir_pool               *pool,
                                                         const struct weir_acquire_opts *opts,
                                                         uint64_t deadline_ns, int eventfd,
                                                         struct weir_request **out);

/*
 * weir_request_take - the outcome of an eventfd request
 *
 * AGAIN: it has not ended. Else the request is gone: 0 with the lease in *out, or the code why there is none.
 *
 * Thread: any, but only one that takes or cancels a request.  Progress: takes a lock; does not wait.
 * Fails:  AGAIN, TIMEDOUT, CLOSED, DEVICE, INVAL (the request has a callback).
 */
WEIR_API WEIR_MUST_CHECK int weir_request_take(struct weir_request *request, struct weir_buffer **out);

/*
 * weir_request_cancel - give a request up
 *
 * 0: it is gone, and its callback is not called. BUSY: it has ended already; its callback runs or will run, or
 * it waits to be taken.
 *
 * Thread: any, but only one that takes or cancels a request.  Progress: takes a lock; does not wait.
 * Fails:  BUSY, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_request_cancel(struct weir_request *request);

WEIR_END_DECLS

#endif
