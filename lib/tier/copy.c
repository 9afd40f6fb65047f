/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - copies are gathered and issued together: one driver call where the driver takes many, because a move is small
 * and a call is not
 */
#include "tier/copy.h"

#include "base/alloc.h"
#include "sync/annotate.h"

#include <string.h>

#define GATHER_MAX  4096
#define POISON_BYTE 0xdb

struct wi_copies {
    struct wi_copy copy[GATHER_MAX];
    size_t         count;
    char          *poison; /* a block full of it; made on first use */
};

/* The runtime's mover stream, made on first use; it ends with the runtime. */
static int mover_stream(struct wi_context *context, struct wi_stream **out)
{
    int err = 0;
    pthread_mutex_lock(&context->mover_lock);
    if (!context->mover) err = wi_stream_make(context, 0, 0, &context->mover);
    if (err >= 0) wi_store(&context->mover_used, 1, relaxed);
    *out = context->mover;
    pthread_mutex_unlock(&context->mover_lock);
    return err;
}

static struct wi_copies *copies_of(struct wi_tier *tier)
{
    if (!tier->copies) tier->copies = wi_calloc(1, sizeof *tier->copies);
    return tier->copies;
}

int wi_copy_flush(struct wi_tier *tier)
{
    struct wi_copies *copies = tier->copies;
    struct wi_device *device = tier->context->device;
    struct wi_stream *stream;
    if (!copies || copies->count == 0) return 0;
    WI_TRY(mover_stream(tier->context, &stream));
    int err = 0;
    if (device->ops->copy_batch) {
        err = device->ops->copy_batch(device, copies->copy, copies->count, stream->handle);
    } else {
        for (size_t i = 0; i < copies->count && err >= 0; i++)
            err = device->ops->copy(device, &copies->copy[i], stream->handle);
    }
    copies->count = 0;
    wi_stream_touch(stream); /* also after a failure: some of them may have been queued */
    return err;
}

static int gather(struct wi_tier *tier, struct wi_copy copy)
{
    struct wi_copies *copies = copies_of(tier);
    if (!copies) return WI_FAIL(NOMEM, .call = "calloc", .detail = "the list of copies of a tiered pool");
    if (copies->count == GATHER_MAX) WI_TRY(wi_copy_flush(tier));
    copies->copy[copies->count++] = copy;
    return 0;
}

int wi_copy_issue(struct wi_tier *tier, uint64_t from, uint64_t to)
{
    struct wi_block source = wi_tier_block(tier, from);
    struct wi_block target = wi_tier_block(tier, to);
    bool            from_device = wi_place_tier(from) == WEIR_TIER_DEVICE;
    bool            to_device = wi_place_tier(to) == WEIR_TIER_DEVICE;
    size_t          bytes = tier->opts.buffer_bytes;
    if (!from_device && !to_device) {
        wi_copy_unwatched(target.host, source.host, bytes);
        return 0;
    }
    return gather(tier, (struct wi_copy){.dst = to_device ? target.device : (uint64_t)(uintptr_t)target.host,
                                         .src = from_device ? source.device : (uint64_t)(uintptr_t)source.host,
                                         .bytes = bytes,
                                         .kind = to_device ? WI_COPY_UP : WI_COPY_DOWN,
                                         .flags = WI_COPY_CROSSED});
}

int wi_copy_wait(struct wi_tier *tier)
{
    WI_TRY(wi_copy_flush(tier));
    return tier->context->mover ? wi_stream_wait_driver(tier->context->mover) : 0;
}

int wi_copy_drain(struct wi_tier *tier)
{
    struct wi_device           *device = tier->context->device;
    const struct wi_device_ops *ops = device->ops;
    struct wi_stream           *stream = tier->context->mover;
    void                       *event;
    if (!stream) return 0; /* nothing was ever queued */
    WI_TRY(ops->event_create(device, 0, &event));
    int err = ops->event_record(device, event, stream->handle);
    if (err >= 0) err = ops->event_sync(device, event);
    (void)ops->event_destroy(device, event);
    return err;
}

static const char *poison_block(struct wi_tier *tier)
{
    struct wi_copies *copies = copies_of(tier);
    if (!copies) return NULL;
    if (!copies->poison) {
        copies->poison = wi_alloc(tier->opts.buffer_bytes);
        if (copies->poison) memset(copies->poison, POISON_BYTE, tier->opts.buffer_bytes);
    }
    return copies->poison;
}

void wi_copy_poison(struct wi_tier *tier, uint64_t place)
{
    struct wi_block block = wi_tier_block(tier, place);
    if (block.host) {
        memset(block.host, POISON_BYTE, tier->opts.buffer_bytes);
        return;
    }
    const char *poison = poison_block(tier);
    if (!poison) return;
    /* In stream order before any later copy to this block. */
    (void)gather(tier, (struct wi_copy){.dst = block.device, .src = (uint64_t)(uintptr_t)poison,
                                        .bytes = tier->opts.buffer_bytes, .kind = WI_COPY_UP});
}

void wi_copies_free(struct wi_tier *tier)
{
    if (!tier->copies) return;
    wi_free(tier->copies->poison);
    wi_free(tier->copies);
    tier->copies = NULL;
}
