/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A system of two nodes is described in files of the test's own; the kernel below has node 0 and
 * perhaps no other, and answers for what is really done.
 */
#include "memory/numa.h"

#include "slab_fixture.h"

#include <criterion/criterion.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct slab_fixture fixture;
static char                folder[] = "/tmp/weir-numa-XXXXXX";

static void set_up(void)
{
    slab_fixture_init(&fixture, 4096 * MIB);
    cr_assert(mkdtemp(folder));
    slab_fixture_file(folder, "online", "0-1\n");
    slab_fixture_file(folder, "node0", NULL);
    slab_fixture_file(folder, "node1", NULL);
    slab_fixture_file(folder, "node0/cpulist", "0-4095\n");
    slab_fixture_file(folder, "node1/cpulist", "\n");
    slab_fixture_file(folder, "node0/meminfo",
                      "Node 0 MemTotal:  1000000 kB\nNode 0 MemFree:  10240 kB\n"
                      "Node 0 FilePages:  20480 kB\nNode 0 Shmem:  10240 kB\n");
    slab_fixture_file(folder, "node1/meminfo",
                      "Node 1 MemTotal:  1000000 kB\nNode 1 MemFree:  1048576 kB\n");
    wi_system_paths.nodes = folder;
}

static void tear_down(void)
{
    static const char *const names[] = {
        "online",        "node0/cpulist", "node1/cpulist", "node0/meminfo",
        "node1/meminfo", "node0",         "node1",         ""};
    char path[128];
    for (size_t at = 0; at < WI_ARRAY_COUNT(names); at++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[at]);
        (void)remove(path);
    }
}

TestSuite(numa, .init = set_up, .fini = tear_down, .timeout = 240);

Test(numa, lists)
{
    uint64_t mask = 7;
    cr_assert(wi_numa_parse("0", &mask) == 0 && mask == 1);
    cr_assert(wi_numa_parse("0-3,8\n", &mask) == 0 && mask == 0x10f);
    cr_assert(wi_numa_parse("63,70", &mask) == 0 && mask == UINT64_C(1) << 63,
              "nodes beyond 63 are ignored");
    static const char *const bad[] = {"", "\n", "x", "3-", "5-2", "1,", "1;2", "-", "0-99999999"};
    for (size_t at = 0; at < WI_ARRAY_COUNT(bad); at++) {
        mask = 42;
        cr_assert_eq(wi_numa_parse(bad[at], &mask), WEIR_EINVAL, "\"%s\"", bad[at]);
        cr_assert_eq(mask, 42);
    }
}

Test(numa, nodes_and_their_memory)
{
    cpu_set_t cpus;
    cr_assert_eq(wi_numa_online(), 3);
    cr_assert_eq(wi_numa_available_bytes(1), 20 * MIB,
                 "free, and page cache but for shared memory");
    cr_assert_eq(wi_numa_available_bytes(3), 1044 * MIB);
    cr_assert_eq(wi_numa_available_bytes(4), UINT64_MAX);
    cr_assert(wi_numa_cpus(1, &cpus) && CPU_COUNT(&cpus) >= 1);
    cr_assert(!wi_numa_cpus(2, &cpus), "node 1 has no CPUs");
    wi_system_paths.nodes = "/nonexistent";
    cr_assert_eq(wi_numa_online(), 1);
}

Test(numa, rows_of_a_meminfo_file)
{
    static const struct {
        const char *text;
        uint64_t    bytes; /* 0: no such row */
    } files[] = {
        {"MemFree: 12 kB\n", 12 * 1024},
        {"MemTotal: 99 kB\nMemFree:\t7 kB\n", 7 * 1024},
        {"LowMemFree: 5 kB\nMemFree: 6 kB\n", 6 * 1024},
        {"MemFree: -1 kB\n", 0},
        {"MemFree: +1 kB\n", 0},
        {"MemFree: 18014398509481984 kB\n", 0}, /* 2^64 bytes */
        {"MemFree: 99999999999999999999999 kB\n", 0},
        {"MemFree:\n", 0},
        {"", 0},
    };
    char path[128];
    (void)snprintf(path, sizeof path, "%s/node0/meminfo", folder);
    for (size_t at = 0; at < WI_ARRAY_COUNT(files); at++) {
        uint64_t bytes = 77;
        slab_fixture_file(folder, "node0/meminfo", files[at].text);
        cr_assert_eq(wi_meminfo_row(path, "MemFree:", &bytes), files[at].bytes != 0, "%s", files[at].text);
        cr_assert_eq(bytes, files[at].bytes ? files[at].bytes : 77, "%s", files[at].text);
    }
}

