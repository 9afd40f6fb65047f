/* SPDX-License-Identifier: Apache-2.0 */
/* replay_request.c - one request, as a serving engine would move it through the device */
#include <stdlib.h>
#include <weir/scope.h>

#include "replay_state.h"

/* What the check of a decode step needs. */
struct step {
    struct flight  *flight;
    uint64_t        key;
    const uint32_t *token; /* the token id that came back, in staging memory; NULL: none did */
};

/*
 * A request whose device work is not finished. One reference is the worker's, one belongs to each queued
 * check; whoever drops the last one ends the flight. If the device is lost the checks never run, and the
 * flight stays in flight, which the main thread counts.
 */
struct flight {
    struct replay *replay;
    uint64_t       sequence;
    uint64_t       due_ns;
    const char
            *view; /* where the CPU sees the bytes that the device has: prompt, then step input */
    uint32_t context_tokens;
    uint32_t references;
    bool     failed;
    struct step step[REPLAY_STEPS_MAX];
};

static uint64_t prompt_key(uint64_t sequence)
{
    return sequence * (REPLAY_STEPS_MAX + 1);
}

static uint64_t step_key(uint64_t sequence, uint32_t step)
{
    return prompt_key(sequence) + 1 + step;
}

static void flight_drop(struct flight *flight)
{
    struct replay *replay = flight->replay;

    /* order(flight-end): acq_rel on both sides; what every holder wrote is visible to the last one. */
    if (__atomic_sub_fetch(&flight->references, 1, __ATOMIC_ACQ_REL) > 0) return;
    uint64_t now_ns = weir_clock_ns();
    if (flight->failed) {
        counter_add(&replay->failures, 1);
    } else {
        counter_add(&replay->requests, 1);
        histogram_add(&replay->latency, now_ns - flight->due_ns);
    }
    counter_raise(&replay->last_done_ns, now_ns);
    free(flight);
    /* order(landed): release; pairs with the acquire in drain(). The counts above are visible first. */
    __atomic_sub_fetch(&replay->in_flight, 1, __ATOMIC_RELEASE);
}

/* Runs in stream order behind the prompt's upload. */
static void check_prompt(void *ctx)
{
    struct flight *flight = ctx;

    if (!stamp_check(flight->view, prompt_key(flight->sequence), flight->context_tokens))
        counter_add(&flight->replay->corrupt_prompts, 1);
    flight_drop(flight);
}

/* Runs in stream order behind the step's upload and download. */
static void check_step(void *ctx)
{
    const struct step *step = ctx;
    struct flight     *flight = step->flight;
    const char        *input = flight->view + flight->replay->prompt_bytes;
    bool               good = stamp_check(input, step->key, REPLAY_STEP_INPUT_TOKENS);

    if (step->token && *step->token != stamp_token(step->key, 0)) good = false;
    if (!good) counter_add(&flight->replay->corrupt_steps, 1);
    flight_drop(flight);
}

static int queue_check(struct flight *flight, struct weir_stream *stream, weir_stream_fn *fn,
                       void *ctx)
{
    /* Relaxed: the worker's own reference keeps the flight alive meanwhile. */
    __atomic_add_fetch(&flight->references, 1, __ATOMIC_RELAXED);
    int err = weir_stream_call(stream, fn, ctx);
    if (err < 0) {
        __atomic_sub_fetch(&flight->references, 1, __ATOMIC_RELAXED);
        return replay_fail(flight->replay, "queue a check", err);
    }
    return 0;
}

static int acquire_staging(struct worker *worker, struct staging_pool *pool,
                           struct staging_lease *out)
{
    uint64_t begin_ns = weir_clock_ns();
    int      err = pool->kind->acquire(pool, begin_ns + REPLAY_PATIENCE_NS, out);

    histogram_add(&worker->acquire, weir_clock_ns() - begin_ns);
    return err < 0 ? replay_fail(worker->replay, "acquire staging memory", err) : 0;
}

/* Give staging memory back while the device may still use it. err: what went wrong before, or 0. */
static int release_staging(struct worker *worker, struct staging_pool *pool,
                           struct staging_lease *lease, struct weir_stream *stream, int err)
{
    uint64_t begin_ns = weir_clock_ns();
    int      released = pool->kind->release(pool, lease, stream);

    histogram_add(&worker->release, weir_clock_ns() - begin_ns);
    if (released < 0) replay_fail(worker->replay, "release staging memory", released);
    return err < 0 ? err : released;
}

/* The buffer is in use by all that the stream holds, though no copy tells weir so. */
static int guard(struct replay *replay, struct weir_buffer *buffer, struct weir_stream *stream)
{
    int err = staging_guard(buffer, stream);

    return err < 0 ? replay_fail(replay, "guard a request's memory", err) : 0;
}

/* Queue the copy and mark its end; on failure the device memory is guarded here, as nobody will wait. */
static int queue_upload(struct flight *flight, struct weir_buffer *device, struct weir_stream *comm,
                        struct weir_slice message, struct weir_event *event)
{
    int err = weir_stream_upload(comm, device->device, message);

