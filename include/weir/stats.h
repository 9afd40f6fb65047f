/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/stats.h - snapshots of what a runtime does
 *
 * Reading is cheap and disturbs nobody. A snapshot is taken without stopping the pool, so the law
 * buffers = leased + free + retiring + quarantined holds exactly at rest and nearly while running.
 *
 * Unless a call says otherwise:
 * Thread:   any, beside anything but weir_runtime_destroy().
 * Progress: takes a lock for a moment; never waits for the device.
 *
 * Example, given struct weir_pool *pool:
 *
 *     struct weir_pool_stats stats = {.struct_size = sizeof stats};
 *     if (weir_pool_stats_read(pool, &stats) == 0)
 *         printf("%s: %llu of %llu leased, waits up to %llu ns\n", stats.name, (unsigned long long)stats.leased,
 *                (unsigned long long)stats.total, (unsigned long long)stats.wait.max_ns);
 */
#ifndef WEIR_STATS_H
#define WEIR_STATS_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

/*
 * Latency distribution, in nanoseconds. Quantiles are upper bounds of logarithmic buckets (error < 7 %). Where samples
 * stand for several values each, count and sum_ns are of what they stand for.
 */
#define WEIR_LATENCY_FIELDS(X)                                                                     \
    X(count)                                                                                       \
    X(sum_ns)                                                                                      \
    X(p50_ns)                                                                                      \
    X(p90_ns)                                                                                      \
    X(p99_ns)                                                                                      \
    X(p999_ns)                                                                                     \
    X(p9999_ns)                                                                                    \
    X(max_ns)

struct weir_latency {
#define X(name) uint64_t name;
    WEIR_LATENCY_FIELDS(X)
#undef X
};

/*
 * Counters of one pool (buffers), one class of streams, or the events: all use the same free store.
 * X(name, help): one list makes the struct, the JSON and the Prometheus text.
 */
#define WEIR_POOL_GAUGES(X)                                                                        \
    X(total, "objects that exist")                                                                 \
    X(leased, "objects held by callers")                                                           \
    X(free, "objects that an acquire can have")                                                    \
    X(retiring, "objects released while the device still used them")                               \
    X(quarantined, "objects never reused because their device work failed")                        \
    X(waiting, "acquires that wait now")

#define WEIR_POOL_COUNTERS(X)                                                                      \
    X(acquires, "leases given")                                                                    \
    X(slot_hits, "acquires served by the own CPU's slot")                                          \
    X(lane_hits, "acquires served by the keeper's lane")                                           \
    X(commons_hits, "acquires served by the shared queue")                                         \
    X(steal_hits, "acquires served by another CPU's slot")                                         \
    X(handoffs, "acquires served while queued")                                                    \
    X(misses, "acquires that the own slot of the CPU did not serve")                                \
    X(timeouts, "acquires that ended without an object")                                           \
    X(retires, "releases that had to wait for the device")                                         \
    X(reaps, "retired objects that came home")                                                     \
    X(grows, "growths")                                                                            \
    X(grow_failures, "growths that failed")                                                        \
    X(shrinks, "shrinks")                                                                          \
    X(misuses, "releases of what was not leased")                                                  \
    X(bytes_up, "bytes uploaded")                                                                  \
    X(bytes_down, "bytes downloaded")                                                              \
    X(uploads, "copies to the device")                                                             \
    X(downloads, "copies from the device")                                                         \
    X(timed, "copies whose device time was measured")                                              \
    X(timed_bytes, "bytes of those copies")                                                        \
    X(timed_ns, "device time of those copies")                                                     \
    X(hazards, "uploads whose bytes the host changed while the device read them")

/* What follows from the counters. */
#define WEIR_POOL_RATES(X)                                                                         \
    X(contention_ppm, "misses in a million acquires")                                              \
    X(transfer_ns, "average device time of a copy")                                                \
    X(transfer_bytes_per_s, "average bandwidth of a copy")

struct weir_pool_stats {
    size_t   struct_size;
    char     name[32];
    uint64_t buffer_bytes; /* 0 for streams and events */
    uint32_t memory;       /* enum weir_memory: the actual kind */
    uint32_t dtype;        /* enum weir_dtype; 0: none */
#define X(name, help) uint64_t name;
    WEIR_POOL_GAUGES(X)
    WEIR_POOL_COUNTERS(X)
#undef X
    struct weir_latency acquire; /* sampled: one hit in 2,048, one longer acquire in 16, every wait */
    struct weir_latency wait;    /* every wait */
#define X(name, help) uint64_t name;
    WEIR_POOL_RATES(X)
#undef X
};

/*
 * weir_pool_stats_read - counts of a pool; set out->struct_size first
 *
 * Device times are of one copy in weir_pool_opts.sample_every of each buffer, and come in when it has ended; reading
 * asks the driver for those that are outstanding, at most four.  Fails: INVAL.
 */
WEIR_API int weir_pool_stats_read(struct weir_pool *pool, struct weir_pool_stats *out);

/* weir_stream_stats_read - as weir_pool_stats_read(), of one stream class, see enum weir_stream_class */
WEIR_API int weir_stream_stats_read(struct weir_runtime *rt, uint32_t stream_class,
                                    struct weir_pool_stats *out);

/* weir_event_stats_read - as weir_pool_stats_read(), of the runtime's events that were acquired without flags */
WEIR_API int weir_event_stats_read(struct weir_runtime *rt, struct weir_pool_stats *out);

