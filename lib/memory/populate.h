/* SPDX-License-Identifier: Apache-2.0 */
/*
 * populate.h - giving fresh memory its pages, by several threads, in order
 *
 * A crew fills a mapping piece by piece. Helpers take pieces ahead of the creator, so that filling
 * runs beside the registering of what is filled already:
 *
 *     filled by helpers     taken        not taken
 *     |=================|==  ==  == |..................|
 *     0               ready                          bytes
 *
 * Exclusion: start, step, ready and end belong to one thread, the creator. Helpers are the crew's
 * own. A helper that stalls holds up `ready`, and with it the creator; no lock is held while a
 * piece is filled.
 */
#ifndef WI_POPULATE_H
#define WI_POPULATE_H

#include "base/base.h"

#define WI_HUGE_PAGE_BYTES      ((size_t)2 << 20)
#define WI_POPULATE_PIECE_BYTES ((size_t)16 << 20)
#define WI_POPULATE_THREADS_MAX 16
/* Below this much per thread, starting one costs more than it brings. */
#define WI_POPULATE_BYTES_PER_THREAD ((size_t)64 << 20)
/*
 * Small pages take about 1 ms per MiB. Huge pages that take eight times that are being compacted
 * for.
 */
#define WI_POPULATE_HUGE_NS_PER_MIB (8 * WI_NS_PER_MS)

_Static_assert(WI_POPULATE_PIECE_BYTES % WI_HUGE_PAGE_BYTES == 0,
               "no huge page is filled by two threads");

struct wi_populate_opts {
    char    *base;        /* page-aligned; at a huge page for huge pages to come */
    size_t   bytes;       /* whole pages */
    uint64_t nodes;       /* fill from CPUs of these nodes; 0: from any */
    uint32_t threads_max; /* the creator included; 0: as many as pay */
    bool     unadvised;   /* ask for no huge pages */
    uint8_t  reserved[3];
};

struct wi_populate;

/* Fails: NOMEM. On failure nothing is left behind. */
int wi_populate_start(const struct wi_populate_opts *opts, struct wi_populate **out);
/* Bytes from the base that have their pages. */
size_t wi_populate_ready(struct wi_populate *crew);
/* Fill a piece, or wait for the helpers to get on; nothing, once all is ready. Fails: NOMEM. */
int wi_populate_step(struct wi_populate *crew);
/* Stop the helpers where they are and forget the crew; the pages stay. NULL is accepted. */
void wi_populate_end(struct wi_populate *crew);

/* Threads that would fill this much, the creator included. */
unsigned wi_populate_threads(size_t bytes, uint32_t threads_max);

#endif
