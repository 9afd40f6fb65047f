/* SPDX-License-Identifier: Apache-2.0 */
/* fake_context.c - starting the double, its devices, their primary contexts and each thread's stack of them */
#include "fake_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Thread_local struct CUctx_st *stack[FAKE_STACK_MAX];
static _Thread_local uint32_t         depth;

static void at_exit(void)
{
    wi_store(&fake.exiting, (int32_t)gettid(), release);
}

FAKE_API wi_cu_result cuInit(unsigned flags)
{
    wi_cu_result result = fake_enter(FAKE_cuInit, FAKE_EARLY);
    if (result != WI_CU_SUCCESS) return result;
    if (flags != 0) return WI_CU_INVALID_VALUE;
    pthread_mutex_lock(&fake.lock);
    fake_configure_locked();
    result = fake.init_result;
    if (result == WI_CU_SUCCESS && fake.devices_count == 0) result = WI_CU_NO_DEVICE;
    if (result == WI_CU_SUCCESS && wi_load(&fake.process, relaxed) == 0) {
        for (uint32_t i = 0; i < fake.devices_count; i++) fake.devices[i].ordinal = i;
        atexit(at_exit);
        wi_store(&fake.process, (int32_t)getpid(), release);
    }
    pthread_mutex_unlock(&fake.lock);
    return result;
}

FAKE_API wi_cu_result cuDriverGetVersion(int *version)
{
    wi_cu_result result = fake_enter(FAKE_cuDriverGetVersion, FAKE_EARLY);
    if (result == WI_CU_SUCCESS) *version = fake.version;
    return result;
}

FAKE_API wi_cu_result cuDeviceGetCount(int *count)
{
    wi_cu_result result = fake_enter(FAKE_cuDeviceGetCount, FAKE_PLAIN);
    if (result == WI_CU_SUCCESS) *count = (int)fake.devices_count;
    return result;
}

static bool is_device(int ordinal)
{
    return ordinal >= 0 && (uint32_t)ordinal < fake.devices_count;
}

