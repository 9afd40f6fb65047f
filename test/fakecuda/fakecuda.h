/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fakecuda.h - the handles by which a test steers the driver double
 *
 * The double is a libcuda.so.1 of the test tree. It serves the driver's functions from the emulated device
 * (lib/device/emu.h) and is meant to be stricter than a driver: what a driver merely leaves undefined ends the
 * process with a line on standard error that starts with "fakecuda: misuse:".
 *
 *   - memory freed or unregistered while queued work touches it
 *   - a copy that crosses the edge of a registration or an allocation
 *   - any call from inside a host function
 *   - a handle that was destroyed, or never made; the NULL stream
 *   - a context let go while something in it is alive
 *   - a call from the thread that is running exit handlers
 *
 * A test reaches the functions below with dlsym: fakecuda_open() in fakecuda_open.c finds them all.
 * Before the first cuInit the double can be told what to be, by fakecuda_configure() or by the variable
 * FAKECUDA, both in the form "devices=2,version=12080,hide=cuMemcpyBatchAsync@13000". Keys:
 *
 *   devices=N       default 1; 0 makes cuInit answer 100
 *   version=N       of the driver, default 13000: newer symbols are not there
 *   init=N          what cuInit answers
 *   hide=SYMBOL     as if the driver lacked it; hide=SYMBOL@N: its forms from version N on; may be repeated
 *   clock=virtual   queued work runs only in fakecuda_step(), fakecuda_run() and calls that block
 *   seed=N          of the virtual clock's schedule
 *   pci=ID          PCI bus id of device 0
 *   host_pointer=0  registered memory does not promise to have the same address on the device
 *   unified=0       no unified addressing
 *   edges=refuse    a copy across an edge is answered with 1, as a driver does, and is no misuse
 *   up, down, device, latency, memory: the cost model, see wi_emu_model_parse()
 *
 * Simplifications against a driver: registered memory is known to one device; the default streams wait for
 * nobody; a capture makes no graph that could run; a kernel is a C function, fakecuda_kernel(), of one parameter.
 */
#ifndef FAKECUDA_H
#define FAKECUDA_H

#include "device/cuda_abi.h"

#include <stdbool.h>

struct CUgraph_st;

/*
 * A kernel of the double: told the parameter's copy and the size of the launch; answers 0, or the result with
 * which it loses the device. Must not call the double.
 */
typedef uint32_t fakecuda_run_fn(const void *parameter, unsigned blocks, unsigned threads);

enum fakecuda_fault_flags {
    FAKECUDA_STICKY = 1, /* the device is lost with it: every later call answers the same */
    FAKECUDA_STALL = 2,  /* the call does not return before fakecuda_resume() */
    FAKECUDA_ALWAYS = 4  /* every use from the nth on, and not only that one */
};

/* The nth use from now (1: the next) of a symbol goes wrong. */
struct fakecuda_fault {
    const char *symbol; /* base name, such as "cuEventRecord" */
    uint64_t    nth;
    uint64_t    delay_ns;
    uint32_t    result; /* 0: only late */
    uint32_t    flags;
};

/* The latest use that a fault with a result was applied to. */
struct fakecuda_fired {
    uint64_t    count;  /* such uses so far */
    const char *symbol; /* NULL: none yet */
    uint32_t    result;
    int32_t     thread; /* its gettid() */
};

/* What has been made and not given back, over all devices. */
struct fakecuda_live {
    uint64_t contexts; /* references to primary contexts */
    uint64_t streams;
    uint64_t events;
    uint64_t device_allocations;
    uint64_t host_allocations;
    uint64_t registrations;
    uint64_t pending; /* queued operations */
};

/* X(name, result type, arguments). Streams are handles that the double gave out. */
/* clang-format off */
#define FAKECUDA_CONTROLS(X)                                                                       \
    X(configure, int, (const char *text))       /* 0, or -1 for a text that it does not understand */ \
    X(calls, uint64_t, (const char *symbol))    /* uses of a symbol so far; NULL: of all */        \
    X(fail, void, (const struct fakecuda_fault *fault))                                            \
    X(fired, void, (struct fakecuda_fired *out))                                                   \
    X(fail_work, void, (uint64_t nth, uint32_t result)) /* the nth queued copy, fill or call */    \
    X(stalled, uint32_t, (void))                /* threads in a call that stalls */                \
    X(resume, void, (void))                     /* lets them go, and disarms stalls */             \
    X(clear, void, (void))                      /* disarms all faults; a lost device stays lost */ \
    X(kernel, void, (const char *name, size_t parameter_bytes, fakecuda_run_fn *run))              \
    X(lose, void, (uint32_t result))            /* the device is lost now */                       \
    X(hold, void, (struct CUstream_st *stream)) /* begins nothing more; NULL: every stream */      \
    X(release, void, (struct CUstream_st *stream))                                                 \
    X(permit, void, (struct CUstream_st *stream, uint64_t count))                                  \
    X(step, int, (void))                        /* virtual clock: run one operation; 0: none can */ \
    X(run, uint64_t, (void))                    /* until nothing can run */                        \
    X(live, void, (struct fakecuda_live *out))                                                     \
    X(exports, void *, (const char *symbol))    /* the newest form of a symbol, uncounted lookup */
/* clang-format on */

#define X(name, type, arguments) type fakecuda_##name arguments;
FAKECUDA_CONTROLS(X)
#undef X

/* The same, as a test reaches them. */
struct fakecuda {
    void *library;
#define X(name, type, arguments) type(*name) arguments;
    FAKECUDA_CONTROLS(X)
#undef X
};

/* Open the library at `path` and fill in its controls. false: it is not the double, but a real driver or none. */
bool fakecuda_open(const char *path, struct fakecuda *out);

#endif
