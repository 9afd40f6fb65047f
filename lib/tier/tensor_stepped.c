/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor_stepped.c - a host array whose every step gets a device view of its own
 *
 * A view is a leased buffer of the pool: its host bytes are the staging of one step, its mirror is what the device reads,
 * and its marks say when both may be overwritten. A view is
 *
 *     current   published last; overwritten only if it is idle and there is no other to be had
 *     busy      its marks are pending
 *     idle      neither: the next step may take it
 *
 * Law: depth = views leased <= depth_max; in_flight <= depth; at rest depth falls to what the latest steps needed.
 */
#include "base/alloc.h"
#include "base/options.h"
#include "pool/pool.h"
#include "tier/tensor.h"

#include <string.h>
#include <weir/stream.h>

#define WINDOW_STEPS 64 /* depth that no step of the present and the previous window needed is given back */

struct view {
    struct weir_buffer *buffer;
    uint64_t            step; /* the latest that was published in it; 0: none */
};

struct weir_stepped {
    /* Fixed. */
    struct weir_pool *pool;
    struct wi_shape   shape;
    size_t            depth_max;
    void             *host;

    struct view *view; /* the first `depth` of `room` are leased */
    size_t       depth;
    size_t       room;
    uint64_t     steps;

    /* Most views that a step needed, in the present window and in the one before. */
    size_t needed;
    size_t needed_before;

    uint64_t depth_peak;
    uint64_t grows;
    uint64_t falls;
    uint64_t waits;
};

/* ---- life ---- */

