/* SPDX-License-Identifier: Apache-2.0 */
/* test_histogram.c - quantiles against sorted samples */
#include "base/histogram.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

#define SAMPLES 20000

static struct wi_histogram histogram;
static uint64_t            samples[SAMPLES];

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

/* A quantile is an upper bound of the exact one, less than 7 % above it. */
static void check_quantile(uint64_t found, double share)
{
    size_t   rank = (size_t)(share * SAMPLES + 0.999999);
    uint64_t exact = samples[rank - 1];

    cr_assert_geq(found, exact, "%g: %llu below the exact %llu", share, (unsigned long long)found,
                  (unsigned long long)exact);
    cr_assert_lt((double)found, (double)exact * 1.07 + 0.5, "%g: %llu, exact %llu", share,
                 (unsigned long long)found, (unsigned long long)exact);
}

static void check_samples(void)
{
    struct weir_latency read;

    wi_histogram_clear(&histogram);
    for (size_t i = 0; i < SAMPLES; i++) wi_histogram_add(&histogram, samples[i]);
    qsort(samples, SAMPLES, sizeof(samples[0]), compare);
    wi_histogram_read(&histogram, &read);
    cr_assert_eq(read.count, SAMPLES);
    cr_assert_eq(read.max_ns, samples[SAMPLES - 1]);
    check_quantile(read.p50_ns, 0.5);
    check_quantile(read.p90_ns, 0.9);
    check_quantile(read.p99_ns, 0.99);
    check_quantile(read.p999_ns, 0.999);
    check_quantile(read.p9999_ns, 0.9999);
}

Test(histogram, uniform)
{
    for (size_t i = 0; i < SAMPLES; i++) samples[i] = random_next() % 1000000;
    check_samples();
}

Test(histogram, every_magnitude)
{
    for (size_t i = 0; i < SAMPLES; i++) samples[i] = random_next() >> (13 + random_next() % 51);
    check_samples();
}

Test(histogram, small_values_are_exact)
{
    struct weir_latency read;

    for (uint64_t ns = 0; ns < 10; ns++) wi_histogram_add(&histogram, ns);
    wi_histogram_read(&histogram, &read);
    cr_assert_eq(read.p50_ns, 4);
    cr_assert_eq(read.p90_ns, 8);
    cr_assert_eq(read.p99_ns, 9);
    cr_assert_eq(read.max_ns, 9);
}

/* Each value alone, on both sides of every power of two. */
Test(histogram, error_of_single_values)
{
    struct weir_latency read;

    for (unsigned bit = 0; bit < 51; bit++) {
        for (int64_t delta = -1; delta <= 1; delta++) {
            uint64_t ns = (UINT64_C(1) << bit) + (uint64_t)delta;

            wi_histogram_clear(&histogram);
            wi_histogram_add(&histogram, ns);
            wi_histogram_add(&histogram, UINT64_C(1) << 52);
            wi_histogram_read(&histogram, &read);
            cr_assert_geq(read.p50_ns, ns);
            cr_assert_lt((double)read.p50_ns, (double)ns * 1.07 + 0.5);
        }
    }
}

Test(histogram, overlong_values_land_in_the_last_bucket)
{
    struct weir_latency read;

    wi_histogram_add(&histogram, UINT64_MAX);
    wi_histogram_read(&histogram, &read);
    cr_assert_eq(read.count, 1);
    cr_assert_eq(read.p50_ns, UINT64_MAX);
    cr_assert_eq(wi_load(&histogram.count[WI_HISTOGRAM_BUCKETS - 1], relaxed), 1);
}

Test(histogram, empty_and_cleared)
{
    struct weir_latency read = {.count = 9, .max_ns = 9, .p50_ns = 9};

    wi_histogram_add(&histogram, 100);
    wi_histogram_clear(&histogram);
    wi_histogram_read(&histogram, &read);
    cr_assert_eq(read.count, 0);
    cr_assert_eq(read.p50_ns, 0);
    cr_assert_eq(read.p9999_ns, 0);
    cr_assert_eq(read.max_ns, 0);
}

static void *add_many(void *first)
{
    for (uint64_t i = 0; i < SAMPLES; i++) wi_histogram_add(&histogram, *(uint64_t *)first + i);
    return NULL;
}

Test(histogram, nothing_is_lost_between_threads)
{
    static uint64_t     first[4] = {0, 1000, 1000000, 5};
    pthread_t           threads[4];
    struct weir_latency read;

    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, add_many, &first[i]), 0);
    }
    for (int round = 0; round < 50; round++) {
        wi_histogram_read(&histogram, &read);
        cr_assert_leq(read.p9999_ns, read.max_ns);
    }
    for (size_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    wi_histogram_read(&histogram, &read);
    cr_assert_eq(read.count, 4 * SAMPLES);
    cr_assert_eq(read.max_ns, 1000000 + SAMPLES - 1);
}
