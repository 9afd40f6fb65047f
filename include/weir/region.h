/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/region.h - ranges of addresses that are pinned piece by piece, for allocators of one's own
 *
 * A region reserves addresses and nothing else. Steps of it are committed: charged to the runtime's budget, bound to
 * the device's NUMA node, populated by several threads and registered with the device; and decommitted again, which
 * gives memory and budget back and keeps the addresses. libweir_heap (weir/heap.h) uses this header only.
 *
 *     0                                                      bytes
 *     |  committed  | committed  |  reserved  | committed |  |      steps of step_bytes
 *
 * What is committed by one call is one registration, unless it is longer than chunk_bytes_max. The device can
 * address bytes of several registrations, but no copy may span two of them: weir_region_find() tells where one ends.
 *
 * What the device still uses must not be decommitted, nor given to another owner. A mark says when that is: take one
 * behind the work with weir_region_mark(), and reuse the memory when weir_region_query() answers 0. If it answers DEVICE,
 * nobody will ever know: do not reuse the memory, and end the region with weir_region_abandon().
 *
 * What excludes what: no two calls commit or decommit the same steps at once; weir_region_destroy() runs beside no
 * other call given the same region. All else runs beside each other. A region ends before its runtime.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 *
 * Example, given struct weir_runtime *rt; struct weir_stream *stream; uint64_t device:
 *
 *     struct weir_region *region;
 *     struct weir_mark    mark;
 *     int err = weir_region_create(rt, WEIR_OPTS(region, .bytes = (size_t)1 << 30), &region);
 *     if (err < 0) return err;
 *     struct weir_extent extent = {0, (size_t)2 << 20};
 *     err = weir_region_commit(region, extent);
 *     if (err == 0) err = weir_region_upload(region, stream, device, weir_region_base(region), 4096);
 *     if (err == 0) err = weir_region_mark(region, stream, &mark);
 *     if (err == 0) err = weir_region_sync(region, mark, WEIR_FOREVER);
 *     if (err == 0) err = weir_region_decommit(region, extent);
 *     weir_region_destroy(region);
 */
#ifndef WEIR_REGION_H
#define WEIR_REGION_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

struct weir_region;

enum weir_region_flags {
    WEIR_REGION_PAGEABLE_OK = 1 /* accept pageable memory where pinning is refused; see weir_region_place.memory */
};

struct weir_region_opts {
    size_t      struct_size;
    const char *name;            /* copied; shown in logs; NULL: "region" */
    size_t      bytes;           /* of addresses; rounded up to whole steps; must be given */
    size_t      step_bytes;      /* granularity: a power of two, at least a page; 0: 2 MiB */
    size_t      chunk_bytes_max; /* longest registration, whole steps, with a pause between two; 0: no limit */
    uint64_t    numa_mask;       /* bit per node; 0: the device's node */
    uint32_t    memory;          /* enum weir_memory: PINNED or PAGEABLE; 0: pinned */
    uint32_t    flags;           /* enum weir_region_flags */
};

/*
 * weir_region_create - reserve addresses; no memory is taken and nothing is charged
 *
 * Thread: any.  Progress: a system call.
 * Owner:  the caller, until weir_region_destroy().
 * Fails:  INVAL, OPTS, EXCEEDS (names the system's limit), NOMEM, CLOSED, FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_region_create(struct weir_runtime *rt, const struct weir_region_opts *opts,
                                                struct weir_region **out);

/*
 * weir_region_destroy - decommit everything and give the addresses back
 *
 * pre: no device work pending on it. Memory that a lost device may still reach stays mapped and charged. NULL is
 * accepted. Cannot fail.
 * Thread: any, once.  Progress: blocks in the driver.
 */
WEIR_API void weir_region_destroy(struct weir_region *region);

/*
 * weir_region_abandon - end a region whose memory the device may still reach
 *
 * All that is committed stays mapped and charged for good, and is told in the log. NULL is accepted.
 * Thread: any, once.  Progress: makes no driver call.
 */
WEIR_API void weir_region_abandon(struct weir_region *region);

/* weir_region_base - the first address; fixed for the region's life. NULL for NULL. Progress: wait-free. */
WEIR_API void *weir_region_base(const struct weir_region *region);

/* Part of a region: whole steps. */
struct weir_extent {
    size_t offset;
    size_t bytes;
};

/*
 * weir_region_commit - have memory behind a part of the region that has none
 *
 * The memory is zero. Nothing is left behind by a failure.
 *
 * Thread:   any; not two calls on the same steps.  Progress: blocks (charges, populates, registers).
 * Fails:    EXCEEDS (names the budget, its value and its setting; or the system's limit), NOMEM, RANGE (not whole
 *           steps of the region), BUSY (part of it is committed), DEVICE, CLOSED, FORKED, NOSYS (the device cannot
 *           register memory).
 */
