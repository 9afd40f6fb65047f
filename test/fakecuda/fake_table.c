/* SPDX-License-Identifier: Apache-2.0 */
/* fake_table.c - the double's symbols, found by name and version as cuGetProcAddress finds them */
#include "fake_state.h"

#include <string.h>

struct row {
    const char *name;
    int         version;
    union {
        void (*code)(void);
        void *address;
    } function;
};

static const struct row rows[FAKE_ROWS_COUNT] = {
#define X(name, function, version) {#name, version, {.code = (void (*)(void))function}},
    FAKE_SYMBOLS(X)
#undef X
};

const char *fake_symbol_name(enum fake_row row)
{
    return rows[row].name;
}

/* The newest form that is not newer than `version`. */
static const struct row *find(const char *symbol, int version)
{
    const struct row *found = NULL;
    for (size_t i = 0; i < FAKE_ROWS_COUNT; i++)
        if (strcmp(rows[i].name, symbol) == 0 && rows[i].version <= version &&
            rows[i].version <= fake.version && !fake_is_hidden(symbol, rows[i].version))
            found = &rows[i];
    return found;
}

static bool is_known(const char *symbol)
{
    for (size_t i = 0; i < FAKE_ROWS_COUNT; i++)
        if (strcmp(rows[i].name, symbol) == 0 && rows[i].version <= fake.version &&
            !fake_is_hidden(symbol, rows[i].version))
            return true;
    return false;
}

void *fake_symbol_newest(const char *symbol)
{
    void *found = NULL;
    for (size_t i = 0; i < FAKE_ROWS_COUNT; i++)
        if (strcmp(rows[i].name, symbol) == 0) found = rows[i].function.address;
    return found;
}

/*
 * As the driver does it: a version newer than the driver is an invalid value; a name it lacks, or a version
 * before the first form, is success with a NULL function and a status.
 */
FAKE_API wi_cu_result cuGetProcAddress_v2(const char *symbol, void **function, int version,
                                          uint64_t flags, unsigned *status)
{
    wi_cu_result result = fake_enter(FAKE_cuGetProcAddress_v2, FAKE_EARLY);
    if (result != WI_CU_SUCCESS) return result;
    if (flags != WI_CU_PROC_LEGACY_STREAM)
        fake_misuse("%s asked for with flags %lu", symbol, (unsigned long)flags);
    pthread_mutex_lock(&fake.lock);
    fake_configure_locked();
    const struct row *row = find(symbol, version);
    bool              known = is_known(symbol);
    pthread_mutex_unlock(&fake.lock);
    if (version > fake.version) return WI_CU_INVALID_VALUE;
    *function = row != NULL ? row->function.address : NULL;
    if (status != NULL && row != NULL) *status = WI_CU_PROC_FOUND;
    if (status != NULL && row == NULL) *status = known ? WI_CU_PROC_VERSION : WI_CU_PROC_NOT_FOUND;
    return WI_CU_SUCCESS;
}

FAKE_API void *fakecuda_exports(const char *symbol)
{
    return fake_symbol_newest(symbol);
}

FAKE_API wi_cu_result cuGetErrorName(wi_cu_result result, const char **name)
{
    static const struct {
        wi_cu_result result;
        const char  *name;
    } names[] = {{WI_CU_SUCCESS, "CUDA_SUCCESS"},
#define X(name, value, code, loses) {value, "CUDA_ERROR_" #name},
                 WI_CU_RESULTS(X)
#undef X
    };
    wi_cu_result entered = fake_enter(FAKE_cuGetErrorName, FAKE_EARLY);
    if (entered != WI_CU_SUCCESS) return entered;
    for (size_t i = 0; i < WI_ARRAY_COUNT(names); i++) {
        if (names[i].result != result) continue;
        *name = names[i].name;
        return WI_CU_SUCCESS;
    }
    *name = NULL;
    return WI_CU_INVALID_VALUE;
}
