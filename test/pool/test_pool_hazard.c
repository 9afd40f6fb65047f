/* SPDX-License-Identifier: Apache-2.0 */
/* A host write into a buffer that the device is reading is found and named; a write that waited is not. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <weir/log.h>

#define MS UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream;
static uint64_t             target;
static char                 line[512]; /* the latest error line */
static _Atomic uint32_t     lines;

static void note(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    (void)component;
    if (level != WEIR_LOG_ERROR) return;
    snprintf(line, sizeof line, "%s", message);
    wi_add(&lines, 1, release);
}

static void open_pool(uint32_t flags)
{
    weir_log_set(note, NULL);
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "staging", .buffer_bytes = 64 << 10, .buffers_min = 2, .flags = flags), &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_device_alloc(rt, 64 << 10, &target));
}

static void close_pool(void)
{
    assert_law(pool);
    ok(weir_device_free(rt, target));
    ok(weir_stream_release(stream));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    weir_log_set(NULL, NULL);
}

static struct weir_buffer *take(void)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    memset(buffer->host, 1, buffer->bytes);
    return buffer;
}

static void planted_write_is_named(void)
{
    struct weir_buffer_info info = {.struct_size = sizeof info};
    struct weir_buffer     *buffer = take();
    char                    name[64];
    ok(weir_buffer_info_read(buffer, &info));
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_stream_upload(stream, target, weir_slice(buffer, 1000, 5000)));
    ((char *)buffer->host)[5999] = 2; /* the last byte that is being read */
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).hazards, 1);
    cr_assert_eq(wi_load(&lines, acquire), 1);
    snprintf(name, sizeof name, "staging: buffer %llu ", (unsigned long long)info.id);
    cr_assert_eq(strncmp(line, name, strlen(name)), 0, "%s", line);
    cr_assert_not_null(strstr(line, "1000 to 6000"), "%s", line);
    ok(weir_buffer_release(buffer));
}

Test(hazard, a_planted_write_is_reported_with_the_buffers_name)
{
    open_pool(WEIR_POOL_CHECK_WRITES);
    planted_write_is_named();
    close_pool();
}

Test(hazard, check_level_3_checks_every_pool)
{
    setenv("WEIR_CHECK", "3", 1);
    open_pool(0);
    planted_write_is_named();
    close_pool();
}

Test(hazard, writes_that_are_no_hazard_are_not_reported)
{
    open_pool(WEIR_POOL_CHECK_WRITES);
    for (int i = 0; i < 200; i++) {
        struct weir_buffer *buffer = take();
        char               *bytes = buffer->host;
        ok(weir_stream_upload(stream, target, weir_slice(buffer, 100, 1000 + i)));
        bytes[99] = (char)i; /* not read by the copy */
        bytes[1100 + i] = (char)i;
        switch (i % 3) {
        case 0: ok(weir_buffer_sync(buffer, WEIR_FOREVER)); break;
        case 1: ok(weir_stream_sync(stream, WEIR_FOREVER)); break;
        default: eventually(weir_stream_query(stream) == 0); break;
        }
        memset(bytes, i, buffer->bytes); /* now it may */
        ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
        ok(weir_buffer_release(buffer));
    }
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).hazards, 0, "%s", line);
    close_pool();
}

Test(hazard, unchecked_pools_pay_nothing_and_report_nothing)
{
    if (getenv("WEIR_CHECK") && strcmp(getenv("WEIR_CHECK"), "3") == 0) setenv("WEIR_CHECK", "2", 1);
    open_pool(0);
    struct weir_buffer *buffer = take();
    ok(weir_stream_delay(stream, 10 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    ((char *)buffer->host)[0] = 2;
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).hazards, 0);
    ok(weir_buffer_release(buffer));
    close_pool();
}

/* Several copies of one buffer in flight, on two streams: each is checked on its own. */
Test(hazard, each_copy_in_flight_is_checked)
{
    struct weir_stream *other;
    open_pool(WEIR_POOL_CHECK_WRITES);
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &other));
    struct weir_buffer *buffer = take();
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_stream_delay(other, 250 * MS));
    ok(weir_stream_upload(stream, target, weir_slice(buffer, 0, 100)));
    ok(weir_stream_upload(stream, target, weir_slice(buffer, 200, 100)));
    ok(weir_stream_upload(other, target + 1000, weir_slice(buffer, 0, 300)));
    ((char *)buffer->host)[250] = 9; /* hits the second and the third */
    ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    cr_assert_eq(pool_stats(pool).hazards, 2);
    ok(weir_buffer_release(buffer));
    ok(weir_stream_release(other));
    close_pool();
}
