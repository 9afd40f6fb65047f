/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.c - peers: how they are met, how they fail, and when what they could touch is free again
 *
 *      GREETING -> ALIVE -> ENDING (endpoint closed by force: UCX cancels what is in flight) -> ENDED -> freed
 *
 * Exposed buffers are given back when the endpoint is closed and the control connection has ended: then the peer's process has
 * let go, or is no more. Until then they stay held, for a peer that is only stopped may go on at any time.
 * The worker stays for as long: over shared memory a peer finds its queue by the number of a file descriptor in this process, and
 * one that is late must not find there the queue of the next peer.
 * A peer is freed when it has ended, no transfer names it, its connection has ended, and the caller has given it back.
 */
#include "ucx/engine.h"

#include "base/cancel.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* ---- the timer: heartbeats while there are peers ---- */

#define ENDING_LOOK_NS WI_NS_PER_MS

static uint64_t beat_ns(const struct weir_ucx *ucx)
{
    uint64_t least =
        ucx->opts.stall_ns < ucx->opts.handshake_ns ? ucx->opts.stall_ns : ucx->opts.handshake_ns;
    return least / 4 + 1;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / WI_NS_PER_S),
                             .tv_nsec = (long)(ns % WI_NS_PER_S)};
}

/* The first beat after so long, then one each beat_ns(). */
static void beat_after_locked(struct weir_ucx *ucx, uint64_t first_ns)
{
    struct itimerspec timer = {.it_interval = timespec_of(beat_ns(ucx)),
                               .it_value = timespec_of(first_ns)};
    (void)timerfd_settime(ucx->timer_fd, 0, &timer, NULL);
}

static void set_timer_locked(struct weir_ucx *ucx)
{
    ucx->looks_soon = false;
    beat_after_locked(ucx, ucx->peers ? beat_ns(ucx) : 0);
}

static bool is_overdue(const struct weir_ucx_peer *peer, uint64_t now_ns)
{
    const struct weir_ucx_opts *opts = &peer->ucx->opts;
    uint32_t                    state = wi_load(&peer->state, relaxed);
    if (state == WU_PEER_GREETING) return now_ns - peer->began_ns > opts->handshake_ns;
    return state == WU_PEER_ALIVE && opts->stall_ns != WEIR_FOREVER && now_ns > peer->heard_ns &&
           now_ns - peer->heard_ns > opts->stall_ns;
}

void wu_peers_tick_locked(struct weir_ucx *ucx)
{
    uint64_t now_ns = weir_clock_ns();
    ucx->looks_soon = false;
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        struct wu_frame frame;
        bool            overdue = is_overdue(peer, now_ns);
        if (overdue) {
            /* It may be this side that did not listen: the engine's lock was held for long, or nobody progressed. */
            wu_link_event_locked(peer, EPOLLIN);
            overdue = is_overdue(peer, now_ns);
        }
        uint32_t state = wi_load(&peer->state, relaxed);
        if (state == WU_PEER_GREETING && overdue) {
            ucx->stat.refused_garbage += !peer->connector;
            wu_peer_end_locked(peer, WEIR_ETIMEDOUT, UCS_ERR_TIMED_OUT, NULL);
            if (!peer->worker) wu_link_close_locked(peer);
        } else if (state == WU_PEER_ALIVE && overdue) {
            wu_peer_end_locked(peer, WEIR_EPEER, UCS_ERR_TIMED_OUT, "it is silent");
        } else if (state == WU_PEER_ALIVE) {
            wu_frame_begin(&frame, WU_PING);
            wu_link_send_locked(peer, &frame);
        }
    }
}

/* ---- meeting ---- */

