/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/pressure.h"

/* Per source: the readings, in thousandths, at which TIGHT, HIGH and CRITICAL begin. */
struct thresholds {
    uint32_t at[3];
};

static const struct thresholds psi = {{50, 200, 400}};
static const struct thresholds cgroup = {{850, 930, 970}};
static const struct thresholds device_free = {{30, 15, 5}};  /* at or below; engines fill a device to 95 % on purpose */
static const struct thresholds pinned = {{950, 1001, 1001}};  /* a full budget alone is no more than TIGHT */

/* At most 2000: a limit that was lowered may be exceeded any number of times. */
static uint32_t thousandths(uint64_t part, uint64_t whole)
{
    if (whole == 0) return 0;
    if (part / 2 >= whole) return 2000;
    return (uint32_t)((double)part * 1000.0 / (double)whole);
}

static uint32_t judge_high(uint32_t value, const struct thresholds *limit, bool easing)
{
    uint32_t level = WEIR_CALM;
    for (uint32_t i = 0; i < 3; i++) {
        /* A fifth of the way from the threshold to calm; for shares of a whole, a fifth of what is left above it. */
        uint32_t margin = limit->at[i] > 500 ? (1000 - (limit->at[i] < 1000 ? limit->at[i] : 999)) / 5 + 1 : limit->at[i] / 5;
        if (value >= limit->at[i] - (easing ? margin : 0)) level = i + 1;
    }
    return level;
}

static uint32_t judge_low(uint32_t value, const struct thresholds *limit, bool easing)
{
    uint32_t level = WEIR_CALM;
    for (uint32_t i = 0; i < 3; i++) {
        if (value <= limit->at[i] + (easing ? limit->at[i] / 5 : 0)) level = i + 1;
    }
    return level;
}

static void raise_to(uint32_t *level, uint32_t other)
{
    if (other > *level) *level = other;
}

uint32_t wi_pressure_judge(const struct weir_pressure *reading, bool easing)
{
    uint32_t level = WEIR_CALM;
    if (reading->sources & WEIR_SOURCE_PSI) raise_to(&level, judge_high(reading->psi_some_x100 / 10, &psi, easing));
    if (reading->sources & WEIR_SOURCE_CGROUP && reading->cgroup_bytes_max > 0)
        raise_to(&level, judge_high(thousandths(reading->cgroup_bytes, reading->cgroup_bytes_max), &cgroup, easing));
    if (reading->sources & WEIR_SOURCE_DEVICE && reading->device_bytes_total > 0)
        raise_to(&level, judge_low(thousandths(reading->device_bytes_free, reading->device_bytes_total), &device_free, easing));
    if (reading->sources & WEIR_SOURCE_PINNED && reading->pinned_bytes_max > 0)
        raise_to(&level, judge_high(thousandths(reading->pinned_bytes, reading->pinned_bytes_max), &pinned, easing));
    if (reading->sources & WEIR_SOURCE_MEMLOCK && reading->memlock_bytes_max > 0)
        raise_to(&level, judge_high(thousandths(reading->pinned_bytes, reading->memlock_bytes_max), &pinned, easing));
    return level;
}

bool wi_pressure_step(struct wi_pressure_state *state, const struct weir_pressure *reading)
{
    uint32_t before = state->level;
    uint32_t called_for = wi_pressure_judge(reading, false);
    if (called_for > state->level) {
        state->level = called_for;
    } else if (state->level > wi_pressure_judge(reading, true) &&
               reading->read_at_ns - state->changed_ns >= state->cooldown_ns) {
        state->level--;
    }
    if (state->level == before) return false;
    state->changed_ns = reading->read_at_ns;
    return true;
}
