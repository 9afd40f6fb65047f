/* SPDX-License-Identifier: Apache-2.0 */
/* host.c - the host backend: the contract of device.h on the emulated device of emu.h */
#include "device/host.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/settings.h"

#include <pthread.h>
#include <unistd.h>

struct host_device {
    struct wi_device    device;
    struct wi_emu      *emu;
    struct wi_emu_model model;
};

static struct host_device *host_of(struct wi_device *device)
{
    return WI_CONTAINER(device, struct host_device, device);
}

struct wi_emu *wi_host_emu(struct wi_device *device)
{
    wi_assert(device->ops == &wi_device_host);
    return host_of(device)->emu;
}

static void tell_misuse(void *ctx, const char *text)
{
    (void)ctx;
    wi_log(ERROR, "device", "host backend: %s", text);
}

/*
 * A forked child has none of the threads, and the lock may be held by one of them for ever.
 * Relaxed, because the child of fork has one thread.
 */
static _Atomic uint32_t forked;

static void child_after_fork(void)
{
    wi_store(&forked, 1, relaxed);
}

static void watch_for_fork(void)
{
    /* Fails for want of memory only; a child then hangs where it would have been told. */
    (void)pthread_atfork(NULL, NULL, child_after_fork);
}

/*
 * Every call goes through ENTER and answer(). In a forked child and on a lost device it ends here.
 * order(device-lost): acquire; pairs with wi_device_lose().
 */
#define ENTER(device)                                                                              \
    do {                                                                                           \
        if (WI_UNLIKELY(wi_load(&forked, relaxed))) return fail_forked();                          \
        if (WI_UNLIKELY(wi_load(&(device)->lost, acquire))) return fail_lost();                    \
        wi_add(&(device)->calls, 1, relaxed);                                                      \
    } while (0)

static WI_COLD int fail_forked(void)
{
    return WI_FAIL(FORKED, .detail = "the device was opened before this process was forked");
}

static WI_COLD int fail_lost(void)
{
    return WI_FAIL(DEVICE, .detail = "the device was lost by an earlier call");
}

static WI_COLD int fail(struct wi_device *device, int err, const char *call)
{
    struct wi_cause cause = {.call = call, .detail = wi_emu_reason()};

    if (err == WEIR_EDEVICE) wi_device_lose(device);
    return wi_fail_at(err, __FILE__, __LINE__, &cause);
}

/* "Not yet" is an answer and no failure. */
static int answer(struct wi_device *device, int err, const char *call)
{
    if (WI_LIKELY(err >= 0 || err == WEIR_EAGAIN)) return err;
    return fail(device, err, call);
}

/* ---- the device ---- */

static int model_read(struct wi_emu_model *model)
{
    wi_emu_model_init(model);
    if (wi_emu_model_parse(wi_settings()->host_model, model) < 0)
        return WI_FAIL(INVAL, .setting = "WEIR_HOST_MODEL",
                       .detail = "the cost model reads like up=25G,down=25G,latency=5us,memory=8G");
    return 0;
}

int wi_host_open(const struct wi_emu_opts *opts, uint32_t ordinal, struct wi_device **out)
{
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    struct wi_emu_opts    emu_opts = *opts;
    struct host_device   *host;
    int                   err;

    WI_ENSURE(ordinal < WI_HOST_DEVICES_COUNT, NOENT, .limit = "WI_HOST_DEVICES_COUNT",
              .limit_value = WI_HOST_DEVICES_COUNT, .wanted = ordinal,
              .detail = "the host backend has no device of this ordinal");
    pthread_once(&watched, watch_for_fork);
    if (wi_load(&forked, relaxed)) return fail_forked();
    host = wi_calloc(1, sizeof(*host));
    WI_ENSURE(host != NULL, NOMEM, .wanted = sizeof(*host), .call = "calloc");
    host->device.ops = &wi_device_host;
    host->device.ordinal = ordinal;
    host->model = opts->model;
    emu_opts.misuse = tell_misuse;
    emu_opts.ctx = host;
    err = wi_emu_create(&emu_opts, &host->emu);
    if (err < 0) {
        err = fail(&host->device, err, "emu_create");
        wi_free(host);
        return err;
    }
    *out = &host->device;
    return 0;
}