static void prepare_socket(int fd)
{
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

static uint32_t new_inbox_locked(const struct weir_ucx *ucx)
{
    uint32_t inbox;
    bool     taken;
    do {
        if (!wu_random(&inbox, sizeof inbox)) return 0;
        inbox &= ~UINT32_C(1);
        taken = inbox == 0;
        for (const struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next)
            taken |= peer->inbox_mine == inbox;
    } while (taken);
    return inbox;
}

struct weir_ucx_peer *wu_peer_make_locked(struct weir_ucx *ucx, int fd, bool connector)
{
    struct weir_ucx_peer *peer =
        ucx->peer_count < ucx->opts.peers_max ? wu_calloc(1, sizeof *peer) : NULL;
    if (peer) peer->in = wu_calloc(1, WU_FRAME_MAX);
    if (peer && peer->in) {
        peer->ucx = ucx;
        peer->fd = fd;
        peer->connector = connector;
        peer->taken = connector;
        peer->events = EPOLLIN;
        peer->began_ns = peer->heard_ns = weir_clock_ns();
        peer->inbox_mine = new_inbox_locked(ucx);
        wi_store(&peer->state, WU_PEER_GREETING, relaxed);
        if (peer->inbox_mine && wu_random(peer->nonce_mine, sizeof peer->nonce_mine) &&
            wu_watch_fd(ucx, fd, EPOLLIN, peer) == 0) {
            prepare_socket(fd);
            peer->next = ucx->peers;
            ucx->peers = peer;
            if (ucx->peer_count++ == 0) set_timer_locked(ucx);
            return peer;
        }
    }
    if (peer) wu_free(peer->in);
    wu_free(peer);
    (void)close(fd);
    return NULL;
}

static void on_endpoint_error(void *arg, ucp_ep_h ep, ucs_status_t status)
{
    struct weir_ucx_peer *peer = arg;
    (void)ep;
    /* ended after progress: an endpoint is not closed inside its own callback */
    peer->broken = peer->ucx->unsettled = true;
    if (!peer->status) peer->status = status;
}

/*
 * The greeting: a synchronous message each way. It makes UCX ask the other side which endpoint is its own there, as the
 * first key would, and the first keep-alive; its end says that this is answered. A peer is ready when both are: over tcp,
 * a side that ends between the question and the answer makes UCX 1.13 abort the process that answers.
 */
static uint64_t greeting_tag(uint32_t inbox)
{
    return (uint64_t)(inbox | 1) << 32;
}

void wu_peer_ready_locked(struct weir_ucx_peer *peer)
{
    peer->ready = peer->answered && peer->said_ready;
    wu_advance_locked(peer->ucx);
}

static void on_greeted(void *request, ucs_status_t status, void *user)
{
    struct weir_ucx_peer *peer = user;
    struct wu_frame       frame;
    if (request) ucp_request_free(request);
    peer->uses--;
    peer->answered = true;
    if (status != UCS_OK) peer->broken = peer->ucx->unsettled = true;
    if (status != UCS_OK || wi_load(&peer->state, relaxed) != WU_PEER_ALIVE) return;
    wu_frame_begin(&frame, WU_READY);
    wu_link_send_locked(peer, &frame);
    wu_peer_ready_locked(peer);
}

static void on_greeting(void *request, ucs_status_t status, const ucp_tag_recv_info_t *info,
                        void *user)
{
    struct weir_ucx_peer *peer = user;
    (void)status;
    (void)info;
    if (request) ucp_request_free(request);
    peer->greeting = NULL;
    peer->uses--;
}

static void greet_locked(struct weir_ucx_peer *peer)
{
    ucp_request_param_t receive = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                                                   UCP_OP_ATTR_FIELD_USER_DATA |
                                                   UCP_OP_ATTR_FLAG_NO_IMM_CMPL,
                                   .cb.recv = on_greeting,
                                   .user_data = peer};
    ucp_request_param_t send = {.op_attr_mask =
                                    UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                .cb.send = on_greeted,
                                .user_data = peer};
    peer->uses += 2;
    ucs_status_ptr_t request =
        ucp_tag_recv_nbx(peer->worker, &peer->greeting_in, sizeof peer->greeting_in,
                         greeting_tag(peer->inbox_mine), UINT64_MAX, &receive);
    if (UCS_PTR_IS_PTR(request))
        peer->greeting = request;
    else
        on_greeting(NULL, UCS_PTR_STATUS(request), NULL, peer);
    request = ucp_tag_send_sync_nbx(peer->ep, &peer->greeting_out, sizeof peer->greeting_out,
                                    greeting_tag(peer->inbox_its), &send);
    if (!UCS_PTR_IS_PTR(request)) on_greeted(NULL, UCS_PTR_STATUS(request), peer);
}

