/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel goes on after the release: the buffer retires meanwhile, and then it is free. */
#include <pthread.h>
#include "world.h"

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void kernel(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

int launch(struct weir_stream *on, uint64_t device)
{
    return device ? weir_stream_call(on, kernel, NULL) : WEIR_EINVAL;
}

int main(void)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    struct weir_runtime   *rt = world_runtime("host");
    pool = world_pool(rt);
    stream = world_stream(rt);
    pthread_mutex_lock(&gate);
    CHECK(fragment() == 0);
    CHECK(weir_pool_stats_read(pool, &stats) == 0 && stats.retiring == 1 && stats.leased == 0);
    pthread_mutex_unlock(&gate);
    world_settle(rt);
    while (stats.retiring) CHECK(weir_pool_stats_read(pool, &stats) == 0); /* until the keeper has seen it */
    CHECK(stats.leased == 0 && stats.free == stats.total);
    CHECK(weir_stream_release(stream) == 0);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
