/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_malloc.c - baseline: plain allocation of pinned memory at each acquire
 *
 * Each acquire maps and pins memory of its own and each release gives it back, as cudaHostAlloc and
 * cudaFreeHost at each request would. It is made of weir pools of one buffer, because the device only
 * copies from memory that is known to it. Unlike cudaFreeHost the release does not wait for the device:
 * weir unpins later, on its monitor thread, which is kinder to this baseline.
 */
#include <stdlib.h>

#include "counter.h"
#include "staging.h"

struct malloc_staging {
    struct staging_pool    base;
    struct staging_options options;
    uint64_t               acquired;
    uint64_t               released;
};

/* What a lease owns. */
struct allocation {
    struct weir_pool   *pool;
    struct weir_buffer *buffer;
};

static int create(const struct staging_options *options, struct staging_pool **out)
{
    struct malloc_staging *staging = calloc(1, sizeof(*staging));

    if (!staging) return WEIR_ENOMEM;
    staging->base.kind = &staging_malloc;
    staging->options = *options;
    *out = &staging->base;
    return 0;
}

static int acquire(struct staging_pool *pool, uint64_t deadline_ns, struct staging_lease *out)
{
    struct malloc_staging *staging = (struct malloc_staging *)pool;
    struct allocation     *allocation = malloc(sizeof(*allocation));

    (void)deadline_ns;
    if (!allocation) return WEIR_ENOMEM;
    int err =
        weir_pool_create(staging->options.rt,
                         WEIR_OPTS(pool, .name = staging->options.name,
                                   .buffer_bytes = staging->options.buffer_bytes, .buffers_min = 1),
                         &allocation->pool);
    if (err < 0) goto free_allocation;
    err = weir_buffer_acquire(allocation->pool, WEIR_NOW, &allocation->buffer);
    if (err < 0) goto destroy_pool;
    counter_add(&staging->acquired, 1);
    out->slice = weir_slice_all(allocation->buffer);
    out->host = allocation->buffer->host;
    out->owner = allocation;
    out->host_reads = false;
    return 0;

destroy_pool:
    weir_pool_destroy(allocation->pool);
free_allocation:
    free(allocation);
    return err;
}

static int release(struct staging_pool *pool, struct staging_lease *lease,
                   struct weir_stream *stream)
{
    struct malloc_staging *staging = (struct malloc_staging *)pool;
    struct allocation     *allocation = lease->owner;
    int                    guarded = 0;

    if (stream && lease->host_reads) guarded = weir_buffer_guard(allocation->buffer, stream);
    int released = weir_buffer_release(allocation->buffer);
    weir_pool_destroy(allocation->pool);
    free(allocation);
    counter_add(&staging->released, 1);
    return guarded < 0 ? guarded : released;
}

static void count(struct staging_pool *pool, struct staging_counts *out)
{
    struct malloc_staging *staging = (struct malloc_staging *)pool;
    uint64_t               released = counter_read(&staging->released);
    uint64_t               acquired = counter_read(&staging->acquired);

    *out = (struct staging_counts){0};
    out->leased = acquired > released ? acquired - released : 0;
    out->total = out->leased;
}

static void destroy(struct staging_pool *pool)
{
    free(pool);
}

const struct staging_kind staging_malloc = {
    .name = "malloc",
    .description = "plain allocation: memory is mapped and pinned at each acquire "
                   "(a weir pool of one buffer), and given back at each release",
    .create = create,
    .acquire = acquire,
    .release = release,
    .count = count,
    .destroy = destroy,
};
