/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_fixture.h - the cuda backend over the driver double, for the tests of the backend */
#ifndef CUDA_FIXTURE_H
#define CUDA_FIXTURE_H

#include "device/device.h"
#include "fakecuda.h"

#include <sys/types.h>

struct cuda_fixture {
    struct fakecuda             fake;
    struct wi_device           *device;
    const struct wi_device_ops *ops;

    /* What the host program calls itself, past weir. Forms with versions are the newest ones. */
    struct wi_cu app;
    wi_cu_result (*begin_capture)(struct CUstream_st *stream, unsigned mode);
    wi_cu_result (*end_capture)(struct CUstream_st *stream, struct CUgraph_st **graph);
    wi_cu_result (*destroy_graph)(struct CUgraph_st *graph);
    wi_cu_result (*stream_priority)(struct CUstream_st *stream, int *priority);
};

/* Which library weir is to open. Before the first call of weir in the process. */
void cuda_fixture_library(const char *path);
/* Point weir at the double and tell it what to be; nothing is opened yet. */
void cuda_fixture_init(struct cuda_fixture *fixture, const char *config);
/* The same, and open device 0. */
void cuda_fixture_open(struct cuda_fixture *fixture, const char *config);
/* Close, and fail unless everything was given back. */
void cuda_fixture_close(struct cuda_fixture *fixture);

/* Whether the thread's latest failure has this text in its line. */
bool              cuda_fixture_said(const char *text);
struct weir_error cuda_fixture_error(void);

/*
 * Run fn(ctx) in a child process; answers its exit status, or minus the signal that ended it. Exit
 * handlers do not run unless fn itself calls exit().
 */
int cuda_fixture_child(int (*fn)(void *ctx), void *ctx);

#endif
