/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu_engine.c - how streams move: the ready list, the engines, the timers, and doing an operation
 *
 * Time here is device time. An operation starts when its stream's past has ended, it has been queued, and its
 * engine is free; it ends `cost` later. Workers may look late, and then they catch up: the next
 * operation starts where the model says that this one ended, so lateness of threads does not add up. What does add up
 * is the real time of the copying itself, where that exceeds the model.
 */
#include "device/emu_state.h"

#include "sync/annotate.h"

#include <string.h>

/* Copies shorter than this say little about the machine's rate. */
#define RATE_SAMPLE_BYTES_MIN ((size_t)64 << 10)
#define RATE_BYTES_PER_S_MIN  UINT64_C(100000000)

void wi_emu_list_add(struct emu_list *list, struct wi_emu_stream *stream)
{
    stream->next = NULL;
    if (list->last != NULL)
        list->last->next = stream;
    else
        list->first = stream;
    list->last = stream;
}

struct wi_emu_stream *wi_emu_list_take(struct emu_list *list)
{
    struct wi_emu_stream *stream = list->first;

    if (stream == NULL) return NULL;
    list->first = stream->next;
    if (list->first == NULL) list->last = NULL;
    stream->next = NULL;
    return stream;
}

bool wi_emu_quiet_locked(const struct wi_emu *emu)
{
    return emu->timers.first == NULL && emu->running == 0;
}

void wi_emu_ready_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    if (emu->opts.clock == WI_EMU_VIRTUAL || stream->state != EMU_REST) return;
    stream->state = EMU_READY;
    wi_emu_list_add(&emu->ready, stream);
}

/* May the first operation begin? Uses up a permit. */
bool wi_emu_begin_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    if (!emu->held && !stream->held) return true;
    if (stream->permits == 0) return false;
    stream->permits--;
    return true;
}

/* Keeps the list sorted by due_ns; equal ones stay in order of arrival. */
static void timer_add_locked(struct wi_emu *emu, struct wi_emu_stream *stream, uint64_t due_ns)
{
    struct wi_emu_stream **at = &emu->timers.first;

    stream->state = EMU_TIMED;
    stream->due_ns = due_ns;
    while (*at != NULL && (*at)->due_ns <= due_ns) at = &(*at)->next;
    if (at == &emu->timers.first) emu->kick = true;
    stream->next = *at;
    *at = stream;
    if (stream->next == NULL) emu->timers.last = stream;
}

/* ---- engines ---- */

/* How long the copying itself is expected to take. It is begun so much before the modelled end. */
static uint64_t expected_ns(const struct wi_emu *emu, const struct emu_operation *operation)
{
    if (operation->task == EMU_TASK_CALL) return 0;
    return (uint64_t)((unsigned __int128)operation->move.bytes * WI_NS_PER_S /
                      emu->rate_bytes_per_s);
}

static void engine_start_locked(struct wi_emu *emu, struct emu_engine *engine)
{
    struct wi_emu_stream *stream;
    struct emu_operation *operation;
    uint64_t              early_ns;

    if (engine->busy || engine->line.first == NULL) return;
    stream = wi_emu_list_take(&engine->line);
    operation = stream->first;
    engine->busy = true;
    operation->start_ns = stream->time_ns > engine->free_ns ? stream->time_ns : engine->free_ns;
    operation->end_ns = operation->start_ns + operation->cost_ns;
    early_ns = expected_ns(emu, operation);
    if (early_ns > operation->cost_ns) early_ns = operation->cost_ns;
    stream->phase = EMU_TO_DO;
    timer_add_locked(emu, stream, operation->end_ns - early_ns);
}

/* ---- moving ---- */

/* Begin the first operation. true: it took no time and is over, look at the next one. */
static bool begin_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    struct emu_operation *operation = stream->first;

    if (stream->time_ns < operation->queued_ns) stream->time_ns = operation->queued_ns;
    switch (operation->task) {
    case EMU_TASK_RECORD:
        operation->end_ns = stream->time_ns;
        wi_emu_ticket_pass_locked(emu, operation->ticket, stream->time_ns);
        wi_emu_operation_end_locked(emu, stream);
        return true;
    case EMU_TASK_WAIT:
        if (operation->ticket->state == EMU_TICKET_PENDING) {
            stream->state = EMU_BLOCKED;
            wi_emu_list_add(&operation->ticket->blocked, stream);
            return false;
        }
        operation->end_ns = operation->ticket->stamp_ns;
        wi_emu_operation_end_locked(emu, stream);
        return true;
    case EMU_TASK_DELAY:
        operation->start_ns = stream->time_ns;
        operation->end_ns = stream->time_ns + operation->cost_ns;
        stream->phase = EMU_DONE;
        timer_add_locked(emu, stream, operation->end_ns);
        return false;
    default:
        stream->state = EMU_LINED;
        wi_emu_list_add(&emu->engines[operation->engine].line, stream);
        engine_start_locked(emu, &emu->engines[operation->engine]);
        return false;
    }
}

