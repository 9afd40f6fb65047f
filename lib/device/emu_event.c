/* SPDX-License-Identifier: Apache-2.0 */
/* emu_event.c - events: references to tickets that pass when their stream reaches them */
#include "device/emu_state.h"

static int event_check_locked(struct wi_emu *emu, const struct wi_emu_event *event)
{
    if (WI_UNLIKELY(event == NULL)) return wi_emu_refuse(WEIR_EINVAL, "the event is NULL");
    if (WI_UNLIKELY(event->magic != EMU_EVENT_ALIVE))
        return wi_emu_misuse_locked(emu, "use of an event that was destroyed, or is none");
    return 0;
}

/* 0, AGAIN, DEVICE or CAPTURE. */
static int ticket_status(const struct emu_ticket *ticket)
{
    if (ticket == NULL) return 0;
    switch (ticket->state) {
    case EMU_TICKET_PASSED:
        return 0;
    case EMU_TICKET_PENDING:
        return WEIR_EAGAIN;
    case EMU_TICKET_CAPTURED:
        return wi_emu_refuse(WEIR_ECAPTURE, "the event was last recorded in a capture");
    default:
        return wi_emu_refuse(WEIR_EDEVICE, "the device was lost before the event");
    }
}

void wi_emu_ticket_give_locked(struct wi_emu *emu, struct emu_ticket *ticket)
{
    if (ticket == NULL) return;
    wi_assert(ticket->refs > 0);
    if (--ticket->refs == 0) wi_emu_arena_give(&emu->tickets, ticket);
}

void wi_emu_ticket_pass_locked(struct wi_emu *emu, struct emu_ticket *ticket, uint64_t stamp_ns)
{
    struct wi_emu_stream *stream;

    wi_assert(ticket->state == EMU_TICKET_PENDING);
    ticket->state = EMU_TICKET_PASSED;
    ticket->stamp_ns = stamp_ns;
    /* Each blocked operation holds a reference of its own, and the caller one: the ticket outlives the loop. */
    while ((stream = wi_emu_list_take(&ticket->blocked)) != NULL) {
        stream->state = EMU_REST;
        stream->first->end_ns = stamp_ns;
        wi_emu_operation_end_locked(emu, stream);
        wi_emu_ready_locked(emu, stream);
    }
    wi_emu_change_locked(emu);
}

int wi_emu_event_create(struct wi_emu *emu, uint32_t flags, struct wi_emu_event **out)
{
    struct wi_emu_event *event;

    WI_TRY(wi_emu_enter(emu, WI_EMU_EVENT_CREATE));
    if (flags & ~(uint32_t)WI_EVENT_TIMING)
        return wi_emu_leave(emu, wi_emu_refuse(WEIR_EINVAL, "no such event flag"));
    event = wi_emu_arena_take(&emu->events);
    if (event == NULL)
        return wi_emu_leave(emu, wi_emu_refuse(WEIR_ENOMEM, "no memory for an event"));
    event->magic = EMU_EVENT_ALIVE;
    event->flags = flags;
    emu->stats.events++;
    *out = event;
    return wi_emu_leave(emu, 0);
}

int wi_emu_event_destroy(struct wi_emu *emu, struct wi_emu_event *event)
{
    int err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_EVENT_DESTROY));
    err = event_check_locked(emu, event);
    if (err == 0) {
        /* A pending record keeps the ticket, not the event. */
        wi_emu_ticket_give_locked(emu, event->ticket);
        event->ticket = NULL;
        event->magic = EMU_HANDLE_DEAD;
        wi_emu_arena_retire(&emu->events, event);
        emu->stats.events--;
    }
    return wi_emu_leave(emu, err);
}

static int record_locked(struct wi_emu *emu, struct wi_emu_event *event,
                         struct wi_emu_stream *stream)
{
    struct emu_operation like = {.task = EMU_TASK_RECORD};
    struct emu_ticket   *ticket = wi_emu_arena_take(&emu->tickets);
    int                  err;

