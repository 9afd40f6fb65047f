/* SPDX-License-Identifier: Apache-2.0 */
/* copy.h - the bytes of a move, on the mover's own stream; tier->lock is held */
#ifndef WI_COPY_H
#define WI_COPY_H

#include "tier/place.h"

/* Begin to copy a buffer from one place (tier and block) to another. Fails: DEVICE and what the backend says. */
int wi_copy_issue(struct wi_tier *tier, uint64_t from, uint64_t to);
/* Hand what was issued to the device. Fails: DEVICE and what the backend says; some of it may be on its way then. */
int wi_copy_flush(struct wi_tier *tier);
/* Flush, and wait until all of it has landed. Fails: DEVICE. */
int wi_copy_wait(struct wi_tier *tier);
/*
 * After a failure: wait in the driver, past the stream's own ticks, until nothing is on its way any more. Fails: that
 * cannot be told.
 */
int wi_copy_drain(struct wi_tier *tier);
/* Overwrite a place that nobody uses any more, so that whoever still reads it is found out. Device memory: with the next flush. */
void wi_copy_poison(struct wi_tier *tier, uint64_t place);
void wi_copies_free(struct wi_tier *tier);

#endif
