/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.c - leased streams and events: compute beside transfers, in order where it must be
 *
 * Runs on a GPU where there is one and on weir's emulated device where there is none. A kernel is played by a host
 * function on the stream: with a GPU it would be launched on the handle that weir_stream_cuda() gives.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <weir/scope.h>
#include <weir/weir.h>

#define BYTES 65536

/* Any code below 0 ends the program with weir's own words. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) < 0) return complain(#call);                                                    \
    } while (0)

static int complain(const char *call)
{
    char text[512];
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "streams: %s: %s\n", call, text);
    return 1;
}

struct work {
    const unsigned char *input;
    uint64_t             result;
};

static void model(void *ctx)
{
    struct work *work = ctx;
    work->result = 0;
    for (int i = 0; i < BYTES; i++) work->result += work->input[i];
}

/* A stream for the length of a block. */
static int compute(struct weir_runtime *rt, struct work *work)
{
    int err;
    weir_compute_scope(stream, err, rt, 0, WEIR_FOREVER);
    TRY(err);
    TRY(weir_stream_call(stream, model, work));
    return 0; /* the stream goes home here; the work on it goes on */
}

/* A transfer on one stream, and compute on another that starts when the transfer is done. */
static int overlap(struct weir_runtime *rt, struct weir_pool *pool, struct work *work)
{
    int                      err;
    weir_auto(buffer)        buffer = NULL;
    uint64_t                 device = 0;
    struct weir_stream_info  info = {.struct_size = sizeof info};
    weir_comm_scope(transfers, err, rt, 7, WEIR_FOREVER); /* 7: whoever says 7 again gets this stream again */
    TRY(err);
    weir_high_scope(urgent, err, rt, WEIR_FOREVER);
    TRY(err);
    weir_event_scope(uploaded, err, rt, WEIR_EVENT_TIMING, WEIR_FOREVER);
    TRY(err);
    weir_event_scope(computed, err, rt, WEIR_EVENT_TIMING, WEIR_FOREVER);
    TRY(err);

    TRY(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    memset(buffer->host, 3, BYTES);
    work->input = buffer->host;
    TRY(weir_device_alloc(rt, BYTES, &device));

    TRY(weir_stream_upload(transfers, device, weir_slice_all(buffer)));
    TRY(weir_event_record(uploaded, transfers));
    TRY(weir_stream_wait_event(urgent, uploaded));
    TRY(weir_stream_call(urgent, model, work));
    TRY(weir_event_record(computed, urgent));
    TRY(weir_event_sync(computed, weir_deadline_after_ns(UINT64_C(10000000000))));

    uint64_t took_ns;
    TRY(weir_event_elapsed_ns(uploaded, computed, &took_ns));
    TRY(weir_stream_info_read(transfers, &info));
    printf("sum %" PRIu64 ", %" PRIu64 " us after the upload; %" PRIu64 " bytes went up at priority %" PRId32 "\n",
           work->result, took_ns / 1000, info.bytes_up, info.priority);
    TRY(weir_device_free(rt, device));
    return 0;
}

int main(void)
{
    static unsigned char    input[BYTES];
    struct work             first = {.input = input}, second = {.input = NULL};
    weir_auto(runtime)      rt = NULL;
    weir_auto(pool)         pool = NULL;
    struct weir_stream_totals totals = {.struct_size = sizeof totals};
    memset(input, 1, sizeof input);

    /* The four lines of a stream pool: make it, take a stream, use it, wait for everything. */
    TRY(weir_runtime_create(WEIR_OPTS(runtime, .streams_compute = 4, .streams_comm = 2), &rt));
    TRY(compute(rt, &first));
    TRY(weir_runtime_sync(rt, 0, WEIR_FOREVER));
    printf("sum %" PRIu64 "\n", first.result);

    TRY(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = BYTES, .buffers_min = 2), &pool));
    TRY(overlap(rt, pool, &second));

    TRY(weir_stream_totals_read(rt, 0, &totals));
    printf("%" PRIu64 " streams, %" PRIu64 " leases, %" PRIu64 " copies, %" PRIu64 " events recorded\n", totals.streams,
           totals.acquires, totals.copies, totals.events_recorded);
    return first.result == BYTES && second.result == 3 * BYTES ? 0 : 1;
}
