/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.h - latency distribution in logarithmic buckets, 16 per octave (error < 7 %)
 *
 * Adding is wait-free: one relaxed add on a shared counter. It stands on slow paths and on one hit in 256.
 * Method: HdrHistogram's buckets (Tene).
 */
#ifndef WI_HISTOGRAM_H
#define WI_HISTOGRAM_H

#include "base/atomic.h"
#include "base/base.h"

#include <weir/stats.h>

#define WI_HISTOGRAM_BUCKETS 768 /* up to 2^48 ns, about 3 days; larger values land in the last one */

struct wi_histogram {
    _Atomic uint64_t count[WI_HISTOGRAM_BUCKETS];
    _Atomic uint64_t max_ns;
};

void wi_histogram_add(struct wi_histogram *histogram, uint64_t ns);
void wi_histogram_read(const struct wi_histogram *histogram, struct weir_latency *out);
void wi_histogram_clear(struct wi_histogram *histogram);

#endif
