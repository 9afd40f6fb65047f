/* SPDX-License-Identifier: Apache-2.0 */
/* On the driver double: the handle reaches the launch, and the buffer retires until the stream's work is done. */
/* needs: WEIR_CUDA_LIBRARY, the driver double, which this build lacks */
#include "world.h"

static struct CUstream_st *launched_on;

void launch(struct CUstream_st *on, uint64_t address)
{
    CHECK(address == buffer->device);
    launched_on = on;
}

int main(void)
{
    struct CUstream_st  *handle;
    struct weir_runtime *rt = world_runtime("cuda");
    struct weir_pool    *pool = world_pool(rt);
    stream = world_stream(rt);
    buffer = world_buffer(pool);
    CHECK(weir_stream_cuda(stream, &handle) == 0);
    CHECK(fragment() == 0);
    CHECK(launched_on == handle);
    CHECK(world_leased(pool) == 0);
    CHECK(weir_stream_release(stream) == 0);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