int weir_stepped_create(struct weir_pool *pool, const struct weir_stepped_opts *opts, struct weir_stepped **out)
{
    struct weir_stepped_opts given;
    struct wi_shape          shape;
    WI_ENSURE(pool, INVAL, .detail = "pool is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_options_import(&given, sizeof given, opts, "weir_stepped_opts"));
    struct wi_shape asked = {.dtype = given.dtype, .rank = given.rank};
    memcpy(asked.extent, given.shape, sizeof asked.extent);
    WI_TRY(wi_shape_check(pool, &asked, &shape));
    WI_ENSURE(pool->opts.memory != WEIR_MEMORY_DEVICE, KIND, .detail = "expected a pool of host memory");

    struct weir_stepped *stepped = wi_calloc(1, sizeof(*stepped));
    WI_ENSURE(stepped, NOMEM, .call = "calloc", .wanted = sizeof(*stepped));
    stepped->host = wi_calloc_aligned(WI_CACHELINE_BYTES, 1, wi_round_up(shape.bytes, WI_CACHELINE_BYTES));
    if (!stepped->host) {
        wi_free(stepped);
        return WI_FAIL(NOMEM, .call = "calloc", .detail = "the host array", .wanted = shape.bytes);
    }
    stepped->pool = pool;
    stepped->shape = shape;
    stepped->depth_max = pool->opts.buffers_max;
    if (given.depth_max > 0 && given.depth_max < stepped->depth_max) stepped->depth_max = given.depth_max;
    *out = stepped;
    return 0;
}

void weir_stepped_destroy(struct weir_stepped *stepped)
{
    if (!stepped) return;
    for (size_t i = 0; i < stepped->depth; i++) (void)weir_buffer_release(stepped->view[i].buffer);
    wi_free(stepped->view);
    wi_free(stepped->host);
    wi_free(stepped);
}

void *weir_stepped_host(struct weir_stepped *stepped)
{
    return stepped ? stepped->host : NULL;
}

/* ---- views ---- */

static struct view *current(const struct weir_stepped *stepped)
{
    for (size_t i = 0; i < stepped->depth; i++) {
        if (stepped->steps > 0 && stepped->view[i].step == stepped->steps) return &stepped->view[i];
    }
    return NULL;
}

static int make_room(struct weir_stepped *stepped)
{
    if (stepped->depth < stepped->room) return 0;
    size_t       room = stepped->room ? 2 * stepped->room : 4;
    struct view *view = wi_calloc(room, sizeof(*view));
    WI_ENSURE(view, NOMEM, .call = "calloc", .wanted = room * sizeof(*view));
    if (stepped->depth > 0) memcpy(view, stepped->view, stepped->depth * sizeof(*view));
    wi_free(stepped->view);
    stepped->view = view;
    stepped->room = room;
    return 0;
}

static int grow(struct weir_stepped *stepped, uint64_t deadline_ns, struct view **out)
{
    struct weir_buffer *buffer;
    WI_TRY(make_room(stepped));
    WI_TRY(weir_buffer_acquire(stepped->pool, deadline_ns, &buffer));
    *out = &stepped->view[stepped->depth++];
    **out = (struct view){.buffer = buffer};
    stepped->grows++;
    if (stepped->depth > stepped->depth_peak) stepped->depth_peak = stepped->depth;
    return 0;
}

static int wait_for_oldest(struct weir_stepped *stepped, uint64_t deadline_ns, struct view **out)
{
    struct view *oldest = &stepped->view[0];
    for (size_t i = 1; i < stepped->depth; i++) {
        if (stepped->view[i].step < oldest->step) oldest = &stepped->view[i];
    }
    WI_ENSURE(deadline_ns != WEIR_NOW, BUSY, .limit = "depth_max", .limit_value = stepped->depth_max,
              .wanted = stepped->depth + 1, .setting = "weir_stepped_opts.depth_max or weir_pool_opts.buffers_max");
    WI_TRY(weir_buffer_sync(oldest->buffer, deadline_ns));
    stepped->waits++;
    *out = oldest;
    return 0;
}

/* A view that may be overwritten, and how many there are in flight beside it. */
static int take_view(struct weir_stepped *stepped, uint64_t deadline_ns, struct view **out, size_t *busy)
{
    struct view *last = current(stepped), *idle = NULL;
    bool         last_idle = last && !wi_tensor_in_use(last->buffer);
    *busy = last && !last_idle ? 1 : 0;
    for (size_t i = 0; i < stepped->depth; i++) {
        struct view *view = &stepped->view[i];
        if (view == last) continue;
        if (wi_tensor_in_use(view->buffer))
            ++*busy;
        else if (!idle || view->step > idle->step) /* the freshest; the stalest go when depth falls */
            idle = view;
    }
    *out = idle;
    if (idle) return 0;
    bool may_grow = stepped->depth < stepped->depth_max;
    if (may_grow) {
        /* With no view of its own nothing would ever wake it but the pool. */
        int err = grow(stepped, stepped->depth > 0 ? WEIR_NOW : deadline_ns, out);
        if (err != WEIR_EAGAIN || stepped->depth == 0) return err;
    }
    if (last_idle) {
        *out = last;
        return 0;
    }
    return wait_for_oldest(stepped, deadline_ns, out);
}

/* Give back what the latest steps had no need of, the stalest first. */
static void fall(struct weir_stepped *stepped)
{
    size_t keep = stepped->needed > stepped->needed_before ? stepped->needed : stepped->needed_before;
    while (stepped->depth > keep) {
        struct view *stalest = NULL;
        for (size_t i = 0; i < stepped->depth; i++) {
            struct view *view = &stepped->view[i];
            if (view->step == stepped->steps || wi_tensor_in_use(view->buffer)) continue;
            if (!stalest || view->step < stalest->step) stalest = view;
        }
        if (!stalest) return;
        (void)weir_buffer_release(stalest->buffer);
        *stalest = stepped->view[--stepped->depth];
        stepped->falls++;
    }
}

/* ---- steps ---- */

static void note_need(struct weir_stepped *stepped, size_t busy)
{
    size_t need = busy + 1 > 2 ? busy + 1 : 2; /* two: the current one and the next */
    if (stepped->steps % WINDOW_STEPS == 0) {
        stepped->needed_before = stepped->needed;
        stepped->needed = 0;
    }
    if (need > stepped->needed) stepped->needed = need;
}

int weir_stepped_publish(struct weir_stepped *stepped, struct weir_stream *stream, uint64_t deadline_ns,
                         uint64_t *out_device)
{
    struct view *view;
    uint64_t     device;
    size_t       busy;
    WI_ENSURE(stepped, INVAL, .detail = "stepped is NULL");
    WI_ENSURE(out_device, INVAL, .detail = "out_device is NULL");
    WI_TRY(take_view(stepped, deadline_ns, &view, &busy));
    WI_TRY(weir_buffer_mirror(view->buffer, &device));
    memcpy(view->buffer->host, stepped->host, stepped->shape.bytes);
    WI_TRY(weir_stream_upload(stream, device, weir_slice(view->buffer, 0, stepped->shape.bytes)));
    view->step = ++stepped->steps;
    note_need(stepped, busy);
    fall(stepped);
    *out_device = device;
    return 0;
}

int weir_stepped_used(struct weir_stepped *stepped, struct weir_stream *stream)
{
    WI_ENSURE(stepped, INVAL, .detail = "stepped is NULL");
    const struct view *view = current(stepped);
    WI_ENSURE(view, NOENT, .detail = "nothing was published yet");
    return weir_buffer_guard(view->buffer, stream);
}

int weir_stepped_info_read(const struct weir_stepped *stepped, struct weir_stepped_info *out)
{
    WI_ENSURE(stepped, INVAL, .detail = "stepped is NULL");
    struct weir_stepped_info info = {.bytes = stepped->shape.bytes,
                                     .steps = stepped->steps,
                                     .depth = stepped->depth,
                                     .depth_peak = stepped->depth_peak,
                                     .grows = stepped->grows,
                                     .falls = stepped->falls,
                                     .waits = stepped->waits};
    for (size_t i = 0; i < stepped->depth; i++) {
        if (wi_tensor_in_use(stepped->view[i].buffer)) info.in_flight++;
    }
    return wi_snapshot_export(out, &info, sizeof info);
}
