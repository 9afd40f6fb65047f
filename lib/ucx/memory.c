/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - memory for pools that UCX allocates: it is registered as it comes, and over shared memory a peer maps it
 *
 * A pool may give its memory back after the engine has ended, at the latest as the runtime ends, or never. So what allocates is a
 * part of its own, with UCX's context, which goes with the last of the engine and the pieces.
 * Rank: its lock > engine lock.
 */
#include "ucx/engine.h"

struct wu_piece {
    struct wu_piece *next;
    void            *address;
    size_t           bytes;
    ucp_mem_h        memory;
};

struct wu_memory {
    pthread_mutex_t           lock;
    struct weir_ucx          *ucx; /* NULL: it has ended */
    ucp_context_h             context; /* NULL: UCX did not come to rest, and stays as it is */
    struct wu_piece          *pieces; /* changed under both locks, while there is an engine */
    struct weir_memory_source source;
};

static void free_memory(struct wu_memory *memory)
{
    if (memory->context) ucp_cleanup(memory->context);
    pthread_mutex_destroy(&memory->lock);
    wu_free(memory);
}

static int map(ucp_context_h context, size_t bytes, struct wu_piece *piece)
{
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_LENGTH | UCP_MEM_MAP_PARAM_FIELD_FLAGS |
                                                 UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE,
                                   .length = bytes,
                                   .flags = UCP_MEM_MAP_ALLOCATE,
                                   .memory_type = UCS_MEMORY_TYPE_HOST};
    ucp_mem_attr_t       attributes = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS | UCP_MEM_ATTR_FIELD_LENGTH};
    ucs_status_t         status = ucp_mem_map(context, &params, &piece->memory);
    if (status != UCS_OK)
        return WU_FAIL(NOMEM, .call = "ucp_mem_map", .driver_code = status, .detail = ucs_status_string(status),
                       .wanted = bytes, .setting = "the size of /dev/shm, or UCX_ALLOC_PRIO");
    status = ucp_mem_query(piece->memory, &attributes);
    if (status != UCS_OK || attributes.length < bytes) {
        (void)ucp_mem_unmap(context, piece->memory);
        return WU_FAIL(NOMEM, .call = "ucp_mem_query", .driver_code = status, .wanted = bytes,
                       .detail = "UCX does not say where its memory is");
    }
    piece->address = attributes.address;
    piece->bytes = bytes;
    return 0;
}

static int take_locked(struct wu_memory *memory, size_t bytes, struct wu_piece *piece)
{
    struct weir_ucx *ucx = memory->ucx;
    WU_ENSURE(ucx, CLOSED, .detail = "the engine that the memory comes from has ended");
    wu_context_lock(ucx);
    int err = map(memory->context, bytes, piece);
    wu_context_unlock(ucx);
    WI_TRY(err);
    wu_lock(ucx);
    piece->next = memory->pieces;
    memory->pieces = piece;
    ucx->stat.registrations++;
    wu_unlock_quiet(ucx);
    return 0;
}

static int take(void *ctx, const struct weir_memory_request *request, void **out)
{
    struct wu_memory *memory = ctx;
    struct wu_piece  *piece = wu_calloc(1, sizeof *piece);
    WU_ENSURE(piece, NOMEM, .call = "calloc", .detail = "a piece of memory");
    pthread_mutex_lock(&memory->lock);
    int err = take_locked(memory, request->bytes, piece);
    pthread_mutex_unlock(&memory->lock);
    if (err < 0) {
        wu_free(piece);
        return err;
    }
    *out = piece->address;
    return 0;
}

static void give(void *ctx, void *address, size_t bytes)
{
    struct wu_memory *memory = ctx;
    struct wu_piece **link = &memory->pieces;
    (void)bytes;
    pthread_mutex_lock(&memory->lock);
    struct weir_ucx *ucx = memory->ucx;
    if (ucx) wu_lock(ucx);
    while (*link && (*link)->address != address) link = &(*link)->next;
    struct wu_piece *piece = *link;
    wu_require(piece);
    *link = piece->next;
    if (ucx) {
        ucx->stat.unregistrations++;
        wu_unlock_quiet(ucx);
        wu_context_lock(ucx);
    }
    if (memory->context) (void)ucp_mem_unmap(memory->context, piece->memory);
    if (ucx) wu_context_unlock(ucx);
    bool last = !ucx && !memory->pieces && memory->context;
    pthread_mutex_unlock(&memory->lock);
    wu_free(piece);
    if (last) free_memory(memory);
}

int wu_memory_begin(struct weir_ucx *ucx)
{
    struct wu_memory *memory = wu_calloc(1, sizeof *memory);
    WU_ENSURE(memory, NOMEM, .call = "calloc", .detail = "the engine's memory source");
    pthread_mutex_init(&memory->lock, NULL);
    memory->ucx = ucx;
    memory->context = ucx->context;
    memory->source = (struct weir_memory_source){.struct_size = sizeof memory->source, .take = take, .give = give, .ctx = memory};
    ucx->memory = memory;
    return 0;
}

void wu_memory_end(struct wu_memory *memory, ucp_context_h context)
{
    pthread_mutex_lock(&memory->lock);
    memory->ucx = NULL;
    bool last = !memory->pieces && context;
    memory->context = context;
    pthread_mutex_unlock(&memory->lock);
    if (last) free_memory(memory);
}

ucp_mem_h wu_memory_find_locked(const struct weir_ucx *ucx, uint64_t address, uint64_t bytes)
{
    for (const struct wu_piece *piece = ucx->memory->pieces; piece; piece = piece->next) {
        uint64_t offset = address - (uint64_t)(uintptr_t)piece->address;
        if (offset < piece->bytes && bytes <= piece->bytes - offset) return piece->memory;
    }
    return NULL;
}

const struct weir_memory_source *weir_ucx_memory(struct weir_ucx *ucx)
{
    return ucx ? &ucx->memory->source : NULL;
}
