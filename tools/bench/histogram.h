/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.h - distribution of durations in counter ticks, 64 buckets per octave (error < 1.6 %)
 *
 * One thread adds; the main thread may read meanwhile, because a thread that hangs must not keep the
 * others from being reported. So the counts are atomic, with one writer and no locked operation.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include "base/atomic.h"

#include <stdint.h>

enum {
    BENCH_OCTAVE_BITS = 6,
    BENCH_OCTAVE_BUCKETS = 1 << BENCH_OCTAVE_BITS,
    BENCH_OCTAVES = 40, /* up to 2^45 ticks, some hours; larger values land in the last bucket */
    BENCH_BUCKETS = BENCH_OCTAVES * BENCH_OCTAVE_BUCKETS
};

struct bench_histogram {
    _Atomic uint32_t count[BENCH_BUCKETS];
    _Atomic uint64_t max;
};

static inline unsigned bench_bucket_of(uint64_t value)
{
    if (value < BENCH_OCTAVE_BUCKETS) return (unsigned)value;
    unsigned octave = 63u - (unsigned)__builtin_clzll(value) - BENCH_OCTAVE_BITS;
    unsigned within = (unsigned)(value >> octave) - BENCH_OCTAVE_BUCKETS;
    unsigned bucket = (octave + 1) * BENCH_OCTAVE_BUCKETS + within;
    return bucket < BENCH_BUCKETS ? bucket : BENCH_BUCKETS - 1;
}

/* The middle of a bucket: what its values are reported as. */
static inline double bench_bucket_value(unsigned bucket)
{
    if (bucket < BENCH_OCTAVE_BUCKETS) return (double)bucket;
    unsigned octave = bucket / BENCH_OCTAVE_BUCKETS - 1;
    uint64_t within = bucket % BENCH_OCTAVE_BUCKETS + BENCH_OCTAVE_BUCKETS;
    return ((double)within + 0.5) * (double)(UINT64_C(1) << octave);
}

static inline void bench_histogram_add(struct bench_histogram *histogram, uint64_t value)
{
    _Atomic uint32_t *count = &histogram->count[bench_bucket_of(value)];

    wi_bump(count, 1);
    if (value > wi_load(&histogram->max, relaxed)) wi_store(&histogram->max, value, relaxed);
}

/* bench_histogram_merge - add what from holds to into */
static inline void bench_histogram_merge(struct bench_histogram *into,
                                         struct bench_histogram *from)
{
    for (unsigned bucket = 0; bucket < BENCH_BUCKETS; bucket++)
        wi_bump(&into->count[bucket], wi_load(&from->count[bucket], relaxed));
    uint64_t max = wi_load(&from->max, relaxed);
    if (max > wi_load(&into->max, relaxed)) wi_store(&into->max, max, relaxed);
}

static inline uint64_t bench_histogram_total(struct bench_histogram *histogram)
{
    uint64_t total = 0;

    for (unsigned bucket = 0; bucket < BENCH_BUCKETS; bucket++)
        total += wi_load(&histogram->count[bucket], relaxed);
    return total;
}

/* bench_histogram_quantile - the value that a share of all lies at or below; 0 when empty */
static inline double bench_histogram_quantile(struct bench_histogram *histogram, double share)
{
    double wanted = share * (double)bench_histogram_total(histogram);
    uint64_t seen = 0;

    for (unsigned bucket = 0; bucket < BENCH_BUCKETS; bucket++) {
        seen += wi_load(&histogram->count[bucket], relaxed);
        if (seen > 0 && (double)seen >= wanted) return bench_bucket_value(bucket);
    }
    return 0;
}

#endif
