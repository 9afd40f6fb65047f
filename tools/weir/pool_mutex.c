/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_mutex.c - baseline: a free list under a mutex, with a condition variable and a list of what is in flight
 *
 * This is what a serving engine writes by hand. All memory is pinned at the start, as many buffers as the
 * weir pool may grow to. A released buffer goes with an event to the end of the deferred list; when the
 * free list is empty, an acquirer takes back what has passed, or waits for the oldest event itself, or,
 * when nothing is in flight, sleeps on the condition. Events are asked only when the free list is empty,
 * which is kinder to this baseline than asking at every acquire.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "deferred.h"
#include "staging.h"

#define NS_PER_S UINT64_C(1000000000)

struct mutex_staging {
    struct staging_pool  base;
    struct weir_runtime *rt;
    struct weir_pool    *memory; /* where the pinned buffers come from, leased once */
    size_t               capacity;

    pthread_mutex_t lock;
    pthread_cond_t  changed; /* something was freed or deferred */

    /* Under the lock. Law: free_count + deferred.count + syncing + leased = capacity. */
    struct weir_buffer **free;
    size_t               free_count;
    struct deferred_list deferred;
    size_t               syncing; /* taken off the list by a thread that waits for its event */
    uint64_t             waits;
};

static void destroy(struct staging_pool *pool)
{
    struct mutex_staging *staging = (struct mutex_staging *)pool;

    if (!staging) return;
    while (staging->deferred.count) {
        struct deferred entry = deferred_pop(&staging->deferred);
        weir_event_release(entry.event);
        weir_buffer_release(entry.item);
    }
    if (staging->free_count) weir_buffers_release(staging->free, staging->free_count);
    weir_pool_destroy(staging->memory);
    pthread_cond_destroy(&staging->changed);
    pthread_mutex_destroy(&staging->lock);
    free(staging->free);
    deferred_fini(&staging->deferred);
    free(staging);
}

static void init_lock(struct mutex_staging *staging)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&staging->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&staging->lock, NULL);
}

static int pin_memory(struct mutex_staging *staging, const struct staging_options *options)
{
    int err = weir_pool_create(options->rt,
                               WEIR_OPTS(pool, .name = options->name,
                                         .buffer_bytes = options->buffer_bytes,
                                         .buffers_min = options->buffers_max,
                                         .progress = options->progress,
                                         .progress_ctx = options->progress_ctx),
                               &staging->memory);
    if (err < 0) return err;
    err = weir_buffers_acquire(staging->memory, staging->capacity, WEIR_NOW, staging->free);
    if (err < 0) return err;
    staging->free_count = staging->capacity;
    return 0;
}

static int create(const struct staging_options *options, struct staging_pool **out)
{
    struct mutex_staging *staging = calloc(1, sizeof(*staging));

    if (!staging) return WEIR_ENOMEM;
    staging->base.kind = &staging_mutex;
    staging->rt = options->rt;
    staging->capacity = options->buffers_max;
    init_lock(staging);
    staging->free = calloc(staging->capacity, sizeof(*staging->free));
    int err = deferred_init(&staging->deferred, staging->capacity);
    if (err == 0) err = staging->free ? pin_memory(staging, options) : WEIR_ENOMEM;
    if (err < 0) {
        destroy(&staging->base);
        return err;
    }
    *out = &staging->base;
    return 0;
}

/* Move what the device has passed to the free list, oldest first, up to the first that is pending. */
static void collect_locked(struct mutex_staging *staging)
{
    struct weir_buffer *buffer;

    while ((buffer = deferred_pop_passed(&staging->deferred)))
        staging->free[staging->free_count++] = buffer;
}

/* Wait for the oldest event without the lock, then hand its buffer to whoever comes first. */
static int sync_oldest_locked(struct mutex_staging *staging, uint64_t deadline_ns)
{
    struct deferred oldest = deferred_pop(&staging->deferred);

    staging->syncing++;
    pthread_mutex_unlock(&staging->lock);
    int err = weir_event_sync(oldest.event, deadline_ns);
    pthread_mutex_lock(&staging->lock);
    staging->syncing--;
    if (err < 0) {
        /* Not passed: back to the end of the list, so that the memory is neither lost nor reused. */
        deferred_push(&staging->deferred, oldest);
        return err;
    }
    weir_event_release(oldest.event);
    staging->free[staging->free_count++] = oldest.item;
    pthread_cond_signal(&staging->changed);
    return 0;
}

static int sleep_locked(struct mutex_staging *staging, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
                             .tv_nsec = (long)(deadline_ns % NS_PER_S)};

    return pthread_cond_timedwait(&staging->changed, &staging->lock, &until) ? WEIR_ETIMEDOUT : 0;
}

static int acquire(struct staging_pool *pool, uint64_t deadline_ns, struct staging_lease *out)
{
    struct mutex_staging *staging = (struct mutex_staging *)pool;
    struct weir_buffer   *buffer = NULL;
    bool                  waited = false;
    int                   err = 0;

    pthread_mutex_lock(&staging->lock);
    while (err == 0) {
        if (!staging->free_count) collect_locked(staging);
        if (staging->free_count) {
            buffer = staging->free[--staging->free_count];
            break;
        }
        waited = true;
        err = staging->deferred.count ? sync_oldest_locked(staging, deadline_ns)
                                      : sleep_locked(staging, deadline_ns);
    }
    if (waited) staging->waits++;
    pthread_mutex_unlock(&staging->lock);
    if (err < 0) return err;
    *out = (struct staging_lease){
        .slice = weir_slice_all(buffer), .host = buffer->host, .owner = buffer};
    return 0;
}

static int release(struct staging_pool *pool, struct staging_lease *lease,
                   struct weir_stream *stream)
{
    struct mutex_staging *staging = (struct mutex_staging *)pool;
    struct deferred       entry = {.item = lease->owner};
    int                   err = stream ? deferred_mark(staging->rt, stream, &entry.event) : 0;

    /* The stream failed: the buffer stays out, because nobody can tell when it may be reused. */
    if (err < 0) return err;
    pthread_mutex_lock(&staging->lock);
    if (entry.event)
        deferred_push(&staging->deferred, entry);
    else
        staging->free[staging->free_count++] = lease->owner;
    pthread_cond_signal(&staging->changed);
    pthread_mutex_unlock(&staging->lock);
    return 0;
}

static void count(struct staging_pool *pool, struct staging_counts *out)
{
    struct mutex_staging *staging = (struct mutex_staging *)pool;

    pthread_mutex_lock(&staging->lock);
    collect_locked(staging);
    *out = (struct staging_counts){.total = staging->capacity,
                                   .free = staging->free_count,
                                   .retiring = staging->deferred.count + staging->syncing,
                                   .waits = staging->waits};
    pthread_mutex_unlock(&staging->lock);
    out->leased = out->total - out->free - out->retiring;
}

const struct staging_kind staging_mutex = {
    .name = "mutex",
    .description =
        "free list under a mutex with a condition variable and an event for each buffer in "
        "flight; all memory pinned at the start",
    .create = create,
    .acquire = acquire,
    .release = release,
    .count = count,
    .destroy = destroy,
};
