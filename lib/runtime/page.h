/* SPDX-License-Identifier: Apache-2.0 */
/* page.h - the writer of the live page; its layout and protocol are in weir/page.h */
#ifndef WI_PAGE_H
#define WI_PAGE_H

#include "runtime/runtime.h"

/*
 * Publish a page if the options or WEIR_STATS say so. A page that cannot be made is told in the log and left out:
 * statistics stop no service.
 */
void wi_page_start(struct weir_runtime *rt);
/* The monitor: write the page when it is due. Returns when to call again; WEIR_FOREVER without a page. */
uint64_t wi_page_tend(struct weir_runtime *rt, uint64_t now_ns);
/* Remove the page. The monitor has ended. */
void wi_page_end(struct weir_runtime *rt);
/* In a forked child: the page is the parent's alone. Async-signal-safe. */
void wi_page_forked(struct weir_runtime *rt);

#endif
