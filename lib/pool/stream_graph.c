/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_graph.c - what keeps the buffers of a captured graph
 *
 * Work that is captured does not run now, and may run often later: no event of its stream tells when the device is
 * done with its buffers. So they are marked as in use by a held stream, one without a handle, whose open tick passes
 * only when the caller says that the graph is gone. All else is what ticks.h does for any mark: a buffer that is
 * released meanwhile retires, and comes home at that moment, or later if other streams use it still.
 *
 * A graph lives in a record of the pool of adopted streams; adopt.h.
 */
#include "pool/adopt.h"
#include "pool/current.h"
#include "pool/watch.h"

static int graph_of(const struct weir_graph *graph, struct wi_stream **out)
{
    WI_TRY(wi_lease_stream((const struct weir_stream *)graph, out));
    WI_ENSURE(wi_load(&(*out)->held, relaxed), KIND, .detail = "the handle is of another kind");
    return 0;
}

int weir_graph_create(struct weir_runtime *rt, struct weir_graph **out)
{
    struct wi_record *record;
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_TRY(wi_adopt_take(rt, NULL, &record));
    *out = wi_watch_lease(record, __builtin_return_address(0));
    return 0;
}

int weir_graph_retain(struct weir_graph *graph, struct weir_buffer *buffer)
{
    struct wi_stream *held;
    struct wi_record *record;
    WI_TRY(graph_of(graph, &held));
    WI_TRY(wi_lease_buffer(buffer, &record));
    WI_TRY(wi_mark_reserve(record, held));
    wi_mark_also(record, held);
    return 0;
}

int weir_graph_forget(struct weir_graph *graph)
{
    struct wi_stream *held;
    struct wi_reaper  reaper = {.home = wi_pool_home};
    WI_TRY(graph_of(graph, &held));
    wi_stream_pass(held, &reaper);
    return 0;
}

void weir_graph_destroy(struct weir_graph *graph)
{
    struct wi_stream *held;
    struct wi_reaper  reaper = {.home = wi_pool_home};
    if (!graph || graph_of(graph, &held) < 0) return;
    wi_stream_pass(held, &reaper);
    (void)wi_adopt_end(held);
}

int weir_stream_capture_into(struct weir_stream *given, struct weir_graph *graph)
{
    struct wi_stream *stream, *held = NULL;
    WI_TRY(wi_stream_given(given, &stream));
    if (graph) WI_TRY(graph_of(graph, &held));
    stream->graph = held;
    if (held) stream->graph_generation = wi_load(&held->record->word, acquire) >> WI_GENERATION_SHIFT;
    return 0;
}