void wu_peer_open_locked(struct weir_ucx_peer *peer, const void *address, size_t bytes)
{
    ucp_ep_params_t params = {
        .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER,
        .address = address,
        .err_mode = UCP_ERR_HANDLING_MODE_PEER,
        .err_handler = {.cb = on_endpoint_error, .arg = peer},
    };
    (void)bytes;
    ucs_status_t status = ucp_ep_create(peer->worker, &params, &peer->ep);
    if (status != UCS_OK) {
        peer->ep = NULL;
        wu_peer_end_locked(peer, WEIR_EPEER, status,
                           "UCX finds no transport to it that reports the death of a peer; shared "
                           "memory does with UCX_MM_ERROR_HANDLING=y");
        return;
    }
    peer->gone_acked = true; /* it never hears of what is going now */
    wi_store(&peer->state, WU_PEER_ALIVE, release);
    wu_slabs_announce_locked(peer);
    greet_locked(peer);
}

/* ---- ending ---- */

void wu_exposures_end_locked(struct weir_ucx_peer *peer, bool lost)
{
    for (uint32_t i = 0; i < peer->exposed_end; i++) {
        struct wu_exposure *exposure = &peer->exposed[i];
        if (!exposure->buffer) continue;
        (void)(lost ? weir_buffer_unhold_lost(exposure->buffer)
                    : weir_buffer_unhold(exposure->buffer));
        exposure->buffer = NULL;
        peer->exposed_count--;
    }
    if (peer->exposed_count == 0) peer->exposed_end = 0;
}

/*
 * While UCX's greeting is under way, the other side may still ask for our endpoint: were it closed, UCX would answer with
 * another, and the other process would abort. So what ends in the greeting ends behind it, if the other side is there to answer.
 */
static bool is_greeting(const struct weir_ucx_peer *peer)
{
    return (!peer->answered || peer->greeting) && !peer->parted && !peer->broken &&
           weir_clock_ns() - peer->began_ns <= peer->ucx->opts.handshake_ns;
}

static void close_endpoint(struct weir_ucx_peer *peer)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
                                 .flags = UCP_EP_CLOSE_FLAG_FORCE};
    if (peer->greeting) ucp_request_cancel(peer->worker, peer->greeting);
    peer->closing = ucp_ep_close_nbx(peer->ep, &param);
    peer->ep = NULL;
    if (UCS_PTR_IS_ERR(peer->closing)) peer->closing = NULL;
}

void wu_peer_end_locked(struct weir_ucx_peer *peer, int err, ucs_status_t status, const char *why)
{
    uint32_t state = wi_load(&peer->state, relaxed);
    if (state >= WU_PEER_ENDING) return;
    if (!peer->status) peer->status = status;
    peer->error = err;
    if (why)
        wu_log(WEIR_LOG_WARN,
               "a peer has failed: %s (%s); %u transfers and %u exposed buffers wait for their end",
               why, ucs_status_string(peer->status), peer->uses, peer->exposed_count);
    if (state == WU_PEER_ALIVE && err != WEIR_ECANCELED) peer->ucx->stat.peers_failed++;
    wi_store(&peer->state, WU_PEER_ENDING, release);
    peer->ucx->unsettled = true;
    wu_worker_warm_locked(peer);
    wu_transfers_cancel_locked(peer);
    if (peer->ep && !is_greeting(peer)) close_endpoint(peer);
    wu_advance_locked(peer->ucx);
}

