/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pressure.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/options.h"
#include "pool/callback.h"
#include "pool/watch.h"
#include "tier/pressure.h"

#include <sched.h>

#define PERIOD_NS WI_NS_PER_S

/*
 * A watch's callback work belongs to the callback thread once the watch is destroyed: FREE is the user's last touch.
 */
struct weir_watch {
    struct wi_callback   callback;
    struct weir_runtime *rt;
    weir_pressure_fn    *fn;
    void                *ctx;
    struct weir_watch   *next; /* under pressure_lock */
    _Atomic uint32_t     ended;
    _Atomic uint32_t     running;
};

enum { CHANGED = 1, FREE = 2 };

void wi_pressure_init(struct weir_runtime *rt)
{
    pthread_mutex_init(&rt->pressure.lock, NULL);
    rt->pressure.state.cooldown_ns = WI_PRESSURE_COOLDOWN_NS;
    rt->pressure.period_ns = PERIOD_NS;
}

void wi_pressure_end(struct weir_runtime *rt)
{
    while (rt->pressure.watches) {
        struct weir_watch *watch = rt->pressure.watches;
        rt->pressure.watches = watch->next;
        wi_free(watch);
    }
    wi_free(rt->pressure.psi_path);
    wi_free(rt->pressure.cgroup_path);
    pthread_mutex_destroy(&rt->pressure.lock);
}

/* ---- reading ---- */

/* The device is asked only for somebody who wants to know: that is a driver call. */
static void read_locked(struct weir_runtime *rt, struct weir_pressure *out)
{
    struct wi_context *context = &rt->context;
    *out = (struct weir_pressure){.read_at_ns = weir_clock_ns()};
    wi_pressure_sources_read(rt->pressure.psi_path, rt->pressure.cgroup_path, out);
    out->pinned_bytes = wi_load(&context->pinned.bytes, relaxed);
    out->pinned_bytes_max = wi_load(&context->pinned.bytes_max, relaxed);
    out->sources |= WEIR_SOURCE_PINNED;
    bool wanted = rt->pressure.asked || rt->pressure.watches || wi_load(&context->mover_used, relaxed);
    if (wanted && !wi_load(&context->device->lost, relaxed) &&
        context->device->ops->memory(context->device, &out->device_bytes_free, &out->device_bytes_total) == 0)
        out->sources |= WEIR_SOURCE_DEVICE;
}

static void run_watch(struct wi_callback *callback, uint32_t bits)
{
    struct weir_watch *watch = WI_CONTAINER(callback, struct weir_watch, callback);
    if (bits & FREE) {
        wi_free(watch);
        return;
    }
    struct weir_pressure now;
    wi_add(&watch->running, 1, seq_cst);
    if (!wi_load(&watch->ended, seq_cst)) {
        pthread_mutex_lock(&watch->rt->pressure.lock);
        now = watch->rt->pressure.last;
        pthread_mutex_unlock(&watch->rt->pressure.lock);
        now.struct_size = sizeof now;
        watch->fn(watch->ctx, &now);
    }
    wi_sub(&watch->running, 1, release);
}

static void take_reading_locked(struct weir_runtime *rt)
{
    static const char *const name[] = {"CALM", "TIGHT", "HIGH", "CRITICAL"};
    struct wi_pressure_state *state = &rt->pressure.state;
    uint32_t                  before = state->level;
    read_locked(rt, &rt->pressure.last);
    bool changed = wi_pressure_step(state, &rt->pressure.last);
    rt->pressure.last.level = state->level;
    if (!changed) return;
    wi_store(&rt->context.pressure, state->level, release);
    wi_log(WARN, "pressure", "%s after %s", name[state->level], name[before]);
    for (struct weir_watch *watch = rt->pressure.watches; watch; watch = watch->next)
        wi_callback_post(&rt->context.callbacks, &watch->callback, CHANGED);
}

