/* SPDX-License-Identifier: Apache-2.0 */
/* frame.h - building and checking control frames; see frame.c for the layout */
#ifndef WI_UCX_FRAME_H
#define WI_UCX_FRAME_H

#include "ucx/engine.h"

#define WU_FRAME_MAGIC 0x31585577u /* "wUX1" */
#define WU_FRAME_HEAD  16
#define WU_FRAME_PROOF 16

/* Fill in the length and, with a key, the proof. number: of this sender's frames under proof. */
bool   wu_frame_finish(struct wu_frame *frame, const uint8_t *key, bool by_connector, uint64_t number);
/* Length of the frame that begins here; 0: not enough bytes to say; SIZE_MAX: not a frame. */
size_t wu_frame_length(const uint8_t *bytes, size_t count, bool proved);
bool   wu_frame_holds(const uint8_t *bytes, size_t length, const uint8_t *key, bool by_connector, uint64_t number);

#endif