/* The endpoint is gone. What is left is to hear from its process. */
static void half_close(struct weir_ucx_peer *peer)
{
    if (peer->fd < 0) return;
    if (peer->inbox_its && !peer->parted) {
        (void)shutdown(peer->fd, SHUT_WR); /* the other side ends too, and closes */
    } else {
        wu_link_close_locked(peer); /* or the handshake has not come so far that it may use an address of ours */
    }
}

static void free_peer(struct weir_ucx_peer *peer)
{
    wu_wipe(peer->key, sizeof peer->key);
    wu_free(peer->exposed);
    wu_free(peer->in);
    wu_free(peer->out);
    wu_free(peer);
}

static bool step_ending(struct weir_ucx_peer *peer)
{
    if (peer->ep) {
        if (is_greeting(peer)) return false;
        close_endpoint(peer);
    }
    if (peer->closing) {
        if (ucp_request_check_status(peer->closing) == UCS_INPROGRESS) return false;
        ucp_request_free(peer->closing);
        peer->closing = NULL;
    }
    if (peer->uses > 0) return false; /* their callbacks come */
    wu_far_slabs_free_locked(peer);
    if (!wu_worker_rest_locked(peer)) return false;
    wi_store(&peer->state, WU_PEER_ENDED, release);
    half_close(peer);
    wu_advance_locked(peer->ucx);
    return true;
}

unsigned wu_peers_settle_locked(struct weir_ucx *ucx)
{
    unsigned               done = 0;
    bool                   ending = false;
    struct weir_ucx_peer **link = &ucx->peers;
    if (WI_LIKELY(!ucx->unsettled)) return 0;
    ucx->unsettled = false;
    while (*link) {
        struct weir_ucx_peer *peer = *link;
        if (peer->broken && wi_load(&peer->state, relaxed) < WU_PEER_ENDING)
            wu_peer_end_locked(peer, WEIR_EPEER, UCS_ERR_ENDPOINT_TIMEOUT, "UCX reports an error");
        if (wi_load(&peer->state, relaxed) == WU_PEER_ENDING) done += step_ending(peer);
        ending |= wi_load(&peer->state, relaxed) == WU_PEER_ENDING;
        bool ended = wi_load(&peer->state, relaxed) == WU_PEER_ENDED;
        if (ended && (peer->fd < 0 || ucx->closing)) wu_worker_close_locked(peer);
        if (ended && peer->fd < 0) {
            if (peer->exposed_count) wu_exposures_end_locked(peer, false);
            if (peer->dropped || !peer->taken) {
                *link = peer->next;
                wu_worker_forget_locked(peer);
                if (--ucx->peer_count == 0) set_timer_locked(ucx);
                free_peer(peer);
                done++;
                continue;
            }
        }
        ucx->unsettled |= wi_load(&peer->state, relaxed) >= WU_PEER_ENDING && !(ended && peer->fd < 0);
        link = &peer->next;
    }
    /* The end of an endpoint and a worker's flush go on inside progress only, and signal nothing. */
    if (ending && !ucx->looks_soon) {
        ucx->looks_soon = true;
        beat_after_locked(ucx, ENDING_LOOK_NS);
    }
    return done;
}

/* ---- public: listen, accept, connect, disconnect ---- */

static int resolve(const char *address, uint16_t port, bool passive, struct addrinfo **out)
{
    char            service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    (void)snprintf(service, sizeof service, "%u", port);
    int err = getaddrinfo(address, service, &hints, out);
    WU_ENSURE(err == 0, INVAL, .call = "getaddrinfo", .detail = "no such address",
              .sys_errno = err == EAI_SYSTEM ? errno : 0);
    return 0;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24) == 127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t               bytes = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &bytes) != 0) return 0;
    if (address.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&address)->sin_port);
    return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
}

