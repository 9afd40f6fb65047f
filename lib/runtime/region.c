/* SPDX-License-Identifier: Apache-2.0 */
/* region.c - weir/region.h: a range of addresses of a runtime, and when the device is done with it */
#include <weir/region.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/log.h"
#include "base/options.h"
#include "memory/range.h"
#include "pool/stream_issue.h"
#include "pool/ticks.h"
#include "pool/watch.h"
#include "runtime/runtime.h"

#include <stdio.h>
#include <unistd.h>

#define STEP_BYTES_DEFAULT ((size_t)2 << 20)

struct weir_region {
    /* Fixed. */
    struct wi_context *context;
    uint32_t           memory;
    uint32_t           flags;
    uint64_t           numa_mask;
    size_t             chunk_bytes_max;
    char               name[32];

    struct wi_range range;
};

static int check_opts(const struct weir_region_opts *opts)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    WI_ENSURE(opts->bytes > 0, INVAL, .detail = "a region's bytes is 0");
    WI_ENSURE(opts->bytes <= SIZE_MAX / 4, INVAL, .detail = "a region's bytes is absurd", .wanted = opts->bytes);
    WI_ENSURE(opts->memory == WEIR_MEMORY_PINNED || opts->memory == WEIR_MEMORY_PAGEABLE, INVAL, .wanted = opts->memory,
              .detail = "a region is of pinned or of pageable memory");
    WI_ENSURE((opts->flags & ~(uint32_t)WEIR_REGION_PAGEABLE_OK) == 0, OPTS, .detail = "unknown flags");
    WI_ENSURE(opts->step_bytes >= page_bytes && (opts->step_bytes & (opts->step_bytes - 1)) == 0, INVAL,
              .detail = "step_bytes is not a power of two of at least a page", .wanted = opts->step_bytes);
    WI_ENSURE(opts->step_bytes <= (size_t)1 << 30, INVAL, .limit = "step_bytes", .limit_value = (uint64_t)1 << 30,
              .wanted = opts->step_bytes, .setting = "weir_region_opts.step_bytes", .detail = "a step is too large");
    WI_ENSURE(opts->chunk_bytes_max % opts->step_bytes == 0, INVAL, .wanted = opts->chunk_bytes_max,
              .detail = "chunk_bytes_max is not whole steps");
    return 0;
}

int weir_region_create(struct weir_runtime *rt, const struct weir_region_opts *opts, struct weir_region **out)
{
    struct weir_region_opts given;
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_TRY(wi_process_check());
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_region_opts"));
    if (given.step_bytes == 0) given.step_bytes = STEP_BYTES_DEFAULT;
    if (given.memory == 0) given.memory = WEIR_MEMORY_PINNED;
    WI_TRY(check_opts(&given));
    WI_ENSURE(!wi_load(&rt->context.closed, acquire), CLOSED, .detail = "the runtime is being destroyed");
    struct weir_region *region = wi_calloc_aligned(_Alignof(struct weir_region), 1, sizeof *region);
    if (!region) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a region");
    region->context = &rt->context;
    region->memory = given.memory;
    region->flags = given.flags;
    region->numa_mask = given.numa_mask;
    region->chunk_bytes_max = given.chunk_bytes_max;
    snprintf(region->name, sizeof region->name, "%s", given.name ? given.name : "region");
    int err = wi_range_reserve(&region->range, wi_round_up(given.bytes, given.step_bytes), given.step_bytes);
    if (err < 0) {
        wi_free(region);
        return err;
    }
    *out = region;
    return 0;
}

void weir_region_abandon(struct weir_region *region)
{
    if (!region || wi_process_check() < 0) return;
    uint64_t bytes = wi_load(&region->range.bytes_committed, relaxed);
    if (bytes > 0)
        wi_log(WARN, "memory", "%s: %llu bytes that the device may still reach stay mapped", region->name,
               (unsigned long long)bytes);
    wi_range_abandon(&region->range);
    wi_free(region);
}

void weir_region_destroy(struct weir_region *region)
{
    WI_UNCANCELLABLE;
    if (!region || wi_process_check() < 0) return;
    if (wi_load(&region->context->closed, acquire) >= 2) { /* the runtime has ended: no driver call any more */
        weir_region_abandon(region);
        return;
    }
    wi_range_release(&region->range);
    wi_free(region);
}

void *weir_region_base(const struct weir_region *region)
{
    return region ? region->range.base : NULL;
}

/* ---- memory ---- */

