/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pressure from a real cgroup: a process in it comes near its limit, and leaves again. Skipped where no cgroup with a
 * memory controller can be made.
 */
#include "pool/fixture.h"
#include "sync/annotate.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB         ((size_t)1 << 20)
#define LIMIT_BYTES (256 * MIB)
#define USED_BYTES  (248 * MIB) /* the rest is for what the kernel charges beside it */

static char group[128];

static bool write_to(const char *name, unsigned long value)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", group, name);
    FILE *file = fopen(path, "w");
    if (!file) return false;
    bool written = fprintf(file, "%lu\n", value) > 0;
    return fclose(file) == 0 && written;
}

/* Version 1 where its memory controller is mounted, else version 2. */
static bool make_group(void)
{
    static const char *const root[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"};
    static const char *const limit[] = {"memory.limit_in_bytes", "memory.max"};
    for (int i = 0; i < 2; i++) {
        snprintf(group, sizeof group, "%s/weir-test-%d", root[i], (int)getpid());
        if (mkdir(group, 0755) != 0) continue;
        if (write_to(limit[i], LIMIT_BYTES)) return true;
        rmdir(group);
    }
    return false;
}

static void end_user(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* A process in the group with so much memory in use. Answers its id, or -1 if it may not join or has no room there; it ends when killed. */
static pid_t start_user(void)
{
    int   ready[2];
    char  byte;
    pid_t child;
    cr_assert_eq(pipe(ready), 0);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        bool  joined = write_to("cgroup.procs", (unsigned long)getpid());
        char *memory = joined ? malloc(USED_BYTES) : NULL;
        for (size_t i = 0; memory && i < USED_BYTES; i += 4096) ((volatile char *)memory)[i] = 1;
        if (write(ready[1], memory ? "y" : "n", 1) == 1) {
            while (true) pause();
        }
        _exit(0);
    }
    close(ready[1]); /* so that a child that was killed for its memory is noticed */
    if (read(ready[0], &byte, 1) != 1) byte = 'n';
    close(ready[0]);
    if (byte == 'y') return child;
    end_user(child);
    rmdir(group);
    return -1;
}

static struct weir_pressure read_now(struct weir_runtime *rt)
{
    struct weir_pressure now = {.struct_size = sizeof now};
    ok(weir_pressure_read(rt, &now));
    return now;
}

Test(pressure_cgroup, a_real_limit_raises_the_level_and_relief_lowers_it, .timeout = 60)
{
#ifdef WI_ASAN
    cr_skip_test("a sanitizer's own memory is charged to the group, too");
#endif
    if (!make_group()) cr_skip_test("no cgroup with a memory controller can be made here");
    pid_t child = start_user();
    if (child < 0) cr_skip_test("a process may not join a cgroup here, or was killed for its memory");
    struct weir_runtime *rt = make_runtime();
    struct weir_pool    *pool;
    struct weir_buffer  *buffer, *none;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 2, .buffers_max = 64), &pool));
    ok(weir_pressure_set(rt, WEIR_OPTS(pressure, .psi_path = "/dev/null", .cgroup_path = group, .period_ns = 10000000,
                                       .cooldown_ns = 100000000)));
    struct weir_pressure now = read_now(rt);
    cr_assert(now.sources & WEIR_SOURCE_CGROUP);
    cr_assert_eq(now.cgroup_bytes_max, LIMIT_BYTES);
    cr_assert_geq(now.cgroup_bytes, USED_BYTES - 2 * MIB);
    cr_assert_geq(now.level, WEIR_HIGH, "level %u at %llu bytes", now.level, (unsigned long long)now.cgroup_bytes);
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    answers(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_LOW), WEIR_NOW, &none), PRESSURE);
    end_user(child);
    eventually(read_now(rt).level == WEIR_CALM);
    ok(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_LOW), WEIR_FOREVER, &none));
    ok(weir_buffer_release(none));
    ok(weir_buffer_release(buffer));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    rmdir(group);
}
