/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/copy.h"

#include <string.h>

#define POISON_BYTE 0xdb

/* The runtime's mover stream, made on first use; it ends with the runtime. */
static int mover_stream(struct wi_context *context, struct wi_stream **out)
{
    int err = 0;
    pthread_mutex_lock(&context->mover_lock);
    if (!context->mover) err = wi_stream_make(context, 0, 0, &context->mover);
    *out = context->mover;
    pthread_mutex_unlock(&context->mover_lock);
    return err;
}

/*
 * A writer may begin while its buffer is being copied: then the bytes are torn, and the move is dropped because its word
 * has changed. ThreadSanitizer cannot know that, so it does not watch this copy.
 */
#ifdef WI_TSAN
__attribute__((no_sanitize("thread"))) static void copy_bytes(void *to, const void *from, size_t bytes)
{
    volatile char       *target = to;
    const volatile char *source = from;
    for (size_t i = 0; i < bytes; i++) target[i] = source[i];
}
#else
static void copy_bytes(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}
#endif

int wi_copy_issue(struct wi_tier *tier, uint64_t from, uint64_t to)
{
    struct wi_block source = wi_tier_block(tier, from);
    struct wi_block target = wi_tier_block(tier, to);
    bool            from_device = wi_place_tier(from) == WEIR_TIER_DEVICE;
    bool            to_device = wi_place_tier(to) == WEIR_TIER_DEVICE;
    size_t          bytes = tier->opts.buffer_bytes;
    if (!from_device && !to_device) {
        copy_bytes(target.host, source.host, bytes);
        return 0;
    }
    struct wi_stream *stream;
    WI_TRY(mover_stream(tier->context, &stream));
    struct wi_copy copy = {.dst = to_device ? target.device : (uint64_t)(uintptr_t)target.host,
                           .src = from_device ? source.device : (uint64_t)(uintptr_t)source.host,
                           .bytes = bytes,
                           .kind = to_device ? WI_COPY_UP : WI_COPY_DOWN};
    WI_TRY(tier->context->device->ops->copy(tier->context->device, &copy, stream->handle));
    wi_stream_touch(stream);
    return 0;
}

int wi_copy_wait(struct wi_tier *tier)
{
    return tier->context->mover ? wi_stream_wait_driver(tier->context->mover) : 0;
}

void wi_copy_poison(struct wi_tier *tier, uint64_t place)
{
    struct wi_block block = wi_tier_block(tier, place);
    if (block.host) {
        memset(block.host, POISON_BYTE, tier->opts.buffer_bytes);
        return;
    }
    struct wi_stream *stream;
    struct wi_device *device = tier->context->device;
    if (mover_stream(tier->context, &stream) < 0) return;
    if (device->ops->fill(device, block.device, POISON_BYTE, tier->opts.buffer_bytes, stream->handle) < 0) return;
    wi_stream_touch(stream);
}
