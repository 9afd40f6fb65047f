/* SPDX-License-Identifier: Apache-2.0 */
/* Leases on buffers: misuse is caught, deadlines hold, memory in flight is not handed out. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <pthread.h>
#include <string.h>

#define MS UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_pool    *pool;

static void open_pool(size_t buffers, uint32_t flags)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "test", .buffer_bytes = 4096, .buffers_min = buffers, .flags = flags), &pool));
}

static void close_pool(void)
{
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

Test(buffer, is_leased_and_released)
{
    struct weir_buffer *buffer;
    open_pool(4, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    cr_assert_not_null(buffer->host);
    cr_assert_neq(buffer->device, 0);
    cr_assert_eq(buffer->bytes, 4096);
    memset(buffer->host, 7, buffer->bytes);
    cr_assert_eq(pool_stats(pool).leased, 1);
    ok(weir_buffer_release(buffer));
    cr_assert_eq(pool_stats(pool).leased, 0);
    cr_assert_eq(pool_stats(pool).acquires, 1);
    close_pool();
}

Test(buffer, release_of_null_is_nothing)
{
    cr_assert_eq(weir_buffer_release(NULL), 0);
}

Test(buffer, double_release_is_an_error_and_harms_nothing)
{
    struct weir_buffer *first, *second, *third;
    open_pool(2, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &first));
    ok(weir_buffer_release(first));
    answers(weir_buffer_release(first), NOTLEASED);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &first));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &second));
    cr_assert_not(same(first, second));
    answers(weir_buffer_acquire(pool, WEIR_NOW, &third), AGAIN);
    cr_assert_eq(pool_stats(pool).misuses, 1);
    ok(weir_buffer_release(first));
    ok(weir_buffer_release(second));
    close_pool();
}

Test(buffer, foreign_pointers_are_told_without_looking_at_them)
{
    struct weir_buffer  local = {0};
    struct weir_buffer *buffer;
    open_pool(2, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    answers(weir_buffer_release(&local), FOREIGN);
    answers(weir_buffer_release((struct weir_buffer *)16), FOREIGN);
    answers(weir_buffer_release((struct weir_buffer *)((char *)buffer + 8)), FOREIGN);
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(buffer, try_answers_again_and_names_the_limit)
{
    struct weir_buffer *buffer[2], *third = NULL;
    struct weir_error   error = {.struct_size = sizeof error};
    open_pool(2, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[0]));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer[1]));
    answers(weir_buffer_acquire(pool, WEIR_NOW, &third), AGAIN);
    cr_assert_null(third, "outputs are written only on success");
    ok(weir_last_error(&error));
    cr_assert_str_eq(error.limit, "buffers_max");
    cr_assert_eq(error.limit_value, 2);
    cr_assert_str_eq(error.setting, "weir_pool_opts.buffers_max");
    ok(weir_buffers_release(buffer, 2));
    close_pool();
}

Test(buffer, deadline_is_never_early)
{
    struct weir_buffer *held, *none;
    open_pool(1, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &held));
    for (int i = 0; i < 20; i++) {
        uint64_t deadline_ns = weir_deadline_after_ns(2 * MS);
        answers(weir_buffer_acquire(pool, deadline_ns, &none), TIMEDOUT);
        cr_assert_geq(weir_clock_ns(), deadline_ns);
    }
    ok(weir_buffer_release(held));
    ok(weir_buffer_acquire(pool, weir_deadline_after_ns(MS), &held));
    ok(weir_buffer_release(held));
    cr_assert_eq(pool_stats(pool).timeouts, 20);
    close_pool();
}

/* Once somebody waits. */
static void *release_later(void *buffer)
{
    eventually(pool_stats(pool).waiting == 1);
    ok(weir_buffer_release(buffer));
    return NULL;
}

Test(buffer, a_waiter_is_given_what_another_thread_releases)
{
    struct weir_buffer *held, *given;
    pthread_t           thread;
    open_pool(1, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &held));
    cr_assert_eq(pthread_create(&thread, NULL, release_later, held), 0);
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &given));
    cr_assert(same(given, held));
    pthread_join(thread, NULL);
    ok(weir_buffer_release(given));
    cr_assert_eq(pool_stats(pool).handoffs, 1);
    close_pool();
}

/* Waiters are served in the order in which they came, and a higher class before a lower. */
static _Atomic uint32_t served;
struct asker {
    uint32_t priority;
    uint32_t place;
};

static void *ask(void *arg)
{
    struct asker       *asker = arg;
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = asker->priority), WEIR_FOREVER, &buffer));
    asker->place = wi_add(&served, 1, relaxed);
    ok(weir_buffer_release(buffer));
    return NULL;
}

