/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab.c - offered pools: slabs come, are registered and announced; and are taken back
 *
 * A slab that goes is announced as going. A peer then uses its key no more, flushes what it had begun, and says
 * "gone". Only when every peer has said so, or has been disconnected, is the slab unregistered.
 */
#include "ucx/engine.h"

#include <string.h>
#include <weir/runtime.h>

/* ---- this process's ---- */

struct wu_slab *wu_slab_find_locked(struct weir_ucx *ucx, uint64_t address, uint64_t bytes)
{
    for (struct wu_slab *slab = ucx->slabs; slab; slab = slab->next) {
        uint64_t offset = address - slab->from;
        if (offset < slab->bytes && bytes <= slab->bytes - offset) return slab;
    }
    return NULL;
}

static void announce_locked(struct weir_ucx_peer *peer, const struct wu_slab *slab)
{
    struct wu_frame frame;
    if (slab->access == 0 || slab->going) return;
    wu_frame_begin(&frame, WU_SLAB);
    wu_frame_add_u64(&frame, slab->name);
    wu_frame_add_u64(&frame, slab->from);
    wu_frame_add_u64(&frame, slab->bytes);
    wu_frame_add_u32(&frame, slab->access);
    wu_frame_add_u32(&frame, (uint32_t)slab->key_bytes);
    wu_frame_add(&frame, slab->key, slab->key_bytes);
    wu_link_send_locked(peer, &frame);
}

/* Oldest first, so that the newest id that a peer has seen says that it has seen all before. */
static void announce_all_locked(struct weir_ucx_peer *peer, const struct wu_slab *slab)
{
    if (!slab) return;
    announce_all_locked(peer, slab->next);
    announce_locked(peer, slab);
}

void wu_slabs_announce_locked(struct weir_ucx_peer *peer)
{
    announce_all_locked(peer, peer->ucx->slabs);
}

/* Under the lock of the context. */
static int map(struct weir_ucx *ucx, struct wu_slab *slab, const struct weir_slab_info *info)
{
    ucp_mem_map_params_t params = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                      UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE,
        .address = (void *)slab->from,
        .length = slab->bytes,
        .memory_type = UCS_MEMORY_TYPE_HOST,
    };
    if (info->memory == WEIR_MEMORY_DEVICE) {
        struct weir_runtime_info runtime = {.struct_size = sizeof runtime};
        (void)weir_runtime_info_read(ucx->rt, &runtime);
        if (!(runtime.flags & WEIR_INFO_DEVICE_IS_HOST)) params.memory_type = UCS_MEMORY_TYPE_CUDA;
    }
    ucs_status_t status = ucp_mem_map(ucx->context, &params, &slab->memory);
    if (status != UCS_OK)
        return WU_FAIL(NOSYS, .call = "ucp_mem_map", .driver_code = status,
                       .detail = ucs_status_string(status), .wanted = slab->bytes);
    slab->registered = true;
    return 0;
}

static void unmap(struct weir_ucx *ucx, struct wu_slab *slab)
{
    if (slab->registered) (void)ucp_mem_unmap(ucx->context, slab->memory);
}

static int register_slab(struct weir_ucx *ucx, struct wu_slab *slab, const struct weir_slab_info *info)
{
    if (!slab->memory) WI_TRY(map(ucx, slab, info));
    ucs_status_t status = ucp_rkey_pack(ucx->context, slab->memory, &slab->key, &slab->key_bytes);
    if (status == UCS_OK && slab->key_bytes <= WU_FRAME_MAX / 2) return 0;
    if (status == UCS_OK) ucp_rkey_buffer_release(slab->key);
    unmap(ucx, slab);
    return WU_FAIL(NOSYS, .call = "ucp_rkey_pack", .driver_code = status,
                   .detail = "no key for other processes");
}

