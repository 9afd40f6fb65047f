/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation of the device, every allocation and every system call of making and destroying a
 * slab fails once, each at every place where it occurs.
 */
#include "slab_fixture.h"
#include "system_fault.h"

#include "base/alloc.h"
#include "memory/numa.h"

#include <criterion/criterion.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct slab_fixture fixture;

static void set_up(void)
{
    system_fault_clear();
    slab_fixture_init(&fixture, 4096 * MIB);
}

TestSuite(slab_faults, .init = set_up, .timeout = 240);

struct shape {
    uint32_t memory;
    uint32_t flags;
    bool     no_register;
    bool     no_host_alloc;
    bool     sourced; /* the memory comes from a source */
};

static const struct shape shapes[] = {
    {WEIR_MEMORY_PINNED, 0, false, false, false},
    {WEIR_MEMORY_PINNED, WI_SLAB_PAGEABLE_OK, false, false, false},
    {WEIR_MEMORY_PINNED, 0, true, false, false},
    {WEIR_MEMORY_PINNED, WI_SLAB_PAGEABLE_OK, true, false, false},
    {WEIR_MEMORY_PINNED, WI_SLAB_PAGEABLE_OK, true, true, false},
    {WEIR_MEMORY_DEVICE, 0, false, false, false},
    {WEIR_MEMORY_PAGEABLE, 0, false, false, false},
    {WEIR_MEMORY_PINNED, 0, false, false, true},
    {WEIR_MEMORY_PINNED, WI_SLAB_PAGEABLE_OK, false, false, true},
    {WEIR_MEMORY_PINNED, WI_SLAB_PAGEABLE_OK, true, false, true},
    {WEIR_MEMORY_PAGEABLE, 0, false, false, true},
};

static size_t taken;

static int take(void *ctx, const struct weir_memory_request *request, void **out)
{
    void *base = mmap(NULL, request->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)ctx;
    if (base == MAP_FAILED) return WEIR_ENOMEM;
    taken++;
    *out = base;
    return 0;
}

static void give(void *ctx, void *address, size_t bytes)
{
    (void)ctx;
    cr_assert_eq(munmap(address, bytes), 0);
    taken--;
}

static const struct weir_memory_source source = {.struct_size = sizeof source, .take = take, .give = give};

static size_t block_bytes = 700000;

static int create(const struct shape *shape, struct wi_slab **out)
{
    fixture.fake.no_register = shape->no_register;
    fixture.fake.no_host_alloc = shape->no_host_alloc;
    return wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = block_bytes, .blocks = 6,
                                    .chunk_bytes_max = 3 * block_bytes, .memory = shape->memory,
                                    .flags = shape->flags, .source = shape->sourced ? &source : NULL),
                          out);
}

/* Nothing is left but what the library says that it had to abandon. */
static void check_balance(uint64_t abandoned_before)
{
    uint64_t abandoned = wi_slab_abandoned_bytes() - abandoned_before;
    cr_assert_eq(fixture.fake.wrong, 0);
    cr_assert_eq(slab_fixture_charged(&fixture), abandoned);
    if (abandoned == 0) {
        cr_assert_eq(taken, 0);
        cr_assert_eq(fixture.fake.registered, 0);
        cr_assert_eq(fixture.fake.driver_allocations, 0);
        cr_assert_eq(fixture.fake.device_allocations, 0);
        cr_assert_eq(wi_load(&system_fault.mapped_bytes, relaxed), 0);
        return;
    }
    size_t registered_bytes = 0;
    for (size_t at = 0; at < fixture.fake.registered; at++)
        registered_bytes += fixture.fake.range[at].bytes;
    /*
     * Registered memory that is abandoned is mapped; that of the driver and of the device is not
     * ours.
     */
    if (taken > 0) registered_bytes = abandoned; /* a source's memory stays whole */
    cr_assert_eq((size_t)wi_load(&system_fault.mapped_bytes, relaxed), registered_bytes);
    if (fixture.fake.driver_allocations + fixture.fake.device_allocations == 0)
        cr_assert_eq(abandoned, registered_bytes);
}

