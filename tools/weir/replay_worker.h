/* SPDX-License-Identifier: Apache-2.0 */
/* replay_worker.h - the threads that issue requests when they are due */
#ifndef WEIR_TOOL_REPLAY_WORKER_H
#define WEIR_TOOL_REPLAY_WORKER_H

#include "replay_state.h"

/* Start plan->threads workers. Returns 0, or WEIR_ENOMEM when a thread could not start; those that did are told to stop. */
int replay_workers_start(struct replay *replay, struct worker *workers);

/* True when all workers have ended; waits for that until deadline_ns of CLOCK_MONOTONIC. */
bool replay_workers_ended(struct replay *replay, uint64_t deadline_ns);

/* Wait for the threads themselves. */
void replay_workers_join(const struct replay *replay, struct worker *workers);

/* True after replay_interrupt(). */
bool replay_interrupted(void);

#endif
