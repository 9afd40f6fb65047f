/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call of UCX that can fail fails once, at every place: a clear error, nothing left, and the next attempt succeeds. And what
 * is used up, or never ends, is named, and harms nothing else.
 */
#include "ucx/fixture.h"
#include "ucx/ucp_double.h"

#include <poll.h>

static struct side one, other;

static void start_over(enum ucp_call call, unsigned fail_at)
{
    for (unsigned i = 0; i < UCP_CALLS; i++) {
        wi_store(&ucp_double.calls[i], 0, relaxed);
        wi_store(&ucp_double.fail_at[i], i == call ? fail_at : 0, relaxed);
    }
}

/* Fails at most once, and says why. */
static void expect(int err, enum ucp_call call, unsigned *failures)
{
    struct weir_error error = {.struct_size = sizeof error};
    char              text[512];
    if (err >= 0) return;
    ++*failures;
    ok(weir_last_error(&error));
    cr_assert_gt(weir_error_text(text, sizeof text), 0);
    cr_assert_leq(*failures, 1, "%s: %s", ucp_call_name(call), text);
    cr_assert_eq(error.code, err);
    cr_assert_lt(error.driver_code, 0, "%s: UCX's status is lost: %s", ucp_call_name(call), text);
    cr_assert(err == WEIR_ENOSYS || err == WEIR_ENOMEM || err == WEIR_EPEER, "%s: %s", ucp_call_name(call), text);
}

static void open_one(struct side *side, enum ucp_call call, unsigned *failures)
{
    const struct weir_ucx_opts *opts = WEIR_OPTS(ucx, .secret = SECRET);
    int                         err;
    side->rt = make_runtime();
    side->peer = NULL;
    while ((err = weir_ucx_create(side->rt, opts, &side->ucx)) < 0) expect(err, call, failures);
    while ((err = weir_pool_create(side->rt, WEIR_OPTS(pool, .buffer_bytes = BLOCK_BYTES, .buffers_min = 2,
                                                       .source = weir_ucx_memory(side->ucx)), &side->pool)) < 0)
        expect(err, call, failures);
    while ((err = weir_ucx_offer(side->ucx, side->pool, WEIR_UCX_PUT)) < 0) expect(err, call, failures);
}

/* Both have met, or one knows that it failed. */
static int meet_once(uint16_t port)
{
    int err = weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &other.peer);
    if (err < 0) return err;
    while ((err = weir_ucx_accept(one.ucx, weir_deadline_after_ns(1000000), &one.peer)) == WEIR_ETIMEDOUT) {
        err = weir_ucx_peer_alive(other.peer);
        if (err < 0) break;
    }
    if (err < 0) weir_ucx_disconnect(other.peer);
    return err;
}

static void play(enum ucp_call call, unsigned *failures)
{
    struct weir_ucx_transfer *transfer;
    struct weir_ucx_ref       ref;
    uint16_t                  port = 0;
    int                       err;
    open_one(&one, call, failures);
    open_one(&other, call, failures);
    ok(weir_ucx_listen(one.ucx, "127.0.0.1", 0, &port));
    while ((err = meet_once(port)) < 0) expect(err, call, failures);
    struct weir_buffer *target = lease(&one, 0), *source = lease(&other, 5);
    ok(weir_ucx_expose(one.peer, weir_slice_all(target), &ref));
    ok(weir_ucx_put(other.peer, weir_slice_all(source), &ref, WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &transfer));
    finish(transfer);
    cr_assert_eq(((unsigned char *)target->host)[target->bytes - 1], 5);
    ok(weir_ucx_conceal(one.peer, &ref));
    ok(weir_buffer_release(target));
    ok(weir_buffer_release(source));
    close_side(&other);
    close_side(&one);
}

