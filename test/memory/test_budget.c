/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/memory.h"

#include <criterion/criterion.h>
#include <pthread.h>

static struct wi_budget budget;

static void set_up(void)
{
    wi_budget_init(&budget, "pinned_bytes_max", "WEIR_PINNED_BYTES_MAX", 1000);
}

TestSuite(budget, .init = set_up);

Test(budget, is_exact)
{
    cr_assert_eq(wi_budget_take(&budget, 600), 0);
    cr_assert_eq(wi_budget_take(&budget, 401), WEIR_EEXCEEDS);
    cr_assert_eq(wi_load(&budget.bytes, relaxed), 600, "a refusal charges nothing");
    cr_assert_eq(wi_budget_take(&budget, 400), 0);
    cr_assert_eq(wi_budget_take(&budget, 1), WEIR_EEXCEEDS);
    cr_assert_eq(wi_budget_take(&budget, 0), 0);
    wi_budget_give(&budget, 1000);
    cr_assert_eq(wi_load(&budget.bytes, relaxed), 0);
}

Test(budget, refusal_names_the_limit_and_its_setting)
{
    struct weir_error last = {.struct_size = sizeof last};
    cr_assert_eq(wi_budget_take(&budget, 1001), WEIR_EEXCEEDS);
    cr_assert_eq(weir_last_error(&last), 0);
    cr_assert_str_eq(last.limit, "pinned_bytes_max");
    cr_assert_str_eq(last.setting, "WEIR_PINNED_BYTES_MAX");
    cr_assert_eq(last.limit_value, 1000);
    cr_assert_eq(last.wanted, 1001);
}

Test(budget, lowered_below_what_is_charged)
{
    cr_assert_eq(wi_budget_take(&budget, 900), 0);
    wi_store(&budget.bytes_max, 500, relaxed);
    cr_assert_eq(wi_budget_take(&budget, 1), WEIR_EEXCEEDS);
    wi_budget_give(&budget, 400);
    cr_assert_eq(wi_budget_take(&budget, 1), WEIR_EEXCEEDS);
    wi_budget_give(&budget, 1);
    cr_assert_eq(wi_budget_take(&budget, 1), 0);
}

Test(budget, huge_amounts_do_not_wrap)
{
    cr_assert_eq(wi_budget_take(&budget, 10), 0);
    cr_assert_eq(wi_budget_take(&budget, UINT64_MAX), WEIR_EEXCEEDS);
    cr_assert_eq(wi_budget_take(&budget, UINT64_MAX - 9), WEIR_EEXCEEDS);
    wi_store(&budget.bytes_max, UINT64_MAX, relaxed);
    cr_assert_eq(wi_budget_take(&budget, UINT64_MAX - 10), 0);
    cr_assert_eq(wi_budget_take(&budget, 1), WEIR_EEXCEEDS);
}

#define THREADS 8
#define ROUNDS  1000000

/* What the threads hold, counted by themselves: raised after a take and lowered before a give. */
static _Atomic uint64_t held;
static _Atomic uint64_t over;
static _Atomic uint64_t refused;

static pthread_barrier_t start;

static void *take_and_give(void *arg)
{
    pthread_barrier_wait(&start);
    uint64_t seed = (uintptr_t)arg * UINT64_C(0x9E3779B97F4A7C15) + 1;
    uint64_t mine = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint64_t bytes = (seed >> 33) % 300 + 1;
        if (wi_budget_take(&budget, bytes) == 0) {
            if (wi_add(&held, bytes, relaxed) + bytes > 1000) (void)wi_add(&over, 1, relaxed);
            mine += bytes;
        } else {
            (void)wi_add(&refused, 1, relaxed);
        }
        if (mine > 0 && (seed >> 62) == 0) {
            (void)wi_sub(&held, mine, relaxed);
            wi_budget_give(&budget, mine);
            mine = 0;
        }
    }
    (void)wi_sub(&held, mine, relaxed);
    wi_budget_give(&budget, mine);
    return NULL;
}

Test(budget, threads_never_exceed_it, .timeout = 240)
{
    pthread_t thread[THREADS];
    cr_assert_eq(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (uintptr_t at = 0; at < THREADS; at++)
        cr_assert_eq(pthread_create(&thread[at], NULL, take_and_give, (void *)at), 0);
    for (unsigned at = 0; at < THREADS; at++) pthread_join(thread[at], NULL);
    cr_assert_eq(wi_load(&over, relaxed), 0);
    cr_assert_gt(wi_load(&refused, relaxed), 0, "the budget was never met, so nothing was tested");
    cr_assert_eq(wi_load(&budget.bytes, relaxed), 0);
}
