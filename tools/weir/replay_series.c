/* SPDX-License-Identifier: Apache-2.0 */
/* replay_series.c - the time series of a run, thinned so that a run of any length fits */
#include "replay_state.h"

_Static_assert(REPLAY_SAMPLES_MAX % 2 == 0, "thinning takes every second sample");

void replay_series_add(struct replay_series *series, const struct replay_sample *sample,
                       uint64_t *period_ns)
{
    if (series->count == REPLAY_SAMPLES_MAX) {
        for (size_t i = 0; i < REPLAY_SAMPLES_MAX / 2; i++)
            series->sample[i] = series->sample[2 * i];
        series->count = REPLAY_SAMPLES_MAX / 2;
        *period_ns *= 2;
    }
    series->sample[series->count++] = *sample;
}
