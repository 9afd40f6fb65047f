/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.c - put, get, send and receive
 *
 * A transfer holds its buffer from when UCX was asked until UCX has answered: done, failed, or cancelled because the
 * endpoint was closed. What ends inside the call, such as a put into memory that is mapped here, holds nothing: the lease does. While
 * many transfers are under way each holds before UCX is asked, for a buffer has room for so many holds only.
 * Its record comes from a table, so that a transfer allocates nothing.
 */
#include "ucx/engine.h"

#include "base/cancel.h"

#define TAG_ALL          UINT64_MAX
#define HOLD_FIRST_AFTER 16384 /* transfers in flight; a buffer can be held 32767 times */

/* ---- the end of a transfer ---- */

static void give_back_locked(struct weir_ucx_transfer *transfer)
{
    struct weir_ucx *ucx = transfer->ucx;
    transfer->next = ucx->spare;
    ucx->spare = transfer;
}

static int error_of(const struct weir_ucx_transfer *transfer, ucs_status_t status)
{
    if (status == UCS_OK) return 0;
    if (status == UCS_ERR_MESSAGE_TRUNCATED) return WEIR_ERANGE;
    if (status == UCS_ERR_CANCELED && wi_load(&transfer->peer->state, relaxed) == WU_PEER_ALIVE)
        return WEIR_ECANCELED;
    return WEIR_EPEER;
}

static void count_end_locked(struct weir_ucx *ucx, uint32_t kind, uint64_t bytes)
{
    struct weir_ucx_stats *stat = &ucx->stat;
    stat->ended++;
    switch (kind) {
    case WU_PUT:
        stat->bytes_put += bytes;
        break;
    case WU_GET:
        stat->bytes_got += bytes;
        break;
    case WU_SEND:
        stat->bytes_sent += bytes;
        break;
    default:
        stat->bytes_received += bytes;
        break;
    }
}

static void end_locked(struct weir_ucx_transfer *transfer, ucs_status_t status)
{
    struct weir_ucx *ucx = transfer->ucx;
    transfer->request = NULL;
    transfer->status = status;
    transfer->err = error_of(transfer, status);
    if (transfer->err == WEIR_EPEER && transfer->peer->status)
        transfer->status = transfer->peer->status; /* the cause, not its effect */
    count_end_locked(ucx, transfer->kind, transfer->err < 0 ? 0 : transfer->bytes);
    ucx->stat.failed += transfer->err < 0;
    ucx->stat.in_flight--;
    if (transfer->buffer) (void)weir_buffer_unhold(transfer->buffer);
    transfer->buffer = NULL;
    transfer->peer->uses--;
    transfer->peer = NULL;
    if (transfer->left) {
        give_back_locked(transfer);
    } else if (transfer->done) {
        transfer->next = NULL;
        *ucx->told_last = transfer;
        ucx->told_last = &transfer->next;
    } else {
        int fd = transfer->fd;
        /* order(transfer-ended): release; pairs with the load in has_ended(). */
        wi_store(&transfer->ended, 1, release);
        wu_advance_locked(ucx);
        if (fd > 0) wu_signal(fd);
    }
}

static void on_end(void *request, ucs_status_t status, void *user);

/* The bytes have left the buffer; are they at the peer? */
static ucs_status_ptr_t ask_for_delivery(struct weir_ucx_transfer *transfer)
{
    ucp_request_param_t param = {.op_attr_mask =
                                     UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                 .cb.send = on_end,
                                 .user_data = transfer};
    transfer->flags &= ~(uint32_t)WEIR_UCX_DELIVERED;
    if (!transfer->peer->ep) return UCS_STATUS_PTR(UCS_ERR_CANCELED);
    return ucp_ep_flush_nbx(transfer->peer->ep, &param);
}

static void flush_locked(struct weir_ucx_transfer *transfer)
{
    ucs_status_ptr_t request = ask_for_delivery(transfer);
    transfer->request = UCS_PTR_IS_PTR(request) ? request : NULL;
    if (!transfer->request) end_locked(transfer, UCS_PTR_STATUS(request));
}