int weir_ucx_listen(struct weir_ucx *ucx, const char *address, uint16_t port, uint16_t *out_port)
{
    struct addrinfo *found = NULL;
    int              one = 1;
    WI_UNCANCELLABLE;
    WU_ENSURE(ucx, INVAL, .detail = "ucx is NULL");
    WI_TRY(resolve(address, port, true, &found));
    bool loopback = is_loopback(found->ai_addr);
    int  fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool allowed = loopback || ucx->opts.secret_bytes > 0;
    bool listens = allowed && fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
                   listen(fd, 64) == 0;
    int why = errno;
    freeaddrinfo(found);
    int err = 0;
    if (!allowed) {
        err = WU_FAIL(INVAL, .detail = "without a secret only a loopback address is listened on",
                      .setting = "weir_ucx_opts.secret");
    } else if (!listens) {
        err = WU_FAIL(BUSY, .call = "bind, listen", .sys_errno = why, .wanted = port);
    } else {
        wu_lock(ucx);
        if (ucx->listen_fd >= 0) err = WU_FAIL(BUSY, .detail = "the engine has a listener");
        if (err == 0) err = wu_watch_fd(ucx, fd, EPOLLIN, &ucx->listen_fd);
        if (err == 0) ucx->listen_fd = fd;
        wu_unlock(ucx);
    }
    if (err < 0) {
        if (fd >= 0) (void)close(fd);
        return err;
    }
    if (out_port) *out_port = port_of(fd);
    return 0;
}

static struct weir_ucx_peer *take_arrival(struct weir_ucx *ucx)
{
    struct weir_ucx_peer *oldest = NULL;
    wu_lock(ucx);
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        if (!peer->taken && peer->ready && wi_load(&peer->state, relaxed) == WU_PEER_ALIVE)
            oldest = peer; /* newest first in the list */
    }
    if (oldest) oldest->taken = true;
    wu_unlock(ucx);
    return oldest;
}

struct arrival {
    struct weir_ucx      *ucx;
    struct weir_ucx_peer *peer;
};

static bool has_arrived(void *arg)
{
    struct arrival *arrival = arg;
    if (!arrival->peer) arrival->peer = take_arrival(arrival->ucx);
    return arrival->peer != NULL;
}

int weir_ucx_accept(struct weir_ucx *ucx, uint64_t deadline_ns, struct weir_ucx_peer **out)
{
    struct arrival arrival = {.ucx = ucx};
    WI_UNCANCELLABLE;
    WU_ENSURE(ucx && out, INVAL, .detail = "ucx or out is NULL");
    WU_ENSURE(ucx->listen_fd >= 0, INVAL, .detail = "the engine does not listen");
    WU_ENSURE(wu_await(ucx, has_arrived, &arrival, deadline_ns, false), TIMEDOUT,
              .detail = "no peer has come");
    if (!ucx->has_thread) wu_wake(ucx); /* its worker was not armed yet */
    *out = arrival.peer;
    return 0;
}

static int dial(const char *address, uint16_t port, uint64_t deadline_ns, int *out_fd)
{
    struct addrinfo *found = NULL;
    WI_TRY(resolve(address, port, false, &found));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err = fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0 ? 0 : errno;
    freeaddrinfo(found);
    while (fd >= 0 && err == EINPROGRESS) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        socklen_t     bytes = sizeof err;
        uint64_t      now_ns = weir_clock_ns();
        if (now_ns >= deadline_ns) {
            err = ETIMEDOUT;
            break;
        }
        uint64_t ms = (deadline_ns - now_ns) / WI_NS_PER_MS + 1;
        if (poll(&ready, 1, ms < 1000 ? (int)ms : 1000) > 0 &&
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &bytes) != 0)
            err = errno;
    }
    if (err == 0) {
        *out_fd = fd;
        return 0;
    }
    if (fd >= 0) (void)close(fd);
    if (err == ETIMEDOUT) return WU_FAIL(TIMEDOUT, .call = "connect", .sys_errno = err);
    return WU_FAIL(PEER, .call = "connect", .sys_errno = err);
}

