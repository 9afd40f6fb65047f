/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu.h - an emulated device: streams, events, copies, device memory and host registrations
 *
 * The host backend stands on it, and so does the test suite's driver double. It knows nothing of
 * weir's error record: calls answer 0 or a WEIR_E* code, and wi_emu_reason() says why.
 *
 *   streams     ordered queues. Each has at most one operation under way.
 *   engines     up, down, inside the device, and host functions: each does one operation at a time, in the
 *               order in which the streams reached it. Stream priority has no effect on them.
 *   cost        a copy occupies its engine for latency + bytes / bandwidth. The bytes are really copied, and
 *               they are read at the end of that time, so an early overwrite of the source is seen as
 *               corruption. Where the real copy is slower than the model, the real time counts.
 *   ranges      device memory, registered host memory and host memory made here, in one table. Device
 *               addresses are host addresses. A copy lies inside one range on each side. Host memory in no
 *               range is pageable: the call returns when its copy is done.
 *   tickets     an event is a reference to a ticket. Recording installs a new ticket and queues it; waiting and
 *               querying take the ticket of that moment. No ticket: never recorded, which counts as passed.
 *   capture     what is queued on a capturing stream is checked and counted, and not run.
 *   misuse      breaking a rule that a real driver does not check (a range freed under pending work, a dead
 *               handle, a call from inside a host function) is refused with INTERNAL and counted.
 *   loss        sticky: queued work is dropped, host functions are not run, every call answers DEVICE. Work that
 *               was under way may touch its memory until wi_emu_destroy().
 *
 * Clocks. REAL: a few threads serve the streams in real time; they start with the first queued work that
 * takes time, and park without a timer when there is nothing to do. VIRTUAL: there is no thread and no
 * time; queued work runs only inside wi_emu_step(), wi_emu_run() and calls that must block, and the seed
 * picks which of the streams that can move does.
 *
 * Thread: any, for every call; one lock serves the whole emulation. A host function must not call in.
 * Progress: blocks for the lock. For device work: event_sync, run, destroy, and copies of pageable memory.
 */
#ifndef WI_EMU_H
#define WI_EMU_H

#include "base/base.h"
#include "device/device.h"

struct wi_emu;
struct wi_emu_stream;
struct wi_emu_event;

/* Numbers of the cost model. Law: none is 0, but for latency_ns. */
struct wi_emu_model {
    uint64_t up_bytes_per_s;
    uint64_t down_bytes_per_s;
    uint64_t device_bytes_per_s; /* copies and fills inside the device */
    uint64_t latency_ns;         /* engine time of each operation, on top of its bytes */
    uint64_t memory_bytes;
};

/* The model of a mid-range card: 25 GB/s each way, 200 GB/s inside, 5 us, 8 GiB. */
void wi_emu_model_init(struct wi_emu_model *model);
/*
 * Read "up=25G,down=25G,device=200G,latency=5us,memory=8G"; keys that are not named keep their value. Rates
 * and sizes are read by wi_parse_bytes(), so G is 2^30. Fails: INVAL, and *model is unchanged.
 */
int wi_emu_model_parse(const char *text, struct wi_emu_model *model);
/* As one line, such as "up 25 GB/s, down 25 GB/s, latency 5 us, memory 8 GiB". Like snprintf. */
int wi_emu_model_text(const struct wi_emu_model *model, char *text, size_t capacity);

enum wi_emu_clock { WI_EMU_REAL = 0, WI_EMU_VIRTUAL };

#define WI_EMU_WORKERS_MAX 4
#define WI_EMU_PENDING_MAX                                                                         \
    ((uint64_t)1 << 20) /* operations queued and not finished; then EXCEEDS */
#define WI_EMU_FAULTS_MAX        16
#define WI_EMU_PRIORITY_LEAST    0
#define WI_EMU_PRIORITY_GREATEST (-5)

struct wi_emu_opts {
    struct wi_emu_model model;
    uint32_t            clock; /* enum wi_emu_clock */
    uint32_t workers_max;      /* 0: as many as CPUs, at least 2 and at most WI_EMU_WORKERS_MAX */
    uint64_t seed;             /* VIRTUAL: the schedule */
    /* Told of each misuse, outside the lock; may abort, must not call in. NULL: only counted. */
    void (*misuse)(void *ctx, const char *text);
    void *ctx;
};

/* Fails: INVAL, NOMEM. */
int wi_emu_create(const struct wi_emu_opts *opts, struct wi_emu **out);

