/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/limits.h"

#include "memory/numa.h"

#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A field of /proc/self/statm, in bytes; fields count from 0. */
static uint64_t statm_bytes(unsigned field)
{
    unsigned long long pages = 0;
    FILE              *file = fopen("/proc/self/statm", "re");
    if (!file) return 0;
    for (unsigned at = 0; at <= field; at++) {
        if (fscanf(file, "%llu", &pages) != 1) pages = 0;
    }
    (void)fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t read_number(const char *path)
{
    unsigned long long number = 0;
    FILE              *file = fopen(path, "re");
    if (!file) return 0;
    if (fscanf(file, "%llu", &number) != 1) number = 0;
    (void)fclose(file);
    return number;
}

static uint64_t count_mappings(void)
{
    uint64_t count = 0;
    FILE    *file = fopen("/proc/self/maps", "re");
    if (!file) return 0;
    for (int c = getc(file); c != EOF; c = getc(file)) count += c == '\n';
    (void)fclose(file);
    return count;
}

/* Is the resource limited to less than is used and wanted? */
static bool over_limit(__rlimit_resource_t resource, uint64_t used, uint64_t bytes,
                       uint64_t *limit_value)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
    *limit_value = limit.rlim_cur;
    return used > limit.rlim_cur || bytes > limit.rlim_cur - used;
}

enum { STATM_SIZE = 0, STATM_DATA = 5 };

int wi_map_refused(size_t bytes, int sys_errno)
{
    uint64_t value = 0;
    if (sys_errno == ENOMEM || sys_errno == EAGAIN) {
        if (over_limit(RLIMIT_AS, statm_bytes(STATM_SIZE), bytes, &value))
            return WI_FAIL(EXCEEDS, .call = "mmap", .sys_errno = sys_errno, .limit = "RLIMIT_AS",
                           .setting = "ulimit -v", .limit_value = value, .wanted = bytes,
                           .detail = "the process has no address space left for the slab");
        if (over_limit(RLIMIT_DATA, statm_bytes(STATM_DATA), bytes, &value))
            return WI_FAIL(EXCEEDS, .call = "mmap", .sys_errno = sys_errno, .limit = "RLIMIT_DATA",
                           .setting = "ulimit -d", .limit_value = value, .wanted = bytes,
                           .detail = "the process may not have this much private memory");
        value = read_number("/proc/sys/vm/max_map_count");
        if (value && count_mappings() >= value)
            return WI_FAIL(EXCEEDS, .call = "mmap", .sys_errno = sys_errno,
                           .limit = "vm.max_map_count", .setting = "sysctl vm.max_map_count",
                           .limit_value = value, .wanted = value + 1,
                           .detail = "the process has too many mappings");
        if (read_number("/proc/sys/vm/overcommit_memory") == 2 &&
            wi_meminfo_row(wi_system_paths.meminfo, "CommitLimit:", &value))
            return WI_FAIL(EXCEEDS, .call = "mmap", .sys_errno = sys_errno, .limit = "CommitLimit",
                           .setting = "sysctl vm.overcommit_memory", .limit_value = value,
                           .wanted = bytes,
                           .detail = "the system does not promise more memory than it has");
    }
    return WI_FAIL(NOMEM, .call = "mmap", .sys_errno = sys_errno, .wanted = bytes,
                   .detail = "the system has no room for a slab of this size");
}

static bool may_lock_any_amount(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct   sets[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capget, &header, sets) != 0) return false;
    return (sets[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}

int wi_pin_refused(int err, size_t bytes)
{
    uint64_t value = 0;
    if (err != WEIR_ENOMEM || may_lock_any_amount() ||
        !over_limit(RLIMIT_MEMLOCK, 0, bytes, &value))
        return err;
    struct weir_error last = {.struct_size = sizeof last};
    if (weir_last_error(&last) < 0) return err;
    return WI_FAIL(
        NOMEM, .call = last.call, .driver_code = last.driver_code, .sys_errno = last.sys_errno,
        .limit = "RLIMIT_MEMLOCK", .setting = "ulimit -l", .limit_value = value, .wanted = bytes,
        .detail = "the driver refused to pin; the process may lock only this much memory");
}

int wi_memory_suffices(size_t bytes)
{
    uint64_t available, swap = 0;
    if (!wi_meminfo_row(wi_system_paths.meminfo, "MemAvailable:", &available)) return 0;
    (void)wi_meminfo_row(wi_system_paths.meminfo, "SwapFree:", &swap);
    if (bytes <= available + swap) return 0;
    return WI_FAIL(NOMEM, .limit = "MemAvailable", .limit_value = available + swap, .wanted = bytes,
                   .detail = "the system does not have this much memory to give");
}
