/* SPDX-License-Identifier: Apache-2.0 */
/* The block has the source's bytes, and both buffers are home. */
#include "world_ucx.h"

int main(void)
{
    struct weir_ucx_ref  ref;
    struct weir_buffer  *block;
    struct weir_runtime *rt = world_runtime("host");
    struct weir_pool    *pool = world_pool(rt);
    struct weir_buffer  *source = world_buffer(pool);
    struct world_ucx     world = world_ucx_open(rt, pool);
    memset(source->host, 'k', source->bytes);
    CHECK(offer_block(world.at_decode, pool, &block, &ref) == 0);
    CHECK(fill_block(world.at_prefill, source, &ref) == 0);
    CHECK(weir_ucx_conceal(world.at_decode, &ref) == 0);
    CHECK(memcmp(block->host, source->host, block->bytes) == 0);
    CHECK(weir_buffer_release(block) == 0 && weir_buffer_release(source) == 0);
    CHECK(world_leased(pool) == 0);
    world_ucx_close(&world);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
