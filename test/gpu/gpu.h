/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu.h - what the programs of the GPU suite stand on
 *
 * A program is one run (R0 to R6 of docs/gpu.md), or part of one. It needs the cuda backend, prints what it
 * found as lines for people, and writes it as one JSON object with --json. It links the static library, so that
 * it runs where only a driver is. Three kinds of outcome:
 *
 *   row      a measurement, in a table
 *   target   a number that should be reached. Missing it is reported and is no failure.
 *   check    something that must hold on any machine. Failing it is the exit status 1.
 *
 * Over the driver double everything runs too, shortened. Its numbers are of the double and say nothing about a GPU;
 * the report says so.
 */
#ifndef GPU_H
#define GPU_H

#include "base/histogram.h"
#include "device/cuda_load.h"
#include "device/device.h"
#include "kernels.h"

#include <pthread.h>
#include <weir/cuda.h>
#include <weir/weir.h>

struct CUmod_st;
struct CUfunc_st;
struct CUgraph_st;

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define MS  WI_NS_PER_MS

#define GPU_EXIT_SKIP 77

/* ---- output ---- */

struct gpu_options {
    bool        quick;   /* a shortened run, which shows that it works */
    const char *json;    /* file, or NULL */
    const char *child;   /* --child: this process was started by the program itself, as that */
    uint64_t    seconds; /* --seconds: of the longest part; 0: the program's own */
    const char *plant;   /* --plant: a bug that the run must find */
    uint64_t    bytes_max; /* --gib: of memory to pin at most; 0: the program's own */
};

extern struct gpu_options gpu_options;

/* Read the command line. `run` is such as "R1". Ends the program for what it cannot read. */
void gpu_begin(const char *run, const char *title, int argc, char **argv);
/* Write the JSON. Returns the exit status. */
int gpu_end(void);

void gpu_table(const char *name, const char *note);
void gpu_row(void);
void gpu_text(const char *key, const char *value);
void gpu_number(const char *key, double value);
/* <prefix>_p50_ns, _p99_ns, _p999_ns, _max_ns. */
void gpu_latency(const char *prefix, const struct weir_latency *latency);

void gpu_check(const char *name, bool holds, const char *format, ...) WI_PRINTF(3, 4);
void gpu_target(const char *name, bool reached, const char *format, ...) WI_PRINTF(3, 4);
void gpu_skip(const char *name, const char *format, ...) WI_PRINTF(2, 3);
/* One more fact about the machine, in the JSON. */
void gpu_fact(const char *name, const char *format, ...) WI_PRINTF(2, 3);
_Noreturn void gpu_fatal(const char *format, ...) WI_PRINTF(1, 2);

/* Long or short, as the run is. */
static inline uint64_t gpu_pick(uint64_t full, uint64_t quick)
{
    return gpu_options.quick ? quick : full;
}

