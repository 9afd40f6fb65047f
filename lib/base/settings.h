/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - WEIR_* environment variables, from one table
 *
 * The table in settings.c is the only list: reading, `weir info --config` and the manual page weir_env(7)
 * come from it. Precedence: explicit option, then environment, then default. Values are read once, at the
 * first use in the process; a bad value or an unknown WEIR_* name is warned about through the log, and the
 * default holds. An empty value is as good as none.
 */
#ifndef WI_SETTINGS_H
#define WI_SETTINGS_H

#include "base/base.h"

/* X(field, variable, kind, default, help). Kinds: COUNT and MS (plain number), BYTES (512M, 2G), TEXT. */
#define WI_SETTINGS(X)                                                                             \
    X(backend, "WEIR_BACKEND", TEXT, "", "backend: cuda or host; empty: cuda where it works, else host") \
    X(log, "WEIR_LOG", TEXT, "warn", "log level, or component:level pairs, separated by commas")   \
    X(check, "WEIR_CHECK", COUNT, "0", "run-time checks: 0 none, 1 asserts, 2 also lease faces and walks, 3 also host writes into buffers that the device reads") \
    X(slots, "WEIR_SLOTS", COUNT, "", "per-CPU slots of a pool, 0 to 1024; empty: as many as CPUs, at most half the buffers") \
    X(bias, "WEIR_BIAS", COUNT, "1", "1: a buffer may belong to one CPU for a while, and a hit there takes no locked operation; 0: never, as a program needs that later refuses itself membarrier(2) by a filter; 2: at every chance, for tests") \
    X(pinned_bytes_max, "WEIR_PINNED_BYTES_MAX", BYTES, "", "budget of pinned host memory; empty: half of RAM") \
    X(device_bytes_max, "WEIR_DEVICE_BYTES_MAX", BYTES, "", "budget of device memory; empty: all of it") \
    X(pageable_bytes_max, "WEIR_PAGEABLE_BYTES_MAX", BYTES, "", "budget of pageable host memory; empty: half of RAM") \
    X(records_max, "WEIR_RECORDS_MAX", COUNT, "4194304", "buffers, streams and events in the process") \
    X(events_max, "WEIR_EVENTS_MAX", COUNT, "1024", "events of a runtime")                         \
    X(waiters_age_ms, "WEIR_WAITER_AGE_MS", MS, "100", "a waiter that has waited this long moves up a class") \
    X(keeper_poll_us, "WEIR_KEEPER_POLL_US", COUNT, "50", "first pause of the keeper while device work is pending; doubles up to 1 ms") \
    X(monitor_ms, "WEIR_MONITOR_MS", MS, "200", "period of the monitor")                           \
    X(drain_ms, "WEIR_DRAIN_MS", MS, "5000", "how long destroying a runtime waits for device work") \
    X(leaks, "WEIR_LEAKS", COUNT, "0", "1: keep the call site of each lease for the leak report")  \
    X(host_model, "WEIR_HOST_MODEL", TEXT, "", "cost model of the host backend, such as up=25G,down=25G,latency=5us,memory=8G; empty: the default") \
    X(cuda_library, "WEIR_CUDA_LIBRARY", TEXT, "libcuda.so.1", "driver library of the cuda backend") \
    X(nvtx, "WEIR_NVTX", TEXT, "", "library that takes ranges and names for NVIDIA's profilers, such as libnvToolsExt.so.1; empty: none") \
    X(stats, "WEIR_STATS", TEXT, "", "shm: publish a live page for `weir top`")                    \
    X(stats_at_exit, "WEIR_STATS_AT_EXIT", TEXT, "", "json or prometheus, with :path if not to the standard error: statistics when a runtime is destroyed; json adds a line, prometheus replaces the file; %p in the path is the process")

struct wi_settings {
#define WI_FIELD_COUNT uint64_t
#define WI_FIELD_BYTES uint64_t
#define WI_FIELD_MS    uint64_t
#define WI_FIELD_TEXT  const char *
#define X(field, variable, kind, fallback, help) WI_FIELD_##kind field;
    WI_SETTINGS(X)
#undef X
    uint64_t given; /* bit i: row i of the table came from the environment */
};

/* Bit of a row in `given`. */
enum wi_setting_row {
#define X(field, variable, kind, fallback, help) WI_SETTING_##field,
    WI_SETTINGS(X)
#undef X
    WI_SETTINGS_COUNT
};

/* Thread: any. Read once; never changes afterwards. A COUNT, BYTES or MS row whose default is "" reads 0 when not given. */
const struct wi_settings *wi_settings(void);

static inline bool wi_setting_given(enum wi_setting_row row)
{
    return (wi_settings()->given >> row) & 1;
}

/*
 * Read the environment again. For tests only: no other thread may be inside weir, and the texts of the
 * settings read before are overwritten.
 */
void wi_settings_reload_for_test(void);

/* Parse "512", "64K", "2G", "1.5G" (K, M, G, T: powers of 1024), "10%" (of whole; not with whole 0). Fails: INVAL. */
int wi_parse_bytes(const char *text, uint64_t whole, uint64_t *out);

#endif
