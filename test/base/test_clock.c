/* SPDX-License-Identifier: Apache-2.0 */
/* test_clock.c - the clock, deadlines, and the version */
#include "base/base.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

Test(clock, never_goes_back)
{
    uint64_t last_ns = weir_clock_ns();

    for (int i = 0; i < 10000; i++) {
        uint64_t now_ns = weir_clock_ns();

        cr_assert_geq(now_ns, last_ns);
        last_ns = now_ns;
    }
}

Test(clock, is_the_monotonic_clock_in_nanoseconds)
{
    struct timespec now;
    uint64_t        before_ns = weir_clock_ns();
    uint64_t        now_ns;

    clock_gettime(CLOCK_MONOTONIC, &now);
    now_ns = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
    cr_assert_geq(now_ns, before_ns);
    cr_assert_leq(now_ns, weir_clock_ns());
}

Test(clock, deadlines_lie_ahead_and_saturate)
{
    uint64_t before_ns = weir_clock_ns();
    uint64_t deadline_ns = weir_deadline_after_ns(5 * WI_NS_PER_MS);

    cr_assert_geq(deadline_ns, before_ns + 5 * WI_NS_PER_MS);
    cr_assert_leq(deadline_ns, weir_clock_ns() + 5 * WI_NS_PER_MS);
    cr_assert_eq(weir_deadline_after_ns(UINT64_MAX), WEIR_FOREVER);
    cr_assert_eq(weir_deadline_after_ns(UINT64_MAX - 1), WEIR_FOREVER);
}

Test(version, header_library_and_build_agree)
{
    uint32_t version = weir_version();
    char     text[32];

    snprintf(text, sizeof(text), "%u.%u.%u", version >> 16, version >> 8 & 0xff, version & 0xff);
    cr_assert_str_eq(text, TEST_PROJECT_VERSION);
}
