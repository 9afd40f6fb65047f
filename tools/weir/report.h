/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - runs as one page that opens in a browser by itself
 *
 * A report is made from the JSON of runs and from nothing else, so a run can be looked at long after it was made.
 */
#ifndef WEIR_TOOL_REPORT_H
#define WEIR_TOOL_REPORT_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* Returns 0, or -1 after saying that gnuplot is missing; to be asked before a run that is to be reported. */
int report_check(void);

/* The whole page, at path; a page that is there is replaced once the new one is whole. Returns 0, or -1 after saying why. */
int report_write(const char *path, json_t *const *runs, size_t count);

/*
 * Parts of a page, for runs of `weir replay` and of `weir replay --blocks`. *number: charts so far.
 * Each returns 0, or -1 after saying why.
 */
int report_requests(const json_t *run, unsigned *number, FILE *page);
int report_blocks(const json_t *run, unsigned *number, FILE *page);

/* Text with what HTML would take for markup replaced. */
void report_text(const char *text, FILE *page);

#endif
