/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/populate.h"

#include "base/base.h"
#include "memory/numa.h"
#include "slab_fixture.h"
#include "system_fault.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static struct slab_fixture fixture;

static void set_up(void)
{
    system_fault_clear();
    slab_fixture_init(&fixture, 0);
}

TestSuite(populate, .init = set_up, .timeout = 240);

static char *reserve(size_t bytes)
{
    char *at = mmap(NULL, bytes + WI_HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(at, MAP_FAILED);
    return (char *)wi_round_up((uintptr_t)at, WI_HUGE_PAGE_BYTES);
}

static size_t present_bytes(char *base, size_t bytes)
{
    size_t         pages = bytes / 4096;
    unsigned char *present = malloc(pages);
    size_t         count = 0;
    cr_assert_eq(mincore(base, bytes, present), 0);
    for (size_t page = 0; page < pages; page++) count += present[page] & 1;
    free(present);
    return count * 4096;
}

/* Populates all of it; checks at each step that what is called ready is there. */
static void populate_all(char *base, size_t bytes, uint32_t threads_max)
{
    struct wi_populate *crew = NULL;
    size_t              ready_before = 0;
    cr_assert_eq(
        wi_populate_start(
            &(struct wi_populate_opts){.base = base, .bytes = bytes, .threads_max = threads_max},
            &crew),
        0);
    for (;;) {
        size_t ready = wi_populate_ready(crew);
        cr_assert_geq(ready, ready_before);
        cr_assert_eq(present_bytes(base, ready), ready);
        ready_before = ready;
        if (ready == bytes) break;
        cr_assert_eq(wi_populate_step(crew), 0);
    }
    wi_populate_end(crew);
    cr_assert_eq(present_bytes(base, bytes), bytes);
}

Test(populate, small_and_odd_sizes)
{
    static const size_t sizes[] = {4096,     3 * 4096,        2 * MIB, 2 * MIB + 4096,
                                   16 * MIB, 16 * MIB + 4096, 50 * MIB};
    for (size_t at = 0; at < WI_ARRAY_COUNT(sizes); at++)
        populate_all(reserve(sizes[at]), sizes[at], 0);
    cr_assert_eq(wi_load(&system_fault.thread_calls, relaxed), 0, "small slabs need no thread");
}

Test(populate, large_ones_use_threads)
{
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) cr_skip_test("one CPU");
    populate_all(reserve(192 * MIB), 192 * MIB, 2);
    cr_assert_eq(wi_load(&system_fault.thread_calls, relaxed), 1, "the creator is the second");
    cr_assert_eq(wi_load(&system_fault.signals_open, relaxed), 0,
                 "helpers must not take the host's signals");
}

Test(populate, a_step_after_the_helpers_are_done_does_not_wait)
{
    struct wi_populate *crew = NULL;
    char               *base = reserve(192 * MIB);
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) cr_skip_test("one CPU");
    cr_assert_eq(
        wi_populate_start(
            &(struct wi_populate_opts){.base = base, .bytes = 192 * MIB, .threads_max = 2}, &crew),
        0);
    while (wi_populate_ready(crew) < 192 * MIB) (void)usleep(1000);
    cr_assert_eq(wi_populate_step(crew), 0);
    wi_populate_end(crew);
}

Test(populate, threads_are_as_many_as_pay)
{
    cr_assert_eq(wi_populate_threads(4096, 0), 1);
    cr_assert_eq(wi_populate_threads(127 * MIB, 0), 1);
    cr_assert_eq(wi_populate_threads(1024 * MIB, 1), 1);
    cr_assert_leq(wi_populate_threads((size_t)1 << 40, 0), WI_POPULATE_THREADS_MAX);
    if (sysconf(_SC_NPROCESSORS_ONLN) >= 2)
        cr_assert_geq(wi_populate_threads((size_t)1 << 40, 0), 2);
}

Test(populate, for_a_node_its_cpus_do_the_work)
{
    char folder[] = "/tmp/weir-populate-XXXXXX";
    char path[64];
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) cr_skip_test("one CPU");
    cr_assert(mkdtemp(folder));
    slab_fixture_file(folder, "node0", NULL);
    slab_fixture_file(folder, "node0/cpulist", "1\n");
    wi_system_paths.nodes = folder;
    char               *base = reserve(64 * MIB);
    struct wi_populate *crew = NULL;
    cr_assert_eq(
        wi_populate_start(&(struct wi_populate_opts){.base = base, .bytes = 64 * MIB, .nodes = 1},
                          &crew),
        0);
    while (wi_populate_ready(crew) < 64 * MIB) cr_assert_eq(wi_populate_step(crew), 0);
    wi_populate_end(crew);
    cr_assert_eq(wi_load(&system_fault.populate_cpus, relaxed), 2);
    cr_assert_eq(wi_load(&system_fault.populate_creator, relaxed), 0);
    (void)snprintf(path, sizeof path, "%s/node0/cpulist", folder);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/node0", folder);
    (void)rmdir(path);
    (void)rmdir(folder);
}

