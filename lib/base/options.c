/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - option structs in, snapshots out, across versions of weir */
#include "base/options.h"

#include <string.h>

/* A struct_size above this was not set by anybody: an uninitialised struct. */
#define STRUCT_BYTES_MAX 4096

static size_t struct_size_of(const void *data)
{
    size_t struct_size;

    memcpy(&struct_size, data, sizeof(struct_size));
    return struct_size;
}

static int struct_size_check(size_t struct_size, const char *type)
{
    if (struct_size < sizeof(size_t) || struct_size > STRUCT_BYTES_MAX) {
        return WI_FAIL_TEXT(INVAL, "%s: struct_size is %zu; set it to the sizeof of the struct",
                            type, struct_size);
    }
    return 0;
}

void weir_opts_init(void *opts, size_t struct_size)
{
    memset(opts, 0, struct_size);
    memcpy(opts, &struct_size, sizeof(struct_size));
}

int wi_options_import(void *into, size_t bytes, const void *opts, const char *type)
{
    const unsigned char *given = opts;
    size_t               struct_size;

    wi_assert(bytes >= sizeof(size_t) && bytes <= STRUCT_BYTES_MAX);
    if (!opts) {
        weir_opts_init(into, bytes);
        return 0;
    }
    struct_size = struct_size_of(opts);
    WI_TRY(struct_size_check(struct_size, type));
    for (size_t i = bytes; i < struct_size; i++) {
        if (given[i] != 0) {
            return WI_FAIL_TEXT(OPTS, "%s: byte %zu is set, but this weir knows only %zu bytes",
                                type, i, bytes);
        }
    }
    memset(into, 0, bytes);
    memcpy(into, opts, struct_size < bytes ? struct_size : bytes);
    memcpy(into, &bytes, sizeof(bytes));
    return 0;
}

int wi_snapshot_export(void *out, const void *from, size_t bytes)
{
    size_t struct_size;

    WI_ENSURE(out, INVAL, .detail = "there is no struct to fill: the pointer is NULL");
    struct_size = struct_size_of(out);
    WI_TRY(struct_size_check(struct_size, "snapshot"));
    if (struct_size < bytes) bytes = struct_size;
    memcpy((char *)out + sizeof(size_t), (const char *)from + sizeof(size_t),
           bytes - sizeof(size_t));
    return 0;
}
