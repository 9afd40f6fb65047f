/* SPDX-License-Identifier: Apache-2.0 */
/* harness_parts.h - between the files of the harness */
#ifndef STRESS_HARNESS_PARTS_H
#define STRESS_HARNESS_PARTS_H

#include <stdio.h>

/* Look at the watched pools; fails for a waiter that sleeps though something is free. Called every period by the watch. */
void stress_watch_pools(uint64_t period_ns);
/* Print the watched pools. Takes no lock: the program is about to end. */
void stress_print_pools(FILE *file);

#endif
