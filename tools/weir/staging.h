/* SPDX-License-Identifier: Apache-2.0 */
/*
 * staging.h - the pool under test: where a replay gets its pinned staging memory from
 *
 * weir and the baselines stand behind one table of functions, so that the same driver code, the same
 * device and the same streams serve all of them and only the pool differs.
 *
 * A lease may be released while the device still uses its memory: release says on which stream it was used,
 * and the pool must not give the memory out again before that stream has come past this point.
 */
#ifndef WEIR_TOOL_STAGING_H
#define WEIR_TOOL_STAGING_H

#include <stdbool.h>
#include <stdint.h>
#include <weir/weir.h>

struct staging_options {
    struct weir_runtime *rt;
    const char          *name;
    size_t               buffer_bytes;
    size_t               buffers_min;
    size_t               buffers_max;
    weir_progress_fn    *progress;    /* while memory is pinned; may be NULL */
    void                *progress_ctx;
    bool                 early_reuse; /* weir only: plant the bug that memory in flight is reused */
};

struct staging_lease {
    struct weir_slice slice; /* to give to weir_stream_upload() and weir_stream_download() */
    void             *host;  /* the slice's bytes */
    void             *owner; /* the pool's own */
    bool host_reads; /* set by the user: a host function queued on the stream reads it too */
};

/* Law, at rest: total = free + leased + retiring + quarantined. */
struct staging_counts {
    uint64_t total;
    uint64_t free;
    uint64_t leased;
    uint64_t retiring; /* released while the device still used them */
    uint64_t quarantined;
    uint64_t waits; /* acquires that had to wait */
    uint64_t growths;
};

/* Every implementation's pool starts with this. */
struct staging_pool {
    const struct staging_kind *kind;
};

struct staging_kind {
    const char *name;
    const char *description; /* what it is, in one line for the report */

    int (*create)(const struct staging_options *options, struct staging_pool **out);

    /* Thread: any. Returns 0 or a negative WEIR_E*; outputs only on success. */
    int (*acquire)(struct staging_pool *pool, uint64_t deadline_ns, struct staging_lease *out);

    /* Thread: any. stream: where the lease was used last, or NULL when nothing was queued. */
    int (*release)(struct staging_pool *pool, struct staging_lease *lease,
                   struct weir_stream *stream);

    /* Thread: any. */
    void (*count)(struct staging_pool *pool, struct staging_counts *out);

    /* Pre: no other call runs. Accepts NULL. */
    void (*destroy)(struct staging_pool *pool);
};

/*
 * staging_guard - mark a buffer as used by all that the stream holds; where that fails, wait for the stream
 *
 * Returns what the marking answered. Afterwards the buffer may be released in both cases.
 */
int staging_guard(struct weir_buffer *buffer, struct weir_stream *stream);

extern const struct staging_kind staging_weir;
extern const struct staging_kind staging_mutex;
extern const struct staging_kind staging_malloc;

#endif