static int host_open(uint32_t ordinal, struct wi_device **out)
{
    struct wi_emu_opts opts = {.clock = WI_EMU_REAL};

    WI_TRY(model_read(&opts.model));
    return wi_host_open(&opts, ordinal, out);
}

static void host_close(struct wi_device *device)
{
    struct host_device *host = host_of(device);
    struct wi_emu_stats last;

    if (wi_load(&forked, relaxed)) return; /* what is the parent's stays as it is */
    wi_emu_destroy(host->emu, &last);
    if (!last.lost && last.streams + last.events + last.device_allocations + last.registrations +
                              last.host_allocations >
                          0)
        wi_log(WARN, "device",
               "host backend closed with %llu streams, %llu events, %llu device allocations, "
               "%llu registrations and %llu host allocations alive",
               (unsigned long long)last.streams, (unsigned long long)last.events,
               (unsigned long long)last.device_allocations, (unsigned long long)last.registrations,
               (unsigned long long)last.host_allocations);
    wi_free(host);
}

static void host_info(struct wi_device *device, struct weir_runtime_info *out)
{
    struct host_device *host = host_of(device);

    *out = (struct weir_runtime_info){
        .struct_size = out->struct_size,
        .backend = "host",
        .device_name = "emulated device",
        .device_bytes_total = host->model.memory_bytes,
        .stream_priority_least = WI_EMU_PRIORITY_LEAST,
        .stream_priority_greatest = WI_EMU_PRIORITY_GREATEST,
        .numa_node = -1,
        .flags = WEIR_INFO_DEVICE_IS_HOST | WEIR_INFO_COPY_BATCH,
    };
    wi_emu_model_text(&host->model, out->model, sizeof(out->model));
}

static int host_memory(struct wi_device *device, uint64_t *bytes_free, uint64_t *bytes_total)
{
    ENTER(device);
    return answer(device, wi_emu_memory(host_of(device)->emu, bytes_free, bytes_total), "memory");
}

/* ---- memory ---- */

static int host_register(struct wi_device *device, void *base, size_t bytes, uint64_t *address)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    int    err;

    ENTER(device);
    WI_ENSURE(((uintptr_t)base | bytes) % page_bytes == 0, INVAL, .call = "host_register",
              .wanted = bytes, .detail = "the range is not page-aligned");
    err = wi_emu_host_register(host_of(device)->emu, base, bytes);
    if (err == WEIR_EBUSY) err = WEIR_EINVAL; /* waiting would not help */
    if (err < 0) return fail(device, err, "host_register");
    *address = (uintptr_t)base;
    return 0;
}

static int host_unregister(struct wi_device *device, void *base, size_t bytes)
{
    ENTER(device);
    return answer(device, wi_emu_host_unregister(host_of(device)->emu, base, bytes),
                  "host_unregister");
}

static int host_alloc(struct wi_device *device, size_t bytes, void **base, uint64_t *address)
{
    ENTER(device);
    WI_TRY(answer(device, wi_emu_host_alloc(host_of(device)->emu, bytes, base), "host_alloc"));
    *address = (uintptr_t)*base;
    return 0;
}

static int host_free(struct wi_device *device, void *base, size_t bytes)
{
    (void)bytes; /* the emulation knows */
    ENTER(device);
    return answer(device, wi_emu_host_free(host_of(device)->emu, base), "host_free");
}

static int device_alloc(struct wi_device *device, size_t bytes, uint64_t *address)
{
    int err;

    ENTER(device);
    err = wi_emu_device_alloc(host_of(device)->emu, bytes, address);
    if (err == WEIR_EDEVMEM)
        return WI_FAIL(DEVMEM, .call = "device_alloc", .detail = wi_emu_reason(),
                       .limit = "device memory", .limit_value = host_of(device)->model.memory_bytes,
                       .wanted = bytes, .setting = "WEIR_HOST_MODEL");
    return answer(device, err, "device_alloc");
}

static int device_free(struct wi_device *device, uint64_t address)
{
    ENTER(device);
    return answer(device, wi_emu_device_free(host_of(device)->emu, address), "device_free");
}

/* ---- streams ---- */

static int stream_create(struct wi_device *device, int32_t priority, void **stream)
{
    struct wi_emu_stream *made;

    ENTER(device);
    WI_TRY(answer(device, wi_emu_stream_create(host_of(device)->emu, priority, &made),
                  "stream_create"));
    *stream = made;
    return 0;
}

