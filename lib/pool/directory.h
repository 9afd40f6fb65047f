/* SPDX-License-Identifier: Apache-2.0 */
/*
 * directory.h - from an address to the buffer whose bytes contain it
 *
 * A sorted array of address ranges, replaced as a whole when slabs come and go. Readers search it inside an
 * epoch section; the old array, and the memory behind a range that was taken out, are freed one epoch later.
 *
 * Progress: find is lock-free. add and remove take a lock. Process-wide.
 */
#ifndef WI_DIRECTORY_H
#define WI_DIRECTORY_H

#include "pool/pool.h"

/* Fails: NOMEM. */
int  wi_directory_add(struct wi_stretch *stretch);
/* Afterwards no find can return it; a find that runs now may still read it until its epoch ends. Cannot fail. */
void wi_directory_remove(struct wi_stretch *stretch);
/* NULL: no buffer has this address. */
struct wi_record *wi_directory_find(const void *host);

#endif
