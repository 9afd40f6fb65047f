/* SPDX-License-Identifier: Apache-2.0 */
/* fixture.h - two engines of one process that meet over loopback: what one asks of the other goes through UCX all the same */
#ifndef TEST_UCX_FIXTURE_H
#define TEST_UCX_FIXTURE_H

#include "pool/fixture.h"

#include "base/atomic.h"

#include <stdlib.h>
#include <string.h>
#include <weir/ucx.h>

#define SECRET      "a secret of the tests"
#define SOON_NS     weir_deadline_after_ns(UINT64_C(60000000000))
#define BLOCK_BYTES ((size_t)256 << 10)

struct side {
    struct weir_runtime  *rt;
    struct weir_pool     *pool;
    struct weir_ucx      *ucx;
    struct weir_ucx_peer *peer;
};

static inline struct weir_ucx_stats ucx_stats(struct weir_ucx *ucx)
{
    struct weir_ucx_stats stats = {.struct_size = sizeof stats};
    ok(weir_ucx_stats_read(ucx, &stats));
    return stats;
}

/* UCX_TEST_MEMORY=ucx: the pools' memory is UCX's. */
static inline const struct weir_memory_source *source_of(struct weir_ucx *ucx)
{
    const char *memory = getenv("UCX_TEST_MEMORY");
    return memory && !strcmp(memory, "ucx") ? weir_ucx_memory(ucx) : NULL;
}

static inline void open_side(struct side *side, const struct weir_ucx_opts *opts, uint32_t access)
{
    side->rt = make_runtime();
    side->peer = NULL;
    ok(weir_ucx_create(side->rt, opts, &side->ucx));
    ok(weir_pool_create(side->rt, WEIR_OPTS(pool, .name = "ucx", .buffer_bytes = BLOCK_BYTES, .buffers_min = 4, .buffers_max = 32,
                                            .source = source_of(side->ucx)),
                        &side->pool));
    ok(weir_ucx_offer(side->ucx, side->pool, access));
}

static inline void meet(struct side *one, struct side *other)
{
    uint16_t port = 0;
    ok(weir_ucx_listen(one->ucx, "127.0.0.1", 0, &port));
    ok(weir_ucx_connect(other->ucx, "127.0.0.1", port, SOON_NS, &other->peer));
    ok(weir_ucx_accept(one->ucx, SOON_NS, &one->peer));
}

static inline void open_both(struct side *one, struct side *other)
{
    const struct weir_ucx_opts *opts = WEIR_OPTS(ucx, .secret = SECRET);
    open_side(one, opts, WEIR_UCX_GET | WEIR_UCX_PUT);
    open_side(other, opts, WEIR_UCX_GET | WEIR_UCX_PUT);
    meet(one, other);
}

static inline void close_side(struct side *side)
{
    weir_ucx_disconnect(side->peer);
    weir_ucx_destroy(side->ucx);
    struct weir_pool_stats stats = pool_stats(side->pool);
    cr_assert_eq(stats.leased + stats.retiring, 0, "leased %lu, retiring %lu", (unsigned long)stats.leased, (unsigned long)stats.retiring);
    assert_law(side->pool);
    weir_pool_destroy(side->pool);
    weir_runtime_destroy(side->rt);
}

static inline struct weir_buffer *lease(struct side *side, int fill)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(side->pool, SOON_NS, &buffer));
    memset(buffer->host, fill, buffer->bytes);
    return buffer;
}

static inline void finish(struct weir_ucx_transfer *transfer)
{
    ok(weir_ucx_wait(transfer, SOON_NS, NULL));
}

/* What a transfer's callback has told: how often, and its latest error. */
struct told {
    _Atomic int count, err;
};

static inline void on_done(void *ctx, int err, int32_t status)
{
    struct told *told = ctx;
    (void)status;
    if (err < 0) wi_store(&told->err, err, relaxed);
    (void)wi_add(&told->count, 1, release);
}

#endif