static int steps_of(const struct weir_region *region, struct weir_extent extent, struct wi_steps *out)
{
    WI_ENSURE(region, INVAL, .detail = "region is NULL");
    WI_TRY(wi_process_check());
    const struct wi_range *range = &region->range;
    WI_ENSURE(extent.bytes > 0 && extent.offset % range->step_bytes == 0 && extent.bytes % range->step_bytes == 0, RANGE,
              .detail = "an extent is whole steps of its region", .limit = "step_bytes", .limit_value = range->step_bytes,
              .wanted = extent.bytes, .setting = "weir_region_opts.step_bytes");
    WI_ENSURE(extent.offset <= range->bytes && extent.bytes <= range->bytes - extent.offset, RANGE,
              .limit = "bytes of the region", .limit_value = range->bytes, .wanted = extent.bytes,
              .setting = "weir_region_opts.bytes");
    *out = (struct wi_steps){extent.offset / range->step_bytes, extent.bytes / range->step_bytes};
    return 0;
}

int weir_region_commit(struct weir_region *region, struct weir_extent extent)
{
    struct wi_steps steps;
    WI_UNCANCELLABLE;
    WI_TRY(steps_of(region, extent, &steps));
    WI_ENSURE(!wi_load(&region->context->closed, acquire), CLOSED, .detail = "the runtime is being destroyed");
    struct wi_slab_opts slab = {
        .device = region->context->device,
        .budget = wi_context_budget(region->context, region->memory),
        .fallback = &region->context->pageable,
        .memory = region->memory,
        .flags = region->flags & WEIR_REGION_PAGEABLE_OK ? WI_SLAB_PAGEABLE_OK : 0,
        .numa_mask = region->numa_mask,
        .chunk_bytes_max = region->chunk_bytes_max,
    };
    return wi_range_commit(&region->range, steps, &slab);
}

int weir_region_decommit(struct weir_region *region, struct weir_extent extent)
{
    struct wi_steps steps;
    WI_UNCANCELLABLE;
    WI_TRY(steps_of(region, extent, &steps));
    return wi_range_decommit(&region->range, steps);
}

/* From an address on: its block of a slab, which is a step, and how many bytes are in the same registration. */
static int find(const struct weir_region *region, const void *host, struct weir_region_place *out)
{
    const struct wi_range *range = &region->range;
    size_t                 offset = (size_t)((uintptr_t)host - (uintptr_t)range->base);
    WI_ENSURE(offset < range->bytes, RANGE, .detail = "the address is not in the region", .limit = "bytes of the region",
              .limit_value = range->bytes, .wanted = offset, .setting = "weir_region_opts.bytes");
    const struct wi_slab *slab = wi_range_find(range, offset / range->step_bytes);
    WI_ENSURE(slab, NOENT, .detail = "nothing is committed at that address");
    size_t within = (size_t)((const char *)host - slab->base);
    size_t chunk = within / slab->chunk_bytes;
    size_t end = (chunk + 1) * slab->chunk_bytes;
    if (end > slab->map_bytes) end = slab->map_bytes;
    uint64_t device = slab->chunk_device[chunk];
    *out = (struct weir_region_place){
        .struct_size = sizeof *out,
        .device = device ? device + (within - chunk * slab->chunk_bytes) : 0,
        .bytes = end - within,
        .memory = slab->memory,
    };
    return 0;
}

int weir_region_find(const struct weir_region *region, const void *host, struct weir_region_place *out)
{
    struct weir_region_place place;
    WI_ENSURE(region && out, INVAL, .detail = "region or out is NULL");
    WI_TRY(find(region, host, &place));
    return wi_snapshot_export(out, &place, sizeof place);
}

/* ---- marks ---- */

static int begin(const struct weir_region *region, const struct weir_stream *given, struct wi_stream **out)
{
    struct wi_stream *stream, *ticks;
    WI_ENSURE(region, INVAL, .detail = "region is NULL");
    WI_TRY(wi_process_check());
    WI_TRY(wi_issue_begin(given, &stream, &ticks));
    WI_ENSURE(stream == ticks, CAPTURE, .detail = "a graph keeps buffers of pools, not memory of regions");
    WI_ENSURE(stream->context == region->context, INVAL, .detail = "the stream is of another runtime than the region");
    *out = stream;
    return 0;
}

int weir_region_mark(struct weir_region *region, struct weir_stream *given, struct weir_mark *out)
{
    struct wi_stream *stream;
    uint64_t          tick;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(begin(region, given, &stream));
    /* order(tick-fence): as wi_mark_now() does. What was queued comes before the open tick is read. */
    wi_fence(seq_cst);
    WI_TRY(wi_issue_fence(stream, &tick));
    *out = tick ? (struct weir_mark){stream->number + 1, tick} : (struct weir_mark){0, 0};
    return 0;
}

