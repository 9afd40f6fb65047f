/* SPDX-License-Identifier: Apache-2.0 */
/* Each slab is registered once, and remembered; a registration that fails is a growth that fails. */
#include "world.h"

static unsigned registered;
static int      answer;

uint64_t register_once(const struct weir_slab_info *slab)
{
    registered++;
    return (uint64_t)(uintptr_t)slab->host;
}

int remember(void *ctx, uint64_t id, uint64_t handle)
{
    CHECK(id && handle && !ctx);
    return answer;
}

int main(void)
{
    struct weir_runtime   *rt = world_runtime("host");
    struct weir_slab_hook *hook;
    struct weir_pool      *pool;
    CHECK(weir_slab_hook_create(rt, WEIR_OPTS(slab_hook, .commit = on_commit), &hook) == 0);
    pool = world_pool(rt);
    CHECK(registered == 1);
    weir_pool_destroy(pool);
    answer = WEIR_ENOMEM;
    CHECK(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &pool) == WEIR_ENOMEM);
    weir_slab_hook_destroy(hook);
    weir_runtime_destroy(rt);
    return 0;
}
