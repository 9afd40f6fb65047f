/* SPDX-License-Identifier: Apache-2.0 */
/* test_options.c - option structs and snapshots of any age */
#include "base/options.h"

#include <criterion/criterion.h>
#include <string.h>

/* One struct as three versions of weir know it. */
struct opts_older {
    size_t   struct_size;
    uint64_t first;
};
struct opts {
    size_t   struct_size;
    uint64_t first;
    uint64_t second;
};
struct opts_newer {
    size_t   struct_size;
    uint64_t first;
    uint64_t second;
    uint64_t third;
    uint64_t fourth;
};

static struct opts filled(void)
{
    struct opts into;

    memset(&into, 0xa5, sizeof(into));
    return into;
}

Test(options, null_means_defaults)
{
    struct opts into = filled();

    cr_assert_eq(wi_options_import(&into, sizeof(into), NULL, "opts"), 0);
    cr_assert_eq(into.struct_size, sizeof(into));
    cr_assert_eq(into.first, 0);
    cr_assert_eq(into.second, 0);
}

Test(options, same_age)
{
    struct opts given = {sizeof(given), 1, 2};
    struct opts into = filled();

    cr_assert_eq(wi_options_import(&into, sizeof(into), &given, "opts"), 0);
    cr_assert_arr_eq((char *)&into, (char *)&given, sizeof(into));
}

Test(options, older_caller_reads_as_zero)
{
    struct opts_older given = {sizeof(given), 1};
    struct opts       into = filled();

    cr_assert_eq(wi_options_import(&into, sizeof(into), &given, "opts"), 0);
    cr_assert_eq(into.struct_size, sizeof(into));
    cr_assert_eq(into.first, 1);
    cr_assert_eq(into.second, 0);
}

Test(options, newer_caller_with_a_tail_of_zeros)
{
    struct opts_newer given = {sizeof(given), 1, 2, 0, 0};
    struct opts       into = filled();

    cr_assert_eq(wi_options_import(&into, sizeof(into), &given, "opts"), 0);
    cr_assert_eq(into.struct_size, sizeof(into));
    cr_assert_eq(into.second, 2);
}

Test(options, newer_caller_who_uses_the_tail)
{
    struct opts_newer given = {sizeof(given), 1, 2, 0, UINT64_C(1) << 63};
    struct opts       into = {.first = 77};
    struct weir_error error = {.struct_size = sizeof(error)};

    cr_assert_eq(wi_options_import(&into, sizeof(into), &given, "struct weir_x_opts"), WEIR_EOPTS);
    cr_assert_eq(into.first, 77, "outputs are written only on success");
    cr_assert_eq(weir_last_error(&error), 0);
    cr_assert_str_eq(error.detail,
                     "struct weir_x_opts: byte 39 is set, but this weir knows only 24 bytes");
}

Test(options, absurd_sizes)
{
    static const size_t sizes[] = {0, 1, sizeof(size_t) - 1, 1u << 20, SIZE_MAX};
    struct opts         into = {.first = 77};

    for (size_t i = 0; i < WI_ARRAY_COUNT(sizes); i++) {
        struct opts given = {sizes[i], 1, 2};

        cr_assert_eq(wi_options_import(&into, sizeof(into), &given, "opts"), WEIR_EINVAL);
        cr_assert_eq(into.first, 77);
    }
}

Test(options, init_takes_the_callers_size)
{
    struct opts_newer given;

    memset(&given, 0xa5, sizeof(given));
    weir_opts_init(&given, sizeof(struct opts));
    cr_assert_eq(given.struct_size, sizeof(struct opts));
    cr_assert_eq(given.second, 0);
    cr_assert_eq(given.third, UINT64_C(0xa5a5a5a5a5a5a5a5));
}

Test(snapshot, fills_what_both_know)
{
    const struct opts from = {sizeof(from), 1, 2};
    struct opts_older older = {sizeof(older), 0};
    struct opts_newer newer = {.struct_size = sizeof(newer), .third = 3};

    cr_assert_eq(wi_snapshot_export(&older, &from, sizeof(from)), 0);
    cr_assert_eq(older.struct_size, sizeof(older));
    cr_assert_eq(older.first, 1);
    cr_assert_eq(wi_snapshot_export(&newer, &from, sizeof(from)), 0);
    cr_assert_eq(newer.struct_size, sizeof(newer));
    cr_assert_eq(newer.second, 2);
    cr_assert_eq(newer.third, 3);
}

Test(snapshot, refuses_what_was_not_prepared)
{
    const struct opts from = {sizeof(from), 1, 2};
    struct opts       out = {.struct_size = 0, .first = 77};

    cr_assert_eq(wi_snapshot_export(&out, &from, sizeof(from)), WEIR_EINVAL);
    cr_assert_eq(wi_snapshot_export(NULL, &from, sizeof(from)), WEIR_EINVAL);
    out.struct_size = SIZE_MAX;
    cr_assert_eq(wi_snapshot_export(&out, &from, sizeof(from)), WEIR_EINVAL);
    cr_assert_eq(out.first, 77);
}
