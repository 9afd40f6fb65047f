/* SPDX-License-Identifier: Apache-2.0 */
/* fake_gate.c - what every call of the double goes through: counting, faults, the lost device, misuse */
#include "fake_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct fake fake = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .resumed = PTHREAD_COND_INITIALIZER,
};

/* For the text of a misuse. */
static _Thread_local const char *current_call = "";

_Noreturn void fake_misuse(const char *format, ...)
{
    char    text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "fakecuda: misuse: %s: %s\n", current_call, text);
    fflush(stderr);
    abort();
}

void fake_set_sticky(uint32_t result)
{
    uint32_t none = 0;
    if (!wi_cas(&fake.sticky, &none, result, relaxed)) return;
    for (uint32_t i = 0; i < fake.devices_count; i++)
        if (fake.devices[i].emu != NULL) wi_emu_lose(fake.devices[i].emu);
}

static void pause_ns(uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / WI_NS_PER_S),
                            .tv_nsec = (long)(ns % WI_NS_PER_S)};
    while (nanosleep(&left, &left) != 0) continue;
}

static void stall_locked(void)
{
    uint64_t turn = fake.stall_turn;
    fake.stalls++;
    while (fake.stall_turn == turn) pthread_cond_wait(&fake.resumed, &fake.lock);
    fake.stalls--;
}

/* The fault of this use, if one is due. */
static wi_cu_result apply_faults(const char *symbol)
{
    uint64_t delay_ns = 0;
    uint32_t result = 0;
    uint32_t flags = 0;
    pthread_mutex_lock(&fake.lock);
    for (size_t i = 0; i < FAKE_FAULTS_MAX; i++) {
        struct fake_fault *fault = &fake.faults[i];
        if (!fault->armed || strcmp(fault->symbol, symbol) != 0) continue;
        fault->uses++;
        bool always = fault->set.flags & FAKECUDA_ALWAYS;
        if (fault->uses < fault->set.nth || (!always && fault->uses > fault->set.nth)) continue;
        delay_ns += fault->set.delay_ns;
        flags |= fault->set.flags;
        if (fault->set.result != 0) result = fault->set.result;
        if (!always) {
            fault->armed = false;
            wi_sub(&fake.armed, 1, relaxed);
        }
    }
    if (result != 0)
        fake.fired = (struct fakecuda_fired){fake.fired.count + 1, symbol, result, gettid()};
    if (flags & FAKECUDA_STALL) stall_locked();
    pthread_mutex_unlock(&fake.lock);
    if (delay_ns > 0) pause_ns(delay_ns);
    if (result != 0 && (flags & FAKECUDA_STICKY)) fake_set_sticky(result);
    return result;
}

/* Whether the process may call the driver at all. */
static wi_cu_result check_process(enum fake_row row, unsigned needs)
{
    int32_t process = wi_load(&fake.process, acquire);
    int32_t exiting = wi_load(&fake.exiting, acquire);
    if (exiting != 0) {
        if (exiting == (int32_t)gettid()) fake_misuse("called by an exit handler or a destructor");
        return WI_CU_DEINITIALIZED;
    }
    if (process != 0 && process != (int32_t)getpid()) return WI_CU_NOT_INITIALIZED;
    if (process == 0 && !(needs & FAKE_EARLY) && row != FAKE_cuInit) return WI_CU_NOT_INITIALIZED;
    return WI_CU_SUCCESS;
}

wi_cu_result fake_enter(enum fake_row row, unsigned needs)
{
    const char *symbol = fake_symbol_name(row);
    current_call = symbol;
    wi_add(&fake.calls[row], 1, relaxed);
    wi_cu_result result = check_process(row, needs);
    if (result != WI_CU_SUCCESS) return result;
    if (wi_emu_inside_call()) fake_misuse("called from inside a host function");
    if (wi_load(&fake.armed, relaxed) > 0) {
        result = apply_faults(symbol);
        if (result != WI_CU_SUCCESS) return result;
    }
    /* The thread's own state can be read and put back on a lost device. */
    if (needs == FAKE_PLAIN || needs == FAKE_EARLY) return WI_CU_SUCCESS;
    result = wi_load(&fake.sticky, relaxed);
    if (result != WI_CU_SUCCESS) return result;
    if ((needs & FAKE_CONTEXT) && fake_current() == NULL) return WI_CU_INVALID_CONTEXT;
    if ((needs & FAKE_CONTEXT) && fake_current()->destroyed) return WI_CU_CONTEXT_IS_DESTROYED;
    if ((needs & FAKE_UNSAFE) && wi_load(&fake.captures, acquire) > 0 && fake_capture_forbids())
        return WI_CU_STREAM_CAPTURE_UNSUPPORTED;
    return WI_CU_SUCCESS;
}

