/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/runtime.h - the runtime: one device, its streams, events, pools and helper threads
 *
 * A runtime owns a keeper thread (reaps finished work, hands objects to waiters) and a monitor thread
 * (pins, grows, shrinks and moves memory). Both start with the first pool. A process may have several
 * runtimes, also of one device.
 *
 * What excludes what: weir_runtime_destroy() must not run beside another call that was given the
 * same runtime, except releases, and calls that are waiting inside weir to acquire or for device work. These end with CLOSED, or
 * with device work that was done within drain_ns.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 *
 * Example:
 *
 *     #include <stdio.h>
 *     #include <weir/weir.h>
 *
 *     int main(void)
 *     {
 *         struct weir_runtime     *rt;
 *         struct weir_runtime_info info = {.struct_size = sizeof info};
 *         char                     why[256];
 *         if (weir_runtime_create(WEIR_OPTS(runtime, .backend = "host", .pinned_bytes_max = 64 << 20), &rt) < 0) {
 *             (void)weir_error_text(why, sizeof why);
 *             fprintf(stderr, "%s\n", why);
 *             return 1;
 *         }
 *         if (weir_runtime_info_read(rt, &info) == 0) printf("%s: %s\n", info.backend, info.device_name);
 *         weir_runtime_destroy(rt);
 *         return 0;
 *     }
 */
#ifndef WEIR_RUNTIME_H
#define WEIR_RUNTIME_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

/* A live page in shared memory for `weir top` (weir/page.h). It wakes the monitor once a period, also of an idle runtime. */
enum weir_stats_page { WEIR_STATS_OFF = 1, WEIR_STATS_SHM };

struct weir_runtime_opts {
    size_t      struct_size;
    const char *backend;            /* "cuda", "host"; NULL: WEIR_BACKEND, else cuda where it works, else host */
    uint32_t    device;             /* ordinal */
    uint32_t    flags;              /* none yet: must be 0 */
    uint64_t    pinned_bytes_max;   /* budget of pinned host memory; 0: WEIR_PINNED_BYTES_MAX, else half of RAM */
    uint64_t    device_bytes_max;   /* budget of device memory; 0: WEIR_DEVICE_BYTES_MAX, else all */
    uint64_t    pageable_bytes_max; /* budget of pageable host memory; 0: WEIR_PAGEABLE_BYTES_MAX, else half of RAM */
    uint64_t    drain_ns;           /* how long destroy waits for device work; 0: WEIR_DRAIN_MS, else 5 s */
    uint64_t    monitor_period_ns;  /* 0: WEIR_MONITOR_MS, else 200 ms */
    uint32_t    streams_compute;    /* streams of class COMPUTE; 0: 4 */
    uint32_t    streams_comm;       /* streams of class COMM; 0: 2 */
    uint32_t    streams_high;       /* streams of class HIGH; 0: 1 */
    uint32_t    events_max;         /* events of each kind that may be leased at once; 0: WEIR_EVENTS_MAX, else 1024 */
    uint32_t    stream_reuse;       /* enum weir_stream_reuse; 0: DRAINED */
    uint32_t    affinity;           /* enum weir_affinity: whether affinity keys are heeded; 0: ON */
    uint32_t    affinity_keys_max;  /* keys remembered for each stream class; 0: 1024 */
    uint32_t    streams_shared;     /* shared streams of each class, made on first use; 0: 4 */
    uint32_t    streams_adopted_max; /* of the host program's streams, and graphs, at one time; 0: 128 */
    uint32_t    events_adopted_max; /* of the host program's events, at one time; 0: 128 */
    uint32_t    events_min;         /* events of each kind that are made at once and stay; 0: 16 */
    uint32_t    priority_compute;   /* of the class's streams, enum weir_priority: LOW is the device's least, HIGH */
    uint32_t    priority_comm;      /* its greatest, NORMAL half-way; 0: NORMAL, NORMAL and HIGH */
    uint32_t    priority_high;
    uint32_t    stats;              /* enum weir_stats_page: whether there is a live page; 0: as WEIR_STATS says */
    uint32_t    stats_period_ms;    /* how often the page is written, by the monitor; 0: monitor_period_ns */
};

