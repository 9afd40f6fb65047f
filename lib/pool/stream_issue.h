/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_issue.h - before and after something is queued on a stream, and how far to wait for all of it
 *
 * A handle that is known outside weir (adopted, or handed out by weir_stream_cuda()) may be captured into a graph by
 * its owner, and may carry work that weir has not seen. So on such a stream each operation asks first whether it is
 * being captured, and closes its own tick; a sync or a release records an event behind whatever is there.
 *
 * On a captured stream nothing is queued without a graph object that keeps the buffers: see stream_graph.c.
 */
#ifndef WI_STREAM_ISSUE_H
#define WI_STREAM_ISSUE_H

#include "pool/lease.h"

/*
 * Before an operation on a stream that a caller gave (NULL: the current one). *ticks is the stream whose ticks the
 * operation belongs to: itself, or the graph that it is captured into. Mark and touch *ticks, queue on *out.
 * Fails: as wi_stream_given(); CAPTURE, before anything was queued; DEVICE.
 */
int wi_issue_begin(const struct weir_stream *given, struct wi_stream **out, struct wi_stream **ticks);

/* The same for a sync or query: being captured is CAPTURE even with a graph. */
int wi_issue_check(struct wi_stream *stream);

/*
 * The tick behind everything that is queued now, by whomever. 0: nothing is pending. Records an event where the handle
 * is known outside. Fails: CAPTURE, DEVICE.
 */
int wi_issue_fence(struct wi_stream *stream, uint64_t *tick);
/* Who sleeps for device work is told CLOSED, and nobody is in a sync any more. pre: the context's `closed` is 2. */
void wi_syncs_end(struct wi_context *context);

/* The lease ends: cover what was queued through the raw handle, which is the holder's no longer. */
void wi_issue_seal(struct wi_stream *stream);

#endif
