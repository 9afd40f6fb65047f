/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror.h - the device mirror of a host buffer: device memory of the same size, made once and reused
 *
 * Charged to the budget of device memory. It lives as long as the buffer's own memory, over all its leases, and is
 * protected by the same marks: what guards the buffer guards its mirror.
 */
#ifndef WI_MIRROR_H
#define WI_MIRROR_H

#include "pool/pool.h"

/* pre: the caller holds the lease. Blocks in the driver the first time. Fails: KIND, EXCEEDS, DEVMEM, DEVICE, NOMEM. */
int  wi_mirror_make(struct wi_record *record, uint64_t *out);
/* pre: the record is GONE, its face is still written, no device work is pending. A lost device is not called. */
void wi_mirror_free(struct wi_record *record);

#endif
