/* SPDX-License-Identifier: Apache-2.0 */
/* consumer.cpp - the same from C++, which has no designated initialisers of C's kind */
#include <cstdio>
#include <weir/scope.h>
#include <weir/weir.h>

int main()
{
    struct weir_pool_opts opts;

    weir_opts_init(&opts, sizeof(opts));
    opts.name = "staging";
    if (opts.struct_size != sizeof(opts) || opts.buffers_max != 0) return 1;
    std::printf("%s\n", weir_strerror(WEIR_ETIMEDOUT));
    return weir_remedy_of(WEIR_ETIMEDOUT) == WEIR_REMEDY_RETRY ? 0 : 1;
}
