/* SPDX-License-Identifier: Apache-2.0 */
/* fake_stream.c - streams, events and host functions */
#include "fake_state.h"

#include <stdlib.h>

/* ---- handles ---- */

struct CUstream_st *fake_stream_of(struct CUstream_st *handle)
{
    if (handle == NULL) fake_misuse("the NULL stream, which means another one to each caller");
    if (handle == WI_CU_STREAM_LEGACY || handle == WI_CU_STREAM_PER_THREAD) {
        struct CUctx_st *current = fake_current();
        if (current == NULL || current->destroyed) fake_misuse("a default stream of no context");
        return handle == WI_CU_STREAM_LEGACY ? &current->device->legacy
                                             : &current->device->per_thread;
    }
    if (handle->magic == FAKE_DEAD) fake_misuse("stream %p was destroyed", (void *)handle);
    if (handle->magic != FAKE_STREAM) fake_misuse("%p is no stream", (void *)handle);
    return handle;
}

struct CUevent_st *fake_event_of(struct CUevent_st *handle)
{
    if (handle == NULL) fake_misuse("the NULL event");
    if (handle->magic == FAKE_DEAD) fake_misuse("event %p was destroyed", (void *)handle);
    if (handle->magic != FAKE_EVENT) fake_misuse("%p is no event", (void *)handle);
    return handle;
}

struct CUstream_st *fake_stream_here(struct CUstream_st *handle, wi_cu_result *result)
{
    struct CUstream_st *stream = fake_stream_of(handle);
    if (stream->device == fake_current_device()) return stream;
    *result = WI_CU_INVALID_HANDLE;
    return NULL;
}

static void init_stream(struct CUstream_st *stream, struct fake_device *device,
                        struct wi_emu_stream *emu)
{
    *stream = (struct CUstream_st){.magic = FAKE_STREAM, .device = device, .emu = emu};
}

void fake_context_made(struct fake_device *device)
{
    struct wi_emu_stream *emu[2];
    for (size_t i = 0; i < 2; i++)
        if (wi_emu_stream_create(device->emu, 0, &emu[i]) < 0) fake_misuse("%s", wi_emu_reason());
    init_stream(&device->legacy, device, emu[0]);
    init_stream(&device->per_thread, device, emu[1]);
}

void fake_context_ending(struct fake_device *device)
{
    (void)wi_emu_stream_destroy(device->emu, device->legacy.emu);
    (void)wi_emu_stream_destroy(device->emu, device->per_thread.emu);
    device->legacy.magic = FAKE_DEAD;
    device->per_thread.magic = FAKE_DEAD;
}

/* ---- streams ---- */

FAKE_API wi_cu_result cuStreamCreateWithPriority(struct CUstream_st **stream, unsigned flags,
                                                 int priority)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamCreateWithPriority, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    if (flags & ~1u) return WI_CU_INVALID_VALUE;
    struct wi_emu_stream *emu = NULL;
    struct fake_device   *device = fake_current_device();
    result = fake_result(wi_emu_stream_create(device->emu, priority, &emu), WI_CU_INVALID_VALUE);
    if (result != WI_CU_SUCCESS) return result;
    struct CUstream_st *made = malloc(sizeof(*made));
    if (made == NULL) fake_misuse("out of memory");
    init_stream(made, device, emu);
    *stream = made;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuStreamDestroy_v2(struct CUstream_st *handle)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamDestroy_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    if (handle == WI_CU_STREAM_LEGACY || handle == WI_CU_STREAM_PER_THREAD)
        return WI_CU_INVALID_HANDLE;
    struct CUstream_st *stream = fake_stream_of(handle);
    result =
        fake_result(wi_emu_stream_destroy(stream->device->emu, stream->emu), WI_CU_INVALID_HANDLE);
    if (result != WI_CU_SUCCESS) return result;
    fake_capture_forget(stream);
    pthread_mutex_lock(&fake.lock);
    stream->magic = FAKE_DEAD;
    stream->next_dead = fake.dead_streams;
    fake.dead_streams = stream;
    pthread_mutex_unlock(&fake.lock);
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuStreamQuery(struct CUstream_st *handle)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamQuery, FAKE_CONTEXT | FAKE_UNSAFE);
    if (result != WI_CU_SUCCESS) return result;
    struct CUstream_st *stream = fake_stream_of(handle);
    return fake_result(wi_emu_stream_query(stream->device->emu, stream->emu), WI_CU_INVALID_HANDLE);
}

