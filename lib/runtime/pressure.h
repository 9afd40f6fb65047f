/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pressure.h - the runtime's pressure: read by the monitor, acted on by pools and tiers, told to watches
 *
 * Pools read context->pressure: it stops growth at TIGHT; the monitor trims at HIGH; acquires of priority LOW are refused
 * at CRITICAL. Tiers hand the level to their policy.
 */
#ifndef WI_RUNTIME_PRESSURE_H
#define WI_RUNTIME_PRESSURE_H

#include "runtime/runtime.h"

/* The monitor: read if it is time. Returns when to read next; WEIR_FOREVER if nobody asked for it. */
uint64_t wi_pressure_tend(struct weir_runtime *rt, uint64_t now_ns);
void     wi_pressure_init(struct weir_runtime *rt);
void     wi_pressure_end(struct weir_runtime *rt);

#endif
