/* SPDX-License-Identifier: Apache-2.0 */
/*
 * numa.h - the nodes of the system, and binding memory to them
 *
 * By system call and sysfs alone, so that nothing needs libnuma. Nodes are bits of a 64-bit mask; a
 * system with more nodes has the others ignored. Thread: any. Progress: blocks (reads files).
 */
#ifndef WI_NUMA_H
#define WI_NUMA_H

#include "base/base.h"

#include <sched.h>

/*
 * Where the kernel tells about nodes and memory. Tests point it elsewhere before they create a
 * slab.
 */
struct wi_system_paths {
    const char *nodes; /* holds `online` and node<N>/ */
    const char *meminfo;
};
extern struct wi_system_paths wi_system_paths;

/* What a placement may become when the system does not allow it. */
enum wi_bind_strength {
    WI_BIND_PREFER = 1, /* other nodes are taken when these are full */
    WI_BIND_STRICT
};

/* Nodes that are online; 1 (node 0 alone) where the system does not say. */
uint64_t wi_numa_online(void);
/* Parse "0-3,8". Fails: INVAL. */
int wi_numa_parse(const char *list, uint64_t *mask);
/*
 * Bytes that the nodes could give: free, or clean page cache. UINT64_MAX where the system does not
 * say.
 */
uint64_t wi_numa_available_bytes(uint64_t nodes);
/* CPUs of the nodes on which this thread may run. False: none, or unknown. */
bool wi_numa_cpus(uint64_t nodes, cpu_set_t *cpus);
/* Place the pages of a range that has none yet. Returns 0 or a negated errno, unrecorded. */
int wi_numa_bind(void *base, size_t bytes, uint64_t nodes, enum wi_bind_strength strength);

/* The node of the page at an address that is mapped and populated; -1: unknown. */
int32_t wi_numa_node_of(const void *at);

/* One "Name: N kB" row of a meminfo file; name with its colon. False: no such row. */
bool wi_meminfo_row(const char *path, const char *name, uint64_t *bytes);

#endif
