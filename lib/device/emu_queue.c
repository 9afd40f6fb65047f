/* SPDX-License-Identifier: Apache-2.0 */
/* emu_queue.c - checking work and queueing it, and what happens to an operation when it is over */
#include "device/emu_state.h"

int wi_emu_push_locked(struct wi_emu *emu, struct wi_emu_stream *stream,
                       const struct emu_operation *like)
{
    struct emu_operation *operation;

    if (emu->stats.pending >= WI_EMU_PENDING_MAX)
        return wi_emu_refuse(WEIR_EEXCEEDS, "WI_EMU_PENDING_MAX operations are pending");
    operation = wi_emu_arena_take(&emu->operations);
    if (operation == NULL) return wi_emu_refuse(WEIR_ENOMEM, "no memory for an operation");
    *operation = *like;
    operation->queued_ns = wi_emu_now_locked(emu);
    for (size_t i = 0; i < WI_ARRAY_COUNT(operation->ranges); i++)
        if (operation->ranges[i] != NULL) operation->ranges[i]->pending++;
    if (stream->last != NULL)
        stream->last->next = operation;
    else
        stream->first = operation;
    stream->last = operation;
    emu->stats.pending++;
    wi_emu_ready_locked(emu, stream);
    return 0;
}

static void let_go_locked(struct wi_emu *emu, struct emu_operation *operation, int err)
{
    for (size_t i = 0; i < WI_ARRAY_COUNT(operation->ranges); i++)
        if (operation->ranges[i] != NULL) operation->ranges[i]->pending--;
    if (operation->task == EMU_TASK_RECORD || operation->task == EMU_TASK_WAIT)
        wi_emu_ticket_give_locked(emu, operation->ticket);
    if (operation->waiter != NULL) {
        operation->waiter->done = true;
        operation->waiter->err = err;
        wi_emu_change_locked(emu);
    }
    emu->stats.pending--;
    wi_emu_arena_give(&emu->operations, operation);
}

static void count_locked(struct wi_emu *emu, const struct emu_operation *operation)
{
    emu->stats.finished++;
    if (operation->task != EMU_TASK_COPY && operation->task != EMU_TASK_FILL) return;
    if (operation->task == EMU_TASK_COPY) emu->stats.copies++;
    if (operation->engine == EMU_UP) emu->stats.up_bytes += operation->move.bytes;
    if (operation->engine == EMU_DOWN) emu->stats.down_bytes += operation->move.bytes;
    if (operation->engine == EMU_INSIDE) emu->stats.inside_bytes += operation->move.bytes;
}

void wi_emu_operation_end_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    struct emu_operation *operation = stream->first;

    stream->first = operation->next;
    if (stream->first == NULL) stream->last = NULL;
    if (stream->time_ns < operation->end_ns) stream->time_ns = operation->end_ns;
    count_locked(emu, operation);
    let_go_locked(emu, operation, 0);
}

void wi_emu_operation_drop_locked(struct wi_emu *emu, struct emu_operation *operation)
{
    if (operation->task == EMU_TASK_RECORD) operation->ticket->state = EMU_TICKET_FAILED;
    emu->stats.dropped++;
    let_go_locked(emu, operation, WEIR_EDEVICE);
}

/* ---- copies ---- */

static uint64_t cost_ns(uint64_t latency_ns, size_t bytes, uint64_t bytes_per_s)
{
    return latency_ns + (uint64_t)((unsigned __int128)bytes * WI_NS_PER_S / bytes_per_s);
}

/* Check a copy and say what it is. *pageable is set if it touches host memory in no range. */
static int copy_plan_locked(struct wi_emu *emu, const struct wi_copy *copy,
                            struct emu_operation *out, bool *pageable)
{
    const struct wi_emu_model *model = &emu->opts.model;
    struct emu_range          *dst = NULL, *src = NULL;
    uint64_t                   rate;

    *out = (struct emu_operation){.task = EMU_TASK_COPY};
    switch (copy->kind) {
    case WI_COPY_UP:
        out->engine = EMU_UP, rate = model->up_bytes_per_s;
        break;
    case WI_COPY_DOWN:
        out->engine = EMU_DOWN, rate = model->down_bytes_per_s;
        break;
    case WI_COPY_DEVICE:
        out->engine = EMU_INSIDE, rate = model->device_bytes_per_s;
        break;
    default:
        return wi_emu_refuse(WEIR_EINVAL, "no such kind of copy");
    }
    out->cost_ns = cost_ns(model->latency_ns, copy->bytes, rate);
    if (copy->bytes == 0) return 0;

    WI_TRY(wi_emu_range_resolve_locked(emu, copy->dst, copy->bytes, &dst));
    WI_TRY(wi_emu_range_resolve_locked(emu, copy->src, copy->bytes, &src));
    if (copy->kind != WI_COPY_DOWN && dst == NULL)
        return wi_emu_refuse(WEIR_EINVAL, "the destination is no device address");
    if (copy->kind != WI_COPY_UP && src == NULL)
        return wi_emu_refuse(WEIR_EINVAL, "the source is no device address");
    if (copy->kind == WI_COPY_UP && src != NULL && src->kind == WI_EMU_RANGE_DEVICE)
        return wi_emu_refuse(WEIR_EINVAL, "the source of a copy up is device memory");
    if (copy->kind == WI_COPY_DOWN && dst != NULL && dst->kind == WI_EMU_RANGE_DEVICE)
        return wi_emu_refuse(WEIR_EINVAL, "the destination of a copy down is device memory");
    if (dst == NULL || src == NULL) *pageable = true;
    out->move.dst = (void *)(uintptr_t)copy->dst;
    out->move.src = (const void *)(uintptr_t)copy->src;
    out->move.bytes = copy->bytes;
    out->move.crossed = copy->flags & WI_COPY_CROSSED;
    out->ranges[0] = dst;
    out->ranges[1] = src;
    return 0;
}

