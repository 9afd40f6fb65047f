/* SPDX-License-Identifier: Apache-2.0 */
/* The buffer's bytes are on the device when the fragment has ended, and the stream is home. */
#include "world.h"

int main(void)
{
    int                    err;
    struct weir_pool_stats streams = {.struct_size = sizeof streams};
    rt = world_runtime("host");
    device = world_device_memory(rt, 4096);
    struct weir_pool *pool = world_pool(rt);
    buffer = world_buffer(pool);
    memset(buffer->host, 'w', buffer->bytes);
    while ((err = fragment()) == WEIR_ETIMEDOUT) continue; /* a busy machine did not copy in time */
    CHECK(err == 0);
    CHECK(world_view(device)[0] == 'w' && world_view(device)[4095] == 'w');
    CHECK(weir_stream_stats_read(rt, WEIR_STREAM_COMM, &streams) == 0 && streams.leased == 0);
    CHECK(weir_buffer_release(buffer) == 0);
    CHECK(weir_device_free(rt, device) == 0);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
