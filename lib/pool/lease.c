/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/lease.h"

#include "pool/hit.h"
#include "pool/stream_class.h"
#include "pool/watch.h"

static int lease_record(const void *lease, enum wi_pool_kind kind, struct wi_record **out)
{
    struct wi_record *record;
    WI_ENSURE(lease, INVAL, .detail = "the handle is NULL");
    WI_ENSURE(wi_record_valid(lease), FOREIGN, .detail = "the pointer is not a handle of this process's weir");
    WI_TRY(wi_process_check());
    WI_TRY(wi_watch_release(lease, &record));
    enum wi_pool_kind its = wi_pool_of(record)->kind;
    WI_ENSURE(its == kind || (its == WI_POOL_TIERED && kind == WI_POOL_BUFFERS), KIND, .detail = "the handle is of another kind");
    uint64_t state = wi_word_state(wi_load(&record->word, acquire));
    bool     shared = kind == WI_POOL_STREAMS && wi_pool_of(record)->stream_class == WI_STREAMS_SHARED;
    WI_ENSURE(state == WI_LEASED || (shared && state == WI_FREE), NOTLEASED, .detail = "the handle is not leased");
    *out = record;
    return 0;
}

int wi_lease_buffer(const struct weir_buffer *buffer, struct wi_record **out)
{
    return lease_record(buffer, WI_POOL_BUFFERS, out);
}

int wi_lease_stream(const struct weir_stream *stream, struct wi_stream **out)
{
    struct wi_record *record;
    WI_TRY(lease_record(stream, WI_POOL_STREAMS, &record));
    *out = record->object;
    return 0;
}

int wi_lease_event(const struct weir_event *event, struct wi_event **out)
{
    struct wi_record *record;
    WI_TRY(lease_record(event, WI_POOL_EVENTS, &record));
    *out = record->object;
    return 0;
}

int wi_lease_open(const struct weir_pool *pool)
{
    uint32_t gate = wi_load(&pool->store.gate, acquire);
    if (WI_LIKELY(!(gate & WI_GATE_SHUT))) return 0;
    if (gate & WI_GATE_FORKED) return WI_FAIL(FORKED, .detail = "a forked child may only exec");
    if (gate & WI_GATE_LOST) return WI_FAIL(DEVICE, .detail = "the device was lost; rebuild the runtime");
    /* unreached: a runtime that is being destroyed is given to no other call. */
    return WI_FAIL(CLOSED, .detail = "the runtime was destroyed");
}

int wi_lease_release(const void *lease, enum wi_pool_kind kind)
{
    struct wi_record *record;
    WI_TRY(lease_record(lease, kind, &record));
    if (wi_bias_release(record)) return 0;
    int err = wi_load(&record->attention, relaxed) ? wi_pool_release_attentive(record) : wi_store_release(record);
    if (err == WEIR_ENOTLEASED) return WI_FAIL(NOTLEASED, .detail = "released twice, or never leased");
    return err;
}

int wi_issue_failed(struct wi_context *context, int err)
{
    if (err < 0 && wi_load(&context->device->lost, relaxed)) wi_kick(&context->keeper);
    return err;
}
