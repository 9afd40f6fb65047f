/* SPDX-License-Identifier: Apache-2.0 */
/* world.h - what the programs around the examples share: a runtime on the emulated device, a pool, and checks */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/weir.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            char why_[256] = "";                                                                   \
            (void)weir_error_text(why_, sizeof why_);                                              \
            fprintf(stderr, "%s:%d: %s does not hold; %s\n", __FILE__, __LINE__, #condition, why_); \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static inline struct weir_runtime *world_runtime(const char *backend)
{
    struct weir_runtime *made = NULL;
    CHECK(weir_runtime_create(WEIR_OPTS(runtime, .backend = backend), &made) == 0);
    return made;
}

static inline struct weir_pool *world_pool(struct weir_runtime *made_in)
{
    struct weir_pool *made = NULL;
    CHECK(weir_pool_create(made_in, WEIR_OPTS(pool, .name = "staging", .buffer_bytes = 4096, .buffers_min = 2, .buffers_max = 4),
                           &made) == 0);
    return made;
}

static inline struct weir_buffer *world_buffer(struct weir_pool *of)
{
    struct weir_buffer *made = NULL;
    CHECK(weir_buffer_acquire(of, WEIR_FOREVER, &made) == 0);
    return made;
}

static inline struct weir_stream *world_stream(struct weir_runtime *made_in)
{
    struct weir_stream *made = NULL;
    CHECK(weir_stream_acquire(made_in, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &made) == 0);
    return made;
}

static inline uint64_t world_device_memory(struct weir_runtime *made_in, size_t bytes)
{
    uint64_t made = 0;
    CHECK(weir_device_alloc(made_in, bytes, &made) == 0);
    return made;
}

/* Everything that was queued is done: its bytes are there. */
static inline void world_settle(struct weir_runtime *made_in)
{
    CHECK(weir_runtime_sync(made_in, 0, WEIR_FOREVER) == 0);
}

/* Device memory of the emulated device is read through its address. */
static inline const char *world_view(uint64_t device)
{
    return (const char *)(uintptr_t)device;
}

static inline uint64_t world_leased(struct weir_pool *of)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    CHECK(weir_pool_stats_read(of, &stats) == 0);
    return stats.leased;
}
