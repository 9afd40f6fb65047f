/* SPDX-License-Identifier: Apache-2.0 */
/* What was written into the region is on the device. */
#include "world.h"

int main(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    rt = world_runtime("host");
    stream = world_stream(rt);
    device = world_device_memory(rt, 4096);
    memset((char *)(uintptr_t)device, 1, 4096);
    CHECK(fragment() == 0);
    world_settle(rt);
    CHECK(world_view(device)[0] == 0 && world_view(device)[4095] == 0);
    CHECK(weir_device_free(rt, device) == 0);
    CHECK(weir_stream_release(stream) == 0);
    weir_runtime_destroy(rt);
    return 0;
}
