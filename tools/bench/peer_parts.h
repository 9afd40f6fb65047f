/* SPDX-License-Identifier: Apache-2.0 */
/* peer_parts.h - the parts of a peer's program, between its main and its cases */
#ifndef BENCH_PEER_PARTS_H
#define BENCH_PEER_PARTS_H

#include "peer.h"

/*
 * The one line of JSON that a peer prints. Values are added in any order; nothing is printed before
 * peer_line_end(), so a program that is killed prints nothing that could be half read.
 */
void peer_line_text(const char *key, const char *value);
void peer_line_u64(const char *key, uint64_t value);
void peer_line_number(const char *key, double value);
void peer_line_null(const char *key);

/* peer_line_end - print the line; 0, or a negative errno when it was too long or standard output failed */
int peer_line_end(void);

/* peer_line_histogram - quantiles in nanoseconds, as an object under key */
void peer_line_histogram(const char *key, struct bench_histogram *histogram, double ticks_per_ns);

/* peer_calibrate - the counter's rate, and the rounds of peer_work() in a nanosecond */
void peer_calibrate(double *ticks_per_ns, double *rounds_per_ns);

/*
 * The cases. Each runs after peer_here.open() and adds its values to the line. Negative errno on
 * failure, with the reason on standard error. Threads may still run when they return: the caller exits
 * the process at once and frees nothing.
 */
int peer_case_pairs(struct peer_run *run, double ticks_per_ns);
int peer_case_wake(struct peer_run *run, double ticks_per_ns);
int peer_case_hit(struct peer_run *run);

#endif