static void step_locked(struct weir_ucx_transfer *transfer, ucs_status_t status)
{
    if (status == UCS_OK && (transfer->flags & WEIR_UCX_DELIVERED)) {
        flush_locked(transfer);
    } else {
        end_locked(transfer, status);
    }
}

/* UCX's callback, inside progress. */
static void on_end(void *request, ucs_status_t status, void *user)
{
    ucp_request_free(request);
    step_locked(user, status);
}

static void on_received(void *request, ucs_status_t status, const ucp_tag_recv_info_t *info,
                        void *user)
{
    struct weir_ucx_transfer *transfer = user;
    ucp_request_free(request);
    if (status == UCS_OK) transfer->bytes = info->length;
    end_locked(transfer, status);
}

/* ---- the beginning ---- */

static int check_part(const struct weir_ucx_peer *peer, const struct weir_slice *part)
{
    WU_ENSURE(peer && part->buffer, INVAL, .detail = "peer or buffer is NULL");
    WU_ENSURE(part->bytes > 0 && part->offset <= part->buffer->bytes &&
                  part->bytes <= part->buffer->bytes - part->offset,
              RANGE, .detail = "outside the buffer", .limit = "bytes of the buffer",
              .limit_value = part->buffer->bytes, .wanted = part->offset + part->bytes);
    return 0;
}

static uint64_t address_of(const struct weir_slice *part)
{
    return (part->buffer->host ? (uint64_t)(uintptr_t)part->buffer->host : part->buffer->device) +
           part->offset;
}

struct begin {
    struct weir_ucx_peer                *peer;
    const struct weir_slice             *part;
    const struct weir_ucx_transfer_opts *opts;
    uint32_t                             kind;
    uint32_t                             tag;
    bool                                 ended; /* inside the call, and well */
    const struct weir_ucx_ref           *ref;
    struct wu_far_slab                  *far_slab;
};

static int begin_locked(const struct begin *begin, struct weir_ucx_transfer **out)
{
    struct weir_ucx *ucx = begin->peer->ucx;
    WU_ENSURE(wi_load(&begin->peer->state, relaxed) == WU_PEER_ALIVE, PEER,
              .driver_code = begin->peer->status, .detail = "the peer has failed, or has gone");
    WU_ENSURE(wu_slab_find_locked(ucx, address_of(begin->part), begin->part->bytes), NOENT,
              .detail = "the buffer's pool is not offered to this engine",
              .setting = "weir_ucx_offer()");
    struct weir_ucx_transfer *transfer = ucx->spare;
    WU_ENSURE(transfer, EXCEEDS, .limit = "transfers_max", .limit_value = ucx->opts.transfers_max,
              .wanted = ucx->opts.transfers_max + 1, .setting = "weir_ucx_opts.transfers_max");
    bool hold_first = ucx->stat.in_flight >= HOLD_FIRST_AFTER;
    WI_TRY(hold_first ? weir_buffer_hold(begin->part->buffer)
                      : weir_buffer_wanted(begin->part->buffer)); /* it is leased */
    transfer->buffer = hold_first ? begin->part->buffer : NULL;
    ucx->spare = transfer->next;
    transfer->peer = begin->peer;
    transfer->request = NULL;
    transfer->bytes = begin->part->bytes;
    transfer->kind = begin->kind;
    transfer->flags = begin->opts->flags;
    transfer->fd = begin->opts->fd;
    transfer->done = begin->opts->done;
    transfer->ctx = begin->opts->ctx;
    transfer->left = false;
    wi_store(&transfer->ended, 0, relaxed);
    *out = transfer;
    return 0;
}

