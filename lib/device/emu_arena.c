/* SPDX-License-Identifier: Apache-2.0 */
/* emu_arena.c - objects of one size, kept until the end so that a dead handle can be recognised */
#include "device/emu_state.h"

#include "base/alloc.h"

#include <string.h>

#define CHUNK_OBJECTS 64

struct emu_chunk {
    struct emu_chunk *next;
    uint64_t          reserved; /* objects start 16-byte aligned */
};

/* Laid over a free object, behind its first word: a handle's magic stays readable. */
struct emu_free {
    uint64_t         kept;
    struct emu_free *next;
};

void wi_emu_arena_init(struct emu_arena *arena, size_t bytes)
{
    wi_assert(bytes >= sizeof(struct emu_free));
    *arena = (struct emu_arena){.bytes = wi_round_up(bytes, 16)};
}

static bool grow(struct emu_arena *arena)
{
    struct emu_chunk *chunk = wi_calloc(1, sizeof(*chunk) + CHUNK_OBJECTS * arena->bytes);

    if (chunk == NULL) return false;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    for (size_t i = 0; i < CHUNK_OBJECTS; i++)
        wi_emu_arena_retire(arena, (char *)(chunk + 1) + i * arena->bytes);
    return true;
}

void *wi_emu_arena_take(struct emu_arena *arena)
{
    struct emu_free *object;

    if (arena->first == NULL && !grow(arena)) return NULL;
    object = arena->first;
    arena->first = object->next;
    if (arena->first == NULL) arena->last = NULL;
    return memset(object, 0, arena->bytes);
}

void wi_emu_arena_give(struct emu_arena *arena, void *object)
{
    struct emu_free *free_object = object;

    free_object->next = arena->first;
    arena->first = free_object;
    if (arena->last == NULL) arena->last = free_object;
}

void wi_emu_arena_retire(struct emu_arena *arena, void *object)
{
    struct emu_free *free_object = object;

    free_object->next = NULL;
    if (arena->last != NULL)
        arena->last->next = free_object;
    else
        arena->first = free_object;
    arena->last = free_object;
}

void wi_emu_arena_fini(struct emu_arena *arena)
{
    while (arena->chunks != NULL) {
        struct emu_chunk *chunk = arena->chunks;

        arena->chunks = chunk->next;
        wi_free(chunk);
    }
    arena->first = NULL;
    arena->last = NULL;
}