Test(buffer, waiters_are_served_by_class_then_arrival)
{
    static const uint32_t priority[] = {WEIR_PRIORITY_LOW, WEIR_PRIORITY_NORMAL, WEIR_PRIORITY_NORMAL,
                                        WEIR_PRIORITY_HIGH, WEIR_PRIORITY_HIGH, WEIR_PRIORITY_LOW};
    static const uint32_t place[] = {4, 2, 3, 0, 1, 5};
    struct weir_buffer   *held;
    struct asker          asker[6];
    pthread_t             thread[6];
    setenv("WEIR_WAITER_AGE_MS", "60000", 1); /* nobody moves up a class while this test is slow */
    open_pool(1, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &held));
    for (uint32_t i = 0; i < 6; i++) {
        asker[i] = (struct asker){.priority = priority[i]};
        cr_assert_eq(pthread_create(&thread[i], NULL, ask, &asker[i]), 0);
        eventually(pool_stats(pool).waiting == i + 1);
    }
    ok(weir_buffer_release(held));
    for (uint32_t i = 0; i < 6; i++) pthread_join(thread[i], NULL);
    for (uint32_t i = 0; i < 6; i++) cr_assert_eq(asker[i].place, place[i], "asker %u came %u", i, asker[i].place);
    close_pool();
}

Test(buffer, a_batch_is_all_or_nothing)
{
    struct weir_buffer *some[4], *batch[3] = {NULL, NULL, NULL};
    open_pool(4, 0);
    cr_assert_eq(weir_buffers_acquire_some(pool, 2, some), 2);
    answers(weir_buffers_acquire(pool, 3, WEIR_NOW, batch), AGAIN);
    cr_assert_null(batch[0]);
    cr_assert_eq(pool_stats(pool).free, 2, "a batch that failed keeps nothing");
    ok(weir_buffer_release(some[0]));
    ok(weir_buffers_acquire(pool, 3, WEIR_NOW, batch));
    cr_assert_eq(weir_buffers_acquire_some(pool, 2, some + 2), WEIR_EAGAIN);
    answers(weir_buffers_acquire(pool, 5, WEIR_NOW, batch), EXCEEDS);
    ok(weir_buffer_release(some[1]));
    ok(weir_buffers_release(batch, 3));
    struct weir_buffer *all[9];
    cr_assert_eq(weir_buffers_acquire_some(pool, 9, all), 4);
    ok(weir_buffer_release(all[1]));
    answers(weir_buffers_release(all, 4), NOTLEASED);
    cr_assert_eq(pool_stats(pool).free, 4, "the others are released all the same");
    close_pool();
}

Test(buffer, is_found_by_any_of_its_addresses)
{
    struct weir_buffer *buffer, *found;
    int                 local;
    open_pool(4, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_buffer_find(rt, buffer->host, &found));
    cr_assert_eq(found->host, buffer->host);
    ok(weir_buffer_find(rt, (char *)buffer->host + 4095, &found));
    cr_assert_eq(found->host, buffer->host);
    answers(weir_buffer_find(rt, &local, &found), NOENT);
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(buffer, in_flight_is_retiring_and_not_handed_out)
{
    struct weir_buffer     *buffer, *other;
    struct weir_stream     *stream;
    struct weir_buffer_info info = {.struct_size = sizeof info};
    uint64_t                target;
    open_pool(1, 0);
    ok(weir_device_alloc(rt, 4096, &target));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_stream_upload(stream, target, weir_slice_all(buffer)));
    ok(weir_buffer_info_read(buffer, &info));
    cr_assert_eq(info.state, WEIR_BUFFER_COPYING);
    ok(weir_buffer_release(buffer));
    ok(weir_buffer_info_read(buffer, &info));
    cr_assert_eq(info.state, WEIR_BUFFER_RETIRING);
    answers(weir_buffer_release(buffer), NOTLEASED);
    answers(weir_buffer_acquire(pool, WEIR_NOW, &other), AGAIN);
    cr_assert_eq(pool_stats(pool).retiring, 1);
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &other));
    cr_assert_eq(weir_stream_query(stream), 0, "handed out before the device was done");
    ok(weir_buffer_release(other));
    ok(weir_stream_release(stream));
    ok(weir_device_free(rt, target));
    cr_assert_eq(pool_stats(pool).retires, 1);
    cr_assert_eq(pool_stats(pool).reaps, 1);
    close_pool();
}