static ucs_status_ptr_t ask_ucx(const struct begin *begin, struct weir_ucx_transfer *transfer)
{
    struct weir_ucx_peer *peer = begin->peer;
    struct weir_ucx      *ucx = peer->ucx;
    void                 *at = (void *)(uintptr_t)address_of(begin->part);
    size_t                bytes = begin->part->bytes;
    ucp_request_param_t   param = {.op_attr_mask =
                                       UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                   .cb.send = on_end,
                                   .user_data = transfer};
    switch (begin->kind) {
    case WU_PUT:
        ucx->stat.puts++;
        return ucp_put_nbx(peer->ep, at, bytes, begin->far_slab->from + begin->ref->offset,
                           begin->far_slab->key, &param);
    case WU_GET:
        ucx->stat.gets++;
        return ucp_get_nbx(peer->ep, at, bytes, begin->far_slab->from + begin->ref->offset,
                           begin->far_slab->key, &param);
    case WU_SEND:
        ucx->stat.sends++;
        return ucp_tag_send_nbx(peer->ep, at, bytes, (uint64_t)peer->inbox_its << 32 | begin->tag,
                                &param);
    default:
        ucx->stat.receives++;
        param.cb.recv = on_received;
        param.op_attr_mask |=
            UCP_OP_ATTR_FLAG_NO_IMM_CMPL; /* else nobody says how long the message is */
        return ucp_tag_recv_nbx(peer->worker, at, bytes,
                                (uint64_t)peer->inbox_mine << 32 | begin->tag, TAG_ALL, &param);
    }
}

/* Checked where it is used: over some transports the owner's side cannot. */
static int find_far_locked(struct begin *begin)
{
    struct weir_ucx_peer      *peer = begin->peer;
    const struct weir_ucx_ref *ref = begin->ref;
    uint64_t                   run[2];
    __builtin_memcpy(run, peer->run, sizeof run);
    if (ref->run[0] != run[0] || ref->run[1] != run[1]) {
        wu_refuse_key_locked(peer->ucx, "it is of another run, or of another peer");
        return WU_FAIL(FOREIGN, .detail = "the reference is of another run, or of another peer");
    }
    struct wu_far_slab *slab = wu_far_slab_find_locked(peer, ref->slab);
    WU_ENSURE(slab || ref->slab <= peer->slab_newest, AGAIN,
              .detail = "the slab has not been announced yet");
    if (!slab || slab->going) {
        wu_refuse_key_locked(peer->ucx, "its memory has gone");
        return WU_FAIL(STALE, .detail = "the memory has gone back to the peer's system");
    }
    uint32_t needed = begin->kind == WU_PUT ? WEIR_UCX_PUT : WEIR_UCX_GET;
    bool     fits = ref->offset <= slab->bytes && ref->bytes <= slab->bytes - ref->offset &&
                begin->part->bytes <= ref->bytes;
    if (!fits || !(slab->access & needed)) {
        wu_refuse_key_locked(peer->ucx, "it is out of range, or not for this access");
        return WU_FAIL(RANGE,
                       .detail = fits ? "the peer offers the memory for another access"
                                      : "outside what was exposed",
                       .limit = "bytes exposed", .limit_value = ref->bytes,
                       .wanted = begin->part->bytes);
    }
    begin->far_slab = slab;
    return 0;
}

/* Until it has ended, or its buffer could be held after all, or for as long as a handshake may take. */
static bool hold_or_end_locked(struct weir_ucx_transfer *transfer, struct weir_buffer *buffer)
{
    struct weir_ucx *ucx = transfer->ucx;
    uint64_t         deadline_ns = weir_deadline_after_ns(ucx->opts.handshake_ns);
    while (transfer->peer && weir_clock_ns() < deadline_ns) {
        if (weir_buffer_hold(buffer) >= 0) {
            transfer->buffer = buffer;
            return true;
        }
        (void)wu_poll_locked(ucx); /* heartbeats, and the end of the peer */
        (void)wu_progress_locked(ucx);
    }
    return transfer->peer == NULL;
}

