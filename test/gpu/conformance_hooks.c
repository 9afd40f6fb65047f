/* SPDX-License-Identifier: Apache-2.0 */
#include "conformance_hooks.h"

#include "base/settings.h"
#include "device/cuda.h"
#include "gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

static bool has_kernels;

static void find_all(struct wi_device *device)
{
    gpu_find();
    gpu.context = wi_cuda_context(device);
}

bool gpu_hook_is_double(void)
{
    void *library = dlopen(wi_settings()->cuda_library, RTLD_NOW | RTLD_LOCAL);
    return library != NULL && dlsym(library, "fakecuda_lose") != NULL;
}

void gpu_hook_prepare(struct wi_device *device)
{
    struct CUctx_st *popped = NULL;
    find_all(device);
    if (gpu.is_double) return;
    GPU_CU(gpu.cu->context_push(gpu.context));
    has_kernels = gpu_load_kernels();
    GPU_CU(gpu.cu->context_pop(&popped));
}

static void crash(void)
{
    struct CUstream_st        *stream = NULL;
    struct gpu_crash_parameter parameter = {.address = 8};
    if (!has_kernels) _exit(GPU_EXIT_SKIP);
    GPU_CU(gpu.cu->stream_create(&stream, WI_CU_STREAM_NON_BLOCKING, 0));
    wi_cu_result result = gpu_launch(GPU_KERNEL_crash, 1, 1, stream, &parameter);
    while (result == WI_CU_SUCCESS || result == WI_CU_NOT_READY) {
        gpu_pause_ns(MS);
        result = gpu.cu->stream_query(stream);
        if (result == WI_CU_SUCCESS) gpu_fatal("a kernel that writes to address 8 ran to its end");
    }
}

void gpu_hook_lose(struct wi_device *device)
{
    find_all(device);
    if (gpu.lose != NULL) {
        gpu.lose(WI_CU_LAUNCH_FAILED);
        return;
    }
    struct CUctx_st *popped = NULL;
    GPU_CU(gpu.cu->context_push(gpu.context));
    crash();
    (void)gpu.cu->context_pop(&popped);
}

void gpu_hook_capture(struct wi_device *device, void *stream, bool on)
{
    struct CUctx_st   *popped = NULL;
    struct CUgraph_st *graph = NULL;
    find_all(device);
    if (gpu.begin_capture == NULL || gpu.end_capture == NULL || gpu.graph_destroy == NULL)
        gpu_fatal("the driver lacks graph captures");
    GPU_CU(gpu.cu->context_push(gpu.context));
    if (on) {
        GPU_CU(gpu.begin_capture(stream, WI_CU_CAPTURE_RELAXED));
    } else {
        GPU_CU(gpu.end_capture(stream, &graph));
        if (graph != NULL) GPU_CU(gpu.graph_destroy(graph));
    }
    GPU_CU(gpu.cu->context_pop(&popped));
}