static bool is_met(void *arg)
{
    struct weir_ucx_peer *peer = arg;
    wu_lock(peer->ucx);
    bool met = peer->ready || wi_load(&peer->state, relaxed) >= WU_PEER_ENDING;
    wu_unlock(peer->ucx);
    return met;
}

int weir_ucx_connect(struct weir_ucx *ucx, const char *address, uint16_t port, uint64_t deadline_ns,
                     struct weir_ucx_peer **out)
{
    int fd = -1;
    WI_UNCANCELLABLE;
    WU_ENSURE(ucx && address && out, INVAL, .detail = "ucx, address or out is NULL");
    WI_TRY(dial(address, port, deadline_ns, &fd));
    wu_lock(ucx);
    struct weir_ucx_peer *peer = wu_peer_make_locked(ucx, fd, true);
    wu_unlock(ucx);
    WU_ENSURE(peer, EXCEEDS, .limit = "peers_max", .limit_value = ucx->opts.peers_max,
              .wanted = ucx->opts.peers_max + 1, .setting = "weir_ucx_opts.peers_max");
    bool met = wu_await(ucx, is_met, peer, deadline_ns, false);
    wu_lock(ucx);
    bool alive = peer->ready && wi_load(&peer->state, relaxed) == WU_PEER_ALIVE;
    int  status = peer->status, error = met ? peer->error : WEIR_ETIMEDOUT;
    wu_unlock(ucx);
    if (alive) {
        if (!ucx->has_thread) wu_wake(ucx); /* its worker was not armed yet */
        *out = peer;
        return 0;
    }
    weir_ucx_disconnect(peer);
    if (error == WEIR_ETIMEDOUT)
        return WU_FAIL(TIMEDOUT, .detail = "the handshake did not end in time");
    if (error == WEIR_ENOSYS)
        return WU_FAIL(NOSYS, .driver_code = status, .detail = "UCX makes no worker for the peer",
                       .setting = "RLIMIT_NOFILE, or fewer devices in UCX_NET_DEVICES");
    return WU_FAIL(PEER, .driver_code = status,
                   .detail = "it refuses the connection, or does not know the secret");
}

void wu_peer_leave_locked(struct weir_ucx_peer *peer)
{
    if (wi_load(&peer->state, relaxed) == WU_PEER_ALIVE) {
        struct wu_frame frame;
        wu_frame_begin(&frame, WU_BYE);
        wu_link_send_locked(peer, &frame);
    }
    wu_peer_end_locked(peer, WEIR_ECANCELED, UCS_ERR_CANCELED, NULL);
}

void weir_ucx_disconnect(struct weir_ucx_peer *peer)
{
    WI_UNCANCELLABLE;
    if (!peer) return;
    struct weir_ucx *ucx = peer->ucx;
    wu_lock(ucx);
    wu_peer_leave_locked(peer);
    peer->dropped = ucx->unsettled = true;
    (void)wu_progress_locked(ucx);
    wu_unlock(ucx);
    wu_wake(ucx);
}

int weir_ucx_peer_alive(struct weir_ucx_peer *peer)
{
    WU_ENSURE(peer, INVAL, .detail = "peer is NULL");
    if (wi_load(&peer->state, acquire) == WU_PEER_ALIVE) return 1;
    return WU_FAIL(PEER, .driver_code = peer->status, .detail = "the peer has failed, or has gone");
}

/* ---- exposures ---- */

