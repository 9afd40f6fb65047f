/* SPDX-License-Identifier: Apache-2.0 */
/* Both leases end with the fragment. */
#include "world.h"

int main(void)
{
    struct weir_pool_stats streams = {.struct_size = sizeof streams};
    rt = world_runtime("host");
    pool = world_pool(rt);
    CHECK(fragment() == 0);
    CHECK(world_leased(pool) == 0);
    CHECK(weir_stream_stats_read(rt, WEIR_STREAM_COMM, &streams) == 0 && streams.leased == 0 && streams.acquires == 1);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
