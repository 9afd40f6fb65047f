/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu_virtual.c - the virtual clock: one operation of one stream at a time, of the seed's choice
 *
 * A step does the first operation of a stream that can move, from begin to end. Each order in which a device
 * could finish its streams' work is the order of some seed. The same calls and the same seed give the same order.
 */
#include "device/emu_state.h"

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t random_next_locked(struct wi_emu *emu)
{
    uint64_t mixed = (emu->random += UINT64_C(0x9e3779b97f4a7c15));

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

static bool can_move_locked(const struct wi_emu *emu, const struct wi_emu_stream *stream)
{
    if (stream->state != EMU_REST || stream->first == NULL) return false;
    if ((emu->held || stream->held) && stream->permits == 0) return false;
    return stream->first->task != EMU_TASK_WAIT ||
           stream->first->ticket->state != EMU_TICKET_PENDING;
}

/* Each candidate with the same chance, in one pass: the nth replaces the choice with chance 1/n. */
static struct wi_emu_stream *choose_locked(struct wi_emu *emu)
{
    struct wi_emu_stream *choice = NULL;
    uint64_t              candidates = 0;

    for (struct wi_emu_stream *stream = emu->alive; stream != NULL; stream = stream->alive_next) {
        if (!can_move_locked(emu, stream)) continue;
        candidates++;
        if (candidates == 1 || random_next_locked(emu) % candidates == 0) choice = stream;
    }
    return choice;
}

static uint64_t latest(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns > b_ns ? a_ns : b_ns;
}

/* Returns false if the device was lost on the way. */
static bool do_first_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    struct emu_operation *operation = stream->first;
    struct emu_engine    *engine = &emu->engines[operation->engine];
    bool                  done;

    stream->time_ns = latest(stream->time_ns, operation->queued_ns);
    operation->start_ns = stream->time_ns;
    switch (operation->task) {
    case EMU_TASK_RECORD:
        operation->end_ns = operation->start_ns;
        wi_emu_ticket_pass_locked(emu, operation->ticket, operation->end_ns);
        return true;
    case EMU_TASK_WAIT:
        operation->end_ns = operation->ticket->stamp_ns;
        return true;
    case EMU_TASK_DELAY:
        operation->end_ns = operation->start_ns + operation->cost_ns;
        return true;
    default:
        operation->start_ns = latest(operation->start_ns, engine->free_ns);
        operation->end_ns = operation->start_ns + operation->cost_ns;
        stream->state = EMU_RUNNING;
        emu->running++;
        done = wi_emu_perform_locked(emu, stream);
        emu->running--;
        if (!done) return false;
        stream->state = EMU_REST;
        engine->free_ns = latest(engine->free_ns, operation->end_ns);
        return true;
    }
}

int wi_emu_step_locked(struct wi_emu *emu)
{
    struct wi_emu_stream *stream = emu->lost ? NULL : choose_locked(emu);

    if (stream == NULL) return 0;
    (void)wi_emu_begin_locked(emu, stream);
    if (do_first_locked(emu, stream)) {
        emu->now_ns = latest(emu->now_ns, stream->first->end_ns);
        wi_emu_operation_end_locked(emu, stream);
        if (stream->first == NULL && stream->destroyed) wi_emu_stream_retire_locked(emu, stream);
    }
    wi_emu_change_locked(emu);
    return 1;
}

int wi_emu_step(struct wi_emu *emu)
{
    int moved;

    if (emu->opts.clock != WI_EMU_VIRTUAL) return 0;
    pthread_mutex_lock(&emu->lock);
    moved = wi_emu_step_locked(emu);
    wi_emu_leave(emu, 0);
    return moved;
}

uint64_t wi_emu_run(struct wi_emu *emu)
{
    uint64_t steps = 0;

    pthread_mutex_lock(&emu->lock);
    if (emu->opts.clock == WI_EMU_VIRTUAL)
        while (wi_emu_step_locked(emu)) steps++;
    /* A step of another thread, or a worker, may still be under way. */
    while (!wi_emu_quiet_locked(emu)) wi_emu_pause_locked(emu);
    wi_assert_costly(wi_emu_check_locked(emu));
    wi_emu_leave(emu, 0);
    return steps;
}

void wi_emu_clock_advance(struct wi_emu *emu, uint64_t ns)
{
    pthread_mutex_lock(&emu->lock);
    emu->now_ns += ns;
    pthread_mutex_unlock(&emu->lock);
}
