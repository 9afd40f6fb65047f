/* SPDX-License-Identifier: Apache-2.0 */
/* blocks_series.h - how a run of blocks went over the trace's time */
#ifndef WEIR_TOOL_BLOCKS_SERIES_H
#define WEIR_TOOL_BLOCKS_SERIES_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/weir.h>

#define BLOCK_SAMPLES_MAX 512
#define BLOCK_SAMPLE_NS   UINT64_C(2000000000) /* of the trace's time, at first */

struct block_sample {
    uint64_t               at_ns;
    uint64_t               served[WEIR_TIERS]; /* re-accesses since the sample before, by where they found the block */
    uint32_t               pressure_level;
    uint32_t               reserved;
    struct weir_tier_stats stats;
};

struct block_series {
    struct block_sample sample[BLOCK_SAMPLES_MAX];
    size_t              count;
    uint64_t            every_ns, next_ns;
    uint64_t            served_before[WEIR_TIERS];
};

/* Take a sample, if it is time for one. served: re-accesses of the run so far. */
void block_series_add(struct block_series *series, uint64_t at_ns, const uint64_t served[WEIR_TIERS], struct weir_runtime *rt,
                      struct weir_pool *pool);

/* Owner of the array: the caller. NULL: out of memory. */
json_t *block_series_json(const struct block_series *series);

#endif
