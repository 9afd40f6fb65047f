/* SPDX-License-Identifier: Apache-2.0 */
/* The text is on the device, and its memory is free again. */
#include "world.h"

int main(void)
{
    struct weir_runtime *rt = world_runtime("host");
    struct weir_stream  *stream = world_stream(rt);
    struct weir_heap    *heap;
    uint64_t             device = world_device_memory(rt, 4096);
    CHECK(weir_heap_create(rt, NULL, &heap) == 0);
    CHECK(send_text(heap, stream, device, "hello") == 0);
    world_settle(rt);
    CHECK(memcmp(world_view(device), "hello", 5) == 0);
    struct weir_heap_stats stats = {.struct_size = sizeof stats};
    CHECK(weir_heap_stats_read(heap, &stats) == 0);
    CHECK(stats.misses == 1 && stats.bytes_used == 0 && stats.failures == 0);
    weir_heap_destroy(heap);
    CHECK(weir_device_free(rt, device) == 0);
    CHECK(weir_stream_release(stream) == 0);
    weir_runtime_destroy(rt);
    return 0;
}
