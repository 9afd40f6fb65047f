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

/* Digits at *at, which is moved behind them. False: none, or more than max. */
static bool read_digits(const char **at, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (**at < '0' || **at > '9') return false;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        value = value * 10 + (uint64_t)(**at - '0');
        if (value > max) return false;
    }
    *out = value;
    return true;
}

/* The line that begins with "some ", or NULL. */
static const char *some_line(const char *text)
{
    while (text && strncmp(text, "some ", 5) != 0) {
        text = strchr(text, '\n');
        text += text != NULL;
    }
    return text;
}

/* Not by strtod(), to which a point is one only where the program's locale says so. */
int wi_pressure_parse_psi(const char *text, uint32_t *out_x100)
{
    const char *line = some_line(text);
    const char *at = line ? strstr(line, "avg10=") : NULL;
    uint64_t    whole, hundredths = 0;
    if (!at || at > strchrnul(line, '\n')) return WEIR_EINVAL;
    at += strlen("avg10=");
    if (!read_digits(&at, 100, &whole)) return WEIR_EINVAL;
    if (*at == '.') {
        at++;
        if (*at < '0' || *at > '9') return WEIR_EINVAL;
        for (uint64_t unit = 10; *at >= '0' && *at <= '9'; at++, unit /= 10)
            hundredths += unit * (uint64_t)(*at - '0');
    }
    if ((*at != ' ' && *at != '\n') || whole * 100 + hundredths > 10000) return WEIR_EINVAL;
    *out_x100 = (uint32_t)(whole * 100 + hundredths);
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

/* False: too long. A path that is cut off would be some other group's. */
static bool join(char out[PATH_BYTES], const char *root, const char *folder, const char *path)
{
    int length = snprintf(out, PATH_BYTES, "%s%s%s", root, folder, path);
    return length >= 0 && length < PATH_BYTES;
}

int wi_pressure_cgroup_path(const char *text, const char *root, char *out, size_t capacity)
{
    char  copy[TEXT_BYTES];
    char  v2[PATH_BYTES] = "", v1[PATH_BYTES] = "";
    char *save = NULL;
    bool  whole = true;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        controllers++;
        if (!strcmp(controllers, "")) whole &= join(v2, root, "", path);
        if (!strcmp(controllers, "memory")) whole &= join(v1, root, "/memory", path);
    }
    const char *found = v1[0] ? v1 : v2; /* where both are mounted, the memory controller is where v1 names it */
    if (!whole || !found[0] || strlen(found) >= capacity) return WEIR_ENOENT;
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
