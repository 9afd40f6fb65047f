/* SPDX-License-Identifier: Apache-2.0 */
/* The tensor is uploaded and its buffer comes home. */
#include "world.h"

int main(void)
{
    struct weir_stream_totals totals = {.struct_size = sizeof totals};
    struct weir_runtime      *rt = world_runtime("host");
    pool = world_pool(rt);
    stream = world_stream(rt);
    for (int i = 0; i < 32; i++) values[i / 8][i % 8] = (float)i;
    CHECK(fragment() == 0);
    CHECK(world_leased(pool) == 0);
    world_settle(rt);
    CHECK(weir_stream_totals_read(rt, WEIR_STREAM_COMPUTE, &totals) == 0 && totals.copies == 1);
    CHECK(weir_stream_release(stream) == 0);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
