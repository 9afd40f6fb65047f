/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pressure.c - what the pressure monitor and the budgets read of the system: PSI, cgroup and meminfo texts
 *
 * Each text is read once more here, by the letter of its format; what the library makes of it must agree.
 */
#include "fuzz/fuzz.h"

#include "memory/numa.h"
#include "tier/pressure.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const fuzz_words[] = {"some ",
                                  "avg10=",
                                  "full ",
                                  "max\n",
                                  "memory",
                                  "0::/",
                                  ":memory:",
                                  "MemFree:",
                                  " kB\n",
                                  "Node 0 ",
                                  "MemTotal:",
                                  "100.00",
                                  "18446744073709551615",
                                  "0-3,8",
                                  "4:memory:/",
                                  "avg60=",
                                  "99999999999",
                                  "1e3",
                                  NULL};

static char folder[64]; /* stands for a cgroup's directory */

static void clean_up(void)
{
    static const char *const names[] = {"memory.max", "memory.current"};
    char                     path[128];
    for (size_t i = 0; i < WI_ARRAY_COUNT(names); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

int LLVMFuzzerInitialize(int *count, char ***words)
{
    (void)count;
    (void)words;
    bool memory = access("/dev/shm", W_OK) == 0; /* files there cost no disk */
    (void)snprintf(folder, sizeof folder, "%s/weir-fuzz-XXXXXX", memory ? "/dev/shm" : "/tmp");
    fuzz_require(mkdtemp(folder), "mkdtemp");
    fuzz_clean_up = clean_up;
    (void)atexit(clean_up);
    return 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits at *at, which is moved behind them. False: none, or more than 64 bits. */
static bool digits(const char **at, uint64_t *out)
{
    unsigned __int128 value = 0;
    if (!is_digit(**at)) return false;
    for (; is_digit(**at); (*at)++) {
        value = value * 10 + (unsigned)(**at - '0');
        if (value > UINT64_MAX) return false;
    }
    *out = (uint64_t)value;
    return true;
}

/* ---- PSI: "some avg10=1.23 avg60=..." on a line of its own ---- */

/* The number after avg10= on the line that begins with "some ", in hundredths; false: there is none. */
static bool expected_psi(const char *text, uint64_t *out_x100)
{
    const char *line = text;
    uint64_t    whole, part = 0;
    while (strncmp(line, "some ", 5) != 0) {
        line = strchr(line, '\n');
        if (!line++) return false;
    }
    const char *at = strstr(line, "avg10="), *end = strchrnul(line, '\n');
    if (!at || at > end) return false;
    at += 6;
    if (!digits(&at, &whole)) return false;
    if (*at == '.') {
        if (!is_digit(at[1])) return false;
        unsigned unit = 10;
        for (at++; is_digit(*at); at++, unit /= 10) part += unit * (uint64_t)(*at - '0');
    }
    if (*at != ' ' && *at != '\n') return false;
    if (whole > 100 || (whole == 100 && part > 0)) return false;
    *out_x100 = whole * 100 + part;
    return true;
}

static void check_psi(const char *text)
{
    uint32_t x100 = 4711;
    uint64_t expected = 0;
    int      err = wi_pressure_parse_psi(text, &x100);
    if (fuzz_planted() && err == 0 && x100 >= 10000) x100++;
    if (err < 0) {
        fuzz_require(err == WEIR_EINVAL && x100 == 4711, "a refused text has changed the output");
        fuzz_require(!expected_psi(text, &expected), "a good line is refused");
        return;
    }
    fuzz_require(x100 <= 10000, "more than all of the time");
    fuzz_require(expected_psi(text, &expected), "there is no such number");
    fuzz_require(expected == x100 || expected + 1 == x100, "%llu and not %u",
                 (unsigned long long)expected, x100);
}

/* ---- byte counts ---- */

static void check_bytes(const char *text)
{
    uint64_t    bytes = 4711, expected = UINT64_MAX;
    const char *at = text;
    bool        good = !strcmp(text, "max") || !strcmp(text, "max\n") ||
                (digits(&at, &expected) && (*at == '\n' || *at == '\0'));
    int err = wi_pressure_parse_bytes(text, &bytes);
    fuzz_require((err == 0) == good, "answered %d", err);
    fuzz_require(bytes == (good ? expected : 4711), "%llu", (unsigned long long)bytes);
}

/* ---- /proc/self/cgroup ---- */

/* The answer must be root and a path of the text, whole; a part of a path is some other group's. */
static void check_cgroup(const char *text)
{
    char out[256];
    memset(out, 'x', sizeof out);
    int err = wi_pressure_cgroup_path(text, "/r", out, sizeof out);
    if (err < 0) {
        fuzz_require(err == WEIR_ENOENT && out[0] == 'x', "answered %d", err);
        return;
    }
    const char *path = out + 2;
    fuzz_require(memchr(out, '\0', sizeof out) && !strncmp(out, "/r", 2), "%s", out);
    bool first = !strncmp(path, "/memory", 7), found = false;
    for (const char *line = text; line && !found; line = strchr(line, '\n')) {
        size_t length = strcspn(line += *line == '\n', "\n");
        for (int version = 1; version <= 2; version++) {
            const char *tail = version == 1 ? path + (first ? 7 : 0) : path;
            size_t      tail_bytes = strlen(tail);
            if (version == 1 && !first) continue;
            found |= tail_bytes < length && line[length - tail_bytes - 1] == ':' &&
                     !memcmp(line + length - tail_bytes, tail, tail_bytes);
        }
    }
    fuzz_require(found, "no line of the text names %s", out);
}

/* ---- meminfo ---- */

static void check_meminfo(const char *path, const char *text)
{
    uint64_t bytes = 4711, kb = 0;
    bool     found = wi_meminfo_row(path, "MemFree:", &bytes);
    fuzz_require(found || bytes == 4711, "no row, and yet a number");
    if (!found || strlen(text) > 200) return; /* longer lines are read in parts */
    for (const char *at = text; (at = strstr(at, "MemFree:")); at++) {
        const char *number = at + 8;
        while (*number == ' ' || *number == '\t') number++;
        if (digits(&number, &kb) && kb <= UINT64_MAX / 1024 && kb * 1024 == bytes) return;
    }
    fuzz_require(false, "no row of the text says %llu", (unsigned long long)bytes);
}

static void check_nodes(const char *text)
{
    uint64_t nodes = 4711;
    int      err = strlen(text) < 64 ? wi_numa_parse(text, &nodes) : WEIR_EINVAL;
    fuzz_require(err == 0 || nodes == 4711, "a refused list has changed the output");
}

/* ---- all sources together ---- */

static void write_file(const char *name, const char *text, size_t bytes)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_require(fd >= 0 && write(fd, text, bytes) == (ssize_t)bytes, "%s", path);
    (void)close(fd);
}

static void check_sources(const char *psi_path, const char *text, size_t bytes)
{
    struct weir_pressure reading = {.struct_size = sizeof reading};
    size_t               half = strcspn(text, "\n");
    if (half < bytes) half++;
    write_file("memory.max", text, half);
    write_file("memory.current", text + half, bytes - half);
    wi_pressure_sources_read(psi_path, folder, &reading);
    fuzz_require(reading.psi_some_x100 <= 10000, "PSI %u", reading.psi_some_x100);
    fuzz_require(reading.unreadable <= 2, "unreadable %u", reading.unreadable);
    if (reading.sources & WEIR_SOURCE_CGROUP && reading.cgroup_bytes_max > 0 &&
        reading.cgroup_bytes >= reading.cgroup_bytes_max)
        fuzz_require(wi_pressure_judge(&reading, false) == WEIR_CRITICAL,
                     "a cgroup at its limit is not critical");
    for (int easing = 0; easing < 2; easing++)
        fuzz_require(wi_pressure_judge(&reading, easing) <= WEIR_CRITICAL, "no such level");
    fuzz_require(wi_pressure_judge(&reading, false) <= wi_pressure_judge(&reading, true),
                 "easing makes it calmer");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes > 4095) return 0; /* no more of a file is read */
    char *text = fuzz_text(data, bytes);
    check_psi(text);
    check_bytes(text);
    check_cgroup(text);
    check_nodes(text);
    const char *path = fuzz_file(text, strlen(text));
    check_meminfo(path, text);
    check_sources(path, text, strlen(text));
    free(text);
    return 0;
}
