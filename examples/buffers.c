/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffers.c - a pool of pinned buffers, from the first line to the last
 *
 *     make a pool            weir_pool_create
 *     acquire a buffer       weir_buffer_acquire
 *     copy bytes into it     weir_buffer_write     (or write to buffer->host)
 *     copy it to the GPU     weir_buffer_to_device
 *     release it             weir_buffer_release
 *
 * Runs with a GPU or without one: weir then emulates a device.
 */
#include <stdio.h>
#include <stdlib.h>
#include <weir/weir.h>

/* Every call answers 0 or a negative code; weir keeps a sentence about the latest failure. */
static void check(int answer)
{
    char text[512];
    if (answer >= 0) return;
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "buffers: %s\n", text);
    exit(1);
}

int main(void)
{
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    struct weir_stream  *stream;
    struct weir_buffer  *buffer;
    static float         tensor[1024 * 1024 / sizeof(float)];
    for (size_t i = 0; i < sizeof tensor / sizeof tensor[0]; i++) tensor[i] = (float)i;

    check(weir_runtime_default(0, &rt));
    check(weir_pool_create(rt, WEIR_OPTS(pool, .buffers_min = 4, .buffer_bytes = 1024 * 1024), &pool));
    check(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));

    check(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
    check(weir_buffer_write(buffer, 0, tensor, sizeof tensor, WEIR_NOW));
    check(weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW));
    check(weir_buffer_release(buffer)); /* at once: the memory is reused only when the copy is done */

    /* What happened, when it has happened. */
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    check(weir_stream_sync(stream, WEIR_FOREVER));
    check(weir_pool_stats_read(pool, &stats));
    printf("%llu acquired, %llu bytes to the device in %.3f ms, %.1f GB/s\n", (unsigned long long)stats.acquires,
           (unsigned long long)stats.bytes_up, (double)stats.transfer_ns / 1e6, (double)stats.transfer_bytes_per_s / 1e9);

    check(weir_stream_release(stream));
    weir_pool_destroy(pool);
    check(weir_runtime_reset(0, WEIR_FOREVER));
    return stats.acquires == 1 && stats.bytes_up == sizeof tensor ? 0 : 1;
}
