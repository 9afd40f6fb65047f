/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir.c - weir as a peer among peers, through the public calls of its shared library
 *
 * In the hit case the program counts allocations by standing in front of malloc and its kin, so that also
 * those of the library are seen. Only the measured thread's are counted.
 */
#include "../peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/weir.h>

/* How far the pool may grow in the grow case, and by how much in one step. */
enum { GROWTH_MOST = 16384, GROWTH_STEP = 64 };

static struct weir_runtime *runtime;
static struct weir_pool *pool;
static size_t buffers_now, buffers_most;
static bool count_allocations;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static __thread bool counted;
static _Atomic uint64_t allocations;

/* The allocator of the C library, under the names that it keeps for those who stand in front of it. */
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

static void count_one(void)
{
    if (counted) wi_add(&allocations, 1, relaxed);
}

__attribute__((visibility("default"))) void *malloc(size_t bytes)
{
    count_one();
    return __libc_malloc(bytes);
}

__attribute__((visibility("default"))) void *calloc(size_t count, size_t bytes)
{
    count_one();
    return __libc_calloc(count, bytes);
}

__attribute__((visibility("default"))) void *realloc(void *old, size_t bytes)
{
    count_one();
    return __libc_realloc(old, bytes);
}

__attribute__((visibility("default"))) void *aligned_alloc(size_t alignment, size_t bytes)
{
    count_one();
    return __libc_memalign(alignment, bytes);
}

__attribute__((visibility("default"))) int posix_memalign(void **out, size_t alignment,
                                                          size_t bytes)
{
    count_one();
    void *memory = __libc_memalign(alignment, bytes);
    if (memory == NULL) return ENOMEM;
    *out = memory;
    return 0;
}

static void count_this_thread(void)
{
    counted = true;
}

static uint64_t allocations_counted(void)
{
    return wi_load(&allocations, relaxed);
}
#else
static void count_this_thread(void)
{
}

static uint64_t allocations_counted(void)
{
    return UINT64_MAX;
}
#endif

static int say(const char *call, int err)
{
    char text[512];

    if (weir_error_text(text, sizeof text) <= 0) snprintf(text, sizeof text, "%s", weir_errname(err));
    fprintf(stderr, "weir-peer-weir: %s: %s\n", call, text);
    return err;
}

static int open_pool(const struct peer_config *config)
{
    count_allocations = strcmp(config->case_name, "hit") == 0;
    buffers_now = config->buffers;
    buffers_most = config->buffers + (config->growing ? GROWTH_MOST : 0);
    int err = weir_runtime_create(WEIR_OPTS(runtime), &runtime);
    if (err < 0) return say("weir_runtime_create", err);
    err = weir_pool_create(runtime,
                           WEIR_OPTS(pool, .name = "bench", .buffer_bytes = config->buffer_bytes,
                                     .buffers_min = config->buffers, .buffers_max = buffers_most),
                           &pool);
    return err < 0 ? say("weir_pool_create", err) : 0;
}

static void enter(unsigned thread)
{
    (void)thread;
    if (count_allocations) count_this_thread();
}

static void grow(void)
{
    if (buffers_now + GROWTH_STEP > buffers_most) return;
    int err = weir_pool_reserve(pool, buffers_now + GROWTH_STEP);
    if (err < 0) {
        say("weir_pool_reserve", err);
        exit(EXIT_FAILURE);
    }
    buffers_now += GROWTH_STEP;
}

static void count(struct peer_counters *out)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};

    out->driver_calls =
        weir_runtime_stats_read(runtime, &stats) < 0 ? UINT64_MAX : stats.driver_calls;
    out->allocations = allocations_counted();
}

static const char *note(void)
{
    static char text[160];
    struct weir_runtime_info info = {.struct_size = sizeof info};

    if (weir_runtime_info_read(runtime, &info) < 0) return "";
    snprintf(text, sizeof text, "backend %s%s%s", info.backend, info.model[0] != '\0' ? ", " : "",
             info.model);
    return text;
}

static WI_COLD void *not_leased(int err)
{
    if (err == WEIR_EAGAIN) return NULL;
    say("weir_buffer_acquire", err);
    exit(EXIT_FAILURE);
}

static inline void *try(void)
{
    struct weir_buffer *buffer;

    int err = weir_buffer_acquire(pool, WEIR_NOW, &buffer);
    return WI_LIKELY(err == 0) ? buffer : not_leased(err);
}

static inline void *wait(void)
{
    struct weir_buffer *buffer;

    int err = weir_buffer_acquire(pool, WEIR_FOREVER, &buffer);
    return WI_LIKELY(err == 0) ? buffer : not_leased(err);
}

static WI_COLD void not_released(int err)
{
    say("weir_buffer_release", err);
    exit(EXIT_FAILURE);
}

static inline void release(void *buffer)
{
    int err = weir_buffer_release(buffer);
    if (WI_UNLIKELY(err < 0)) not_released(err);
}

static inline _Atomic uint64_t *owner(void *buffer)
{
    return ((struct weir_buffer *)buffer)->host;
}

PEER_LOOPS(try, wait, release, owner)

const struct peer peer_here = {.name = "weir",
                               .open = open_pool,
                               .enter = enter,
                               .grow = grow,
                               .count = count,
                               .note = note,
                               .try = try,
                               .wait = wait,
                               .release = release,
                               .try_loop = try_loop,
                               .wait_loop = wait_loop,
                               .try_checked_loop = try_checked_loop,
                               .wait_checked_loop = wait_checked_loop,
                               .held_loop = held_loop};
