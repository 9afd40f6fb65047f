/* SPDX-License-Identifier: Apache-2.0 */
/* Acquiring without waiting in the call: callback and eventfd, deadline, cancel, close. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct weir_runtime *rt;
static struct weir_pool    *pool;

static void open_pool(size_t buffers)
{
    rt = make_runtime();
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = buffers), &pool));
}

static void close_pool(void)
{
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

struct outcome {
    _Atomic uint32_t    calls;
    int                 result;
    struct weir_buffer *buffer;
};

static void note(void *ctx, int result, struct weir_buffer *buffer)
{
    struct outcome *outcome = ctx;
    outcome->result = result;
    outcome->buffer = buffer;
    wi_add(&outcome->calls, 1, release);
}

Test(async, callback_gets_a_free_buffer)
{
    struct outcome outcome = {0};
    open_pool(1);
    ok(weir_buffer_acquire_async(pool, NULL, WEIR_FOREVER, note, &outcome, NULL));
    eventually(wi_load(&outcome.calls, acquire) == 1);
    cr_assert_eq(outcome.result, 0);
    ok(weir_buffer_release(outcome.buffer));
    close_pool();
}

Test(async, requests_are_served_in_order_and_once)
{
    struct outcome      outcome[8] = {0};
    struct weir_buffer *held;
    open_pool(1);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &held));
    for (int i = 0; i < 8; i++)
        ok(weir_buffer_acquire_async(pool, NULL, WEIR_FOREVER, note, &outcome[i], NULL));
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(wi_load(&outcome[i].calls, acquire), 0);
        ok(weir_buffer_release(held));
        eventually(wi_load(&outcome[i].calls, acquire) == 1);
        held = outcome[i].buffer;
    }
    ok(weir_buffer_release(held));
    close_pool();
    for (int i = 0; i < 8; i++) cr_assert_eq(wi_load(&outcome[i].calls, acquire), 1);
}

Test(async, deadline_cancel_and_close_each_end_a_request)
{
    struct outcome       late = {0}, cancelled = {0}, closed = {0};
    struct weir_request *request;
    struct weir_buffer  *held;
    open_pool(1);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &held));
    uint64_t deadline_ns = weir_deadline_after_ns(5000000);
    ok(weir_buffer_acquire_async(pool, NULL, deadline_ns, note, &late, NULL));
    eventually(wi_load(&late.calls, acquire) == 1);
    cr_assert_geq(weir_clock_ns(), deadline_ns);
    cr_assert_eq(late.result, WEIR_ETIMEDOUT);
    ok(weir_buffer_acquire_async(pool, NULL, weir_deadline_after_ns(50000000), note, &cancelled, &request));
    ok(weir_request_cancel(request));
    ok(weir_buffer_acquire_async(pool, NULL, WEIR_FOREVER, note, &closed, NULL));
    ok(weir_buffer_release(held)); /* goes to the one that still waits */
    eventually(wi_load(&closed.calls, acquire) == 1);
    cr_assert_eq(closed.result, 0);
    struct outcome shut = {0};
    ok(weir_buffer_acquire_async(pool, NULL, WEIR_FOREVER, note, &shut, NULL));
    weir_pool_destroy(pool);
    eventually(wi_load(&shut.calls, acquire) == 1);
    cr_assert_eq(shut.result, WEIR_ECLOSED);
    ok(weir_buffer_release(closed.buffer));
    nanosleep(&(struct timespec){.tv_nsec = 60000000}, NULL);
    cr_assert_eq(wi_load(&cancelled.calls, acquire), 0);
    weir_runtime_destroy(rt);
}

Test(async, eventfd_wakes_an_epoll_loop)
{
    struct weir_request *request;
    struct weir_buffer  *held, *given;
    struct epoll_event   event = {.events = EPOLLIN};
    uint64_t             count;
    int                  poll = epoll_create1(0), fd = eventfd(0, EFD_NONBLOCK);
    cr_assert_eq(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event), 0);
    open_pool(1);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &held));
    ok(weir_buffer_acquire_eventfd(pool, NULL, WEIR_FOREVER, fd, &request));
    answers(weir_request_take(request, &given), AGAIN);
    cr_assert_eq(epoll_wait(poll, &event, 1, 0), 0);
    ok(weir_buffer_release(held));
    cr_assert_eq(epoll_wait(poll, &event, 1, 10000), 1);
    cr_assert_eq(read(fd, &count, sizeof count), sizeof count);
    ok(weir_request_take(request, &given));
    cr_assert(same(given, held));
    ok(weir_buffer_acquire_eventfd(pool, NULL, weir_deadline_after_ns(1000000), fd, &request));
    cr_assert_eq(epoll_wait(poll, &event, 1, 10000), 1);
    answers(weir_request_take(request, &held), TIMEDOUT);
    ok(weir_buffer_release(given));
    close_pool();
}

Test(async, a_storm_of_requests_and_cancels_loses_nothing)
{
    struct weir_request  *request;
    uint32_t              cancelled = 0;
    int                   fd = eventfd(0, EFD_NONBLOCK);
    open_pool(1);
    for (int i = 0; i < 2000; i++) {
        struct weir_buffer *held = NULL;
        if (i % 2 == 1 || i % 3 == 0) (void)!weir_buffer_acquire(pool, WEIR_NOW, &held);
        uint64_t deadline_ns = weir_deadline_after_ns((uint64_t)(i % 5) * 100000);
        ok(weir_buffer_acquire_eventfd(pool, NULL, deadline_ns, fd, &request));
        int err = i % 2 ? weir_request_cancel(request) : WEIR_EBUSY;
        cancelled += err == 0;
        if (held) ok(weir_buffer_release(held));
        if (err == WEIR_EBUSY) {
            struct weir_buffer *given = NULL;
            eventually((err = weir_request_take(request, &given)) != WEIR_EAGAIN);
            if (err == 0) ok(weir_buffer_release(given));
        }
    }
    cr_assert_gt(cancelled, 0);
    cr_assert_eq(pool_stats(pool).free, 1);
    close_pool();
}
