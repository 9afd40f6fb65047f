/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - taking in option structs of any age, and filling snapshots of any age (see weir/base.h) */
#ifndef WI_OPTIONS_H
#define WI_OPTIONS_H

#include "base/base.h"

/*
 * Copy the caller's options into `into` (bytes long, this build's size). NULL: all zero. Shorter: missing
 * fields are zero. Longer: the tail must be zero. Fails: INVAL (struct_size 0 or absurd), OPTS (non-zero tail).
 */
int wi_options_import(void *into, size_t bytes, const void *opts, const char *type);

/* Copy min(out's struct_size, bytes) of `from` to `out`, keeping out's struct_size. Fails: INVAL. */
int wi_snapshot_export(void *out, const void *from, size_t bytes);

#endif
