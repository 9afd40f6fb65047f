/* SPDX-License-Identifier: Apache-2.0 */
/* ticks_life.c - streams as objects: made, bound to a handle, let go, freed; the letter D names the steps of ticks.h */
#include "base/alloc.h"
#include "pool/ticks.h"

static int take_number(struct wi_context *context, struct wi_stream *stream)
{
    int err = 0;
    pthread_mutex_lock(&context->stream_lock);
    uint32_t number = wi_load(&context->streams, relaxed);
    if (number == WI_STREAMS_MAX) {
        /* unreached: a runtime that could have more is refused. */
        err = WI_FAIL(EXCEEDS, .limit = "streams of a runtime", .limit_value = WI_STREAMS_MAX,
                      .wanted = WI_STREAMS_MAX + 1, .setting = "fewer streams per runtime");
    } else {
        stream->number = number;
        wi_store(&context->stream[number], stream, release);
        wi_store(&context->streams, number + 1, release);
    }
    pthread_mutex_unlock(&context->stream_lock);
    return err;
}

static struct wi_stream *new_stream(struct wi_context *context, uint32_t stream_class)
{
    struct wi_stream *stream = wi_calloc_aligned(_Alignof(struct wi_stream), 1, sizeof *stream);
    if (!stream) return NULL;
    stream->context = context;
    stream->stream_class = stream_class;
    wi_store(&stream->open, 1, relaxed);
    for (uint64_t tick = 1; tick <= WI_TICKS; tick++)
        wi_store(&stream->ring[tick % WI_TICKS].state, 2 * tick, relaxed);
    pthread_mutex_init(&stream->handle_lock, NULL);
    return stream;
}

int wi_stream_make(struct wi_context *context, uint32_t stream_class, int32_t priority,
                   struct wi_stream **out)
{
    const struct wi_device_ops *ops = context->device->ops;
    struct wi_stream           *stream = new_stream(context, stream_class);
    if (!stream) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a stream record");
    wi_store(&stream->priority, priority, relaxed);

    int err = ops->stream_create(context->device, priority, &stream->handle);
    if (err < 0) goto free_stream;
    err = take_number(context, stream);
    if (err < 0) goto destroy_handle;
    *out = stream;
    return 0;

/* unreached: there is a number for each stream that a runtime may have. */
destroy_handle:
    (void)ops->stream_destroy(context->device, stream->handle);
free_stream:
    pthread_mutex_destroy(&stream->handle_lock);
    wi_free(stream);
    return err;
}

int wi_stream_make_bare(struct wi_context *context, uint32_t stream_class, struct wi_stream **out)
{
    struct wi_stream *stream = new_stream(context, stream_class);
    if (!stream) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a stream record");
    stream->adopted = 1;
    wi_store(&stream->gone, 1, relaxed);
    int err = take_number(context, stream);
    if (err < 0) {
        /* unreached: there is a number for each that a runtime may have. */
        pthread_mutex_destroy(&stream->handle_lock);
        wi_free(stream);
        return err;
    }
    *out = stream;
    return 0;
}

bool wi_stream_drained(const struct wi_stream *stream)
{
    return !wi_load(&stream->failed, acquire) &&
           wi_load(&stream->passed, acquire) + 1 >= wi_load(&stream->open, acquire);
}

void wi_stream_bind(struct wi_stream *stream, void *handle)
{
    wi_assert(wi_load(&stream->gone, relaxed) && wi_stream_drained(stream)); /* D5 */
    pthread_mutex_lock(&stream->handle_lock);
    stream->handle = handle;
    /* seq_cst, as K4: the keeper that takes it for held still, and disarms, looks again and sees this. */
    wi_store(&stream->held, handle == NULL, seq_cst);
    wi_store(&stream->outside, 1, relaxed);
    wi_store(&stream->gone, 0, release);
    pthread_mutex_unlock(&stream->handle_lock);
}

void wi_stream_let_go(struct wi_stream *stream)
{
    pthread_mutex_lock(&stream->handle_lock);
    wi_store(&stream->gone, 1, release);
    pthread_mutex_unlock(&stream->handle_lock);
}

void wi_stream_end(struct wi_stream *stream)
{
    struct wi_context *context = stream->context;
    wi_stream_let_go(stream); /* D1 */
    if (!stream->adopted) (void)wi_tick_close(stream); /* D2: the last tick; on adopted streams it is closed already */
    if (!stream->adopted && !wi_load(&context->device->lost, relaxed)) /* D3: only then the handle */
        (void)context->device->ops->stream_destroy(context->device, stream->handle);
    wi_store(&stream->armed, 1, seq_cst); /* D4: a stream that is gone drains even with nothing retired */
    wi_kick(&context->keeper);
}

void wi_stream_free(struct wi_stream *stream)
{
    wi_assert(wi_load(&stream->gone, relaxed));
    struct wi_device *device = stream->context->device;
    for (unsigned i = 0; i < WI_TICKS; i++) {
        if (stream->ring[i].event && !wi_load(&device->lost, relaxed))
            (void)device->ops->event_destroy(device, stream->ring[i].event);
    }
    pthread_mutex_destroy(&stream->handle_lock);
    wi_free(stream);
}
