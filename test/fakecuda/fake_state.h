/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_state.h - what the files of the driver double share
 *
 * Every served function has one shape: fake_enter() with what the call needs, the emulation's call, and the
 * translation of its answer. fake.lock guards the state below; it is never held across a call of the
 * emulation that may block.
 */
#ifndef FAKE_STATE_H
#define FAKE_STATE_H

#include "base/atomic.h"
#include "device/emu.h"
#include "fakecuda.h"

#include <pthread.h>
#include <sys/types.h>

#define FAKE_API __attribute__((visibility("default")))

#define FAKE_DEVICES_MAX 8
#define FAKE_FAULTS_MAX  16
#define FAKE_HIDDEN_MAX  16
#define FAKE_STACK_MAX   16

/*
 * X(base name, exported function, first version of this form). In the order of versions for each name.
 * Forms that weir must not be given by mistake are here too, with their other arguments.
 */
/* clang-format off */
#define FAKE_SYMBOLS(X)                                                                            \
    X(cuInit, cuInit, 2000)                                                                        \
    X(cuDriverGetVersion, cuDriverGetVersion, 2020)                                                \
    X(cuGetProcAddress, cuGetProcAddress_v2, 12000)                                                \
    X(cuGetErrorName, cuGetErrorName, 6000)                                                        \
    X(cuDeviceGetCount, cuDeviceGetCount, 2000)                                                    \
    X(cuDeviceGet, cuDeviceGet, 2000)                                                              \
    X(cuDeviceGetName, cuDeviceGetName, 2000)                                                      \
    X(cuDeviceTotalMem, cuDeviceTotalMem_v2, 3020)                                                 \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000)                                            \
    X(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, 4010)                                              \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000)                                    \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000)                              \
    X(cuCtxGetCurrent, cuCtxGetCurrent, 4000)                                                      \
    X(cuCtxSetCurrent, cuCtxSetCurrent, 4000)                                                      \
    X(cuCtxPushCurrent, cuCtxPushCurrent_v2, 4000)                                                 \
    X(cuCtxPopCurrent, cuCtxPopCurrent_v2, 4000)                                                   \
    X(cuCtxGetStreamPriorityRange, cuCtxGetStreamPriorityRange, 5050)                              \
    X(cuMemHostAlloc, cuMemHostAlloc, 2020)                                                        \
    X(cuMemFreeHost, cuMemFreeHost, 2000)                                                          \
    X(cuMemHostRegister, cuMemHostRegister_v2, 6050)                                               \
    X(cuMemHostUnregister, cuMemHostUnregister, 4000)                                              \
    X(cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2, 3020)                               \
    X(cuMemGetInfo, cuMemGetInfo_v2, 3020)                                                         \
    X(cuMemAlloc, cuMemAlloc_v2, 3020)                                                             \
    X(cuMemFree, cuMemFree_v2, 3020)                                                               \
    X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020)                                               \
    X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020)                                               \
    X(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, 3020)                                               \
    X(cuMemcpyBatchAsync, cuMemcpyBatchAsync, 12080)                                               \
    X(cuMemcpyBatchAsync, cuMemcpyBatchAsync_v2, 13000)                                            \
    X(cuMemsetD8Async, cuMemsetD8Async, 3020)                                                      \
    X(cuStreamCreateWithPriority, cuStreamCreateWithPriority, 5050)                                \
    X(cuStreamDestroy, cuStreamDestroy_v2, 4000)                                                   \
    X(cuStreamQuery, cuStreamQuery, 2000)                                                          \
    X(cuStreamSynchronize, cuStreamSynchronize, 2000)                                              \
    X(cuStreamWaitEvent, cuStreamWaitEvent, 3020)                                                  \
    X(cuStreamGetPriority, cuStreamGetPriority, 5050)                                              \
    X(cuStreamGetCtx, cuStreamGetCtx, 9020)                                                        \
    X(cuStreamGetCtx, cuStreamGetCtx_v2, 12050)                                                    \
    X(cuStreamIsCapturing, cuStreamIsCapturing, 10000)                                             \
    X(cuStreamBeginCapture, cuStreamBeginCapture_v2, 10010)                                        \
    X(cuStreamEndCapture, cuStreamEndCapture, 10000)                                               \
    X(cuGraphDestroy, cuGraphDestroy, 10000)                                                       \
    X(cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode, 10010)                 \
    X(cuEventCreate, cuEventCreate, 2000)                                                          \
    X(cuEventDestroy, cuEventDestroy_v2, 4000)                                                     \
    X(cuEventRecord, cuEventRecord, 2000)                                                          \
    X(cuEventQuery, cuEventQuery, 2000)                                                            \
    X(cuEventSynchronize, cuEventSynchronize, 2000)                                                \
    X(cuEventElapsedTime, cuEventElapsedTime, 2000)                                                \
    X(cuEventElapsedTime, cuEventElapsedTime_v2, 12080)                                            \
    X(cuLaunchHostFunc, cuLaunchHostFunc, 10000)                                                   \
    X(cuModuleLoadData, cuModuleLoadData, 2000)                                                    \
    X(cuModuleUnload, cuModuleUnload, 2000)                                                        \
    X(cuModuleGetFunction, cuModuleGetFunction, 2000)                                              \
    X(cuLaunchKernel, cuLaunchKernel, 4000)                                                        \
    X(cuStreamWriteValue32, cuStreamWriteValue32_v2, 11070)

