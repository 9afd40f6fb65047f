/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_stream.c - streams, events and host functions */
#include "device/cuda_device.h"

#include <errno.h>
#include <time.h>

#define QUEUE_NEEDS  WI_CUDA_CONTEXT
#define OBJECT_NEEDS (WI_CUDA_CONTEXT | WI_CUDA_RELAXED)

int wi_cuda_stream_create(struct wi_device *device, int32_t priority, void **stream)
{
    struct wi_cuda      *cuda = wi_cuda_of(device);
    struct wi_cuda_scope scope;
    struct CUstream_st  *made = NULL;
    WI_TRY(wi_cuda_enter(device, OBJECT_NEEDS, &scope));
    /*
     * Non-blocking: it does not wait for the legacy default stream of the host program. The driver clamps the
     * priority to the device's range.
     */
    wi_cu_result result = scope.cu->stream_create(&made, WI_CU_STREAM_NON_BLOCKING, priority);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_OBJECT, "cuStreamCreateWithPriority", result));
    wi_cuda_made(cuda);
    *stream = made;
    return 0;
}

int wi_cuda_stream_priority(struct wi_device *device, void *stream, int32_t *priority)
{
    struct wi_cuda_scope scope;
    int                  number = 0;
    WI_TRY(wi_cuda_enter(device, QUEUE_NEEDS, &scope));
    wi_cu_result result = scope.cu->stream_priority(stream, &number);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_WORK, "cuStreamGetPriority", result));
    *priority = number;
    return 0;
}

int wi_cuda_stream_destroy(struct wi_device *device, void *stream)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, OBJECT_NEEDS, &scope));
    wi_cu_result result = scope.cu->stream_destroy(stream);
    WI_TRY(wi_cuda_leave_ending(&scope, WI_CUDA_OBJECT, "cuStreamDestroy", result));
    wi_cuda_gave_back(wi_cuda_of(device));
    return 0;
}

int wi_cuda_stream_query(struct wi_device *device, void *stream)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, OBJECT_NEEDS, &scope));
    wi_cu_result result = scope.cu->stream_query(stream);
    return wi_cuda_leave(&scope, WI_CUDA_WORK, "cuStreamQuery", result);
}

int wi_cuda_stream_wait(struct wi_device *device, void *stream, void *event)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, QUEUE_NEEDS, &scope));
    wi_cu_result result = scope.cu->stream_wait(stream, event, 0);
    return wi_cuda_leave(&scope, WI_CUDA_WORK, "cuStreamWaitEvent", result);
}

int wi_cuda_stream_capture(struct wi_device *device, void *stream, bool *capturing)
{
    struct wi_cuda_scope scope;
    unsigned             status = WI_CU_CAPTURE_NONE;
    WI_TRY(wi_cuda_enter(device, QUEUE_NEEDS, &scope));
    wi_cu_result result = scope.cu->stream_capturing(stream, &status);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_WORK, "cuStreamIsCapturing", result));
    /* An invalidated capture still owns the stream until its owner ends it. */
    *capturing = status != WI_CU_CAPTURE_NONE;
    return 0;
}

int wi_cuda_call(struct wi_device *device, void (*fn)(void *), void *ctx, void *stream)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, QUEUE_NEEDS, &scope));
    wi_cu_result result = scope.cu->call(stream, fn, ctx);
    return wi_cuda_leave(&scope, WI_CUDA_WORK, "cuLaunchHostFunc", result);
}

/* Runs on a thread of the driver; the duration travels in the pointer, so that nothing has to be freed. */
static void pause_here(void *ctx)
{
    uint64_t        ns = (uintptr_t)ctx;
    struct timespec left = {
        .tv_sec = (time_t)(ns / WI_NS_PER_S),
        .tv_nsec = (long)(ns % WI_NS_PER_S),
    };
    /* tidy-allow: clock_nanosleep, because keeping the stream busy for a time is what was asked for. */
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) continue;
}

_Static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "a duration fits a pointer");

int wi_cuda_delay(struct wi_device *device, uint64_t ns, void *stream)
{
    return wi_cuda_call(device, pause_here, (void *)(uintptr_t)ns, stream);
}

int wi_cuda_event_create(struct wi_device *device, uint32_t flags, void **event)
{
    struct wi_cuda_scope scope;
    struct CUevent_st   *made = NULL;
    /* Timing costs the device a time stamp and the caller several times the record. */
    unsigned driver_flags = flags & WI_EVENT_TIMING ? 0 : WI_CU_EVENT_DISABLE_TIMING;
    WI_TRY(wi_cuda_enter(device, OBJECT_NEEDS, &scope));
    wi_cu_result result = scope.cu->event_create(&made, driver_flags);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_OBJECT, "cuEventCreate", result));
    wi_cuda_made(wi_cuda_of(device));
    *event = made;
    return 0;
}

int wi_cuda_event_destroy(struct wi_device *device, void *event)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, OBJECT_NEEDS, &scope));
    wi_cu_result result = scope.cu->event_destroy(event);
    WI_TRY(wi_cuda_leave_ending(&scope, WI_CUDA_OBJECT, "cuEventDestroy", result));
    wi_cuda_gave_back(wi_cuda_of(device));
    return 0;
}

int wi_cuda_event_record(struct wi_device *device, void *event, void *stream)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, QUEUE_NEEDS, &scope));
    wi_cu_result result = scope.cu->event_record(event, stream);
    return wi_cuda_leave(&scope, WI_CUDA_WORK, "cuEventRecord", result);
}

/*
 * The keeper's call. It is forbidden beside a global capture unless relaxed. It is documented to need no
 * context; one is set nevertheless, because an invalid context would count as a lost device.
 */
int wi_cuda_event_query(struct wi_device *device, void *event)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, OBJECT_NEEDS, &scope));
    wi_cu_result result = scope.cu->event_query(event);
    return wi_cuda_leave(&scope, WI_CUDA_WORK, "cuEventQuery", result);
}

int wi_cuda_event_sync(struct wi_device *device, void *event)
{
    struct wi_cuda_scope scope;
    WI_TRY(wi_cuda_enter(device, OBJECT_NEEDS, &scope));
    wi_cu_result result = scope.cu->event_sync(event);
    return wi_cuda_leave(&scope, WI_CUDA_WORK, "cuEventSynchronize", result);
}

int wi_cuda_event_elapsed(struct wi_device *device, void *start, void *end, uint64_t *ns)
{
    struct wi_cuda_scope scope;
    float                milliseconds = 0;
    WI_TRY(wi_cuda_enter(device, OBJECT_NEEDS, &scope));
    wi_cu_result result = scope.cu->event_elapsed(&milliseconds, start, end);
    WI_TRY(wi_cuda_leave(&scope, WI_CUDA_OBJECT, "cuEventElapsedTime", result));
    /* Negative where the end was reached first. */
    *ns = milliseconds > 0 ? (uint64_t)((double)milliseconds * (double)WI_NS_PER_MS) : 0;
    return 0;
}