static int on_commit(void *ctx, const struct weir_slab_info *info)
{
    const struct wu_offer *offer = ctx;
    struct weir_ucx       *ucx = offer->ucx;
    struct wu_slab        *slab = wu_calloc(1, sizeof *slab);
    WU_ENSURE(slab, NOMEM, .call = "calloc", .detail = "a registered slab");
    slab->id = info->id;
    slab->from = info->host ? (uint64_t)(uintptr_t)info->host : info->device;
    slab->bytes = info->bytes;
    slab->access = offer->access;
    wu_lock(ucx);
    slab->memory = wu_memory_find_locked(ucx, slab->from, slab->bytes);
    wu_unlock_quiet(ucx);
    wu_context_lock(ucx);
    int err = register_slab(ucx, slab, info);
    wu_context_unlock(ucx);
    if (err < 0) {
        wu_free(slab);
        return err;
    }
    wu_lock(ucx);
    ucx->stat.registrations += slab->registered;
    slab->name = ++ucx->slab_names;
    slab->next = ucx->slabs;
    ucx->slabs = slab;
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        if (wi_load(&peer->state, relaxed) == WU_PEER_ALIVE) announce_locked(peer, slab);
    }
    wu_unlock_quiet(ucx);
    return 0;
}

bool wu_slab_gone_locked(struct weir_ucx_peer *peer, uint64_t name)
{
    for (struct wu_slab *slab = peer->ucx->slabs; slab; slab = slab->next) {
        if (slab->name != name || !slab->going) continue;
        peer->gone_acked = true;
        wu_advance_locked(peer->ucx);
        return true;
    }
    return false;
}

static bool every_peer_has_let_go(void *arg)
{
    struct weir_ucx *ucx = arg;
    bool             gone = true;
    wu_lock(ucx);
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        uint32_t state = wi_load(&peer->state, relaxed);
        gone &= peer->gone_acked || state == WU_PEER_ENDED || state == WU_PEER_GREETING;
    }
    pthread_mutex_unlock(&ucx->lock);
    return gone;
}

static void say_going_locked(struct weir_ucx *ucx, const struct wu_slab *slab)
{
    for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
        struct wu_frame frame;
        peer->gone_acked = slab->access == 0;
        if (slab->access == 0 || wi_load(&peer->state, relaxed) != WU_PEER_ALIVE) continue;
        wu_frame_begin(&frame, WU_SLAB_GOING);
        wu_frame_add_u64(&frame, slab->name);
        wu_link_send_locked(peer, &frame);
    }
}

static struct wu_slab **find_link(struct weir_ucx *ucx, uint64_t id)
{
    struct wu_slab **link = &ucx->slabs;
    while (*link && (*link)->id != id) link = &(*link)->next;
    return link;
}

static void on_decommit(void *ctx, const struct weir_slab_info *info)
{
    const struct wu_offer *offer = ctx;
    struct weir_ucx       *ucx = offer->ucx;
    wu_lock(ucx);
    struct wu_slab *slab = *find_link(ucx, info->id);
    if (!slab) {
        wu_unlock_quiet(ucx);
        return;
    }
    slab->going = true;
    say_going_locked(ucx, slab);
    wu_unlock_quiet(ucx);
    uint64_t patience_ns =
        ucx->opts.stall_ns == WEIR_FOREVER ? 10 * WI_NS_PER_S : ucx->opts.stall_ns;
    if (!wu_await(ucx, every_peer_has_let_go, ucx, weir_deadline_after_ns(patience_ns), true)) {
        wu_lock(ucx);
        for (struct weir_ucx_peer *peer = ucx->peers; peer; peer = peer->next) {
            if (!peer->gone_acked && wi_load(&peer->state, relaxed) == WU_PEER_ALIVE)
                wu_peer_end_locked(peer, WEIR_EPEER, UCS_ERR_TIMED_OUT,
                                   "it does not let go of memory that is being freed");
        }
        wu_unlock_quiet(ucx);
        (void)wu_await(ucx, every_peer_has_let_go, ucx, weir_deadline_after_ns(patience_ns), true);
    }
    wu_lock(ucx);
    struct wu_slab **link = find_link(ucx, info->id);
    wu_require(*link == slab);
    *link = slab->next;
    ucx->stat.unregistrations += slab->registered;
    wu_unlock_quiet(ucx);
    wu_context_lock(ucx);
    ucp_rkey_buffer_release(slab->key);
    unmap(ucx, slab);
    wu_context_unlock(ucx);
    wu_free(slab);
}

