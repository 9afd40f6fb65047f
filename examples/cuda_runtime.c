/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_runtime.c - weir in a program that uses the CUDA runtime already: its streams, its device memory, its copies
 *
 *     the program's stream in weir     weir_stream_adopt_cuda(): copies and guards on it
 *     weir's buffer in CUDA's calls    cudaMemcpyAsync() from buffer->host, then weir_buffer_guard()
 *     weir's stream in CUDA's calls    weir_stream_cuda()
 *
 * weir works in the device's primary context, which is the CUDA runtime's. Built where a toolkit is found; exits with 77
 * where there is no GPU.
 */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/cuda.h>
#include <weir/scope.h>
#include <weir/weir.h>

#define BYTES ((size_t)1 << 20)

static void check(int answer)
{
    char text[512];
    if (answer >= 0) return;
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "cuda_runtime: %s\n", text);
    exit(1);
}

static void check_cuda(cudaError_t result)
{
    if (result == cudaSuccess) return;
    fprintf(stderr, "cuda_runtime: %s\n", cudaGetErrorString(result));
    exit(1);
}

/* The program's own stream and memory; weir's pinned buffers. Returns how many bytes differ. */
static size_t on_own_stream(struct weir_runtime *rt, struct weir_pool *pool, cudaStream_t own, void *memory)
{
    weir_auto(stream) adopted = NULL;
    weir_auto(buffer) back = NULL;
    struct weir_buffer *source;
    size_t differ = 0;

    check(weir_stream_adopt_cuda(rt, own, &adopted));
    check(weir_buffer_acquire(pool, WEIR_FOREVER, &source));
    check(weir_buffer_acquire(pool, WEIR_FOREVER, &back));
    memset(source->host, 5, BYTES);
    /* weir does not see this copy: the guard behind it says that the stream uses the buffer. */
    check_cuda(cudaMemcpyAsync(memory, source->host, BYTES, cudaMemcpyHostToDevice, own));
    check(weir_buffer_guard(source, adopted));
    check(weir_buffer_release(source)); /* at once; reused when the copy is done */
    /* This one it sees. */
    check(weir_stream_download(adopted, weir_slice_all(back), (uint64_t)(uintptr_t)memory));
    check(weir_buffer_sync(back, WEIR_FOREVER));
    for (size_t i = 0; i < BYTES; i++) differ += ((unsigned char *)back->host)[i] != 5;
    return differ;
}

/* A stream of weir's in the program's calls. */
static size_t on_leased_stream(struct weir_runtime *rt, struct weir_pool *pool, void *memory)
{
    weir_auto(stream) leased = NULL;
    weir_auto(buffer) buffer = NULL;
    struct CUstream_st *handle;
    size_t differ = 0;

    check(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &leased));
    check(weir_stream_cuda(leased, &handle));
    check(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    check_cuda(cudaMemsetAsync(memory, 9, BYTES, handle));
    check(weir_stream_download(leased, weir_slice_all(buffer), (uint64_t)(uintptr_t)memory));
    check(weir_buffer_sync(buffer, WEIR_FOREVER));
    for (size_t i = 0; i < BYTES; i++) differ += ((unsigned char *)buffer->host)[i] != 9;
    return differ;
}

int main(void)
{
    int          devices = 0;
    void        *memory;
    cudaStream_t own;

    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        fprintf(stderr, "cuda_runtime: skipped, there is no GPU\n");
        return 77;
    }
    check_cuda(cudaSetDevice(0));
    check_cuda(cudaMalloc(&memory, BYTES));
    check_cuda(cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking));

    weir_auto(runtime) rt = NULL;
    weir_auto(pool) pool = NULL;
    check(weir_runtime_create(WEIR_OPTS(runtime, .backend = "cuda"), &rt));
    check(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 4), &pool));
    size_t differ = on_own_stream(rt, pool, own, memory) + on_leased_stream(rt, pool, memory);
    printf("%zu bytes differ\n", differ);
    check_cuda(cudaStreamDestroy(own)); /* the adoption has ended with its scope */
    check_cuda(cudaFree(memory));
    return differ == 0 ? 0 : 1;
}
