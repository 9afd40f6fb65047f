/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/page.h - the live page: statistics of a running process, in shared memory, for readers in other processes
 *
 * With WEIR_STATS=shm, or weir_runtime_opts.stats, each runtime keeps a page /dev/shm/weir.<pid>.<number>, mode 0600. The
 * monitor thread writes it once a period; requests are not slowed, and a reader costs the process nothing. `weir top`
 * shows pages; this is for whoever wants to read them in another way.
 *
 * A page describes itself. Its schema is text, with a line for each section and each field of the section's rows:
 *
 *     section <name> <shape> <offset> <row bytes> <rows at most>
 *     field <name> <type> <offset> <bytes> <kind> <help, to the end of the line>
 *
 * shape is inline (one row, part of the whole), object (one row) or array. A section lies `offset` bytes into the slot:
 * two uint64_t, how many rows are there and how many there would be if there were room, then the rows. A field lies
 * `offset` bytes into its row; type is u64, u32, or text (ends with a zero); kind is gauge, counter, label or info. A
 * name with a point is a field of an object. Readers look fields up by name and pass over what they do not know:
 * sections and fields come and go between releases, `version` changes only when what stands here does.
 *
 * Two slots. The writer raises `begun` to n, writes slot n % 2, then sets `done` to n. A reader loads `done`, copies slot
 * done % 2, then loads `begun`: if that is at least done + 2, the copy may be torn, and it reads again. So what a writer
 * leaves half done, even one that died, is never seen, and the last whole slot stays readable.
 *
 * The writer holds flock(LOCK_EX) on the file as long as it lives. Who gets the lock has found the page of a dead process,
 * and may remove it, if the name still is the file that was locked.
 *
 * Example, given const struct weir_page *page; void *copy; uint64_t done:
 *
 *     do {
 *         done = __atomic_load_n(&page->done, __ATOMIC_ACQUIRE);
 *         memcpy(copy, (const char *)page + page->slot_offset[done % 2], page->slot_bytes);
 *         __atomic_thread_fence(__ATOMIC_ACQUIRE);
 *     } while (__atomic_load_n(&page->begun, __ATOMIC_RELAXED) >= done + 2);
 */
#ifndef WEIR_PAGE_H
#define WEIR_PAGE_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

#define WEIR_PAGE_FOLDER  "/dev/shm"
#define WEIR_PAGE_PREFIX  "weir."
#define WEIR_PAGE_MAGIC   "weirpage"
#define WEIR_PAGE_VERSION 1

/* At the file's beginning. Times are of CLOCK_MONOTONIC. Offsets count from the file's beginning. */
struct weir_page {
    char     magic[8]; /* WEIR_PAGE_MAGIC, without a zero */
    uint32_t version;
    uint32_t head_bytes; /* of this struct */
    uint64_t page_bytes;
    uint64_t schema_offset;
    uint64_t schema_bytes; /* the terminating zero included */
    uint64_t slot_offset[2];
    uint64_t slot_bytes;
    uint64_t created_ns;
    uint64_t period_ns; /* how often it is written, if the monitor is not busy pinning memory */
    uint32_t pid;       /* as the process knows itself */
    uint32_t number;    /* of the runtime's page in the process */
    char     program[64];
    uint64_t begun; /* atomic */
    uint64_t done;  /* atomic */
};

/* At a slot's beginning. */
struct weir_page_slot {
    uint64_t written_ns;
    uint64_t cost_ns; /* time that it took to gather the slot before */
    uint64_t reserved[2];
};

WEIR_END_DECLS

#endif
