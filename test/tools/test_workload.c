/* SPDX-License-Identifier: Apache-2.0 */
/* Drawn workloads: fixed by their seed, and with the statistics that they claim. */
#include "workload.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS 20000

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return left < right ? -1 : left > right;
}

Test(workload, is_fixed_by_its_seed)
{
    struct workload first, again, other;

    cr_assert_eq(workload_draw(42, 5000, &first), 0);
    cr_assert_eq(workload_draw(42, 5000, &again), 0);
    cr_assert_eq(workload_draw(43, 5000, &other), 0);
    cr_assert_eq(first.count, 5000);
    cr_assert(memcmp(first.requests, again.requests, 5000 * sizeof(first.requests[0])) == 0);
    cr_assert(memcmp(first.requests, other.requests, 5000 * sizeof(first.requests[0])) != 0);
    workload_clear(&first);
    workload_clear(&again);
    workload_clear(&other);
}

/* The value that a share of the requests does not pass. */
static uint32_t quantile(const uint32_t *sorted, double share)
{
    return sorted[(size_t)(share * (REQUESTS - 1))];
}

Test(workload, has_the_published_lengths)
{
    struct workload workload;
    uint32_t       *context = malloc(REQUESTS * sizeof(*context));
    uint32_t       *generated = malloc(REQUESTS * sizeof(*generated));

    cr_assert_eq(workload_draw(1, REQUESTS, &workload), 0);
    for (size_t i = 0; i < REQUESTS; i++) {
        context[i] = workload.requests[i].context_tokens;
        generated[i] = workload.requests[i].generated_tokens;
    }
    qsort(context, REQUESTS, sizeof(*context), compare);
    qsort(generated, REQUESTS, sizeof(*generated), compare);
    cr_assert(abs((int)quantile(context, 0.5) - 1020) < 60, "%u", quantile(context, 0.5));
    cr_assert(abs((int)quantile(context, 0.99) - 4142) < 200, "%u", quantile(context, 0.99));
    cr_assert(abs((int)quantile(generated, 0.5) - 129) < 10, "%u", quantile(generated, 0.5));
    cr_assert(context[0] >= 2 && context[REQUESTS - 1] <= 14050);
    cr_assert(generated[0] >= 7 && generated[REQUESTS - 1] <= 1000);
    free(context);
    free(generated);
    workload_clear(&workload);
}

/* Gaps as a Poisson process has them, and minutes that differ by more than such a process alone would. */
Test(workload, has_the_published_arrivals)
{
    struct workload workload;
    double          counts[128] = {0};
    double          mean = 0, variance = 0;

    cr_assert_eq(workload_draw(1, REQUESTS, &workload), 0);
    for (size_t i = 1; i < REQUESTS; i++)
        cr_assert(workload.requests[i].arrival_ns >= workload.requests[i - 1].arrival_ns);
    uint64_t last_ns = workload.requests[REQUESTS - 1].arrival_ns;
    size_t   minutes = last_ns / UINT64_C(60000000000);
    cr_assert(minutes > 40 && minutes < 128);
    cr_assert(workload.span_ns > last_ns);
    for (size_t i = 0; i < REQUESTS; i++)
        counts[workload.requests[i].arrival_ns / UINT64_C(60000000000)]++;
    for (size_t i = 0; i < minutes; i++) mean += counts[i] / (double)minutes;
    for (size_t i = 0; i < minutes; i++)
        variance += (counts[i] - mean) * (counts[i] - mean) / (double)minutes;
    cr_assert(mean > 270 && mean < 400, "%g a minute", mean);
    cr_assert(variance / mean > 5 && variance / mean < 40, "dispersion %g", variance / mean);
    workload_clear(&workload);
}