enum fake_row {
#define X(name, function, version) FAKE_##function,
    FAKE_SYMBOLS(X)
#undef X
    FAKE_ROWS_COUNT
};
/* clang-format on */

enum fake_needs {
    FAKE_PLAIN = 0,
    FAKE_CONTEXT = 1, /* a context is current, else 201 */
    FAKE_UNSAFE = 2,  /* forbidden beside a graph capture, unless the thread is relaxed */
    FAKE_EARLY = 4    /* may be called before cuInit */
};

enum fake_magic { FAKE_STREAM = 0x73466b31, FAKE_EVENT = 0x65466b31, FAKE_DEAD = 0x64666b31 };

struct fake_device;

struct CUctx_st {
    struct fake_device *device;
    struct CUctx_st    *next_dead;
    bool                destroyed;
};

/* Handles are kept when dead, so that their later use can be told. */
struct CUstream_st {
    uint32_t              magic;
    struct fake_device   *device;
    struct wi_emu_stream *emu;
    struct CUstream_st   *next_dead;
    bool                  capturing;
    bool                  invalidated;
    unsigned              capture_mode;
    pid_t                 capture_thread;
};

struct CUevent_st {
    uint32_t             magic;
    struct fake_device  *device;
    struct wi_emu_event *emu;
    struct CUevent_st   *next_dead;
};

struct fake_device {
    uint32_t           ordinal;
    uint64_t           retained;
    struct CUctx_st   *context; /* NULL while nobody retains it */
    struct wi_emu     *emu;
    struct CUstream_st legacy; /* made with the context */
    struct CUstream_st per_thread;
};

struct fake_hidden {
    char symbol[64];
    int  version;
};

struct fake_fault {
    struct fakecuda_fault set;
    char                  symbol[64];
    uint64_t              uses;
    bool                  armed;
};

struct fake {
    pthread_mutex_t lock;
    pthread_cond_t  resumed;

    /* Told before the first cuInit. */
    bool                configured;
    uint32_t            devices_count;
    int                 version;
    uint32_t            init_result;
    uint32_t            clock;
    uint64_t            seed;
    bool                same_address;
    bool                unified;
    bool                edges_refused;
    char                bus_id[32];
    struct wi_emu_model model;
    struct fake_hidden  hidden[FAKE_HIDDEN_MAX];
    uint32_t            hidden_count;

    struct fake_device  devices[FAKE_DEVICES_MAX];
    struct CUctx_st    *dead_contexts;
    struct CUstream_st *dead_streams;
    struct CUevent_st  *dead_events;
    struct fake_fault   faults[FAKE_FAULTS_MAX];
    struct fakecuda_fired fired;
    uint32_t            stalls;      /* threads that stall */
    uint64_t            stall_turn;  /* raised to let them go */
    uint32_t            work_result; /* of the queued work that was told to fail */

    _Atomic uint32_t armed;    /* faults that may still fire: a hint, so that calls need not lock */
    _Atomic uint32_t sticky;   /* the result that lost the device, or 0 */
    _Atomic uint32_t captures; /* streams in capture, of any mode: a hint */
    _Atomic int32_t  process;  /* that called cuInit, or 0 */
    _Atomic int32_t  exiting;  /* thread that runs exit handlers, or 0 */
    _Atomic uint64_t calls[FAKE_ROWS_COUNT];
};