static int find_place_locked(struct weir_ucx_peer *peer, struct wu_exposure **out)
{
    if (!peer->exposed) peer->exposed = wu_calloc(WU_EXPOSED_MAX, sizeof *peer->exposed);
    WU_ENSURE(peer->exposed, NOMEM, .call = "calloc", .detail = "the table of exposed buffers");
    WU_ENSURE(peer->exposed_count < WU_EXPOSED_MAX, EXCEEDS, .limit = "exposed buffers of a peer",
              .limit_value = WU_EXPOSED_MAX, .wanted = WU_EXPOSED_MAX + 1,
              .setting = "weir_ucx_conceal()");
    uint32_t at = peer->exposed_end;
    if (at == WU_EXPOSED_MAX) {
        for (at = 0; peer->exposed[at].buffer; at++) {
        }
    } else {
        peer->exposed_end++;
    }
    *out = &peer->exposed[at];
    return 0;
}

static int expose_locked(struct weir_ucx_peer *peer, struct weir_slice part,
                         struct weir_ucx_ref *out)
{
    struct weir_ucx    *ucx = peer->ucx;
    struct wu_exposure *place = NULL;
    WU_ENSURE(wi_load(&peer->state, relaxed) == WU_PEER_ALIVE, PEER, .driver_code = peer->status,
              .detail = "the peer has failed, or has gone");
    uint64_t base =
        part.buffer->host ? (uint64_t)(uintptr_t)part.buffer->host : part.buffer->device;
    struct wu_slab *slab = wu_slab_find_locked(ucx, base + part.offset, part.bytes);
    WU_ENSURE(slab && slab->access && !slab->going, NOENT,
              .detail = "the buffer's pool is not offered to peers", .setting = "weir_ucx_offer()");
    WI_TRY(find_place_locked(peer, &place));
    WI_TRY(weir_buffer_hold(part.buffer));
    place->buffer = part.buffer;
    place->ref = (struct weir_ucx_ref){.run = {ucx->run_words[0], ucx->run_words[1]},
                                       .slab = slab->name,
                                       .offset = base + part.offset - slab->from,
                                       .bytes = part.bytes};
    peer->exposed_count++;
    *out = place->ref;
    return 0;
}

int weir_ucx_expose(struct weir_ucx_peer *peer, struct weir_slice part, struct weir_ucx_ref *out)
{
    WU_ENSURE(peer && part.buffer && out, INVAL, .detail = "peer, buffer or out is NULL");
    WU_ENSURE(part.bytes > 0 && part.offset <= part.buffer->bytes &&
                  part.bytes <= part.buffer->bytes - part.offset,
              RANGE, .detail = "outside the buffer", .limit = "bytes of the buffer",
              .limit_value = part.buffer->bytes, .wanted = part.offset + part.bytes);
    wu_lock(peer->ucx);
    int err = expose_locked(peer, part, out);
    wu_unlock(peer->ucx);
    return err;
}

int weir_ucx_conceal(struct weir_ucx_peer *peer, const struct weir_ucx_ref *ref)
{
    struct weir_buffer *buffer = NULL;
    WU_ENSURE(peer && ref, INVAL, .detail = "peer or ref is NULL");
    wu_lock(peer->ucx);
    for (uint32_t i = 0; i < peer->exposed_end && !buffer; i++) {
        struct wu_exposure *exposure = &peer->exposed[i];
        if (!exposure->buffer || memcmp(&exposure->ref, ref, sizeof *ref) != 0) continue;
        buffer = exposure->buffer;
        exposure->buffer = NULL;
        if (--peer->exposed_count == 0) peer->exposed_end = 0;
    }
    wu_unlock(peer->ucx);
    WU_ENSURE(buffer, NOENT, .detail = "this is not exposed to the peer, or not any more");
    return weir_buffer_unhold(buffer);
}

void wu_refuse_key_locked(struct weir_ucx *ucx, const char *why)
{
    ucx->stat.refused_keys++;
    if (!ucx->told_keys)
        wu_log(WEIR_LOG_WARN, "a reference is refused: %s; counted from now on", why);
    ucx->told_keys = true;
}
