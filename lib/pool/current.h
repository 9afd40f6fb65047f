/* SPDX-License-Identifier: Apache-2.0 */
/*
 * current.h - from the stream that a call was given to the one behind it, the thread's current one included
 *
 * The current stream is a pointer and the generation of its lease, in thread-local memory: setting it takes no
 * lease, and a lease that has ended is told from the next lease of the same stream.
 */
#ifndef WI_CURRENT_H
#define WI_CURRENT_H

#include "pool/lease.h"

#include <weir/stream.h>

/* NULL: the thread's current stream. Fails: INVAL (NULL, and none is set), as wi_lease_stream() else. */
int wi_stream_given(const struct weir_stream *stream, struct wi_stream **out);

#endif
