/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload.h - requests to an LLM service: when each arrives, and how long it is
 *
 * A workload is read from a file of arrivals (trace.c) or drawn from published statistics (workload.c).
 */
#ifndef WEIR_TOOL_WORKLOAD_H
#define WEIR_TOOL_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Limits of one request. A prompt of 4 Mi tokens is a 16 MiB upload. */
#define WORKLOAD_CONTEXT_TOKENS_MAX   (UINT32_C(4) << 20)
#define WORKLOAD_GENERATED_TOKENS_MAX (UINT32_C(4) << 20)

struct workload_request {
    uint64_t arrival_ns; /* since the start of the workload; never decreasing */
    uint32_t context_tokens;
    uint32_t generated_tokens;
};

struct workload {
    struct workload_request *requests; /* owned */
    size_t                   count;
    uint64_t                 span_ns; /* time after which the workload may start over */
    uint64_t                 context_tokens;
    uint64_t                 generated_tokens;
    uint32_t                 context_tokens_max; /* of one request */
    uint32_t                 generated_tokens_max;
};

/*
 * workload_draw - draw requests; equal seeds give equal workloads
 *
 * Returns 0, or -1 when memory is exhausted. Owner: the caller, until workload_clear().
 */
int workload_draw(uint64_t seed, size_t count, struct workload *out);

/*
 * workload_read - read a file of arrivals, plain or gzip (found by content)
 *
 * Two forms: `timestamp_ms,context_tokens,generated_tokens` with or without that header, and the published
 * form of Azure with the header `TIMESTAMP,ContextTokens,GeneratedTokens` and date-times.
 * Complaints go to `complaints`: file, line number, reason, at most five and their count. A file with a bad
 * line gives nothing. Returns 0 or -1. Owner: the caller, until workload_clear().
 */
int workload_read(const char *path, FILE *complaints, struct workload *out);

/* Free what a workload owns. Accepts one that is all zero. */
void workload_clear(struct workload *workload);

/* Append a request and keep the totals. Returns 0, or -1 when memory is exhausted. */
int workload_append(struct workload *workload, size_t *capacity, struct workload_request request);

/* Set span_ns from the arrivals: the last one and a mean gap. */
void workload_finish(struct workload *workload);

#endif