Test(populate, without_threads_the_creator_does_it_all)
{
    wi_store(&system_fault.thread_fail_from, 1, relaxed);
    populate_all(reserve(192 * MIB), 192 * MIB, 0);
}

Test(populate, touches_pages_where_the_kernel_cannot_populate)
{
    /* A touched huge page would hide that its small pages are not touched. */
    cr_assert_eq(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    wi_store(&system_fault.populate_errno, EINVAL, relaxed);
    populate_all(reserve(160 * MIB + 4096), 160 * MIB + 4096, 0);
    cr_assert_leq(wi_load(&system_fault.populate_calls, relaxed), 2,
                  "it is not asked again for each piece");
}

Test(populate, touches_a_piece_where_the_kernel_was_busy)
{
    wi_store(&system_fault.populate_errno, EAGAIN, relaxed);
    wi_store(&system_fault.populate_fail_at, 2, relaxed);
    populate_all(reserve(64 * MIB), 64 * MIB, 1);
    cr_assert_eq(wi_load(&system_fault.populate_calls, relaxed), 4);
}

Test(populate, a_failure_of_a_helper_reaches_the_creator)
{
    struct wi_populate *crew = NULL;
    char               *base = reserve(256 * MIB);
    wi_store(&system_fault.populate_errno, EHWPOISON, relaxed);
    wi_store(&system_fault.populate_fail_at, 5, relaxed);
    cr_assert_eq(
        wi_populate_start(&(struct wi_populate_opts){.base = base, .bytes = 256 * MIB}, &crew), 0);
    int err = 0;
    while (err == 0 && wi_populate_ready(crew) < 256 * MIB) err = wi_populate_step(crew);
    cr_assert_eq(err, WEIR_ENOMEM);
    struct weir_error last = {.struct_size = sizeof last};
    cr_assert_eq(weir_last_error(&last), 0);
    cr_assert_eq(last.sys_errno, EHWPOISON);
    cr_assert_eq(wi_populate_step(crew), WEIR_ENOMEM, "it stays failed");
    wi_populate_end(crew);
}

Test(populate, ending_early_stops_the_helpers)
{
    struct wi_populate *crew = NULL;
    char               *base = reserve(512 * MIB);
    wi_store(&system_fault.populate_delay_ns, 5 * WI_NS_PER_MS, relaxed);
    cr_assert_eq(
        wi_populate_start(&(struct wi_populate_opts){.base = base, .bytes = 512 * MIB}, &crew), 0);
    cr_assert_eq(wi_populate_step(crew), 0);
    wi_populate_end(crew);
    /* Nobody is left who could touch what is unmapped now. */
    size_t present = present_bytes(base, 512 * MIB);
    cr_assert_lt(present, 512 * MIB);
    cr_assert_eq(munmap(base, 512 * MIB), 0);
    wi_populate_end(NULL);
}

Test(populate, gives_up_huge_pages_that_come_slowly)
{
    wi_store(&system_fault.populate_delay_ns, 16 * WI_POPULATE_HUGE_NS_PER_MIB + 20 * WI_NS_PER_MS,
             relaxed);
    char               *base = reserve(48 * MIB);
    struct wi_populate *crew = NULL;
    cr_assert_eq(
        wi_populate_start(
            &(struct wi_populate_opts){.base = base, .bytes = 48 * MIB, .threads_max = 1}, &crew),
        0);
    cr_assert_eq(wi_populate_step(crew), 0);
    cr_assert_eq(wi_load(&system_fault.nohugepage_calls, relaxed), 1);
    cr_assert_eq(wi_load(&system_fault.nohugepage_bytes, relaxed), 32 * MIB,
                 "what is not filled yet");
    while (wi_populate_ready(crew) < 48 * MIB) cr_assert_eq(wi_populate_step(crew), 0);
    cr_assert_eq(wi_load(&system_fault.nohugepage_calls, relaxed), 1, "once is enough");
    wi_populate_end(crew);
    cr_assert_eq(present_bytes(base, 48 * MIB), 48 * MIB);
}

Test(populate, keeps_huge_pages_that_come_quickly)
{
    /* They come at once. Whoever measures may still lose its CPU for longer than is allowed, if rarely. */
    uint64_t given_up = 1;
    wi_store(&system_fault.populate_skip, 1, relaxed);
    for (int tries = 0; tries < 10 && given_up; tries++) {
        struct wi_populate *crew = NULL;
        wi_store(&system_fault.nohugepage_calls, 0, relaxed);
        cr_assert_eq(wi_populate_start(
                         &(struct wi_populate_opts){
                             .base = reserve(64 * MIB), .bytes = 64 * MIB, .threads_max = 1},
                         &crew),
                     0);
        while (wi_populate_ready(crew) < 64 * MIB) cr_assert_eq(wi_populate_step(crew), 0);
        wi_populate_end(crew);
        given_up = wi_load(&system_fault.nohugepage_calls, relaxed);
    }
    cr_assert_eq(given_up, 0);
}
