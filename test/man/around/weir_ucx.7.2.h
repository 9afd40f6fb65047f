/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes are in the block, and the source is home. */
#include "world_ucx.h"

int main(void)
{
    struct weir_runtime *rt = world_runtime("host");
    struct weir_pool    *pool = world_pool(rt);
    struct weir_buffer  *block = world_buffer(pool);
    struct world_ucx     world = world_ucx_open(rt, pool);
    source = world_buffer(pool);
    memset(source->host, 'q', source->bytes);
    CHECK(weir_ucx_expose(world.at_decode, weir_slice_all(block), &ref) == 0);
    peer = world.at_prefill;
    CHECK(fragment() == 0);
    CHECK(((const char *)block->host)[4095] == 'q');
    CHECK(weir_ucx_conceal(world.at_decode, &ref) == 0);
    CHECK(weir_buffer_release(block) == 0);
    CHECK(world_leased(pool) == 0);
    world_ucx_close(&world);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
