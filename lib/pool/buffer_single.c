/* SPDX-License-Identifier: Apache-2.0 */
/* buffer_single.c - a buffer on its own: the one buffer of a pool that nobody else knows */
#include "base/log.h"
#include "pool/lease.h"

static const char pool_name[] = "single buffer";

int weir_buffer_create(struct weir_runtime *rt, size_t bytes, uint32_t dtype, struct weir_buffer **out)
{
    struct weir_pool   *pool;
    struct weir_buffer *buffer = NULL;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_ENSURE(bytes > 0, INVAL, .detail = "bytes is 0");
    WI_TRY(weir_pool_create(rt,
                            WEIR_OPTS(pool, .name = pool_name, .buffer_bytes = bytes, .buffers_min = 1, .dtype = dtype,
                                      .strategy = WEIR_STRATEGY_LEAST_RECENT),
                            &pool));
    pool->single = true;
    int err = weir_buffer_acquire(pool, WEIR_NOW, &buffer);
    if (err < 0) {
        /* unreached: its one buffer is free, but if the device is lost between the two calls. */
        weir_pool_destroy(pool);
        return err;
    }
    *out = buffer;
    return 0;
}

void weir_buffer_destroy(struct weir_buffer *buffer)
{
    struct wi_record *record;
    if (!buffer) return;
    int err = wi_lease_buffer(buffer, &record);
    if (err == 0 && !wi_pool_of(record)->single)
        err = WI_FAIL(KIND, .detail = "the buffer belongs to a pool; release it");
    if (err < 0) {
        char text[256];
        (void)weir_error_text(text, sizeof text);
        wi_log(ERROR, "pool", "weir_buffer_destroy: %s", text);
        return;
    }
    struct weir_pool *pool = wi_pool_of(record);
    (void)weir_buffer_release(buffer);
    weir_pool_destroy(pool);
}
