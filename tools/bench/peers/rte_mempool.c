/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rte_mempool.c - peer: DPDK's mempool with its cache per thread
 *
 * A cache may hold one and a half times its size, out of reach of other threads, so the pool gets that
 * many spare objects per thread: it is not exact. DPDK knows RTE_MAX_LCORE threads; those beyond get no
 * cache and go to the shared ring each time, where they can stall for long.
 */
#include "object.h"

#include <errno.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mempool.h>
#include <rte_version.h>
#include <stdio.h>

enum { CACHE_OBJECTS = 32, CACHE_OBJECTS_MOST = CACHE_OBJECTS + CACHE_OBJECTS / 2 };

static struct rte_mempool *pool;
static size_t spares;
static _Atomic unsigned without_cache;

static void clear_object(struct rte_mempool *of, void *context, void *object, unsigned index)
{
    (void)of;
    (void)context;
    (void)index;
    memset(object, 0, sizeof(struct object));
}

static int open_pool(const struct peer_config *config)
{
    char *arguments[] = {"weir-peer-rte_mempool", "--no-huge", "--no-shconf",
                         "--no-pci",              "--no-telemetry", "--log-level=critical",
                         "-l",                    "0",              "-m",
                         "256",                   NULL};
    unsigned cached = config->threads < RTE_MAX_LCORE ? config->threads : RTE_MAX_LCORE - 1;

    /* DPDK binds the thread that starts it to one CPU, and the workers would inherit that. */
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) return -errno;
    if (rte_eal_init((int)WI_ARRAY_COUNT(arguments) - 1, arguments) < 0) return -rte_errno;
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) return -errno;
    /* The main thread has a cache, too. */
    spares = (cached + 1) * (size_t)CACHE_OBJECTS_MOST;
    pool = rte_mempool_create("objects", (unsigned)(config->buffers + spares),
                              sizeof(struct object), CACHE_OBJECTS, 0, NULL, NULL, clear_object,
                              NULL, SOCKET_ID_ANY, 0);
    return pool == NULL ? -rte_errno : 0;
}

static void enter(unsigned thread)
{
    (void)thread;
    if (rte_thread_register() < 0) wi_add(&without_cache, 1, relaxed);
}

static const char *note(void)
{
    static char text[160];

    snprintf(text, sizeof text, "%s, cache %d, %zu spare objects, %u threads without cache",
             rte_version(), CACHE_OBJECTS, spares, wi_load(&without_cache, relaxed));
    return text;
}

static inline void *try(void)
{
    void *object;

    return rte_mempool_get(pool, &object) == 0 ? object : NULL;
}

static inline void release(void *object)
{
    rte_mempool_put(pool, object);
}

PEER_LOOPS(try, try, release, object_owner)

const struct peer peer_here = {.name = "rte_mempool",
                               .open = open_pool,
                               .enter = enter,
                               .note = note,
                               .try = try,
                               .release = release,
                               .try_loop = try_loop,
                               .try_checked_loop = try_checked_loop,
                               .held_loop = held_loop};
