/* SPDX-License-Identifier: Apache-2.0 */
/* Put, get, send and receive between two engines: bytes arrive, buffers are guarded, what is wrong is named. */
#include "ucx/fixture.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct side one, other;

static bool filled_with(const struct weir_buffer *buffer, int value)
{
    const unsigned char *bytes = buffer->host;
    for (size_t i = 0; i < buffer->bytes; i++) {
        if (bytes[i] != value) return false;
    }
    return true;
}

Test(ucx_transfer, put_and_get_move_whole_buffers)
{
    struct weir_ucx_transfer *transfer;
    struct weir_ucx_ref       ref;
    open_both(&one, &other);
    struct weir_buffer *target = lease(&one, 0), *source = lease(&other, 7),
                       *back = lease(&other, 0);
    ok(weir_ucx_expose(one.peer, weir_slice_all(target), &ref));
    cr_assert_eq(ucx_stats(one.ucx).exposed, 1);
    ok(weir_ucx_put(other.peer, weir_slice_all(source), &ref,
                    WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &transfer));
    finish(transfer);
    cr_assert(filled_with(target, 7));
    memset(target->host, 9, target->bytes);
    ok(weir_ucx_get(other.peer, weir_slice_all(back), &ref, NULL, &transfer));
    finish(transfer);
    cr_assert(filled_with(back, 9));

    ok(weir_buffer_release(target)); /* exposed still: it retires */
    cr_assert_eq(pool_stats(one.pool).retiring, 1);
    ok(weir_ucx_conceal(one.peer, &ref));
    cr_assert_eq(pool_stats(one.pool).retiring, 0);
    answers(weir_ucx_conceal(one.peer, &ref), NOENT);
    ok(weir_buffer_release(source));
    ok(weir_buffer_release(back));
    struct weir_ucx_stats stats = ucx_stats(other.ucx);
    cr_assert_eq(stats.puts, 1);
    cr_assert_eq(stats.gets, 1);
    cr_assert_eq(stats.bytes_put, BLOCK_BYTES);
    cr_assert_eq(stats.bytes_got, BLOCK_BYTES);
    cr_assert_eq(stats.in_flight, 0);
    close_side(&other);
    close_side(&one);
}

Test(ucx_transfer, messages_find_their_tag)
{
    struct weir_ucx_transfer *sent[3], *received[3];
    open_both(&one, &other);
    struct weir_buffer *from[3], *into[3];
    for (uint32_t i = 0; i < 3; i++) {
        from[i] = lease(&one, (int)i + 1);
        into[i] = lease(&other, 0);
        ok(weir_ucx_send(one.peer, i, weir_slice(from[i], 0, 1000 * (i + 1)), NULL, &sent[i]));
    }
    for (uint32_t i = 3; i-- > 0;)
        ok(weir_ucx_receive(other.peer, i, weir_slice_all(into[i]), NULL, &received[i]));
    for (uint32_t i = 0; i < 3; i++) {
        size_t bytes = 0;
        ok(weir_ucx_wait(received[i], SOON_NS, &bytes));
        finish(sent[i]);
        cr_assert_eq(bytes, 1000 * (i + 1));
        cr_assert_eq(((unsigned char *)into[i]->host)[bytes - 1], i + 1);
        cr_assert_eq(((unsigned char *)into[i]->host)[bytes], 0);
    }
    ok(weir_ucx_send(one.peer, 9, weir_slice(from[0], 0, 5000), NULL, &sent[0]));
    ok(weir_ucx_receive(other.peer, 9, weir_slice(into[0], 0, 100), NULL, &received[0]));
    size_t brought = 99;
    ok(weir_ucx_wait(sent[0], SOON_NS, &brought));
    cr_assert_eq(brought, 99, "of a receive only");
    answers(weir_ucx_wait(received[0], SOON_NS, &brought), RANGE);
    cr_assert_eq(brought, 0);

    ok(weir_ucx_receive(other.peer, 77, weir_slice_all(into[0]), NULL, &received[0]));
    answers(weir_ucx_wait(received[0], weir_deadline_after_ns(1000000), NULL), TIMEDOUT);
    ok(weir_buffer_release(into[0])); /* early */
    cr_assert_eq(pool_stats(other.pool).retiring, 1);
    weir_ucx_cancel(received[0]);
    eventually(pool_stats(other.pool).retiring == 0);
    for (int i = 0; i < 3; i++) ok(weir_buffer_release(from[i]));
    for (int i = 1; i < 3; i++) ok(weir_buffer_release(into[i]));
    close_side(&other);
    close_side(&one);
}

