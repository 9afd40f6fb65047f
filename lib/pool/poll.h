/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poll.h - sleeping until an event has passed, while the keeper asks the driver
 *
 * The driver has no wait with a deadline. So a thread that waits for an event queues a request; the keeper
 * queries the event with its bounded backoff and wakes the thread.
 *
 * Ownership: a request belongs to its thread when it is DONE, and to the keeper when it was GIVEN_UP.
 */
#ifndef WI_POLL_H
#define WI_POLL_H

#include "pool/blame.h"
#include "pool/context.h"

struct wi_poll {
    struct wi_poll  *next;
    void            *event;
    _Atomic uint32_t word; /* futex: WI_POLL_* */
    int              result;
    struct wi_blame  blame;
};

enum { WI_POLL_WAITING = 0, WI_POLL_DONE, WI_POLL_GIVEN_UP };

/* Sleep until the event has passed. Fails: TIMEDOUT, DEVICE, NOMEM, CLOSED. */
int wi_poll_wait(struct wi_context *context, void *event, uint64_t deadline_ns);

/* The keeper: take new requests into *list and ask the driver about each. Returns true while any is pending. */
bool wi_poll_keep(struct wi_context *context, struct wi_poll **list);
/* No keeper any more: who waits still is told CLOSED. */
void wi_poll_end(struct wi_context *context, struct wi_poll **list);

#endif
