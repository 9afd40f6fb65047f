/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_cycle.h - one full life of a runtime, step by step, beside a fault that may strike anywhere
 *
 *   create a runtime; device memory; a pool; uploads on a stream that stands, released in flight; download; an
 *   asynchronous acquire; growth by request and by the monitor; trim; a mirror; a stream of the host program; a time
 *   between events; a tiered pool and moves; destroy
 *
 * Each step may fail once the fault has struck, and no sooner. What holds whatever failed:
 *
 *   bytes       memory in flight is handed to nobody, and what was queued arrives as it was
 *   words       the failure, or a line of the log, names the call that failed
 *   lost        a lost device answers DEVICE; releases work; destroy makes no driver call
 *   at the end  nothing of the driver's is left, but what it refused to take back, and what may still be in use
 */
#ifndef FAULT_CYCLE_H
#define FAULT_CYCLE_H

#include "base/base.h"
#include "fakecuda.h"

/* Where faults come from: the driver double or the system. */
struct fault_source {
    uint64_t (*fired)(const char **call, int32_t *thread); /* uses failed so far */
};

/* Bugs that the sweep must find, for its own test. */
enum fault_plant {
    FAULT_PLANT_NONE,
    FAULT_PLANT_LEAK,    /* memory is lost at each failure */
    FAULT_PLANT_OBJECT,  /* a runtime that saw a failure is never destroyed */
    FAULT_PLANT_REUSE,   /* buffers in flight are handed out */
    FAULT_PLANT_SILENCE, /* the log tells nothing */
    FAULT_PLANTS_COUNT
};

struct fault_cycle {
    const struct fakecuda     *driver;
    const struct fault_source *source;
    bool                       silent_ok; /* a use that fails need not be told of: weir does without */
    bool                       loses;     /* the fault loses the device */
    enum fault_plant           plant;

    /* Filled in. */
    bool fired;
    bool abandoned; /* the device may still use memory, which therefore stays; no leak */
    bool lost;
    bool left; /* the driver refused to take something back */
};

/* Returns when all is over. A broken promise ends the process with a message. */
void fault_cycle_run(struct fault_cycle *cycle);

_Noreturn void fault_broken(const char *format, ...) WI_PRINTF(1, 2);

#endif
