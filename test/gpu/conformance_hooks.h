/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conformance_hooks.h - what the conformance suite cannot bring about by the contract, over a driver
 *
 * Over the double as over a real one: a capture by the driver's own calls; the loss of the device by the double's
 * control, or by a kernel that writes where nothing is.
 */
#ifndef GPU_CONFORMANCE_HOOKS_H
#define GPU_CONFORMANCE_HOOKS_H

#include "device/device.h"

/* Looks at the library that WEIR_CUDA_LIBRARY names, and starts no driver. */
bool gpu_hook_is_double(void);

/* Before anything is queued: loading kernels may wait for all that is. */
void gpu_hook_prepare(struct wi_device *device);

/* Returns when the driver answers with the loss. Ends the process as skipped (77) where there are no kernels. */
void gpu_hook_lose(struct wi_device *device);

/* Relaxed, so that the tests' other calls break nothing. */
void gpu_hook_capture(struct wi_device *device, void *stream, bool on);

#endif
