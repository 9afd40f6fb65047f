/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/memory.h"

void wi_budget_init(struct wi_budget *budget, const char *name, const char *setting,
                    uint64_t bytes_max)
{
    budget->name = name;
    budget->setting = setting;
    wi_store(&budget->bytes_max, bytes_max, relaxed);
    wi_store(&budget->bytes, 0, relaxed);
}

static WI_COLD int refuse(const struct wi_budget *budget, uint64_t bytes_max, uint64_t bytes)
{
    return WI_FAIL(EXCEEDS, .detail = "the budget has no room for this many bytes more",
                   .limit = budget->name, .setting = budget->setting, .limit_value = bytes_max,
                   .wanted = bytes);
}

/* Relaxed throughout: a budget is a count and publishes nothing. */
int wi_budget_take(struct wi_budget *budget, uint64_t bytes)
{
    uint64_t charged = wi_load(&budget->bytes, relaxed);
    do {
        /*
         * Read in every round: a maximum that was lowered meanwhile is obeyed. It may be below what
         * is charged.
         */
        uint64_t bytes_max = wi_load(&budget->bytes_max, relaxed);
        if (charged > bytes_max || bytes > bytes_max - charged)
            return refuse(budget, bytes_max, bytes);
    } while (!wi_cas(&budget->bytes, &charged, charged + bytes, relaxed));
    return 0;
}

void wi_budget_give(struct wi_budget *budget, uint64_t bytes)
{
    uint64_t charged = wi_sub(&budget->bytes, bytes, relaxed);
    /* Giving back more than was taken would let others exceed the limit unseen. */
    wi_require(charged >= bytes);
}