    if (err < 0) return replay_fail(flight->replay, "upload a prompt", err);
    err = weir_event_record(event, comm);
    if (err == 0) return 0;
    guard(flight->replay, device, comm);
    return replay_fail(flight->replay, "record an event", err);
}

static int upload_prompt(struct worker *worker, struct flight *flight, struct weir_buffer *device,
                         struct weir_event *event)
{
    struct replay       *replay = worker->replay;
    size_t               bytes = stamp_message_bytes(flight->context_tokens);
    struct staging_lease lease;
    weir_auto(stream) comm = NULL;

    int err = acquire_staging(worker, replay->prompts, &lease);
    if (err < 0) return err;
    stamp_write(lease.host, prompt_key(flight->sequence), flight->context_tokens);
    err = weir_stream_acquire(replay->rt, WEIR_STREAM_COMM,
                              weir_deadline_after_ns(REPLAY_PATIENCE_NS), &comm);
    if (err < 0) {
        replay_fail(replay, "acquire a COMM stream", err);
        return release_staging(worker, replay->prompts, &lease, NULL, err);
    }
    struct weir_slice message = weir_slice(lease.slice.buffer, lease.slice.offset, bytes);
    err = queue_upload(flight, device, comm, message, event);
    counter_add(&worker->bytes, bytes);
    return release_staging(worker, replay->prompts, &lease, comm, err);
}

/* Where device memory cannot be read by the CPU, bring what arrived there back for the check. */
static int queue_echo(struct worker *worker, struct weir_stream *stream, struct weir_slice into,
                      uint64_t device_src)
{
    if (!into.buffer) return 0;
    counter_add(&worker->bytes, into.bytes);
    int err = weir_stream_download(stream, into, device_src);
    return err < 0 ? replay_fail(worker->replay, "download an echo", err) : 0;
}

static int queue_delay(struct replay *replay, struct weir_stream *stream, uint64_t ns)
{
    if (!ns) return 0;
    int err = weir_stream_delay(stream, ns);
    return err < 0 ? replay_fail(replay, "model a kernel", err) : 0;
}

/* The buffers of a request in flight. echo is NULL where the CPU reads device memory. */
struct request_memory {
    struct weir_buffer *device;
    struct weir_buffer *echo;
};

static struct weir_slice echo_slice(const struct request_memory *memory, size_t offset,
                                    size_t bytes)
{
    return weir_slice(memory->echo, offset, bytes);
}

/* Upload the step's input, run it, and for some steps bring its token id back into the same buffer. */
static int queue_step_work(struct worker *worker, struct step *step, uint64_t ns, bool download,
                           const struct request_memory *memory, struct weir_stream *compute,
                           struct staging_lease *lease)
{
    struct replay      *replay = worker->replay;
    size_t              bytes = stamp_message_bytes(REPLAY_STEP_INPUT_TOKENS);
    uint64_t            input = memory->device->device + replay->prompt_bytes;
    struct weir_buffer *staging = lease->slice.buffer;

    int err = weir_stream_upload(compute, input, weir_slice(staging, lease->slice.offset, bytes));
    if (err < 0) return replay_fail(replay, "upload a step", err);
    counter_add(&worker->bytes, bytes);
    err = queue_delay(replay, compute, ns);
    if (err < 0) return err;
    if (download) {
        size_t offset = lease->slice.offset + REPLAY_STEP_TOKEN_OFFSET;
        err = weir_stream_download(compute, weir_slice(staging, offset, sizeof(uint32_t)),
                                   input + STAMP_BYTES);
        if (err < 0) return replay_fail(replay, "download a token", err);
        counter_add(&worker->bytes, sizeof(uint32_t));
        step->token =
            (const uint32_t *)(const void *)((char *)lease->host + REPLAY_STEP_TOKEN_OFFSET);
        lease->host_reads = true;
    }
    err = queue_echo(worker, compute, echo_slice(memory, replay->prompt_bytes, bytes), input);
    return err < 0 ? err : queue_check(step->flight, compute, check_step, step);
}

static int queue_step(struct worker *worker, struct flight *flight, uint32_t index, uint64_t ns,
                      const struct request_memory *memory, struct weir_stream *compute)
{
    struct step         *step = &flight->step[index];
    struct staging_lease lease;
    bool                 download = index % REPLAY_STEPS_PER_DOWNLOAD == 0;

    int err = acquire_staging(worker, worker->replay->steps, &lease);
    if (err < 0) return err;
    *step = (struct step){.flight = flight, .key = step_key(flight->sequence, index)};
    stamp_write(lease.host, step->key, REPLAY_STEP_INPUT_TOKENS);
    err = queue_step_work(worker, step, ns, download, memory, compute, &lease);
    return release_staging(worker, worker->replay->steps, &lease, compute, err);
}

static uint32_t step_count(const struct workload_request *request)
{
    uint32_t steps = (request->generated_tokens + REPLAY_STEP_TOKENS - 1) / REPLAY_STEP_TOKENS;

    return steps < REPLAY_STEPS_MAX ? steps : REPLAY_STEPS_MAX;
}

