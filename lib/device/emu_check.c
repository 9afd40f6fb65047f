/* SPDX-License-Identifier: Apache-2.0 */
/* emu_check.c - the laws of the emulation's structures, walked in builds that check */
#include "device/emu_state.h"

static uint64_t list_length(const struct emu_list *list, enum emu_stream_state state)
{
    const struct wi_emu_stream *stream = list->first;
    uint64_t                    length = 0;

    for (; stream != NULL; stream = stream->next) {
        wi_require(stream->state == (uint32_t)state);
        wi_require(stream->first != NULL);
        length++;
    }
    return length;
}

static void check_ranges(const struct wi_emu *emu)
{
    uint64_t live =
        emu->stats.device_allocations + emu->stats.registrations + emu->stats.host_allocations;

    wi_require(emu->ranges_count == live);
    for (size_t i = 0; i < emu->ranges_count; i++) {
        wi_require(emu->ranges[i]->bytes > 0);
        if (i == 0) continue;
        wi_require(emu->ranges[i]->base - emu->ranges[i - 1]->base >= emu->ranges[i - 1]->bytes);
    }
}

static void check_timers(const struct wi_emu *emu)
{
    const struct wi_emu_stream *stream = emu->timers.first;

    for (; stream != NULL && stream->next != NULL; stream = stream->next)
        wi_require(stream->due_ns <= stream->next->due_ns);
    wi_require(stream == emu->timers.last);
}

/* Each stream is in the list of its state and in no other: so the lists together are as long as they should be. */
static void check_streams(const struct wi_emu *emu)
{
    uint64_t in_state[EMU_RUNNING + 1] = {0}, lined = 0, blocked = 0, alive = 0;

    for (const struct wi_emu_stream *stream = emu->alive; stream != NULL;
         stream = stream->alive_next) {
        wi_require(stream->state <= EMU_RUNNING);
        wi_require((stream->first == NULL) == (stream->last == NULL));
        wi_require((stream->magic == EMU_STREAM_ALIVE) == !stream->destroyed);
        in_state[stream->state]++;
        if (!stream->destroyed) alive++;
        if (stream->state != EMU_BLOCKED) continue;
        wi_require(stream->first->task == EMU_TASK_WAIT);
        wi_require(stream->first->ticket->state == EMU_TICKET_PENDING);
        blocked++;
    }
    for (size_t i = 0; i < EMU_ENGINES_COUNT; i++) {
        const struct emu_engine *engine = &emu->engines[i];

        lined += list_length(&engine->line, EMU_LINED);
        wi_require(engine->line.first == NULL || engine->busy);
    }
    wi_require(alive == emu->stats.streams);
    wi_require(in_state[EMU_READY] == 0);
    wi_require(in_state[EMU_BLOCKED] == blocked);
    wi_require(in_state[EMU_LINED] == lined);
    wi_require(in_state[EMU_TIMED] == list_length(&emu->timers, EMU_TIMED));
    wi_require(in_state[EMU_RUNNING] == emu->running);
}

bool wi_emu_check_locked(const struct wi_emu *emu)
{
    check_ranges(emu);
    check_timers(emu);
    check_streams(emu);
    wi_require(emu->misuse_text == NULL);
    wi_require(emu->workers_count <= emu->workers_max);
    wi_require(emu->idle + emu->leader <= emu->workers_count);
    return true;
}