static void start_over(void)
{
    /* What was abandoned stays, as it should; the next round counts from here. */
    system_fault_clear();
    slab_fixture_init(&fixture, 4096 * MIB);
    taken = 0;
}

Test(slab_faults, every_device_operation_fails)
{
    static const int codes[] = {WEIR_ENOMEM, WEIR_EDEVICE, WEIR_EINVAL, WEIR_ENOSYS};
    unsigned         faults = 0;
    for (size_t at = 0; at < WI_ARRAY_COUNT(shapes) * WI_ARRAY_COUNT(codes); at++) {
        const struct shape *shape = &shapes[at / WI_ARRAY_COUNT(codes)];
        for (uint64_t fail_at = 1;; fail_at++) {
            start_over();
            uint64_t        abandoned_before = wi_slab_abandoned_bytes();
            struct wi_slab *slab = NULL;
            fixture.fake.fail_at = fail_at;
            fixture.fake.fail_code = codes[at % WI_ARRAY_COUNT(codes)];
            int err = create(shape, &slab);
            cr_assert((err == 0) == (slab != NULL));
            if (err < 0 && fixture.fake.fail_code == WEIR_EDEVICE) cr_assert_eq(err, WEIR_EDEVICE);
            wi_slab_destroy(slab);
            check_balance(abandoned_before);
            if (fixture.fake.operations < fail_at) {
                cr_assert_eq(wi_slab_abandoned_bytes(), abandoned_before);
                break;
            }
            faults++;
        }
    }
    cr_assert_geq(faults, 60, "%u faults: the sweep does not reach what it should", faults);
}

Test(slab_faults, every_allocation_fails)
{
    unsigned faults = 0;
    for (size_t at = 0; at < WI_ARRAY_COUNT(shapes); at++) {
        for (uint64_t fail_at = 1;; fail_at++) {
            start_over();
            struct wi_slab *slab = NULL;
            wi_alloc_fail_at(fail_at);
            int  err = create(&shapes[at], &slab);
            bool reached = wi_alloc_fail_at(0) == 0;
            if (err < 0 && reached) cr_assert_eq(err, WEIR_ENOMEM);
            wi_slab_destroy(slab);
            check_balance(wi_slab_abandoned_bytes());
            if (!reached) break;
            faults++;
        }
    }
    cr_assert_geq(faults, 14);
}

Test(slab_faults, every_mmap_and_munmap_fails)
{
    unsigned faults = 0;
    block_bytes = 4000000; /* so that a chunk shows in the resident size */
    for (size_t at = 0; at < WI_ARRAY_COUNT(shapes); at++) {
        for (uint64_t fail_at = 1;; fail_at++) {
            start_over();
            struct wi_slab *slab = NULL;
            wi_store(&system_fault.mmap_fail_at, fail_at, relaxed);
            int err = create(&shapes[at], &slab);
            if (wi_load(&system_fault.mmap_calls, relaxed) < fail_at) {
                wi_slab_destroy(slab);
                break;
            }
            cr_assert_eq(err, WEIR_ENOMEM);
            check_balance(wi_slab_abandoned_bytes());
            faults++;
        }
        for (uint64_t fail_at = 1; !shapes[at].sourced; fail_at++) { /* a source unmaps itself */
            start_over();
            struct wi_slab *slab = NULL;
            size_t          rss_before = slab_fixture_rss_bytes();
            wi_store(&system_fault.munmap_fail_at, fail_at, relaxed);
            int err = create(&shapes[at], &slab);
            wi_slab_destroy(slab);
            (void)err;
            if (wi_load(&system_fault.munmap_calls, relaxed) < fail_at) break;
            /* The addresses are lost, and the log says so; the memory is not. */
            cr_assert_eq(slab_fixture_charged(&fixture), 0);
            cr_assert_eq(fixture.fake.registered, 0);
            cr_assert_eq(slab_fixture_logged("munmap"), 1);
            cr_assert_lt(slab_fixture_rss_bytes(), rss_before + 2 * MIB);
            faults++;
        }
    }
    cr_assert_geq(faults, 20);
}

