/* SPDX-License-Identifier: Apache-2.0 */
/* histogram.c - see histogram.h. Method: the buckets of HdrHistogram (Tene). */
#include "histogram.h"

#include "counter.h"

#define STEP_BITS 4

_Static_assert(HISTOGRAM_STEPS == 1 << STEP_BITS, "the steps of an octave are addressed by bits");

/* Values below 16 have a bucket each; above, the top five bits choose the bucket. */
static uint32_t bucket_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS) return (uint32_t)ns;
    uint32_t octave = 63 - (uint32_t)__builtin_clzll(ns);
    if (octave >= HISTOGRAM_OCTAVES) return HISTOGRAM_BUCKETS - 1;
    uint32_t step = (uint32_t)(ns >> (octave - STEP_BITS)) & (HISTOGRAM_STEPS - 1);

    return (octave - STEP_BITS + 1) * HISTOGRAM_STEPS + step;
}

uint64_t histogram_limit(uint32_t bucket)
{
    if (bucket < HISTOGRAM_STEPS) return bucket;
    uint32_t octave = bucket / HISTOGRAM_STEPS + STEP_BITS - 1;
    uint64_t step = bucket % HISTOGRAM_STEPS;

    return ((HISTOGRAM_STEPS + step + 1) << (octave - STEP_BITS)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    counter_add(&histogram->count[bucket_of(ns)], 1);
    counter_raise(&histogram->max_ns, ns);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t more = counter_read(&from->count[i]);
        if (more) counter_add(&into->count[i], more);
    }
    counter_raise(&into->max_ns, counter_read(&from->max_ns));
}

void histogram_subtract(struct histogram *from, const struct histogram *less)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) from->count[i] -= less->count[i];
}

/* The smallest bucket limit that at least per_mille thousandths of the values do not pass. */
static uint64_t quantile(const struct histogram *histogram, uint64_t total, uint64_t max_ns,
                         uint32_t per_mille)
{
    uint64_t wanted = (total * per_mille + 999) / 1000;
    uint64_t seen = 0;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += counter_read(&histogram->count[i]);
        if (seen >= wanted && seen > 0) {
            uint64_t limit = histogram_limit(i);
            return limit < max_ns ? limit : max_ns;
        }
    }
    return max_ns;
}

void histogram_read(const struct histogram *histogram, struct quantiles *out)
{
    uint64_t total = 0;
    uint64_t max_ns = counter_read(&histogram->max_ns);

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) total += counter_read(&histogram->count[i]);
    out->count = total;
    out->p50_ns = quantile(histogram, total, max_ns, 500);
    out->p99_ns = quantile(histogram, total, max_ns, 990);
    out->p999_ns = quantile(histogram, total, max_ns, 999);
    out->max_ns = max_ns;
}
