/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - what a debugging user may turn on at the price of the short path: lease faces and lease sites
 *
 * WEIR_CHECK=2 gives each lease one of 16 rotating addresses of its record, its face, chosen by the
 * generation. A stale pointer whose buffer has meanwhile gone to someone else then carries a wrong face.
 * WEIR_LEAKS=1 keeps the return address of each acquire for the leak report.
 *
 * Also here: is this process a forked child?
 */
#ifndef WI_WATCH_H
#define WI_WATCH_H

#include "pool/record.h"
#include "sync/records.h"

/* Nonzero: leases take the long path. Set once, before the first pool. */
extern uint32_t wi_watching;
/* 1: this process is a forked child. */
extern _Atomic uint32_t wi_forked;

enum { WI_WATCH_FACES = 1, WI_WATCH_SITES = 2 };

/* Read the settings; the first runtime does. Thread: any. */
void wi_watch_start(void);

/* The pointer to give to the caller for a record just leased. */
void *wi_watch_lease(struct wi_record *record, const void *site);
/* The record behind a pointer given back. pre: wi_record_valid(). Fails: STALE. */
int   wi_watch_release(const void *lease, struct wi_record **out);

/* Fails: FORKED in a forked child. One relaxed load. */
int wi_process_check(void);
/* Count this process's forks; the gates of open pools are raised by the runtime's own handler. */
void wi_process_forked(void);

#endif
