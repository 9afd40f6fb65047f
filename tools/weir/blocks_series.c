/* SPDX-License-Identifier: Apache-2.0 */
/* blocks_series.c - how a run of blocks went over the trace's time, thinned so that a trace of any length fits */
#include "blocks_series.h"

#define NS_PER_S UINT64_C(1000000000)

_Static_assert(BLOCK_SAMPLES_MAX % 2 == 0, "thinning joins neighbours");

/* A sample holds what was served since the one before, so two of them add up; all else is as the later one saw it. */
static void thin(struct block_series *series)
{
    for (size_t i = 0; i < BLOCK_SAMPLES_MAX / 2; i++) {
        const struct block_sample *first = &series->sample[2 * i];
        struct block_sample        joined = series->sample[2 * i + 1];
        for (int tier = 0; tier < WEIR_TIERS; tier++) joined.served[tier] += first->served[tier];
        series->sample[i] = joined;
    }
    series->count = BLOCK_SAMPLES_MAX / 2;
}

void block_series_add(struct block_series *series, uint64_t at_ns, const uint64_t served[WEIR_TIERS], struct weir_runtime *rt,
                      struct weir_pool *pool)
{
    if (at_ns < series->next_ns) return;
    if (series->count == BLOCK_SAMPLES_MAX) {
        thin(series);
        series->every_ns *= 2;
    }
    if (series->every_ns == 0) series->every_ns = BLOCK_SAMPLE_NS;
    series->next_ns = at_ns + series->every_ns;
    struct block_sample *sample = &series->sample[series->count++];
    *sample = (struct block_sample){.at_ns = at_ns, .stats.struct_size = sizeof sample->stats};
    for (int tier = 0; tier < WEIR_TIERS; tier++) {
        sample->served[tier] = served[tier] - series->served_before[tier];
        series->served_before[tier] = served[tier];
    }
    (void)weir_tier_stats_read(pool, &sample->stats);
    struct weir_pressure pressure = {.struct_size = sizeof pressure};
    if (weir_pressure_read(rt, &pressure) >= 0) sample->pressure_level = pressure.level;
}

static double share(const struct block_sample *sample, int tier)
{
    uint64_t all = 0;
    for (int i = 0; i < WEIR_TIERS; i++) all += sample->served[i];
    return all ? (double)sample->served[tier] / (double)all : 0;
}

json_t *block_series_json(const struct block_series *series)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < series->count; i++) {
        const struct block_sample *sample = &series->sample[i];
        json_array_append_new(
            array, json_pack("{sf sf sf sf sI sI sI sI sI sI sI sI}", "t_s", (double)sample->at_ns / (double)NS_PER_S,
                             "share_device", share(sample, WEIR_TIER_DEVICE), "share_pinned", share(sample, WEIR_TIER_PINNED),
                             "share_pageable", share(sample, WEIR_TIER_PAGEABLE),
                             "promotions", (json_int_t)sample->stats.promotions_device,
                             "promotions_pinned", (json_int_t)sample->stats.promotions_pinned,
                             "demotions", (json_int_t)sample->stats.demotions,
                             "bytes_moved", (json_int_t)sample->stats.bytes_moved,
                             "buffers_device", (json_int_t)sample->stats.buffers_device,
                             "buffers_pinned", (json_int_t)sample->stats.buffers_pinned,
                             "buffers_pageable", (json_int_t)sample->stats.buffers_pageable,
                             "pressure_level", (json_int_t)sample->pressure_level));
    }
    return array;
}