static void assert_nothing_left(enum ucp_call call, unsigned at)
{
    const char *name = ucp_call_name(call);
    cr_assert_eq(wi_load(&ucp_double.contexts, relaxed), 0, "%s %u", name, at);
    cr_assert_eq(wi_load(&ucp_double.workers, relaxed), 0, "%s %u", name, at);
    cr_assert_eq(wi_load(&ucp_double.addresses, relaxed), 0, "%s %u", name, at);
    cr_assert_eq(wi_load(&ucp_double.mappings, relaxed), 0, "%s %u", name, at);
    cr_assert_eq(wi_load(&ucp_double.keys, relaxed), 0, "%s %u", name, at);
    cr_assert_eq(wi_load(&ucp_double.far_keys, relaxed), 0, "%s %u", name, at);
}

static unsigned sweep(enum ucp_call call)
{
    unsigned faults = 0;
    for (unsigned fail_at = 1;; fail_at++) {
        unsigned failures = 0;
        start_over(call, fail_at);
        play(call, &failures);
        assert_nothing_left(call, fail_at);
        if (wi_load(&ucp_double.calls[call], relaxed) < fail_at) return faults;
        cr_assert_eq(failures, 1, "%s %u failed, and nobody was told", ucp_call_name(call), fail_at);
        faults++;
    }
}

/* The engine's own try, and the worker of a peer, on either side. */
Test(ucx_faults, no_address_of_a_worker)
{
    cr_assert_geq(sweep(UCP_WORKER_ADDRESS), 4);
}

Test(ucx_faults, no_worker)
{
    cr_assert_geq(sweep(UCP_WORKER_CREATE), 4);
    cr_assert_geq(sweep(UCP_WORKER_EFD), 2);
}

Test(ucx_faults, no_context)
{
    cr_assert_eq(sweep(UCP_CONFIG_READ), 2);
    cr_assert_eq(sweep(UCP_INIT), 2);
}

Test(ucx_faults, no_endpoint)
{
    cr_assert_geq(sweep(UCP_EP_CREATE), 2);
    cr_assert_geq(sweep(UCP_RKEY_UNPACK), 2);
}

Test(ucx_faults, no_memory)
{
    cr_assert_eq(sweep(UCP_MEM_MAP), 2);
    cr_assert_eq(sweep(UCP_MEM_QUERY), 2);
    cr_assert_eq(sweep(UCP_RKEY_PACK), 2);
}

/* Sends that nobody receives hold one buffer as often as can be; the next is refused, and nothing else is harmed. */
Test(ucx_faults, a_buffer_with_all_its_holds_in_flight)
{
    enum { HOLDS = 32767 };
    struct told               told = {0};
    struct weir_ucx_transfer *sent, *received;
    open_side(&one, WEIR_OPTS(ucx, .secret = SECRET), 0);
    open_side(&other, WEIR_OPTS(ucx, .secret = SECRET, .transfers_max = 40000), 0);
    meet(&one, &other);
    struct weir_buffer *source = lease(&other, 4), *second = lease(&other, 5), *into = lease(&one, 0);
    const struct weir_ucx_transfer_opts *opts = WEIR_OPTS(ucx_transfer, .done = on_done, .ctx = &told);
    for (int i = 0; i < HOLDS; i++) ok(weir_ucx_send(other.peer, 1, weir_slice_all(source), opts, NULL));
    cr_assert_eq(ucx_stats(other.ucx).in_flight, HOLDS, "they are to wait for their receiver");
    answers(weir_ucx_send(other.peer, 1, weir_slice_all(source), opts, NULL), EXCEEDS);
    answers(weir_ucx_send(other.peer, 1, weir_slice_all(source), NULL, &sent), EXCEEDS);
    cr_assert_eq(ucx_stats(other.ucx).in_flight, HOLDS);
    cr_assert_eq(wi_load(&told.count, acquire), 0);
    /* Another buffer goes all the same; one that ends inside the call has given its hold back. */
    ok(weir_ucx_receive(one.peer, 2, weir_slice_all(into), NULL, &received));
    ok(weir_ucx_send(other.peer, 2, weir_slice(second, 0, 8), NULL, &sent));
    finish(received);
    finish(sent);
    ok(weir_buffer_release(second));
    ok(weir_buffer_release(into));
    ok(weir_buffer_release(source));
    cr_assert_eq(pool_stats(other.pool).retiring, 1);
    weir_ucx_disconnect(other.peer);
    other.peer = NULL;
    eventually(wi_load(&told.count, acquire) == HOLDS);
    cr_assert_eq(wi_load(&told.err, relaxed), WEIR_EPEER);
    eventually(pool_stats(other.pool).retiring == 0);
    close_side(&other);
    close_side(&one);
}

