/* SPDX-License-Identifier: Apache-2.0 */
/* pool_weir.c - staging memory from a weir pool that grows on demand */
#include <stdlib.h>

#include "staging.h"

struct weir_staging {
    struct staging_pool base;
    struct weir_pool   *pool;
};

int staging_guard(struct weir_buffer *buffer, struct weir_stream *stream)
{
    int err = weir_buffer_guard(buffer, stream);

    /* The stream's own failure adds nothing: the release then leaves the buffer to weir. */
    if (err < 0) (void)!weir_stream_sync(stream, WEIR_FOREVER);
    return err;
}

static int create(const struct staging_options *options, struct staging_pool **out)
{
    struct weir_staging *staging = calloc(1, sizeof(*staging));

    if (!staging) return WEIR_ENOMEM;
    staging->base.kind = &staging_weir;
    int err = weir_pool_create(
        options->rt,
        WEIR_OPTS(pool, .name = options->name, .buffer_bytes = options->buffer_bytes,
                  .buffers_min = options->buffers_min, .buffers_max = options->buffers_max,
                  .progress = options->progress, .progress_ctx = options->progress_ctx,
                  .flags = options->early_reuse ? WEIR_POOL_IGNORE_GUARDS : 0),
        &staging->pool);
    if (err < 0) {
        free(staging);
        return err;
    }
    *out = &staging->base;
    return 0;
}

static int acquire(struct staging_pool *pool, uint64_t deadline_ns, struct staging_lease *out)
{
    struct weir_staging *staging = (struct weir_staging *)pool;
    struct weir_buffer  *buffer;
    int                  err = weir_buffer_acquire(staging->pool, deadline_ns, &buffer);

    if (err < 0) return err;
    out->slice = weir_slice_all(buffer);
    out->host = buffer->host;
    out->owner = buffer;
    out->host_reads = false;
    return 0;
}

static int release(struct staging_pool *pool, struct staging_lease *lease,
                   struct weir_stream *stream)
{
    struct weir_buffer *buffer = lease->owner;
    int                 guarded = 0;

    (void)pool;
    /* The copies have marked the buffer themselves; only a reader that weir cannot see needs a guard. */
    if (stream && lease->host_reads) guarded = staging_guard(buffer, stream);
    int released = weir_buffer_release(buffer);
    return guarded < 0 ? guarded : released;
}

static void count(struct staging_pool *pool, struct staging_counts *out)
{
    struct weir_staging   *staging = (struct weir_staging *)pool;
    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};

    *out = (struct staging_counts){0};
    if (weir_pool_stats_read(staging->pool, &stats) < 0) return;
    out->total = stats.total;
    out->free = stats.free;
    out->leased = stats.leased;
    out->retiring = stats.retiring;
    out->quarantined = stats.quarantined;
    out->waits = stats.wait.count;
    out->growths = stats.grows;
}

static void destroy(struct staging_pool *pool)
{
    struct weir_staging *staging = (struct weir_staging *)pool;

    if (!staging) return;
    weir_pool_destroy(staging->pool);
    free(staging);
}

const struct staging_kind staging_weir = {
    .name = "weir",
    .description = "a weir pool that starts small and grows",
    .create = create,
    .acquire = acquire,
    .release = release,
    .count = count,
    .destroy = destroy,
};
