/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/pressure.h - memory pressure: what is read, what follows from it, and how to hear of it
 *
 * Read from: /proc/pressure/memory (PSI), the process's cgroup (v2, else v1), the device's free memory, the pinned
 * budget, and RLIMIT_MEMLOCK. A source that cannot be read is left out and counted.
 *
 *   level      reached when                                               what weir does
 *   CALM       nothing below                                              all
 *   TIGHT      PSI some avg10 >= 5 %, cgroup >= 85 % of its limit,        no growth; marginal promotions are left out
 *              device free <= 3 %, pinned or memlock >= 95 %
 *   HIGH       PSI >= 20 %, cgroup >= 93 %, device free <= 1.5 %            and: cold buffers go down, free slabs are trimmed
 *   CRITICAL   PSI >= 40 %, cgroup >= 97 %, device free <= 0.5 %            and: acquires of priority LOW answer PRESSURE
 *
 * Hysteresis: a level rises at once and falls one step at a time, each at least cooldown_ns after the last change, and only
 * when the readings have stayed a fifth below the threshold. So it never oscillates faster than the cooldown.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 *
 * Example, given struct weir_runtime *rt:
 *
 *     struct weir_pressure now = {.struct_size = sizeof now};
 *     int err = weir_pressure_read(rt, &now);
 *     if (err < 0) return err;
 *     if (now.level >= WEIR_HIGH)
 *         printf("some task waited for memory in %u %% of the last 10 s\n", now.psi_some_x100 / 100);
 */
#ifndef WEIR_PRESSURE_H
#define WEIR_PRESSURE_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

enum weir_pressure_level { WEIR_CALM = 0, WEIR_TIGHT, WEIR_HIGH, WEIR_CRITICAL };

enum weir_pressure_sources {
    WEIR_SOURCE_PSI = 1,
    WEIR_SOURCE_CGROUP = 2,
    WEIR_SOURCE_DEVICE = 4,
    WEIR_SOURCE_PINNED = 8,
    WEIR_SOURCE_MEMLOCK = 16
};

/* What was read last. 0 in a field whose source is not among `sources`. */
struct weir_pressure {
    size_t   struct_size;
    uint32_t level;              /* enum weir_pressure_level */
    uint32_t sources;            /* enum weir_pressure_sources: could be read */
    uint32_t psi_some_x100;      /* share of the last 10 s in which some task waited for memory, in 1/100 % */
    uint32_t unreadable;         /* sources that should be there and could not be read or understood */
    uint64_t cgroup_bytes;
    uint64_t cgroup_bytes_max;
    uint64_t device_bytes_free;
    uint64_t device_bytes_total;
    uint64_t pinned_bytes;
    uint64_t pinned_bytes_max;
    uint64_t memlock_bytes_max;
    uint64_t read_at_ns;
};

struct weir_pressure_opts {
    size_t      struct_size;
    const char *psi_path;    /* copied; NULL: /proc/pressure/memory */
    const char *cgroup_path; /* copied; a directory with memory.max or memory.limit_in_bytes; NULL: the process's own */
    uint64_t    period_ns;   /* between readings; 0: 1 s */
    uint64_t    cooldown_ns; /* 0: 5 s */
};

/*
 * weir_pressure_set - how this runtime reads pressure
 *
 * From then on the monitor reads once a period. Without it, and without a watch, it reads only while it is awake for
 * another reason. opts NULL: all defaults.
 * Progress: takes a lock.  Fails: INVAL, OPTS, NOMEM, FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_pressure_set(struct weir_runtime *rt, const struct weir_pressure_opts *opts);

/*
 * weir_pressure_read - read all sources now; the level follows. Set out->struct_size first
 *
 * Progress: blocks for small files and one driver call.  Fails: INVAL, FORKED.
 */
WEIR_API int weir_pressure_read(struct weir_runtime *rt, struct weir_pressure *out);

struct weir_watch;

/* Called when the level has changed, on weir's callback thread and on no lock. */
typedef void weir_pressure_fn(void *ctx, const struct weir_pressure *now);

/*
 * weir_pressure_watch - hear of changes of the level
 *
 * Progress: takes a lock, and starts a thread the first time.  Owner: the caller, until weir_watch_destroy().
 * Fails:    INVAL, NOMEM, FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_pressure_watch(struct weir_runtime *rt, weir_pressure_fn *fn, void *ctx,
                                                 struct weir_watch **out);

/*
 * weir_watch_destroy - fn is not running and will not run any more when this returns
 *
 * NULL is accepted.  Thread: any, but not from fn.  Progress: blocks while fn runs.
 */
WEIR_API void weir_watch_destroy(struct weir_watch *watch);

WEIR_END_DECLS

#endif
