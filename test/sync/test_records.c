/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/records.h"

#include "base/alloc.h"
#include "base/atomic.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A record as these tests see it: whose it is, and a generation that outlives its owners. */
struct body {
    _Atomic uint64_t owner;
    uint64_t         generation;
    char             rest[WI_RECORD_BYTES - 16];
};

_Static_assert(sizeof(struct body) == WI_RECORD_BYTES, "a test's record is a record");

/* Settings are read once in a process, and each test has a process of its own. */
static void without_faces(void)
{
    setenv("WEIR_CHECK", "0", 1);
    setenv("WEIR_RECORDS_MAX", "1000", 1);
}

static void with_faces(void)
{
    setenv("WEIR_CHECK", "2", 1);
    setenv("WEIR_RECORDS_MAX", "1000", 1);
}

TestSuite(records, .init = without_faces, .timeout = 240);
TestSuite(faces, .init = with_faces, .timeout = 240);

static struct body *body(const struct wi_record_range *range, size_t index)
{
    return (struct body *)range->base + index;
}

static struct wi_record_range reserve(size_t count)
{
    struct wi_record_range range = {NULL, 0};
    cr_assert_eq(wi_records_reserve(count, &range), 0);
    cr_assert_eq(range.count, count);
    return range;
}

static void check_zeroed(const struct wi_record_range *range)
{
    static const struct body zero;
    for (size_t at = 0; at < range->count; at++) {
        cr_assert_eq((uintptr_t)body(range, at) % 64, 0);
        cr_assert_eq(memcmp(body(range, at), &zero, sizeof(zero)), 0);
    }
}

Test(records, nothing_is_valid_before_the_first)
{
    int here;
    cr_assert(!wi_record_valid(NULL));
    cr_assert(!wi_record_valid(&here));
    cr_assert(!wi_record_valid((void *)(uintptr_t)WI_RECORD_BYTES));
    cr_assert(!wi_record_valid((void *)UINTPTR_MAX));
}

Test(records, are_zeroed_aligned_and_consecutive)
{
    struct wi_record_range first = reserve(1), second = reserve(200), third = reserve(799);
    check_zeroed(&first);
    check_zeroed(&second);
    check_zeroed(&third);
    cr_assert_eq(body(&first, 1), body(&second, 0));
    cr_assert_eq(body(&second, 200), body(&third, 0));
    memset(first.base, 0xff, WI_RECORD_BYTES);
    memset(third.base, 0xff, 799 * WI_RECORD_BYTES);
    check_zeroed(&second);
    cr_assert_eq(wi_record_index(first.base), 0);
    cr_assert_eq(wi_record_index((struct wi_record *)body(&third, 798)), 999);
}

static void check_validity(const struct wi_record_range *range)
{
    char  *base = (char *)range->base;
    size_t bytes = range->count * WI_RECORD_BYTES;
    for (size_t offset = 0; offset < bytes; offset++)
        cr_assert_eq(wi_record_valid(base + offset), offset % WI_RECORD_BYTES == 0, "offset %zu",
                     offset);
    for (size_t number = 0; number < 2000; number++) {
        cr_assert(!wi_record_valid(base + bytes + number * WI_RECORD_BYTES), "not handed out yet");
        cr_assert(!wi_record_valid(base - (number + 1) * WI_RECORD_BYTES), "before the first");
    }
}

static void check_foreign(void)
{
    int   here;
    char *heap = malloc(4096);
    cr_assert(!wi_record_valid(NULL));
    cr_assert(!wi_record_valid(&here));
    cr_assert(!wi_record_valid((const void *)&wi_record_arena));
    for (size_t at = 0; at < 4096; at++) cr_assert(!wi_record_valid(heap + at));
    /* Offsets that a multiplication could bring back into range. */
    uint64_t base = wi_load(&wi_record_arena.base, relaxed);
    for (unsigned shift = 0; shift < 64; shift++) {
        for (int64_t step = -384; step <= 384; step++) {
            uint64_t offset = (UINT64_C(1) << shift) + (uint64_t)step;
            if (offset < 10 * WI_RECORD_BYTES || shift < 20) continue;
            cr_assert(!wi_record_valid((void *)(uintptr_t)(base + offset)));
            cr_assert(!wi_record_valid((void *)(uintptr_t)(base - offset)));
        }
    }
    uint64_t seed = 88172645463325252;
    for (unsigned round = 0; round < 1000000; round++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        uint64_t offset = seed - base;
        if (offset >= 16 * 200000) cr_assert(!wi_record_valid((void *)(uintptr_t)seed));
    }
    free(heap);
}