/* The decode loop. The last step also stands for the tokens that have no step of their own. */
static int decode(struct worker *worker, struct flight *flight,
                  const struct workload_request *request, const struct request_memory *memory,
                  struct weir_stream *compute)
{
    uint64_t token_ns = worker->replay->plan->decode_ns_per_token;
    uint64_t left = request->generated_tokens;
    uint32_t steps = step_count(request);

    for (uint32_t i = 0; i < steps; i++) {
        uint64_t tokens = i + 1 < steps && left > REPLAY_STEP_TOKENS ? REPLAY_STEP_TOKENS : left;
        left -= tokens;
        int err = queue_step(worker, flight, i, tokens * token_ns, memory, compute);
        if (err < 0) return err;
    }
    return 0;
}

static int compute_on(struct worker *worker, struct flight *flight,
                      const struct workload_request *request, const struct request_memory *memory,
                      struct weir_stream *compute)
{
    struct replay *replay = worker->replay;
    size_t         bytes = stamp_message_bytes(request->context_tokens);

    int err = queue_echo(worker, compute, echo_slice(memory, 0, bytes), memory->device->device);
    if (err < 0) return err;
    err = queue_check(flight, compute, check_prompt, flight);
    if (err < 0) return err;
    err =
        queue_delay(replay, compute, request->context_tokens * replay->plan->prefill_ns_per_token);
    return err < 0 ? err : decode(worker, flight, request, memory, compute);
}

static int guard_memory(struct replay *replay, const struct request_memory *memory,
                        struct weir_stream *stream)
{
    int device = guard(replay, memory->device, stream);
    int echo = memory->echo ? guard(replay, memory->echo, stream) : 0;

    return device < 0 ? device : echo;
}

/* No stream will wait for the upload, which still writes the device memory: wait here. Returns err. */
static int settle_upload(struct replay *replay, struct weir_event *uploaded, const char *what,
                         int err)
{
    replay_fail(replay, what, err);
    int synced = weir_event_sync(uploaded, weir_deadline_after_ns(REPLAY_PATIENCE_NS));
    if (synced < 0) replay_fail(replay, "wait for an upload", synced);
    return err;
}

static int prefill_and_decode(struct worker *worker, struct flight *flight,
                              const struct workload_request *request,
                              const struct request_memory *memory, struct weir_event *uploaded)
{
    struct replay *replay = worker->replay;
    weir_auto(stream) compute = NULL;

    int err = weir_stream_acquire(replay->rt, WEIR_STREAM_COMPUTE,
                                  weir_deadline_after_ns(REPLAY_PATIENCE_NS), &compute);
    if (err < 0) return settle_upload(replay, uploaded, "acquire a COMPUTE stream", err);
    err = weir_stream_wait_event(compute, uploaded);
    if (err < 0) return settle_upload(replay, uploaded, "wait for an event", err);
    err = compute_on(worker, flight, request, memory, compute);
    int guarded = guard_memory(replay, memory, compute);
    return err < 0 ? err : guarded;
}

/* Everything acquired here is released at the end of its scope, while the device still works on it. */
static int serve(struct worker *worker, struct flight *flight,
                 const struct workload_request *request)
{
    struct replay *replay = worker->replay;
    uint64_t       deadline_ns = weir_deadline_after_ns(REPLAY_PATIENCE_NS);
    weir_auto(buffer) device = NULL;
    weir_auto(buffer) echo = NULL;
    weir_auto(event) uploaded = NULL;

    int err = weir_buffer_acquire(replay->device_memory, deadline_ns, &device);
    if (err < 0) return replay_fail(replay, "acquire device memory", err);
    if (replay->echo_memory) {
        err = weir_buffer_acquire(replay->echo_memory, deadline_ns, &echo);
        if (err < 0) return replay_fail(replay, "acquire echo memory", err);
    }
    err = weir_event_acquire(replay->rt, 0, deadline_ns, &uploaded);
    if (err < 0) return replay_fail(replay, "acquire an event", err);
    flight->view = echo ? echo->host : (const char *)(uintptr_t)device->device;
    err = upload_prompt(worker, flight, device, uploaded);
    if (err < 0) return err;
    struct request_memory memory = {.device = device, .echo = echo};
    return prefill_and_decode(worker, flight, request, &memory, uploaded);
}

void replay_serve(struct worker *worker, const struct workload_request *request, uint64_t sequence,
                  uint64_t due_ns)
{
    struct replay *replay = worker->replay;
    struct flight *flight = calloc(1, sizeof(*flight));

    if (!flight) {
        counter_add(&replay->failures, 1);
        replay_fail(replay, "allocate a flight", WEIR_ENOMEM);
        return;
    }
    flight->replay = replay;
    flight->sequence = sequence;
    flight->due_ns = due_ns;
    flight->context_tokens = request->context_tokens;
    flight->references = 1;
    counter_add(&replay->in_flight, 1);
    if (serve(worker, flight, request) < 0) flight->failed = true;
    flight_drop(flight);
}
