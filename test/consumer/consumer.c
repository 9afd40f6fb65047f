/* SPDX-License-Identifier: Apache-2.0 */
/* consumer.c - a user's program: it sees only what is installed */
#include <stdio.h>
#include <weir/scope.h>
#include <weir/weir.h>

int main(void)
{
    const struct weir_pool_opts *opts = WEIR_OPTS(pool, .name = "staging", .buffers_min = 2);
    uint32_t                     version = weir_version();

    if (version >> 16 != WEIR_VERSION_MAJOR || (version >> 8 & 0xff) != WEIR_VERSION_MINOR) {
        fprintf(stderr, "header and library differ\n");
        return 1;
    }
    if (opts->struct_size != sizeof(struct weir_pool_opts) || opts->buffers_max != 0) return 1;
    printf("%s: %s\n", weir_errname(WEIR_EEXCEEDS), weir_strerror(WEIR_EEXCEEDS));
    return weir_remedy_of(WEIR_EEXCEEDS) == WEIR_REMEDY_SHED ? 0 : 1;
}
