/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.c - uses of a buffer that no stream orders: they are counted in the record's attention word
 *
 *      hold:    attention += HOLD, and GUARD, so that the release looks
 *      release: RETIRING; device marks first; then PARKED is set, if a hold is counted
 *      unhold:  attention -= HOLD; who takes the last one off a PARKED record owns it, and brings it home
 *
 * All steps are read-modify-writes of one word, so exactly one of the release and the unholds finds itself last.
 * A hold is added only by who holds the lease or has a hold, so none is added after the last one has ended.
 *
 * Progress: lock-free. A thread that stalls between two steps holds up its own record only.
 */
#include "pool/lease.h"
#include "pool/watch.h"

int weir_buffer_hold(struct weir_buffer *buffer)
{
    struct wi_record *record;
    WI_TRY(wi_lease_buffer(buffer, &record));
    WI_ENSURE(wi_pool_of(record)->kind == WI_POOL_BUFFERS, KIND, .detail = "a tiered buffer moves: it cannot be held in one place");
    uint32_t attention = wi_load(&record->attention, relaxed);
    uint32_t held;
    do {
        WI_ENSURE(wi_holds(attention) < WI_HOLDS_MAX, EXCEEDS, .limit = "holds of one buffer", .limit_value = WI_HOLDS_MAX,
                  .wanted = WI_HOLDS_MAX + 1u, .setting = "fewer uses of one buffer at one time");
        held = (attention + WI_ATTENTION_HOLD) | WI_ATTENTION_GUARD;
    } while (!wi_cas(&record->attention, &attention, held, relaxed));
    return 0;
}

static int end_hold(struct weir_buffer *buffer, uint32_t flag)
{
    struct wi_record *record;
    WI_ENSURE(buffer, INVAL, .detail = "the handle is NULL");
    WI_ENSURE(wi_record_valid(buffer), FOREIGN, .detail = "not a buffer of this process's weir");
    WI_TRY(wi_process_check());
    WI_TRY(wi_watch_release(buffer, &record));
    uint32_t attention = wi_load(&record->attention, relaxed);
    uint32_t left;
    do {
        WI_ENSURE(wi_holds(attention) > 0, NOTLEASED, .detail = "the buffer has no hold: ended twice, or never begun");
        left = (attention - WI_ATTENTION_HOLD) | flag;
        /* order(hold): release, for what the use did; pairs with the load in park(). Acquire, for what the other uses did. */
    } while (!wi_cas(&record->attention, &attention, left, acq_rel));
    if (wi_holds(left) > 0 || !(left & WI_ATTENTION_PARKED)) return 0;
    return wi_pool_unpark(record);
}

int weir_buffer_unhold(struct weir_buffer *buffer)
{
    return end_hold(buffer, 0);
}

int weir_buffer_unhold_lost(struct weir_buffer *buffer)
{
    return end_hold(buffer, WI_ATTENTION_LOST);
}
