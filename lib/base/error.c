/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - names, texts and remedies of the codes */
#include "base/base.h"

struct error_row {
    int              code;
    enum weir_remedy remedy;
    const char      *name;
    const char      *text;
};

/* clang-format off */
static const struct error_row rows[] = {
    {WEIR_OK, WEIR_REMEDY_NONE, "OK", "success"},
#define X(name, value, remedy, text) {-(value), WEIR_REMEDY_##remedy, #name, text},
    WEIR_ERROR_MAP(X)
#undef X
};
/* clang-format on */

static const struct error_row *find_row(int code)
{
    static const struct error_row unknown = {0, WEIR_REMEDY_NONE, "UNKNOWN", "unknown error"};

    for (size_t i = 0; i < WI_ARRAY_COUNT(rows); i++) {
        if (rows[i].code == code) return &rows[i];
    }
    return &unknown;
}

const char *weir_strerror(int code)
{
    return find_row(code)->text;
}

const char *weir_errname(int code)
{
    return find_row(code)->name;
}

enum weir_remedy weir_remedy_of(int code)
{
    return find_row(code)->remedy;
}