/* Counted uses and fault points. EXECUTE is the device doing a queued copy, fill or call. */
#define WI_EMU_OPS(X)                                                                              \
    X(MEMORY)                                                                                      \
    X(HOST_REGISTER)                                                                               \
    X(HOST_UNREGISTER) X(HOST_ALLOC) X(HOST_FREE) X(DEVICE_ALLOC) X(DEVICE_FREE) X(STREAM_CREATE)  \
        X(STREAM_DESTROY) X(STREAM_QUERY) X(STREAM_WAIT) X(STREAM_CAPTURE) X(EVENT_CREATE)         \
            X(EVENT_DESTROY) X(EVENT_RECORD) X(EVENT_QUERY) X(EVENT_SYNC) X(EVENT_ELAPSED) X(COPY) \
                X(COPY_BATCH) X(FILL) X(CALL) X(DELAY) X(EXECUTE)

enum wi_emu_op {
#define X(name) WI_EMU_##name,
    WI_EMU_OPS(X)
#undef X
        WI_EMU_OPS_COUNT
};

struct wi_emu_stats {
    uint64_t calls[WI_EMU_OPS_COUNT];
    uint64_t streams; /* alive, as are the next seven */
    uint64_t events;
    uint64_t device_allocations;
    uint64_t device_bytes;
    uint64_t registrations;
    uint64_t registered_bytes;
    uint64_t host_allocations;
    uint64_t host_bytes;
    uint64_t pending;  /* operations queued and not finished */
    uint64_t finished; /* operations run to their end        */
    uint64_t dropped;  /* operations lost with the device, or never let go by a hold */
    uint64_t captured; /* operations queued on capturing streams */
    uint64_t copies;
    uint64_t up_bytes;
    uint64_t down_bytes;
    uint64_t inside_bytes; /* copied or filled inside the device */
    uint64_t pageable_copies;
    uint64_t misuses;
    uint64_t workers; /* threads started                    */
    uint64_t wakeups; /* times that a worker came out of its sleep */
    uint32_t lost;
    uint32_t reserved;
};

/*
 * Finish what can run, join the workers, free everything. NULL is accepted. Work that a hold keeps back is
 * dropped. *last, if not NULL, tells what was still alive.
 */
void wi_emu_destroy(struct wi_emu *emu, struct wi_emu_stats *last);
void wi_emu_stats_read(struct wi_emu *emu, struct wi_emu_stats *out);

/* Why this thread's latest refused call was refused: a static sentence, or "". */
const char *wi_emu_reason(void);
/* True on a thread that is inside a host function of any emulation. */
bool wi_emu_inside_call(void);

/* ---- memory ---- */

enum wi_emu_range_kind {
    WI_EMU_RANGE_NONE = 0,
    WI_EMU_RANGE_DEVICE,
    WI_EMU_RANGE_REGISTERED,
    WI_EMU_RANGE_HOST
};

struct wi_emu_range_info {
    uint64_t base;
    size_t   bytes;
    uint32_t kind;    /* enum wi_emu_range_kind */
    uint32_t pending; /* queued operations that touch it */
};

int wi_emu_memory(struct wi_emu *emu, uint64_t *bytes_free, uint64_t *bytes_total);
/* Fails: INVAL (empty, or wraps), BUSY (touches a range that is in the table). */
int wi_emu_host_register(struct wi_emu *emu, void *base, size_t bytes);
/* bytes 0: whatever was registered. Fails: NOENT, INVAL (another length), INTERNAL (pending work). */
int wi_emu_host_unregister(struct wi_emu *emu, void *base, size_t bytes);
/* Page-aligned. Fails: INVAL (empty), NOMEM. */
int wi_emu_host_alloc(struct wi_emu *emu, size_t bytes, void **base);
/* Fails: NOENT (also the second time), INTERNAL (pending work). */
int wi_emu_host_free(struct wi_emu *emu, void *base);
/* 256-byte aligned, contents arbitrary. Fails: INVAL (empty), DEVMEM. */
int wi_emu_device_alloc(struct wi_emu *emu, size_t bytes, uint64_t *address);
/* Fails: NOENT (also the second time), INTERNAL (pending work). */
int wi_emu_device_free(struct wi_emu *emu, uint64_t address);
/* The range that holds the address. Not a device call: no count, no fault. Fails: NOENT. */
int wi_emu_range_find(struct wi_emu *emu, uint64_t address, struct wi_emu_range_info *out);

/* ---- streams ---- */

/* priority is clamped. Fails: NOMEM. */
int wi_emu_stream_create(struct wi_emu *emu, int32_t priority, struct wi_emu_stream **out);
int wi_emu_stream_destroy(struct wi_emu *emu, struct wi_emu_stream *stream);
/* 0, AGAIN, or CAPTURE. */
int wi_emu_stream_query(struct wi_emu *emu, struct wi_emu_stream *stream);
int wi_emu_stream_wait(struct wi_emu *emu, struct wi_emu_stream *stream,
                       struct wi_emu_event *event);