extern struct fake fake;

/* fake_gate.c */
_Noreturn void fake_misuse(const char *format, ...) WI_PRINTF(1, 2);
wi_cu_result   fake_enter(enum fake_row row, unsigned needs);
/* What the emulation answered, as the driver's result. `refused` stands for WEIR_EINVAL. */
wi_cu_result fake_result(int err, wi_cu_result refused);
void         fake_set_sticky(uint32_t result);

/* fake_config.c */
void fake_configure_locked(void);
bool fake_is_hidden(const char *symbol, int version);

/* fake_context.c */
struct CUctx_st    *fake_current(void);
struct fake_device *fake_current_device(void);
void                fake_context_made(struct fake_device *device);
void                fake_context_ending(struct fake_device *device);

/* fake_stream.c. Checked: a dead, foreign or NULL handle is misuse. */
struct CUstream_st *fake_stream_of(struct CUstream_st *handle);
struct CUevent_st  *fake_event_of(struct CUevent_st *handle);
/* The stream, if it is of the current context; else 400 in *result. */
struct CUstream_st *fake_stream_here(struct CUstream_st *handle, wi_cu_result *result);

/* fake_capture.c */
bool fake_capture_forbids(void);
void fake_capture_forget(struct CUstream_st *stream);

/* fake_table.c */
const char *fake_symbol_name(enum fake_row row);
void       *fake_symbol_newest(const char *symbol);

/* The functions served, in the types of cuda_abi.h. */
FAKE_API wi_cu_result cuInit(unsigned flags);
FAKE_API wi_cu_result cuDriverGetVersion(int *version);
FAKE_API wi_cu_result cuGetProcAddress_v2(const char *symbol, void **function, int version,
                                          uint64_t flags, unsigned *status);
FAKE_API wi_cu_result cuGetErrorName(wi_cu_result result, const char **name);
FAKE_API wi_cu_result cuDeviceGetCount(int *count);
FAKE_API wi_cu_result cuDeviceGet(wi_cu_device *device, int ordinal);
FAKE_API wi_cu_result cuDeviceGetName(char *name, int bytes, wi_cu_device device);
FAKE_API wi_cu_result cuDeviceTotalMem_v2(size_t *bytes, wi_cu_device device);
FAKE_API wi_cu_result cuDeviceGetAttribute(int *value, unsigned attribute, wi_cu_device device);
FAKE_API wi_cu_result cuDeviceGetPCIBusId(char *text, int bytes, wi_cu_device device);
FAKE_API wi_cu_result cuDevicePrimaryCtxRetain(struct CUctx_st **context, wi_cu_device device);
FAKE_API wi_cu_result cuDevicePrimaryCtxRelease_v2(wi_cu_device device);
FAKE_API wi_cu_result cuCtxGetCurrent(struct CUctx_st **context);
FAKE_API wi_cu_result cuCtxSetCurrent(struct CUctx_st *context);
FAKE_API wi_cu_result cuCtxPushCurrent_v2(struct CUctx_st *context);
FAKE_API wi_cu_result cuCtxPopCurrent_v2(struct CUctx_st **context);
FAKE_API wi_cu_result cuCtxGetStreamPriorityRange(int *least, int *greatest);
FAKE_API wi_cu_result cuMemHostAlloc(void **base, size_t bytes, unsigned flags);
FAKE_API wi_cu_result cuMemFreeHost(void *base);
FAKE_API wi_cu_result cuMemHostRegister_v2(void *base, size_t bytes, unsigned flags);
FAKE_API wi_cu_result cuMemHostUnregister(void *base);
FAKE_API wi_cu_result cuMemHostGetDevicePointer_v2(wi_cu_address *address, void *host,
                                                   unsigned flags);
FAKE_API wi_cu_result cuMemGetInfo_v2(size_t *bytes_free, size_t *bytes_total);
FAKE_API wi_cu_result cuMemAlloc_v2(wi_cu_address *address, size_t bytes);
FAKE_API wi_cu_result cuMemFree_v2(wi_cu_address address);
FAKE_API wi_cu_result cuMemcpyHtoDAsync_v2(wi_cu_address dst, const void *src, size_t bytes,
                                           struct CUstream_st *stream);
FAKE_API wi_cu_result cuMemcpyDtoHAsync_v2(void *dst, wi_cu_address src, size_t bytes,
                                           struct CUstream_st *stream);
