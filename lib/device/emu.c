/* SPDX-License-Identifier: Apache-2.0 */
/* emu.c - the emulated device as a whole: birth, death, counts, faults, loss, and the way in and out */
#include "device/emu_state.h"

#include "base/alloc.h"
#include "base/cancel.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

/* What this machine is taken to copy, until it has been measured. */
#define RATE_FIRST_BYTES_PER_S UINT64_C(8000000000)

static _Thread_local const char *thread_reason = "";
static _Thread_local bool        thread_inside_call;

const char *wi_emu_reason(void)
{
    return thread_reason;
}

bool wi_emu_inside_call(void)
{
    return thread_inside_call;
}

void wi_emu_set_inside_call(bool inside)
{
    thread_inside_call = inside;
}

int wi_emu_refuse(int code, const char *reason)
{
    thread_reason = reason;
    return code;
}

int wi_emu_misuse_locked(struct wi_emu *emu, const char *text)
{
    emu->stats.misuses++;
    emu->misuse_text = text;
    return wi_emu_refuse(WEIR_EINTERNAL, text);
}

uint64_t wi_emu_now_locked(const struct wi_emu *emu)
{
    return emu->opts.clock == WI_EMU_VIRTUAL ? emu->now_ns : weir_clock_ns();
}

static int check_opts(const struct wi_emu_opts *opts)
{
    const struct wi_emu_model *model = &opts->model;

    if (model->up_bytes_per_s == 0 || model->down_bytes_per_s == 0 ||
        model->device_bytes_per_s == 0)
        return wi_emu_refuse(WEIR_EINVAL, "a rate of the model is 0");
    if (model->memory_bytes == 0) return wi_emu_refuse(WEIR_EINVAL, "the model has no memory");
    if (opts->clock > WI_EMU_VIRTUAL) return wi_emu_refuse(WEIR_EINVAL, "no such clock");
    if (opts->workers_max > WI_EMU_WORKERS_MAX)
        return wi_emu_refuse(WEIR_EINVAL, "more workers than WI_EMU_WORKERS_MAX");
    return 0;
}

/* A host function may block its worker, so copies need a second one. */
static uint32_t workers_default(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    if (cpus < 2) return 2;
    return cpus < WI_EMU_WORKERS_MAX ? (uint32_t)cpus : WI_EMU_WORKERS_MAX;
}

int wi_emu_create(const struct wi_emu_opts *opts, struct wi_emu **out)
{
    pthread_condattr_t attributes;
    struct wi_emu     *emu;

    WI_TRY(check_opts(opts));
    emu = wi_calloc(1, sizeof(*emu));
    if (emu == NULL) return wi_emu_refuse(WEIR_ENOMEM, "no memory for the emulated device");
    emu->opts = *opts;
    emu->workers_max = opts->workers_max != 0 ? opts->workers_max : workers_default();
    emu->random = opts->seed;
    emu->rate_bytes_per_s = RATE_FIRST_BYTES_PER_S;

    /* None of these can fail on Linux: they allocate nothing. */
    pthread_mutex_init(&emu->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&emu->leading, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_cond_init(&emu->idling, NULL);
    pthread_cond_init(&emu->change, NULL);

    wi_emu_arena_init(&emu->streams, sizeof(struct wi_emu_stream));
    wi_emu_arena_init(&emu->events, sizeof(struct wi_emu_event));
    wi_emu_arena_init(&emu->tickets, sizeof(struct emu_ticket));
    wi_emu_arena_init(&emu->operations, sizeof(struct emu_operation));
    wi_emu_arena_init(&emu->range_records, sizeof(struct emu_range));
    *out = emu;
    return 0;
}

/* What a hold keeps back never runs. */
static void drop_everything_locked(struct wi_emu *emu)
{
    for (struct wi_emu_stream *stream = emu->alive; stream != NULL; stream = stream->alive_next) {
        while (stream->first != NULL) {
            struct emu_operation *operation = stream->first;

            stream->first = operation->next;
            wi_emu_operation_drop_locked(emu, operation);
        }
        stream->last = NULL;
    }
}

void wi_emu_destroy(struct wi_emu *emu, struct wi_emu_stats *last)
{
    if (emu == NULL) return;
    wi_emu_run(emu);
    wi_emu_workers_join(emu);
    pthread_mutex_lock(&emu->lock);
    wi_assert_costly(wi_emu_check_locked(emu));
    drop_everything_locked(emu);
    if (last != NULL) *last = emu->stats;
    pthread_mutex_unlock(&emu->lock);

    wi_emu_memory_fini(emu);
    wi_emu_arena_fini(&emu->streams);
    wi_emu_arena_fini(&emu->events);
    wi_emu_arena_fini(&emu->tickets);
    wi_emu_arena_fini(&emu->operations);
    wi_emu_arena_fini(&emu->range_records);
    pthread_cond_destroy(&emu->change);
    pthread_cond_destroy(&emu->idling);
    pthread_cond_destroy(&emu->leading);
    pthread_mutex_destroy(&emu->lock);
    wi_free(emu);
}

void wi_emu_stats_read(struct wi_emu *emu, struct wi_emu_stats *out)
{
    pthread_mutex_lock(&emu->lock);
    *out = emu->stats;
    pthread_mutex_unlock(&emu->lock);
}

uint64_t wi_emu_clock_ns(struct wi_emu *emu)
{
    uint64_t now_ns;

    pthread_mutex_lock(&emu->lock);
    now_ns = wi_emu_now_locked(emu);
    pthread_mutex_unlock(&emu->lock);
    return now_ns;
}

/* ---- the way in and out ---- */

/* A fault's delay: real time where there is any. The lock is not held, as a slow driver call holds none of ours. */
static void pause_call(struct wi_emu *emu, uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / WI_NS_PER_S),
                            .tv_nsec = (long)(ns % WI_NS_PER_S)};

    if (emu->opts.clock == WI_EMU_VIRTUAL) {
        wi_emu_clock_advance(emu, ns);
        return;
    }
    /* tidy-allow: nanosleep, because a slow driver call is what is imitated. */
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

