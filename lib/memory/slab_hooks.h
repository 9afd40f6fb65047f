/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab_hooks.h - who wants to be told of a runtime's slabs; see weir/slab.h
 *
 * One lock guards the list of slabs that are shown, the table of hooks, and every call of a hook: so a slab that
 * appears while a hook is being made is shown to it exactly once. Rank: below pool->lock, above all that a hook may take.
 * Law: a slab's bit of a hook is set exactly while that hook has accepted it and has not been told that it goes.
 */
#ifndef WI_SLAB_HOOKS_H
#define WI_SLAB_HOOKS_H

#include "memory/memory.h"

#include <pthread.h>
#include <weir/slab.h>

#define WI_SLAB_HOOKS_MAX 32

struct wi_slab_hooks {
    pthread_mutex_t        lock;
    struct weir_slab_hook *hook[WI_SLAB_HOOKS_MAX]; /* in the order of their making; no gaps */
    struct wi_slab        *first, *last;            /* shown, in the order of their making */
};

void wi_slab_hooks_init(struct wi_slab_hooks *hooks);
/* The runtime ends: what hooks are left are told that everything goes, and are freed. Returns how many there were. */
size_t wi_slab_hooks_end(struct wi_slab_hooks *hooks);

int  wi_slab_hook_make(struct wi_slab_hooks *hooks, const struct weir_slab_hook_opts *opts,
                       struct weir_slab_hook **out);
void wi_slab_hook_end(struct weir_slab_hook *hook);

/* Before any block of the slab is handed out. pool: for filters; may be NULL. Fails: what a hook answered; the slab is not shown then. */
int wi_slab_show(struct wi_slab_hooks *hooks, struct wi_slab *slab, struct weir_pool *pool);
/* Nothing uses the slab any more. A slab that is not shown is left alone. */
void wi_slab_hide(struct wi_slab *slab);

#endif
