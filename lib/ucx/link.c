/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - the control connection of a peer: plain TCP, so that nothing that has not proved the secret meets UCX
 *
 *      listener                                   connector
 *      HELLO    run, nonce                   ->
 *                                            <-   AUTH     run, nonce, inbox, UCX address, proof
 *      WELCOME  inbox, UCX address, proof    ->
 *      SLAB, READY, SLAB_GOING, SLAB_GONE, PING, BYE <->   each with a proof under the session's key, numbered
 *
 * The end of the connection is how the death of a peer is seen, whatever the transport: the kernel closes it. It is also what says that a
 * peer's process can touch nothing of ours any more: so each side ends its half only when its endpoint is closed.
 */
#include "ucx/frame.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define VERSION      2u
#define NONCE_BYTES  32
#define ACCEPT_ROUND 16

/* ---- sending ---- */

static void watch(struct weir_ucx_peer *peer, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (peer->events == events) return;
    peer->events = events;
    (void)epoll_ctl(peer->ucx->poll_fd, EPOLL_CTL_MOD, peer->fd, &event);
}

static void push_out(struct weir_ucx_peer *peer)
{
    size_t sent = 0;
    while (sent < peer->out_bytes) {
        ssize_t count =
            send(peer->fd, peer->out + sent, peer->out_bytes - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break; /* an error shows when it is read */
        sent += (size_t)count;
    }
    memmove(peer->out, peer->out + sent, peer->out_bytes - sent);
    peer->out_bytes -= sent;
    watch(peer, EPOLLIN | (peer->out_bytes ? (uint32_t)EPOLLOUT : 0));
}

static bool make_room(struct weir_ucx_peer *peer, size_t bytes)
{
    size_t wanted = peer->out_bytes + bytes;
    if (wanted > WU_BACKLOG_BYTES) return false;
    if (wanted <= peer->out_capacity) return true;
    uint8_t *more = wu_realloc(peer->out, wanted * 2);
    if (!more) return false;
    peer->out = more;
    peer->out_capacity = wanted * 2;
    return true;
}

void wu_link_send_locked(struct weir_ucx_peer *peer, struct wu_frame *frame)
{
    bool session = wi_load(&peer->state, relaxed) >= WU_PEER_ALIVE;
    if (peer->fd < 0) return;
    bool good = wu_frame_finish(frame, session ? peer->key : NULL, peer->connector, peer->sent) &&
                make_room(peer, frame->used);
    if (!good) {
        /* it reads nothing, or there is no memory: it cannot be told any more */
        peer->broken = peer->ucx->unsettled = true;
        return;
    }
    peer->sent += session;
    memcpy(peer->out + peer->out_bytes, frame->bytes, frame->used);
    peer->out_bytes += frame->used;
    push_out(peer);
}

void wu_link_close_locked(struct weir_ucx_peer *peer)
{
    if (peer->fd < 0) return;
    (void)close(peer->fd);
    peer->fd = -1;
    peer->ucx->unsettled = true;
    peer->in_bytes = peer->out_bytes = 0;
    wu_advance_locked(peer->ucx);
}

/* ---- handshake ---- */

static bool prove_party(const struct weir_ucx_peer *peer, bool connector, uint32_t inbox,
                        const void *address, size_t bytes, uint8_t *out)
{
    const struct weir_ucx *ucx = peer->ucx;
    const char            *role = connector ? "weir-ucx-1 connector" : "weir-ucx-1 listener";
    bool                   own = peer->connector == connector; /* the proof is of this side */
    uint8_t                number[4];
    memcpy(number, &inbox, sizeof number);
    const struct wu_bytes parts[] = {
        {role, strlen(role)},
        {own ? peer->nonce_its : peer->nonce_mine, NONCE_BYTES}, /* the challenge, then its own */
        {own ? peer->nonce_mine : peer->nonce_its, NONCE_BYTES},
        {own ? ucx->run : peer->run, WU_RUN_BYTES},
        {own ? peer->run : ucx->run, WU_RUN_BYTES},
        {number, sizeof number},
        {address, bytes},
    };
    return wu_prove(ucx->opts.secret, ucx->opts.secret_bytes, parts, WI_ARRAY_COUNT(parts), out);
}

static bool derive_key(struct weir_ucx_peer *peer)
{
    const struct weir_ucx *ucx = peer->ucx;
    bool                   connector = peer->connector;
    static const char      role[] = "weir-ucx-1 session";
    const struct wu_bytes  parts[] = {
         {role, sizeof role - 1},
         {connector ? peer->nonce_mine : peer->nonce_its, NONCE_BYTES},
         {connector ? peer->nonce_its : peer->nonce_mine, NONCE_BYTES},
         {connector ? ucx->run : peer->run, WU_RUN_BYTES},
         {connector ? peer->run : ucx->run, WU_RUN_BYTES},
    };
    return wu_prove(ucx->opts.secret, ucx->opts.secret_bytes, parts, WI_ARRAY_COUNT(parts),
                    peer->key);
}

void wu_link_greet_locked(struct weir_ucx_peer *peer)
{
    struct wu_frame frame;
    wu_frame_begin(&frame, WU_HELLO);
    wu_frame_add_u32(&frame, VERSION);
    wu_frame_add(&frame, peer->ucx->run, WU_RUN_BYTES);
    wu_frame_add(&frame, peer->nonce_mine, NONCE_BYTES);
    wu_link_send_locked(peer, &frame);
}

static void add_party(struct weir_ucx_peer *peer, struct wu_frame *frame)
{
    uint8_t proof[WU_PROOF_BYTES];
    if (!prove_party(peer, peer->connector, peer->inbox_mine, peer->address, peer->address_bytes,
                     proof))
        memset(proof, 0, sizeof proof);
    wu_frame_add_u32(frame, peer->inbox_mine);
    wu_frame_add_u32(frame, (uint32_t)peer->address_bytes);
    wu_frame_add(frame, peer->address, peer->address_bytes);
    wu_frame_add(frame, proof, sizeof proof);
}

enum verdict { GOOD, GARBAGE, WRONG_SECRET, NO_WORKER, LEFT };

/*
 * A connector whose handshake took too long has closed, and its worker is gone: an endpoint to what it sent before would find the
 * queue of somebody else.
 */
static bool has_closed(const struct weir_ucx_peer *peer)
{
    uint8_t byte;
    ssize_t count = recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
}

/* inbox | address bytes | address | proof. On success the session has its key, and the peer is open. */
static enum verdict take_party(struct weir_ucx_peer *peer, const uint8_t *at, size_t bytes)
{
    uint8_t proof[WU_PROOF_BYTES];
    if (bytes < 8 + WU_PROOF_BYTES) return GARBAGE;
    uint32_t inbox = wu_read_u32(at), address_bytes = wu_read_u32(at + 4);
    if (address_bytes == 0 || bytes - 8 - WU_PROOF_BYTES != address_bytes) return GARBAGE;
    if (!prove_party(peer, !peer->connector, inbox, at + 8, address_bytes, proof)) return GARBAGE;
    if (!wu_same_proof(proof, at + 8 + address_bytes, WU_PROOF_BYTES)) return WRONG_SECRET;
    if (has_closed(peer)) return LEFT;
    if (!derive_key(peer)) return GARBAGE;
    if (!peer->connector && wu_worker_open_locked(peer) < 0) return NO_WORKER;
    peer->inbox_its = inbox;
    if (!peer->connector) {
        struct wu_frame frame;
        wu_frame_begin(&frame, WU_WELCOME);
        add_party(peer, &frame);
        wu_link_send_locked(peer, &frame);
    }
    wu_peer_open_locked(peer, at + 8, address_bytes);
    return GOOD;
}

static enum verdict take_greeting(struct weir_ucx_peer *peer, uint32_t type, const uint8_t *at,
                                  size_t bytes)
{
    struct wu_frame frame;
    if (peer->connector && type == WU_HELLO && peer->greeted == 0) {
        if (bytes != 4 + WU_RUN_BYTES + NONCE_BYTES || wu_read_u32(at) != VERSION) return GARBAGE;
        memcpy(peer->run, at + 4, WU_RUN_BYTES);
        memcpy(peer->nonce_its, at + 4 + WU_RUN_BYTES, NONCE_BYTES);
        peer->greeted = 1;
        if (wu_worker_open_locked(peer) < 0) return NO_WORKER;
        wu_frame_begin(&frame, WU_AUTH);
        wu_frame_add(&frame, peer->ucx->run, WU_RUN_BYTES);
        wu_frame_add(&frame, peer->nonce_mine, NONCE_BYTES);
        add_party(peer, &frame);
        wu_link_send_locked(peer, &frame);
        return GOOD;
    }
    if (peer->connector && type == WU_WELCOME && peer->greeted == 1)
        return take_party(peer, at, bytes);
    if (!peer->connector && type == WU_AUTH && bytes >= WU_RUN_BYTES + NONCE_BYTES) {
        memcpy(peer->run, at, WU_RUN_BYTES);
        memcpy(peer->nonce_its, at + WU_RUN_BYTES, NONCE_BYTES);
        return take_party(peer, at + WU_RUN_BYTES + NONCE_BYTES,
                          bytes - WU_RUN_BYTES - NONCE_BYTES);
    }
    return GARBAGE;
}

static void refuse(struct weir_ucx_peer *peer, enum verdict verdict)
{
    struct weir_ucx *ucx = peer->ucx;
    if (verdict == NO_WORKER) {
        wu_peer_end_locked(peer, WEIR_ENOSYS, UCS_ERR_NO_RESOURCE, "UCX makes no worker for it");
        return;
    }
    if (verdict == LEFT) {
        ucx->stat.refused_garbage += !peer->connector;
        wu_peer_end_locked(peer, WEIR_EPEER, UCS_ERR_REJECTED, NULL);
        return;
    }
    bool        secret = verdict == WRONG_SECRET;
    bool       *told = secret ? &ucx->told_secret : &ucx->told_garbage;
    const char *what =
        secret ? "a peer does not know the secret" : "a connection does not speak the protocol";
    (void)(secret ? ucx->stat.refused_secret++ : ucx->stat.refused_garbage++);
    if (!*told) wu_log(WEIR_LOG_WARN, "%s; refused, and counted from now on", what);
    *told = true;
    wu_peer_end_locked(peer, WEIR_EPEER, UCS_ERR_REJECTED, NULL);
}

/* ---- receiving ---- */

/* In a session. False: it lies. */
static bool take_frame(struct weir_ucx_peer *peer, uint32_t type, const uint8_t *at, size_t bytes)
{
    switch (type) {
    case WU_SLAB:
        return wu_far_slab_add_locked(peer, at, bytes);
    case WU_SLAB_GOING:
        return bytes == 8 && wu_far_slab_going_locked(peer, wu_read_u64(at));
    case WU_SLAB_GONE:
        return bytes == 8 && wu_slab_gone_locked(peer, wu_read_u64(at));
    case WU_READY:
        peer->said_ready = true;
        wu_peer_ready_locked(peer);
        return bytes == 0;
    case WU_PING:
        return bytes == 0;
    case WU_BYE:
        wu_peer_end_locked(peer, WEIR_EPEER, UCS_ERR_CONNECTION_RESET, NULL);
        return true;
    default:
        return false;
    }
}

static void take_one(struct weir_ucx_peer *peer, const uint8_t *frame, size_t length)
{
    uint32_t type = wu_read_u32(frame + 4);
    uint32_t state = wi_load(&peer->state, relaxed);
    if (state == WU_PEER_GREETING) {
        enum verdict verdict =
            take_greeting(peer, type, frame + WU_FRAME_HEAD, length - WU_FRAME_HEAD);
        if (verdict != GOOD) refuse(peer, verdict);
        return;
    }
    if (state != WU_PEER_ALIVE) return; /* only the end of the connection is waited for */
    bool good =
        wu_frame_holds(frame, length, peer->key, !peer->connector, peer->received++) &&
        take_frame(peer, type, frame + WU_FRAME_HEAD, length - WU_FRAME_HEAD - WU_FRAME_PROOF);
    if (!good)
        wu_peer_end_locked(peer, WEIR_EPEER, UCS_ERR_INVALID_PARAM,
                           "it does not keep to the protocol");
}

static void take_frames(struct weir_ucx_peer *peer)
{
    size_t at = 0;
    while (peer->fd >= 0) {
        bool   proved = wi_load(&peer->state, relaxed) == WU_PEER_ALIVE;
        size_t length = wu_frame_length(peer->in + at, peer->in_bytes - at, proved);
        if (length == 0) break;
        if (length == SIZE_MAX) {
            if (wi_load(&peer->state, relaxed) == WU_PEER_GREETING) refuse(peer, GARBAGE);
            if (wi_load(&peer->state, relaxed) == WU_PEER_ALIVE)
                wu_peer_end_locked(peer, WEIR_EPEER, UCS_ERR_INVALID_PARAM,
                                   "it does not keep to the protocol");
            at = peer->in_bytes; /* only the end of the connection is waited for */
            break;
        }
        if (length > peer->in_bytes - at) break;
        take_one(peer, peer->in + at, length);
        at += length;
    }
    if (at > peer->in_bytes) at = peer->in_bytes;
    memmove(peer->in, peer->in + at, peer->in_bytes - at);
    peer->in_bytes -= at;
}

void wu_link_event_locked(struct weir_ucx_peer *peer, uint32_t events)
{
    if (peer->fd < 0) return;
    if (events & EPOLLOUT) push_out(peer);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    ssize_t count =
        recv(peer->fd, peer->in + peer->in_bytes, WU_FRAME_MAX - peer->in_bytes, MSG_DONTWAIT);
    if (count > 0) {
        peer->heard_ns = weir_clock_ns();
        peer->in_bytes += (size_t)count;
        take_frames(peer);
        return;
    }
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    /* Its half has ended: whatever it could do to our memory it has done. Ours ends when our endpoint is closed. */
    peer->parted = true;
    bool greeting = wi_load(&peer->state, relaxed) == WU_PEER_GREETING;
    if (greeting && !peer->connector) peer->ucx->stat.refused_garbage++;
    wu_peer_end_locked(peer, WEIR_EPEER, greeting ? UCS_ERR_REJECTED : UCS_ERR_CONNECTION_RESET,
                       greeting ? NULL : "its connection has ended");
    (void)epoll_ctl(peer->ucx->poll_fd, EPOLL_CTL_DEL, peer->fd, NULL); /* an end is readable for ever */
    if (wi_load(&peer->state, relaxed) == WU_PEER_ENDED) wu_link_close_locked(peer);
}

void wu_listener_event_locked(struct weir_ucx *ucx)
{
    for (int i = 0; i < ACCEPT_ROUND; i++) {
        int fd = accept4(ucx->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        struct weir_ucx_peer *peer = wu_peer_make_locked(ucx, fd, false);
        if (peer) wu_link_greet_locked(peer);
    }
}
