/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/source.h"

#include <string.h>
#include <unistd.h>

static struct weir_error latest(void)
{
    struct weir_error error = {.struct_size = sizeof error};
    (void)weir_last_error(&error);
    return error;
}

/* A source that failed inside weir has told why already. */
static int refused(int err, const struct weir_memory_request *request, const struct weir_error *before)
{
    struct weir_error now = latest();
    if (now.code == err && memcmp(&now, before, sizeof now) != 0) return err;
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
    struct weir_error before = latest();
    void             *base = NULL;
    int               err = source->take(source->ctx, &request, &base);
    if (err < 0) return refused(err, &request, &before);
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
