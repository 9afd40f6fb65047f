/* SPDX-License-Identifier: Apache-2.0 */
/* store_world.h - a free store of a few records, for scenarios */
#ifndef SCHEDULE_STORE_WORLD_H
#define SCHEDULE_STORE_WORLD_H

#include "pool/hit.h"
#include "schedule/schedule.h"
#include "sync/kick.h"

#define WORLD_RECORDS 4
#define WORLD_SLOTS   2

struct store_world {
    struct wi_store  store;
    struct wi_slot   slot[WORLD_SLOTS];
    struct wi_record record[WORLD_RECORDS];
    uint32_t         owner[WORLD_RECORDS]; /* fiber + 1 */
    struct wi_kick   keeper;
    uint32_t         wants_service, serving; /* the keeper's; the fiber + 1 that serves for it */
    uint32_t         refused; /* acquires that ended with AGAIN or TIMEDOUT */
};

extern struct store_world world;

struct store_shape {
    uint32_t records, slots, headroom;
    uint32_t retiring; /* so many of them are in nobody's hand: RETIRING */
};

/* All records that are not retiring are free: the first ones at home in the slots, the others in the commons. */
void store_set_up(const struct store_shape *shape);
/* Everything is free, nobody waits, and so many acquires succeed; a further one does not. */
void store_judge(void);
/* For at_rest: nobody sleeps for an object while one is free. */
void store_at_rest(void);

/* What a caller of weir does. NULL: refused. */
struct wi_record *store_acquire(uint64_t deadline_ns, uint32_t priority);
void              store_release(struct wi_record *record);
/* The keeper: serves when it is kicked. A daemon. */
void store_keeper(void);

#endif
