/* SPDX-License-Identifier: Apache-2.0 */
/* emu_stream.c - streams as objects, their capture state, and the holds that make completion deterministic */
#include "device/emu_state.h"

int wi_emu_stream_check_locked(struct wi_emu *emu, const struct wi_emu_stream *stream)
{
    if (WI_UNLIKELY(stream == NULL)) return wi_emu_refuse(WEIR_EINVAL, "the stream is NULL");
    if (WI_UNLIKELY(stream->magic != EMU_STREAM_ALIVE))
        return wi_emu_misuse_locked(emu, "use of a stream that was destroyed, or is none");
    return 0;
}

int wi_emu_stream_create(struct wi_emu *emu, int32_t priority, struct wi_emu_stream **out)
{
    struct wi_emu_stream *stream;

    WI_TRY(wi_emu_enter(emu, WI_EMU_STREAM_CREATE));
    stream = wi_emu_arena_take(&emu->streams);
    if (stream == NULL)
        return wi_emu_leave(emu, wi_emu_refuse(WEIR_ENOMEM, "no memory for a stream"));
    if (priority > WI_EMU_PRIORITY_LEAST) priority = WI_EMU_PRIORITY_LEAST;
    if (priority < WI_EMU_PRIORITY_GREATEST) priority = WI_EMU_PRIORITY_GREATEST;
    stream->magic = EMU_STREAM_ALIVE;
    stream->priority = priority;
    stream->alive_previous = emu->alive_last;
    if (emu->alive_last != NULL)
        emu->alive_last->alive_next = stream;
    else
        emu->alive = stream;
    emu->alive_last = stream;
    emu->stats.streams++;
    *out = stream;
    return wi_emu_leave(emu, 0);
}

void wi_emu_stream_retire_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    wi_assert(stream->destroyed && stream->first == NULL && stream->state == EMU_REST);
    if (stream->alive_previous != NULL)
        stream->alive_previous->alive_next = stream->alive_next;
    else
        emu->alive = stream->alive_next;
    if (stream->alive_next != NULL)
        stream->alive_next->alive_previous = stream->alive_previous;
    else
        emu->alive_last = stream->alive_previous;
    wi_emu_arena_retire(&emu->streams, stream);
}

int wi_emu_stream_destroy(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    int err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_STREAM_DESTROY));
    err = wi_emu_stream_check_locked(emu, stream);
    if (err < 0) return wi_emu_leave(emu, err);
    stream->magic = EMU_HANDLE_DEAD;
    stream->destroyed = true;
    stream->held = false; /* nobody could release it any more */
    emu->stats.streams--;
    if (stream->first == NULL) {
        wi_emu_stream_retire_locked(emu, stream);
    } else {
        wi_emu_ready_locked(emu, stream);
        wi_emu_settle_locked(emu);
    }
    return wi_emu_leave(emu, 0);
}

int wi_emu_stream_query(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    int err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_STREAM_QUERY));
    err = wi_emu_stream_check_locked(emu, stream);
    if (err == 0 && stream->capturing)
        err = wi_emu_refuse(WEIR_ECAPTURE, "the stream is being captured");
    if (err == 0 && stream->first != NULL) err = WEIR_EAGAIN;
    return wi_emu_leave(emu, err);
}

int wi_emu_stream_capture(struct wi_emu *emu, struct wi_emu_stream *stream, bool *capturing)
{
    int err;

    WI_TRY(wi_emu_enter(emu, WI_EMU_STREAM_CAPTURE));
    err = wi_emu_stream_check_locked(emu, stream);
    if (err == 0) *capturing = stream->capturing;
    return wi_emu_leave(emu, err);
}

int32_t wi_emu_stream_priority(const struct wi_emu_stream *stream)
{
    return stream->priority; /* fixed after creation */
}

static void set_capture(struct wi_emu *emu, struct wi_emu_stream *stream, bool capturing)
{
    int err;

    pthread_mutex_lock(&emu->lock);
    err = wi_emu_stream_check_locked(emu, stream);
    if (err == 0) stream->capturing = capturing;
    wi_emu_leave(emu, err);
}

void wi_emu_capture_begin(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    set_capture(emu, stream, true);
}

void wi_emu_capture_end(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    set_capture(emu, stream, false);
}

/* ---- holds ---- */

void wi_emu_hold(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    int err = 0;

    pthread_mutex_lock(&emu->lock);
    if (stream == NULL) {
        emu->held = true;
    } else {
        err = wi_emu_stream_check_locked(emu, stream);
        if (err == 0) stream->held = true;
    }
    wi_emu_leave(emu, err);
}

/* Its operations start no earlier than now: device time does not run while a stream is held. */
static void let_go_locked(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    uint64_t now_ns = wi_emu_now_locked(emu);

    if (stream->state == EMU_REST && stream->time_ns < now_ns) stream->time_ns = now_ns;
    wi_emu_ready_locked(emu, stream);
}

void wi_emu_release(struct wi_emu *emu, struct wi_emu_stream *stream)
{
    int err = 0;

    pthread_mutex_lock(&emu->lock);
    if (stream == NULL) {
        emu->held = false;
        for (struct wi_emu_stream *each = emu->alive; each != NULL; each = each->alive_next)
            let_go_locked(emu, each);
    } else {
        err = wi_emu_stream_check_locked(emu, stream);
        if (err == 0) {
            stream->held = false;
            stream->permits = 0;
            let_go_locked(emu, stream);
        }
    }
    wi_emu_settle_locked(emu);
    wi_emu_change_locked(emu);
    wi_emu_leave(emu, err);
}

void wi_emu_permit(struct wi_emu *emu, struct wi_emu_stream *stream, uint64_t count)
{
    int err;

    pthread_mutex_lock(&emu->lock);
    err = wi_emu_stream_check_locked(emu, stream);
    if (err == 0) {
        stream->permits += count;
        let_go_locked(emu, stream);
        wi_emu_settle_locked(emu);
        wi_emu_change_locked(emu);
    }
    wi_emu_leave(emu, err);
}
