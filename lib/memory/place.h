/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - how a slab gets its memory, and how it lets go of it; used by slab.c only
 *
 * A slab comes here with its layout made and its budget charged. Each wi_place_* either succeeds,
 * or leaves the slab as it found it but for bytes in *abandoned, which nobody may touch again.
 */
#ifndef WI_PLACE_H
#define WI_PLACE_H

#include "memory/memory.h"

struct wi_placing {
    const struct wi_slab_opts *opts;
    struct wi_slab            *slab;
    uint64_t                   nodes;     /* 0: any */
    uint32_t                   strength;  /* enum wi_bind_strength */
    bool                       refused;   /* it was the device that refused: another way may work */
    size_t                     abandoned; /* bytes that a failure could not undo */
};

/* Where the slab's pages shall be. Fails: INVAL, EXCEEDS (the nodes are full). */
int wi_place_nodes(struct wi_placing *placing);

/*
 * Map and populate; register each chunk if `pin`. Fails: EXCEEDS, NOMEM, INVAL, CANCELED, and as
 * host_register.
 */
int wi_place_mapped(struct wi_placing *placing, bool pin);
/* The driver's own pinned memory. Fails: CANCELED, and as host_alloc. */
int wi_place_driver_owned(struct wi_placing *placing);
/* Device memory. Fails: CANCELED, and as device_alloc. */
int wi_place_device(struct wi_placing *placing);

/* Let go of all the memory a slab has; returns the bytes abandoned. Takes what is half made. */
size_t wi_place_release(struct wi_slab *slab);

/* Length of a chunk; the last is shorter. */
size_t wi_slab_chunk_bytes(const struct wi_slab *slab, size_t chunk);

#endif
