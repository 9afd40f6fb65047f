/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_load.c - opens the driver library and asks for each function at its own version */
#include "device/cuda_load.h"

#include "base/atomic.h"
#include "base/settings.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

/* Written under `once` by the thread that loads; constant afterwards. */
static struct {
    struct wi_cu       table;
    struct wi_cu_facts facts;
    struct wi_cause    cause; /* of a failure */
    int                code;  /* 0, or of a failure */
    char               problem[512];
    char               path[512];
} driver;

static pthread_once_t   once = PTHREAD_ONCE_INIT;
static _Atomic uint32_t forked;

const struct wi_cu_meaning *wi_cu_meaning_of(uint32_t result)
{
    static const struct wi_cu_meaning meanings[] = {
#define X(name, value, code, loses) {value, WEIR_E##code, loses, "CUDA_ERROR_" #name},
        WI_CU_RESULTS(X)
#undef X
            {0, WEIR_ENOSYS, false, "a result that weir does not know"},
    };
    size_t at = 0;
    while (at + 1 < WI_ARRAY_COUNT(meanings) && meanings[at].result != result) at++;
    return &meanings[at];
}

/* Needs no ordering: the child of fork has one thread. */
static void child_after_fork(void)
{
    wi_store(&forked, 1, relaxed);
}

bool wi_cu_forked(void)
{
    return wi_load(&forked, relaxed) != 0;
}

/* Keep the reason for good, so that every caller gets it and not only the first. */
WI_PRINTF(4, 5)
static void give_up(int code, const char *call, uint32_t result, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(driver.problem, sizeof(driver.problem), format, arguments);
    va_end(arguments);

    driver.code = code;
    driver.facts.problem = driver.problem;
    driver.cause = (struct wi_cause){
        .call = call,
        .detail = driver.problem,
        .driver_code = (int32_t)result,
    };
}

/* A library that answers "stub" is the toolkit's link-time stand-in, found in place of the real driver. */
static bool gave_up_on_stub(const char *call, uint32_t result)
{
    if (result != WI_CU_STUB_LIBRARY) return false;
    give_up(WEIR_ENODRIVER, call, result,
            "%s is the toolkit's stub library and not a driver: take its directory off the library "
            "path",
            driver.facts.library);
    return true;
}

static void *open_library(void)
{
    const char *name = wi_settings()->cuda_library;
    driver.facts.library = name;
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *text = dlerror();
        give_up(WEIR_ENODRIVER, "dlopen", 0, "no driver library: %s (WEIR_CUDA_LIBRARY names it)", text ? text : name);
        return NULL;
    }
    struct link_map *map = NULL;
    if (dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != NULL) {
        snprintf(driver.path, sizeof(driver.path), "%s", map->l_name);
        driver.facts.library = driver.path;
    }
    return library;
}

/* Asked at its own version, because a newer one may have other arguments. */
static void *find(wi_cu_find_fn *finder, struct wi_cu_symbol *symbol)
{
    void    *function = NULL;
    unsigned status = WI_CU_PROC_FOUND;
    symbol->result =
        finder(symbol->name, &function, symbol->version, WI_CU_PROC_LEGACY_STREAM, &status);
    symbol->status = status;
    /* A driver answers success with a NULL function for what it lacks; the status only says why. */
    symbol->found = symbol->result == WI_CU_SUCCESS && function != NULL;
    return symbol->found ? function : NULL;
}

static int fill_table(wi_cu_find_fn *finder)
{
    static const struct wi_cu_symbol symbols[] = {
#define NEED_REQUIRED                              true
#define NEED_OPTIONAL                              false
#define X(field, symbol, version, need, arguments) {#symbol, version, NEED_##need, false, 0, 0},
        WI_CU_SYMBOLS(X)
#undef X
    };
    /* A pointer to function and void * have one representation wherever dlsym exists. */
    void **functions[] = {
#define X(field, symbol, version, need, arguments) (void **)&driver.table.field,
        WI_CU_SYMBOLS(X)
#undef X
    };
    const struct wi_cu_symbol *missing = NULL;
    for (size_t i = 0; i < WI_ARRAY_COUNT(symbols); i++) {
        struct wi_cu_symbol *symbol = &driver.facts.symbols[i];
        *symbol = symbols[i];
        *functions[i] = find(finder, symbol);
        if (gave_up_on_stub("cuGetProcAddress", symbol->result)) return driver.code;
        if (!symbol->found && symbol->required && missing == NULL) missing = symbol;
    }
    if (driver.table.driver_version != NULL) {
        int version = 0;
        if (driver.table.driver_version(&version) == WI_CU_SUCCESS) driver.facts.version = version;
    }
    if (missing == NULL) return 0;
    give_up(WEIR_ENODRIVER, "cuGetProcAddress", missing->result,
            "the driver %s: it is of CUDA %d.%d and lacks %s of CUDA %d.%d",
            driver.facts.version < missing->version ? "is too old" : "is not complete",
            driver.facts.version / 1000, driver.facts.version % 1000 / 10, missing->name,
            missing->version / 1000, missing->version % 1000 / 10);
    return driver.code;
}

static void start(void)
{
    wi_cu_result result = driver.table.init(0);
    if (result == WI_CU_SUCCESS) return;
    const struct wi_cu_meaning *meaning = wi_cu_meaning_of(result);
    switch (result) {
    case WI_CU_NOT_INITIALIZED:
        /* The driver remembers the process that started it, whoever that was. */
        give_up(
            WEIR_EFORKED, "cuInit", result,
            "the driver was started before this process was forked: start it in the child only");
        break;
    case WI_CU_NO_DEVICE:
        give_up(WEIR_ENODRIVER, "cuInit", result,
                "the driver is there but no device is: see nvidia-smi and CUDA_VISIBLE_DEVICES");
        break;
    default:
        if (gave_up_on_stub("cuInit", result)) break;
        give_up(WEIR_ENODRIVER, "cuInit", result, "the driver does not start: result %u, %s",
                result, meaning->name);
    }
}

static void load(void)
{
    void *library = open_library();
    if (library == NULL) return;
    union {
        void          *object;
        wi_cu_find_fn *function;
    } finder = {.object = dlsym(library, "cuGetProcAddress_v2")};
    if (finder.object == NULL) {
        give_up(WEIR_ENODRIVER, "dlsym", 0,
                "the driver is too old: %s lacks cuGetProcAddress_v2 of CUDA 12.0",
                driver.facts.library);
        return;
    }
    if (fill_table(finder.function) < 0) return;
    if (pthread_atfork(NULL, NULL, child_after_fork) != 0) {
        give_up(WEIR_ENOMEM, "pthread_atfork", 0, "no memory for the fork handler");
        return;
    }
    start();
}

const struct wi_cu_facts *wi_cu_facts(void)
{
    (void)pthread_once(&once, load);
    return &driver.facts;
}

int wi_cu_load(const struct wi_cu **out)
{
    (void)pthread_once(&once, load);
    if (wi_cu_forked())
        return WI_FAIL(FORKED, .detail = "the driver was loaded before this process was forked");
    if (driver.code < 0) return wi_fail_at(driver.code, __FILE__, __LINE__, &driver.cause);
    *out = &driver.table;
    return 0;
}
