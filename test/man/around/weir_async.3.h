/* SPDX-License-Identifier: Apache-2.0 */
/* A lease by eventfd: at once, and where nothing comes home in time, TIMEDOUT. */
#include <sys/eventfd.h>
#include <unistd.h>
#include "world.h"

int main(void)
{
    struct weir_runtime *rt = world_runtime("host");
    struct weir_pool    *pool;
    struct weir_buffer  *held[5];
    int                  fd = eventfd(0, EFD_NONBLOCK);
    CHECK(fd >= 0);
    CHECK(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 4, .buffers_max = 4), &pool) == 0);
    for (int i = 0; i < 4; i++) {
        eventfd_t times;
        CHECK(lease_by_poll(pool, fd, &held[i]) == 0);
        CHECK(eventfd_read(fd, &times) == 0 && times == 1);
    }
    CHECK(lease_by_poll(pool, fd, &held[4]) == WEIR_ETIMEDOUT);
    for (int i = 0; i < 4; i++) CHECK(weir_buffer_release(held[i]) == 0);
    CHECK(world_leased(pool) == 0);
    close(fd);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
