/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/current.h"

static __thread struct weir_stream *current;
static __thread uint64_t            current_generation;

/* A shared stream is never leased, so its generation stays. */
static uint64_t generation_of(const struct weir_stream *stream)
{
    return wi_load(&wi_record_plain(stream, NULL)->word, acquire) >> WI_GENERATION_SHIFT;
}

static int check_current(void)
{
    WI_ENSURE(generation_of(current) == current_generation, NOTLEASED,
              .detail = "the lease of the thread's current stream has ended");
    return 0;
}

int wi_stream_given(const struct weir_stream *stream, struct wi_stream **out)
{
    if (!stream) {
        WI_ENSURE(current, INVAL, .detail = "the stream is NULL, and this thread has no current stream");
        WI_TRY(check_current());
        stream = current;
    }
    WI_TRY(wi_lease_stream(stream, out));
    WI_ENSURE(!wi_load(&(*out)->held, relaxed), KIND, .detail = "the handle is a graph");
    return 0;
}

int weir_stream_set_current(struct weir_stream *stream, struct weir_stream **previous)
{
    struct wi_stream *found;
    if (stream) WI_TRY(wi_lease_stream(stream, &found));
    if (previous) *previous = current;
    current = stream;
    if (stream) current_generation = generation_of(stream);
    return 0;
}

int weir_stream_current(struct weir_stream **out)
{
    struct wi_stream *found;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_ENSURE(current, NOENT, .detail = "this thread has no current stream");
    WI_TRY(check_current());
    WI_TRY(wi_lease_stream(current, &found));
    *out = current;
    return 0;
}