int wi_emu_stream_capture(struct wi_emu *emu, struct wi_emu_stream *stream, bool *capturing);
/* The clamped priority. Not a device call. */
int32_t wi_emu_stream_priority(const struct wi_emu_stream *stream);

/* Queued work: all fail with INVAL, EXCEEDS, NOMEM, CAPTURE (pageable memory on a capturing stream). */
int wi_emu_copy(struct wi_emu *emu, const struct wi_copy *copy, struct wi_emu_stream *stream);
/* All of them are queued, or none. They share one latency. */
int wi_emu_copy_batch(struct wi_emu *emu, const struct wi_copy *copies, size_t count,
                      struct wi_emu_stream *stream);
int wi_emu_fill(struct wi_emu *emu, uint64_t dst, uint8_t byte, size_t bytes,
                struct wi_emu_stream *stream);
/* Host functions run one at a time, so one that waits for another never ends. */
int wi_emu_call(struct wi_emu *emu, void (*fn)(void *), void *ctx, struct wi_emu_stream *stream);
int wi_emu_delay(struct wi_emu *emu, uint64_t ns, struct wi_emu_stream *stream);

/* ---- events ---- */

int wi_emu_event_create(struct wi_emu *emu, uint32_t flags, struct wi_emu_event **out);
int wi_emu_event_destroy(struct wi_emu *emu, struct wi_emu_event *event);
int wi_emu_event_record(struct wi_emu *emu, struct wi_emu_event *event,
                        struct wi_emu_stream *stream);
/* 0, AGAIN, or CAPTURE (last recorded on a capturing stream). */
int wi_emu_event_query(struct wi_emu *emu, struct wi_emu_event *event);
int wi_emu_event_sync(struct wi_emu *emu, struct wi_emu_event *event);
/* Modelled device time between two marks; 0 when the end was marked first. Fails: INVAL, AGAIN, CAPTURE. */
int wi_emu_event_elapsed(struct wi_emu *emu, struct wi_emu_event *start, struct wi_emu_event *end,
                         uint64_t *ns);

/* ---- control, for tests and doubles; not device calls ---- */

/*
 * A held stream begins nothing; what is under way still ends. stream NULL: every stream, also those made
 * later. A stream moves when neither holds it; destroying it ends its own hold. permit lets a held stream
 * begin `count` more operations.
 */
void wi_emu_hold(struct wi_emu *emu, struct wi_emu_stream *stream);
void wi_emu_release(struct wi_emu *emu, struct wi_emu_stream *stream);
void wi_emu_permit(struct wi_emu *emu, struct wi_emu_stream *stream, uint64_t count);

/* VIRTUAL: run one operation of the seed's choice. 1, or 0 when nothing can move. */
int wi_emu_step(struct wi_emu *emu);
/* Until nothing can move. VIRTUAL: runs it here and returns the steps. REAL: waits, returns 0. */
uint64_t wi_emu_run(struct wi_emu *emu);
/* Device time: CLOCK_MONOTONIC, or the virtual clock. */
uint64_t wi_emu_clock_ns(struct wi_emu *emu);
/* VIRTUAL: let time pass. */
void wi_emu_clock_advance(struct wi_emu *emu, uint64_t ns);

void wi_emu_capture_begin(struct wi_emu *emu, struct wi_emu_stream *stream);
void wi_emu_capture_end(struct wi_emu *emu, struct wi_emu_stream *stream);

enum wi_emu_fault_flags { WI_EMU_FAULT_STICKY = 1 };

/*
 * Make the nth use from now (1 = the next) of an operation go wrong: it is delayed by delay_ns, and if
 * code is not 0 it does nothing and answers code. STICKY: the device is lost with it. A fault of EXECUTE
 * with a code always loses the device. A fault happens once.
 */
struct wi_emu_fault {
    uint32_t op;    /* enum wi_emu_op */
    uint32_t flags; /* enum wi_emu_fault_flags */
    uint64_t nth;
    uint64_t delay_ns;
    int32_t  code; /* WEIR_E*, or 0: only the delay */
    uint32_t reserved;
};

/* Fails: INVAL, EXCEEDS (WI_EMU_FAULTS_MAX are armed). */
int  wi_emu_fault_set(struct wi_emu *emu, const struct wi_emu_fault *fault);
void wi_emu_fault_clear(struct wi_emu *emu);
/* Lose the device now. */
void wi_emu_lose(struct wi_emu *emu);

#endif