/* A call of weir that must succeed. */
#define GPU_OK(call)                                                                               \
    do {                                                                                           \
        int ok_ = (call);                                                                          \
        if (ok_ < 0) gpu_fatal_weir(#call);                                                        \
    } while (0)
_Noreturn void gpu_fatal_weir(const char *call);

/* ---- the driver, past weir ---- */

/* clang-format off */
/* X(field, symbol, version, arguments): beyond those of cuda_abi.h. A missing one leaves its field NULL. */
#define GPU_SYMBOLS(X)                                                                             \
    X(module_load, cuModuleLoadData, 2000, (struct CUmod_st **module, const void *image))          \
    X(module_unload, cuModuleUnload, 2000, (struct CUmod_st *module))                              \
    X(module_function, cuModuleGetFunction, 2000,                                                  \
      (struct CUfunc_st **function, struct CUmod_st *module, const char *name))                    \
    X(launch, cuLaunchKernel, 4000,                                                                \
      (struct CUfunc_st *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,              \
       unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,                \
       struct CUstream_st *stream, void **parameters, void **extra))                               \
    X(write_word, cuStreamWriteValue32, 11070,                                                     \
      (struct CUstream_st *stream, wi_cu_address address, uint32_t value, unsigned flags))         \
    X(stream_sync, cuStreamSynchronize, 2000, (struct CUstream_st *stream))                        \
    X(begin_capture, cuStreamBeginCapture, 10010, (struct CUstream_st *stream, unsigned mode))     \
    X(end_capture, cuStreamEndCapture, 10000,                                                      \
      (struct CUstream_st *stream, struct CUgraph_st **graph))                                     \
    X(graph_destroy, cuGraphDestroy, 10000, (struct CUgraph_st *graph))
/* clang-format on */

struct gpu_driver {
    const struct wi_cu *cu; /* weir's own table */
    bool                is_double;
    struct CUctx_st    *context;
#define X(field, symbol, version, arguments) wi_cu_result (*field) arguments;
    GPU_SYMBOLS(X)
#undef X
    void (*lose)(uint32_t result); /* the double's; NULL on a real driver */
};

/* Opened by gpu_open(). */
extern struct gpu_driver gpu;

/* A runtime on the cuda backend, device 0. Ends the program with GPU_EXIT_SKIP where there is none. */
struct weir_runtime *gpu_open(const struct weir_runtime_opts *opts);
/*
 * Ask the driver to load kernels at once and not at their first launch, which would be forbidden in a capture and could
 * wait for all that is queued. Before the driver starts.
 */
void gpu_load_eagerly(void);

/* Fill in all of `gpu` but the context, for who has a device and no runtime. pre: there is a driver. */
void gpu_find(void);
/* Make the runtime's context current on this thread for raw calls; once for each thread. */
void gpu_attach(void);

/* A raw call that must succeed. */
#define GPU_CU(call)                                                                               \
    do {                                                                                           \
        wi_cu_result result_ = (call);                                                             \
        if (result_ != WI_CU_SUCCESS) gpu_fatal_cu(#call, result_);                                \
    } while (0)
_Noreturn void gpu_fatal_cu(const char *call, wi_cu_result result);

/* Load the kernels, from files beside the program. False: there are none, or the driver refuses them; noted as skipped. */
bool gpu_load_kernels(void);
/* X(name) for each kernel of kernels.h. */
#define GPU_KERNELS(X) X(check) X(sum) X(spin) X(crash)
enum gpu_kernel {
#define X(name) GPU_KERNEL_##name,
    GPU_KERNELS(X)
#undef X
    GPU_KERNELS_COUNT
};
wi_cu_result gpu_launch(enum gpu_kernel kernel, unsigned blocks, unsigned threads,
                        struct CUstream_st *stream, void *parameter);

/* Device memory as bytes, on a stream of its own; for setting up and for looking at results. */
void gpu_read(uint64_t address, void *into, size_t bytes);
void gpu_write(uint64_t address, const void *from, size_t bytes);

/* ---- threads ---- */

struct gpu_worker {
    unsigned            number;
    void               *ctx;
    uint64_t            steps;
    uint64_t            bytes;
    struct wi_histogram latency;
    uint64_t            cpu_ns;
    uint64_t            steps_max; /* of a quick run, which does a fixed amount of work whatever the machine's speed; else 0 */
    _Atomic uint32_t   *stop;
};

static inline bool gpu_going(const struct gpu_worker *worker)
{
    if (worker->steps_max) return worker->steps < worker->steps_max;
    return wi_load(worker->stop, relaxed) == 0;
}

struct gpu_outcome {
    uint64_t            steps;
    uint64_t            bytes;
    uint64_t            wall_ns;
    uint64_t            cpu_ns; /* of the workers */
    struct weir_latency latency;
};

/* Run `count` workers for a time, or for so many steps in a quick run. `begin` and `end` run on each worker's thread outside the measured time; may be NULL. */
struct gpu_crew {
    unsigned count;
    uint64_t duration_ns;
    uint64_t steps_quick; /* of each worker */
    void   (*begin)(struct gpu_worker *worker);
    void   (*work)(struct gpu_worker *worker); /* until gpu_going() is false */
    void   (*end)(struct gpu_worker *worker);
    void    *ctx;
};

struct gpu_outcome gpu_run(const struct gpu_crew *crew);

/* Beside the measured: one thread that goes on until told to stop, for one turn at least. */
struct gpu_aside {
    pthread_t        thread;
    _Atomic uint32_t stop;
    uint64_t         turns;
    void           (*turn)(void *ctx);
    void            *ctx;
};

void gpu_aside_start(struct gpu_aside *aside, void (*turn)(void *ctx), void *ctx);
void gpu_aside_stop(struct gpu_aside *aside);

double gpu_median(double *values, size_t count);
void   gpu_pause_ns(uint64_t ns);
/* Driver calls that weir has made for this runtime. */
uint64_t gpu_calls(struct weir_runtime *rt);

#endif
