/* SPDX-License-Identifier: Apache-2.0 */
/* copy.h - the bytes of a move, on the mover's own stream; tier->lock is held */
#ifndef WI_COPY_H
#define WI_COPY_H

#include "tier/place.h"

/* Begin to copy a buffer from one place (tier and block) to another. Fails: DEVICE and what the backend says. */
int wi_copy_issue(struct wi_tier *tier, uint64_t from, uint64_t to);
/* Wait until all that was issued has landed. Fails: DEVICE. */
int wi_copy_wait(struct wi_tier *tier);
/* Overwrite a place that nobody uses any more, so that whoever still reads it is found out. Blocks. */
void wi_copy_poison(struct wi_tier *tier, uint64_t place);

#endif
