/* SPDX-License-Identifier: Apache-2.0 */
/* A put through the reference arrives in the block. */
#include "world_ucx.h"

int main(void)
{
    struct weir_ucx_transfer *put;
    struct weir_runtime      *rt = world_runtime("host");
    pool = world_pool(rt);
    struct weir_buffer *source = world_buffer(pool);
    struct world_ucx    world = world_ucx_open(rt, pool);
    memset(source->host, 'p', source->bytes);
    peer = world.at_decode;
    CHECK(fragment() == 0);
    CHECK(weir_ucx_put(world.at_prefill, weir_slice_all(source), &ref, WEIR_OPTS(ucx_transfer, .flags = WEIR_UCX_DELIVERED), &put) == 0);
    CHECK(weir_ucx_wait(put, WEIR_FOREVER, NULL) == 0);
    CHECK(((const char *)block->host)[4095] == 'p');
    CHECK(weir_ucx_conceal(peer, &ref) == 0);
    CHECK(weir_buffer_release(block) == 0 && weir_buffer_release(source) == 0);
    world_ucx_close(&world);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
