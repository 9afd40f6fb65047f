/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu_worker.c - the threads that serve a device in real time
 *
 * Leader and followers: one worker sleeps until the first timer, the others sleep without one. A worker that
 * takes a timer up does its work and comes back. With no timers nobody wakes up. A timer that becomes the
 * first one sets emu->kick, and whoever lets go of the lock then wakes the leader, or an idle worker, or starts
 * another worker; if all of them are busy, the first to come back finds it.
 *
 * Law: while there are timers, a worker leads for the first of them, or is on its way to look.
 */
#include "device/emu_state.h"

#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

/* An operation that is shorter is not worth waking another worker for the timers behind it. */
#define SHORT_BYTES ((size_t)128 << 10)

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Sleep as leader until the time, or until there is an earlier one. */
static void lead_locked(struct wi_emu *emu, uint64_t due_ns)
{
    struct timespec due = {.tv_sec = (time_t)(due_ns / WI_NS_PER_S),
                           .tv_nsec = (long)(due_ns % WI_NS_PER_S)};

    emu->leader = true;
    emu->leader_due_ns = due_ns;
    pthread_cond_timedwait(&emu->leading, &emu->lock, &due);
    emu->leader = false;
    emu->stats.wakeups++;
}

static void idle_locked(struct wi_emu *emu)
{
    emu->idle++;
    pthread_cond_wait(&emu->idling, &emu->lock);
    emu->idle--;
    emu->stats.wakeups++;
}

/* The caller goes to work: somebody else should watch the timers that are left, if it stays away for long. */
static void hand_over_locked(struct wi_emu *emu, const struct emu_operation *operation)
{
    bool is_short = operation->task == EMU_TASK_DELAY ||
                    (operation->task != EMU_TASK_CALL && operation->move.bytes <= SHORT_BYTES);
    pthread_cond_t *wake = is_short && !emu->leader ? NULL : wi_emu_attend_locked(emu);

    emu->kick = false;
    if (wake != NULL) pthread_cond_signal(wake);
}

static void serve_locked(struct wi_emu *emu, uint64_t now_ns)
{
    struct wi_emu_stream *stream = wi_emu_list_take(&emu->timers);

    stream->state = EMU_RUNNING;
    emu->running++;
    hand_over_locked(emu, stream->first);
    if (stream->due_ns > now_ns) {
        pthread_mutex_unlock(&emu->lock);
        while (weir_clock_ns() < stream->due_ns) relax();
        pthread_mutex_lock(&emu->lock);
    }
    wi_emu_timer_run_locked(emu, stream);
    emu->running--;
    if (wi_emu_quiet_locked(emu)) wi_emu_change_locked(emu);
}

static void *work(void *arg)
{
    struct wi_emu *emu = arg;

    /* The default slack of 50 us is longer than most copies. */
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    pthread_mutex_lock(&emu->lock);
    emu->starting--;
    while (!emu->stopping) {
        struct wi_emu_stream *stream = emu->timers.first;
        uint64_t              now_ns = weir_clock_ns();

        if (stream != NULL && stream->due_ns <= now_ns + EMU_SPIN_NS) {
            serve_locked(emu, now_ns);
        } else if (stream != NULL && !emu->leader) {
            emu->kick = false;
            lead_locked(emu, stream->due_ns);
        } else {
            pthread_cond_t *wake = wi_emu_attend_locked(emu);

            if (wake != NULL) pthread_cond_signal(wake);
            idle_locked(emu);
        }
    }
    pthread_mutex_unlock(&emu->lock);
    return NULL;
}

static void start_locked(struct wi_emu *emu)
{
    pthread_t *thread = &emu->workers[emu->workers_count];
    sigset_t   all, before;

    if (emu->workers_count == emu->workers_max || emu->stopping) return;
    /* The host's signals are for the host's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(thread, NULL, work, emu) == 0) {
        pthread_setname_np(*thread, "weir-emu");
        emu->starting++;
        emu->workers_count++;
        emu->stats.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

pthread_cond_t *wi_emu_attend_locked(struct wi_emu *emu)
{
    emu->kick = false;
    if (emu->timers.first == NULL) return NULL;
    if (emu->leader) {
        if (emu->timers.first->due_ns >= emu->leader_due_ns) return NULL;
        emu->leader_due_ns = emu->timers.first->due_ns; /* told once */
        return &emu->leading;
    }
    if (emu->idle > 0) return &emu->idling;
    if (emu->starting == 0) start_locked(emu);
    return NULL;
}

int wi_emu_worker_need_locked(struct wi_emu *emu)
{
    if (emu->opts.clock == WI_EMU_VIRTUAL || emu->workers_count > 0) return 0;
    start_locked(emu);
    if (emu->workers_count > 0) return 0;
    return wi_emu_refuse(WEIR_ENOMEM, "the emulated device could not start its first thread");
}

void wi_emu_workers_join(struct wi_emu *emu)
{
    pthread_mutex_lock(&emu->lock);
    emu->stopping = true;
    pthread_cond_broadcast(&emu->leading);
    pthread_cond_broadcast(&emu->idling);
    pthread_mutex_unlock(&emu->lock);
    for (uint32_t i = 0; i < emu->workers_count; i++) pthread_join(emu->workers[i], NULL);
    emu->workers_count = 0;
}
