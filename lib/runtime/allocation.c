/* SPDX-License-Identifier: Apache-2.0 */
/* allocation.c - plain device memory under the runtime's budget */
#include "base/alloc.h"
#include "pool/watch.h"
#include "runtime/runtime.h"

#include <weir/stream.h>

struct wi_allocation {
    struct wi_allocation *next;
    uint64_t              address;
    size_t                bytes;
};

int weir_device_alloc(struct weir_runtime *rt, size_t bytes, uint64_t *out)
{
    WI_ENSURE(rt && out, INVAL, .detail = "runtime or out is NULL");
    WI_ENSURE(bytes > 0, INVAL, .detail = "bytes is 0");
    WI_TRY(wi_process_check());
    struct wi_device     *device = rt->context.device;
    struct wi_allocation *allocation = wi_calloc(1, sizeof *allocation);
    if (!allocation) return WI_FAIL(NOMEM, .call = "calloc", .detail = "a device allocation's record");
    allocation->bytes = bytes;
    int err = wi_budget_take(&rt->context.device_memory, bytes);
    if (err < 0) goto free_record;
    err = device->ops->device_alloc(device, bytes, &allocation->address);
    if (err < 0) goto give_budget;
    pthread_mutex_lock(&rt->allocations_lock);
    allocation->next = rt->allocations;
    rt->allocations = allocation;
    pthread_mutex_unlock(&rt->allocations_lock);
    *out = allocation->address;
    return 0;

give_budget:
    wi_budget_give(&rt->context.device_memory, bytes);
free_record:
    wi_free(allocation);
    return err;
}

int weir_device_free(struct weir_runtime *rt, uint64_t address)
{
    WI_ENSURE(rt, INVAL, .detail = "runtime is NULL");
    if (!address) return 0;
    WI_TRY(wi_process_check());
    pthread_mutex_lock(&rt->allocations_lock);
    struct wi_allocation **link = &rt->allocations;
    while (*link && (*link)->address != address) link = &(*link)->next;
    struct wi_allocation *allocation = *link;
    if (allocation) *link = allocation->next;
    pthread_mutex_unlock(&rt->allocations_lock);
    WI_ENSURE(allocation, NOENT, .detail = "not an address from weir_device_alloc(), or freed already");
    int err = rt->context.device->ops->device_free(rt->context.device, address);
    wi_budget_give(&rt->context.device_memory, allocation->bytes);
    wi_free(allocation);
    return err;
}

size_t wi_allocations_end(struct weir_runtime *rt)
{
    size_t count = 0;
    for (; rt->allocations; count++) {
        struct wi_allocation *allocation = rt->allocations;
        rt->allocations = allocation->next;
        if (!wi_load(&rt->context.device->lost, relaxed))
            (void)rt->context.device->ops->device_free(rt->context.device, allocation->address);
        wi_budget_give(&rt->context.device_memory, allocation->bytes);
        wi_free(allocation);
    }
    return count;
}
