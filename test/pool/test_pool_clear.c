/* SPDX-License-Identifier: Apache-2.0 */
/* Clearing a pool, a pool with defaults in one call, a buffer on its own, and dtypes. */
#include "pool/fixture.h"

#include "base/alloc.h"
#include "base/atomic.h"

#include <pthread.h>
#include <string.h>

#define MS UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;

static void close_pool(void)
{
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static struct weir_buffer_info info_of(const struct weir_buffer *buffer)
{
    struct weir_buffer_info info = {.struct_size = sizeof info};
    ok(weir_buffer_info_read(buffer, &info));
    return info;
}

static bool is_zero(const struct weir_buffer *buffer)
{
    const char *bytes = buffer->host;
    for (size_t i = 0; i < buffer->bytes; i++) {
        if (bytes[i]) return false;
    }
    return true;
}

static void clear_leaves_leases_alone(uint32_t strategy, uint32_t headroom)
{
    struct weir_buffer *buffer[8], *again[8];
    struct weir_stream *stream;
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 8, .strategy = strategy, .headroom = headroom), &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    for (int i = 0; i < 8; i++) {
        ok(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_HIGH), WEIR_NOW, &buffer[i]));
        memset(buffer[i]->host, i + 1, buffer[i]->bytes);
        ok(weir_buffer_to_device(weir_slice_all(buffer[i]), stream, WEIR_FOREVER));
    }
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_buffer_guard(buffer[7], stream));
    ok(weir_buffers_release(buffer + 3, 5)); /* 0 to 2 stay leased, 7 is retiring */
    cr_assert_eq(weir_pool_clear(pool), 4, "leased and retiring ones are told");
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.free, 4);
    cr_assert_eq(stats.leased, 3);
    cr_assert_eq(stats.retiring, 1);
    cr_assert_eq(stats.acquires + stats.misses + stats.uploads + stats.bytes_up + stats.timed + stats.slot_hits, 0);
    cr_assert_eq(stats.acquire.count + stats.wait.count, 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(((char *)buffer[i]->host)[4095], i + 1);
        cr_assert_eq(info_of(buffer[i]).acquires, 1);
        cr_assert_eq(info_of(buffer[i]).bytes_up, 4096);
    }
    for (int i = 3; i < 7; i++) {
        cr_assert(is_zero(buffer[i]));
        cr_assert_eq(info_of(buffer[i]).acquires + info_of(buffer[i]).bytes_up + info_of(buffer[i]).transfers, 0);
    }
    eventually(pool_stats(pool).retiring == 0);
    cr_assert_eq(((char *)buffer[7]->host)[0], 8);
    ok(weir_buffers_release(buffer, 3));
    eventually(weir_pool_clear(pool) == 0); /* the keeper may have one in hand */
    for (int i = 0; i < 8; i++) {
        ok(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_HIGH), WEIR_NOW, &again[i]));
        cr_assert(is_zero(again[i]));
        cr_assert_eq(info_of(again[i]).acquires, 1);
    }
    cr_assert_eq(pool_stats(pool).acquires, 8);
    ok(weir_buffers_release(again, 8));
    ok(weir_stream_release(stream));
    close_pool();
}

Test(clear, of_a_pool_with_slots) { clear_leaves_leases_alone(WEIR_STRATEGY_MOST_RECENT, 0); }
Test(clear, of_a_pool_without) { clear_leaves_leases_alone(WEIR_STRATEGY_ROUND_ROBIN, 0); }
Test(clear, of_a_pool_with_headroom) { clear_leaves_leases_alone(WEIR_STRATEGY_PRIORITY, 2); }

/* What is taken to be cleared, and given back, is counted as one object still. */
Test(clear, keeps_the_headroom)
{
    struct weir_buffer *buffer[4];
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4, .strategy = WEIR_STRATEGY_PRIORITY, .headroom = 2), &pool));
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(weir_pool_clear(pool), 0);
        for (int i = 0; i < 2; i++) ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[i]));
        answers(weir_buffer_acquire(pool, WEIR_NOW, &buffer[2]), AGAIN);
        for (int i = 2; i < 4; i++)
            ok(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_HIGH), WEIR_NOW, &buffer[i]));
        ok(weir_buffers_release(buffer, 4));
    }
    close_pool();
}

static _Atomic uint32_t stop;

static void *churn(void *arg)
{
    struct weir_buffer *buffer;
    unsigned            seed = (unsigned)(uintptr_t)arg;
    while (!wi_load(&stop, relaxed)) {
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        memset(buffer->host, (int)++seed, 512);
        for (int i = 0; i < 512; i++) cr_assert_eq(((char *)buffer->host)[i], (char)seed, "cleared while leased");
        ok(weir_buffer_release(buffer));
    }
    return NULL;
}

Test(clear, beside_work_loses_nothing)
{
    pthread_t thread[4];
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 3, .buffers_max = 16), &pool));
    for (uintptr_t i = 0; i < 4; i++) cr_assert_eq(pthread_create(&thread[i], NULL, churn, (void *)i), 0);
    for (int i = 0; i < 200; i++) {
        int left = weir_pool_clear(pool);
        cr_assert(left >= 0 && left <= 16, "%d", left);
    }
    wi_store(&stop, 1, relaxed);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    cr_assert_eq(weir_pool_clear(pool), 0);
    eventually(pool_stats(pool).free == pool_stats(pool).total); /* a growth may be under way */
    close_pool();
}

