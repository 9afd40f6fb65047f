/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.h - latency distribution in logarithmic buckets
 *
 * Sixteen buckets an octave, so a quantile is an upper bound with an error below 7 %. Any thread may add, read
 * or merge at any time; a reader sees a state that was nearly so. Adding is cheapest with one writer.
 */
#ifndef WEIR_TOOL_HISTOGRAM_H
#define WEIR_TOOL_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 16 /* buckets in an octave */
#define HISTOGRAM_OCTAVES                                                                          \
    48 /* up to 2^48 ns, about 3 days; what is longer lands in the last bucket */
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * (HISTOGRAM_OCTAVES - 3))

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS];
    uint64_t max_ns;
};

struct quantiles {
    uint64_t count;
    uint64_t p50_ns;
    uint64_t p99_ns;
    uint64_t p999_ns;
    uint64_t max_ns;
};

void histogram_add(struct histogram *histogram, uint64_t ns);

/* Add what `from` holds. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/* Take away what `less` holds, an earlier state of the same. max_ns stays. */
void histogram_subtract(struct histogram *from, const struct histogram *less);

/* The largest value that lands in a bucket. */
uint64_t histogram_limit(uint32_t bucket);

void histogram_read(const struct histogram *histogram, struct quantiles *out);

#endif
