/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.c - the bytes that a schedule starts from, and the allocator of the library (lib/base/alloc.h)
 *
 * The world is all that the library and a scenario can write: the program's variables and one arena. It is kept once
 * the scenario is set up, and copied back before each schedule; nothing has to be taken down.
 *
 * What was freed is not handed out again in the same schedule, and a step that touches it fails the schedule.
 */
#include "base/alloc.h"
#include "schedule/engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_BYTES ((size_t)1 << 20)
#define FREED_MAX   64

/* In the world itself, so that they are restored with it. */
static char  *arena;
static size_t arena_used;
static struct { uintptr_t from, to; } freed[FREED_MAX];
static unsigned freed_count;

/* The linker's: the program's variables. */
extern char __data_start[], _edata[], __bss_start[], _end[];

static char  *kept;
static size_t kept_arena;

static size_t variables_bytes(void)
{
    return (size_t)(_end - __data_start);
}

void world_start(void)
{
    arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    kept = mmap(NULL, variables_bytes() + ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED || kept == MAP_FAILED) abort();
}

void world_keep(void)
{
    kept_arena = arena_used;
    memcpy(kept, __data_start, variables_bytes());
    memcpy(kept + variables_bytes(), arena, arena_used);
}

void world_restore(void)
{
    memcpy(__data_start, kept, variables_bytes());
    memcpy(arena, kept + variables_bytes(), kept_arena);
}

const char *world_complaint(const volatile void *at, size_t bytes)
{
    uintptr_t from = (uintptr_t)at;
    for (unsigned i = 0; i < freed_count; i++) {
        if (from < freed[i].to && from + bytes > freed[i].from) return "memory is used after it was freed";
    }
    return NULL;
}

/* ---- lib/base/alloc.h ---- */

/* Each block stands behind its size, at the alignment of two lines. */
#define HEAD 128

static void *take(size_t alignment, size_t bytes)
{
    if (alignment < HEAD) alignment = HEAD;
    size_t at = wi_round_up(arena_used + HEAD, alignment);
    if (bytes > ARENA_BYTES || at + bytes > ARENA_BYTES) abort();
    arena_used = at + bytes;
    *(size_t *)(arena + at - HEAD) = bytes;
    memset(arena + at, 0, bytes);
    return arena + at;
}

void *wi_alloc(size_t bytes)
{
    return take(1, bytes);
}

void *wi_calloc(size_t count, size_t bytes)
{
    return take(1, count * bytes);
}

void *wi_calloc_aligned(size_t alignment, size_t count, size_t bytes)
{
    return take(alignment, count * bytes);
}

char *wi_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    return memcpy(take(1, bytes), text, bytes);
}

void wi_free(void *memory)
{
    if (!memory) return;
    size_t bytes = *(size_t *)((char *)memory - HEAD);
    schedule_require(!world_complaint(memory, 1), "%p is freed twice", memory);
    memset(memory, 0xdd, bytes);
    if (sched->current != NOBODY && freed_count < FREED_MAX) {
        freed[freed_count].from = (uintptr_t)memory;
        freed[freed_count++].to = (uintptr_t)memory + bytes;
    }
}

uint64_t wi_alloc_fail_at(uint64_t nth)
{
    (void)nth;
    return 0;
}

/* The records of threads, which the library takes from the system: lib/sync/thread.c. */
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return take(alignment, bytes);
}