Test(clear, for_want_of_memory_is_an_error_and_loses_nothing)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4), &pool));
    for (uint64_t n = 1;; n++) {
        (void)wi_alloc_fail_at(n);
        int err = weir_pool_clear(pool);
        if (wi_alloc_fail_at(0) != 0) break;
        cr_assert_eq(err, WEIR_ENOMEM);
        cr_assert_eq(pool_stats(pool).free, 4);
    }
    close_pool();
}

/* ---- in one call ---- */

Test(defaults, a_pool_in_one_call)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, NULL, &pool));
    struct weir_pool_stats stats = pool_stats(pool);
    cr_assert_eq(stats.total, 4);
    cr_assert_eq(stats.buffer_bytes, (size_t)16 << 20);
    cr_assert_eq(stats.memory, WEIR_MEMORY_PINNED);
    cr_assert_eq(stats.dtype, WEIR_DTYPE_NONE);
    close_pool();
}

Test(single, a_buffer_on_its_own)
{
    struct weir_runtime_stats before = {.struct_size = sizeof before}, after = before;
    struct weir_buffer       *buffer;
    struct weir_stream       *stream;
    rt = make_runtime();
    ok(weir_runtime_stats_read(rt, &before));
    ok(weir_buffer_create(rt, 1 << 20, WEIR_DTYPE_F32, &buffer));
    cr_assert_eq(buffer->bytes, 1 << 20);
    cr_assert_eq(info_of(buffer).state, WEIR_BUFFER_ACQUIRED);
    cr_assert_eq(info_of(buffer).dtype, WEIR_DTYPE_F32);
    cr_assert_eq(info_of(buffer).memory, WEIR_MEMORY_PINNED);
    memset(buffer->host, 1, buffer->bytes);
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_stream_delay(stream, 20 * MS));
    ok(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW));
    weir_buffer_destroy(buffer); /* the device is still reading */
    eventually((weir_runtime_stats_read(rt, &after), after.pinned_bytes == before.pinned_bytes));
    cr_assert_eq(weir_stream_query(stream), 0);
    cr_assert_eq(after.device_bytes, before.device_bytes);
    cr_assert_eq(after.pools, before.pools);
    weir_buffer_destroy(NULL);
    ok(weir_stream_release(stream));
    weir_runtime_destroy(rt);
}

Test(single, for_want_of_memory_leaves_nothing)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    struct weir_buffer       *buffer = NULL;
    rt = make_runtime();
    for (uint64_t n = 1;; n++) {
        (void)wi_alloc_fail_at(n);
        int err = weir_buffer_create(rt, 4096, 0, &buffer);
        if (wi_alloc_fail_at(0) != 0) break;
        if (err == 0) { /* done without */
            weir_buffer_destroy(buffer);
        } else {
            cr_assert_eq(err, WEIR_ENOMEM);
        }
        eventually((weir_runtime_stats_read(rt, &stats), stats.pinned_bytes == 0 && stats.pools == 0));
    }
    weir_buffer_destroy(buffer);
    weir_runtime_destroy(rt);
}

Test(single, misuse_is_refused)
{
    struct weir_buffer *buffer, *pooled, local = {0};
    rt = make_runtime();
    answers(weir_buffer_create(rt, 0, 0, &buffer), INVAL);
    answers(weir_buffer_create(NULL, 1, 0, &buffer), INVAL);
    answers(weir_buffer_create(rt, 4096, 99, &buffer), INVAL);
    answers(weir_buffer_create(rt, 4098, WEIR_DTYPE_F32, &buffer), INVAL);
    answers(weir_buffer_create(rt, (size_t)1 << 50, 0, &buffer), EXCEEDS);
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &pool));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &pooled));
    weir_buffer_destroy(pooled); /* told in the log, and nothing else */
    weir_buffer_destroy(&local);
    cr_assert_eq(info_of(pooled).state, WEIR_BUFFER_ACQUIRED);
    ok(weir_buffer_release(pooled));
    ok(weir_buffer_create(rt, 4096, 0, &buffer));
    weir_buffer_destroy(buffer);
    weir_buffer_destroy(buffer);
    close_pool();
}

Test(dtype, sizes_and_names)
{
    cr_assert_eq(weir_dtype_bytes(WEIR_DTYPE_F32), 4);
    cr_assert_eq(weir_dtype_bytes(WEIR_DTYPE_BF16), 2);
    cr_assert_eq(weir_dtype_bytes(WEIR_DTYPE_NONE), 0);
    cr_assert_eq(weir_dtype_bytes(1000), 0);
    cr_assert_str_eq(weir_dtype_name(WEIR_DTYPE_F64), "float64");
    cr_assert_str_eq(weir_dtype_name(0), "none");
    cr_assert_str_eq(weir_dtype_name(1000), "unknown");
}

Test(dtype, belongs_to_a_pool)
{
    struct weir_buffer *buffer;
    struct weir_error   error = {.struct_size = sizeof error};
    rt = make_runtime();
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4090, .dtype = WEIR_DTYPE_I64), &pool), INVAL);
    ok(weir_last_error(&error));
    cr_assert_str_eq(error.setting, "weir_pool_opts.buffer_bytes");
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .dtype = 99), &pool), INVAL);
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .dtype = WEIR_DTYPE_F16), &pool));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    cr_assert_eq(info_of(buffer).dtype, WEIR_DTYPE_F16);
    cr_assert_eq(pool_stats(pool).dtype, WEIR_DTYPE_F16);
    ok(weir_buffer_release(buffer));
    close_pool();
}
