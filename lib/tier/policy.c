/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/policy.h"

#include "base/options.h"

#include <math.h>
#include <string.h>

int weir_policy_find(const char *name, const struct weir_policy **out)
{
    static const struct weir_policy *const all[] = {&wi_policy_hazard, &wi_policy_lru,
                                                    &wi_policy_static};
    WI_ENSURE(name, INVAL, .detail = "name is NULL");
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    for (size_t i = 0; i < WI_ARRAY_COUNT(all); i++) {
        if (strcmp(all[i]->name, name) != 0) continue;
        *out = all[i];
        return 0;
    }
    return WI_FAIL_TEXT(NOENT, "no policy is called \"%.40s\"; there are hazard, lru and static",
                        name);
}

static int create_nothing(const struct weir_policy_opts *opts, void **out_ctx)
{
    (void)opts;
    *out_ctx = NULL;
    return 0;
}

static void destroy_nothing(void *ctx)
{
    (void)ctx;
}

int wi_policy_import(const struct weir_policy *policy, struct weir_policy *out)
{
    struct weir_policy copy;
    if (!policy) policy = &wi_policy_hazard;
    WI_TRY(wi_options_import(&copy, sizeof copy, policy, "weir_policy"));
    WI_ENSURE(copy.name, INVAL, .detail = "the policy has no name");
    WI_ENSURE(copy.place, INVAL, .detail = "the policy has no function place");
    WI_ENSURE(copy.remove, INVAL, .detail = "the policy has no function remove");
    WI_ENSURE(copy.resize, INVAL, .detail = "the policy has no function resize");
    WI_ENSURE(copy.period, INVAL, .detail = "the policy has no function period");
    if (!copy.create) copy.create = create_nothing;
    if (!copy.destroy) copy.destroy = destroy_nothing;
    *out = copy;
    return 0;
}

int wi_policy_opts_import(const struct weir_policy_opts *opts, struct weir_policy_opts *out)
{
    struct weir_policy_opts copy;
    WI_TRY(wi_options_import(&copy, sizeof copy, opts, "weir_policy_opts"));
    WI_ENSURE(copy.objects_max > 0, INVAL, .detail = "objects_max is 0");
    WI_ENSURE(copy.objects_max < UINT32_MAX, INVAL, .limit = "objects_max",
              .limit_value = UINT32_MAX - 1, .wanted = copy.objects_max,
              .detail = "object numbers have 32 bits");
    for (int boundary = 0; boundary < WEIR_BOUNDARIES; boundary++) {
        double *cost = &copy.cost[boundary];
        WI_ENSURE(isfinite(*cost), INVAL, .detail = "a cost is not a finite number");
        if (*cost == 0) *cost = WI_POLICY_COST_DEFAULT;
        if (*cost < 0) *cost = 0;
    }
    *out = copy;
    return 0;
}
