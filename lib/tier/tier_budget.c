/* SPDX-License-Identifier: Apache-2.0 */
/* tier_budget.c - the budget of a tier, given as buffers, bytes or percent, as a number of buffers */
#include "tier/place.h"

#define PERCENT_MAX 100.0

static const char *const named[WEIR_BOUNDARIES] = {"the device tier", "the pinned tier"};

/* What one tier was given. At most one of the three is not 0. */
struct share {
    size_t buffers;
    size_t bytes;
    double percent;
};

static int count_of(const struct share *share, const struct weir_tier_opts *pool, const char *name, size_t *out)
{
    int given = (share->buffers != 0) + (share->bytes != 0) + (share->percent != 0);
    if (given > 1)
        return WI_FAIL_TEXT(INVAL, "the budget of %s is given more than once: as buffers, bytes or percent", name);
    *out = share->buffers;
    if (share->bytes) {
        if (share->bytes < pool->buffer_bytes)
            return WI_FAIL_TEXT(INVAL, "the budget of %s is %zu bytes, less than one buffer of %zu", name, share->bytes,
                                pool->buffer_bytes);
        *out = share->bytes / pool->buffer_bytes;
        if (*out > pool->buffers_max) *out = pool->buffers_max;
    }
    if (share->percent != 0) {
        if (!(share->percent > 0 && share->percent <= PERCENT_MAX))
            return WI_FAIL_TEXT(INVAL, "the budget of %s is %g percent, which is not above 0 and at most 100", name,
                                share->percent);
        *out = (size_t)(share->percent / PERCENT_MAX * (double)pool->buffers_max);
        if (*out == 0)
            return WI_FAIL_TEXT(INVAL, "the budget of %s is %g percent of %zu buffers, less than one", name, share->percent,
                                pool->buffers_max);
    }
    return 0;
}

int wi_tier_budget_count(const struct weir_tier_budget *budget, const struct weir_tier_opts *pool,
                         size_t out[WEIR_BOUNDARIES])
{
    const struct share share[WEIR_BOUNDARIES] = {
        {budget->device_buffers, budget->device_bytes, budget->device_percent},
        {budget->pinned_buffers, budget->pinned_bytes, budget->pinned_percent},
    };
    size_t count[WEIR_BOUNDARIES];
    for (int i = 0; i < WEIR_BOUNDARIES; i++) WI_TRY(count_of(&share[i], pool, named[i], &count[i]));
    for (int i = 0; i < WEIR_BOUNDARIES; i++) out[i] = count[i];
    return 0;
}