void wi_emu_settle_locked(struct wi_emu *emu)
{
    struct wi_emu_stream *stream;

    while ((stream = wi_emu_list_take(&emu->ready)) != NULL) {
        stream->state = EMU_REST;
        while (stream->first != NULL && wi_emu_begin_locked(emu, stream))
            if (!begin_locked(emu, stream)) break;
        if (stream->first == NULL && stream->destroyed) wi_emu_stream_retire_locked(emu, stream);
    }
}

/* ---- doing ---- */

static void learn_rate_locked(struct wi_emu *emu, size_t bytes, uint64_t spent_ns)
{
    uint64_t rate;

    if (bytes < RATE_SAMPLE_BYTES_MIN || spent_ns == 0) return;
    rate = (uint64_t)((unsigned __int128)bytes * WI_NS_PER_S / spent_ns);
    emu->rate_bytes_per_s += rate / 8 - emu->rate_bytes_per_s / 8;
    if (emu->rate_bytes_per_s < RATE_BYTES_PER_S_MIN) emu->rate_bytes_per_s = RATE_BYTES_PER_S_MIN;
}

static void perform(const struct emu_operation *operation)
{
    switch (operation->task) {
    case EMU_TASK_COPY:
        if (operation->move.crossed)
            wi_copy_unwatched(operation->move.dst, operation->move.src, operation->move.bytes);
        else if (operation->move.bytes > 0)
            memmove(operation->move.dst, operation->move.src, operation->move.bytes);
        break;
    case EMU_TASK_FILL:
        if (operation->move.bytes > 0)
            memset(operation->move.dst, operation->move.byte, operation->move.bytes);
        break;
    case EMU_TASK_CALL:
        wi_emu_set_inside_call(true);
        operation->call.fn(operation->call.ctx);
        wi_emu_set_inside_call(false);
        break;
    default:
        break;
    }
}

/* The device was lost: forget what the stream still has. */
static void abandon_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    while (stream->first != NULL) {
        struct emu_operation *operation = stream->first;

        stream->first = operation->next;
        wi_emu_operation_drop_locked(emu, operation);
    }
    stream->last = NULL;
    stream->state = EMU_REST;
    wi_emu_change_locked(emu);
}

bool wi_emu_perform_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    struct emu_operation *operation = stream->first;
    struct wi_emu_fault   fault;
    uint64_t              began_ns, spent_ns;

    if (wi_emu_fault_take_locked(emu, WI_EMU_EXECUTE, &fault)) {
        operation->end_ns += fault.delay_ns;
        if (fault.code != 0 || (fault.flags & WI_EMU_FAULT_STICKY)) wi_emu_lose_locked(emu);
    }
    if (emu->lost) {
        abandon_locked(emu, stream);
        return false;
    }
    emu->stats.calls[WI_EMU_EXECUTE]++;

    pthread_mutex_unlock(&emu->lock);
    began_ns = weir_clock_ns();
    perform(operation);
    spent_ns = weir_clock_ns() - began_ns;
    pthread_mutex_lock(&emu->lock);

    if (emu->lost) {
        abandon_locked(emu, stream);
        return false;
    }
    if (operation->task == EMU_TASK_COPY) learn_rate_locked(emu, operation->move.bytes, spent_ns);
    if (emu->opts.clock == WI_EMU_REAL && operation->end_ns < operation->start_ns + spent_ns)
        operation->end_ns = operation->start_ns + spent_ns;
    return true;
}

void wi_emu_timer_run_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    struct emu_operation *operation = stream->first;
    struct emu_engine    *engine = &emu->engines[operation->engine];
    bool                  engaged = operation->task != EMU_TASK_DELAY;

    if (emu->lost) {
        abandon_locked(emu, stream);
        return;
    }
    if (stream->phase == EMU_TO_DO) {
        if (!wi_emu_perform_locked(emu, stream)) return;
        if (operation->end_ns > weir_clock_ns()) {
            stream->phase = EMU_DONE;
            timer_add_locked(emu, stream, operation->end_ns);
            return;
        }
    }
    if (engaged) {
        engine->busy = false;
        engine->free_ns = operation->end_ns;
    }
    stream->state = EMU_REST;
    wi_emu_operation_end_locked(emu, stream);
    if (engaged) engine_start_locked(emu, engine);
    wi_emu_ready_locked(emu, stream);
    wi_emu_settle_locked(emu);
}