Test(buffer, waits_for_every_stream_that_guards_it)
{
    struct weir_buffer *buffer, *other;
    struct weir_stream *stream[4];
    open_pool(1, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    for (int i = 0; i < 4; i++) {
        ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream[i]));
        ok(weir_stream_delay(stream[i], (uint64_t)(i + 1) * 10 * MS));
        ok(weir_buffer_guard(buffer, stream[i]));
    }
    ok(weir_buffer_release(buffer));
    ok(weir_buffer_acquire(pool, WEIR_FOREVER, &other));
    for (int i = 0; i < 4; i++) cr_assert_eq(weir_stream_query(stream[i]), 0, "stream %d was not waited for", i);
    for (int i = 0; i < 4; i++) ok(weir_stream_release(stream[i]));
    ok(weir_buffer_release(other));
    close_pool();
}

Test(buffer, scrubbed_bytes_are_gone)
{
    struct weir_buffer *buffer;
    open_pool(1, WEIR_POOL_SCRUB);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    memset(buffer->host, 0x5a, buffer->bytes);
    ok(weir_buffer_release(buffer));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    for (size_t i = 0; i < buffer->bytes; i++) cr_assert_eq(((char *)buffer->host)[i], 0);
    ok(weir_buffer_release(buffer));
    close_pool();
}

Test(buffer, copies_have_ranges)
{
    struct weir_buffer *buffer;
    struct weir_stream *stream;
    uint64_t            target;
    open_pool(1, 0);
    ok(weir_device_alloc(rt, 8192, &target));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    answers(weir_stream_upload(stream, target, weir_slice(buffer, 0, 4097)), RANGE);
    answers(weir_stream_upload(stream, target, weir_slice(buffer, 4096, 1)), RANGE);
    answers(weir_stream_download(stream, weir_slice(buffer, SIZE_MAX, 2), target), RANGE);
    answers(weir_stream_upload(stream, 0, weir_slice(buffer, 0, 1)), INVAL);
    char *bytes = buffer->host;
    for (int i = 0; i < 4096; i++) bytes[i] = (char)i;
    ok(weir_stream_upload(stream, target + 100, weir_slice(buffer, 1000, 50)));
    ok(weir_stream_download(stream, weir_slice(buffer, 0, 50), target + 100));
    ok(weir_buffer_sync(buffer, WEIR_FOREVER));
    for (int i = 0; i < 50; i++) cr_assert_eq(bytes[i], (char)(1000 + i));
    ok(weir_buffer_release(buffer));
    answers(weir_stream_upload(stream, target, weir_slice(buffer, 0, 1)), NOTLEASED);
    ok(weir_stream_release(stream));
    ok(weir_device_free(rt, target));
    close_pool();
}

Test(pool, refuses_bad_options_by_name)
{
    struct weir_error error = {.struct_size = sizeof error};
    rt = make_runtime();
    answers(weir_pool_create(NULL, NULL, &pool), INVAL);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffers_min = 8, .buffers_max = 4), &pool), INVAL);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .memory = 9), &pool), INVAL);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .flags = 1u << 20), &pool), OPTS);
    answers(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = (size_t)1 << 40), &pool), EXCEEDS);
    ok(weir_last_error(&error));
    cr_assert_str_eq(error.limit, "pinned_bytes_max");
    cr_assert_str_eq(error.setting, "WEIR_PINNED_BYTES_MAX");
    weir_runtime_destroy(rt);
}

Test(pool, destroyed_with_leases_out_frees_them_when_they_come_home)
{
    struct weir_buffer       *buffer, *none;
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    open_pool(4, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    weir_pool_destroy(pool);
    memset(buffer->host, 1, buffer->bytes); /* still the holder's */
    (void)none;
    ok(weir_runtime_stats_read(rt, &stats));
    cr_assert_neq(stats.pinned_bytes, 0);
    ok(weir_buffer_release(buffer));
    eventually((weir_runtime_stats_read(rt, &stats), stats.pinned_bytes == 0));
    weir_runtime_destroy(rt);
}

static void *wait_until_closed(void *arg)
{
    struct weir_buffer *none;
    (void)arg;
    return (void *)(intptr_t)weir_buffer_acquire(pool, WEIR_FOREVER, &none);
}

Test(pool, destroy_ends_waits_with_closed)
{
    struct weir_buffer *held;
    pthread_t           thread;
    void               *answer;
    open_pool(1, 0);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &held));
    cr_assert_eq(pthread_create(&thread, NULL, wait_until_closed, NULL), 0);
    eventually(pool_stats(pool).waiting == 1);
    weir_pool_destroy(pool);
    pthread_join(thread, &answer);
    cr_assert_eq((int)(intptr_t)answer, WEIR_ECLOSED);
    ok(weir_buffer_release(held));
    weir_runtime_destroy(rt);
}
