/* SPDX-License-Identifier: Apache-2.0 */
/* test_alloc.c - allocation and its planned failure */
#include "base/alloc.h"

#include <criterion/criterion.h>
#include <string.h>

Test(alloc, memory_is_what_was_asked_for)
{
    char *plain = wi_alloc(100);
    char *zeroed = wi_calloc(10, 10);
    char *copy = wi_strdup("staging");

    cr_assert(plain && zeroed && copy);
    memset(plain, 1, 100);
    for (size_t i = 0; i < 100; i++) cr_assert_eq(zeroed[i], 0);
    cr_assert_str_eq(copy, "staging");
    wi_free(plain);
    wi_free(zeroed);
    wi_free(copy);
    wi_free(NULL);
}

Test(alloc, alignment_is_kept_and_memory_zeroed)
{
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        char *memory = wi_calloc_aligned(alignment, 3, 100);

        cr_assert(memory);
        cr_assert_eq((uintptr_t)memory % alignment, 0);
        for (size_t i = 0; i < 300; i++) cr_assert_eq(memory[i], 0);
        wi_free(memory);
    }
}

Test(alloc, overflow_is_no_memory)
{
    volatile size_t many = SIZE_MAX / 2;

    cr_assert_null(wi_calloc(many, 3));
    cr_assert_null(wi_calloc_aligned(64, many, 3));
}

Test(alloc, nth_allocation_fails_once)
{
    void *memory;

    wi_alloc_fail_at(3);
    for (int i = 0; i < 2; i++) {
        memory = wi_alloc(1);
        cr_assert(memory);
        wi_free(memory);
    }
    cr_assert_null(wi_alloc(1));
    memory = wi_alloc(1);
    cr_assert(memory, "only one fails");
    wi_free(memory);
    cr_assert_eq(wi_alloc_fail_at(0), 0);
}

Test(alloc, every_kind_can_fail)
{
    wi_alloc_fail_at(1);
    cr_assert_null(wi_calloc(1, 1));
    wi_alloc_fail_at(1);
    cr_assert_null(wi_calloc_aligned(64, 1, 1));
    wi_alloc_fail_at(1);
    cr_assert_null(wi_strdup("staging"));
}

/* Two allocations; cleans up after itself. */
static int operation(void)
{
    char *first = wi_alloc(8);
    char *second = first ? wi_calloc(1, 8) : NULL;

    wi_free(second);
    wi_free(first);
    return second ? 0 : WEIR_ENOMEM;
}

Test(alloc, sweep_ends_after_the_last_allocation)
{
    uint64_t n;

    for (n = 1; n < 10; n++) {
        int err;

        wi_alloc_fail_at(n);
        err = operation();
        if (wi_alloc_fail_at(0) != 0) {
            cr_assert_eq(err, 0);
            break;
        }
        cr_assert_eq(err, WEIR_ENOMEM);
    }
    cr_assert_eq(n, 3);
}
