/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload.c - requests in memory, and requests drawn from published statistics
 *
 * The statistics are those of the conversation service in the public Azure LLM inference trace 2023
 * (CC-BY): Patel, Choukse, Zhang, Shah, Goiri, Maleki, Bianchini, "Splitwise: Efficient generative LLM
 * inference using phase splitting", ISCA 2024. The tables below are quantiles of its 19,366 requests;
 * between two of them lengths are spread evenly in their logarithm. Arrivals there are Poisson within a
 * minute, at 5.5 a second, and the variance of the counts a minute (16 times the mean) says that the
 * rate itself varies by about a fifth from minute to minute.
 */
#include "workload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

#define ARRIVALS_PER_SECOND 5.53
#define RATE_SPREAD         0.21 /* standard deviation of the logarithm of a minute's rate */
#define RATE_PERIOD_NS      UINT64_C(60000000000)
#define NS_PER_SECOND       1e9

struct length_quantile {
    double share; /* of requests that are at most this long */
    double tokens;
};

static const struct length_quantile context_lengths[] = {
    {0.0, 2},     {0.01, 29},   {0.10, 207},  {0.25, 396},   {0.50, 1020},
    {0.75, 1189}, {0.90, 2735}, {0.99, 4142}, {0.999, 6212}, {1.0, 14050},
};

static const struct length_quantile generated_lengths[] = {
    {0.0, 7},    {0.01, 16},  {0.10, 54},  {0.25, 85},   {0.50, 129},
    {0.75, 395}, {0.90, 424}, {0.99, 601}, {0.999, 954}, {1.0, 1000},
};

static uint32_t draw_length(uint64_t *random, const struct length_quantile *table)
{
    double share = random_unit(random);

    while (share > table[1].share) table++;
    double part = (share - table[0].share) / (table[1].share - table[0].share);
    return (uint32_t)lround(table[0].tokens * pow(table[1].tokens / table[0].tokens, part));
}

/* Normal with mean 0 and deviation 1. Method: Box and Muller (1958). */
static double draw_normal(uint64_t *random)
{
    double radius = sqrt(-2 * log(random_unit(random)));

    return radius * cos(2 * M_PI * random_unit(random));
}

/* A factor with mean 1. */
static double draw_rate_factor(uint64_t *random)
{
    return exp(RATE_SPREAD * draw_normal(random) - RATE_SPREAD * RATE_SPREAD / 2);
}

int workload_draw(uint64_t seed, size_t count, struct workload *out)
{
    struct workload drawn = {0};
    size_t          capacity = 0;
    uint64_t        random = random_mix(seed + RANDOM_STRIDE);
    uint64_t        at_ns = 0;
    uint64_t        minute_end_ns = RATE_PERIOD_NS;
    double          rate = ARRIVALS_PER_SECOND * draw_rate_factor(&random);

    for (size_t i = 0; i < count; i++) {
        at_ns += (uint64_t)(-log(random_unit(&random)) / rate * NS_PER_SECOND);
        while (at_ns >= minute_end_ns) {
            minute_end_ns += RATE_PERIOD_NS;
            rate = ARRIVALS_PER_SECOND * draw_rate_factor(&random);
        }
        struct workload_request request = {.arrival_ns = at_ns};
        request.context_tokens = draw_length(&random, context_lengths);
        request.generated_tokens = draw_length(&random, generated_lengths);
        if (workload_append(&drawn, &capacity, request) < 0) {
            workload_clear(&drawn);
            return -1;
        }
    }
    workload_finish(&drawn);
    *out = drawn;
    return 0;
}

int workload_append(struct workload *workload, size_t *capacity, struct workload_request request)
{
    if (workload->count == *capacity) {
        size_t wanted = *capacity ? *capacity * 2 : 1024;
        void  *moved = reallocarray(workload->requests, wanted, sizeof(request));
        if (!moved) return -1;
        workload->requests = moved;
        *capacity = wanted;
    }
    workload->requests[workload->count++] = request;
    workload->context_tokens += request.context_tokens;
    workload->generated_tokens += request.generated_tokens;
    if (request.context_tokens > workload->context_tokens_max)
        workload->context_tokens_max = request.context_tokens;
    if (request.generated_tokens > workload->generated_tokens_max)
        workload->generated_tokens_max = request.generated_tokens;
    return 0;
}

void workload_finish(struct workload *workload)
{
    if (!workload->count) return;
    uint64_t last_ns = workload->requests[workload->count - 1].arrival_ns;

    workload->span_ns = last_ns + last_ns / workload->count;
}

void workload_clear(struct workload *workload)
{
    free(workload->requests);
    memset(workload, 0, sizeof(*workload));
}