uint64_t wi_pressure_tend(struct weir_runtime *rt, uint64_t now_ns)
{
    pthread_mutex_lock(&rt->pressure.lock);
    bool     wanted = rt->pressure.asked || rt->pressure.watches || rt->pressure.state.level != WEIR_CALM;
    uint64_t next_ns = rt->pressure.last.read_at_ns + rt->pressure.period_ns;
    if (now_ns >= next_ns) {
        take_reading_locked(rt);
        next_ns = now_ns + rt->pressure.period_ns;
    }
    pthread_mutex_unlock(&rt->pressure.lock);
    return wanted ? next_ns : WEIR_FOREVER;
}

/* ---- public ---- */

int weir_pressure_set(struct weir_runtime *rt, const struct weir_pressure_opts *opts)
{
    struct weir_pressure_opts given;
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_TRY(wi_process_check());
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_pressure_opts"));
    char *psi_path = given.psi_path ? wi_strdup(given.psi_path) : NULL;
    char *cgroup_path = given.cgroup_path ? wi_strdup(given.cgroup_path) : NULL;
    if ((given.psi_path && !psi_path) || (given.cgroup_path && !cgroup_path)) {
        wi_free(psi_path);
        wi_free(cgroup_path);
        return WI_FAIL(NOMEM, .call = "strdup", .detail = "a path of weir_pressure_opts");
    }
    pthread_mutex_lock(&rt->pressure.lock);
    wi_free(rt->pressure.psi_path);
    wi_free(rt->pressure.cgroup_path);
    rt->pressure.psi_path = psi_path;
    rt->pressure.cgroup_path = cgroup_path;
    rt->pressure.period_ns = given.period_ns ? given.period_ns : PERIOD_NS;
    rt->pressure.state.cooldown_ns = given.cooldown_ns ? given.cooldown_ns : WI_PRESSURE_COOLDOWN_NS;
    rt->pressure.last.read_at_ns = 0;
    rt->pressure.asked = true;
    pthread_mutex_unlock(&rt->pressure.lock);
    wi_kick(&rt->context.monitor);
    return 0;
}

int weir_pressure_read(struct weir_runtime *rt, struct weir_pressure *out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_TRY(wi_process_check());
    pthread_mutex_lock(&rt->pressure.lock);
    rt->pressure.asked = true;
    take_reading_locked(rt);
    struct weir_pressure now = rt->pressure.last;
    pthread_mutex_unlock(&rt->pressure.lock);
    return wi_snapshot_export(out, &now, sizeof now);
}

int weir_pressure_watch(struct weir_runtime *rt, weir_pressure_fn *fn, void *ctx, struct weir_watch **out)
{
    WI_ENSURE(rt && fn && out, INVAL, .detail = "runtime, fn or out is NULL");
    WI_TRY(wi_process_check());
    WI_TRY(wi_callbacks_start(&rt->context.callbacks));
    struct weir_watch *watch = wi_calloc(1, sizeof *watch);
    if (!watch) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a watch");
    watch->callback = (struct wi_callback){.run = run_watch, .due_ns = WEIR_FOREVER};
    watch->rt = rt;
    watch->fn = fn;
    watch->ctx = ctx;
    pthread_mutex_lock(&rt->pressure.lock);
    watch->next = rt->pressure.watches;
    rt->pressure.watches = watch;
    pthread_mutex_unlock(&rt->pressure.lock);
    wi_kick(&rt->context.monitor);
    *out = watch;
    return 0;
}

void weir_watch_destroy(struct weir_watch *watch)
{
    if (!watch || wi_process_check() < 0) return;
    struct weir_runtime *rt = watch->rt;
    pthread_mutex_lock(&rt->pressure.lock);
    struct weir_watch **link = &rt->pressure.watches;
    while (*link && *link != watch) link = &(*link)->next;
    if (*link) *link = watch->next;
    pthread_mutex_unlock(&rt->pressure.lock);
    wi_store(&watch->ended, 1, seq_cst);
    while (wi_load(&watch->running, acquire) > 0) sched_yield(); /* a cold call that waits for a user's function */
    wi_callback_post(&rt->context.callbacks, &watch->callback, FREE);
}