FAKE_API wi_cu_result cuDeviceGet(wi_cu_device *device, int ordinal)
{
    wi_cu_result result = fake_enter(FAKE_cuDeviceGet, FAKE_PLAIN);
    if (result != WI_CU_SUCCESS) return result;
    if (!is_device(ordinal)) return WI_CU_INVALID_DEVICE;
    *device = ordinal;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuDeviceGetName(char *name, int bytes, wi_cu_device device)
{
    wi_cu_result result = fake_enter(FAKE_cuDeviceGetName, FAKE_PLAIN);
    if (result != WI_CU_SUCCESS) return result;
    if (!is_device(device)) return WI_CU_INVALID_DEVICE;
    snprintf(name, (size_t)bytes, "weir test double %d", device);
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuDeviceTotalMem_v2(size_t *bytes, wi_cu_device device)
{
    wi_cu_result result = fake_enter(FAKE_cuDeviceTotalMem_v2, FAKE_PLAIN);
    if (result != WI_CU_SUCCESS) return result;
    if (!is_device(device)) return WI_CU_INVALID_DEVICE;
    *bytes = fake.model.memory_bytes;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuDeviceGetAttribute(int *value, unsigned attribute, wi_cu_device device)
{
    wi_cu_result result = fake_enter(FAKE_cuDeviceGetAttribute, FAKE_PLAIN);
    if (result != WI_CU_SUCCESS) return result;
    if (!is_device(device)) return WI_CU_INVALID_DEVICE;
    switch (attribute) {
    case WI_CU_UNIFIED_ADDRESSING:
        *value = fake.unified;
        break;
    case WI_CU_CAN_USE_HOST_POINTER:
        *value = fake.same_address;
        break;
    case WI_CU_HOST_NUMA_ID:
        *value = -1;
        break;
    default:
        *value = 0;
    }
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuDeviceGetPCIBusId(char *text, int bytes, wi_cu_device device)
{
    wi_cu_result result = fake_enter(FAKE_cuDeviceGetPCIBusId, FAKE_PLAIN);
    if (result != WI_CU_SUCCESS) return result;
    if (!is_device(device)) return WI_CU_INVALID_DEVICE;
    snprintf(text, (size_t)bytes, "%s", fake.bus_id);
    return WI_CU_SUCCESS;
}

/* ---- primary contexts ---- */

static void told_of_misuse(void *ctx, const char *text)
{
    (void)ctx;
    fake_misuse("%s", text);
}

static wi_cu_result make_context_locked(struct fake_device *device)
{
    struct wi_emu_opts opts = {
        .model = fake.model,
        .clock = fake.clock,
        .seed = fake.seed + device->ordinal,
        .misuse = told_of_misuse,
    };
    struct CUctx_st *context = calloc(1, sizeof(*context));
    if (context == NULL) return WI_CU_OUT_OF_MEMORY;
    if (wi_emu_create(&opts, &device->emu) < 0) {
        free(context);
        return WI_CU_OUT_OF_MEMORY;
    }
    context->device = device;
    device->context = context;
    fake_context_made(device);
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuDevicePrimaryCtxRetain(struct CUctx_st **context, wi_cu_device device)
{
    wi_cu_result result = fake_enter(FAKE_cuDevicePrimaryCtxRetain, FAKE_UNSAFE);
    if (result != WI_CU_SUCCESS) return result;
    if (!is_device(device)) return WI_CU_INVALID_DEVICE;
    struct fake_device *chosen = &fake.devices[device];
    pthread_mutex_lock(&fake.lock);
    if (chosen->context == NULL) result = make_context_locked(chosen);
    if (result == WI_CU_SUCCESS) {
        chosen->retained++;
        *context = chosen->context;
    }
    pthread_mutex_unlock(&fake.lock);
    return result;
}

static void check_empty(const struct wi_emu_stats *stats)
{
    if (stats->streams > 0 || stats->events > 0 || stats->device_allocations > 0 ||
        stats->host_allocations > 0 || stats->registrations > 0)
        fake_misuse(
            "the context ends with %lu streams, %lu events, %lu device allocations, %lu host "
            "allocations and %lu registrations alive",
            (unsigned long)stats->streams, (unsigned long)stats->events,
            (unsigned long)stats->device_allocations, (unsigned long)stats->host_allocations,
            (unsigned long)stats->registrations);
}

FAKE_API wi_cu_result cuDevicePrimaryCtxRelease_v2(wi_cu_device device)
{
    wi_cu_result result = fake_enter(FAKE_cuDevicePrimaryCtxRelease_v2, FAKE_UNSAFE);
    if (result != WI_CU_SUCCESS) return result;
    if (!is_device(device)) return WI_CU_INVALID_DEVICE;
    struct fake_device *chosen = &fake.devices[device];
    struct wi_emu      *ended = NULL;
    pthread_mutex_lock(&fake.lock);
    if (chosen->retained == 0) {
        result = WI_CU_INVALID_CONTEXT;
    } else if (--chosen->retained == 0) {
        /* The struct stays, so that a thread that still has it current is told and does not crash. */
        chosen->context->destroyed = true;
        chosen->context->next_dead = fake.dead_contexts;
        fake.dead_contexts = chosen->context;
        chosen->context = NULL;
        fake_context_ending(chosen);
        ended = chosen->emu;
        chosen->emu = NULL;
    }
    pthread_mutex_unlock(&fake.lock);
    if (ended != NULL) {
        struct wi_emu_stats last;
        wi_emu_destroy(ended, &last);
        check_empty(&last);
    }
    return result;
}

/* ---- the thread's stack ---- */

struct CUctx_st *fake_current(void)
{
    return depth > 0 ? stack[depth - 1] : NULL;
}

struct fake_device *fake_current_device(void)
{
    return fake_current()->device;
}

FAKE_API wi_cu_result cuCtxGetCurrent(struct CUctx_st **context)
{
    wi_cu_result result = fake_enter(FAKE_cuCtxGetCurrent, FAKE_PLAIN);
    if (result == WI_CU_SUCCESS) *context = fake_current();
    return result;
}

/* NULL pops; an empty stack is pushed to. */
FAKE_API wi_cu_result cuCtxSetCurrent(struct CUctx_st *context)
{
    wi_cu_result result = fake_enter(FAKE_cuCtxSetCurrent, FAKE_PLAIN);
    if (result != WI_CU_SUCCESS) return result;
    if (context != NULL && context->destroyed) return WI_CU_INVALID_CONTEXT;
    if (depth == 0 && context != NULL)
        stack[depth++] = context;
    else if (context != NULL)
        stack[depth - 1] = context;
    else if (depth > 0)
        depth--;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuCtxPushCurrent_v2(struct CUctx_st *context)
{
    wi_cu_result result = fake_enter(FAKE_cuCtxPushCurrent_v2, FAKE_PLAIN);
    if (result != WI_CU_SUCCESS) return result;
    if (context == NULL || context->destroyed) return WI_CU_INVALID_CONTEXT;
    if (depth == FAKE_STACK_MAX) fake_misuse("%d contexts pushed and not popped", FAKE_STACK_MAX);
    stack[depth++] = context;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuCtxPopCurrent_v2(struct CUctx_st **context)
{
    wi_cu_result result = fake_enter(FAKE_cuCtxPopCurrent_v2, FAKE_PLAIN);
    if (result != WI_CU_SUCCESS) return result;
    if (depth == 0) return WI_CU_INVALID_CONTEXT;
    struct CUctx_st *popped = stack[--depth];
    if (context != NULL) *context = popped;
    return WI_CU_SUCCESS;
}

FAKE_API wi_cu_result cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    wi_cu_result result = fake_enter(FAKE_cuCtxGetStreamPriorityRange, FAKE_CONTEXT);
    if (result != WI_CU_SUCCESS) return result;
    *least = WI_EMU_PRIORITY_LEAST;
    *greatest = WI_EMU_PRIORITY_GREATEST;
    return WI_CU_SUCCESS;
}
