/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/pressure.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TEXT_BYTES   4096
#define PATH_BYTES   1024
#define UNLIMITED_V1 (UINT64_C(1) << 62) /* cgroup v1 says "no limit" by a huge number */

/* Returns the length, or a negative errno. */
static int read_text(const char *path, char *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    ssize_t length = read(fd, text, TEXT_BYTES - 1);
    int     err = length < 0 ? -errno : (int)length;
    (void)close(fd);
    text[length < 0 ? 0 : length] = '\0';
    return err;
}

int wi_pressure_parse_psi(const char *text, uint32_t *out_x100)
{
    const char *line = strstr(text, "some ");
    const char *number = line ? strstr(line, "avg10=") : NULL;
    char       *end;
    if (!number) return WEIR_EINVAL;
    number += strlen("avg10=");
    if (*number < '0' || *number > '9') return WEIR_EINVAL;
    double value = strtod(number, &end);
    if ((*end != ' ' && *end != '\n') || value > 100) return WEIR_EINVAL;
    *out_x100 = (uint32_t)(value * 100 + 0.5);
    return 0;
}

int wi_pressure_parse_bytes(const char *text, uint64_t *out)
{
    char *end;
    if (!strcmp(text, "max\n") || !strcmp(text, "max")) {
        *out = UINT64_MAX;
        return 0;
    }
    if (*text < '0' || *text > '9') return WEIR_EINVAL;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || (*end != '\n' && *end != '\0')) return WEIR_EINVAL;
    *out = value;
    return 0;
}

int wi_pressure_cgroup_path(const char *text, const char *root, char *out, size_t capacity)
{
    char copy[TEXT_BYTES];
    char v2[PATH_BYTES] = "", v1[PATH_BYTES] = "";
    char *save = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        controllers++;
        if (!strcmp(controllers, "")) snprintf(v2, sizeof v2, "%s%s", root, path);
        if (!strcmp(controllers, "memory")) snprintf(v1, sizeof v1, "%s/memory%s", root, path);
    }
    const char *found = v1[0] ? v1 : v2; /* where both are mounted, the memory controller is where v1 names it */
    if (!found[0] || strlen(found) >= capacity) return WEIR_ENOENT;
    snprintf(out, capacity, "%s", found);
    return 0;
}

/* Returns 0, NOENT (no such file), or INVAL (not understood). */
static int read_bytes(const char *directory, const char *name, uint64_t *out)
{
    char path[2 * PATH_BYTES], text[TEXT_BYTES];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int err = read_text(path, text);
    if (err < 0) return err == -ENOENT ? WEIR_ENOENT : WEIR_EINVAL;
    return wi_pressure_parse_bytes(text, out);
}

static void read_psi(const char *path, struct weir_pressure *out)
{
    char text[TEXT_BYTES];
    int  err = read_text(path ? path : "/proc/pressure/memory", text);
    if (err == -ENOENT && !path) return; /* a kernel without PSI */
    if (err >= 0) err = wi_pressure_parse_psi(text, &out->psi_some_x100);
    if (err < 0) {
        out->unreadable++;
    } else {
        out->sources |= WEIR_SOURCE_PSI;
    }
}

static void read_cgroup(const char *given, struct weir_pressure *out)
{
    char     own[PATH_BYTES], text[TEXT_BYTES];
    uint64_t used, limit;
    if (!given) {
        if (read_text("/proc/self/cgroup", text) < 0) return;
        if (wi_pressure_cgroup_path(text, "/sys/fs/cgroup", own, sizeof own) < 0) return;
    }
    const char *directory = given ? given : own;
    int         err = read_bytes(directory, "memory.max", &limit);
    if (err == 0) {
        err = read_bytes(directory, "memory.current", &used);
    } else if (err == WEIR_ENOENT) {
        err = read_bytes(directory, "memory.limit_in_bytes", &limit);
        if (err == 0) err = read_bytes(directory, "memory.usage_in_bytes", &used);
        if (err == 0 && limit >= UNLIMITED_V1) limit = UINT64_MAX;
    }
    if (err == WEIR_ENOENT && !given) return; /* the root cgroup, or no memory controller */
    if (err < 0) {
        out->unreadable++;
        return;
    }
    if (limit == UINT64_MAX) return;
    out->cgroup_bytes = used;
    out->cgroup_bytes_max = limit;
    out->sources |= WEIR_SOURCE_CGROUP;
}

static void read_memlock(struct weir_pressure *out)
{
    struct rlimit limit;
    if (geteuid() == 0) return; /* CAP_IPC_LOCK: the limit does not bind */
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    out->memlock_bytes_max = limit.rlim_cur;
    out->sources |= WEIR_SOURCE_MEMLOCK;
}

void wi_pressure_sources_read(const char *psi_path, const char *cgroup_path, struct weir_pressure *out)
{
    read_psi(psi_path, out);
    read_cgroup(cgroup_path, out);
    read_memlock(out);
}
