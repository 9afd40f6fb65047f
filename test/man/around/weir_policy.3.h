/* SPDX-License-Identifier: Apache-2.0 */
/* What was touched comes up. */
#include "world.h"

int main(void)
{
    CHECK(fragment() == 0);
    CHECK(count == 1 && moves[0].object == 7 && moves[0].from == WEIR_TIER_PAGEABLE && moves[0].to < WEIR_TIER_PAGEABLE);
    return 0;
}
