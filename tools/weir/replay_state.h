/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_state.h - what the threads of a running replay share
 *
 *     worker:    device memory -> staging -> COMM stream: upload, event
 *                -> COMPUTE stream: wait, check, prefill, decode steps with their own uploads and checks
 *                -> everything is released at once, while all of it is still in flight
 *     device:    runs the copies, the modelled time, and the checks, each in stream order
 *     main:      samples, shows progress, and waits until the last flight has landed
 */
#ifndef WEIR_TOOL_REPLAY_STATE_H
#define WEIR_TOOL_REPLAY_STATE_H

#include <pthread.h>

#include "counter.h"
#include "replay.h"
#include "stamp.h"

/* A wait longer than this is counted as a failure instead of hanging the run. */
#define REPLAY_PATIENCE_NS (30 * NS_PER_S)

/* A decode step stands for so many generated tokens; what is left over is in the last one. */
#define REPLAY_STEP_TOKENS 16
#define REPLAY_STEPS_MAX   16

/* A step's staging buffer: its input message, and behind it the token id that comes back. */
#define REPLAY_STEP_INPUT_TOKENS 12
#define REPLAY_STEP_TOKEN_OFFSET 128
#define REPLAY_STEP_BYTES        256

/* One step in this many brings a token id back. */
#define REPLAY_STEPS_PER_DOWNLOAD 4

#define SEPARATE_LINE __attribute__((aligned(128)))

struct replay {
    /* Fixed before the workers start. */
    const struct replay_plan  *plan;
    const struct staging_kind *kind;
    struct weir_runtime       *rt;
    struct weir_pool          *device_memory; /* prompt and step input of a request in flight */
    struct weir_pool          *echo_memory;   /* pinned; NULL where the CPU reads device memory */
    struct staging_pool       *prompts;       /* the pools under test */
    struct staging_pool       *steps;
    struct progress_pinning    pinning; /* while the pools are made */
    size_t                     prompt_bytes; /* room for the longest prompt */
    uint64_t                   start_ns;

    /* Counters, by any thread. */
    SEPARATE_LINE uint64_t next; /* sequence number of the next request */
    SEPARATE_LINE uint64_t in_flight;
    uint64_t               requests;
    uint64_t               failures;
    uint64_t               corrupt_prompts;
    uint64_t               corrupt_steps;
    uint64_t               last_done_ns;
    struct histogram       latency;

    /* Under the lock. */
    SEPARATE_LINE pthread_mutex_t lock;
    pthread_cond_t                worker_ended;
    uint32_t                      workers;
    char                          first_failure[sizeof(((struct replay_result *)0)->first_failure)];
};

struct worker {
    struct replay   *replay;
    pthread_t        thread;
    uint64_t         bytes; /* counters of one writer; the main thread reads them */
    struct histogram acquire;
    struct histogram release;
} SEPARATE_LINE;

/*
 * replay_serve - take one request through its life, up to the release of everything it used
 *
 * Failures are counted and the first is kept. Device memory of the request lives on until its checks ran.
 */
void replay_serve(struct worker *worker, const struct workload_request *request, uint64_t sequence,
                  uint64_t due_ns);

/* Keep the first failure's text: what was tried, and weir's reason. Returns err. */
int replay_fail(struct replay *replay, const char *what, int err);

/* Append a sample; when the series is full, every second one goes and the caller's period doubles. */
void replay_series_add(struct replay_series *series, const struct replay_sample *sample,
                       uint64_t *period_ns);

#endif