int wi_emu_enter(struct wi_emu *emu, enum wi_emu_op op)
{
    struct wi_emu_fault fault;

    pthread_mutex_lock(&emu->lock);
    emu->stats.calls[op]++;
    if (WI_UNLIKELY(thread_inside_call))
        return wi_emu_leave(emu,
                            wi_emu_misuse_locked(emu, "device call from inside a host function"));
    if (WI_UNLIKELY(emu->lost))
        return wi_emu_leave(emu, wi_emu_refuse(WEIR_EDEVICE, "the device is lost"));
    if (WI_LIKELY(!wi_emu_fault_take_locked(emu, op, &fault))) return 0;

    if (fault.delay_ns > 0) {
        wi_emu_leave(emu, 0);
        pause_call(emu, fault.delay_ns);
        pthread_mutex_lock(&emu->lock);
    }
    if (fault.flags & WI_EMU_FAULT_STICKY) wi_emu_lose_locked(emu);
    if (fault.code == 0) return 0;
    return wi_emu_leave(emu, wi_emu_refuse(fault.code, "made to fail by a test"));
}

int wi_emu_leave(struct wi_emu *emu, int err)
{
    const char     *misuse = emu->misuse_text;
    pthread_cond_t *wake = NULL;

    emu->misuse_text = NULL;
    if (emu->kick) wake = wi_emu_attend_locked(emu);
    pthread_mutex_unlock(&emu->lock);
    if (wake != NULL) pthread_cond_signal(wake);
    if (WI_UNLIKELY(misuse != NULL) && emu->opts.misuse != NULL)
        emu->opts.misuse(emu->opts.ctx, misuse);
    return err;
}

void wi_emu_change_locked(struct wi_emu *emu)
{
    if (emu->waiters > 0) pthread_cond_broadcast(&emu->change);
}

void wi_emu_pause_locked(struct wi_emu *emu)
{
    if (emu->opts.clock == WI_EMU_VIRTUAL && wi_emu_step_locked(emu)) return;
    emu->waiters++;
    WI_UNCANCELLABLE; /* the lock is held, and the wait would be a cancellation point */
    pthread_cond_wait(&emu->change, &emu->lock);
    emu->waiters--;
}

/* ---- faults and loss ---- */

int wi_emu_fault_set(struct wi_emu *emu, const struct wi_emu_fault *fault)
{
    int err = 0;

    if (fault->op >= WI_EMU_OPS_COUNT) return wi_emu_refuse(WEIR_EINVAL, "no such operation");
    if (fault->nth == 0) return wi_emu_refuse(WEIR_EINVAL, "uses are counted from 1");
    if (fault->code > 0) return wi_emu_refuse(WEIR_EINVAL, "codes are negative");
    pthread_mutex_lock(&emu->lock);
    if (emu->faults_count == WI_EMU_FAULTS_MAX)
        err = wi_emu_refuse(WEIR_EEXCEEDS, "WI_EMU_FAULTS_MAX faults are armed");
    else
        emu->faults[emu->faults_count++] = *fault;
    pthread_mutex_unlock(&emu->lock);
    return err;
}

void wi_emu_fault_clear(struct wi_emu *emu)
{
    pthread_mutex_lock(&emu->lock);
    emu->faults_count = 0;
    pthread_mutex_unlock(&emu->lock);
}

bool wi_emu_fault_take_locked(struct wi_emu *emu, enum wi_emu_op op, struct wi_emu_fault *out)
{
    bool found = false;

    /* Each armed fault of the operation counts this use; the first that is due happens. */
    for (uint32_t i = 0; i < emu->faults_count; i++) {
        struct wi_emu_fault *fault = &emu->faults[i];

        if (fault->op != op) continue;
        if (fault->nth > 1) {
            fault->nth--;
        } else if (!found) {
            found = true;
            *out = *fault;
            *fault = emu->faults[--emu->faults_count];
            i--;
        }
    }
    return found;
}

void wi_emu_lose_locked(struct wi_emu *emu)
{
    if (emu->lost) return;
    emu->lost = true;
    emu->stats.lost = 1;
    emu->ready = (struct emu_list){0};
    emu->timers = (struct emu_list){0};
    for (size_t i = 0; i < EMU_ENGINES_COUNT; i++) emu->engines[i].line = (struct emu_list){0};

    for (struct wi_emu_stream *stream = emu->alive; stream != NULL; stream = stream->alive_next) {
        /* What is being copied right now belongs to its worker, which drops it when it is back. */
        struct emu_operation *kept = stream->state == EMU_RUNNING ? stream->first : NULL;
        struct emu_operation *operation = kept != NULL ? kept->next : stream->first;

        while (operation != NULL) {
            struct emu_operation *next = operation->next;

            wi_emu_operation_drop_locked(emu, operation);
            operation = next;
        }
        if (kept != NULL) {
            kept->next = NULL;
        } else {
            stream->state = EMU_REST;
        }
        stream->first = kept;
        stream->last = kept;
    }
    wi_emu_change_locked(emu);
}

void wi_emu_lose(struct wi_emu *emu)
{
    pthread_mutex_lock(&emu->lock);
    wi_emu_lose_locked(emu);
    wi_assert_costly(wi_emu_check_locked(emu));
    wi_emu_leave(emu, 0);
}
