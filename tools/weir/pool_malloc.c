/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_malloc.c - baseline: plain allocation of pinned memory at each acquire
 *
 * Each acquire maps and pins memory of its own, as cudaHostAlloc at each request would. It is made of weir
 * pools of one buffer, because the device copies only from memory that is known to it; so a pool's own
 * bookkeeping is part of the price. What was released waits with an event on a deferred list, and each
 * acquire first frees up to two whose events have passed, as an engine would call cudaFreeHost.
 */
#include <pthread.h>
#include <stdlib.h>

#include "deferred.h"
#include "staging.h"

#define FREES_PER_ACQUIRE 2

struct malloc_staging {
    struct staging_pool    base;
    struct staging_options options;
    pthread_mutex_t        lock;

    /* Under the lock. */
    struct deferred_list deferred; /* of struct allocation */
    uint64_t             leased;
};

struct allocation {
    struct weir_pool   *pool;
    struct weir_buffer *buffer;
};

static int allocation_create(const struct staging_options *options, struct allocation **out)
{
    struct allocation *allocation = malloc(sizeof(*allocation));

    if (!allocation) return WEIR_ENOMEM;
    int err = weir_pool_create(options->rt,
                               WEIR_OPTS(pool, .name = options->name,
                                         .buffer_bytes = options->buffer_bytes, .buffers_min = 1),
                               &allocation->pool);
    if (err < 0) goto free_allocation;
    err = weir_buffer_acquire(allocation->pool, WEIR_NOW, &allocation->buffer);
    if (err < 0) goto destroy_pool;
    *out = allocation;
    return 0;

destroy_pool:
    weir_pool_destroy(allocation->pool);
free_allocation:
    free(allocation);
    return err;
}

/* Pre: the device has passed it. The sync lets weir know so too; then the memory is unpinned right here. */
static void allocation_destroy(struct allocation *allocation)
{
    if (!allocation) return;
    (void)!weir_buffer_sync(allocation->buffer, WEIR_FOREVER);
    weir_buffer_release(allocation->buffer);
    weir_pool_destroy(allocation->pool);
    free(allocation);
}

static void destroy(struct staging_pool *pool)
{
    struct malloc_staging *staging = (struct malloc_staging *)pool;

    if (!staging) return;
    while (staging->deferred.count) {
        struct deferred entry = deferred_pop(&staging->deferred);
        weir_event_release(entry.event);
        allocation_destroy(entry.item);
    }
    deferred_fini(&staging->deferred);
    pthread_mutex_destroy(&staging->lock);
    free(staging);
}

static int create(const struct staging_options *options, struct staging_pool **out)
{
    struct malloc_staging *staging = calloc(1, sizeof(*staging));

    if (!staging) return WEIR_ENOMEM;
    staging->base.kind = &staging_malloc;
    staging->options = *options;
    pthread_mutex_init(&staging->lock, NULL);
    int err = deferred_init(&staging->deferred, options->buffers_max);
    if (err < 0) {
        destroy(&staging->base);
        return err;
    }
    *out = &staging->base;
    return 0;
}

static struct allocation *take_passed(struct malloc_staging *staging)
{
    pthread_mutex_lock(&staging->lock);
    struct allocation *passed = deferred_pop_passed(&staging->deferred);
    pthread_mutex_unlock(&staging->lock);
    return passed;
}

static int acquire(struct staging_pool *pool, uint64_t deadline_ns, struct staging_lease *out)
{
    struct malloc_staging *staging = (struct malloc_staging *)pool;
    struct allocation     *allocation;

    (void)deadline_ns;
    for (int i = 0; i < FREES_PER_ACQUIRE; i++) allocation_destroy(take_passed(staging));
    int err = allocation_create(&staging->options, &allocation);
    if (err < 0) return err;
    pthread_mutex_lock(&staging->lock);
    staging->leased++;
    pthread_mutex_unlock(&staging->lock);
    *out = (struct staging_lease){.slice = weir_slice_all(allocation->buffer),
                                  .host = allocation->buffer->host,
                                  .owner = allocation};
    return 0;
}

/* False: the list is full, which only happens when acquires are faster than the device for long. */
static bool defer(struct malloc_staging *staging, struct deferred entry)
{
    pthread_mutex_lock(&staging->lock);
    bool room = staging->deferred.count < staging->deferred.capacity;
    if (room) deferred_push(&staging->deferred, entry);
    staging->leased--;
    pthread_mutex_unlock(&staging->lock);
    return room;
}

static int release(struct staging_pool *pool, struct staging_lease *lease,
                   struct weir_stream *stream)
{
    struct malloc_staging *staging = (struct malloc_staging *)pool;
    struct deferred        entry = {.item = lease->owner};
    int err = stream ? deferred_mark(staging->options.rt, stream, &entry.event) : 0;

    if (err < 0) return err;
    if (!entry.event) {
        pthread_mutex_lock(&staging->lock);
        staging->leased--;
        pthread_mutex_unlock(&staging->lock);
        allocation_destroy(entry.item);
    } else if (!defer(staging, entry)) {
        err = weir_event_sync(entry.event, WEIR_FOREVER);
        weir_event_release(entry.event);
        if (err == 0) allocation_destroy(entry.item);
    }
    return err;
}

static void count(struct staging_pool *pool, struct staging_counts *out)
{
    struct malloc_staging *staging = (struct malloc_staging *)pool;
    struct allocation     *passed;

    while ((passed = take_passed(staging))) allocation_destroy(passed);
    pthread_mutex_lock(&staging->lock);
    *out = (struct staging_counts){.leased = staging->leased, .retiring = staging->deferred.count};
    pthread_mutex_unlock(&staging->lock);
    out->total = out->leased + out->retiring;
}

const struct staging_kind staging_malloc = {
    .name = "malloc",
    .description =
        "plain allocation: memory is mapped and pinned at each acquire (a weir pool of one "
        "buffer) and given back once its event has passed",
    .create = create,
    .acquire = acquire,
    .release = release,
    .count = count,
    .destroy = destroy,
};