static int stream_priority(struct wi_device *device, void *stream, int32_t *priority)
{
    ENTER(device);
    *priority = wi_emu_stream_priority(stream);
    return 0;
}

static int stream_destroy(struct wi_device *device, void *stream)
{
    ENTER(device);
    return answer(device, wi_emu_stream_destroy(host_of(device)->emu, stream), "stream_destroy");
}

static int stream_query(struct wi_device *device, void *stream)
{
    ENTER(device);
    return answer(device, wi_emu_stream_query(host_of(device)->emu, stream), "stream_query");
}

static int stream_wait(struct wi_device *device, void *stream, void *event)
{
    ENTER(device);
    return answer(device, wi_emu_stream_wait(host_of(device)->emu, stream, event), "stream_wait");
}

static int stream_capture(struct wi_device *device, void *stream, bool *capturing)
{
    ENTER(device);
    return answer(device, wi_emu_stream_capture(host_of(device)->emu, stream, capturing),
                  "stream_capture");
}

/* ---- events ---- */

static int event_create(struct wi_device *device, uint32_t flags, void **event)
{
    struct wi_emu_event *made;

    ENTER(device);
    WI_TRY(answer(device, wi_emu_event_create(host_of(device)->emu, flags, &made), "event_create"));
    *event = made;
    return 0;
}

static int event_destroy(struct wi_device *device, void *event)
{
    ENTER(device);
    return answer(device, wi_emu_event_destroy(host_of(device)->emu, event), "event_destroy");
}

static int event_record(struct wi_device *device, void *event, void *stream)
{
    ENTER(device);
    return answer(device, wi_emu_event_record(host_of(device)->emu, event, stream), "event_record");
}

static int event_query(struct wi_device *device, void *event)
{
    ENTER(device);
    return answer(device, wi_emu_event_query(host_of(device)->emu, event), "event_query");
}

static int event_sync(struct wi_device *device, void *event)
{
    ENTER(device);
    return answer(device, wi_emu_event_sync(host_of(device)->emu, event), "event_sync");
}

static int event_elapsed(struct wi_device *device, void *start, void *end, uint64_t *ns)
{
    ENTER(device);
    return answer(device, wi_emu_event_elapsed(host_of(device)->emu, start, end, ns),
                  "event_elapsed");
}

/* ---- queued work ---- */

static int copy(struct wi_device *device, const struct wi_copy *what, void *stream)
{
    ENTER(device);
    return answer(device, wi_emu_copy(host_of(device)->emu, what, stream), "copy");
}

static int copy_batch(struct wi_device *device, const struct wi_copy *copies, size_t count,
                      void *stream)
{
    ENTER(device);
    return answer(device, wi_emu_copy_batch(host_of(device)->emu, copies, count, stream),
                  "copy_batch");
}

static int fill(struct wi_device *device, uint64_t dst, uint8_t byte, size_t bytes, void *stream)
{
    ENTER(device);
    return answer(device, wi_emu_fill(host_of(device)->emu, dst, byte, bytes, stream), "fill");
}

static int call(struct wi_device *device, void (*fn)(void *), void *ctx, void *stream)
{
    ENTER(device);
    return answer(device, wi_emu_call(host_of(device)->emu, fn, ctx, stream), "call");
}

static int delay(struct wi_device *device, uint64_t ns, void *stream)
{
    ENTER(device);
    return answer(device, wi_emu_delay(host_of(device)->emu, ns, stream), "delay");
}

const struct wi_device_ops wi_device_host = {
    .name = "host",
    .open = host_open,
    .close = host_close,
    .info = host_info,
    .memory = host_memory,
    .host_register = host_register,
    .host_unregister = host_unregister,
    .host_alloc = host_alloc,
    .host_free = host_free,
    .device_alloc = device_alloc,
    .device_free = device_free,
    .stream_create = stream_create,
    .stream_priority = stream_priority,
    .stream_destroy = stream_destroy,
    .stream_query = stream_query,
    .stream_wait = stream_wait,
    .stream_capture = stream_capture,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_record = event_record,
    .event_query = event_query,
    .event_sync = event_sync,
    .event_elapsed = event_elapsed,
    .copy = copy,
    .copy_batch = copy_batch,
    .fill = fill,
    .call = call,
    .delay = delay,
};
