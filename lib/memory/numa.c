/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/numa.h"

#include <limits.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct wi_system_paths wi_system_paths = {
    .nodes = "/sys/devices/system/node",
    .meminfo = "/proc/meminfo",
};

/* A list of CPUs of a large machine is the longest of the one-line files read here. */
#define LINE_BYTES 8192

static bool read_line(const char *path, char *line, size_t capacity)
{
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool got = fgets(line, (int)capacity, file) != NULL;
    (void)fclose(file);
    return got;
}

/* Calls fn for every number of "0-3,8". False: that is not a list. */
static bool walk_list(const char *list, void (*fn)(void *ctx, unsigned number), void *ctx)
{
    const char *at = list;
    for (;;) {
        char         *end;
        unsigned long first = strtoul(at, &end, 10);
        unsigned long last = first;
        if (end == at) return false;
        if (*end == '-') {
            at = end + 1;
            last = strtoul(at, &end, 10);
            if (end == at) return false;
        }
        if (last < first || last > USHRT_MAX) return false;
        for (unsigned long number = first; number <= last; number++) fn(ctx, (unsigned)number);
        if (*end == '\0' || *end == '\n') return true;
        if (*end != ',') return false;
        at = end + 1;
    }
}

static void add_node(void *ctx, unsigned node)
{
    if (node < 64) *(uint64_t *)ctx |= UINT64_C(1) << node;
}

int wi_numa_parse(const char *list, uint64_t *mask)
{
    uint64_t nodes = 0;
    if (!walk_list(list, add_node, &nodes))
        return WI_FAIL_TEXT(INVAL, "\"%.40s\" is not a list of nodes such as 0-3,8", list);
    *mask = nodes;
    return 0;
}

uint64_t wi_numa_online(void)
{
    char     path[PATH_MAX];
    char     line[LINE_BYTES];
    uint64_t nodes = 0;
    (void)snprintf(path, sizeof path, "%s/online", wi_system_paths.nodes);
    /*
     * Not to be readable is normal (no NUMA in the kernel, no /sys in a container) and is one node.
     */
    if (!read_line(path, line, sizeof line) || !walk_list(line, add_node, &nodes) || !nodes)
        return 1;
    return nodes;
}

bool wi_meminfo_row(const char *path, const char *name, uint64_t *bytes)
{
    FILE *file = fopen(path, "re");
    if (!file) return false;
    char line[256];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        /* A node's file says "Node 0 MemFree: 12 kB", the system's "MemFree: 12 kB". */
        const char *at = strstr(line, name);
        if (!at || (at != line && at[-1] != ' ')) continue;
        at += strlen(name);
        at += strspn(at, " \t");
        if (*at < '0' || *at > '9') continue;
        uint64_t value = strtoull(at, NULL, 10);
        if (value > UINT64_MAX / 1024) continue;
        *bytes = value * 1024;
        found = true;
    }
    (void)fclose(file);
    return found;
}

uint64_t wi_numa_available_bytes(uint64_t nodes)
{
    uint64_t available = 0;
    for (unsigned node = 0; node < 64; node++) {
        if (!((nodes >> node) & 1)) continue;
        char     path[PATH_MAX];
        uint64_t free_bytes, cached = 0, shared = 0;
        (void)snprintf(path, sizeof path, "%s/node%u/meminfo", wi_system_paths.nodes, node);
        if (!wi_meminfo_row(path, "MemFree:", &free_bytes)) return UINT64_MAX;
        /* Shared memory counts as page cache, but cannot be dropped. */
        if (wi_meminfo_row(path, "FilePages:", &cached) && wi_meminfo_row(path, "Shmem:", &shared))
            cached = cached > shared ? cached - shared : 0;
        available += free_bytes + cached;
    }
    return available;
}

static void add_cpu(void *ctx, unsigned cpu)
{
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, (cpu_set_t *)ctx);
}

bool wi_numa_cpus(uint64_t nodes, cpu_set_t *cpus)
{
    cpu_set_t mine, theirs;
    CPU_ZERO(&theirs);
    for (unsigned node = 0; node < 64; node++) {
        if (!((nodes >> node) & 1)) continue;
        char path[PATH_MAX];
        char line[LINE_BYTES];
        (void)snprintf(path, sizeof path, "%s/node%u/cpulist", wi_system_paths.nodes, node);
        /* A node without CPUs has an empty list. */
        if (read_line(path, line, sizeof line)) (void)walk_list(line, add_cpu, &theirs);
    }
    if (sched_getaffinity(0, sizeof mine, &mine) != 0) return false;
    CPU_AND(&theirs, &theirs, &mine);
    if (CPU_COUNT(&theirs) == 0) return false;
    *cpus = theirs;
    return true;
}

int wi_numa_bind(void *base, size_t bytes, uint64_t nodes, enum wi_bind_strength strength)
{
    int           mode = strength == WI_BIND_STRICT ? MPOL_BIND : MPOL_PREFERRED;
    unsigned long mask[64 / (8 * sizeof(unsigned long))];
    _Static_assert(sizeof mask == sizeof nodes, "the kernel reads the mask as an array of long");
    memcpy(mask, &nodes, sizeof mask);
    /* The kernel looks at one bit less than it is told. */
    return syscall(SYS_mbind, base, bytes, mode, mask, 64 + 1, 0) == 0 ? 0 : -errno;
}

int32_t wi_numa_node_of(const void *at)
{
    int node = -1;
    return syscall(SYS_get_mempolicy, &node, NULL, 0, at, MPOL_F_NODE | MPOL_F_ADDR) == 0 ? node : -1;
}