WEIR_API WEIR_MUST_CHECK int weir_region_commit(struct weir_region *region, struct weir_extent extent);

/*
 * weir_region_decommit - give memory and budget back; the addresses stay reserved
 *
 * pre: no device work pending on it. The extent is exactly one that was committed, or several that lie side by side.
 * What a lost device may still reach stays mapped and charged, and its steps cannot be committed again.
 *
 * Thread: any; not two calls on the same steps.  Progress: blocks in the driver.
 * Fails:  RANGE, NOENT (part of it is not committed, or an extent that was committed as one would be cut), FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_region_decommit(struct weir_region *region, struct weir_extent extent);

/* Where an address of a region is for the device. */
struct weir_region_place {
    size_t   struct_size;
    uint64_t device;   /* the device's address of that byte; 0: pageable memory */
    size_t   bytes;    /* from that byte to the end of its registration */
    uint32_t memory;   /* enum weir_memory: the actual kind */
    uint32_t reserved;
};

/* weir_region_find - where an address is for the device; set out->struct_size first. Progress: lock-free.  Fails: NOENT (not committed), RANGE, INVAL. */
WEIR_API WEIR_MUST_CHECK int weir_region_find(const struct weir_region *region, const void *host,
                                              struct weir_region_place *out);

/* ---- when the device is done ---- */

/* A point in the work of a stream. Marks of one stream are ordered by point. {0, 0}: nothing was pending. */
struct weir_mark {
    uint64_t stream;
    uint64_t point;
};

/*
 * weir_region_mark - the point behind everything queued on stream so far
 *
 * Call it after the work was queued, on the queueing thread or ordered after it. stream NULL: the thread's current one.
 *
 * Thread:   the holder of the stream.
 * Progress: no driver call, but for streams whose handle is known outside weir: there an event is recorded.
 * Fails:    CAPTURE, NOTLEASED, FOREIGN, INVAL (a stream of another runtime), DEVICE.
 */
WEIR_API WEIR_MUST_CHECK int weir_region_mark(struct weir_region *region, struct weir_stream *stream,
                                              struct weir_mark *out);

/*
 * weir_region_query - 0: the device has passed the mark
 *
 * Progress: asks the driver where that is needed; does not wait.
 * Fails:    AGAIN (not yet), DEVICE (it never will: do not reuse the memory), CLOSED, INVAL (no mark), FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_region_query(struct weir_region *region, struct weir_mark mark);

/* weir_region_sync - wait until the device has passed the mark. Progress: blocks until deadline_ns. Fails: TIMEDOUT, DEVICE, INVAL, CLOSED. */
WEIR_API WEIR_MUST_CHECK int weir_region_sync(struct weir_region *region, struct weir_mark mark, uint64_t deadline_ns);

/*
 * weir_region_upload - queue a copy from the region to device memory, one for each registration that it touches
 *
 * Nothing is marked: take a mark behind it before the memory is reused or overwritten. If the driver refuses midway,
 * part of it is queued.
 * Thread: the holder of the stream.  Progress: calls the driver, once for each registration; waits for no device work.
 * Fails:  as weir_region_mark(); RANGE, NOENT.
 */
WEIR_API WEIR_MUST_CHECK int weir_region_upload(struct weir_region *region, struct weir_stream *stream,
                                                uint64_t device_dst, const void *src, size_t bytes);

/* weir_region_download - as weir_region_upload(), from device memory into the region */
WEIR_API WEIR_MUST_CHECK int weir_region_download(struct weir_region *region, struct weir_stream *stream, void *dst,
                                                  uint64_t device_src, size_t bytes);

/* X(name, help): one list makes the struct. */
#define WEIR_REGION_COUNTERS(X)                                                                    \
    X(bytes, "addresses reserved")                                                                 \
    X(bytes_committed, "bytes that have memory and are charged")                                   \
    X(bytes_committed_peak, "most bytes that had memory at one time")                              \
    X(bytes_abandoned, "bytes that stay with a lost device")                                       \
    X(commits, "extents committed")                                                                \
    X(decommits, "extents decommitted")                                                            \
    X(failures, "commits that failed")

struct weir_region_stats {
    size_t struct_size;
#define X(name, help) uint64_t name;
    WEIR_REGION_COUNTERS(X)
#undef X
};

/* weir_region_stats_read - counts of a region; set out->struct_size first. Progress: wait-free. Fails: INVAL. */
WEIR_API int weir_region_stats_read(const struct weir_region *region, struct weir_region_stats *out);

WEIR_END_DECLS

#endif
