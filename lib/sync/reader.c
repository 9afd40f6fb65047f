/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/reader.h"

#include "base/alloc.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

uint32_t wi_reader_fence_needed;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
    long rc = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    wi_reader_fence_needed = rc < 0;
}

void wi_reader_start(void)
{
    pthread_once(&once, start);
}

void wi_membarrier(void)
{
    wi_fence(seq_cst);
    if (!wi_reader_fence_needed) wi_require(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0);
}

_Atomic uint64_t *wi_reader_slot_cold(struct wi_thread *self)
{
    struct wi_reader_chunk *chunk = wi_load(&self->readers, relaxed);
    for (struct wi_reader_chunk *at = chunk; at; at = wi_load(&at->next, relaxed)) {
        for (unsigned i = 0; i < WI_READER_CHUNK; i++) {
            if (wi_load(&at->slot[i], acquire) == 0) return &at->slot[i]; /* order(reader-clear) */
        }
    }
    struct wi_reader_chunk *fresh = wi_calloc_aligned(2 * WI_CACHELINE_BYTES, 1, sizeof *fresh);
    if (!fresh) return NULL;
    wi_store(&fresh->next, chunk, relaxed);
    /* order(reader-chunks): release; pairs with the load in wi_reader_scan(). The newest chunk is the one looked at first. */
    wi_store(&self->readers, fresh, release);
    return &fresh->slot[0];
}

void wi_reader_scan(void (*seen)(void *ctx, uint64_t name), void *ctx)
{
    for (struct wi_thread *thread = wi_thread_first(); thread; thread = thread->next) {
        /* order(reader-chunks): acquire. */
        for (struct wi_reader_chunk *at = wi_load(&thread->readers, acquire); at; at = wi_load(&at->next, relaxed)) {
            for (unsigned i = 0; i < WI_READER_CHUNK; i++) {
                /* order(reader-clear): acquire; pairs with the store of 0 at a return. The reader's reads are over. */
                uint64_t name = wi_load(&at->slot[i], acquire);
                if (name) seen(ctx, name);
            }
        }
    }
}
