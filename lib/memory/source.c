/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/source.h"

#include <unistd.h>

/* A source that failed inside weir has told why already. */
static int refused(int err, const struct weir_memory_request *request, uint64_t failures_before)
{
    struct weir_error latest = {.struct_size = sizeof latest};
    bool              told = wi_failures() != failures_before && weir_last_error(&latest) == 0 && latest.code == err;
    if (told) return err;
    return wi_fail_at(err, __FILE__, __LINE__,
                      &(const struct wi_cause){.detail = "the memory source has no memory for the pool",
                                               .wanted = request->bytes});
}

int wi_source_take(struct wi_slab *slab, uint64_t numa_mask)
{
    const struct weir_memory_source *source = &slab->source;
    struct weir_memory_request       request = {
              .struct_size = sizeof request,
              .bytes = slab->map_bytes,
              .alignment_bytes = (size_t)sysconf(_SC_PAGESIZE),
              .numa_mask = numa_mask,
    };
    uint64_t failures = wi_failures();
    void    *base = NULL;
    int      err = source->take(source->ctx, &request, &base);
    if (err < 0) return refused(err, &request, failures);
    WI_ENSURE(base, INVAL, .detail = "the memory source answered success and NULL", .setting = "weir_pool_opts.source",
              .wanted = request.bytes);
    size_t astray = (uintptr_t)base % request.alignment_bytes;
    if (astray != 0) {
        source->give(source->ctx, base, request.bytes);
        return WI_FAIL(INVAL, .detail = "the memory source answered an address that is not at the beginning of a page",
                       .setting = "weir_pool_opts.source", .limit = "alignment_bytes",
                       .limit_value = request.alignment_bytes, .wanted = request.bytes);
    }
    slab->base = base;
    return 0;
}