FAKE_API wi_cu_result cuMemcpyDtoDAsync_v2(wi_cu_address dst, wi_cu_address src, size_t bytes,
                                           struct CUstream_st *stream);
FAKE_API wi_cu_result cuMemcpyBatchAsync(wi_cu_address *dsts, wi_cu_address *srcs, size_t *bytes,
                                         size_t count, struct wi_cu_copy_attributes *attributes,
                                         size_t *first, size_t attributes_count, size_t *failed,
                                         struct CUstream_st *stream);
FAKE_API wi_cu_result cuMemcpyBatchAsync_v2(wi_cu_address *dsts, wi_cu_address *srcs, size_t *bytes,
                                            size_t count, struct wi_cu_copy_attributes *attributes,
                                            size_t *first, size_t attributes_count,
                                            struct CUstream_st *stream);
FAKE_API wi_cu_result cuMemsetD8Async(wi_cu_address dst, unsigned char byte, size_t bytes,
                                      struct CUstream_st *stream);
FAKE_API wi_cu_result cuStreamCreateWithPriority(struct CUstream_st **stream, unsigned flags,
                                                 int priority);
FAKE_API wi_cu_result cuStreamDestroy_v2(struct CUstream_st *stream);
FAKE_API wi_cu_result cuStreamQuery(struct CUstream_st *stream);
FAKE_API wi_cu_result cuStreamSynchronize(struct CUstream_st *stream);
FAKE_API wi_cu_result cuStreamWaitEvent(struct CUstream_st *stream, struct CUevent_st *event,
                                        unsigned flags);
FAKE_API wi_cu_result cuStreamGetPriority(struct CUstream_st *stream, int *priority);
FAKE_API wi_cu_result cuStreamGetCtx(struct CUstream_st *stream, struct CUctx_st **context);
FAKE_API wi_cu_result cuStreamGetCtx_v2(struct CUstream_st *stream, struct CUctx_st **context,
                                        void **green);
FAKE_API wi_cu_result cuStreamIsCapturing(struct CUstream_st *stream, unsigned *status);
FAKE_API wi_cu_result cuStreamBeginCapture_v2(struct CUstream_st *stream, unsigned mode);
FAKE_API wi_cu_result cuStreamEndCapture(struct CUstream_st *stream, struct CUgraph_st **graph);
FAKE_API wi_cu_result cuGraphDestroy(struct CUgraph_st *graph);
FAKE_API wi_cu_result cuThreadExchangeStreamCaptureMode(unsigned *mode);
FAKE_API wi_cu_result cuEventCreate(struct CUevent_st **event, unsigned flags);
FAKE_API wi_cu_result cuEventDestroy_v2(struct CUevent_st *event);
FAKE_API wi_cu_result cuEventRecord(struct CUevent_st *event, struct CUstream_st *stream);
FAKE_API wi_cu_result cuEventQuery(struct CUevent_st *event);
FAKE_API wi_cu_result cuEventSynchronize(struct CUevent_st *event);
FAKE_API wi_cu_result cuEventElapsedTime(float *milliseconds, struct CUevent_st *start,
                                         struct CUevent_st *end);
FAKE_API wi_cu_result cuEventElapsedTime_v2(float *milliseconds, struct CUevent_st *start,
                                            struct CUevent_st *end);
FAKE_API wi_cu_result cuLaunchHostFunc(struct CUstream_st *stream, wi_cu_host_fn *fn, void *ctx);

struct CUmod_st;
struct CUfunc_st;
FAKE_API wi_cu_result cuModuleLoadData(struct CUmod_st **loaded, const void *image);
FAKE_API wi_cu_result cuModuleUnload(struct CUmod_st *unloaded);
FAKE_API wi_cu_result cuModuleGetFunction(struct CUfunc_st **function, struct CUmod_st *from,
                                          const char *name);
FAKE_API wi_cu_result cuLaunchKernel(struct CUfunc_st *function, unsigned grid_x, unsigned grid_y,
                                     unsigned grid_z, unsigned block_x, unsigned block_y,
                                     unsigned block_z, unsigned shared_bytes,
                                     struct CUstream_st *handle, void **parameters, void **extra);
FAKE_API wi_cu_result cuStreamWriteValue32_v2(struct CUstream_st *handle, wi_cu_address address,
                                              uint32_t value, unsigned flags);

#endif
