/* SPDX-License-Identifier: Apache-2.0 */
/* says: staging: 1 of 2 leased, waits up to 0 ns */
#include "world.h"

int main(void)
{
    struct weir_runtime *rt = world_runtime("host");
    pool = world_pool(rt);
    struct weir_buffer *held = world_buffer(pool);
    CHECK(fragment() == 0);
    CHECK(weir_buffer_release(held) == 0);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
