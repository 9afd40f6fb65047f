/* SPDX-License-Identifier: Apache-2.0 */
/* scenarios.h - the list of all scenarios */
#ifndef SCHEDULE_SCENARIOS_H
#define SCHEDULE_SCENARIOS_H

#include "schedule/schedule.h"

#define SCHEDULE_EACH(X)                                                                           \
    X(pairs) X(steal) X(moving) X(sweep) X(commons) X(lies) X(lane) X(double_home) X(double_homeless)       \
    X(handoff) X(queue) X(handoff_commons) X(rounds) X(deadline) X(now_beside_wait) X(headroom) X(batch)     \
    X(cancel) X(closing) X(kick) X(hazards) X(slabs) X(threads) X(retire) X(closers) X(reapers)    \
    X(wait) X(sync) X(stream_end) X(failure)

#define SCHEDULE_DECLARE(name) extern const struct schedule_scenario schedule_scenario_##name;
SCHEDULE_EACH(SCHEDULE_DECLARE)
#define SCHEDULE_ADDRESS(name) &schedule_scenario_##name,
#define SCHEDULE_SCENARIOS SCHEDULE_EACH(SCHEDULE_ADDRESS)

#endif
