/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/transfer.h"

#include "base/log.h"
#include "pool/check.h"
#include "pool/pool.h"
#include "pool/side.h"
#include "pool/ticks.h"

static bool device_answers(const struct wi_context *context)
{
    return !wi_load(&context->device->lost, acquire) && wi_load(&context->closed, acquire) < 2;
}

/* ---- samples ---- */

static bool take(struct wi_sample *sample, uint32_t from)
{
    /* order(sample): acquire; pairs with put(). Its fields are the taker's. */
    return wi_load(&sample->state, relaxed) == from && wi_cas(&sample->state, &from, WI_SAMPLE_TAKEN, acquire);
}

static void put(struct wi_sample *sample, uint32_t state)
{
    wi_store(&sample->state, state, release); /* order(sample) */
}

static void note_time(struct weir_pool *pool, const struct wi_sample *sample, uint64_t took_ns)
{
    struct wi_side *side = wi_side_of(sample->record);
    wi_add(&side->timed, sample->copies, relaxed);
    wi_add(&side->timed_bytes, sample->bytes, relaxed);
    wi_add(&side->timed_ns, took_ns, relaxed);
    wi_add(&pool->stat.timed, sample->copies, relaxed);
    wi_add(&pool->stat.timed_bytes, sample->bytes, relaxed);
    wi_add(&pool->stat.timed_ns, took_ns, relaxed);
}

/* `passed`: only those whose tick is known to have passed, so that no question is asked too early. */
static void read_samples(struct weir_pool *pool, bool passed)
{
    struct wi_device *device = pool->context->device;
    for (unsigned i = 0; i < WI_SAMPLES; i++) {
        struct wi_sample *sample = &pool->sample[i];
        uint64_t          took_ns = 0;
        if (wi_load(&sample->state, relaxed) != WI_SAMPLE_QUEUED || !device_answers(pool->context)) continue;
        if (!take(sample, WI_SAMPLE_QUEUED)) continue;
        int err = WEIR_EAGAIN;
        if (!passed || wi_load(&sample->stream->passed, relaxed) >= sample->tick)
            err = device->ops->event_elapsed(device, sample->start, sample->end, &took_ns);
        if (err == 0) note_time(pool, sample, took_ns);
        put(sample, err == WEIR_EAGAIN ? WI_SAMPLE_QUEUED : WI_SAMPLE_IDLE);
    }
}

void wi_samples_read(struct weir_pool *pool)
{
    read_samples(pool, false);
}

void wi_samples_free(struct weir_pool *pool)
{
    struct wi_device *device = pool->context->device;
    wi_samples_read(pool);
    /* A pool that was still closing when its runtime ended is freed by the runtime, before it closes the device. */
    bool answers = !wi_load(&device->lost, acquire);
    for (unsigned i = 0; i < WI_SAMPLES; i++) {
        struct wi_sample *sample = &pool->sample[i];
        if (sample->start && answers) (void)device->ops->event_destroy(device, sample->start);
        if (sample->end && answers) (void)device->ops->event_destroy(device, sample->end);
        *sample = (struct wi_sample){0};
    }
}

static int make_events(struct wi_device *device, struct wi_sample *sample)
{
    if (!sample->start) WI_TRY(device->ops->event_create(device, WI_EVENT_TIMING, &sample->start));
    if (!sample->end) WI_TRY(device->ops->event_create(device, WI_EVENT_TIMING, &sample->end));
    return 0;
}

static WI_COLD void not_timed(const struct weir_pool *pool)
{
    char text[256];
    (void)weir_error_text(text, sizeof text);
    wi_log(DEBUG, "pool", "%s: a copy is not timed: %s", pool->name, text);
}

