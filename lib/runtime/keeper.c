/* SPDX-License-Identifier: Apache-2.0 */
/* keeper.c - the thread that brings things home; see runtime.h */
#include "base/log.h"
#include "base/settings.h"
#include "base/trace.h"
#include "pool/poll.h"
#include "runtime/runtime.h"
#include "sync/start.h"

#include <sys/prctl.h>

#define POLL_MAX_NS     WI_NS_PER_MS
#define TIMER_SLACK_NS  2000

/* The device is lost: nothing is handed out any more, what is in flight is never reused, waiters learn of it. */
static void declare_lost(struct weir_runtime *rt)
{
    struct wi_context *context = &rt->context;
    rt->lost_declared = true;
    wi_log(ERROR, "runtime", "the device is lost; acquires answer DEVICE from now on, releases still work");
    pthread_mutex_lock(&rt->pools_lock);
    for (struct weir_pool *pool = rt->pools; pool; pool = pool->next) wi_store_shut(&pool->store, WI_GATE_LOST);
    pthread_mutex_unlock(&rt->pools_lock);
    uint32_t streams = wi_load(&context->streams, acquire);
    for (uint32_t i = 0; i < streams; i++) wi_abandon(wi_load(&context->stream[i], acquire));
}

static bool keep_streams(struct wi_context *context, uint64_t *homed)
{
    struct wi_reaper reaper = {.home = wi_pool_home};
    bool             pending = false;
    uint32_t         streams = wi_load(&context->streams, acquire);
    for (uint32_t i = 0; i < streams; i++) {
        struct wi_stream *stream = wi_load(&context->stream[i], acquire);
        if (stream && wi_load(&stream->armed, acquire)) pending |= wi_keep(stream, &reaper);
    }
    *homed += reaper.homed;
    return pending;
}

static bool keep_pools(struct weir_runtime *rt)
{
    bool again = false;
    pthread_mutex_lock(&rt->pools_lock);
    for (struct weir_pool *pool = rt->pools; pool; pool = pool->next) {
        if (wi_load(&pool->fresh, relaxed) || wi_load(&pool->wants_service, relaxed)) again |= wi_pool_keep(pool);
    }
    pthread_mutex_unlock(&rt->pools_lock);
    return again;
}

bool wi_keeper_round(struct weir_runtime *rt, uint64_t *homed)
{
    if (WI_UNLIKELY(wi_load(&rt->context.device->lost, acquire)) && !rt->lost_declared) declare_lost(rt);
    bool pending = keep_streams(&rt->context, homed);
    pending |= wi_poll_keep(&rt->context, &rt->polls);
    pending |= keep_pools(rt);
    pending |= wi_epoch_reclaim();
    return pending;
}

static void *keeper_main(void *arg)
{
    struct weir_runtime *rt = arg;
    struct wi_kick      *kick = &rt->context.keeper;
    uint64_t             first_ns = wi_settings()->keeper_poll_us * WI_NS_PER_US;
    uint64_t             pause_ns = first_ns;
    wi_is_keeper = true;
    (void)prctl(PR_SET_NAME, "weir-keeper");
    wi_nvtx_name_thread("weir keeper");
    (void)prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
    while (true) {
        uint32_t seen = wi_kick_begin(kick);
        if (wi_load(&rt->stop, acquire) >= 2) break;
        wi_bump(&rt->keeper_wakeups, 1);
        uint64_t homed = 0;
        bool     pending = wi_keeper_round(rt, &homed);
        if (!pending || homed > 0) pause_ns = first_ns;
        wi_kick_sleep(kick, seen, pending ? weir_clock_ns() + pause_ns : WEIR_FOREVER);
        if (pending && homed == 0) pause_ns = pause_ns * 2 < POLL_MAX_NS ? pause_ns * 2 : POLL_MAX_NS;
    }
    return NULL;
}

int wi_keeper_start(struct weir_runtime *rt)
{
    int err = wi_thread_start(&rt->keeper_thread, keeper_main, rt);
    WI_ENSURE(err == 0, NOMEM, .call = "pthread_create", .sys_errno = err, .detail = "the keeper thread");
    rt->keeper_started = true;
    return 0;
}

void wi_helpers_stop(struct weir_runtime *rt)
{
    /* The monitor first: it may be in a move, which only the keeper sees end. */
    wi_store(&rt->stop, 1, seq_cst);
    wi_kick(&rt->context.monitor);
    if (rt->monitor_started) pthread_join(rt->monitor_thread, NULL);
    wi_store(&rt->stop, 2, seq_cst);
    wi_kick(&rt->context.keeper);
    if (rt->keeper_started) pthread_join(rt->keeper_thread, NULL);
    rt->monitor_started = rt->keeper_started = false;
}