/* It goes on after the call, so it holds the buffer from now on. */
static int go_on_locked(struct weir_ucx_transfer *transfer, struct weir_buffer *buffer)
{
    if (transfer->buffer) return 0; /* held before UCX was asked */
    if (WI_LIKELY(weir_buffer_hold(buffer) >= 0)) {
        transfer->buffer = buffer;
        return 0;
    }
    /* Others hold it as often as can be, and UCX has begun: it ends inside the call, if need be with its peer. */
    if (hold_or_end_locked(transfer, buffer)) return 0;
    transfer->done = NULL;
    transfer->fd = 0;
    transfer->left = true;
    wu_peer_end_locked(transfer->peer, WEIR_EPEER, UCS_ERR_CANCELED,
                       "a transfer that has begun cannot hold its buffer, and does not end");
    (void)hold_or_end_locked(transfer, buffer);
    return WU_FAIL(EXCEEDS, .limit = "holds of one buffer", .limit_value = 32767, .wanted = 32768,
                   .setting = "fewer uses of one buffer at one time");
}

/* Ended well inside the call: nobody waits for it, so it needs no record. */
static void end_at_once_locked(struct begin *begin, struct weir_ucx_transfer *transfer)
{
    struct weir_ucx *ucx = transfer->ucx;
    if (transfer->buffer) (void)weir_buffer_unhold(transfer->buffer);
    transfer->buffer = NULL;
    transfer->peer = NULL;
    give_back_locked(transfer);
    count_end_locked(ucx, begin->kind, begin->part->bytes);
    begin->ended = true;
}

static int start_locked(struct begin *begin, struct weir_ucx_transfer **out)
{
    struct weir_ucx_transfer *transfer = NULL;
    struct weir_ucx_peer     *peer = begin->peer;
    struct weir_ucx          *ucx = peer->ucx;
    if (begin->ref && wi_load(&peer->state, relaxed) == WU_PEER_ALIVE)
        WI_TRY(find_far_locked(begin));
    WI_TRY(begin_locked(begin, &transfer));
    if (!begin->opts->done) *out = transfer; /* before anybody is told of its end */
    peer->uses++;
    ucx->stat.in_flight++;
    wu_worker_warm_locked(peer);
    ucs_status_ptr_t answer = ask_ucx(begin, transfer);
    if (!answer && (transfer->flags & WEIR_UCX_DELIVERED)) answer = ask_for_delivery(transfer);
    if (!answer) {
        peer->uses--;
        ucx->stat.in_flight--;
        end_at_once_locked(begin, transfer);
        return 0;
    }
    bool ended = transfer->peer == NULL; /* its callback came before the answer */
    if (!ended && UCS_PTR_IS_PTR(answer)) {
        transfer->request = answer;
        int err = go_on_locked(transfer, begin->part->buffer);
        if (err < 0 && !begin->opts->done) *out = NULL;
        return err;
    } else if (!ended) {
        step_locked(transfer, UCS_PTR_STATUS(answer));
    }
    return 0;
}

static int start(struct begin *begin, const struct weir_ucx_transfer_opts *opts,
                 struct weir_ucx_transfer **out)
{
    struct weir_ucx_transfer_opts imported;
    struct weir_ucx              *ucx;
    WI_TRY(check_part(begin->peer, begin->part));
    if (!opts || opts->struct_size != sizeof imported) {
        WI_TRY(wu_options_import(&imported, sizeof imported, opts, "weir_ucx_transfer_opts"));
        opts = &imported;
    }
    WU_ENSURE(opts->flags <= WEIR_UCX_DELIVERED, OPTS,
              .detail = "flags has a bit that this weir does not know");
    WU_ENSURE(opts->done || out, INVAL, .detail = "neither done nor out is given");
    begin->opts = opts;
    ucx = begin->peer->ucx;
    wu_lock(ucx);
    int err = start_locked(begin, out);
    wu_unlock(ucx);
    if (!begin->ended) return err;
    if (!opts->done) *out = &ucx->ended;
    if (opts->fd > 0) wu_signal(opts->fd);
    if (opts->done) opts->done(opts->ctx, 0, UCS_OK);
    return 0;
}

int weir_ucx_put(struct weir_ucx_peer *peer, struct weir_slice from, const struct weir_ucx_ref *to,
                 const struct weir_ucx_transfer_opts *opts, struct weir_ucx_transfer **out)
{
    WU_ENSURE(to, INVAL, .detail = "the reference is NULL");
    return start(&(struct begin){.peer = peer, .part = &from, .kind = WU_PUT, .ref = to}, opts,
                 out);
}

