/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes are in the buffer's mirror, and the buffer is home. */
#include "world.h"

int main(void)
{
    uint64_t mirror;
    int      err;
    rt = world_runtime("host");
    stream = world_stream(rt);
    while ((err = fragment()) == WEIR_ETIMEDOUT) weir_pool_destroy(pool); /* a busy machine did not grow in time */
    CHECK(err == 0);
    CHECK(world_leased(pool) == 0);
    world_settle(rt);
    buffer = world_buffer(pool);
    CHECK(buffer->bytes == 1 << 20 && weir_buffer_mirror(buffer, &mirror) == 0);
    CHECK(weir_buffer_release(buffer) == 0);
    CHECK(weir_stream_release(stream) == 0);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
