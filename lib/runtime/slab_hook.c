/* SPDX-License-Identifier: Apache-2.0 */
/* slab_hook.c - the public face of slab hooks; what they do is in memory/slab_hooks.c */
#include "base/cancel.h"
#include "base/options.h"
#include "pool/watch.h"
#include "runtime/runtime.h"

int weir_slab_hook_create(struct weir_runtime *rt, const struct weir_slab_hook_opts *opts,
                          struct weir_slab_hook **out)
{
    struct weir_slab_hook_opts given;
    WI_UNCANCELLABLE;
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_process_check());
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_slab_hook_opts"));
    WI_ENSURE(given.commit, INVAL, .detail = "commit is NULL");
    return wi_slab_hook_make(&rt->context.slab_hooks, &given, out);
}

void weir_slab_hook_destroy(struct weir_slab_hook *hook)
{
    WI_UNCANCELLABLE;
    if (!hook || wi_process_check() < 0) return;
    wi_slab_hook_end(hook);
}