Test(ucx_transfer, ends_by_callback_or_eventfd)
{
    struct told         told = {0};
    struct weir_ucx_ref ref;
    open_both(&one, &other);
    struct weir_buffer *target = lease(&one, 0), *source = lease(&other, 5);
    ok(weir_ucx_expose(one.peer, weir_slice_all(target), &ref));
    for (int i = 0; i < 100; i++) {
        int err;
        do {
            err = weir_ucx_put(other.peer, weir_slice_all(source), &ref,
                               WEIR_OPTS(ucx_transfer, .done = on_done, .ctx = &told), NULL);
            if (err == WEIR_EEXCEEDS) (void)weir_ucx_progress(other.ucx);
        } while (err == WEIR_EEXCEEDS);
        ok(err);
    }
    ok(weir_buffer_release(source)); /* with 100 transfers of it, perhaps, under way */
    eventually(wi_load(&told.count, acquire) == 100);
    cr_assert_eq(wi_load(&told.err, relaxed), 0);

    int                       fd = eventfd(0, 0);
    uint64_t                  count = 0;
    struct weir_ucx_transfer *transfer;
    source = lease(&other, 6);
    ok(weir_ucx_put(other.peer, weir_slice_all(source), &ref,
                    WEIR_OPTS(ucx_transfer, .fd = fd, .flags = WEIR_UCX_DELIVERED), &transfer));
    cr_assert_eq(read(fd, &count, sizeof count),
                 sizeof count); /* blocks until the engine's thread has seen the end */
    cr_assert_eq(count, 1);
    ok(weir_ucx_wait(transfer, WEIR_NOW, NULL));
    cr_assert(filled_with(target, 6));
    (void)close(fd);
    ok(weir_buffer_release(source));
    ok(weir_ucx_conceal(one.peer, &ref));
    ok(weir_buffer_release(target));
    close_side(&other);
    close_side(&one);
}

Test(ucx_transfer, one_registration_a_slab_and_none_a_put)
{
    struct weir_ucx_transfer *transfer;
    struct weir_ucx_ref       ref;
    open_both(&one, &other);
    cr_assert_eq(ucx_stats(one.ucx).registrations, 1);
    ok(weir_pool_reserve(one.pool, 16));
    uint64_t slabs = ucx_stats(one.ucx).registrations;
    cr_assert_eq(slabs, 2);
    struct weir_buffer *target[16], *source = lease(&other, 1);
    for (int i = 0; i < 16; i++) {
        target[i] = lease(&one, 0);
        ok(weir_ucx_expose(one.peer, weir_slice_all(target[i]), &ref));
        int err;
        while ((err = weir_ucx_put(other.peer, weir_slice_all(source), &ref,
                                   WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED),
                                   &transfer)) == WEIR_EAGAIN)
            (void)poll(NULL, 0, 1); /* the new slab's key is on its way */
        ok(err);
        finish(transfer);
        cr_assert(filled_with(target[i], 1));
        ok(weir_ucx_conceal(one.peer, &ref));
    }
    cr_assert_eq(ucx_stats(one.ucx).registrations, slabs);
    cr_assert_eq(ucx_stats(other.ucx).registrations, 1);
    for (int i = 0; i < 16; i++) ok(weir_buffer_release(target[i]));
    ok(weir_buffer_release(source));

    /* A slab goes: the peer lets go first, and what refers to it is refused. */
    ok(weir_pool_trim(one.pool, 4, WEIR_FOREVER));
    cr_assert_eq(ucx_stats(one.ucx).unregistrations, 1);
    source = lease(&other, 1);
    answers(weir_ucx_put(other.peer, weir_slice_all(source), &ref, NULL, &transfer), STALE);
    cr_assert_eq(ucx_stats(other.ucx).refused_keys, 1);
    ok(weir_buffer_release(source));
    close_side(&other);
    close_side(&one);
}

