/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/check.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

/* Owned by the queued function. The pool's block outlives it (blocks are recycled, never freed); its name may not. */
struct wi_seal {
    struct weir_pool *pool;
    const char       *from;
    size_t            offset;
    size_t            bytes;
    uint64_t          sum;
    uint64_t          id;
    uint32_t          stream;
    char              name[WI_POOL_NAME_BYTES];
};

/* Four lanes, so that it keeps up with memory. Method: multiply and rotate, as in xxHash (Collet). */
static uint64_t sum_of(const char *from, size_t bytes)
{
    uint64_t lane[4] = {bytes, ~(uint64_t)bytes, 1, 2};
    uint64_t word[4];
    for (; bytes >= sizeof word; bytes -= sizeof word, from += sizeof word) {
        memcpy(word, from, sizeof word);
        for (unsigned i = 0; i < 4; i++) {
            lane[i] += word[i] * UINT64_C(0xc2b2ae3d27d4eb4f);
            lane[i] = (lane[i] << 31 | lane[i] >> 33) * UINT64_C(0x9e3779b185ebca87);
        }
    }
    for (; bytes > 0; bytes--, from++) lane[bytes % 4] = (lane[bytes % 4] ^ (unsigned char)*from) * UINT64_C(0x100000001b3);
    return lane[0] ^ (lane[1] << 7 | lane[1] >> 57) ^ (lane[2] << 12 | lane[2] >> 52) ^ (lane[3] << 18 | lane[3] >> 46);
}

int wi_seal_make(const struct wi_transfer *transfer, struct wi_seal **out)
{
    struct weir_pool *pool = wi_pool_of(transfer->record);
    struct wi_seal   *seal = wi_calloc(1, sizeof *seal);
    if (!seal) return WI_FAIL(NOMEM, .call = "calloc", .detail = "the check of an upload", .wanted = sizeof *seal);
    seal->pool = pool;
    seal->from = (const char *)transfer->record->face.host + transfer->offset;
    seal->offset = transfer->offset;
    seal->bytes = transfer->bytes;
    seal->sum = sum_of(seal->from, seal->bytes);
    seal->id = wi_record_index(transfer->record);
    seal->stream = transfer->stream->number;
    snprintf(seal->name, sizeof seal->name, "%s", pool->name);
    *out = seal;
    return 0;
}

/* On a thread of the device's driver. The bytes stay mapped and are nobody else's: the mark covers this function. */
static void verify(void *ctx)
{
    struct wi_seal *seal = ctx;
    if (sum_of(seal->from, seal->bytes) != seal->sum) {
        wi_add(&seal->pool->stat.hazards, 1, relaxed);
        wi_log(ERROR, "pool", "%s: buffer %llu was written while the device was reading bytes %zu to %zu of it on stream %u",
               seal->name, (unsigned long long)seal->id, seal->offset, seal->offset + seal->bytes, seal->stream);
    }
    wi_seal_free(seal);
}

void wi_seal_queue(struct wi_transfer *transfer)
{
    struct wi_device *device = wi_pool_of(transfer->record)->context->device;
    if (device->ops->call(device, verify, transfer->seal, transfer->stream->handle) < 0) wi_seal_free(transfer->seal);
}

void wi_seal_free(struct wi_seal *seal)
{
    wi_free(seal);
}
