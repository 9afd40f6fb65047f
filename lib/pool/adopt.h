/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.h - leases that are not taken from a free store: the host program's streams and events, and graphs
 *
 * Their records are GONE until they are used. Each record of a stream keeps its struct wi_stream, and with it its number,
 * its ticks and its ring of events, for the life of the runtime; it is bound to one handle after another. So
 * the numbers that adoptions use up are bounded by weir_runtime_opts.streams_adopted_max.
 *
 *     GONE -- take, bind --> LEASED -- let go, mark its end --> RETIRING -- drained --> GONE
 *                                                                 \-- failed --> QUARANTINED, for good
 *
 * The way home is the divert that a shrinking pool uses: DIVERT is set for the record's life.
 *
 * Locks: pool->lock for take. Ending an adoption takes the stream's handle_lock, which waits for at most one
 * record call; ending an event's takes context->poll_lock, which waits for at most one round of queries.
 */
#ifndef WI_ADOPT_H
#define WI_ADOPT_H

#include "pool/lease.h"

/* Lease a drained record of the pool of adopted streams and bind it. handle NULL: held. Fails: EXCEEDS, NOMEM, CLOSED, DEVICE, FORKED. */
int wi_adopt_take(struct weir_runtime *rt, void *handle, struct wi_record **out);
/* End of an adoption, or of a graph. pre: an adopted stream. Fails: NOTLEASED, CLOSED, FORKED. */
int wi_adopt_end(struct wi_stream *stream);
/* The same for an event. pre: adopted. */
int wi_adopt_end_event(struct weir_event *event);

#endif