    if (ticket == NULL) return wi_emu_refuse(WEIR_ENOMEM, "no memory for a ticket");
    ticket->refs = 1;
    if (stream->capturing) {
        ticket->state = EMU_TICKET_CAPTURED;
        emu->stats.captured++;
    } else {
        ticket->refs++;
        like.ticket = ticket;
        err = wi_emu_push_locked(emu, stream, &like);
        if (err < 0) {
            wi_emu_arena_give(&emu->tickets, ticket);
            return err;
        }
    }
    wi_emu_ticket_give_locked(emu, event->ticket);
    event->ticket = ticket;
    wi_emu_settle_locked(emu);
    return 0;
}

int wi_emu_event_record(struct wi_emu *emu, struct wi_emu_event *event,
                        struct wi_emu_stream *stream)
{
    int err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_EVENT_RECORD));
    err = event_check_locked(emu, event);
    if (err == 0) err = wi_emu_stream_check_locked(emu, stream);
    if (err == 0) err = record_locked(emu, event, stream);
    return wi_emu_leave(emu, err);
}

static int wait_locked(struct wi_emu *emu, struct wi_emu_stream *stream, struct emu_ticket *ticket)
{
    struct emu_operation like = {.task = EMU_TASK_WAIT, .ticket = ticket};
    int                  status = ticket_status(ticket);

    if (stream->capturing) {
        emu->stats.captured++;
        return 0;
    }
    if (status != WEIR_EAGAIN) return status;
    WI_TRY(wi_emu_push_locked(emu, stream, &like));
    ticket->refs++;
    wi_emu_settle_locked(emu);
    return 0;
}

int wi_emu_stream_wait(struct wi_emu *emu, struct wi_emu_stream *stream, struct wi_emu_event *event)
{
    int err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_STREAM_WAIT));
    err = wi_emu_stream_check_locked(emu, stream);
    if (err == 0) err = event_check_locked(emu, event);
    if (err == 0) err = wait_locked(emu, stream, event->ticket);
    return wi_emu_leave(emu, err);
}

int wi_emu_event_query(struct wi_emu *emu, struct wi_emu_event *event)
{
    int err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_EVENT_QUERY));
    err = event_check_locked(emu, event);
    if (err == 0) err = ticket_status(event->ticket);
    return wi_emu_leave(emu, err);
}

int wi_emu_event_sync(struct wi_emu *emu, struct wi_emu_event *event)
{
    struct emu_ticket *ticket;
    int                err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_EVENT_SYNC));
    err = event_check_locked(emu, event);
    if (err < 0 || event->ticket == NULL) return wi_emu_leave(emu, err);
    /* The ticket of this moment: a later record of the event does not prolong the wait. */
    ticket = event->ticket;
    ticket->refs++;
    while ((err = ticket_status(ticket)) == WEIR_EAGAIN) wi_emu_pause_locked(emu);
    wi_emu_ticket_give_locked(emu, ticket);
    return wi_emu_leave(emu, err);
}

static int elapsed_locked(const struct wi_emu_event *start, const struct wi_emu_event *end,
                          uint64_t *ns)
{
    if (!(start->flags & end->flags & WI_EVENT_TIMING))
        return wi_emu_refuse(WEIR_EINVAL, "an event was made without WI_EVENT_TIMING");
    if (start->ticket == NULL || end->ticket == NULL)
        return wi_emu_refuse(WEIR_EINVAL, "an event was never recorded");
    WI_TRY(ticket_status(start->ticket));
    WI_TRY(ticket_status(end->ticket));
    *ns = end->ticket->stamp_ns > start->ticket->stamp_ns
              ? end->ticket->stamp_ns - start->ticket->stamp_ns
              : 0;
    return 0;
}

int wi_emu_event_elapsed(struct wi_emu *emu, struct wi_emu_event *start, struct wi_emu_event *end,
                         uint64_t *ns)
{
    int err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_EVENT_ELAPSED));
    err = event_check_locked(emu, start);
    if (err == 0) err = event_check_locked(emu, end);
    if (err == 0) err = elapsed_locked(start, end, ns);
    return wi_emu_leave(emu, err);
}
