/* SPDX-License-Identifier: Apache-2.0 */
/* Hazard slots of a thread that holds very many. */
#include "sync/reader.h"

#include <criterion/criterion.h>

enum { NAMES = 2 * WI_READER_CHUNK + 1 };

static unsigned seen[NAMES + 1];

static void note(void *ctx, uint64_t name)
{
    (void)ctx;
    cr_assert_leq(name, NAMES);
    seen[name]++;
}

static void scan(void)
{
    for (int i = 0; i <= NAMES; i++) seen[i] = 0;
    wi_reader_scan(note, NULL);
}

/* Two chunks are full: a third is added, and all are scanned. What is cleared anywhere is used again. */
Test(reader, slots_grow_in_chunks_and_are_used_again)
{
    struct wi_thread *self = wi_thread_self();
    _Atomic uint64_t *slot[NAMES + 1];
    wi_reader_start();
    for (uint64_t name = 1; name <= NAMES; name++) {
        slot[name] = wi_reader_slot(self);
        cr_assert_not_null(slot[name]);
        cr_assert_eq(wi_load(slot[name], relaxed), 0, "slot %lu is in use", (unsigned long)name);
        wi_store(slot[name], name, relaxed);
    }
    scan();
    for (int name = 1; name <= NAMES; name++)
        cr_assert_eq(seen[name], 1, "name %d was seen %u times", name, seen[name]);
    for (uint64_t name = NAMES + 1; name <= 3 * WI_READER_CHUNK; name++)
        wi_store(wi_reader_slot(self), NAMES, relaxed);
    wi_store(slot[7], 0, release); /* in the oldest chunk, and the only free one */
    cr_assert_eq(wi_reader_slot(self), slot[7]);
    scan();
    cr_assert_eq(seen[7], 0);
    cr_assert_eq(seen[8], 1);
}
