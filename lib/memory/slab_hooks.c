/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/slab_hooks.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/options.h"
#include "memory/numa.h"

#include <stdio.h>

#define NAME_BYTES 32

struct weir_slab_hook {
    struct wi_slab_hooks      *hooks;
    uint32_t                   bit; /* of slab->hooked; kept while the hook lives */
    uint32_t                   reserved;
    char                       name[NAME_BYTES];
    struct weir_slab_hook_opts opts;
};

static _Atomic uint64_t ids;

void wi_slab_hooks_init(struct wi_slab_hooks *hooks)
{
    pthread_mutex_init(&hooks->lock, NULL);
}

static struct weir_slab_info info_of(const struct wi_slab *slab)
{
    bool whole = slab->memory != WEIR_MEMORY_DEVICE && slab->chunks == 1;
    return (struct weir_slab_info){
        .struct_size = sizeof(struct weir_slab_info),
        .id = slab->id,
        .pool = slab->shown_as,
        .host = slab->base,
        .device = slab->memory == WEIR_MEMORY_DEVICE ? slab->device_base
                  : whole                            ? slab->chunk_device[0]
                                                     : 0,
        .bytes = slab->map_bytes,
        .buffer_bytes = slab->block_bytes,
        .buffers = slab->blocks,
        .memory = slab->memory,
        .numa_node = slab->base ? wi_numa_node_of(slab->base) : -1,
        .ordinal = slab->device->ordinal,
    };
}

static bool concerns(const struct weir_slab_hook *hook, const struct wi_slab *slab)
{
    return !hook->opts.pool || hook->opts.pool == slab->shown_as;
}

static int commit_locked(struct weir_slab_hook *hook, struct wi_slab *slab)
{
    struct weir_slab_info info = info_of(slab);
    struct weir_error     error = {.struct_size = sizeof error};
    if (!concerns(hook, slab)) return 0;
    int err = hook->opts.commit(hook->opts.ctx, &info);
    if (err >= 0) {
        slab->hooked |= UINT32_C(1) << hook->bit;
        return 0;
    }
    /* A hook that failed inside weir has told why already. */
    bool told = weir_last_error(&error) == 0 && error.code == err;
    if (!told)
        (void)wi_fail_at(err, __FILE__, __LINE__,
                         &(const struct wi_cause){.detail = "a slab hook refused the memory",
                                                  .wanted = info.bytes});
    return err;
}

static void decommit_locked(struct weir_slab_hook *hook, struct wi_slab *slab)
{
    uint32_t              mine = UINT32_C(1) << hook->bit;
    struct weir_slab_info info = info_of(slab);
    if (!(slab->hooked & mine)) return;
    slab->hooked &= ~mine;
    if (hook->opts.decommit) hook->opts.decommit(hook->opts.ctx, &info);
}

static unsigned count_locked(const struct wi_slab_hooks *hooks)
{
    unsigned count = 0;
    while (count < WI_SLAB_HOOKS_MAX && hooks->hook[count]) count++;
    return count;
}

static void tell_all_gone_locked(struct wi_slab_hooks *hooks, struct wi_slab *slab)
{
    for (unsigned i = count_locked(hooks); i-- > 0;) decommit_locked(hooks->hook[i], slab);
}

int wi_slab_show(struct wi_slab_hooks *hooks, struct wi_slab *slab, struct weir_pool *pool)
{
    int err = 0;
    wi_assert(!slab->shown_in);
    slab->shown_as = pool;
    pthread_mutex_lock(&hooks->lock);
    slab->id = wi_add(&ids, 1, relaxed) + 1;
    for (unsigned i = 0; err >= 0 && i < WI_SLAB_HOOKS_MAX && hooks->hook[i]; i++)
        err = commit_locked(hooks->hook[i], slab);
    if (err < 0) {
        tell_all_gone_locked(hooks, slab);
    } else {
        slab->shown_in = hooks;
        slab->shown_before = hooks->last;
        *(hooks->last ? &hooks->last->shown_after : &hooks->first) = slab;
        hooks->last = slab;
    }
    pthread_mutex_unlock(&hooks->lock);
    return err;
}

void wi_slab_hide(struct wi_slab *slab)
{
    struct wi_slab_hooks *hooks = slab->shown_in;
    if (!hooks) return;
    pthread_mutex_lock(&hooks->lock);
    tell_all_gone_locked(hooks, slab);
    *(slab->shown_before ? &slab->shown_before->shown_after : &hooks->first) = slab->shown_after;
    *(slab->shown_after ? &slab->shown_after->shown_before : &hooks->last) = slab->shown_before;
    slab->shown_before = slab->shown_after = NULL;
    slab->shown_in = NULL;
    pthread_mutex_unlock(&hooks->lock);
}

static void end_hook_locked(struct weir_slab_hook *hook)
{
    struct wi_slab_hooks *hooks = hook->hooks;
    unsigned              at = 0, count = count_locked(hooks);
    for (struct wi_slab *slab = hooks->last; slab; slab = slab->shown_before)
        decommit_locked(hook, slab);
    while (at < count && hooks->hook[at] != hook) at++;
    wi_assert(at < count);
    for (; at + 1 < count; at++) hooks->hook[at] = hooks->hook[at + 1];
    hooks->hook[count - 1] = NULL;
}

static int add_hook_locked(struct wi_slab_hooks *hooks, struct weir_slab_hook *hook)
{
    unsigned count = count_locked(hooks);
    uint32_t used = 0;
    int      err = 0;
    for (unsigned i = 0; i < count; i++) used |= UINT32_C(1) << hooks->hook[i]->bit;
    WI_ENSURE(count < WI_SLAB_HOOKS_MAX, EXCEEDS, .limit = "slab hooks of a runtime",
              .limit_value = WI_SLAB_HOOKS_MAX, .wanted = count + 1,
              .setting = "fewer hooks at one time");
    hook->bit = (uint32_t)__builtin_ctz(~used);
    hooks->hook[count] = hook;
    for (struct wi_slab *slab = hooks->first; err >= 0 && slab; slab = slab->shown_after)
        err = commit_locked(hook, slab);
    if (err < 0) end_hook_locked(hook);
    return err;
}

int wi_slab_hook_make(struct wi_slab_hooks *hooks, const struct weir_slab_hook_opts *opts,
                      struct weir_slab_hook **out)
{
    struct weir_slab_hook *hook = wi_calloc(1, sizeof *hook);
    if (!hook) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a slab hook");
    hook->hooks = hooks;
    hook->opts = *opts;
    snprintf(hook->name, sizeof hook->name, "%s", opts->name ? opts->name : "hook");
    hook->opts.name = hook->name;
    pthread_mutex_lock(&hooks->lock);
    int err = add_hook_locked(hooks, hook);
    pthread_mutex_unlock(&hooks->lock);
    if (err < 0) {
        wi_free(hook);
        return err;
    }
    *out = hook;
    return 0;
}

void wi_slab_hook_end(struct weir_slab_hook *hook)
{
    struct wi_slab_hooks *hooks = hook->hooks;
    pthread_mutex_lock(&hooks->lock);
    end_hook_locked(hook);
    pthread_mutex_unlock(&hooks->lock);
    wi_free(hook);
}

size_t wi_slab_hooks_end(struct wi_slab_hooks *hooks)
{
    size_t ended = 0;
    while (hooks->hook[0]) {
        struct weir_slab_hook *last = hooks->hook[count_locked(hooks) - 1];
        wi_log(WARN, "memory", "slab hook %s outlives its runtime; it is told that all memory goes",
               last->name);
        wi_slab_hook_end(last);
        ended++;
    }
    return ended;
}