Test(ucx_transfer, what_is_wrong_is_named)
{
    struct weir_ucx_transfer *transfer;
    struct weir_ucx_ref       ref, bad;
    open_both(&one, &other);
    struct weir_pool *private;
    ok(weir_pool_create(other.rt, WEIR_OPTS(pool, .buffer_bytes = 4096), &private));
    struct weir_buffer *target = lease(&one, 0), *source = lease(&other, 1), *unknown;
    ok(weir_buffer_acquire(private, SOON_NS, &unknown));
    ok(weir_ucx_expose(one.peer, weir_slice(target, 0, 4096), &ref));

    answers(weir_ucx_put(other.peer, weir_slice_all(source), &ref, NULL, &transfer), RANGE);
    answers(weir_ucx_put(other.peer, weir_slice(source, BLOCK_BYTES - 1, 2), &ref, NULL, &transfer),
            RANGE);
    answers(weir_ucx_put(other.peer, weir_slice_all(unknown), &ref, NULL, &transfer), NOENT);
    answers(weir_ucx_expose(other.peer, weir_slice_all(unknown), &bad), NOENT);
    answers(weir_ucx_put(one.peer, weir_slice(target, 0, 8), &ref, NULL, &transfer),
            FOREIGN); /* it is its own */
    bad = ref;
    bad.run[0]++;
    answers(weir_ucx_put(other.peer, weir_slice(source, 0, 8), &bad, NULL, &transfer), FOREIGN);
    bad = ref;
    bad.offset = UINT64_MAX - 8;
    answers(weir_ucx_put(other.peer, weir_slice(source, 0, 8), &bad, NULL, &transfer), RANGE);
    bad = ref;
    bad.slab += 100;
    answers(weir_ucx_put(other.peer, weir_slice(source, 0, 8), &bad, NULL, &transfer), AGAIN);
    answers(weir_ucx_put(other.peer, weir_slice(source, 0, 8), &ref,
                         WEIR_OPTS(ucx_transfer, .flags = 8), &transfer),
            OPTS);
    answers(weir_ucx_put(other.peer, weir_slice(source, 0, 8), NULL, NULL, &transfer), INVAL);
    answers(weir_ucx_put(other.peer, weir_slice(source, 0, 8), &ref, NULL, NULL), INVAL);
    cr_assert_eq(ucx_stats(other.ucx).refused_keys, 3);
    ok(weir_buffer_release(source));
    answers(weir_ucx_put(other.peer, weir_slice(source, 0, 8), &ref, NULL, &transfer), NOTLEASED);
    ok(weir_ucx_conceal(one.peer, &ref));
    ok(weir_buffer_release(target));
    ok(weir_buffer_release(unknown));
    weir_pool_destroy(private);
    close_side(&other);
    close_side(&one);
}