Test(slab_faults, every_populate_fails)
{
    unsigned faults = 0;
    for (uint64_t fail_at = 1;; fail_at++) {
        start_over();
        struct wi_slab *slab = NULL;
        wi_store(&system_fault.populate_errno, ENOMEM, relaxed);
        wi_store(&system_fault.populate_fail_at, fail_at, relaxed);
        int err = wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = 5 * MIB, .blocks = 30,
                                           .threads_max = 2, .chunk_bytes_max = 20 * MIB,
                                           .flags = WI_SLAB_PAGEABLE_OK),
                                 &slab);
        if (err == 0) {
            wi_slab_destroy(slab);
            cr_assert_lt(wi_load(&system_fault.populate_calls, relaxed), fail_at);
            break;
        }
        struct weir_error last = {.struct_size = sizeof last};
        cr_assert_eq(err, WEIR_ENOMEM, "no memory is no reason to fall back to pageable");
        cr_assert_eq(weir_last_error(&last), 0);
        cr_assert_eq(last.sys_errno, ENOMEM);
        check_balance(wi_slab_abandoned_bytes());
        faults++;
    }
    cr_assert_geq(faults, 9);
}

Test(slab_faults, a_refused_unregister_abandons_its_chunk_alone)
{
    struct wi_slab *slab = NULL;
    uint64_t        abandoned = wi_slab_abandoned_bytes();
    cr_assert_eq(
        wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = MIB, .blocks = 4, .chunk_bytes_max = MIB),
                       &slab),
        0);
    char *second = wi_slab_block(slab, 1).host;
    char *third = wi_slab_block(slab, 2).host;
    fixture.fake.fail_at = fixture.fake.operations + 2;
    fixture.fake.fail_code = WEIR_EINVAL;
    wi_slab_destroy(slab);
    cr_assert_eq(wi_slab_abandoned_bytes() - abandoned, MIB);
    cr_assert_eq(slab_fixture_charged(&fixture), MIB);
    cr_assert_eq(fixture.fake.registered, 1);
    memset(second, 1, MIB);
    unsigned char present;
    cr_assert(mincore(third, 1, &present) == -1 && errno == ENOMEM);
    cr_assert_eq(slab_fixture_logged("may still reach"), 1);
}

/* Limits of the system: the failure names the limit that was met. */

static void check_limit(int err, int code, const char *limit)
{
    struct weir_error last = {.struct_size = sizeof last};
    cr_assert_eq(err, code, "%s", weir_errname(err));
    cr_assert_eq(weir_last_error(&last), 0);
    cr_assert_str_eq(last.limit, limit);
    cr_assert_gt(last.limit_value, 0);
    cr_assert_gt(last.wanted, 0);
    cr_assert_eq(slab_fixture_charged(&fixture), 0);
    cr_assert_eq(wi_load(&system_fault.mapped_bytes, relaxed), 0);
}

static int create_pinned(size_t bytes)
{
    struct wi_slab *slab = NULL;
    int err = wi_slab_create(SLAB_OPTS(&fixture, .block_bytes = bytes, .blocks = 1), &slab);
    wi_slab_destroy(slab);
    return err;
}

static uint64_t statm(unsigned field)
{
    unsigned long long value[7] = {0};
    FILE              *file = fopen("/proc/self/statm", "re");
    wi_require(file);
    for (unsigned at = 0; at < 7; at++) wi_require(fscanf(file, "%llu", &value[at]) == 1);
    (void)fclose(file);
    return value[field] * 4096;
}

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

