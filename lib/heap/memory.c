/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c - where libweir_heap has its own tables from */
#include "heap/heap.h"

#include <stdlib.h>

void *heap_calloc(size_t count, size_t bytes)
{
    /* tidy-allow: calloc, because a library of its own cannot reach lib/base. */
    return calloc(count, bytes);
}

void heap_release(void *memory)
{
    /* tidy-allow: free, because a library of its own cannot reach lib/base. */
    free(memory);
}
