/* SPDX-License-Identifier: Apache-2.0 */
/* default_streams.c - streams of the process-wide runtime of device 0 */
#include "pool/runtime_pools.h"
#include "pool/stream_class.h"

#include <weir/runtime.h>

static int lease(uint32_t stream_class, uint64_t key, uint64_t deadline_ns, const void *site,
                 struct weir_stream **out)
{
    struct weir_runtime *rt;
    struct wi_ask        ask = {.deadline_ns = deadline_ns, .priority = 1, .need = 1};
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_TRY(weir_runtime_default(0, &rt));
    return wi_stream_lease(wi_runtime_stream_pool(rt, stream_class), &ask, key, site, out);
}

int weir_compute_acquire(uint64_t affinity_key, uint64_t deadline_ns, struct weir_stream **out)
{
    return lease(WEIR_STREAM_COMPUTE, affinity_key, deadline_ns, __builtin_return_address(0), out);
}

int weir_comm_acquire(uint64_t affinity_key, uint64_t deadline_ns, struct weir_stream **out)
{
    return lease(WEIR_STREAM_COMM, affinity_key, deadline_ns, __builtin_return_address(0), out);
}

int weir_high_acquire(uint64_t deadline_ns, struct weir_stream **out)
{
    return lease(WEIR_STREAM_HIGH, 0, deadline_ns, __builtin_return_address(0), out);
}