Test(records, valid_are_the_first_bytes_of_handed_out_ones_and_nothing_else)
{
    struct wi_record_range range = reserve(1);
    check_validity(&range);
    (void)reserve(9);
    range.count = 10;
    check_validity(&range);
    check_foreign();
}

Test(records, stay_valid_after_their_return)
{
    struct wi_record_range range = reserve(10);
    body(&range, 3)->generation = 77;
    wi_records_return(&range);
    cr_assert(wi_record_valid(body(&range, 3)));
    cr_assert_eq(body(&range, 3)->generation, 77, "a stale lease may be looked at");
}

Test(records, the_limit_is_exact_and_named)
{
    struct wi_record_range range = reserve(999);
    struct wi_record_range untouched = {NULL, 42};
    struct weir_error      last = {.struct_size = sizeof(last)};
    cr_assert_eq(wi_records_reserve(2, &untouched), WEIR_EEXCEEDS);
    cr_assert(untouched.base == NULL && untouched.count == 42);
    cr_assert_eq(weir_last_error(&last), 0);
    cr_assert_str_eq(last.limit, "records_max");
    cr_assert_str_eq(last.setting, "WEIR_RECORDS_MAX");
    cr_assert_eq(last.limit_value, 1000);
    cr_assert_eq(last.wanted, 1001);
    cr_assert_eq(wi_records_reserve(SIZE_MAX, &untouched), WEIR_EEXCEEDS);
    (void)reserve(1);
    cr_assert_eq(wi_records_reserve(1, &untouched), WEIR_EEXCEEDS);
    wi_records_return(&range);
    (void)reserve(999);
}

Test(records, what_came_back_is_handed_out_as_it_is)
{
    struct wi_record_range first = reserve(100), second = reserve(100);
    for (size_t at = 0; at < 100; at++) body(&first, at)->generation = at + 1;
    wi_records_return(&first);
    struct wi_record_range again = reserve(60);
    cr_assert_eq(again.base, first.base);
    for (size_t at = 0; at < 60; at++) cr_assert_eq(body(&again, at)->generation, at + 1);
    struct wi_record_range rest = reserve(40);
    cr_assert_eq(rest.base, (struct wi_record *)body(&first, 60));
    check_zeroed(&second);
}

Test(records, neighbours_that_came_back_are_one_range_again)
{
    struct wi_record_range part[10];
    static const unsigned  order[10] = {4, 0, 9, 2, 1, 5, 8, 3, 7, 6};
    for (unsigned at = 0; at < 10; at++) part[at] = reserve(100);
    for (unsigned at = 0; at < 10; at++) wi_records_return(&part[order[at]]);
    struct wi_record_range whole = reserve(1000);
    cr_assert_eq(whole.base, part[0].base);
}

Test(records, a_hole_at_the_end_grows)
{
    struct wi_record_range kept = reserve(10), gone = reserve(600);
    body(&gone, 599)->generation = 5;
    wi_records_return(&gone);
    struct wi_record_range larger = reserve(990);
    cr_assert_eq(larger.base, gone.base);
    cr_assert_eq(body(&larger, 599)->generation, 5);
    cr_assert_eq(body(&larger, 600)->generation, 0);
    cr_assert(wi_record_valid(body(&larger, 989)));
    wi_records_return(&larger);
    wi_records_return(&kept);
    (void)reserve(1000);
}

/* Random reserves and returns against a table of who owns which record. */
static void check_random(uint64_t seed)
{
    struct wi_record_range range[64];
    unsigned               count = 0;
    size_t                 out = 0;
    unsigned               refused = 0;
    for (unsigned round = 1; round < 20000; round++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if (count < 64 && (seed & 1)) {
            size_t want = (seed >> 8) % 60 + 1;
            if (wi_records_reserve(want, &range[count]) < 0) {
                refused++;
                continue;
            }
            for (size_t at = 0; at < want; at++) {
                cr_assert(wi_record_valid(body(&range[count], at)));
                cr_assert_eq(wi_exchange(&body(&range[count], at)->owner, round, relaxed), 0,
                             "lent twice");
            }
            out += want;
            count++;
        } else if (count > 0) {
            unsigned gone = (unsigned)(seed >> 32) % count;
            for (size_t at = 0; at < range[gone].count; at++)
                wi_store(&body(&range[gone], at)->owner, 0, relaxed);
            out -= range[gone].count;
            wi_records_return(&range[gone]);
            range[gone] = range[--count];
        }
        cr_assert_leq(out, 1000);
    }
    cr_assert_gt(refused, 0, "the limit was never met");
    while (count > 0) wi_records_return(&range[--count]);
    (void)reserve(1000);
}

