/* SPDX-License-Identifier: Apache-2.0 */
/* replay.h - a replay: what it shall do, and what came out */
#ifndef WEIR_TOOL_REPLAY_H
#define WEIR_TOOL_REPLAY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "progress.h"
#include "staging.h"
#include "workload.h"

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

struct replay_plan {
    const struct workload *workload;
    const char            *source;     /* the file, or "drawn" */
    const char            *backend;    /* NULL: weir chooses */
    double                 speedup;    /* 0: as fast as possible */
    uint64_t               seconds_ns; /* issue no request after this time; 0: no limit */
    uint64_t               seed;
    uint64_t               prefill_ns_per_token; /* modelled device time */
    uint64_t               decode_ns_per_token;
    uint32_t               threads;
    uint32_t               streams_compute;
    uint32_t               streams_comm;
    bool                   repeat;      /* start over at the end of the workload */
    bool                   early_reuse; /* plant the bug in weir's pools */
};

/* What was seen at one moment of the run. Prompts and steps are the two pools under test. */
struct replay_sample {
    uint64_t at_ns; /* since the start */
    uint64_t requests;
    uint64_t in_flight;
    uint64_t prompt_total;
    uint64_t prompt_free;
    uint64_t prompt_retiring;
    uint64_t step_total;
    uint64_t step_free;
    uint64_t step_retiring;
    uint64_t device_retiring;
    uint64_t waits;
    uint64_t acquire_p99_ns;          /* of the run so far */
    uint64_t acquire_interval_p99_ns; /* of the acquires since the sample before */
    uint64_t pressure_level;          /* enum weir_pressure_level */
};

#define REPLAY_SAMPLES_MAX 1024

struct replay_series {
    struct replay_sample sample[REPLAY_SAMPLES_MAX];
    size_t               count;
};

struct replay_result {
    const struct staging_kind *kind;
    uint64_t                   requests; /* served to the end */
    uint64_t                   failures;
    uint64_t                   corrupt_prompts;
    uint64_t                   corrupt_steps;
    uint64_t                   leaked;
    uint64_t                   lawless; /* pools in which the conservation law does not hold */
    struct quantiles           acquire; /* of the pools under test */
    struct histogram           acquires;
    struct quantiles           release;
    struct quantiles           latency; /* from due to done on the device */
    uint64_t                   waits;
    uint64_t                   growths;
    uint64_t                   retiring_max;
    uint64_t                   bytes; /* uploaded and downloaded */
    uint64_t                   wall_ns;
    bool                       interrupted;
    char                       first_failure[512];
    char                       backend[16];
    char                       device_name[96];
    char                       model[96];
    struct replay_series       series;
};

/*
 * replay_run - replay the plan through pools of one kind
 *
 * Returns 0 when it ran, whatever it found, or a negative WEIR_E* when it could not start; then the reason
 * has been written to standard error.
 */
int replay_run(const struct replay_plan *plan, const struct staging_kind *kind,
               struct progress *progress, struct replay_result *out);

/* Ask a running replay to stop issuing requests. Safe in a signal handler. */
void replay_interrupt(void);

static inline uint64_t replay_corrupt(const struct replay_result *result)
{
    return result->corrupt_prompts + result->corrupt_steps;
}

/* True when the run found nothing wrong. */
static inline bool replay_clean(const struct replay_result *result)
{
    return !result->failures && !replay_corrupt(result) && !result->leaked && !result->lawless &&
           !result->interrupted;
}

/* results[0] is weir, the others are baselines. Owner of the object: the caller. NULL: out of memory. */
json_t *replay_json(const struct replay_plan *plan, const struct replay_result *const *results,
                    size_t count);

void replay_print(const struct replay_plan *plan, const struct replay_result *const *results,
                  size_t count, FILE *out);

#endif
