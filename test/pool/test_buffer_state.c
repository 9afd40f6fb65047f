/* SPDX-License-Identifier: Apache-2.0 */
/* States of a buffer: readable at any time, and a step that is not allowed is an error and no corruption. */
#include "pool/fixture.h"

#include "base/atomic.h"
#include "device/host.h"
#include "pool/context.h"

#include <pthread.h>
#include <string.h>

#define MS UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_stream  *stream;
static uint64_t             target;

static void open_pool(size_t buffers)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "states", .buffer_bytes = 4096, .buffers_min = buffers), &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    ok(weir_device_alloc(rt, 4096, &target));
}

static void close_pool(void)
{
    assert_law(pool);
    ok(weir_device_free(rt, target));
    ok(weir_stream_release(stream));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static struct weir_buffer_info info_of(const struct weir_buffer *buffer)
{
    struct weir_buffer_info info = {.struct_size = sizeof info};
    ok(weir_buffer_info_read(buffer, &info));
    cr_assert_eq(info.flags, WEIR_BUFFER_PINNED, "the flag stands beside every state");
    return info;
}

/* What needs a lease, on a buffer that is not leased. */
static void assert_untouchable(struct weir_buffer *buffer)
{
    char byte;
    answers(weir_buffer_release(buffer), NOTLEASED);
    answers(weir_buffer_guard(buffer, stream), NOTLEASED);
    answers(weir_buffer_sync(buffer, WEIR_NOW), NOTLEASED);
    answers(weir_buffer_write(buffer, 0, &byte, 1, WEIR_NOW), NOTLEASED);
    answers(weir_buffer_reset(buffer, WEIR_NOW), NOTLEASED);
    answers(weir_buffer_wanted(buffer), NOTLEASED);
    answers(weir_stream_upload(stream, target, weir_slice(buffer, 0, 1)), NOTLEASED);
    answers(weir_stream_download(stream, weir_slice(buffer, 0, 1), target), NOTLEASED);
}

Test(state, each_is_seen_and_refuses_what_it_does_not_allow)
{
    struct weir_buffer *buffer;
    open_pool(1);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    cr_assert_eq(info_of(buffer).state, WEIR_BUFFER_ACQUIRED);
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    cr_assert_eq(info_of(buffer).state, WEIR_BUFFER_COPYING);
    eventually(info_of(buffer).state == WEIR_BUFFER_ACQUIRED); /* nobody synced: the look itself asks the device */
    cr_assert_eq(weir_stream_query(stream), 0);
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    ok(weir_buffer_release(buffer));
    cr_assert_eq(info_of(buffer).state, WEIR_BUFFER_RETIRING);
    assert_untouchable(buffer);
    eventually(info_of(buffer).state == WEIR_BUFFER_FREE);
    assert_untouchable(buffer);
    cr_assert_eq(pool_stats(pool).free, 1);
    close_pool();
}

Test(state, quarantined_is_seen_and_refuses_everything)
{
    struct weir_runtime_info runtime = {.struct_size = sizeof runtime};
    struct weir_buffer      *buffer;
    open_pool(2);
    ok(weir_runtime_info_read(rt, &runtime));
    if (strcmp(runtime.backend, "host") != 0) cr_skip_test("faults are the host backend's");
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_buffer_guard(buffer, stream));
    struct wi_emu_fault fault = {.op = WI_EMU_EVENT_RECORD, .nth = 1, .code = WEIR_EINTERNAL};
    cr_assert_eq(wi_emu_fault_set(wi_host_emu(wi_context_of(rt)->device), &fault), 0);
    ok(weir_buffer_release(buffer));
    eventually(info_of(buffer).state == WEIR_BUFFER_QUARANTINED);
    assert_untouchable(buffer);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static _Atomic uint32_t stop;

/* Beside leases, copies and growth. Every answer is a state, and no read disturbs anybody. */
static void *look(void *arg)
{
    struct weir_buffer **buffers = arg;
    uint64_t             looks = 0;
    while (!wi_load(&stop, relaxed)) {
        for (int i = 0; i < 4; i++) {
            struct weir_buffer_info info = info_of(buffers[i]);
            cr_assert(info.state >= WEIR_BUFFER_FREE && info.state <= WEIR_BUFFER_RETIRING, "%u", info.state);
            looks++;
        }
    }
    return (void *)(uintptr_t)looks;
}

Test(state, is_read_while_others_work)
{
    struct weir_buffer *buffer[4], *mine;
    pthread_t           thread;
    void               *looks;
    open_pool(4);
    ok(weir_buffers_acquire(pool, 4, WEIR_NOW, buffer));
    ok(weir_buffers_release(buffer, 4));
    cr_assert_eq(pthread_create(&thread, NULL, look, buffer), 0);
    for (int i = 0; i < 3000; i++) {
        ok(weir_buffer_acquire(pool, WEIR_FOREVER, &mine));
        if (i % 3 == 0) ok(weir_stream_upload(stream, target, weir_slice_all(mine)));
        ok(weir_buffer_release(mine));
    }
    wi_store(&stop, 1, relaxed);
    pthread_join(thread, &looks);
    cr_assert_gt((uintptr_t)looks, 0);
    eventually(pool_stats(pool).free == 4);
    close_pool();
}

Test(state, ids_are_stable_and_distinct)
{
    struct weir_buffer *buffer[4];
    uint64_t            id[4];
    void               *host[4];
    open_pool(4);
    ok(weir_buffers_acquire(pool, 4, WEIR_NOW, buffer));
    for (int i = 0; i < 4; i++) {
        id[i] = info_of(buffer[i]).id;
        host[i] = buffer[i]->host;
        for (int j = 0; j < i; j++) cr_assert_neq(id[i], id[j]);
    }
    ok(weir_buffers_release(buffer, 4));
    for (int round = 0; round < 40; round++) {
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[0]));
        for (int i = 0; i < 4; i++) {
            if (buffer[0]->host == host[i]) cr_assert_eq(info_of(buffer[0]).id, id[i]);
        }
        ok(weir_buffer_release(buffer[0]));
    }
    close_pool();
}

