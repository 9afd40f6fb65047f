/* SPDX-License-Identifier: Apache-2.0 */
/* object.h - what the peers that keep objects hand out: one record, two cache lines apart from the next */
#ifndef BENCH_OBJECT_H
#define BENCH_OBJECT_H

#include "../peer.h"

#include <stdlib.h>
#include <string.h>

struct object {
    WI_CACHELINE _Atomic uint64_t owner; /* 0: nobody; checked in the checked loops only */
    void *node;                          /* the peer's own */
};

static inline _Atomic uint64_t *object_owner(void *object)
{
    return &((struct object *)object)->owner;
}

/* Never freed: the process ends with the case. */
static inline struct object *objects_make(size_t count)
{
    struct object *objects = aligned_alloc(_Alignof(struct object), count * sizeof *objects);

    if (objects != NULL) memset(objects, 0, count * sizeof *objects);
    return objects;
}

#endif