/* A sample is of no use to who copies: whatever fails here, the copy goes on without it. */
static struct wi_sample *begin_sample(struct weir_pool *pool, struct wi_transfer *transfer)
{
    struct wi_device *device = pool->context->device;
    read_samples(pool, true);
    for (unsigned i = 0; i < WI_SAMPLES; i++) {
        struct wi_sample *sample = &pool->sample[i];
        if (!take(sample, WI_SAMPLE_IDLE)) continue;
        if (make_events(device, sample) == 0 &&
            device->ops->event_record(device, sample->start, transfer->stream->handle) == 0) {
            sample->record = transfer->record;
            sample->bytes = transfer->bytes;
            sample->copies = 1;
            return sample;
        }
        put(sample, WI_SAMPLE_IDLE);
        not_timed(pool);
        return NULL;
    }
    /* All are under way. Where nobody waits for the ticks nobody learns that they passed, so the driver is asked, seldom. */
    if (wi_add(&pool->samples_missed, 1, relaxed) % WI_SAMPLES_PATIENCE == WI_SAMPLES_PATIENCE - 1)
        read_samples(pool, false);
    return NULL;
}

static void end_sample(struct weir_pool *pool, struct wi_transfer *transfer)
{
    struct wi_device *device = pool->context->device;
    struct wi_sample *sample = transfer->sample;
    int               err = device->ops->event_record(device, sample->end, transfer->stream->handle);
    if (err < 0) not_timed(pool);
    /* Read behind the record; a tick that is closed in between only makes the question come too early. */
    sample->stream = transfer->stream;
    sample->tick = wi_load(&transfer->stream->open, relaxed);
    put(sample, err == 0 ? WI_SAMPLE_QUEUED : WI_SAMPLE_IDLE);
}

/* ---- copies ---- */

int wi_transfer_begin(struct wi_transfer *transfer)
{
    struct weir_pool *pool = wi_pool_of(transfer->record);
    uint64_t          every = pool->opts.sample_every;
    transfer->sample = NULL;
    transfer->seal = NULL;
    WI_TRY(wi_side_make(transfer->record, &transfer->side));
    if (transfer->captured) return 0;
    if (transfer->kind == WI_COPY_UP && wi_check_writes(pool)) WI_TRY(wi_seal_make(transfer, &transfer->seal));
    if (wi_load(&transfer->side->transfers, relaxed) % every == 0) transfer->side->sample_due = 1;
    if (transfer->side->sample_due && transfer->position == 0) transfer->sample = begin_sample(pool, transfer);
    return 0;
}

void wi_transfer_share(struct wi_transfer *transfer, size_t copies, uint64_t bytes)
{
    if (!transfer->sample) return;
    transfer->sample->copies = copies;
    transfer->sample->bytes = bytes;
}

void wi_transfer_end(struct wi_transfer *transfer)
{
    struct wi_record *record = transfer->record;
    struct wi_side   *side = transfer->side;
    struct weir_pool *pool = wi_pool_of(record);
    uint64_t          reach = transfer->offset + transfer->bytes;
    if (transfer->sample) {
        end_sample(pool, transfer);
        side->sample_due = 0;
    }
    if (transfer->seal) wi_seal_queue(transfer);
    wi_bump(&side->transfers, 1);
    if (reach > wi_load(&side->peak_bytes, relaxed)) wi_store(&side->peak_bytes, reach, relaxed);
    wi_store(&side->last_ns, weir_clock_ns(), relaxed);
    if (transfer->kind == WI_COPY_UP) {
        wi_bump(&side->bytes_up, transfer->bytes);
        wi_add(&pool->stat.bytes_up, transfer->bytes, relaxed);
        wi_add(&pool->stat.uploads, 1, relaxed);
    } else {
        wi_bump(&side->bytes_down, transfer->bytes);
        wi_add(&pool->stat.bytes_down, transfer->bytes, relaxed);
        wi_add(&pool->stat.downloads, 1, relaxed);
    }
}

void wi_transfer_drop(struct wi_transfer *transfer)
{
    if (transfer->sample) put(transfer->sample, WI_SAMPLE_IDLE);
    wi_seal_free(transfer->seal);
}