static int copies_locked(struct wi_emu *emu, const struct wi_copy *copies, size_t count,
                         struct wi_emu_stream *stream)
{
    struct emu_waiter    waiter = {0};
    struct emu_operation plan;
    bool                 pageable = false;

    WI_TRY(wi_emu_stream_check_locked(emu, stream));
    /* All or none: everything that can be refused is refused before the first one is queued. */
    for (size_t i = 0; i < count; i++) WI_TRY(copy_plan_locked(emu, &copies[i], &plan, &pageable));
    if (stream->capturing) {
        if (pageable)
            return wi_emu_refuse(WEIR_ECAPTURE, "a copy of pageable memory on a capturing stream");
        emu->stats.captured += count;
        return 0;
    }
    if (count > WI_EMU_PENDING_MAX - emu->stats.pending)
        return wi_emu_refuse(WEIR_EEXCEEDS, "WI_EMU_PENDING_MAX operations are pending");
    WI_TRY(wi_emu_worker_need_locked(emu));

    for (size_t i = 0; i < count; i++) {
        bool one_pageable = false;

        (void)copy_plan_locked(emu, &copies[i], &plan, &one_pageable);
        if (one_pageable) emu->stats.pageable_copies++;
        if (i > 0) plan.cost_ns -= emu->opts.model.latency_ns;
        /* In stream order, so the last one tells that all are done. */
        if (pageable && i == count - 1) plan.waiter = &waiter;
        WI_TRY(wi_emu_push_locked(emu, stream, &plan));
    }
    wi_emu_settle_locked(emu);
    if (!pageable) return 0;
    /* The first timer may be ours, and nobody has been told yet. */
    if (emu->kick) {
        wi_emu_leave(emu, 0);
        pthread_mutex_lock(&emu->lock);
    }
    while (!waiter.done) wi_emu_pause_locked(emu);
    return waiter.err;
}

int wi_emu_copy(struct wi_emu *emu, const struct wi_copy *copy, struct wi_emu_stream *stream)
{
    WI_TRY(wi_emu_enter(emu, WI_EMU_COPY));
    return wi_emu_leave(emu, copies_locked(emu, copy, 1, stream));
}

int wi_emu_copy_batch(struct wi_emu *emu, const struct wi_copy *copies, size_t count,
                      struct wi_emu_stream *stream)
{
    WI_TRY(wi_emu_enter(emu, WI_EMU_COPY_BATCH));
    if (count == 0) return wi_emu_leave(emu, wi_emu_refuse(WEIR_EINVAL, "an empty batch"));
    return wi_emu_leave(emu, copies_locked(emu, copies, count, stream));
}

/* ---- the other queued work ---- */

static int queue_locked(struct wi_emu *emu, struct wi_emu_stream *stream,
                        const struct emu_operation *like)
{
    WI_TRY(wi_emu_stream_check_locked(emu, stream));
    if (stream->capturing) {
        emu->stats.captured++;
        return 0;
    }
    WI_TRY(wi_emu_worker_need_locked(emu));
    WI_TRY(wi_emu_push_locked(emu, stream, like));
    wi_emu_settle_locked(emu);
    return 0;
}

int wi_emu_fill(struct wi_emu *emu, uint64_t dst, uint8_t byte, size_t bytes,
                struct wi_emu_stream *stream)
{
    const struct wi_emu_model *model = &emu->opts.model;
    struct emu_operation       like = {.task = EMU_TASK_FILL, .engine = EMU_INSIDE};
    int                        err = 0;

    WI_TRY(wi_emu_enter(emu, WI_EMU_FILL));
    like.cost_ns = cost_ns(model->latency_ns, bytes, model->device_bytes_per_s);
    like.move.dst = (void *)(uintptr_t)dst;
    like.move.byte = byte;
    like.move.bytes = bytes;
    if (bytes > 0) err = wi_emu_range_resolve_locked(emu, dst, bytes, &like.ranges[0]);
    if (err == 0 && bytes > 0 && like.ranges[0] == NULL)
        err = wi_emu_refuse(WEIR_EINVAL, "the destination is no device address");
    if (err == 0) err = queue_locked(emu, stream, &like);
    return wi_emu_leave(emu, err);
}

int wi_emu_call(struct wi_emu *emu, void (*fn)(void *), void *ctx, struct wi_emu_stream *stream)
{
    struct emu_operation like = {.task = EMU_TASK_CALL, .engine = EMU_CALLS};
    int                  err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_CALL));
    like.call.fn = fn;
    like.call.ctx = ctx;
    err = fn != NULL ? queue_locked(emu, stream, &like)
                     : wi_emu_refuse(WEIR_EINVAL, "the function is NULL");
    return wi_emu_leave(emu, err);
}

int wi_emu_delay(struct wi_emu *emu, uint64_t ns, struct wi_emu_stream *stream)
{
    struct emu_operation like = {.task = EMU_TASK_DELAY, .cost_ns = ns};

    WI_TRY(wi_emu_enter(emu, WI_EMU_DELAY));
    return wi_emu_leave(emu, queue_locked(emu, stream, &like));
}