static int restless;

static void count_restless(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    restless += level == WEIR_LOG_ERROR && !strcmp(component, "ucx") && strstr(message, "does not come to rest");
}

/* UCX aborts the process where a worker is destroyed that is not at rest. The listener's is made last. */
Test(ucx_faults, a_worker_that_does_not_rest_stays)
{
    weir_log_set(count_restless, NULL);
    open_side(&one, WEIR_OPTS(ucx, .secret = SECRET, .handshake_ns = UINT64_C(3000000000)), 0);
    open_side(&other, WEIR_OPTS(ucx, .secret = SECRET), 0);
    meet(&one, &other);
    wi_store(&ucp_double.restless, wi_load(&ucp_double.newest, relaxed), relaxed);
    close_side(&one);
    cr_assert_eq(restless, 1);
    close_side(&other);
    cr_assert_eq(restless, 1);
    cr_assert_eq(wi_load(&ucp_double.workers, relaxed), 1, "destroyed before it rests");
    cr_assert_eq(wi_load(&ucp_double.contexts, relaxed), 1);
    weir_log_set(NULL, NULL);
}

/* Who did not listen for long hears what has come before it calls a peer silent. */
Test(ucx_faults, a_peer_is_heard_before_it_is_silent)
{
    struct weir_pool *more;
    uint16_t          port = 0;
    open_side(&one, WEIR_OPTS(ucx, .secret = SECRET), 0);
    open_side(&other, WEIR_OPTS(ucx, .secret = SECRET, .flags = WEIR_UCX_CALLER_PROGRESS, .stall_ns = UINT64_C(1500000000)), 0);
    ok(weir_ucx_listen(one.ucx, "127.0.0.1", 0, &port));
    ok(weir_ucx_connect(other.ucx, "127.0.0.1", port, SOON_NS, &other.peer));
    cr_assert_geq(weir_ucx_progress(other.ucx), 0);
    (void)poll(NULL, 0, 1700);
    /* Offered on the other side: a frame comes. */
    ok(weir_pool_create(one.rt, WEIR_OPTS(pool, .buffer_bytes = BLOCK_BYTES, .buffers_min = 1), &more));
    ok(weir_ucx_offer(one.ucx, more, WEIR_UCX_PUT));
    cr_assert_geq(weir_ucx_progress(other.ucx), 0);
    ok(weir_ucx_peer_alive(other.peer) - 1);
    ok(weir_ucx_accept(one.ucx, SOON_NS, &one.peer));
    close_side(&other);
    close_side(&one);
}

/* The buffer's holds are all of others', and UCX has begun: the call ends after a while, and the peer with it. */
Test(ucx_faults, a_transfer_that_cannot_hold_does_not_wait_for_good)
{
    enum { HOLDS = 32767 };
    struct weir_ucx_transfer *transfer;
    open_side(&one, WEIR_OPTS(ucx, .secret = SECRET), 0);
    open_side(&other, WEIR_OPTS(ucx, .secret = SECRET, .handshake_ns = UINT64_C(2000000000)), 0);
    meet(&one, &other);
    struct weir_buffer *source = lease(&other, 4);
    for (int i = 0; i < HOLDS; i++) ok(weir_buffer_hold(source));
    answers(weir_ucx_send(other.peer, 1, weir_slice_all(source), NULL, &transfer), EXCEEDS);
    eventually(ucx_stats(other.ucx).in_flight == 0);
    answers(weir_ucx_peer_alive(other.peer), PEER);
    for (int i = 0; i < HOLDS; i++) ok(weir_buffer_unhold(source));
    answers(weir_buffer_unhold(source), NOTLEASED);
    ok(weir_buffer_release(source));
    close_side(&other);
    close_side(&one);
}
