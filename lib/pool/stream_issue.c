/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/stream_issue.h"

#include "pool/current.h"

static int ask_capture(struct wi_stream *stream, bool *capturing)
{
    struct wi_context *context = stream->context;
    *capturing = false;
    if (WI_LIKELY(!wi_load(&stream->outside, relaxed))) return 0;
    int err = context->device->ops->stream_capture(context->device, stream->handle, capturing);
    return err < 0 ? wi_issue_failed(context, err) : 0;
}

/* Another thread's per-thread default stream is another stream. */
static int check_thread(const struct wi_stream *stream)
{
    WI_ENSURE(!stream->thread || stream->thread == wi_thread_self(), INVAL,
              .detail = "a per-thread default stream is used by the thread that adopted it");
    return 0;
}

/* The graph may have been destroyed since, and its record may be in use for something else. */
static bool has_graph(const struct wi_stream *stream)
{
    if (!stream->graph) return false;
    uint64_t word = wi_load(&stream->graph->record->word, acquire);
    return wi_word_state(word) == WI_LEASED && word >> WI_GENERATION_SHIFT == stream->graph_generation;
}

int wi_issue_begin(const struct weir_stream *given, struct wi_stream **out, struct wi_stream **ticks)
{
    struct wi_stream *stream;
    bool              capturing;
    WI_TRY(wi_stream_given(given, &stream));
    WI_TRY(check_thread(stream));
    WI_TRY(ask_capture(stream, &capturing));
    *ticks = stream;
    if (WI_UNLIKELY(capturing)) {
        WI_ENSURE(has_graph(stream), CAPTURE,
                  .detail = "a captured stream needs a graph that keeps its buffers: weir_stream_capture_into()");
        *ticks = stream->graph;
    }
    *out = stream;
    return 0;
}

int wi_issue_check(struct wi_stream *stream)
{
    bool capturing;
    WI_TRY(check_thread(stream));
    WI_TRY(ask_capture(stream, &capturing));
    WI_ENSURE(!capturing, CAPTURE, .detail = "what is captured does not run, so it cannot be waited for");
    return 0;
}

int wi_issue_fence(struct wi_stream *stream, uint64_t *tick)
{
    int err = 0;
    *tick = wi_stream_end_tick(stream);
    if (!wi_load(&stream->outside, acquire) || wi_load(&stream->held, relaxed)) return 0;
    if (stream->thread && stream->thread != wi_thread_self()) return 0;
    /* Under the lock, because a sync of the whole runtime runs beside the end of an adoption. */
    pthread_mutex_lock(&stream->handle_lock);
    if (!wi_load(&stream->gone, acquire)) {
        err = wi_issue_check(stream);
        if (err >= 0) {
            wi_stream_touch(stream);
            *tick = wi_load(&stream->open, acquire) - 1;
        }
    }
    pthread_mutex_unlock(&stream->handle_lock);
    return err;
}

void wi_issue_seal(struct wi_stream *stream)
{
    bool capturing;
    if (WI_LIKELY(!wi_load(&stream->outside, relaxed))) return;
    if (wi_load(&stream->context->closed, acquire) >= 2 || ask_capture(stream, &capturing) < 0) return;
    if (!capturing) {
        wi_stream_touch(stream);
        wi_store(&stream->outside, 0, release);
        return;
    }
    /*
     * Released while it is being captured. An event would end up in the graph, so the tick stays open, and
     * the stream busy; the keeper closes it when the capture has ended.
     */
    wi_stream_queued(stream);
}
