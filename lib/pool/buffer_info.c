/* SPDX-License-Identifier: Apache-2.0 */
/* buffer_info.c - looking at buffers and pools without leasing */
#include "base/options.h"
#include "pool/directory.h"
#include "pool/pool.h"
#include "pool/side.h"

#include <string.h>

/* ---- dtypes ---- */

size_t weir_dtype_bytes(uint32_t dtype)
{
    switch (dtype) {
#define X(name, number, bytes, text) \
    case WEIR_DTYPE_##name: return bytes;
        WEIR_DTYPE_MAP(X)
#undef X
    default: return 0;
    }
}

const char *weir_dtype_name(uint32_t dtype)
{
    switch (dtype) {
    case WEIR_DTYPE_NONE: return "none";
#define X(name, number, bytes, text) \
    case WEIR_DTYPE_##name: return text;
        WEIR_DTYPE_MAP(X)
#undef X
    default: return "unknown";
    }
}

/* ---- buffers ---- */

/* What the keeper has not been asked about may have passed long ago: look once, if there is a device to ask. */
static bool is_used(struct wi_record *record)
{
    const struct wi_context *context = wi_pool_of(record)->context;
    if (wi_holds(wi_load(&record->attention, relaxed))) return true;
    if (!(wi_load(&record->attention, relaxed) & WI_ATTENTION_GUARD) || !wi_marks_pending(record)) return false;
    if (wi_load(&context->closed, acquire) >= 2 || wi_load(&context->device->lost, acquire)) return true;
    return !wi_marks_settled(record);
}

static uint32_t public_state(struct wi_record *record)
{
    switch (wi_word_state(wi_load(&record->word, acquire))) {
    case WI_FREE: return WEIR_BUFFER_FREE;
    case WI_LEASED: return is_used(record) ? WEIR_BUFFER_COPYING : WEIR_BUFFER_ACQUIRED;
    case WI_RETIRING: return WEIR_BUFFER_RETIRING;
    case WI_QUARANTINED: return WEIR_BUFFER_QUARANTINED;
    default: return 0;
    }
}

static bool stays(const struct weir_pool *pool, const struct wi_record *record)
{
    /* A stale handle's pool may be in the making: its kind is there before its hooks. */
    return pool->kind == WI_POOL_BUFFERS || (pool->hooks.stays && pool->hooks.stays(record));
}

static void add_side(const struct wi_side *side, struct weir_buffer_info *info)
{
    uint64_t last_ns = wi_load(&side->last_ns, relaxed);
    info->acquires -= wi_load(&side->acquires_before, relaxed);
    info->mirror = wi_load(&side->mirror, relaxed);
    info->transfers = wi_load(&side->transfers, relaxed);
    info->bytes_up = wi_load(&side->bytes_up, relaxed);
    info->bytes_down = wi_load(&side->bytes_down, relaxed);
    info->peak_bytes = wi_load(&side->peak_bytes, relaxed);
    info->timed = wi_load(&side->timed, relaxed);
    info->timed_bytes = wi_load(&side->timed_bytes, relaxed);
    info->timed_ns = wi_load(&side->timed_ns, relaxed);
    info->transfer_ns = info->timed ? info->timed_ns / info->timed : 0;
    info->transfer_bytes_per_s = wi_rate(info->timed_bytes, info->timed_ns);
    if (last_ns > info->last_use_ns) info->last_use_ns = last_ns;
}

int weir_buffer_info_read(const struct weir_buffer *buffer, struct weir_buffer_info *out)
{
    WI_ENSURE(wi_record_valid(buffer), FOREIGN, .detail = "not a buffer of this process's weir");
    struct wi_record *record = wi_record_plain(buffer, NULL);
    WI_ENSURE(record->store && wi_pool_of(record)->kind <= WI_POOL_TIERED, FOREIGN, .detail = "not a buffer");
    struct weir_pool *pool = wi_pool_of(record);
    wi_samples_read(pool);
    struct weir_buffer_info info = {
        .id = wi_record_index(record),
        .pool = pool,
        .acquires = wi_load(&record->word, relaxed) >> WI_GENERATION_SHIFT,
        .last_use_ns = wi_runtime_period_start_ns(pool->rt, wi_load(&record->period, relaxed)),
        .state = public_state(record),
        .flags = stays(pool, record) ? WEIR_BUFFER_PINNED : 0,
        .memory = wi_load(&pool->memory, relaxed),
        .dtype = pool->opts.dtype,
    };
    const struct wi_side *side = wi_side_of(record);
    if (side) add_side(side, &info);
    return wi_snapshot_export(out, &info, sizeof info);
}

int weir_buffer_find(struct weir_runtime *rt, const void *host, struct weir_buffer **out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    struct wi_record *record = wi_directory_find(host);
    if (!record || wi_pool_of(record)->rt != rt)
        return WI_FAIL(NOENT, .detail = "no buffer of this runtime has that address");
    *out = &record->face;
    return 0;
}

/* ---- pools ---- */

int weir_pool_stats_read(struct weir_pool *pool, struct weir_pool_stats *out)
{
    struct weir_pool_stats stats;
    WI_ENSURE(pool && out, INVAL, .detail = "pool or out is NULL");
    wi_samples_read(pool);
    wi_pool_read_stats(pool, &stats);
    return wi_snapshot_export(out, &stats, sizeof stats);
}
