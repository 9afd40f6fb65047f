/* SPDX-License-Identifier: Apache-2.0 */
/* The tools' histogram, the series of a run, and numbers as text. */
#include "histogram.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "progress.h"
#include "replay_state.h"

Test(histogram, quantiles_are_upper_bounds_within_7_percent)
{
    struct histogram *histogram = calloc(1, sizeof(*histogram));
    struct quantiles  quantiles;

    for (uint64_t value = 1; value <= 100000; value++) histogram_add(histogram, value);
    histogram_read(histogram, &quantiles);
    cr_assert_eq(quantiles.count, 100000);
    cr_assert(quantiles.p50_ns >= 50000 && quantiles.p50_ns < 53500, "%lu", quantiles.p50_ns);
    cr_assert(quantiles.p99_ns >= 99000 && quantiles.p99_ns <= 100000, "%lu", quantiles.p99_ns);
    cr_assert(quantiles.p999_ns >= 99900 && quantiles.p999_ns <= 100000);
    cr_assert_eq(quantiles.max_ns, 100000);
    free(histogram);
}

Test(histogram, one_value_is_every_quantile)
{
    static const uint64_t values[] = {0,         1, 15, 16, 17, 31, 32, 1000, UINT64_C(1) << 40,
                                      UINT64_MAX};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct histogram *histogram = calloc(1, sizeof(*histogram));
        struct quantiles  quantiles;
        histogram_add(histogram, values[i]);
        histogram_read(histogram, &quantiles);
        cr_assert_eq(quantiles.max_ns, values[i]);
        cr_assert(quantiles.p50_ns <= values[i]);
        if (values[i] < UINT64_MAX) cr_assert_eq(quantiles.p50_ns, values[i], "%lu", values[i]);
        free(histogram);
    }
}

Test(histogram, merges_and_is_zero_when_empty)
{
    struct histogram *one = calloc(1, sizeof(*one)), *two = calloc(1, sizeof(*two));
    struct quantiles  quantiles;

    histogram_read(one, &quantiles);
    cr_assert_eq(quantiles.count + quantiles.p50_ns + quantiles.p999_ns + quantiles.max_ns, 0);
    for (int i = 0; i < 99; i++) histogram_add(one, 10);
    histogram_add(two, 5000);
    histogram_merge(one, two);
    histogram_read(one, &quantiles);
    cr_assert_eq(quantiles.count, 100);
    cr_assert_eq(quantiles.p50_ns, 10);
    cr_assert_eq(quantiles.p99_ns, 10);
    cr_assert_eq(quantiles.p999_ns, 5000);
    free(one);
    free(two);
}

Test(series, keeps_the_whole_run_however_long)
{
    struct replay_series *series = calloc(1, sizeof(*series));
    uint64_t              period_ns = 1;
    uint64_t              at_ns = 0;

    for (int i = 0; i < 5000; i++, at_ns += period_ns) {
        struct replay_sample sample = {.at_ns = at_ns};
        replay_series_add(series, &sample, &period_ns);
    }
    cr_assert(period_ns > 1);
    cr_assert(series->count > REPLAY_SAMPLES_MAX / 2 && series->count <= REPLAY_SAMPLES_MAX);
    cr_assert_eq(series->sample[0].at_ns, 0);
    for (size_t i = 1; i < series->count; i++) {
        uint64_t gap_ns = series->sample[i].at_ns - series->sample[i - 1].at_ns;
        cr_assert(gap_ns > 0 && gap_ns <= period_ns, "gap %lu at %zu", gap_ns, i);
    }
    free(series);
}

Test(format, reads_well)
{
    char text[FORMAT_BYTES];

    cr_assert_str_eq(format_count(0, text), "0");
    cr_assert_str_eq(format_count(999, text), "999");
    cr_assert_str_eq(format_count(19366, text), "19,366");
    cr_assert_str_eq(format_count(UINT64_MAX, text), "18,446,744,073,709,551,615");
    cr_assert_str_eq(format_ns(999, text), "999 ns");
    cr_assert_str_eq(format_ns(1234, text), "1.23 us");
    cr_assert_str_eq(format_ns(12345678, text), "12.3 ms");
    cr_assert_str_eq(format_ns(UINT64_C(123456789012), text), "123 s");
    cr_assert_str_eq(format_size(1023, text), "1023 B");
    cr_assert_str_eq(format_size(57344, text), "56.0 KiB");
    cr_assert_str_eq(format_size(UINT64_C(5) << 40, text), "5.00 TiB");
}

Test(progress, knows_the_time_left)
{
    struct progress_line line = {.whole = 100, .done = 25, .elapsed_ns = 1000};

    cr_assert_eq(progress_left_ns(&line), 3000);
    line.limit_ns = 1500;
    cr_assert_eq(progress_left_ns(&line), 500);
    line.elapsed_ns = 2000;
    cr_assert_eq(progress_left_ns(&line), 0);
    line.limit_ns = 0;
    line.done = 0;
    cr_assert_eq(progress_left_ns(&line), UINT64_MAX);
}
