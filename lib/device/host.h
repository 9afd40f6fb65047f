/* SPDX-License-Identifier: Apache-2.0 */
/* host.h - the host backend beyond the contract: opening it with options, and reaching its emulation (for tests) */
#ifndef WI_HOST_H
#define WI_HOST_H

#include "device/device.h"
#include "device/emu.h"

/* Ordinals 0 to 3 exist, each with memory, engines and streams of its own. */
#define WI_HOST_DEVICES_COUNT 4

/* As wi_device_host.open, with a clock, a seed and a model of the caller's. `misuse` and `ctx` are the backend's own. */
int wi_host_open(const struct wi_emu_opts *opts, uint32_t ordinal, struct wi_device **out);

/* pre: a device of the host backend. */
struct wi_emu *wi_host_emu(struct wi_device *device);

#endif
