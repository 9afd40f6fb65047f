/* SPDX-License-Identifier: Apache-2.0 */
/* operations_work.c - of the operations, those that move bytes: by the host, on streams, and in the order of events */
#include "fuzz/operations.h"

#include <string.h>

/* ---- bytes ---- */

struct part {
    size_t offset, bytes;
    bool   inside;
};

static struct part some_part(struct fuzz_input *input)
{
    uint16_t    offset = fuzz_u16(input), bytes = fuzz_u16(input);
    struct part part = {offset % (BYTES + 8), bytes % (BYTES + 8), false};
    if (offset >= 0xff00) part.offset = SIZE_MAX - (offset & 0xff);
    if (bytes >= 0xff00) part.bytes = SIZE_MAX - (bytes & 0xff);
    if (offset < 0x4000 && bytes < 0x4000) part = (struct part){0, BYTES, true};
    part.inside = part.offset <= BYTES && part.bytes <= BYTES - part.offset;
    return part;
}

static void judge_part(int err, struct part part)
{
    if (part.bytes == 0) return;
    fuzz_require(err != 0 || part.inside, "%zu bytes at %zu", part.bytes, part.offset);
    fuzz_require(err != WEIR_ERANGE || !part.inside, "%zu bytes at %zu", part.bytes, part.offset);
}

void write_and_read(struct fuzz_input *input)
{
    static uint8_t bytes[BYTES + 8];
    struct lease  *lease = some_lease(input);
    struct part    part = some_part(input);
    uint8_t        how = fuzz_u8(input);
    uint64_t       deadline_ns = how & 2 ? WEIR_FOREVER : WEIR_NOW;
    if (!lease) return;
    if (how & 4) {
        int err = may(weir_buffer_reset(lease->buffer, deadline_ns), WEIR_EBUSY);
        if (err == 0) lease->stamp = 0, lease->known = true;
        return;
    }
    memset(bytes, ++world.stamps, sizeof bytes);
    int err =
        how & 1 ? may(weir_buffer_write(lease->buffer, part.offset, bytes, part.bytes, deadline_ns),
                      WEIR_EBUSY, WEIR_ERANGE, WEIR_EINVAL)
                : may(weir_buffer_read(lease->buffer, part.offset, bytes, part.bytes, deadline_ns),
                      WEIR_EBUSY, WEIR_ERANGE, WEIR_EINVAL);
    judge_part(err, part);
    if (err < 0 || part.bytes == 0) return;
    if (how & 1) {
        lease->known = part.bytes == BYTES;
        lease->stamp = world.stamps;
    } else if (lease->known) {
        fuzz_require(bytes[0] == lease->stamp && bytes[part.bytes - 1] == lease->stamp,
                     "%u was read", bytes[0]);
    }
}

/* ---- streams ---- */

void change_stream(struct fuzz_input *input)
{
    uint8_t              which = fuzz_u8(input);
    size_t               i = which % STREAMS;
    struct weir_stream **stream = &world.stream[i];
    if (*stream) {
        if (which & 128) {
            must(weir_stream_sync(*stream, WEIR_FOREVER));
        } else {
            world.block[i].mixed = true;
        }
        must(weir_stream_release(*stream));
        world.stale_stream = *stream;
        *stream = NULL;
    } else {
        uint32_t class = which >> 4;
        int err =
            which & 8
                ? may(weir_stream_acquire_with(
                          world.rt, WEIR_OPTS(stream, .stream_class = class, .affinity_key = which),
                          WEIR_NOW, stream),
                      WEIR_EAGAIN, WEIR_EINVAL, WEIR_EOPTS)
                : may(weir_stream_acquire(world.rt, class, WEIR_NOW, stream), WEIR_EAGAIN,
                      WEIR_EINVAL);
        fuzz_require(err < 0 || class <= WEIR_STREAM_HIGH, "class %u", class);
        for (size_t j = 0; j < STREAMS; j++)
            fuzz_require(!*stream || j == i || world.stream[j] != *stream,
                         "one stream, two leases");
    }
    bool again = false;
    for (size_t j = 0; j < STREAMS; j++) again |= world.stream[j] == world.stale_stream;
    if (world.stale_stream && !again) {
        int err = may(weir_stream_release(world.stale_stream), WEIR_ENOTLEASED, WEIR_ESTALE,
                      WEIR_EFOREIGN);
        fuzz_require(err < 0, "a stream was released twice");
    }
}

static void check_block(size_t i)
{
    const uint8_t *at =
        (const uint8_t *)(uintptr_t)world.block[i].address; /* the device is the host */
    for (size_t j = 0; world.block[i].stamp >= 0 && j < BYTES; j++)
        fuzz_require(at[j] == world.block[i].stamp, "byte %zu of device memory is %u, not %d", j,
                     at[j], world.block[i].stamp);
}

void settle_all(void)
{
    must(weir_runtime_sync(world.rt, 0, WEIR_FOREVER));
    for (size_t i = 0; i < STREAMS; i++) {
        check_block(i);
        if (world.block[i].mixed) world.block[i].stamp = -1;
        world.block[i].mixed = false;
    }
}