/*
 * weir_runtime_create - open a device
 *
 * No driver context is made before this names a device. The caller's current context is kept.
 *
 * Thread:   any.  Progress: blocks in the driver.
 * Owner:    the caller, until weir_runtime_destroy().
 * Fails:    INVAL, OPTS, NODRIVER, DEVICE, NOMEM, NOENT (no such device), FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_runtime_create(const struct weir_runtime_opts *opts,
                                                 struct weir_runtime           **out);

/*
 * weir_runtime_destroy - close every gate, drain, report leases still out, and let go
 *
 * Waiters end with CLOSED. Waits up to drain_ns for device work. Memory that is still leased or in
 * flight stays mapped, is reported through the log and is not reused; a release that comes later
 * answers CLOSED and makes no driver call. NULL is accepted. Cannot fail.
 *
 * Thread: any, once. Progress: blocks.
 */
WEIR_API void weir_runtime_destroy(struct weir_runtime *rt);

/*
 * weir_runtime_default - the process-wide runtime of a device, made on first use
 *
 * Made once, also under a race of threads.
 * Progress: takes a lock; blocks in the driver when it is made.  Owner: weir.  Fails: as weir_runtime_create().
 */
WEIR_API WEIR_MUST_CHECK int weir_runtime_default(uint32_t device, struct weir_runtime **out);

/* weir_runtime_default_with - as weir_runtime_default(), of opts->device; the other options count only if it is made now */
WEIR_API WEIR_MUST_CHECK int weir_runtime_default_with(const struct weir_runtime_opts *opts,
                                                       struct weir_runtime           **out);

/*
 * weir_runtime_reset - sync and destroy the process-wide runtime of a device
 *
 * Returns the number of leases that were still out (they are also reported through the log); the
 * next weir_runtime_default() makes a new runtime. 0 when there was none. What excludes what: as weir_runtime_destroy().
 * Progress: blocks until deadline_ns, then as weir_runtime_destroy().
 * Fails:    TIMEDOUT, DEVICE, CAPTURE (of the sync: it is destroyed all the same), NOENT (no such device), FORKED.
 */
WEIR_API int weir_runtime_reset(uint32_t device, uint64_t deadline_ns);

/* What a runtime stands on. Fixed for its life. */
struct weir_runtime_info {
    size_t   struct_size;
    char     backend[16];            /* "host" or "cuda" */
    char     device_name[96];
    char     model[96];              /* cost model of the host backend; "" on a real device */
    uint64_t device_bytes_total;
    int32_t  stream_priority_least;  /* numerically greatest: the driver's range for LOW */
    int32_t  stream_priority_greatest;
    int32_t  numa_node;              /* node nearest to the device, or -1 */
    uint32_t flags;                  /* enum weir_runtime_info_flags */
};

enum weir_runtime_info_flags {
    WEIR_INFO_DEVICE_IS_HOST = 1, /* device memory can be read through its address by the CPU */
    WEIR_INFO_COPY_BATCH = 2      /* many copies travel in one driver call                     */
};

/* weir_runtime_info_read - what it stands on; set out->struct_size first. Progress: wait-free. Fails: INVAL. */
WEIR_API int weir_runtime_info_read(const struct weir_runtime *rt, struct weir_runtime_info *out);

/*
 * weir_runtime_set_budget - change the budget of a kind of memory (enum weir_memory)
 *
 * What is charged already stays, also above the new budget; nothing more is granted until there is room.
 * Progress: wait-free.  Fails: INVAL, FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_runtime_set_budget(struct weir_runtime *rt, uint32_t memory, uint64_t bytes);

/*
 * weir_runtime_trim - give memory of a kind back to the system until at most `bytes` of it are charged
 *
 * Shrinks pools, the newest memory of each first, none below its buffers_min.
 * Progress: blocks up to deadline_ns for buffers that are leased or in flight.
 * Fails:    TIMEDOUT (what could be freed was, and the rest goes as it comes home), BUSY (no pool has more to give),
 *           INVAL, FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_runtime_trim(struct weir_runtime *rt, uint32_t memory, uint64_t bytes,
                                               uint64_t deadline_ns);

/*
 * weir_thread_detach - give back what weir keeps for the calling thread
 *
 * Called by itself at thread exit; call it early for threads that never exit. The next call of weir
 * on this thread attaches it again.  Progress: does not block.
 */
WEIR_API void weir_thread_detach(void);

WEIR_END_DECLS

#endif
