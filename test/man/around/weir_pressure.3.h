/* SPDX-License-Identifier: Apache-2.0 */
/* says: some task waited for memory in 45 % of the last 10 s */
/* A reading of 45 %, from a file of this program's own; before that, none. */
#include <unistd.h>
#include "world.h"

int main(void)
{
    FILE *psi = fopen("psi", "w");
    rt = world_runtime("host");
    CHECK(psi);
    fprintf(psi, "some avg10=45.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    CHECK(fclose(psi) == 0);
    CHECK(weir_pressure_set(rt, WEIR_OPTS(pressure, .psi_path = "psi")) == 0);
    CHECK(fragment() == 0);
    unlink("psi");
    weir_runtime_destroy(rt);
    return 0;
}