void copy(struct fuzz_input *input)
{
    size_t              i = fuzz_below(input, STREAMS);
    struct lease       *lease = some_lease(input);
    struct part         part = some_part(input);
    struct block       *block = &world.block[i];
    bool                up = fuzz_u8(input) & 1;
    struct weir_stream *stream = world.stream[i];
    if (!lease || !stream) return;
    struct weir_slice slice = weir_slice(lease->buffer, part.offset, part.bytes);
    world.exact = false;
    int err =
        up ? may(weir_stream_upload(stream, block->address, slice), WEIR_ERANGE, WEIR_EINVAL)
           : may(weir_stream_download(stream, slice, block->address), WEIR_ERANGE, WEIR_EINVAL);
    judge_part(err, part);
    if (err < 0 || part.bytes == 0) return;
    if (up) {
        block->stamp = part.bytes == BYTES && lease->known && !block->mixed ? lease->stamp : -1;
    } else {
        lease->known = false;
    }
}

void copy_batch(struct fuzz_input *input)
{
    struct weir_copy    copies[4] = {0};
    size_t              i = fuzz_below(input, STREAMS), count = fuzz_below(input, 5);
    struct weir_stream *stream = world.stream[i];
    if (!stream || world.leases == 0) return;
    for (size_t j = 0; j < count; j++)
        copies[j] =
            (struct weir_copy){weir_slice_all(some_lease(input)->buffer), world.block[i].address};
    world.exact = false;
    (void)may(weir_stream_upload_batch(stream, copies, count), WEIR_EINVAL);
    if (count > 0) world.block[i].stamp = -1; /* in any order */
}

void use_mirror(struct fuzz_input *input)
{
    struct lease       *lease = some_lease(input);
    uint8_t             which = fuzz_u8(input);
    struct weir_stream *stream = world.stream[which % STREAMS];
    uint64_t            address, deadline_ns = which & 64 ? WEIR_FOREVER : WEIR_NOW;
    if (!lease) return;
    world.exact = false;
    if (which & 128)
        (void)may(weir_buffer_mirror(lease->buffer, &address), WEIR_EEXCEEDS, WEIR_EDEVMEM);
    if (!stream) return;
    struct weir_slice all = weir_slice_all(lease->buffer);
    if (which & 32) {
        (void)may(weir_buffer_to_device(all, stream, deadline_ns), WEIR_EEXCEEDS, WEIR_EDEVMEM);
    } else if (may(weir_buffer_to_host(all, stream, deadline_ns), WEIR_ENOENT) == 0) {
        lease->known = false;
    }
}

void order(struct fuzz_input *input)
{
    uint8_t             what = fuzz_u8(input);
    size_t              i = what % STREAMS;
    struct weir_stream *stream = world.stream[i];
    struct lease       *lease = some_lease(input);
    uint64_t            deadline_ns = what & 128 ? WEIR_FOREVER : WEIR_NOW;
    if (what & 64 && lease) {
        int err = may(weir_buffer_sync(lease->buffer, deadline_ns), WEIR_ETIMEDOUT, WEIR_EBUSY);
        fuzz_require(err == 0 || deadline_ns == WEIR_NOW, "a wait without an end has ended");
        return;
    }
    if (!stream) return;
    world.exact = false;
    switch (what >> 3 & 7) {
    case 0:
        (void)may(weir_stream_query(stream), WEIR_EAGAIN);
        break;
    case 1:
        must(weir_stream_delay(stream, (uint64_t)fuzz_u8(input) * 200));
        break;
    case 2:
        if (lease) must(weir_buffer_guard(lease->buffer, stream));
        break;
    case 3:
        settle_all();
        break;
    default:
        if (may(weir_stream_sync(stream, deadline_ns), WEIR_ETIMEDOUT) == 0 &&
            !world.block[i].mixed)
            check_block(i);
        break;
    }
}

/* ---- events ---- */

void change_event(struct fuzz_input *input)
{
    uint8_t             what = fuzz_u8(input);
    struct weir_event **event = &world.event[what % EVENTS];
    struct weir_stream *stream = world.stream[(what >> 2) % STREAMS];
    uint64_t            ns;
    if (!*event) {
        int err =
            may(weir_event_acquire(world.rt, what >> 6, WEIR_NOW, event), WEIR_EAGAIN, WEIR_EOPTS);
        fuzz_require(err < 0 || what >> 6 <= WEIR_EVENT_TIMING, "flags %u", what >> 6);
        return;
    }
    switch (what >> 4 & 7) {
    case 0:
        must(weir_event_release(*event));
        if (world.event[0] != *event || event == &world.event[0]) {
            int err = may(weir_event_release(*event), WEIR_ENOTLEASED, WEIR_ESTALE, WEIR_EFOREIGN);
            fuzz_require(err < 0, "an event was released twice");
        }
        *event = NULL;
        break;
    case 1:
    case 2:
        if (stream) (void)may(weir_event_record(*event, stream), WEIR_EBUSY);
        break;
    case 3:
        (void)may(weir_event_query(*event), WEIR_EAGAIN, WEIR_EINVAL);
        break;
    case 4:
        (void)may(weir_event_sync(*event, WEIR_FOREVER), WEIR_EINVAL);
        break;
    case 5:
        if (stream) (void)may(weir_stream_wait_event(stream, *event), WEIR_EINVAL);
        break;
    case 6:
        if (world.event[0])
            (void)may(weir_event_elapsed_ns(world.event[0], *event, &ns), WEIR_EKIND, WEIR_EAGAIN,
                      WEIR_EINVAL);
        break;
    default:
        (void)must(weir_event_clear(world.rt));
        break;
    }
}
