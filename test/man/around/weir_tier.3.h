/* SPDX-License-Identifier: Apache-2.0 */
/* The block was written through the view, and is the only one that is leased. */
#include "world.h"

int main(void)
{
    struct weir_view view;
    rt = world_runtime("host");
    CHECK(fragment() == 0);
    CHECK(world_leased(pool) == 1);
    CHECK(weir_buffer_borrow(block, WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_FOREVER, &view) == 0);
    CHECK(((const char *)view.host)[0] == 0 && ((const char *)view.host)[view.bytes - 1] == 0);
    CHECK(weir_view_return(&view) == 0);
    CHECK(weir_buffer_release(block) == 0);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return 0;
}