/* The emulation waits for events only, so one is recorded behind all that is queued. */
FAKE_API wi_cu_result cuStreamSynchronize(struct CUstream_st *handle)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamSynchronize, FAKE_CONTEXT | FAKE_UNSAFE);
    if (result != WI_CU_SUCCESS) return result;
    struct CUstream_st  *stream = fake_stream_of(handle);
    struct wi_emu       *emu = stream->device->emu;
    struct wi_emu_event *mark = NULL;
    int                  err = wi_emu_event_create(emu, 0, &mark);
    if (err < 0) return fake_result(err, WI_CU_INVALID_VALUE);
    err = wi_emu_event_record(emu, mark, stream->emu);
    if (err == 0) err = wi_emu_event_sync(emu, mark);
    (void)wi_emu_event_destroy(emu, mark);
    return fake_result(err, WI_CU_INVALID_HANDLE);
}

FAKE_API wi_cu_result cuStreamWaitEvent(struct CUstream_st *handle, struct CUevent_st *waited,
                                        unsigned flags)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamWaitEvent, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    if (flags & ~1u) return WI_CU_INVALID_VALUE;
    struct CUstream_st *stream = fake_stream_of(handle);
    struct CUevent_st  *event = fake_event_of(waited);
    /* A driver allows this; each emulated device has a clock of its own, so the double does not. */
    if (stream->device != event->device) fake_misuse("a wait for an event of another device");
    return fake_result(wi_emu_stream_wait(stream->device->emu, stream->emu, event->emu),
                       WI_CU_INVALID_HANDLE);
}

FAKE_API wi_cu_result cuStreamGetPriority(struct CUstream_st *handle, int *priority)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamGetPriority, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    *priority = wi_emu_stream_priority(fake_stream_of(handle)->emu);
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuStreamGetCtx(struct CUstream_st *handle, struct CUctx_st **context)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamGetCtx, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    *context = fake_stream_of(handle)->device->context;
    return WI_CU_SUCCESS;
}

