/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvtx.c - ranges and names for NVIDIA's profilers, by the C interface of libnvToolsExt
 *
 * The library is opened at run time, because no distribution packages its headers, and because a program that is not profiled
 * should not need it. It is never closed: a range may be open on some thread.
 */
#include "base/atomic.h"
#include "base/log.h"
#include "base/settings.h"
#include "base/trace.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME_BYTES 96

struct nvtx {
    int  (*push)(const char *message);
    int  (*pop)(void);
    void (*name_thread)(uint32_t thread, const char *name);
    void (*name_stream)(void *stream, const char *name);
};

/* Written once, before `nvtx` points here. */
static struct nvtx                   loaded;
static _Atomic(const struct nvtx *) nvtx;
static pthread_once_t                once = PTHREAD_ONCE_INIT;

static bool find(void *library, const char *symbol, void *out)
{
    void *address = dlsym(library, symbol);
    if (address) memcpy(out, &address, sizeof address);
    return address != NULL;
}

static void load(void)
{
    const char *path = wi_settings()->nvtx;
    if (!*path) return;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        wi_log(WARN, "trace", "WEIR_NVTX: %s", dlerror());
        return;
    }
    if (!find(library, "nvtxRangePushA", &loaded.push) || !find(library, "nvtxRangePop", &loaded.pop) ||
        !find(library, "nvtxNameOsThreadA", &loaded.name_thread)) {
        wi_log(WARN, "trace", "WEIR_NVTX: %s is not an NVTX library: it lacks nvtxRangePushA, nvtxRangePop or nvtxNameOsThreadA",
               path);
        return;
    }
    (void)find(library, "nvtxNameCuStreamA", &loaded.name_stream);
    /* order(nvtx): release; pairs with acquire in tools(). The functions are there. */
    wi_store(&nvtx, &loaded, release);
}

static const struct nvtx *tools(void)
{
    return wi_load(&nvtx, acquire); /* order(nvtx): acquire; pairs with release in load() */
}

void wi_nvtx_start(void)
{
    pthread_once(&once, load);
}

void wi_nvtx_push(const char *what, const char *name)
{
    const struct nvtx *to = tools();
    char               message[NAME_BYTES];
    if (WI_LIKELY(!to)) return;
    snprintf(message, sizeof message, "weir %s %s", what, name);
    (void)to->push(message);
}

/* A push before the library was there has no pop after: it is opened before the first runtime, and so before every range. */
void wi_nvtx_pop(void)
{
    const struct nvtx *to = tools();
    if (WI_UNLIKELY(to != NULL)) (void)to->pop();
}

void wi_nvtx_name_thread(const char *name)
{
    const struct nvtx *to = tools();
    if (to) to->name_thread((uint32_t)gettid(), name);
}

void wi_nvtx_name_stream(void *stream, const char *name)
{
    const struct nvtx *to = tools();
    if (to && to->name_stream) to->name_stream(stream, name);
}
