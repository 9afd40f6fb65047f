/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes are on the device, and the buffer is home. */
#include "world.h"

int main(void)
{
    struct weir_runtime *rt = world_runtime("host");
    struct weir_pool    *pool = world_pool(rt);
    struct weir_stream  *stream = world_stream(rt);
    uint64_t             dst = world_device_memory(rt, 4096);
    CHECK(stage(pool, stream, dst, "a prompt", 9) == 0);
    CHECK(world_leased(pool) == 0);
    world_settle(rt);
    CHECK(strcmp(world_view(dst), "a prompt") == 0);
    CHECK(weir_device_free(rt, dst) == 0);
    CHECK(weir_stream_release(stream) == 0);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
