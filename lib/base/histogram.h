/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.h - latency distribution in logarithmic buckets, 16 per octave (error < 7 %)
 *
 * Adding is lock-free: two adds on shared counters, and for a new maximum a compare and swap. It stands
 * on slow paths and on one hit in 256.
 * Method: HdrHistogram's buckets (Tene).
 */
#ifndef WI_HISTOGRAM_H
#define WI_HISTOGRAM_H

#include "base/atomic.h"
#include "base/base.h"

#include <weir/stats.h>

/* Up to 2^51 ns, 26 days; larger values land in the last one. */
#define WI_HISTOGRAM_BUCKETS 768

struct wi_histogram {
    _Atomic uint64_t count[WI_HISTOGRAM_BUCKETS];
    _Atomic uint64_t max_ns;
    _Atomic uint64_t sum_ns;
};

void wi_histogram_add(struct wi_histogram *histogram, uint64_t ns);
/* One value measured for so many: samples of different density stand in one distribution. */
void wi_histogram_add_for(struct wi_histogram *histogram, uint64_t ns, uint64_t values);
/* What is added meanwhile may be in or not; no quantile is above max_ns. */
void wi_histogram_read(const struct wi_histogram *histogram, struct weir_latency *out);
/* What is added meanwhile may survive. */
void wi_histogram_clear(struct wi_histogram *histogram);

#endif
