/* SPDX-License-Identifier: Apache-2.0 */
/* lease.h - from a caller's handle to the record behind it, checked */
#ifndef WI_LEASE_H
#define WI_LEASE_H

#include "pool/pool.h"
#include "pool/watch.h"

struct wi_event {
    void             *handle;   /* the driver's */
    uint32_t          flags;    /* enum weir_event_flags */
    uint32_t          adopted;
    _Atomic uint32_t  recorded; /* in this lease */
    uint32_t          reserved;
};

/* Each fails: FOREIGN (not weir's), KIND (another kind of object), NOTLEASED, STALE (check mode). */
int wi_lease_buffer(const struct weir_buffer *buffer, struct wi_record **out);
int wi_lease_stream(const struct weir_stream *stream, struct wi_stream **out);
int wi_lease_event(const struct weir_event *event, struct wi_event **out);

/*
 * As wi_lease_buffer(), inline, of tiered pools only. NULL: not one at first sight, or somebody is watching; the long
 * way decides and says what is wrong.
 */
static inline struct wi_record *wi_lease_tiered(struct weir_buffer *buffer)
{
    if (WI_UNLIKELY(wi_watching | wi_load(&wi_forked, relaxed))) return NULL;
    if (WI_UNLIKELY(!wi_record_near(buffer))) return NULL;
    struct wi_record *record = (struct wi_record *)buffer; /* the face is its first member, and none other is in use */
    if (WI_UNLIKELY(wi_word_state(wi_load(&record->word, acquire)) != WI_LEASED)) return NULL;
    return WI_LIKELY(wi_pool_of(record)->tier != NULL) ? record : NULL;
}

/* May leases be given? Fails: CLOSED, DEVICE, FORKED. */
int wi_lease_open(const struct weir_pool *pool);

/* Release of any kind but NULL; see weir_buffer_release(). */
int wi_lease_release(const void *lease, enum wi_pool_kind kind);

/* After a driver call answered `err` on an issuing path: if the device is lost, let the keeper declare it. Returns err. */
int wi_issue_failed(struct wi_context *context, int err);

#endif