static int policy_of(void *at, unsigned long *mask)
{
    int mode = -1;
    *mask = 0;
    cr_assert_eq(syscall(SYS_get_mempolicy, &mode, mask, 65, at, MPOL_F_ADDR), 0);
    return mode;
}

static bool kernel_has_policies(void)
{
    int mode;
    return syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0) == 0;
}

static struct wi_slab *make(size_t bytes, uint64_t numa_mask)
{
    struct wi_slab *slab = NULL;
    cr_assert_eq(
        wi_slab_create(
            SLAB_OPTS(&fixture, .block_bytes = bytes, .blocks = 1, .numa_mask = numa_mask), &slab),
        0);
    return slab;
}

Test(numa, slab_is_bound_to_the_device_s_node)
{
    if (!kernel_has_policies()) cr_skip_test("the kernel has no memory policies");
    unsigned long mask;
    fixture.fake.numa_node = 0;
    struct wi_slab *slab = make(8 * MIB, 0);
    cr_assert_eq(policy_of(slab->base, &mask), MPOL_BIND);
    cr_assert_eq(mask, 1);
    cr_assert_eq(policy_of(slab->base + slab->map_bytes - 1, &mask), MPOL_BIND);
    cr_assert_eq(fixture.fake.wrong, 0, "populated by the helper on the node's CPUs");
    wi_slab_destroy(slab);
}

Test(numa, slab_is_bound_to_the_caller_s_nodes)
{
    if (!kernel_has_policies()) cr_skip_test("the kernel has no memory policies");
    unsigned long mask;
    fixture.fake.numa_node = 1;
    struct wi_slab *slab = make(8 * MIB, 1);
    cr_assert_eq(policy_of(slab->base, &mask), MPOL_BIND);
    cr_assert_eq(mask, 1);
    wi_slab_destroy(slab);
}

Test(numa, unbound_where_there_is_nothing_to_choose)
{
    if (!kernel_has_policies()) cr_skip_test("the kernel has no memory policies");
    unsigned long   mask;
    struct wi_slab *slab = make(8 * MIB, 0);
    cr_assert_eq(policy_of(slab->base, &mask), MPOL_DEFAULT, "the device has no node");
    wi_slab_destroy(slab);
    slab = make(8 * MIB, 3);
    cr_assert_eq(policy_of(slab->base, &mask), MPOL_DEFAULT, "every node is allowed");
    wi_slab_destroy(slab);
    slab_fixture_file(folder, "online", "0\n");
    slab = make(8 * MIB, 2);
    cr_assert_eq(policy_of(slab->base, &mask), MPOL_DEFAULT, "a mask has no effect on one node");
    wi_slab_destroy(slab);
}

Test(numa, a_full_node_is_preferred_but_not_forced)
{
    if (!kernel_has_policies()) cr_skip_test("the kernel has no memory policies");
    unsigned long mask;
    fixture.fake.numa_node = 0;
    struct wi_slab *slab = make(21 * MIB, 0);
    cr_assert_eq(policy_of(slab->base, &mask), MPOL_PREFERRED);
    cr_assert_eq(slab_fixture_logged("NUMA node"), 1);
    wi_slab_destroy(slab);
}

static void check_refused(uint64_t numa_mask, size_t bytes, int code)
{
    struct wi_slab *slab = NULL;
    cr_assert_eq(wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = bytes, .blocks = 1,
                                          .numa_mask = numa_mask, .flags = WI_SLAB_PAGEABLE_OK),
                                &slab),
                 code);
    cr_assert_null(slab);
    cr_assert_eq(slab_fixture_charged(&fixture), 0);
    cr_assert_eq(fixture.fake.registered, 0);
}

Test(numa, masks_that_cannot_be_obeyed_are_refused)
{
    check_refused(4, MIB, WEIR_EINVAL);
    check_refused(1, 21 * MIB, WEIR_EEXCEEDS);
    struct weir_error last = {.struct_size = sizeof last};
    cr_assert_eq(weir_last_error(&last), 0);
    cr_assert_eq(last.limit_value, 20 * MIB);
    cr_assert_eq(last.wanted, 21 * MIB);
}

Test(numa, a_node_that_the_process_may_not_use)
{
    void *probe = aligned_alloc(4096, 4096);
    int   rc = wi_numa_bind(probe, 4096, 2, WI_BIND_STRICT);
    free(probe);
    if (rc != -EINVAL) cr_skip_test("the kernel has a node 1, or no policies");
    check_refused(2, MIB, WEIR_EINVAL);
    /* The device's node is a wish: without it the slab is made all the same. */
    fixture.fake.numa_node = 1;
    wi_slab_destroy(make(MIB, 0));
    cr_assert_eq(slab_fixture_logged("cannot bind"), 1);
}