Test(records, random_use_never_overlaps_and_never_leaks)
{
    check_random(UINT64_C(0x123456789));
}

Test(records, every_allocation_fails)
{
    struct wi_record_range range = {NULL, 0};
    unsigned               faults = 0;
    for (;; faults++) {
        wi_alloc_fail_at(1);
        int  err = wi_records_reserve(1, &range);
        bool reached = wi_alloc_fail_at(0) == 0;
        cr_assert_eq(err, reached ? WEIR_ENOMEM : 0);
        if (!reached) break;
        /* Once it works again, nothing is amiss; the list's room then lasts for a while. */
        cr_assert_eq(wi_records_reserve(1, &range), 0);
        cr_assert_eq(wi_record_index(range.base), 0);
        wi_records_return(&range);
    }
    cr_assert_eq(faults, 1);
    wi_alloc_fail_at(1);
    wi_records_return(&range);
    cr_assert_eq(wi_alloc_fail_at(0), 1, "a return needs no memory");
}

static void no_records(void)
{
    setenv("WEIR_CHECK", "0", 1);
    setenv("WEIR_RECORDS_MAX", "0", 1);
}

Test(records, none_allowed, .init = no_records)
{
    struct wi_record_range range;
    cr_assert_eq(wi_records_reserve(1, &range), WEIR_EEXCEEDS);
    cr_assert(!wi_record_valid(NULL));
}

static void absurdly_many(void)
{
    setenv("WEIR_RECORDS_MAX", "144115188075855873", 1); /* times 128 wraps to a small number */
}

Test(records, more_than_there_are_addresses, .init = absurdly_many)
{
    struct wi_record_range range;
    cr_assert_eq(wi_records_reserve(1, &range), WEIR_ENOMEM);
    cr_assert(!wi_record_valid(NULL));
}

static void by_default(void)
{
    setenv("WEIR_CHECK", "0", 1);
    unsetenv("WEIR_RECORDS_MAX");
}

Test(records, the_default_reserves_addresses_and_no_memory, .init = by_default)
{
    struct wi_record_range range = reserve(1);
    check_zeroed(&range);
    (void)reserve(4194303);
    cr_assert_eq(wi_records_reserve(1, &range), WEIR_EEXCEEDS);
}

#define THREADS 4

static _Atomic uint64_t stop;
static _Atomic uint64_t overlaps;

static void *reserve_and_return(void *arg)
{
    uint64_t mine = (uintptr_t)arg;
    uint64_t seed = mine * UINT64_C(0x9E3779B97F4A7C15) | 1;
    for (unsigned round = 0; round < 20000; round++) {
        struct wi_record_range range;
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if (wi_records_reserve(seed % 300 + 1, &range) < 0) continue;
        for (size_t at = 0; at < range.count; at++) {
            if (wi_exchange(&body(&range, at)->owner, mine, relaxed) != 0 ||
                !wi_record_valid(body(&range, at)))
                (void)wi_add(&overlaps, 1, relaxed);
        }
        for (size_t at = 0; at < range.count; at++) {
            if (wi_exchange(&body(&range, at)->owner, 0, relaxed) != mine)
                (void)wi_add(&overlaps, 1, relaxed);
        }
        wi_records_return(&range);
    }
    return NULL;
}

/* Asks about a pointer that is never a record, from before there are any. */
static void *ask(void *arg)
{
    uint64_t asked = 0;
    (void)arg;
    while (!wi_load(&stop, relaxed)) {
        for (uintptr_t address = 0; address < 1000 * WI_RECORD_BYTES; address += WI_RECORD_BYTES) {
            if (wi_record_valid((void *)address)) (void)wi_add(&overlaps, 1, relaxed);
        }
        asked++;
    }
    cr_assert_gt(asked, 0);
    return NULL;
}

static void check_threads(void)
{
    pthread_t thread[THREADS], asker;
    cr_assert_eq(pthread_create(&asker, NULL, ask, NULL), 0);
    for (uintptr_t at = 0; at < THREADS; at++)
        cr_assert_eq(pthread_create(&thread[at], NULL, reserve_and_return, (void *)(at + 1)), 0);
    for (unsigned at = 0; at < THREADS; at++) pthread_join(thread[at], NULL);
    wi_store(&stop, 1, relaxed);
    pthread_join(asker, NULL);
    cr_assert_eq(wi_load(&overlaps, relaxed), 0);
    (void)reserve(1000);
}

