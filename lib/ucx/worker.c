/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - each peer has a UCX worker of its own, from the handshake until its end
 *
 * A worker's inbox over shared memory is one queue for all who send to it: a sender reserves a place, fills it, and says so.
 * One that is killed in between leaves a place that is never filled, and the owner reads no further. So a queue is shared with
 * nobody else: what a dead peer has left in it goes with it.
 */
#include "ucx/engine.h"

#include <sys/epoll.h>

#define COLD_AFTER 1024 /* rounds in which nothing came of it */
#define COLD_EVERY 64   /* rounds from one look at the cold to the next */

static int failed(const char *call, ucs_status_t status)
{
    return WU_FAIL(NOSYS, .call = call, .driver_code = status, .detail = ucs_status_string(status));
}

static int create(struct weir_ucx *ucx, ucp_worker_h *worker, ucp_address_t **address,
                  size_t *bytes)
{
    ucp_worker_params_t params = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                  .thread_mode = UCS_THREAD_MODE_SERIALIZED};
    ucs_status_t        status = ucp_worker_create(ucx->context, &params, worker);
    if (status != UCS_OK) return failed("ucp_worker_create", status);
    status = ucp_worker_get_address(*worker, address, bytes);
    if (status != UCS_OK) {
        ucp_worker_destroy(*worker);
        *worker = NULL;
        return failed("ucp_worker_get_address", status);
    }
    return 0;
}

static void destroy(ucp_worker_h worker, ucp_address_t *address)
{
    ucp_worker_release_address(worker, address);
    ucp_worker_destroy(worker);
}

int wu_worker_try(struct weir_ucx *ucx)
{
    ucp_worker_h   worker;
    ucp_address_t *address;
    size_t         bytes;
    WI_TRY(create(ucx, &worker, &address, &bytes));
    destroy(worker, address);
    WU_ENSURE(bytes <= WU_FRAME_MAX / 2, EXCEEDS, .limit = "bytes of a worker's address",
              .limit_value = WU_FRAME_MAX / 2, .wanted = bytes,
              .setting = "fewer devices in UCX_NET_DEVICES");
    return 0;
}

int wu_worker_open_locked(struct weir_ucx_peer *peer)
{
    int fd;
    WI_TRY(create(peer->ucx, &peer->worker, &peer->address, &peer->address_bytes));
    ucs_status_t status = ucp_worker_get_efd(peer->worker, &fd);
    int          err = status == UCS_OK ? 0 : failed("ucp_worker_get_efd", status);
    if (err >= 0) err = wu_watch_fd(peer->ucx, fd, EPOLLIN, &peer->ucx->workers_mark);
    if (err >= 0) {
        peer->worker_fd = fd;
        wu_worker_warm_locked(peer);
        return 0;
    }
    destroy(peer->worker, peer->address);
    peer->worker = NULL;
    return err;
}

/* Closing an endpoint goes on behind its request. A worker that is destroyed before that has ended aborts the process. */
bool wu_worker_rest_locked(struct weir_ucx_peer *peer)
{
    ucp_request_param_t param = {0};
    if (!peer->worker) return true;
    if (!peer->flush) peer->flush = ucp_worker_flush_nbx(peer->worker, &param);
    if (UCS_PTR_IS_PTR(peer->flush)) {
        if (ucp_request_check_status(peer->flush) == UCS_INPROGRESS) return false;
        ucp_request_free(peer->flush);
    }
    (void)epoll_ctl(peer->ucx->poll_fd, EPOLL_CTL_DEL, peer->worker_fd, NULL);
    return true;
}

void wu_worker_close_locked(struct weir_ucx_peer *peer)
{
    if (!peer->worker) return;
    destroy(peer->worker, peer->address);
    peer->worker = NULL;
}

/*
 * Once it rests, a worker is left alone: else it would make an endpoint of its own to answer a peer who is late, and UCX aborts there,
 * since it is another than the one that was known.
 */
static bool is_at_work(const struct weir_ucx_peer *peer)
{
    return peer->worker && wi_load(&peer->state, relaxed) != WU_PEER_ENDED;
}

static unsigned progress_one(struct weir_ucx_peer *peer, unsigned most)
{
    unsigned done = 0;
    /* A share for each: one that is flooded must not keep the others waiting. */
    while (done < most && ucp_worker_progress(peer->worker)) done++;
    peer->fruitless = done ? 0 : peer->fruitless + (peer->fruitless < COLD_AFTER);
    return done;
}

static unsigned progress_all(struct weir_ucx *ucx, unsigned most)
{
    unsigned done = 0;
    ucx->warm = NULL;
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        if (is_at_work(peer)) done += progress_one(peer, most);
        peer->is_warm = is_at_work(peer) && peer->fruitless < COLD_AFTER;
        if (!peer->is_warm) continue;
        peer->next_warm = ucx->warm;
        ucx->warm = peer;
    }
    return done;
}

/*
 * Who spins looks at the warm, and now and then at all: a worker costs tens of nanoseconds over shared memory, and a system call over
 * tcp, so that one active peer among many would wait for the idle ones.
 */
unsigned wu_workers_progress_locked(struct weir_ucx *ucx, unsigned most, bool all)
{
    unsigned done = 0;
    if (all || !ucx->warm || ++ucx->rounds % COLD_EVERY == 0) return progress_all(ucx, most);
    for (struct weir_ucx_peer *peer = ucx->warm; peer; peer = peer->next_warm) {
        if (is_at_work(peer)) done += progress_one(peer, most);
    }
    return done;
}

void wu_worker_warm_locked(struct weir_ucx_peer *peer)
{
    struct weir_ucx *ucx = peer->ucx;
    peer->fruitless = 0;
    if (peer->is_warm) return;
    peer->is_warm = true;
    peer->next_warm = ucx->warm;
    ucx->warm = peer;
}

void wu_worker_forget_locked(struct weir_ucx_peer *peer)
{
    struct weir_ucx_peer **link = &peer->ucx->warm;
    while (*link && *link != peer) link = &(*link)->next_warm;
    if (*link) *link = peer->next_warm;
    peer->is_warm = false;
}

bool wu_workers_arm_locked(struct weir_ucx *ucx)
{
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        if (!is_at_work(peer) || ucp_worker_arm(peer->worker) != UCS_ERR_BUSY) continue;
        wu_worker_warm_locked(peer);
        return false;
    }
    return true;
}
