/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc.c - peer: malloc and free of one buffer's bytes, by whichever allocator the program is linked with
 *
 * PEER_NAME is the allocator's name. An allocator has no number of buffers that it must keep to, and its
 * memory is not pinned: it is here because a pool that is slower than it would be pointless.
 */
#include "object.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdio.h>

#define TEXT_OF(word) #word
#define TEXT(word)    TEXT_OF(word)

/* Present when the allocator is linked, and the proof that it is. */
extern __attribute__((weak)) int mallctl(const char *name, void *old, size_t *old_bytes, void *new,
                                         size_t new_bytes);
extern __attribute__((weak)) int mi_version(void);

static size_t bytes;
static char text[80];

static int open_pool(const struct peer_config *config)
{
    bytes = config->buffer_bytes;
    if (strcmp(TEXT(PEER_NAME), "jemalloc") == 0) {
        const char *version;
        size_t version_bytes = sizeof version;
        if (mallctl == NULL || mallctl("version", &version, &version_bytes, NULL, 0) != 0)
            return -ENOSYS;
        snprintf(text, sizeof text, "jemalloc %.20s, %zu bytes", version, bytes);
    } else if (strcmp(TEXT(PEER_NAME), "mimalloc") == 0) {
        if (mi_version == NULL) return -ENOSYS;
        snprintf(text, sizeof text, "mimalloc %d, %zu bytes", mi_version(), bytes);
    } else {
        snprintf(text, sizeof text, "glibc %s, %zu bytes", gnu_get_libc_version(), bytes);
    }
    return 0;
}

static const char *note(void)
{
    return text;
}

static inline void *try(void)
{
    void *object = malloc(bytes);

    __asm__ volatile("" : "+r"(object) : : "memory");
    return object;
}

static inline void release(void *object)
{
    free(object);
}

PEER_LOOPS(try, try, release, NULL)

const struct peer peer_here = {.name = TEXT(PEER_NAME),
                               .open = open_pool,
                               .note = note,
                               .try = try,
                               .release = release,
                               .try_loop = try_loop,
                               .held_loop = held_loop};
