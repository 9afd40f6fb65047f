/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h - the backend contract: everything weir asks of a device
 *
 * A backend is one table of functions. `host` emulates a device with threads; `cuda` talks to the
 * driver. One conformance suite (test/device/) checks every sentence below on each of them.
 *
 * Common to all operations
 *   - int results: 0 on success, a recorded WEIR_E* (base/fail.h, with .call naming the driver call) on
 *     failure. Outputs are written only on success and are then never NULL or 0.
 *   - May be called from any thread. A backend restores the caller's driver state (current context).
 *   - WEIR_EDEVICE means that the device is lost: it is sticky, `lost` answers true from then on, and
 *     every later call answers WEIR_EDEVICE at once without touching the driver.
 *   - Handles are opaque pointers that belong to their device. A handle passed in must be live.
 *   - "Stream order": work on one stream runs in the order in which it was queued; streams are
 *     otherwise independent.
 *   - No operation but open, close, the allocation group and event_sync may block for device work.
 *
 *   host_register   pre: page-aligned range, not registered. post: device reads and writes it at *address.
 *                   INVAL: it touches a registered range. Slow (a driver-wide lock): only the monitor calls it.
 *   host_unregister pre: a registered base, no device work pending on the range.
 *   host_alloc/free the fallback where registering fails: the driver allocates pinned memory itself.
 *   device_alloc    post: *address is 256-byte aligned. NULL budget knowledge: budgets are the caller's.
 *   stream_create   priority is the driver's number: lower is more urgent, clamped to the device's range.
 *   stream_priority *priority = the driver's number that the stream really has.
 *   stream_destroy  returns at once; queued work completes.
 *   stream_query    0 drained, WEIR_EAGAIN work pending (not recorded as a failure).
 *   stream_capture  *capturing = the stream is being captured into a graph.
 *   event_create    flags: WI_EVENT_TIMING or 0. An event that was never recorded answers "passed".
 *   event_destroy   returns at once, also while the record is pending.
 *   event_record    the event now marks the stream's present end; an earlier mark is forgotten.
 *   event_query     0 passed, WEIR_EAGAIN not yet (not recorded as a failure). Error: the device is lost
 *                   or the work before the event failed.
 *   event_sync      blocks in the driver until passed. Never called by the keeper or by requests.
 *   event_elapsed   both recorded with timing and passed; else WEIR_EINVAL or WEIR_EAGAIN.
 *   stream_wait     what is queued on the stream later runs after the event's present mark.
 *   copy            queued; the source is read when the stream reaches the copy, not at the call.
 *                   pre: both ranges lie inside one registration or allocation each. The emulated device answers
 *                   INVAL if not; a driver may, or may lose the device. Host memory in none is pageable: the call may
 *                   block until the copy is done.
 *   copy_batch      count independent copies, one driver call where there is one; else NULL in the table.
 *   fill            queued memset of device memory.
 *   call            queued host function; runs on a driver thread; not run after a device loss. It must not
 *                   call the device, nor wait for another host function: they may run one at a time.
 *   delay           queued pause of the stream.
 */
#ifndef WI_DEVICE_H
#define WI_DEVICE_H

#include "base/atomic.h"
#include "base/base.h"

#include <weir/runtime.h>

struct wi_device;

enum wi_event_flags { WI_EVENT_TIMING = 1 };
enum wi_copy_kind { WI_COPY_UP = 1, WI_COPY_DOWN, WI_COPY_DEVICE };
/* The host may write to the source meanwhile: whoever asks finds out, and throws the copy away. */
enum wi_copy_flags { WI_COPY_CROSSED = 1 };

struct wi_copy {
    uint64_t dst; /* device address, or host pointer as integer */
    uint64_t src;
    size_t   bytes;
    uint32_t kind;  /* enum wi_copy_kind */
    uint32_t flags; /* enum wi_copy_flags */
};

struct wi_device_ops {
    const char *name;
    int (*open)(uint32_t ordinal, struct wi_device **out);
    void (*close)(struct wi_device *device); /* all handles are gone, or the device is lost */
    void (*info)(struct wi_device *device, struct weir_runtime_info *out);
    int (*memory)(struct wi_device *device, uint64_t *bytes_free, uint64_t *bytes_total);

    int (*host_register)(struct wi_device *device, void *base, size_t bytes, uint64_t *address);
    int (*host_unregister)(struct wi_device *device, void *base, size_t bytes);
    int (*host_alloc)(struct wi_device *device, size_t bytes, void **base, uint64_t *address);
    int (*host_free)(struct wi_device *device, void *base, size_t bytes);
    int (*device_alloc)(struct wi_device *device, size_t bytes, uint64_t *address);
    int (*device_free)(struct wi_device *device, uint64_t address);

    int (*stream_create)(struct wi_device *device, int32_t priority, void **stream);
    int (*stream_priority)(struct wi_device *device, void *stream, int32_t *priority);
    int (*stream_destroy)(struct wi_device *device, void *stream);
    int (*stream_query)(struct wi_device *device, void *stream);
    int (*stream_wait)(struct wi_device *device, void *stream, void *event);
    int (*stream_capture)(struct wi_device *device, void *stream, bool *capturing);

    int (*event_create)(struct wi_device *device, uint32_t flags, void **event);
    int (*event_destroy)(struct wi_device *device, void *event);
    int (*event_record)(struct wi_device *device, void *event, void *stream);
    int (*event_query)(struct wi_device *device, void *event);
    int (*event_sync)(struct wi_device *device, void *event);
    int (*event_elapsed)(struct wi_device *device, void *start, void *end, uint64_t *ns);

    int (*copy)(struct wi_device *device, const struct wi_copy *copy, void *stream);
    int (*copy_batch)(struct wi_device *device, const struct wi_copy *copies, size_t count, void *stream);
    int (*fill)(struct wi_device *device, uint64_t dst, uint8_t byte, size_t bytes, void *stream);
    int (*call)(struct wi_device *device, void (*fn)(void *), void *ctx, void *stream);
    int (*delay)(struct wi_device *device, uint64_t ns, void *stream);
};

/* First member of every backend's device. */
struct wi_device {
    const struct wi_device_ops *ops;
    uint32_t                    ordinal;
    _Atomic uint32_t            lost;  /* 1: the device is lost; set once, by wi_device_lose() */
    _Atomic uint64_t            calls; /* driver calls made, for stats and tests */
    /* Those that only ask for or change the calling thread's state: its context, its capture mode. Not in `calls`. */
    _Atomic uint64_t thread_calls;
    /* Told once, by whoever finds the loss, on any thread: must not block. Set before the device is shared; or NULL. */
    void (*lost_fn)(void *ctx);
    void  *lost_ctx;
};

/* The backend's, when a call has found the device lost. */
static inline void wi_device_lose(struct wi_device *device)
{
    /* order(device-lost): release; pairs with the acquire before each operation. */
    if (wi_exchange(&device->lost, 1, acq_rel) == 0 && device->lost_fn) device->lost_fn(device->lost_ctx);
}

extern const struct wi_device_ops wi_device_host;
extern const struct wi_device_ops wi_device_cuda;

/*
 * wi_device_open - open `backend`, or choose: WEIR_BACKEND, else cuda where it works, else host
 *
 * Fails: NODRIVER (asked for cuda, with the reason), INVAL (no such backend), NOENT (no such ordinal).
 */
int wi_device_open(const char *backend, uint32_t ordinal, struct wi_device **out);

#endif