/* The form that a caller who asks for the newest gets: it writes through a third argument. */
FAKE_API wi_cu_result cuStreamGetCtx_v2(struct CUstream_st *handle, struct CUctx_st **context,
                                        void **green)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamGetCtx_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    *context = fake_stream_of(handle)->device->context;
    *green = NULL;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuLaunchHostFunc(struct CUstream_st *handle, wi_cu_host_fn *fn, void *ctx)
{
    wi_cu_result result = fake_enter(FAKE_cuLaunchHostFunc, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct CUstream_st *stream = fake_stream_here(handle, &result);
    if (stream == NULL) return result;
    return fake_result(wi_emu_call(stream->device->emu, fn, ctx, stream->emu), WI_CU_INVALID_VALUE);
}

/* ---- events ---- */

FAKE_API wi_cu_result cuEventCreate(struct CUevent_st **event, unsigned flags)
{
    wi_cu_result result = fake_enter(FAKE_cuEventCreate, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    if (flags & ~7u) return WI_CU_INVALID_VALUE;
    struct wi_emu_event *emu = NULL;
    struct fake_device  *device = fake_current_device();
    uint32_t             emu_flags = flags & WI_CU_EVENT_DISABLE_TIMING ? 0 : WI_EVENT_TIMING;
    result = fake_result(wi_emu_event_create(device->emu, emu_flags, &emu), WI_CU_INVALID_VALUE);
    if (result != WI_CU_SUCCESS) return result;
    struct CUevent_st *made = malloc(sizeof(*made));
    if (made == NULL) fake_misuse("out of memory");
    *made = (struct CUevent_st){.magic = FAKE_EVENT, .device = device, .emu = emu};
    *event = made;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuEventDestroy_v2(struct CUevent_st *handle)
{
    wi_cu_result result = fake_enter(FAKE_cuEventDestroy_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct CUevent_st *event = fake_event_of(handle);
    result =
        fake_result(wi_emu_event_destroy(event->device->emu, event->emu), WI_CU_INVALID_HANDLE);
    if (result != WI_CU_SUCCESS) return result;
    pthread_mutex_lock(&fake.lock);
    event->magic = FAKE_DEAD;
    event->next_dead = fake.dead_events;
    fake.dead_events = event;
    pthread_mutex_unlock(&fake.lock);
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuEventRecord(struct CUevent_st *marked, struct CUstream_st *handle)
{
    wi_cu_result result = fake_enter(FAKE_cuEventRecord, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct CUstream_st *stream = fake_stream_here(handle, &result);
    struct CUevent_st  *event = fake_event_of(marked);
    if (stream == NULL) return result;
    if (event->device != stream->device) return WI_CU_INVALID_HANDLE;
    return fake_result(wi_emu_event_record(event->device->emu, event->emu, stream->emu),
                       WI_CU_INVALID_HANDLE);
}

/* Needs no context: the call is documented without that failure. */
FAKE_API wi_cu_result cuEventQuery(struct CUevent_st *handle)
{
    wi_cu_result result = fake_enter(FAKE_cuEventQuery, FAKE_UNSAFE);
    if (result != WI_CU_SUCCESS) return result;
    struct CUevent_st *event = fake_event_of(handle);
    int                err = wi_emu_event_query(event->device->emu, event->emu);
    return err == WEIR_ECAPTURE ? WI_CU_CAPTURED_EVENT : fake_result(err, WI_CU_INVALID_HANDLE);
}

FAKE_API wi_cu_result cuEventSynchronize(struct CUevent_st *handle)
{
    wi_cu_result result = fake_enter(FAKE_cuEventSynchronize, FAKE_CONTEXT | FAKE_UNSAFE);
    if (result != WI_CU_SUCCESS) return result;
    struct CUevent_st *event = fake_event_of(handle);
    int                err = wi_emu_event_sync(event->device->emu, event->emu);
    return err == WEIR_ECAPTURE ? WI_CU_CAPTURED_EVENT : fake_result(err, WI_CU_INVALID_HANDLE);
}

static wi_cu_result elapsed(float *milliseconds, struct CUevent_st *start, struct CUevent_st *end)
{
    struct CUevent_st *first = fake_event_of(start);
    struct CUevent_st *last = fake_event_of(end);
    uint64_t           ns = 0;
    if (first->device != last->device) return WI_CU_INVALID_HANDLE;
    int err = wi_emu_event_elapsed(first->device->emu, first->emu, last->emu, &ns);
    if (err == WEIR_ECAPTURE) return WI_CU_CAPTURED_EVENT;
    if (err < 0) return fake_result(err, WI_CU_INVALID_HANDLE);
    *milliseconds = (float)((double)ns / (double)WI_NS_PER_MS);
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuEventElapsedTime(float *milliseconds, struct CUevent_st *start,
                                         struct CUevent_st *end)
{
    wi_cu_result result = fake_enter(FAKE_cuEventElapsedTime, FAKE_CONTEXT);
    return result != WI_CU_SUCCESS ? result : elapsed(milliseconds, start, end);
}

FAKE_API wi_cu_result cuEventElapsedTime_v2(float *milliseconds, struct CUevent_st *start,
                                            struct CUevent_st *end)
{
    wi_cu_result result = fake_enter(FAKE_cuEventElapsedTime_v2, FAKE_CONTEXT);
    return result != WI_CU_SUCCESS ? result : elapsed(milliseconds, start, end);
}