static int stream_of(const struct weir_region *region, struct weir_mark mark, struct wi_stream **out)
{
    WI_ENSURE(region, INVAL, .detail = "region is NULL");
    WI_TRY(wi_process_check());
    WI_ENSURE(mark.stream <= wi_load(&region->context->streams, acquire) && mark.point >> WI_TICK_BITS == 0, INVAL,
              .detail = "not a mark of weir_region_mark()");
    *out = mark.stream ? wi_load(&region->context->stream[mark.stream - 1], acquire) : NULL;
    return 0;
}

static int failed(const struct wi_stream *stream)
{
    if (wi_load(&stream->failed, acquire))
        return WI_FAIL_BLAMED(DEVICE, &stream->blame, .detail = "work on the stream failed");
    WI_ENSURE(!wi_load(&stream->context->device->lost, acquire), DEVICE, .detail = "the device is lost");
    return 0;
}

int weir_region_query(struct weir_region *region, struct weir_mark mark)
{
    struct wi_stream *stream;
    WI_TRY(stream_of(region, mark, &stream));
    /* order(tick-passed): acquire. The device's work is seen done. */
    if (!stream || wi_load(&stream->passed, acquire) >= mark.point) return 0;
    WI_TRY(failed(stream));
    if (wi_load(&region->context->closed, acquire) >= 2) return WI_FAIL(CLOSED, .detail = "the runtime has ended");
    if (wi_mark_settled(region->context, mark.stream << WI_TICK_BITS | mark.point)) return 0;
    WI_TRY(failed(stream));
    return WEIR_EAGAIN;
}

int weir_region_sync(struct weir_region *region, struct weir_mark mark, uint64_t deadline_ns)
{
    struct wi_stream *stream;
    WI_TRY(stream_of(region, mark, &stream));
    return stream ? wi_stream_wait(stream, mark.point, deadline_ns) : 0;
}

/* ---- copies ---- */

static int copy(struct weir_region *region, struct weir_stream *given, char *host, uint64_t device, size_t bytes,
                uint32_t kind)
{
    struct wi_stream *stream;
    WI_TRY(begin(region, given, &stream));
    WI_ENSURE(device, INVAL, .detail = "the device address is 0");
    while (bytes > 0) {
        struct weir_region_place place;
        WI_TRY(find(region, host, &place));
        uint64_t       address = (uint64_t)(uintptr_t)host;
        struct wi_copy piece = {.dst = kind == WI_COPY_UP ? device : address,
                                .src = kind == WI_COPY_UP ? address : device,
                                .bytes = place.bytes < bytes ? place.bytes : bytes,
                                .kind = kind};
        int err = stream->context->device->ops->copy(stream->context->device, &piece, stream->handle);
        if (err < 0) return wi_issue_failed(stream->context, err);
        wi_stream_touch(stream);
        wi_add(&stream->stat.copies, 1, relaxed);
        wi_add(kind == WI_COPY_UP ? &stream->stat.bytes_up : &stream->stat.bytes_down, piece.bytes, relaxed);
        host += piece.bytes;
        device += piece.bytes;
        bytes -= piece.bytes;
    }
    return 0;
}

int weir_region_upload(struct weir_region *region, struct weir_stream *stream, uint64_t device_dst, const void *src,
                       size_t bytes)
{
    return copy(region, stream, (char *)(uintptr_t)src, device_dst, bytes, WI_COPY_UP);
}

int weir_region_download(struct weir_region *region, struct weir_stream *stream, void *dst, uint64_t device_src,
                         size_t bytes)
{
    return copy(region, stream, dst, device_src, bytes, WI_COPY_DOWN);
}

int weir_region_stats_read(const struct weir_region *region, struct weir_region_stats *out)
{
    WI_ENSURE(region && out, INVAL, .detail = "region or out is NULL");
    const struct wi_range   *range = &region->range;
    struct weir_region_stats stats = {
        .struct_size = sizeof stats,
        .bytes = range->bytes,
        .bytes_committed = wi_load(&range->bytes_committed, relaxed),
        .bytes_committed_peak = wi_load(&range->bytes_committed_peak, relaxed),
        .bytes_abandoned = wi_load(&range->bytes_abandoned, relaxed),
        .commits = wi_load(&range->commits, relaxed),
        .decommits = wi_load(&range->decommits, relaxed),
        .failures = wi_load(&range->failures, relaxed),
    };
    return wi_snapshot_export(out, &stats, sizeof stats);
}
