/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_kernel.c - modules, kernels and stream memory operations
 *
 * A kernel is a C function that a program has told the double by fakecuda_kernel(). It takes one parameter, a struct
 * by value, which is copied at the launch. It runs in stream order on a thread of the double. A module knows every
 * kernel, whatever its image is.
 */
#include "fake_state.h"

#include <stdlib.h>
#include <string.h>

#define KERNELS_MAX 16

/* What cuModuleGetFunction gives out. */
struct CUfunc_st {
    char              name[64];
    size_t            parameter_bytes;
    fakecuda_run_fn  *run;
};

/* A module's handle is the address of this. */
struct CUmod_st {
    uint32_t loaded;
};

/* Kept in a list until it has run: a lost device drops it. */
struct launch {
    struct launch    *next;
    struct launch   **link;
    struct CUfunc_st *function;
    unsigned          blocks;
    unsigned          threads;
    char              parameter[];
};

struct word {
    struct launch     list; /* first */
    _Atomic uint32_t *at;
    uint32_t          value;
};

static struct CUfunc_st kernels[KERNELS_MAX]; /* under fake.lock */
static struct CUmod_st  module;
static struct launch   *launches; /* under fake.lock */

static void list_launch(struct launch *launch)
{
    pthread_mutex_lock(&fake.lock);
    launch->next = launches;
    launch->link = &launches;
    if (launches != NULL) launches->link = &launch->next;
    launches = launch;
    pthread_mutex_unlock(&fake.lock);
}

static void end_launch(struct launch *launch)
{
    pthread_mutex_lock(&fake.lock);
    *launch->link = launch->next;
    if (launch->next != NULL) launch->next->link = launch->link;
    pthread_mutex_unlock(&fake.lock);
    free(launch);
}

FAKE_API void fakecuda_kernel(const char *name, size_t parameter_bytes, fakecuda_run_fn *run)
{
    pthread_mutex_lock(&fake.lock);
    size_t at = 0;
    while (at < KERNELS_MAX && kernels[at].run != NULL && strcmp(kernels[at].name, name) != 0) at++;
    if (at == KERNELS_MAX || strlen(name) >= sizeof(kernels[at].name))
        fake_misuse("more than %d kernels, or a long name", KERNELS_MAX);
    memcpy(kernels[at].name, name, strlen(name) + 1);
    kernels[at].parameter_bytes = parameter_bytes;
    kernels[at].run = run;
    pthread_mutex_unlock(&fake.lock);
}

FAKE_API wi_cu_result cuModuleLoadData(struct CUmod_st **loaded, const void *image)
{
    wi_cu_result result = fake_enter(FAKE_cuModuleLoadData, FAKE_CONTEXT | FAKE_UNSAFE);
    if (result != WI_CU_SUCCESS) return result;
    if (image == NULL) return WI_CU_INVALID_VALUE;
    pthread_mutex_lock(&fake.lock);
    module.loaded++;
    pthread_mutex_unlock(&fake.lock);
    *loaded = &module;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuModuleUnload(struct CUmod_st *unloaded)
{
    wi_cu_result result = fake_enter(FAKE_cuModuleUnload, FAKE_CONTEXT | FAKE_UNSAFE);
    if (result != WI_CU_SUCCESS) return result;
    if (unloaded != &module) return WI_CU_INVALID_HANDLE;
    pthread_mutex_lock(&fake.lock);
    if (module.loaded == 0) fake_misuse("a module is unloaded that is not loaded");
    module.loaded--;
    pthread_mutex_unlock(&fake.lock);
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuModuleGetFunction(struct CUfunc_st **function, struct CUmod_st *from,
                                          const char *name)
{
    wi_cu_result result = fake_enter(FAKE_cuModuleGetFunction, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    if (from != &module) return WI_CU_INVALID_HANDLE;
    result = WI_CU_NOT_FOUND;
    pthread_mutex_lock(&fake.lock);
    for (size_t i = 0; i < KERNELS_MAX; i++) {
        if (kernels[i].run == NULL || strcmp(kernels[i].name, name) != 0) continue;
        *function = &kernels[i];
        result = WI_CU_SUCCESS;
    }
    pthread_mutex_unlock(&fake.lock);
    return result;
}

static void run_kernel(void *ctx)
{
    struct launch *launch = ctx;
    uint32_t       result = launch->function->run(launch->parameter, launch->blocks, launch->threads);
    end_launch(launch);
    if (result != WI_CU_SUCCESS) fake_set_sticky(result);
}

FAKE_API wi_cu_result cuLaunchKernel(struct CUfunc_st *function, unsigned grid_x, unsigned grid_y,
                                     unsigned grid_z, unsigned block_x, unsigned block_y,
                                     unsigned block_z, unsigned shared_bytes,
                                     struct CUstream_st *handle, void **parameters, void **extra)
{
    wi_cu_result result = fake_enter(FAKE_cuLaunchKernel, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    (void)shared_bytes;
    unsigned blocks = grid_x * grid_y * grid_z;
    unsigned threads = block_x * block_y * block_z;
    if (blocks == 0 || threads == 0 || threads > 1024 || parameters == NULL || extra != NULL)
        return WI_CU_INVALID_VALUE;
    struct CUstream_st *stream = fake_stream_here(handle, &result);
    if (stream == NULL) return result;
    struct launch *launch = malloc(sizeof(*launch) + function->parameter_bytes);
    if (launch == NULL) return WI_CU_OUT_OF_MEMORY;
    *launch = (struct launch){.function = function, .blocks = blocks, .threads = threads};
    memcpy(launch->parameter, parameters[0], function->parameter_bytes);
    list_launch(launch);
    result = fake_result(wi_emu_call(stream->device->emu, run_kernel, launch, stream->emu),
                         WI_CU_INVALID_VALUE);
    if (result != WI_CU_SUCCESS) end_launch(launch);
    return result;
}

static void write_word(void *ctx)
{
    struct word *word = ctx;
    /* The driver's own write is fenced: all that ran before it is visible with it. */
    wi_store(word->at, word->value, release);
    end_launch(&word->list);
}

FAKE_API wi_cu_result cuStreamWriteValue32_v2(struct CUstream_st *handle, wi_cu_address address,
                                              uint32_t value, unsigned flags)
{
    wi_cu_result result = fake_enter(FAKE_cuStreamWriteValue32_v2, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    if (flags & ~1u || address % sizeof(value) != 0) return WI_CU_INVALID_VALUE;
    struct CUstream_st *stream = fake_stream_here(handle, &result);
    if (stream == NULL) return result;
    struct wi_emu_range_info range;
    if (wi_emu_range_find(stream->device->emu, address, &range) < 0) return WI_CU_INVALID_VALUE;
    struct word *word = malloc(sizeof(*word));
    if (word == NULL) return WI_CU_OUT_OF_MEMORY;
    *word = (struct word){.at = (_Atomic uint32_t *)(uintptr_t)address, .value = value};
    list_launch(&word->list);
    result = fake_result(wi_emu_call(stream->device->emu, write_word, word, stream->emu),
                         WI_CU_INVALID_VALUE);
    if (result != WI_CU_SUCCESS) end_launch(&word->list);
    return result;
}
