/* SPDX-License-Identifier: Apache-2.0 */
/* says: CLOSED: object was closed.* */
/* A code to act on, and a code to report: the pool is exhausted, then closed. */
#include "world.h"

int main(void)
{
    struct weir_runtime *rt = world_runtime("host");
    struct weir_buffer  *held[4];
    pool = world_pool(rt);
    for (int i = 0; i < 4; i++) held[i] = world_buffer(pool);
    CHECK(fragment() == WEIR_ETIMEDOUT);
    CHECK(weir_buffer_release(held[0]) == 0);
    CHECK(fragment() == 0 && buffer);
    weir_pool_destroy(pool);
    CHECK(fragment() == WEIR_ECLOSED);
    CHECK(weir_buffer_release(buffer) == 0);
    for (int i = 1; i < 4; i++) CHECK(weir_buffer_release(held[i]) == 0);
    weir_runtime_destroy(rt);
    return 0;
}