int weir_ucx_get(struct weir_ucx_peer *peer, struct weir_slice into,
                 const struct weir_ucx_ref *from, const struct weir_ucx_transfer_opts *opts,
                 struct weir_ucx_transfer **out)
{
    WU_ENSURE(from, INVAL, .detail = "the reference is NULL");
    return start(&(struct begin){.peer = peer, .part = &into, .kind = WU_GET, .ref = from}, opts,
                 out);
}

int weir_ucx_send(struct weir_ucx_peer *peer, uint32_t tag, struct weir_slice from,
                  const struct weir_ucx_transfer_opts *opts, struct weir_ucx_transfer **out)
{
    return start(&(struct begin){.peer = peer, .part = &from, .kind = WU_SEND, .tag = tag}, opts,
                 out);
}

int weir_ucx_receive(struct weir_ucx_peer *peer, uint32_t tag, struct weir_slice into,
                     const struct weir_ucx_transfer_opts *opts, struct weir_ucx_transfer **out)
{
    return start(&(struct begin){.peer = peer, .part = &into, .kind = WU_RECEIVE, .tag = tag}, opts,
                 out);
}

void wu_transfers_cancel_locked(struct weir_ucx_peer *peer)
{
    struct weir_ucx *ucx = peer->ucx;
    for (uint32_t i = 0; i < ucx->opts.transfers_max; i++) {
        struct weir_ucx_transfer *transfer = &ucx->transfers[i];
        if (transfer->peer == peer && transfer->kind == WU_RECEIVE && transfer->request)
            ucp_request_cancel(peer->worker, transfer->request);
    }
}

/* ---- waiting ---- */

static bool has_ended(void *arg)
{
    struct weir_ucx_transfer *transfer = arg;
    return wi_load(&transfer->ended, acquire) != 0; /* order(transfer-ended) */
}

static int wait_for(struct weir_ucx_transfer *transfer, uint64_t deadline_ns, size_t *bytes)
{
    WI_UNCANCELLABLE;
    struct weir_ucx *ucx = transfer->ucx;
    if (!has_ended(transfer) && !wu_await(ucx, has_ended, transfer, deadline_ns, false))
        return WU_FAIL(TIMEDOUT, .detail = "the transfer has not ended",
                       .setting = "a later deadline");
    int     err = transfer->err;
    int32_t status = transfer->status;
    if (bytes && transfer->kind == WU_RECEIVE) *bytes = err == 0 ? transfer->bytes : 0;
    wu_lock(ucx);
    give_back_locked(transfer);
    wu_unlock(ucx);
    if (err == WEIR_ERANGE)
        return WU_FAIL(RANGE, .detail = "the message is longer than the part it was received into",
                       .driver_code = status);
    if (err == WEIR_ECANCELED)
        return WU_FAIL(CANCELED, .detail = "the transfer was cancelled", .driver_code = status);
    if (err < 0)
        return WU_FAIL(PEER, .driver_code = status,
                       .detail = "the peer failed before the transfer had ended");
    return 0;
}

int weir_ucx_wait(struct weir_ucx_transfer *transfer, uint64_t deadline_ns, size_t *bytes)
{
    WU_ENSURE(transfer, INVAL, .detail = "transfer is NULL");
    if (transfer == &transfer->ucx->ended) return 0; /* inside the call that began it */
    return wait_for(transfer, deadline_ns, bytes);
}

void weir_ucx_cancel(struct weir_ucx_transfer *transfer)
{
    if (!transfer) return;
    struct weir_ucx *ucx = transfer->ucx;
    if (transfer == &ucx->ended) return;
    wu_lock(ucx);
    if (has_ended(transfer)) {
        give_back_locked(transfer);
    } else {
        transfer->left = true;
        if (transfer->kind == WU_RECEIVE && transfer->request)
            ucp_request_cancel(transfer->peer->worker, transfer->request);
    }
    wu_unlock(ucx);
    wu_wake(ucx);
}
