/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_capture.c - graph capture as far as others notice it, and the controls of the queues
 *
 * Law: fake.captures counts the streams whose `capturing` is set. Both change under fake.lock only.
 */
#include "fake_state.h"

#include <stdlib.h>
#include <unistd.h>

static _Thread_local unsigned thread_mode = WI_CU_CAPTURE_GLOBAL;

/* Streams in capture, found without a list: there are few, and only tests make them. */
#define CAPTURES_MAX 16
static struct CUstream_st *captured[CAPTURES_MAX];

/*
 * The rule of the driver: a thread in GLOBAL mode is barred by its own captures that are not relaxed and by
 * any global one; in THREAD_LOCAL mode by its own only; in RELAXED mode by none. The try breaks the captures.
 */
bool fake_capture_forbids(void)
{
    bool forbidden = false;
    if (thread_mode == WI_CU_CAPTURE_RELAXED) return false;
    pthread_mutex_lock(&fake.lock);
    for (size_t i = 0; i < CAPTURES_MAX; i++) {
        struct CUstream_st *stream = captured[i];
        if (stream == NULL || stream->capture_mode == WI_CU_CAPTURE_RELAXED) continue;
        bool own = stream->capture_thread == gettid();
        bool global =
            thread_mode == WI_CU_CAPTURE_GLOBAL && stream->capture_mode == WI_CU_CAPTURE_GLOBAL;
        if (!own && !global) continue;
        stream->invalidated = true;
        forbidden = true;
    }
    pthread_mutex_unlock(&fake.lock);
    return forbidden;
}

void fake_capture_forget(struct CUstream_st *stream)
{
    pthread_mutex_lock(&fake.lock);
    for (size_t i = 0; i < CAPTURES_MAX; i++) {
        if (captured[i] != stream) continue;
        captured[i] = NULL;
        wi_sub(&fake.captures, 1, release);
    }
    stream->capturing = false;
    pthread_mutex_unlock(&fake.lock);
}

FAKE_API wi_cu_result cuThreadExchangeStreamCaptureMode(unsigned *mode)
{
    wi_cu_result result = fake_enter(FAKE_cuThreadExchangeStreamCaptureMode, FAKE_PLAIN);
    if (result != WI_CU_SUCCESS) return result;
    unsigned before = thread_mode;
    if (*mode > WI_CU_CAPTURE_RELAXED) return WI_CU_INVALID_VALUE;
    thread_mode = *mode;
    *mode = before;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuStreamBeginCapture_v2(struct CUstream_st *handle, unsigned mode)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamBeginCapture_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    if (handle == WI_CU_STREAM_LEGACY) return WI_CU_STREAM_CAPTURE_UNSUPPORTED;
    struct CUstream_st *stream = fake_stream_of(handle);
    pthread_mutex_lock(&fake.lock);
    size_t at = 0;
    while (at < CAPTURES_MAX && captured[at] != NULL) at++;
    if (stream->capturing || at == CAPTURES_MAX || mode > WI_CU_CAPTURE_RELAXED) {
        result = WI_CU_INVALID_VALUE;
    } else {
        captured[at] = stream;
        stream->capturing = true;
        stream->invalidated = false;
        stream->capture_mode = mode;
        stream->capture_thread = gettid();
        wi_add(&fake.captures, 1, release);
    }
    pthread_mutex_unlock(&fake.lock);
    if (result == WI_CU_SUCCESS) wi_emu_capture_begin(stream->device->emu, stream->emu);
    return result;
}

FAKE_API wi_cu_result cuStreamEndCapture(struct CUstream_st *handle, struct CUgraph_st **graph)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamEndCapture, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct CUstream_st *stream = fake_stream_of(handle);
    if (!stream->capturing) return WI_CU_INVALID_VALUE;
    if (stream->capture_mode != WI_CU_CAPTURE_RELAXED && stream->capture_thread != gettid())
        return WI_CU_STREAM_CAPTURE_WRONG_THREAD;
    bool invalidated = stream->invalidated;
    fake_capture_forget(stream);
    wi_emu_capture_end(stream->device->emu, stream->emu);
    *graph = NULL;
    if (invalidated) return WI_CU_STREAM_CAPTURE_INVALIDATED;
    /* The graph is a token: nothing here can run it. */
    *graph = malloc(1);
    return *graph != NULL ? WI_CU_SUCCESS : WI_CU_OUT_OF_MEMORY;
}

FAKE_API wi_cu_result cuGraphDestroy(struct CUgraph_st *graph)
{
    wi_cu_result result = fake_enter(FAKE_cuGraphDestroy, FAKE_PLAIN);
    if (result == WI_CU_SUCCESS) free(graph);
    return result;
}

FAKE_API wi_cu_result cuStreamIsCapturing(struct CUstream_st *handle, unsigned *status)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamIsCapturing, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    struct CUstream_st *stream = fake_stream_of(handle);
    bool                capturing = false;
    int                 err = wi_emu_stream_capture(stream->device->emu, stream->emu, &capturing);
    if (err < 0) return fake_result(err, WI_CU_INVALID_VALUE);
    *status = !capturing ? 0 : stream->invalidated ? 2 : 1;
    return WI_CU_SUCCESS;
}

/* ---- controls ---- */

static void each_device(void (*apply)(struct wi_emu *emu, struct wi_emu_stream *stream))
{
    for (uint32_t i = 0; i < fake.devices_count; i++)
        if (fake.devices[i].emu != NULL) apply(fake.devices[i].emu, NULL);
}

FAKE_API void fakecuda_hold(struct CUstream_st *stream)
{
    if (stream == NULL)
        each_device(wi_emu_hold);
    else
        wi_emu_hold(fake_stream_of(stream)->device->emu, stream->emu);
}

FAKE_API void fakecuda_release(struct CUstream_st *stream)
{
    if (stream == NULL)
        each_device(wi_emu_release);
    else
        wi_emu_release(fake_stream_of(stream)->device->emu, stream->emu);
}

FAKE_API void fakecuda_permit(struct CUstream_st *stream, uint64_t count)
{
    wi_emu_permit(fake_stream_of(stream)->device->emu, stream->emu, count);
}

FAKE_API int fakecuda_step(void)
{
    for (uint32_t i = 0; i < fake.devices_count; i++)
        if (fake.devices[i].emu != NULL && wi_emu_step(fake.devices[i].emu) > 0) return 1;
    return 0;
}

FAKE_API uint64_t fakecuda_run(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < fake.devices_count; i++)
        if (fake.devices[i].emu != NULL) sum += wi_emu_run(fake.devices[i].emu);
    return sum;
}
