/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/mirror.h"

#include "base/log.h"
#include "pool/lease.h"
#include "pool/side.h"
#include "sync/futex.h"

static int make(struct wi_context *context, size_t bytes, uint64_t *out)
{
    WI_TRY(wi_budget_take(&context->device_memory, bytes));
    int err = context->device->ops->device_alloc(context->device, bytes, out);
    if (err < 0) wi_budget_give(&context->device_memory, bytes);
    return err;
}

/* Wait without an event, where none can be recorded. 0: nothing is pending on the stream. */
static int settle(struct wi_device *device, void *stream)
{
    _Atomic uint32_t nobody_wakes = 0;
    int              err;
    while ((err = device->ops->stream_query(device, stream)) == WEIR_EAGAIN)
        (void)wi_futex_wait(&nobody_wakes, 0, weir_deadline_after_ns(WI_NS_PER_MS / 10));
    return err;
}

/*
 * On a stream of its own, and wait: rare, and there may be no stream at hand. *adrift: the fill was queued, and whether
 * it has ended nobody knows.
 */
static int zero(struct wi_device *device, uint64_t address, size_t bytes, bool *adrift)
{
    const struct wi_device_ops *ops = device->ops;
    void                       *stream, *event;
    bool                        queued = false;
    WI_TRY(ops->stream_create(device, 0, &stream));
    int err = ops->event_create(device, 0, &event);
    if (err >= 0) {
        err = ops->fill(device, address, 0, bytes, stream);
        queued = err >= 0;
        if (err >= 0) err = ops->event_record(device, event, stream);
        if (err >= 0) err = ops->event_sync(device, event);
        (void)ops->event_destroy(device, event);
    }
    *adrift = err < 0 && queued && settle(device, stream) < 0;
    (void)ops->stream_destroy(device, stream);
    return err;
}

int wi_mirror_make(struct wi_record *record, uint64_t *out)
{
    struct weir_pool  *pool = wi_pool_of(record);
    struct wi_context *context = pool->context;
    struct wi_side    *side;
    size_t             bytes = record->face.bytes;
    WI_ENSURE(record->face.host, KIND, .detail = "only a buffer of host memory has a device mirror");
    WI_TRY(wi_side_make(record, &side));
    uint64_t address = wi_load(&side->mirror, relaxed);
    if (!address) {
        int err = make(context, bytes, &address);
        if (err < 0) return wi_issue_failed(context, err);
        wi_store(&side->mirror, address, release);
    }
    uint64_t lease = wi_load(&record->word, relaxed) >> WI_GENERATION_SHIFT;
    if ((pool->opts.flags & WEIR_POOL_SCRUB) && side->mirror_lease != lease) {
        bool adrift = false;
        int  err = zero(context->device, address, bytes, &adrift);
        if (adrift) {
            /* Fail closed: neither used again nor freed, and it stays in the budget. */
            wi_store(&side->mirror, 0, relaxed);
            wi_log(WARN, "pool", "%s: a device mirror whose fill failed midway is given up", pool->name);
        }
        if (err < 0) return wi_issue_failed(context, err);
        side->mirror_lease = lease;
    }
    *out = address;
    return 0;
}

void wi_mirror_free(struct wi_record *record)
{
    struct wi_context *context = wi_pool_of(record)->context;
    struct wi_side    *side = wi_side_of(record);
    uint64_t           address = side ? wi_exchange(&side->mirror, 0, acq_rel) : 0;
    if (!address) return;
    if (!wi_load(&context->device->lost, acquire))
        (void)context->device->ops->device_free(context->device, address);
    wi_budget_give(&context->device_memory, record->face.bytes);
}

int weir_buffer_mirror(struct weir_buffer *buffer, uint64_t *out)
{
    struct wi_record *record;
    uint64_t          address;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(wi_lease_buffer(buffer, &record));
    WI_TRY(wi_mirror_make(record, &address));
    *out = address;
    return 0;
}
