/* SPDX-License-Identifier: Apache-2.0 */
/* The pool is there and offered, on memory that UCX gave. */
#include "world.h"

int main(void)
{
    struct weir_ucx_stats stats = {.struct_size = sizeof stats};
    rt = world_runtime("host");
    CHECK(weir_ucx_create(rt, NULL, &ucx) == 0);
    CHECK(fragment() == 0 && err == 0);
    CHECK(weir_ucx_stats_read(ucx, &stats) == 0 && stats.registrations >= 1);
    CHECK(world_leased(pool) == 0);
    weir_ucx_destroy(ucx);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
