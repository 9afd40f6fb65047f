/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes come with a pool, and go with it. */
#include "world.h"

int main(void)
{
    struct weir_slab_hook *hook;
    size_t                 bytes = 0;
    struct weir_runtime   *rt = world_runtime("host");
    CHECK(count_bytes(rt, &bytes, &hook) == 0 && bytes == 0);
    struct weir_pool *pool = world_pool(rt);
    CHECK(bytes >= 2 * 4096);
    weir_pool_destroy(pool);
    CHECK(bytes == 0);
    weir_slab_hook_destroy(hook);
    weir_runtime_destroy(rt);
    return 0;
}
