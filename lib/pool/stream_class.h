/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_class.h - the pools of streams: one per class, one of shared streams, one of the host program's
 *
 * Class pools. Every stream has a slot of its own in the free store, so each free stream can be claimed by its
 * number; nothing goes through the lane or the commons. Which of the free ones an acquire takes is decided in
 * stream.c: the key's own stream, else a drained one that no key is bound to, else a drained one, else (with
 * WEIR_STREAM_OLDEST) the one released longest ago. Within a rank the one released longest ago goes first.
 *
 * Shared streams have records that are FREE|HOME in no slot, so that nobody can lease them, and that end with
 * the pool like any other. The host program's have records that are GONE until a stream is adopted.
 */
#ifndef WI_STREAM_CLASS_H
#define WI_STREAM_CLASS_H

#include "pool/affinity.h"
#include "pool/pool.h"

#include <weir/stream.h>

/* In place of a stream class: the pool of the shared streams of all classes. */
#define WI_STREAMS_SHARED 0u
#define WI_STREAM_CLASSES 3u /* that can be acquired */

struct wi_stream_class {
    uint32_t           reuse;    /* enum weir_stream_reuse */
    uint32_t           priority[WI_STREAM_CLASSES + 1]; /* enum weir_priority, by class */
    uint32_t           shared;   /* shared streams of each class */
    struct wi_affinity affinity; /* class pools only */
    _Atomic uint32_t   turn[WI_STREAM_CLASSES + 1]; /* shared: the next one of each class */
};

/* The driver's number for a priority: LOW is the device's least, HIGH its greatest, NORMAL half-way. */
int32_t wi_stream_priority_of(const struct weir_pool *pool, uint32_t stream_class);
/* Make the driver's stream of a record. pre: the caller owns the record. Fails: DEVICE, NOMEM, EXCEEDS. */
int wi_stream_object_make(struct weir_pool *pool, struct wi_record *record, uint32_t stream_class);
void wi_stream_object_drop(struct weir_pool *pool, struct wi_record *record);

/* Lease a stream of a class pool. key 0: none. Fails: as weir_stream_acquire(). */
int wi_stream_lease(struct weir_pool *pool, const struct wi_ask *ask, uint64_t key, const void *site,
                    struct weir_stream **out);

/* Notes of a lease's begin and end. */
void wi_stream_note_acquired(struct wi_stream *stream, uint64_t now_ns);
void wi_stream_note_released(struct wi_stream *stream);

#endif