wi_cu_result fake_result(int err, wi_cu_result refused)
{
    switch (err) {
    case 0:
        return WI_CU_SUCCESS;
    case WEIR_EAGAIN:
        return WI_CU_NOT_READY;
    case WEIR_ENOMEM:
    case WEIR_EDEVMEM:
    case WEIR_EEXCEEDS:
        return WI_CU_OUT_OF_MEMORY;
    case WEIR_ECAPTURE:
        return WI_CU_STREAM_CAPTURE_UNSUPPORTED;
    case WEIR_EDEVICE: {
        /* Queued work failed: what it was told to fail with, else what a broken kernel leaves. */
        uint32_t result = fake.work_result != 0 ? fake.work_result : WI_CU_LAUNCH_FAILED;
        fake_set_sticky(result);
        return wi_load(&fake.sticky, relaxed);
    }
    case WEIR_EINTERNAL:
        fake_misuse("%s", wi_emu_reason());
    default:
        return refused;
    }
}

/* ---- controls ---- */

FAKE_API uint64_t fakecuda_calls(const char *symbol)
{
    uint64_t sum = 0;
    for (size_t row = 0; row < FAKE_ROWS_COUNT; row++)
        if (symbol == NULL || strcmp(symbol, fake_symbol_name(row)) == 0)
            sum += wi_load(&fake.calls[row], relaxed);
    return sum;
}

FAKE_API void fakecuda_fail(const struct fakecuda_fault *fault)
{
    current_call = "fakecuda_fail";
    if (fake_symbol_newest(fault->symbol) == NULL) fake_misuse("no symbol %s", fault->symbol);
    pthread_mutex_lock(&fake.lock);
    size_t at = 0;
    while (at < FAKE_FAULTS_MAX && fake.faults[at].armed) at++;
    if (at == FAKE_FAULTS_MAX) fake_misuse("more than %d faults", FAKE_FAULTS_MAX);
    fake.faults[at] = (struct fake_fault){.set = *fault, .armed = true};
    snprintf(fake.faults[at].symbol, sizeof(fake.faults[at].symbol), "%s", fault->symbol);
    wi_add(&fake.armed, 1, relaxed);
    pthread_mutex_unlock(&fake.lock);
}

FAKE_API void fakecuda_fired(struct fakecuda_fired *out)
{
    pthread_mutex_lock(&fake.lock);
    *out = fake.fired;
    pthread_mutex_unlock(&fake.lock);
}

FAKE_API void fakecuda_fail_work(uint64_t nth, uint32_t result)
{
    struct wi_emu_fault fault = {
        .op = WI_EMU_EXECUTE, .flags = WI_EMU_FAULT_STICKY, .nth = nth, .code = WEIR_EDEVICE};
    current_call = "fakecuda_fail_work";
    fake.work_result = result;
    if (fake.devices[0].emu == NULL) fake_misuse("device 0 has no context yet");
    if (wi_emu_fault_set(fake.devices[0].emu, &fault) < 0) fake_misuse("%s", wi_emu_reason());
}

FAKE_API uint32_t fakecuda_stalled(void)
{
    pthread_mutex_lock(&fake.lock);
    uint32_t stalls = fake.stalls;
    pthread_mutex_unlock(&fake.lock);
    return stalls;
}

/* Disarms the faults that have one of the flags; 0: all. */
static void disarm_locked(uint32_t flags)
{
    for (size_t i = 0; i < FAKE_FAULTS_MAX; i++) {
        struct fake_fault *fault = &fake.faults[i];
        if (!fault->armed || (flags != 0 && !(fault->set.flags & flags))) continue;
        fault->armed = false;
        wi_sub(&fake.armed, 1, relaxed);
    }
}

FAKE_API void fakecuda_resume(void)
{
    pthread_mutex_lock(&fake.lock);
    disarm_locked(FAKECUDA_STALL);
    fake.stall_turn++;
    pthread_cond_broadcast(&fake.resumed);
    pthread_mutex_unlock(&fake.lock);
}

FAKE_API void fakecuda_clear(void)
{
    pthread_mutex_lock(&fake.lock);
    disarm_locked(0);
    pthread_mutex_unlock(&fake.lock);
    for (uint32_t i = 0; i < fake.devices_count; i++)
        if (fake.devices[i].emu != NULL) wi_emu_fault_clear(fake.devices[i].emu);
}

FAKE_API void fakecuda_lose(uint32_t result)
{
    fake_set_sticky(result);
}

FAKE_API void fakecuda_live(struct fakecuda_live *out)
{
    struct fakecuda_live sum = {0};
    for (uint32_t i = 0; i < fake.devices_count; i++) {
        struct wi_emu_stats stats;
        sum.contexts += fake.devices[i].retained;
        if (fake.devices[i].emu == NULL) continue;
        wi_emu_stats_read(fake.devices[i].emu, &stats);
        /* The default streams are not the caller's. */
        sum.streams += stats.streams - 2;
        sum.events += stats.events;
        sum.device_allocations += stats.device_allocations;
        sum.host_allocations += stats.host_allocations;
        sum.registrations += stats.registrations;
        sum.pending += stats.pending;
    }
    *out = sum;
}