/* What goes on behind the call needs a hold; where none is left it ends inside the call, and nothing is in flight. */
Test(ucx_transfer, a_buffer_with_all_its_holds)
{
    enum { HOLDS = 32767 };
    struct weir_ucx_transfer *transfer;
    struct weir_ucx_ref       ref;
    open_both(&one, &other);
    struct weir_buffer *target = lease(&one, 0), *source = lease(&other, 4);
    ok(weir_ucx_expose(one.peer, weir_slice_all(target), &ref));
    for (int i = 0; i < HOLDS; i++) ok(weir_buffer_hold(source));
    for (int i = 0; i < 4; i++) {
        int err = weir_ucx_put(other.peer, weir_slice_all(source), &ref, WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &transfer);
        cr_assert(err == 0 || err == WEIR_EEXCEEDS, "%s", weir_errname(err));
        if (err == 0) finish(transfer);
        cr_assert_eq(ucx_stats(other.ucx).in_flight, 0);
    }
    for (int i = 0; i < HOLDS; i++) ok(weir_buffer_unhold(source));
    answers(weir_buffer_unhold(source), NOTLEASED);
    ok(weir_ucx_conceal(one.peer, &ref));
    ok(weir_buffer_release(target));
    ok(weir_buffer_release(source));
    close_side(&other);
    close_side(&one);
}

Test(ucx_transfer, access_is_heeded)
{
    struct weir_ucx_transfer   *transfer;
    struct weir_ucx_ref         ref;
    const struct weir_ucx_opts *opts = WEIR_OPTS(ucx, .secret = SECRET);
    open_side(&one, opts, WEIR_UCX_GET);
    open_side(&other, opts, 0);
    meet(&one, &other);
    struct weir_buffer *target = lease(&one, 3), *source = lease(&other, 1);
    answers(weir_ucx_expose(other.peer, weir_slice_all(source), &ref), NOENT);
    ok(weir_ucx_expose(one.peer, weir_slice_all(target), &ref));
    answers(weir_ucx_put(other.peer, weir_slice_all(source), &ref, NULL, &transfer), RANGE);
    ok(weir_ucx_get(other.peer, weir_slice_all(source), &ref, NULL, &transfer));
    finish(transfer);
    cr_assert(filled_with(source, 3));
    ok(weir_ucx_conceal(one.peer, &ref));
    ok(weir_buffer_release(target));
    ok(weir_buffer_release(source));
    close_side(&other);
    close_side(&one);
}

/* `other` does nothing but in calls of the test: its part of the meeting, too, is done by nobody else. */
static void open_by_hand(const struct weir_ucx_opts *opts, uint32_t access)
{
    uint16_t port = 0;
    uint64_t until_ns = SOON_NS;
    int      err;
    open_side(&one, opts, access);
    open_side(&other, WEIR_OPTS(ucx, .secret = SECRET, .flags = WEIR_UCX_CALLER_PROGRESS), 0);
    ok(weir_ucx_listen(one.ucx, "127.0.0.1", 0, &port));
    ok(weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &other.peer));
    while ((err = weir_ucx_accept(one.ucx, weir_deadline_after_ns(1000000), &one.peer)) == WEIR_ETIMEDOUT &&
           weir_clock_ns() < until_ns)
        cr_assert_geq(weir_ucx_progress(other.ucx), 0);
    ok(err);
}

Test(ucx_transfer, the_caller_progresses_in_its_own_loop)
{
    struct weir_ucx_transfer *sent, *received;
    open_by_hand(WEIR_OPTS(ucx, .secret = SECRET), 0);
    struct weir_buffer *from = lease(&one, 8), *into = lease(&other, 0);
    ok(weir_ucx_receive(other.peer, 1, weir_slice_all(into), NULL, &received));
    ok(weir_ucx_send(one.peer, 1, weir_slice_all(from), NULL, &sent));
    while (weir_ucx_wait(received, WEIR_NOW, NULL) == WEIR_ETIMEDOUT) {
        struct pollfd ready = {.fd = weir_ucx_fd(other.ucx), .events = POLLIN};
        cr_assert_geq(weir_ucx_progress(other.ucx), 0);
        (void)poll(&ready, 1, 10000);
        cr_assert_geq(weir_ucx_progress(other.ucx), 0);
    }
    cr_assert(filled_with(into, 8));
    finish(sent);
    ok(weir_buffer_release(from));
    ok(weir_buffer_release(into));
    close_side(&other);
    close_side(&one);
}

