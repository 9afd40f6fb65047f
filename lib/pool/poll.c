/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/poll.h"

#include "base/alloc.h"
#include "sync/futex.h"

int wi_poll_wait(struct wi_context *context, void *event, uint64_t deadline_ns)
{
    struct wi_poll *poll = wi_calloc(1, sizeof *poll);
    if (!poll) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a wait for an event");
    poll->event = event;
    struct wi_poll *head = wi_load(&context->polls, relaxed);
    do {
        poll->next = head;
        /* order(poll): release, for the exchange in take_new(); seq_cst, then `closed`: either destroy finds it, or it sees that. */
    } while (!wi_cas(&context->polls, &head, poll, seq_cst));
    wi_kick(&context->keeper);
    if (wi_load(&context->closed, seq_cst) >= 2) wi_poll_end(context, &(struct wi_poll *){NULL});

    while (wi_load(&poll->word, acquire) == WI_POLL_WAITING) {
        if (wi_futex_wait(&poll->word, WI_POLL_WAITING, deadline_ns) != -ETIMEDOUT) continue;
        uint32_t waiting = WI_POLL_WAITING;
        if (wi_cas(&poll->word, &waiting, WI_POLL_GIVEN_UP, acq_rel))
            return WI_FAIL(TIMEDOUT, .detail = "the event had not passed");
    }
    int result = poll->result;
    if (result == WEIR_ECLOSED) {
        (void)WI_FAIL(CLOSED, .detail = "the runtime has ended, and the event had not passed");
    } else if (result < 0) {
        result = WI_FAIL_BLAMED(DEVICE, &poll->blame, .detail = "the work before the event failed");
    }
    wi_free(poll);
    return result;
}

static void take_new(struct wi_context *context, struct wi_poll **list)
{
    struct wi_poll *fresh = wi_exchange(&context->polls, NULL, seq_cst); /* order(poll) */
    while (fresh) {
        struct wi_poll *next = fresh->next;
        fresh->next = *list;
        *list = fresh;
        fresh = next;
    }
}

/* pre: the request is in no list. */
static void tell(struct wi_poll *poll, int result)
{
    uint32_t waiting = WI_POLL_WAITING;
    poll->result = result;
    /*
     * The waiter may free the request as soon as the word says DONE, so the wake may hit a word that is no
     * futex any more: a spurious wake, which every sleeper in weir allows for.
     */
    _Atomic uint32_t *word = &poll->word;
    if (wi_cas(word, &waiting, WI_POLL_DONE, acq_rel)) {
        wi_futex_wake(word, 1);
    } else {
        (void)wi_load(word, acquire); /* a failed compare-and-swap orders nothing: the waiter has let go */
        wi_free(poll);
    }
}

void wi_poll_end(struct wi_context *context, struct wi_poll **list)
{
    take_new(context, list);
    while (*list) {
        struct wi_poll *poll = *list;
        *list = poll->next;
        tell(poll, WEIR_ECLOSED);
    }
}

bool wi_poll_keep(struct wi_context *context, struct wi_poll **list)
{
    take_new(context, list);
    if (!*list) return false;
    pthread_mutex_lock(&context->poll_lock);
    struct wi_poll **link = list;
    while (*link) {
        struct wi_poll *poll = *link;
        if (wi_load(&poll->word, acquire) == WI_POLL_GIVEN_UP) {
            *link = poll->next;
            wi_free(poll);
            continue;
        }
        int err = context->device->ops->event_query(context->device, poll->event);
        if (err == WEIR_EAGAIN) {
            link = &poll->next;
            continue;
        }
        *link = poll->next;
        if (err < 0) wi_blame_keep(&poll->blame);
        tell(poll, err);
    }
    pthread_mutex_unlock(&context->poll_lock);
    return *list != NULL;
}
