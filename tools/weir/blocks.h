/* SPDX-License-Identifier: Apache-2.0 */
/* blocks.h - `weir replay --blocks`: accesses to KV-cache blocks played through a real tiered pool */
#ifndef WEIR_TOOL_BLOCKS_H
#define WEIR_TOOL_BLOCKS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "blocks_series.h"

struct block_access {
    uint64_t at_ns;  /* since the start of the trace; equal source times are spread, see blocks_trace.c */
    uint32_t object; /* 0, 1, 2, ... in order of first access */
};

struct block_trace {
    struct block_access *access;
    size_t               count;
    size_t               objects;
    size_t               requests;
};

/*
 * Lines of timestamp_ms,object_id,request_id, or Mooncake's JSONL ({"timestamp": ms, "hash_ids": [...]}), plain or gzip;
 * told apart by content. Returns 0, or -1 after saying file, line and reason on `complaints`.
 */
int  block_trace_read(const char *path, FILE *complaints, struct block_trace *out);
/*
 * Accesses drawn in process: chats that start with one of a few shared prompts and grow by some blocks a turn; each turn
 * touches all blocks of its chat. Think times are log-normal. Like the sessions of Mooncake (USENIX FAST '25).
 */
int  block_trace_draw(uint64_t seed, unsigned seconds, struct block_trace *out);
void block_trace_free(struct block_trace *trace);

struct blocks_options {
    const char *path; /* "drawn": no file */
    const char *json;
    const char *report; /* NULL: no page */
    const char *policy;
    const char *backend;
    double      budget;        /* device tier, as a share of the objects */
    double      pinned_budget; /* pinned tier, likewise */
    double      cost;
    size_t      block_bytes;
    unsigned    threads;
    double      period_s;
    bool        wall;          /* the monitor runs on real time, accesses come as the trace says */
    double      speedup;       /* of the wall clock */
};

struct blocks_result {
    uint64_t accesses, objects, hits, pinned_hits, pageable_hits; /* of re-accesses, by tier */
    uint64_t promotions, promotions_pinned, demotions, demotions_clean, moves_dropped, bytes_moved;
    uint64_t periods, corrupt, checked_moves, leaked;
    size_t   budget_objects, pinned_objects;
    double   wall_s;
    char     backend[16];
    char     model[96];
    struct block_series series;
};

/* Returns 0, or -1 after saying why on standard error. */
int     blocks_run(const struct blocks_options *options, const struct block_trace *trace, struct blocks_result *out);
json_t *blocks_json(const struct blocks_options *options, const struct blocks_result *result);
void    blocks_print(const struct blocks_options *options, const struct blocks_result *result);

/* `weir replay` hands over to this when it is given --blocks. */
int command_replay_blocks(int count, char **arguments);

#endif