/* Who spins for one peer looks at it in every round; what another sends after a long silence is seen all the same. */
Test(ucx_transfer, a_peer_that_was_silent_is_heard)
{
    static struct side        third;
    struct weir_ucx_transfer *received, *sent, *put;
    struct weir_ucx_peer     *to_third;
    struct weir_ucx_ref       ref;
    uint16_t                  port = 0;
    uint64_t                  until_ns = SOON_NS;
    int                       err;
    open_by_hand(WEIR_OPTS(ucx, .secret = SECRET), WEIR_UCX_PUT);
    open_side(&third, WEIR_OPTS(ucx, .secret = SECRET), 0);
    ok(weir_ucx_listen(third.ucx, "127.0.0.1", 0, &port));
    ok(weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &to_third));
    while ((err = weir_ucx_accept(third.ucx, weir_deadline_after_ns(1000000), &third.peer)) == WEIR_ETIMEDOUT)
        cr_assert_geq(weir_ucx_progress(other.ucx), 0);
    ok(err);
    struct weir_buffer *target = lease(&one, 0), *source = lease(&other, 1), *into = lease(&other, 0), *from = lease(&third, 6);
    ok(weir_ucx_expose(one.peer, weir_slice_all(target), &ref));
    ok(weir_ucx_receive(to_third, 1, weir_slice_all(into), NULL, &received));
    for (int i = 0; i < 200; i++) {
        ok(weir_ucx_put(other.peer, weir_slice(source, 0, 8), &ref, WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &put));
        finish(put);
        for (int k = 0; k < 100; k++) cr_assert_geq(weir_ucx_spin(other.ucx), 0);
    }
    ok(weir_ucx_send(third.peer, 1, weir_slice(from, 0, 4096), NULL, &sent));
    while ((err = weir_ucx_wait(received, WEIR_NOW, NULL)) == WEIR_ETIMEDOUT && weir_clock_ns() < until_ns)
        cr_assert_geq(weir_ucx_spin(other.ucx), 0);
    ok(err);
    cr_assert_eq(((unsigned char *)into->host)[4095], 6);
    finish(sent);
    ok(weir_ucx_conceal(one.peer, &ref));
    ok(weir_buffer_release(target));
    ok(weir_buffer_release(source));
    ok(weir_buffer_release(into));
    ok(weir_buffer_release(from));
    weir_ucx_disconnect(to_third);
    close_side(&other);
    close_side(&third);
    close_side(&one);
}

static void *trim(void *buffers)
{
    ok(weir_pool_trim(one.pool, (size_t)(uintptr_t)buffers, WEIR_FOREVER));
    return NULL;
}

/* Each slab stays until the peer has let go of this very one. */
Test(ucx_transfer, a_slab_waits_for_a_peer_that_has_let_go_of_another)
{
    pthread_t thread;
    open_by_hand(WEIR_OPTS(ucx, .secret = SECRET, .stall_ns = UINT64_C(60000000000)), WEIR_UCX_GET | WEIR_UCX_PUT);
    ok(weir_pool_reserve(one.pool, 16));
    ok(weir_pool_reserve(one.pool, 28));
    cr_assert_eq(ucx_stats(one.ucx).registrations, 3);
    for (uint64_t gone = 0; gone < 2; gone++) {
        cr_assert_eq(pthread_create(&thread, NULL, trim, (void *)(uintptr_t)(gone ? 4 : 16)), 0);
        (void)poll(NULL, 0, 100); /* for what must not come */
        cr_assert_eq(ucx_stats(one.ucx).unregistrations, gone, "the peer still has its key");
        eventually(weir_ucx_progress(other.ucx) >= 0 && ucx_stats(one.ucx).unregistrations == gone + 1);
        pthread_join(thread, NULL);
    }
    close_side(&other);
    close_side(&one);
}