Test(records, threads)
{
    check_threads();
}

Test(records, have_one_face_without_check_mode)
{
    struct wi_record_range range = reserve(10);
    for (unsigned face = 0; face < WI_RECORD_FACES; face++)
        cr_assert_eq(wi_record_face(range.base, face), range.base);
    unsigned face = 7;
    cr_assert_eq(wi_record_plain(body(&range, 9), &face), (struct wi_record *)body(&range, 9));
    cr_assert_eq(face, 0);
}

/* The child writes all over what it can reach; exits 0 if it could read what was there. */
static int write_in_child(const struct wi_record_range *range, unsigned faces)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        bool good = true;
        for (unsigned face = 0; face < faces; face++) {
            struct body *mine = wi_record_face(range->base, face);
            good = good && wi_record_valid(mine) && mine->generation == 1;
            memset(mine, 0xee, range->count * WI_RECORD_BYTES);
        }
        _exit(good ? 0 : 1);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

Test(records, a_forked_child_cannot_write_into_its_parent_s)
{
    struct wi_record_range range = reserve(10);
    for (size_t at = 0; at < 10; at++) body(&range, at)->generation = 1;
    cr_assert_eq(write_in_child(&range, 1), 0);
    for (size_t at = 0; at < 10; at++) {
        cr_assert_eq(body(&range, at)->generation, 1);
        cr_assert_eq(wi_load(&body(&range, at)->owner, relaxed), 0);
    }
}

/* ---- with faces ---- */

Test(faces, are_sixteen_addresses_of_one_record)
{
    struct wi_record_range range = reserve(100);
    check_zeroed(&range);
    for (size_t at = 0; at < 100; at += 33) {
        struct wi_record *record = (struct wi_record *)body(&range, at);
        cr_assert_eq(wi_record_face(record, 0), record);
        for (unsigned face = 0; face < WI_RECORD_FACES; face++) {
            struct body *alias = wi_record_face(record, face);
            unsigned     told = 99;
            cr_assert(wi_record_valid(alias));
            cr_assert_eq(wi_record_plain(alias, &told), record);
            cr_assert_eq(told, face);
            cr_assert_eq(wi_record_plain(alias, NULL), record);
            cr_assert_eq((uintptr_t)alias % 64, 0);
            for (unsigned other = 0; other < face; other++)
                cr_assert_neq((void *)alias, wi_record_face(record, other));
            alias->generation = 1000 * at + face;
            cr_assert_eq(body(&range, at)->generation, 1000 * at + face, "not the same memory");
        }
    }
}

Test(faces, validity)
{
    struct wi_record_range range = reserve(10);
    for (unsigned face = 0; face < WI_RECORD_FACES; face++) {
        char *base = wi_record_face(range.base, face);
        for (size_t offset = 0; offset < 1000 * WI_RECORD_BYTES; offset += 32)
            cr_assert_eq(wi_record_valid(base + offset),
                         offset < 10 * WI_RECORD_BYTES && offset % WI_RECORD_BYTES == 0,
                         "face %u, offset %zu", face, offset);
    }
    char *base = wi_record_face(range.base, 0);
    char *last = wi_record_face(range.base, WI_RECORD_FACES - 1);
    cr_assert(!wi_record_valid(base - WI_RECORD_BYTES));
    cr_assert(!wi_record_valid(last + (last - base) / (WI_RECORD_FACES - 1)));
    check_foreign();
}

Test(faces, the_limit_is_exact)
{
    struct wi_record_range range = reserve(1000);
    cr_assert_eq(wi_records_reserve(1, &range), WEIR_EEXCEEDS);
}

Test(faces, random_use_never_overlaps_and_never_leaks)
{
    check_random(UINT64_C(0x987654321));
}

Test(faces, threads)
{
    check_threads();
}

Test(faces, a_forked_child_cannot_write_into_its_parent_s)
{
    struct wi_record_range range = reserve(10);
    for (size_t at = 0; at < 10; at++) body(&range, at)->generation = 1;
    cr_assert_eq(write_in_child(&range, WI_RECORD_FACES), 0,
                 "the child must be able to look and be told FORKED");
    for (size_t at = 0; at < 10; at++) {
        cr_assert_eq(body(&range, at)->generation, 1);
        cr_assert_eq(wi_load(&body(&range, at)->owner, relaxed), 0);
    }
    /* The faces are still one memory in the parent. */
    ((struct body *)wi_record_face(range.base, 5))->generation = 2;
    cr_assert_eq(body(&range, 0)->generation, 2);
}