int weir_ucx_offer(struct weir_ucx *ucx, struct weir_pool *pool, uint32_t access)
{
    WU_ENSURE(ucx && pool, INVAL, .detail = "ucx or pool is NULL");
    WU_ENSURE((access & ~(uint32_t)(WEIR_UCX_GET | WEIR_UCX_PUT)) == 0, INVAL,
              .detail = "access is not of enum weir_ucx_access", .wanted = access);
    wu_lock(ucx);
    struct wu_offer *offer = ucx->offers < WU_POOLS_MAX ? &ucx->offer[ucx->offers++] : NULL;
    wu_unlock(ucx);
    WU_ENSURE(offer, EXCEEDS, .limit = "offered pools", .limit_value = WU_POOLS_MAX,
              .wanted = WU_POOLS_MAX + 1, .setting = "fewer pools for one engine");
    *offer = (struct wu_offer){.ucx = ucx, .pool = pool, .access = access};
    struct weir_slab_hook_opts opts = {.struct_size = sizeof opts,
                                       .name = "ucx",
                                       .pool = pool,
                                       .commit = on_commit,
                                       .decommit = on_decommit,
                                       .ctx = offer};
    return weir_slab_hook_create(ucx->rt, &opts, &offer->hook);
}

void wu_offers_end(struct weir_ucx *ucx)
{
    for (uint32_t i = ucx->offers; i-- > 0;) weir_slab_hook_destroy(ucx->offer[i].hook);
}

/* ---- a peer's ---- */

struct wu_far_slab *wu_far_slab_find_locked(const struct weir_ucx_peer *peer, uint64_t id)
{
    struct wu_far_slab *slab = peer->slabs;
    while (slab && slab->id != id) slab = slab->next;
    return slab;
}

bool wu_far_slab_add_locked(struct weir_ucx_peer *peer, const uint8_t *payload, size_t bytes)
{
    enum { HEAD = 3 * 8 + 2 * 4 };
    if (bytes < HEAD || bytes - HEAD != wu_read_u32(payload + 28)) return false;
    uint64_t id = wu_read_u64(payload), from = wu_read_u64(payload + 8),
             length = wu_read_u64(payload + 16);
    if (id <= peer->slab_newest || length == 0 || from + length < from) return false;
    struct wu_far_slab *slab = wu_calloc(1, sizeof *slab);
    if (!slab) return true; /* its references will be answered STALE */
    *slab = (struct wu_far_slab){
        .peer = peer, .id = id, .from = from, .bytes = length, .access = wu_read_u32(payload + 24)};
    peer->slab_newest = id;
    ucs_status_t status = ucp_ep_rkey_unpack(peer->ep, payload + HEAD, &slab->key);
    if (status != UCS_OK) {
        wu_free(slab);
        return false;
    }
    slab->next = peer->slabs;
    peer->slabs = slab;
    return true;
}

static void free_far(struct wu_far_slab *slab)
{
    ucp_rkey_destroy(slab->key);
    wu_free(slab);
}

/* Everything that was begun is at the other side: it may have its memory back. */
static void far_flushed(void *request, ucs_status_t status, void *user)
{
    struct wu_far_slab   *slab = user;
    struct weir_ucx_peer *peer = slab->peer;
    struct wu_far_slab  **link = &peer->slabs;
    struct wu_frame       frame;
    if (request) ucp_request_free(request);
    while (*link && *link != slab) link = &(*link)->next;
    if (*link) *link = slab->next;
    if (status == UCS_OK) {
        wu_frame_begin(&frame, WU_SLAB_GONE);
        wu_frame_add_u64(&frame, slab->id);
        wu_link_send_locked(peer, &frame);
    }
    free_far(slab);
    peer->uses--;
}

bool wu_far_slab_going_locked(struct weir_ucx_peer *peer, uint64_t id)
{
    struct wu_far_slab *slab = wu_far_slab_find_locked(peer, id);
    if (!slab || slab->going) return false;
    slab->going = true;
    peer->uses++; /* the peer is not freed before the flush has ended */
    ucp_request_param_t param = {.op_attr_mask =
                                     UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                 .cb.send = far_flushed,
                                 .user_data = slab};
    ucs_status_ptr_t    request = ucp_ep_flush_nbx(peer->ep, &param);
    if (!UCS_PTR_IS_PTR(request)) far_flushed(NULL, UCS_PTR_STATUS(request), slab);
    return true;
}

void wu_far_slabs_free_locked(struct weir_ucx_peer *peer)
{
    while (peer->slabs) {
        struct wu_far_slab *slab = peer->slabs;
        peer->slabs = slab->next;
        free_far(slab);
    }
}
