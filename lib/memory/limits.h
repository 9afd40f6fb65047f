/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h - which limit of the system stands behind a refusal
 *
 * The kernel says ENOMEM for many limits. These functions look which one was met, so that the
 * failure can name it. Thread: any. Progress: blocks (reads files); for failure paths only.
 */
#ifndef WI_LIMITS_H
#define WI_LIMITS_H

#include "base/base.h"

/* Record why mmap refused this many bytes. Returns EXCEEDS (a limit was found) or NOMEM. */
WI_COLD int wi_map_refused(size_t bytes, int sys_errno);

/* Add RLIMIT_MEMLOCK to a NOMEM of the driver where it may be the cause. Returns err. */
WI_COLD int wi_pin_refused(int err, size_t bytes);

/* Would populating this much drive the system into killing processes? Fails: NOMEM. */
int wi_memory_suffices(size_t bytes);

#endif
