/* SPDX-License-Identifier: Apache-2.0 */
/* policy_static.c - nothing ever moves: to compare with, and for callers that move by hand */
#include "tier/policy.h"

static void place(void *ctx, const struct weir_policy_place *where)
{
    (void)ctx;
    (void)where;
}

static void forget(void *ctx, uint32_t object)
{
    (void)ctx;
    (void)object;
}

static void resize(void *ctx, const size_t capacity[WEIR_BOUNDARIES])
{
    (void)ctx;
    (void)capacity;
}

static size_t period(void *ctx, const struct weir_policy_period *now, struct weir_policy_move *moves)
{
    (void)ctx;
    (void)now;
    (void)moves;
    return 0;
}

static int create(const struct weir_policy_opts *opts, void **out_ctx)
{
    struct weir_policy_opts checked;
    WI_TRY(wi_policy_opts_import(opts, &checked));
    *out_ctx = NULL;
    return 0;
}

static void destroy(void *ctx)
{
    (void)ctx;
}

const struct weir_policy wi_policy_static = {
    .struct_size = sizeof(struct weir_policy),
    .name = "static",
    .create = create,
    .destroy = destroy,
    .place = place,
    .remove = forget,
    .resize = resize,
    .period = period,
};
