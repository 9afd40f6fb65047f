/* SPDX-License-Identifier: Apache-2.0 */
/* pressure.h - from readings to a level, with hysteresis; pure but for wi_pressure_sources_read(). See weir/pressure.h. */
#ifndef WI_PRESSURE_H
#define WI_PRESSURE_H

#include "base/base.h"

#include <weir/pressure.h>

#define WI_PRESSURE_COOLDOWN_NS (5 * WI_NS_PER_S)

/* The level that the readings call for. `easing` shifts every threshold a fifth towards calm: used for falling. */
uint32_t wi_pressure_judge(const struct weir_pressure *reading, bool easing);

struct wi_pressure_state {
    uint32_t level;
    uint64_t changed_ns; /* when the level last changed */
    uint64_t cooldown_ns;
};

/* Take in a reading made at reading->read_at_ns. Returns true when the level has changed. */
bool wi_pressure_step(struct wi_pressure_state *state, const struct weir_pressure *reading);

/* "some avg10=1.23 avg60=..." to 123. Fails: INVAL (no such line or number). */
int wi_pressure_parse_psi(const char *text, uint32_t *out_x100);
/* "123\n" or "max\n" (UINT64_MAX). Fails: INVAL. */
int wi_pressure_parse_bytes(const char *text, uint64_t *out);
/* The directory of this process's memory cgroup, from the text of /proc/self/cgroup. root is /sys/fs/cgroup. Fails: NOENT. */
int wi_pressure_cgroup_path(const char *text, const char *root, char *out, size_t capacity);

/* Fill PSI, cgroup and memlock. NULL paths: the system's own. */
void wi_pressure_sources_read(const char *psi_path, const char *cgroup_path, struct weir_pressure *out);

#endif
