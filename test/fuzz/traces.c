/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traces.c - the two readers of recorded traffic, `weir replay`'s arrivals and `weir replay --blocks`, on any file
 *
 * What is accepted keeps what the readers' headers promise; what is refused is complained about, and gives nothing.
 */
#include "fuzz/fuzz.h"

#include "blocks.h"
#include "trace.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_words[] = {"timestamp_ms,context_tokens,generated_tokens\n",
                                  "TIMESTAMP,ContextTokens,GeneratedTokens\n",
                                  "2023-11-16 18:15:46.6805900,374,44\n",
                                  "{\"timestamp\": 0, \"hash_ids\": [1, 2]}\n",
                                  "\"timestamp\"",
                                  "\"hash_ids\"",
                                  "4194304",
                                  "4194305",
                                  "18446744073709551615",
                                  "1000000000000",
                                  "+00:00",
                                  "-02-29",
                                  "\xef\xbb\xbf",
                                  "\r\n",
                                  "0,1,1\n",
                                  NULL};

int LLVMFuzzerInitialize(int *count, char ***words)
{
    (void)count;
    (void)words;
    return 0;
}

/* How much the reader said. */
static size_t said(FILE *complaints)
{
    (void)fflush(complaints);
    return (size_t)ftell(complaints);
}

static void check_arrivals(const struct workload *workload)
{
    uint64_t last_ns = 0, context = 0, generated = 0;
    uint32_t context_max = 0, generated_max = 0;
    fuzz_require(workload->count > 0 && workload->requests[0].arrival_ns == 0,
                 "it does not begin at 0");
    for (size_t i = 0; i < workload->count; i++) {
        const struct workload_request *request = &workload->requests[i];
        uint32_t                       tokens = request->context_tokens;
        if (fuzz_planted() && tokens == WORKLOAD_CONTEXT_TOKENS_MAX) tokens = 0;
        fuzz_require(request->arrival_ns >= last_ns, "request %zu is before the last", i);
        fuzz_require(tokens >= 1 && tokens <= WORKLOAD_CONTEXT_TOKENS_MAX, "context %u", tokens);
        fuzz_require(request->generated_tokens <= WORKLOAD_GENERATED_TOKENS_MAX, "%u",
                     request->generated_tokens);
        last_ns = request->arrival_ns;
        context += tokens;
        generated += request->generated_tokens;
        if (tokens > context_max) context_max = tokens;
        if (request->generated_tokens > generated_max) generated_max = request->generated_tokens;
    }
    fuzz_require(workload->span_ns >= last_ns, "the span ends before the last request");
    fuzz_require(workload->context_tokens == context && workload->generated_tokens == generated,
                 "totals");
    fuzz_require(workload->context_tokens_max == context_max &&
                     workload->generated_tokens_max == generated_max,
                 "maxima");
}

static void read_arrivals(const char *path, FILE *complaints, bool has_zero)
{
    struct workload workload = {.count = 4711};
    rewind(complaints);
    if (workload_read(path, complaints, &workload) < 0) {
        fuzz_require(workload.count == 4711 && !workload.requests,
                     "a refused file has changed the output");
        fuzz_require(said(complaints) > 0, "refused without a word");
        return;
    }
    fuzz_require(!has_zero, "a file with a zero byte is taken");
    check_arrivals(&workload);
    workload_clear(&workload);
}

static void check_blocks(const struct block_trace *trace)
{
    uint64_t last_ns = 0;
    size_t   objects = 0;
    fuzz_require(trace->count > 0, "nothing in it");
    for (size_t i = 0; i < trace->count; i++) {
        const struct block_access *access = &trace->access[i];
        fuzz_require(access->at_ns >= last_ns, "access %zu is before the last", i);
        fuzz_require(access->object <= objects, "object %u, of %zu so far", access->object,
                     objects);
        objects += access->object == objects;
        last_ns = access->at_ns;
    }
    fuzz_require(trace->objects == objects, "%zu objects, and not %zu", objects, trace->objects);
}

static void read_blocks(const char *path, FILE *complaints, bool has_zero)
{
    struct block_trace trace = {.count = 4711};
    rewind(complaints);
    if (block_trace_read(path, complaints, &trace) < 0) {
        fuzz_require(trace.count == 4711 && !trace.access, "a refused file has changed the output");
        fuzz_require(said(complaints) > 0, "refused without a word");
        return;
    }
    fuzz_require(!has_zero, "a file with a zero byte is taken");
    check_blocks(&trace);
    block_trace_free(&trace);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *path = fuzz_file(data, bytes);
    char        heard[2048];
    FILE       *complaints = fmemopen(heard, sizeof heard, "w");
    bool        gzip = bytes > 1 && data[0] == 0x1f && data[1] == 0x8b;
    bool        has_zero = !gzip && bytes > 0 && memchr(data, 0, bytes);
    fuzz_require(complaints, "fmemopen");
    read_arrivals(path, complaints, has_zero);
    read_blocks(path, complaints, has_zero);
    (void)fclose(complaints);
    return 0;
}
