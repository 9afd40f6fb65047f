/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats_fields.h - what statistics consist of: sections of rows of fields
 *
 * One table describes them. The JSON, the Prometheus text and the live page (weir/page.h) are made from it, and its rows
 * stand on the lists in weir/stats.h and weir/tier.h. So a counter that is added to a list is in all of them.
 */
#ifndef WI_STATS_FIELDS_H
#define WI_STATS_FIELDS_H

#include "base/base.h"
#include "base/text.h"

#include <weir/pressure.h>
#include <weir/stats.h>
#include <weir/tier.h>

enum wi_stats_type { WI_STATS_U64, WI_STATS_U32, WI_STATS_TEXT, WI_STATS_LATENCY };

struct wi_stats_field {
    const char        *name; /* with its unit last; JSON and the page use it as it is */
    const char        *help;
    const char        *kind; /* "gauge" and "counter" as in Prometheus; "label": names the row; "info": for JSON only */
    const char        *suffix; /* in Prometheus: of the name, where it needs one to say what is counted; of a label: its name */
    enum wi_stats_type type;
    uint32_t           offset; /* in the row */
    uint32_t           bytes;
    uint32_t           reserved;
};

enum wi_stats_shape { WI_STATS_INLINE, WI_STATS_OBJECT, WI_STATS_ARRAY };

enum { WI_STATS_RUNTIME, WI_STATS_PRESSURE, WI_STATS_POOLS, WI_STATS_STREAMS, WI_STATS_TIERS, WI_STATS_HOTTEST, WI_STATS_SECTIONS };

struct wi_stats_section {
    const char                  *name;   /* key in JSON */
    const char                  *prefix; /* in Prometheus; NULL: not there */
    const struct wi_stats_field *fields;
    size_t                       fields_count;
    size_t                       row_bytes;
    enum wi_stats_shape          shape;
    uint32_t                     reserved;
};

extern const struct wi_stats_section wi_stats_sections[WI_STATS_SECTIONS];

#define WI_STATS_NAME_BYTES 48

struct wi_stats_runtime {
    char                      backend[16];
    char                      device[96];
    char                      model[96];
    uint64_t                  ordinal;
    struct weir_runtime_stats stats;
};

struct wi_stats_pressure {
    char                 level_name[16];
    uint64_t             level;
    struct weir_pressure read;
};

struct wi_stats_pool {
    char                   name[WI_STATS_NAME_BYTES];
    char                   kind[16];
    char                   memory[16];
    struct weir_pool_stats stats;
};

struct wi_stats_stream {
    char                      class[16];
    struct weir_stream_totals totals;
};

struct wi_stats_tier {
    char                   pool[WI_STATS_NAME_BYTES];
    char                   policy[32];
    uint64_t               buffer_bytes;
    struct weir_tier_stats stats;
};

struct wi_stats_hot {
    char     pool[WI_STATS_NAME_BYTES];
    char     tier[16];
    uint64_t buffer;
    uint64_t touches;
};

/* ---- gathering; stats_gather.c ---- */

struct wi_stats_rows {
    void  *row;
    size_t max;   /* rows that there is room for */
    size_t count; /* rows that are there */
    size_t all;   /* rows that there would be */
};

struct wi_stats {
    struct wi_stats_rows rows[WI_STATS_SECTIONS];
    void                *memory; /* of wi_stats_make() */
};

struct weir_runtime;

/* Room for so many pools. Fails: NOMEM. */
int  wi_stats_make(struct wi_stats *stats, size_t pools_max);
void wi_stats_free(struct wi_stats *stats);
/* Read everything once. No driver call, no lock is held while a pool is read. Any thread, one at a time for each `stats`. */
void wi_stats_gather(struct weir_runtime *rt, struct wi_stats *stats);

/* ---- texts; stats_format.c ---- */

void wi_stats_json(struct wi_text *text, const struct wi_stats *stats);
void wi_stats_prometheus(struct wi_text *text, const struct wi_stats *stats);

/* ---- stats_exit.c ---- */

/* Do what WEIR_STATS_AT_EXIT says. The runtime's helpers have ended. No driver call. */
void wi_stats_at_exit(struct weir_runtime *rt);

#endif
