/* SPDX-License-Identifier: Apache-2.0 */
/* source.h - memory that a slab gets from its caller's source (weir_memory_source); used by place.c only */
#ifndef WI_SOURCE_H
#define WI_SOURCE_H

#include "memory/memory.h"

/* Sets slab->base. Fails: what the source answered, INVAL (memory that is not as it was asked for; it is given back). */
int wi_source_take(struct wi_slab *slab, uint64_t numa_mask);

#endif
