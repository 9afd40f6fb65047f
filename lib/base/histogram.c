/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.c - logarithmic buckets
 *
 * Values below 16 have a bucket each. Above, a bucket is chosen by the position of the value's highest
 * bit and the four bits after it, so a bucket's width is a sixteenth of its least value.
 */
#include "base/histogram.h"

#define STEPS_BITS 4
#define STEPS      (1u << STEPS_BITS) /* buckets per octave */

_Static_assert(WI_HISTOGRAM_BUCKETS % STEPS == 0, "whole octaves");

static size_t bucket_of(uint64_t ns)
{
    unsigned octave;
    size_t   bucket;

    if (ns < STEPS) return ns;
    octave = 63 - (unsigned)__builtin_clzll(ns) - STEPS_BITS;
    bucket = (size_t)octave * STEPS + (size_t)(ns >> octave);
    return bucket < WI_HISTOGRAM_BUCKETS ? bucket : WI_HISTOGRAM_BUCKETS - 1;
}

/* The greatest value of a bucket. */
static uint64_t bucket_top(size_t bucket)
{
    unsigned octave;

    if (bucket == WI_HISTOGRAM_BUCKETS - 1) return UINT64_MAX;
    if (bucket < STEPS) return bucket;
    octave = (unsigned)(bucket / STEPS) - 1;
    return ((STEPS + bucket % STEPS + 1) << octave) - 1;
}

void wi_histogram_add(struct wi_histogram *histogram, uint64_t ns)
{
    wi_histogram_add_for(histogram, ns, 1);
}

void wi_histogram_add_for(struct wi_histogram *histogram, uint64_t ns, uint64_t values)
{
    uint64_t max_ns = wi_load(&histogram->max_ns, relaxed);

    /* Each retry means that somebody else raised the maximum. */
    while (ns > max_ns && !wi_cas(&histogram->max_ns, &max_ns, ns, relaxed)) continue;
    wi_add(&histogram->sum_ns, ns * values, relaxed);
    /* order(histogram-max): release; pairs with acquire in wi_histogram_read(). What is counted is
     * not above the maximum that is read later. */
    wi_add(&histogram->count[bucket_of(ns)], values, release);
}

void wi_histogram_read(const struct wi_histogram *histogram, struct weir_latency *out)
{
    uint64_t            counts[WI_HISTOGRAM_BUCKETS];
    struct weir_latency read = {0};
    uint64_t            max_ns;
    /* Quantiles in units of 1/10000, ascending, and where each goes. */
    const struct {
        uint32_t  share;
        uint64_t *at;
    } quantiles[] = {
        {5000, &read.p50_ns},  {9000, &read.p90_ns},   {9900, &read.p99_ns},
        {9990, &read.p999_ns}, {9999, &read.p9999_ns},
    };
    uint64_t below = 0;
    size_t   bucket = 0;

    for (size_t i = 0; i < WI_HISTOGRAM_BUCKETS; i++) {
        /* order(histogram-max): acquire; pairs with release in wi_histogram_add(). */
        counts[i] = wi_load(&histogram->count[i], acquire);
        read.count += counts[i];
    }
    max_ns = wi_load(&histogram->max_ns, relaxed);
    read.max_ns = read.count ? max_ns : 0;
    read.sum_ns = read.count ? wi_load(&histogram->sum_ns, relaxed) : 0;
    for (size_t i = 0; read.count && i < WI_ARRAY_COUNT(quantiles); i++) {
        /* The least number of values that is at least this share of all; whole part and rest apart,
         * because the product may overflow. */
        uint64_t rest = read.count % 10000 * quantiles[i].share;
        uint64_t rank = read.count / 10000 * quantiles[i].share + (rest + 9999) / 10000;

        while (below + counts[bucket] < rank) below += counts[bucket++];
        *quantiles[i].at = bucket_top(bucket) < max_ns ? bucket_top(bucket) : max_ns;
    }
    *out = read;
}

void wi_histogram_clear(struct wi_histogram *histogram)
{
    for (size_t i = 0; i < WI_HISTOGRAM_BUCKETS; i++) wi_store(&histogram->count[i], 0, relaxed);
    wi_store(&histogram->max_ns, 0, relaxed);
    wi_store(&histogram->sum_ns, 0, relaxed);
}