/*
 * All streams of a class, shared ones included. X(name, help): one list makes the struct and the texts.
 */
#define WEIR_STREAM_TOTALS(X)                                                                      \
    X(streams, "gauge", "streams that exist")                                                      \
    X(free, "gauge", "streams that are free and drained")                                          \
    X(acquired, "gauge", "streams held by callers")                                                \
    X(busy, "gauge", "streams released, or shared, with work pending")                             \
    X(failed, "gauge", "streams never reused because recording on them failed")                    \
    X(shared, "gauge", "streams that several callers may issue on")                                \
    X(acquires, "counter", "leases and shares given")                                              \
    X(active_ns, "counter", "time that streams were leased, present leases included")              \
    X(active_average_ns, "gauge", "time of one lease")                                             \
    X(last_use_ns, "gauge", "begin or end of the latest lease")                                    \
    X(copies, "counter", "copies queued")                                                          \
    X(bytes_up, "counter", "bytes uploaded")                                                       \
    X(bytes_down, "counter", "bytes downloaded")                                                   \
    X(events_recorded, "counter", "events recorded by callers")                                    \
    X(syncs, "counter", "waits for a stream")                                                      \
    X(affinity_keys, "gauge", "affinity keys that are bound to a stream")                          \
    X(affinity_hits, "counter", "acquires with a key that got the key's stream")                   \
    X(affinity_misses, "counter", "acquires with a key that got another stream, or its first")     \
    X(affinity_evictions, "counter", "keys that gave way to others")

struct weir_stream_totals {
    size_t struct_size;
#define X(name, type, help) uint64_t name;
    WEIR_STREAM_TOTALS(X)
#undef X
};

/* weir_stream_totals_read - sums over the streams of a class, see enum weir_stream_class; 0: of all. Set out->struct_size first. Fails: INVAL. */
WEIR_API int weir_stream_totals_read(struct weir_runtime *rt, uint32_t stream_class,
                                     struct weir_stream_totals *out);

/* X(name, type, help): one list makes the struct and the texts. */
#define WEIR_RUNTIME_COUNTERS(X)                                                                   \
    X(pinned_bytes, "gauge", "pinned host memory in use")                                          \
    X(pinned_bytes_max, "gauge", "budget of pinned host memory")                                   \
    X(device_bytes, "gauge", "device memory in use")                                               \
    X(device_bytes_max, "gauge", "budget of device memory")                                        \
    X(pageable_bytes, "gauge", "pageable host memory in use")                                      \
    X(pageable_bytes_max, "gauge", "budget of pageable host memory")                               \
    X(driver_calls, "counter", "calls of the device driver")                                       \
    X(keeper_wakeups, "counter", "rounds of the keeper thread")                                    \
    X(monitor_wakeups, "counter", "rounds of the monitor thread")                                  \
    X(ticks_recorded, "counter", "events recorded to learn when buffers are free")                 \
    X(ticks_queried, "counter", "queries of those events")                                         \
    X(lost, "gauge", "1 when the device is lost")                                                  \
    /* Beside driver_calls; they take no lock of the driver. Neither has what opening and closing a device takes. */ \
    X(driver_thread_calls, "counter", "calls of the device driver for the thread's context and capture mode")

struct weir_runtime_stats {
    size_t   struct_size;
    uint64_t pools; /* of buffers, tiered ones included; "open_pools" in the texts */
#define X(name, type, help) uint64_t name;
    WEIR_RUNTIME_COUNTERS(X)
#undef X
};

/* weir_runtime_stats_read - counts of the runtime itself; set out->struct_size first. Fails: INVAL. */
WEIR_API int weir_runtime_stats_read(struct weir_runtime *rt, struct weir_runtime_stats *out);

enum weir_format { WEIR_FORMAT_JSON = 1, WEIR_FORMAT_PROMETHEUS };

/*
 * weir_stats_format - all stats as text
 *
 * JSON has the names of the structs' fields: pools, streams, tiers, the buffers of tiered pools that were touched most, and
 * what was last read of memory pressure. Prometheus has the same under weir_*, with a HELP and a TYPE line each: counters end
 * in _total, times are in seconds. A pool that has the name of another is name#2, name#3 and so on. Names stay.
 *
 * Like snprintf: returns the length of the whole text. No driver call.  Fails: INVAL, NOMEM, FORKED.
 */
WEIR_API int64_t weir_stats_format(struct weir_runtime *rt, uint32_t format, char *text, size_t capacity);

/*
 * weir_settings_format - the WEIR_* settings that this process uses, as a JSON array of {variable, value,
 * source, help}
 *
 * source is "environment" or "default"; an option given to a call goes before both. Like snprintf:
 * returns the length of the whole text. Cannot fail.  Thread: any.
 */
WEIR_API int weir_settings_format(char *text, size_t capacity);

/*
 * weir_driver_format - what there is of a CUDA driver, as a JSON object: {library, version, problem, devices, features}
 *
 * problem says in a sentence why the driver cannot be used; it is "" where it can, and only then there are
 * devices ({ordinal, name, bytes, pci_bus_id, link_speed, link_width, link_speed_max, link_width_max, numa_node}; what
 * cannot be read is left out) and features ({name, found, text}). The driver is loaded and started if it was not
 * yet; no context is made. Like snprintf: returns the length of the whole text.
 * Thread: any.  Progress: blocks in the driver.  Fails: INVAL.
 */
WEIR_API int weir_driver_format(char *text, size_t capacity);

WEIR_END_DECLS

#endif
