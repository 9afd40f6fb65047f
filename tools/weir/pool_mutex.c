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

#include "staging.h"

#define NS_PER_S UINT64_C(1000000000)

struct deferred {
    struct weir_buffer *buffer;
    struct weir_event  *event; /* recorded behind the last use */
};

struct mutex_staging {
    struct staging_pool  base;
    struct weir_runtime *rt;
    struct weir_pool    *memory; /* where the pinned buffers come from, leased once */
    size_t               capacity;

    pthread_mutex_t lock;
    pthread_cond_t  changed; /* something was freed or deferred */

    /* Under the lock. Law: free_count + deferred_count + leased + syncing = capacity. */
    struct weir_buffer **free;
    struct deferred     *deferred; /* ring of capacity */
    size_t               free_count;
    size_t               deferred_first;
    size_t               deferred_count;
    size_t   syncing; /* taken off the deferred list by a thread that waits for its event */
    uint64_t waits;
};

static void destroy(struct staging_pool *pool)
{
    struct mutex_staging *staging = (struct mutex_staging *)pool;

    if (!staging) return;
    for (size_t i = 0; i < staging->deferred_count; i++) {
        struct deferred *entry =
            &staging->deferred[(staging->deferred_first + i) % staging->capacity];
        weir_event_release(entry->event);
        weir_buffer_release(entry->buffer);
    }
    if (staging->free_count) weir_buffers_release(staging->free, staging->free_count);
    weir_pool_destroy(staging->memory);
    pthread_cond_destroy(&staging->changed);
    pthread_mutex_destroy(&staging->lock);
    free(staging->free);
    free(staging->deferred);
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
                                         .buffers_min = options->buffers_max),
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
    staging->deferred = calloc(staging->capacity, sizeof(*staging->deferred));
    int err = staging->free && staging->deferred ? pin_memory(staging, options) : WEIR_ENOMEM;
    if (err < 0) {
        destroy(&staging->base);
        return err;
    }
    *out = &staging->base;
    return 0;
}

static struct deferred take_oldest_locked(struct mutex_staging *staging)
{
    struct deferred oldest = staging->deferred[staging->deferred_first];

    staging->deferred_first = (staging->deferred_first + 1) % staging->capacity;
    staging->deferred_count--;
    return oldest;
}

/* Move what the device has passed to the free list, oldest first, up to the first that is pending. */
static void collect_locked(struct mutex_staging *staging)
{
    while (staging->deferred_count) {
        struct weir_event *event = staging->deferred[staging->deferred_first].event;
        if (weir_event_query(event) != 0) return;
        struct deferred passed = take_oldest_locked(staging);
        weir_event_release(passed.event);
        staging->free[staging->free_count++] = passed.buffer;
    }
}

/* Wait for the oldest event without the lock, then hand its buffer to whoever comes first. */
static int sync_oldest_locked(struct mutex_staging *staging, uint64_t deadline_ns)
{
    struct deferred oldest = take_oldest_locked(staging);

    staging->syncing++;
    pthread_mutex_unlock(&staging->lock);
    int err = weir_event_sync(oldest.event, deadline_ns);
    pthread_mutex_lock(&staging->lock);
    staging->syncing--;
    if (err < 0) {
        /* Not passed: back to the end of the list, so that the memory is neither lost nor reused. */
        size_t end = (staging->deferred_first + staging->deferred_count++) % staging->capacity;
        staging->deferred[end] = oldest;
        return err;
    }
    weir_event_release(oldest.event);
    staging->free[staging->free_count++] = oldest.buffer;
    pthread_cond_signal(&staging->changed);
    return 0;
}

static int sleep_locked(struct mutex_staging *staging, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
                             .tv_nsec = (long)(deadline_ns % NS_PER_S)};

    if (deadline_ns == WEIR_FOREVER) {
        pthread_cond_wait(&staging->changed, &staging->lock);
        return 0;
    }
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
        err = staging->deferred_count ? sync_oldest_locked(staging, deadline_ns)
                                      : sleep_locked(staging, deadline_ns);
    }
    if (waited) staging->waits++;
    pthread_mutex_unlock(&staging->lock);
    if (err < 0) return err;
    out->slice = weir_slice_all(buffer);
    out->host = buffer->host;
    out->owner = buffer;
    out->host_reads = false;
    return 0;
}

/* An event behind all that the stream holds now. */
static int mark_end(struct mutex_staging *staging, struct weir_stream *stream,
                    struct weir_event **out)
{
    struct weir_event *event;
    int                err = weir_event_acquire(staging->rt, 0, WEIR_FOREVER, &event);

    if (err < 0) return err;
    err = weir_event_record(event, stream);
    if (err < 0) {
        weir_event_release(event);
        return err;
    }
    *out = event;
    return 0;
}

static int release(struct staging_pool *pool, struct staging_lease *lease,
                   struct weir_stream *stream)
{
    struct mutex_staging *staging = (struct mutex_staging *)pool;
    struct deferred       entry = {.buffer = lease->owner};
    int                   err = 0;

    if (stream) err = mark_end(staging, stream, &entry.event);
    /* Without an event the only safe way left is to wait here. */
    if (err < 0 && weir_stream_sync(stream, WEIR_FOREVER) < 0) return err;
    pthread_mutex_lock(&staging->lock);
    if (entry.event) {
        size_t end = (staging->deferred_first + staging->deferred_count++) % staging->capacity;
        staging->deferred[end] = entry;
    } else {
        staging->free[staging->free_count++] = entry.buffer;
    }
    pthread_cond_signal(&staging->changed);
    pthread_mutex_unlock(&staging->lock);
    return err;
}

static void count(struct staging_pool *pool, struct staging_counts *out)
{
    struct mutex_staging *staging = (struct mutex_staging *)pool;

    pthread_mutex_lock(&staging->lock);
    collect_locked(staging);
    *out = (struct staging_counts){.total = staging->capacity,
                                   .free = staging->free_count,
                                   .retiring = staging->deferred_count + staging->syncing,
                                   .waits = staging->waits};
    pthread_mutex_unlock(&staging->lock);
    out->leased = out->total - out->free - out->retiring;
}

const struct staging_kind staging_mutex = {
    .name = "mutex",
    .description = "free list under a mutex with a condition variable and deferred events; "
                   "all memory pinned at the start",
    .create = create,
    .acquire = acquire,
    .release = release,
    .count = count,
    .destroy = destroy,
};
