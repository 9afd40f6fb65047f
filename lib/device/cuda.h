/* SPDX-License-Identifier: Apache-2.0 */
/* cuda.h - what only the cuda backend can answer, for the layers above the backend contract */
#ifndef WI_CUDA_H
#define WI_CUDA_H

#include "base/base.h"
#include "base/text.h"
#include "device/device.h"

struct CUctx_st;
struct CUstream_st;

/* wi_cuda_is - the device belongs to the cuda backend, so that its handles are the driver's own */
bool wi_cuda_is(const struct wi_device *device);

/* wi_cuda_context - the primary context of a device of this backend */
struct CUctx_st *wi_cuda_context(const struct wi_device *device);

/*
 * wi_cuda_stream_check - may this handle of the host program be adopted?
 *
 * Fails: INVAL (NULL, which means another stream to each caller; a stream of another context), DEVICE, FORKED.
 * A handle that was destroyed cannot be told from a live one: the driver may crash on it.
 */
int wi_cuda_stream_check(struct wi_device *device, struct CUstream_st *stream);

/*
 * wi_cuda_describe - what the driver offers, as lines for people
 *
 * Says which library was opened, its version, and each optional feature with the reason if it is missing; or why
 * there is no driver. Makes no context.
 */
void wi_cuda_describe(struct wi_text *text);

/* wi_cuda_report - the same with the devices, as a JSON object: weir_driver_format() */
void wi_cuda_report(struct wi_text *text);

#endif
