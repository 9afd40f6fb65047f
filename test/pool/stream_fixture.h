/* SPDX-License-Identifier: Apache-2.0 */
/* stream_fixture.h - what the tests of streams and events share */
#ifndef TEST_POOL_STREAM_FIXTURE_H
#define TEST_POOL_STREAM_FIXTURE_H

#include "pool/fixture.h"

#include "pool/context.h"
#include "pool/ticks.h"
#include "sync/records.h"

#define MS UINT64_C(1000000)

static inline struct weir_stream_info stream_info(const struct weir_stream *stream)
{
    struct weir_stream_info info = {.struct_size = sizeof info};
    ok(weir_stream_info_read(stream, &info));
    return info;
}

static inline struct weir_stream_totals stream_totals(struct weir_runtime *rt, uint32_t stream_class)
{
    struct weir_stream_totals totals = {.struct_size = sizeof totals};
    ok(weir_stream_totals_read(rt, stream_class, &totals));
    return totals;
}

static inline struct weir_pool_stats class_stats(struct weir_runtime *rt, uint32_t stream_class)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    ok(weir_stream_stats_read(rt, stream_class, &stats));
    return stats;
}

static inline void assert_class_law(struct weir_runtime *rt, uint32_t stream_class)
{
    struct weir_pool_stats stats = class_stats(rt, stream_class);
    cr_assert_eq(stats.total, stats.leased + stats.free + stats.retiring + stats.quarantined);
}

static inline struct weir_stream *acquire_stream(struct weir_runtime *rt, uint32_t stream_class)
{
    struct weir_stream *stream;
    ok(weir_stream_acquire(rt, stream_class, WEIR_NOW, &stream));
    return stream;
}

/* A lease and its record: the same stream under another face is the same stream. */
static inline uint64_t stream_id(const struct weir_stream *stream)
{
    return stream_info(stream).id;
}

static inline uint64_t driver_calls(struct weir_runtime *rt)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    ok(weir_runtime_stats_read(rt, &stats));
    return stats.driver_calls;
}

/* A stream that the host program has made, past weir. */
static inline void *make_handle(struct weir_runtime *rt)
{
    struct wi_device *device = wi_context_of(rt)->device;
    void             *handle = NULL;
    ok(device->ops->stream_create(device, 0, &handle));
    return handle;
}

static inline void drop_handle(struct weir_runtime *rt, void *handle)
{
    struct wi_device *device = wi_context_of(rt)->device;
    ok(device->ops->stream_destroy(device, handle));
}

#endif