Test(state, release_does_not_wait_for_the_device)
{
    struct weir_buffer *buffer;
    open_pool(1);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_stream_delay(stream, 300 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    ok(weir_buffer_release(buffer));
    answers(weir_stream_query(stream), AGAIN);
    eventually(pool_stats(pool).free == 1);
    close_pool();
}

/* ---- leases that have ended ---- */

Test(stale, a_pointer_whose_buffer_has_another_owner_is_told)
{
    struct weir_buffer *first, *second;
    char                byte = 0;
    setenv("WEIR_CHECK", "2", 1);
    open_pool(1);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &first));
    ok(weir_buffer_release(first));
    for (int i = 0; i < 15; i++) { /* 16 faces: the sixteenth lease has the first one's again */
        ok(weir_buffer_acquire(pool, WEIR_NOW, &second));
        cr_assert_neq(first, second);
        memset(second->host, 3, second->bytes);
        answers(weir_buffer_release(first), STALE);
        answers(weir_buffer_write(first, 0, &byte, 1, WEIR_NOW), STALE);
        answers(weir_stream_upload(stream, target, weir_slice(first, 0, 1)), STALE);
        answers(weir_buffer_guard(first, stream), STALE);
        cr_assert_eq(((char *)second->host)[0], 3);
        cr_assert_eq(pool_stats(pool).leased, 1, "the other owner's lease stands");
        ok(weir_buffer_release(second));
    }
    close_pool();
}

/* Only a cast makes a stream a buffer, and with checks that is told too. */
Test(stale, another_kind_of_lease_is_told)
{
    struct weir_event *event;
    setenv("WEIR_CHECK", "2", 1);
    open_pool(1);
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    answers(weir_buffer_release((struct weir_buffer *)stream), KIND);
    answers(weir_buffer_release((struct weir_buffer *)event), KIND);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    ok(weir_event_release(event));
    close_pool();
}

/* Many threads release one lease: one of them ends it. */
static struct weir_buffer *shared;
static pthread_barrier_t   start;
static _Atomic uint32_t    ended, refused;

static void *release_shared(void *arg)
{
    (void)arg;
    (void)pthread_barrier_wait(&start);
    int err = weir_buffer_release(shared);
    cr_assert(err == 0 || err == WEIR_ENOTLEASED);
    wi_add(err == 0 ? &ended : &refused, 1, relaxed);
    return NULL;
}

Test(stale, of_many_releases_at_once_one_counts)
{
    pthread_t thread[8];
    open_pool(2);
    for (int round = 0; round < 100; round++) {
        pthread_barrier_init(&start, NULL, 8);
        ok(weir_buffer_acquire(pool, WEIR_NOW, &shared));
        for (int i = 0; i < 8; i++) cr_assert_eq(pthread_create(&thread[i], NULL, release_shared, NULL), 0);
        for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
        pthread_barrier_destroy(&start);
        cr_assert_eq(wi_load(&ended, relaxed), (uint32_t)round + 1);
        cr_assert_eq(pool_stats(pool).free, 2);
    }
    cr_assert_eq(wi_load(&refused, relaxed), 700);
    close_pool();
}
