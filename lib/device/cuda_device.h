/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_device.h - what the files of the cuda backend share
 *
 * Every operation has one shape:
 *
 *     WI_TRY(wi_cuda_enter(device, needs, &scope));         refused here: forked, lost, no context
 *     result = scope.cu->event_record(event, stream);       one driver call
 *     return wi_cuda_leave(&scope, WI_CUDA_WORK, "cuEventRecord", result);
 *
 * Leaving puts back what entering changed on the thread (its current context, its capture mode), counts
 * the calls, turns the driver's result into a recorded code, and notices that the device is lost.
 */
#ifndef WI_CUDA_DEVICE_H
#define WI_CUDA_DEVICE_H

#include "device/cuda_load.h"
#include "device/device.h"

struct wi_cuda {
    struct wi_device base; /* first: wi_device and wi_cuda are cast to each other */

    /* Fixed after open. */
    const struct wi_cu *cu;
    struct CUctx_st    *context; /* the primary context, retained */
    wi_cu_device        device;
    int32_t             priority_least;
    int32_t             priority_greatest;
    int32_t             numa_node;
    bool                host_is_address; /* a registered range has the same address on the device */
    uint64_t            bytes_total;
    char                name[96];

    /* Written by any thread. */
    _Atomic uint32_t lost_result; /* the driver's result that lost the device, 0 before */
    _Atomic(const char *) lost_call; /* static: the call that answered it */
    _Atomic uint64_t live;        /* streams, events and memory not yet given back */
};

/* What entering must arrange on the calling thread. */
enum wi_cuda_needs {
    WI_CUDA_CONTEXT = 1, /* the device's context is current */
    /*
     * The thread may make calls that the driver forbids while another thread captures a graph in the
     * global mode. They would invalidate that capture, which is not weir's to break.
     */
    WI_CUDA_RELAXED = 2
};

/* What a call is about decides how two of the driver's results are read. */
enum wi_cuda_subject {
    WI_CUDA_HOST_MEMORY = 1, /* out of memory is NOMEM */
    WI_CUDA_DEVICE_MEMORY,   /* out of memory is DEVMEM */
    WI_CUDA_OBJECT,          /* making or ending a stream or an event */
    WI_CUDA_WORK /* queued work: an unknown result loses the device, since nobody knows what was done */
};

struct wi_cuda_scope {
    struct wi_cuda     *cuda;
    const struct wi_cu *cu;
    bool                pushed;
    bool                relaxed;
    uint32_t            thread_calls; /* made for this one */
    unsigned            mode; /* the thread's own capture mode while relaxed */
};

static inline struct wi_cuda *wi_cuda_of(struct wi_device *device)
{
    return (struct wi_cuda *)device;
}

/* Fails: FORKED, DEVICE. */
int wi_cuda_enter(struct wi_device *device, uint32_t needs, struct wi_cuda_scope *scope);

int wi_cuda_leave_at(struct wi_cuda_scope *scope, enum wi_cuda_subject subject, const char *call,
                     wi_cu_result result, const char *file, unsigned line);
#define wi_cuda_leave(scope, subject, call, result)                                                \
    wi_cuda_leave_at(scope, subject, call, result, __FILE__, __LINE__)

/* As wi_cuda_leave(), for calls that end something: few callers can do anything about a failure, so it is logged too. */
int wi_cuda_kept_at(struct wi_cuda_scope *scope, enum wi_cuda_subject subject, const char *call,
                    wi_cu_result result, const char *file, unsigned line);
#define wi_cuda_leave_ending(scope, subject, call, result)                                         \
    (WI_LIKELY((result) == WI_CU_SUCCESS)                                                          \
         ? wi_cuda_leave(scope, subject, call, result)                                             \
         : wi_cuda_kept_at(scope, subject, call, result, __FILE__, __LINE__))

/* The code of a failed call, recorded; for calls outside a scope. */
int wi_cuda_failed_at(struct wi_cuda *cuda, enum wi_cuda_subject subject, const char *call,
                      wi_cu_result result, const char *file, unsigned line);
#define wi_cuda_failed(cuda, subject, call, result)                                                \
    wi_cuda_failed_at(cuda, subject, call, result, __FILE__, __LINE__)

/* A handle or a piece of memory was made, or given back. Law: live counts those between the two. */
static inline void wi_cuda_made(struct wi_cuda *cuda)
{
    wi_add(&cuda->live, 1, relaxed);
}

static inline void wi_cuda_gave_back(struct wi_cuda *cuda)
{
    wi_sub(&cuda->live, 1, relaxed);
}

/* Node of the PCI device `bus_id` by the files under `root` ("/sys/bus/pci/devices"), or -1. */
int32_t wi_cuda_numa_node(const char *root, const char *bus_id);

/* What a PCI device's link does now and could do, by the same files. "" and 0: cannot be read. */
struct wi_cuda_link {
    char     speed[32]; /* such as "32.0 GT/s PCIe" */
    char     speed_max[32];
    uint32_t width;
    uint32_t width_max;
};

struct wi_cuda_link wi_cuda_link_read(const char *root, const char *bus_id);

#define WI_PCI_DEVICES "/sys/bus/pci/devices"

/* The operations, by file. cuda.c puts them into the table. */
int wi_cuda_memory(struct wi_device *device, uint64_t *bytes_free, uint64_t *bytes_total);
int wi_cuda_host_register(struct wi_device *device, void *base, size_t bytes, uint64_t *address);
int wi_cuda_host_unregister(struct wi_device *device, void *base, size_t bytes);
int wi_cuda_host_alloc(struct wi_device *device, size_t bytes, void **base, uint64_t *address);
int wi_cuda_host_free(struct wi_device *device, void *base, size_t bytes);
int wi_cuda_device_alloc(struct wi_device *device, size_t bytes, uint64_t *address);
int wi_cuda_device_free(struct wi_device *device, uint64_t address);

int wi_cuda_stream_create(struct wi_device *device, int32_t priority, void **stream);
int wi_cuda_stream_priority(struct wi_device *device, void *stream, int32_t *priority);
int wi_cuda_stream_destroy(struct wi_device *device, void *stream);
int wi_cuda_stream_query(struct wi_device *device, void *stream);
int wi_cuda_stream_wait(struct wi_device *device, void *stream, void *event);
int wi_cuda_stream_capture(struct wi_device *device, void *stream, bool *capturing);
int wi_cuda_call(struct wi_device *device, void (*fn)(void *), void *ctx, void *stream);
int wi_cuda_delay(struct wi_device *device, uint64_t ns, void *stream);

int wi_cuda_event_create(struct wi_device *device, uint32_t flags, void **event);
int wi_cuda_event_destroy(struct wi_device *device, void *event);
int wi_cuda_event_record(struct wi_device *device, void *event, void *stream);
int wi_cuda_event_query(struct wi_device *device, void *event);
int wi_cuda_event_sync(struct wi_device *device, void *event);
int wi_cuda_event_elapsed(struct wi_device *device, void *start, void *end, uint64_t *ns);

int wi_cuda_copy(struct wi_device *device, const struct wi_copy *copy, void *stream);
int wi_cuda_copy_batch(struct wi_device *device, const struct wi_copy *copies, size_t count,
                       void *stream);
int wi_cuda_fill(struct wi_device *device, uint64_t dst, uint8_t byte, size_t bytes, void *stream);

#endif
