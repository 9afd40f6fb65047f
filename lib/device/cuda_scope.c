/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_scope.c - before and after every driver call: the thread's state, the result, the lost device */
#include "base/log.h"
#include "device/cuda_device.h"

/*
 * The context and the capture mode belong to the thread: these calls take no lock of the driver and touch
 * no device. They are counted in device->thread_calls; device->calls stands for calls that do.
 */
static wi_cu_result change_thread(struct wi_cuda_scope *scope, uint32_t needs, const char **call)
{
    const struct wi_cu *cu = scope->cu;
    wi_cu_result        result = WI_CU_SUCCESS;
    if (needs & WI_CUDA_CONTEXT) {
        struct CUctx_st *current = NULL;
        *call = "cuCtxGetCurrent";
        scope->thread_calls++;
        result = cu->context_current(&current);
        if (result == WI_CU_SUCCESS && current != scope->cuda->context) {
            *call = "cuCtxPushCurrent";
            scope->thread_calls++;
            result = cu->context_push(scope->cuda->context);
            scope->pushed = result == WI_CU_SUCCESS;
        }
    }
    if (result == WI_CU_SUCCESS && (needs & WI_CUDA_RELAXED) && cu->capture_mode != NULL) {
        *call = "cuThreadExchangeStreamCaptureMode";
        scope->mode = WI_CU_CAPTURE_RELAXED;
        scope->thread_calls++;
        result = cu->capture_mode(&scope->mode);
        scope->relaxed = result == WI_CU_SUCCESS;
    }
    return result;
}

/* A failure to put the thread back is logged only: the operation itself has its own result. */
static void restore_thread(struct wi_cuda_scope *scope)
{
    const struct wi_cu *cu = scope->cu;
    wi_cu_result        result = WI_CU_SUCCESS;
    const char         *call = "cuThreadExchangeStreamCaptureMode";
    scope->thread_calls += (uint32_t)scope->relaxed + (uint32_t)scope->pushed;
    if (scope->relaxed) result = cu->capture_mode(&scope->mode);
    if (scope->pushed) {
        struct CUctx_st *popped = NULL;
        wi_cu_result     pop = cu->context_pop(&popped);
        if (pop != WI_CU_SUCCESS) {
            result = pop;
            call = "cuCtxPopCurrent";
        }
    }
    if (WI_UNLIKELY(result != WI_CU_SUCCESS) && wi_load(&scope->cuda->base.lost, relaxed) == 0)
        wi_log(WARN, "cuda", "device %u: the thread was not put back as it was: %s answered %u, %s",
               scope->cuda->base.ordinal, call, result, wi_cu_meaning_of(result)->name);
}

int wi_cuda_enter(struct wi_device *device, uint32_t needs, struct wi_cuda_scope *scope)
{
    struct wi_cuda *cuda = wi_cuda_of(device);
    if (WI_UNLIKELY(wi_cu_forked()))
        return WI_FAIL(FORKED, .detail = "the device was opened before this process was forked");
    /* order(device-lost): acquire; pairs with wi_device_lose(). Makes the result that lost it visible. */
    if (WI_UNLIKELY(wi_load(&device->lost, acquire) != 0))
        return WI_FAIL(DEVICE, .detail = "the device was lost by an earlier call",
                       .call = wi_load(&cuda->lost_call, relaxed),
                       .driver_code = (int32_t)wi_load(&cuda->lost_result, relaxed));

    *scope = (struct wi_cuda_scope){.cuda = cuda, .cu = cuda->cu};
    const char  *call = "";
    wi_cu_result result = change_thread(scope, needs, &call);
    if (WI_LIKELY(result == WI_CU_SUCCESS)) return 0;
    restore_thread(scope);
    wi_add(&device->thread_calls, scope->thread_calls, relaxed);
    int err = wi_cuda_failed(cuda, WI_CUDA_WORK, call, result);
    if (wi_load(&device->lost, relaxed) == 0)
        wi_log(WARN, "cuda", "device %u: the thread could not be made ready: %s answered %u, %s",
               device->ordinal, call, result, wi_cu_meaning_of(result)->name);
    return err;
}

int wi_cuda_leave_at(struct wi_cuda_scope *scope, enum wi_cuda_subject subject, const char *call,
                     wi_cu_result result, const char *file, unsigned line)
{
    wi_add(&scope->cuda->base.calls, 1, relaxed);
    if (scope->pushed || scope->relaxed) restore_thread(scope);
    if (scope->thread_calls) wi_add(&scope->cuda->base.thread_calls, scope->thread_calls, relaxed);
    if (WI_LIKELY(result == WI_CU_SUCCESS)) return 0;
    /* An answer and no failure: nothing is recorded. */
    if (WI_LIKELY(result == WI_CU_NOT_READY)) return WEIR_EAGAIN;
    return wi_cuda_failed_at(scope->cuda, subject, call, result, file, line);
}

static WI_COLD void lose(struct wi_cuda *cuda, const char *call, wi_cu_result result)
{
    uint32_t none = 0;
    if (!wi_cas(&cuda->lost_result, &none, result, relaxed)) return;
    wi_store(&cuda->lost_call, call, relaxed);
    wi_device_lose(&cuda->base);
    wi_log(ERROR, "cuda", "device %u is lost: %s answered %u, %s", cuda->base.ordinal, call, result,
           wi_cu_meaning_of(result)->name);
}

WI_COLD int wi_cuda_failed_at(struct wi_cuda *cuda, enum wi_cuda_subject subject, const char *call,
                              wi_cu_result result, const char *file, unsigned line)
{
    const struct wi_cu_meaning *meaning = wi_cu_meaning_of(result);
    int                         code = meaning->code;
    bool                        loses = meaning->loses;
    if (result == WI_CU_OUT_OF_MEMORY && subject == WI_CUDA_DEVICE_MEMORY) code = WEIR_EDEVMEM;
    /* Fail closed: memory whose work ended in an unknown way must not be handed out again. */
    bool unknown = result == WI_CU_UNKNOWN || meaning->result != result;
    if (unknown && subject == WI_CUDA_WORK) {
        code = WEIR_EDEVICE;
        loses = true;
    }
    if (loses) lose(cuda, call, result);
    return wi_fail_at(code, file, line,
                      &(const struct wi_cause){
                          .call = call,
                          .detail = meaning->name,
                          .driver_code = (int32_t)result,
                      });
}

WI_COLD int wi_cuda_kept_at(struct wi_cuda_scope *scope, enum wi_cuda_subject subject,
                            const char *call, wi_cu_result result, const char *file, unsigned line)
{
    int err = wi_cuda_leave_at(scope, subject, call, result, file, line);
    if (err < 0 && wi_load(&scope->cuda->base.lost, relaxed) == 0)
        wi_log(WARN, "cuda", "device %u: the driver did not take something back: %s answered %u, %s",
               scope->cuda->base.ordinal, call, result, wi_cu_meaning_of(result)->name);
    return err;
}
