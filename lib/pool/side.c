/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/side.h"

#include "base/alloc.h"

int wi_side_make(struct wi_record *record, struct wi_side **out)
{
    struct wi_side *side = wi_side_of(record), *none = NULL;
    if (!side) {
        side = wi_calloc(1, sizeof *side);
        if (!side) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a buffer's counters", .wanted = sizeof *side);
        /* order(side): release; pairs with the load in wi_side_of(). It is zeroed first. */
        if (!wi_cas(&record->side, &none, side, acq_rel)) {
            /* unreached: but of two threads that make it at a time. */
            wi_free(side);
            side = none;
        }
    }
    *out = side;
    return 0;
}

void wi_side_zero(struct wi_record *record)
{
    struct wi_side *side = wi_side_of(record);
    if (!side) return;
    wi_store(&side->bytes_up, 0, relaxed);
    wi_store(&side->bytes_down, 0, relaxed);
    wi_store(&side->transfers, 0, relaxed);
    wi_store(&side->peak_bytes, 0, relaxed);
    wi_store(&side->last_ns, 0, relaxed);
    wi_store(&side->timed, 0, relaxed);
    wi_store(&side->timed_bytes, 0, relaxed);
    wi_store(&side->timed_ns, 0, relaxed);
    wi_store(&side->acquires_before, wi_load(&record->word, relaxed) >> WI_GENERATION_SHIFT, relaxed);
}

void wi_side_free(struct wi_record *record)
{
    struct wi_side *side = wi_exchange(&record->side, NULL, acq_rel);
    wi_assert(!side || !wi_load(&side->mirror, relaxed));
    wi_free(side);
}
