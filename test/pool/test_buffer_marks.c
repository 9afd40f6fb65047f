/* SPDX-License-Identifier: Apache-2.0 */
/* A buffer in use by more streams at once than its record has marks for. */
#include "pool/fixture.h"

#include "base/alloc.h"
#include "base/atomic.h"

#include <poll.h>

#define MS UINT64_C(1000000)

enum { STREAMS = 40 }; /* two in the record, fifteen in each piece beyond it */

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream[STREAMS];
static uint64_t             target;

static void open_all(void)
{
    ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_comm = STREAMS), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .buffers_max = 1), &pool));
    ok(weir_device_alloc(rt, STREAMS * 4096, &target));
    for (int i = 0; i < STREAMS; i++) ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream[i]));
}

static void close_all(void)
{
    for (int i = 0; i < STREAMS; i++) ok(weir_stream_release(stream[i]));
    ok(weir_device_free(rt, target));
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* Each stream uploads the buffer; stream `late` first sleeps. */
static void upload_with(struct weir_buffer *buffer, int late)
{
    for (int i = 0; i < STREAMS; i++) {
        if (i == late) ok(weir_stream_delay(stream[i], 50 * MS));
        ok(weir_stream_upload(stream[i], target + (uint64_t)i * 4096, weir_slice_all(buffer)));
    }
}

Test(buffer_marks, each_of_many_streams_is_waited_for)
{
    static const int    late[] = {0, 1, 2, 16, 17, 31, 32, STREAMS - 1};
    struct weir_buffer *buffer;
    open_all();
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    for (size_t i = 0; i < sizeof late / sizeof late[0]; i++) {
        upload_with(buffer, late[i]);
        ok(weir_buffer_release(buffer));
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        cr_assert_eq(weir_stream_query(stream[late[i]]), 0, "stream %d was not waited for", late[i]);
        for (int j = 0; j < STREAMS; j++) ok(weir_stream_sync(stream[j], WEIR_FOREVER));
    }
    ok(weir_buffer_release(buffer));
    close_all();
}

Test(buffer_marks, a_sync_waits_for_the_last_of_many)
{
    struct weir_buffer *buffer;
    open_all();
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    upload_with(buffer, STREAMS - 1);
    ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    cr_assert_eq(weir_stream_query(stream[STREAMS - 1]), 0);
    ok(weir_buffer_release(buffer));
    close_all();
}

static _Atomic uint32_t may_go_on;

static void wait_until_it_may(void *ctx)
{
    (void)ctx;
    while (!wi_load(&may_go_on, acquire)) (void)poll(NULL, 0, 1);
}

/* Without memory for one more mark nothing is queued, and those that are there hold. */
Test(buffer_marks, without_memory_the_next_is_refused)
{
    struct weir_buffer *buffer;
    int                 marked = 0, err;
    open_all();
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    for (int i = 0; i < STREAMS; i++) ok(weir_stream_call(stream[i], wait_until_it_may, NULL));
    do {
        wi_alloc_fail_at(1);
        err = weir_buffer_guard(buffer, stream[marked]);
        (void)wi_alloc_fail_at(0);
    } while (err == 0 && ++marked < STREAMS);
    cr_assert_eq(err, WEIR_ENOMEM);
    cr_assert_geq(marked, 1);
    ok(weir_buffer_guard(buffer, stream[marked]));
    ok(weir_buffer_release(buffer));
    wi_store(&may_go_on, 1, release);
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    for (int i = 0; i <= marked; i++) cr_assert_eq(weir_stream_query(stream[i]), 0, "stream %d was not waited for", i);
    ok(weir_buffer_release(buffer));
    ok(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    close_all();
}