Test(slab_faults, address_space_limit_is_named)
{
    /* The sanitizer's own reservations are terabytes, and it dies of the limit itself. */
    if (UNDER_ASAN) cr_skip_test("AddressSanitizer");
    struct rlimit limit = {statm(0) + 64 * MIB, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
    check_limit(create_pinned(128 * MIB), WEIR_EEXCEEDS, "RLIMIT_AS");
    cr_assert_eq(create_pinned(8 * MIB), 0);
}

Test(slab_faults, data_limit_is_named)
{
    if (UNDER_ASAN) cr_skip_test("AddressSanitizer");
    struct rlimit limit = {statm(5) + 64 * MIB, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
    check_limit(create_pinned(128 * MIB), WEIR_EEXCEEDS, "RLIMIT_DATA");
    cr_assert_eq(create_pinned(8 * MIB), 0);
}

Test(slab_faults, too_many_mappings_are_named)
{
    if (UNDER_ASAN) cr_skip_test("AddressSanitizer needs mappings of its own");
    unsigned long most = 0;
    FILE         *file = fopen("/proc/sys/vm/max_map_count", "re");
    cr_assert(file && fscanf(file, "%lu", &most) == 1);
    (void)fclose(file);
    if (most > 1000000) cr_skip_test("the system allows too many mappings to try");
    /* Alternating protections keep the kernel from merging neighbours. */
    char *base = mmap(NULL, (most + 16) * 4096, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(base, MAP_FAILED);
    for (unsigned long page = 0; page < most + 16; page += 2) {
        if (mprotect(base + page * 4096, 4096, PROT_READ) != 0) break;
    }
    for (unsigned extra = 0; extra < 16; extra++)
        (void)mmap(NULL, 4096, extra & 1 ? PROT_NONE : PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1,
                   0);
    system_fault_clear();
    check_limit(create_pinned(MIB), WEIR_EEXCEEDS, "vm.max_map_count");
}

Test(slab_faults, memory_that_the_system_does_not_have_is_refused_before_it_is_touched)
{
    char folder[] = "/tmp/weir-memory-XXXXXX";
    char path[64];
    cr_assert(mkdtemp(folder));
    slab_fixture_file(folder, "meminfo",
                      "MemTotal:  9000000 kB\nMemAvailable:  102400 kB\nSwapFree:  1024 kB\n");
    (void)snprintf(path, sizeof path, "%s/meminfo", folder);
    wi_system_paths.meminfo = path;
    check_limit(create_pinned(102 * MIB), WEIR_ENOMEM, "MemAvailable");
    cr_assert_eq(wi_load(&system_fault.mmap_calls, relaxed), 0);
    cr_assert_eq(create_pinned(101 * MIB), 0);
    /* A system that does not say is trusted. */
    slab_fixture_file(folder, "meminfo", "MemTotal:  9000000 kB\n");
    cr_assert_eq(create_pinned(102 * MIB), 0);
    (void)unlink(path);
    cr_assert_eq(create_pinned(MIB), 0);
    (void)rmdir(folder);
}

static void drop_lock_capability(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct   sets[_LINUX_CAPABILITY_U32S_3];
    wi_require(syscall(SYS_capget, &header, sets) == 0);
    sets[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
    wi_require(syscall(SYS_capset, &header, sets) == 0);
}

Test(slab_faults, memory_lock_limit_is_named_where_it_may_be_the_cause)
{
    struct rlimit     limit = {65536, 65536};
    struct weir_error last = {.struct_size = sizeof last};
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    drop_lock_capability();
    fixture.fake.fail_at = 1;
    fixture.fake.fail_code = WEIR_ENOMEM;
    check_limit(create_pinned(MIB), WEIR_ENOMEM, "RLIMIT_MEMLOCK");
    cr_assert_eq(weir_last_error(&last), 0);
    cr_assert_str_eq(last.call, "fake", "the driver's call is kept");
    cr_assert_eq(last.driver_code, 2);

    /* What fits the limit failed for another reason. */
    fixture.fake.fail_at = fixture.fake.operations + 1;
    cr_assert_eq(create_pinned(4096), WEIR_ENOMEM);
    cr_assert_eq(weir_last_error(&last), 0);
    cr_assert_str_eq(last.limit, "");
}
