/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges and names for NVIDIA's profilers, over a double of their library; and a library that is none. */
#include "pool/fixture.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

TestSuite(nvtx, .timeout = 60);

static void (*read_double)(int *pushes, int *pops, char *text, size_t capacity);
static char text[65536];
static int  pushes, pops;

static bool said(const char *line)
{
    read_double(&pushes, &pops, text, sizeof text);
    return strstr(text, line) != NULL;
}

/* A wait that ends in vain, a growth, and moves between tiers. */
static void work(struct weir_runtime *rt)
{
    struct weir_pool   *pool, *tiered;
    struct weir_buffer *buffer[3], *block;
    struct weir_view    view;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .name = "grows", .buffer_bytes = 4096, .buffers_min = 1, .buffers_max = 2), &pool));
    for (unsigned i = 0; i < 2; i++) ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i]));
    answers(weir_buffer_acquire(pool, weir_deadline_after_ns(1000000), &buffer[2]), TIMEDOUT);
    for (unsigned i = 0; i < 2; i++) ok(weir_buffer_release(buffer[i]));
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .name = "moves", .buffers_max = 4, .pinned_buffers = 4, .cost_pinned = -1,
                                      .flags = WEIR_TIER_MANUAL), &tiered));
    ok(weir_buffer_acquire(tiered, WEIR_NOW, &block));
    for (unsigned period = 1; period < 5; period++) {
        ok(weir_buffer_borrow(block, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view));
        ok(weir_view_return(&view));
        ok(weir_tier_step(tiered, period * UINT64_C(1000000000)));
    }
    ok(weir_buffer_release(block));
}

Test(nvtx, ranges_and_names_reach_the_library)
{
    setenv("WEIR_NVTX", NVTX_DOUBLE, 1);
    void *library = dlopen(NVTX_DOUBLE, RTLD_NOW);
    cr_assert_not_null(library, "%s", dlerror());
    void *address = dlsym(library, "nvtx_double_read");
    cr_assert_not_null(address);
    memcpy(&read_double, &address, sizeof address);
    struct weir_runtime *rt = make_runtime();
    eventually(said("thread weir keeper\n") && said("thread weir monitor\n"));
    work(rt);
    eventually(said("range weir grow grows\n") && said("range weir wait for a free object\n"));
    cr_assert(said("range weir move moves\n"), "%s", text);
    weir_runtime_destroy(rt);
    cr_assert(said(""));
    cr_assert_eq(pushes, pops, "each range ends");
    cr_assert_geq(pushes, 3);
}

static void hear(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)level;
    if (strcmp(component, "trace") == 0) snprintf(ctx, 512, "%s", message);
}

static void refuses(const char *path, const char *why)
{
    static char          heard[512];
    struct weir_runtime *rt;
    setenv("WEIR_NVTX", path, 1);
    weir_log_set(hear, heard);
    ok(weir_runtime_create(NULL, &rt));
    work(rt);
    weir_runtime_destroy(rt);
    weir_log_set(NULL, NULL);
    cr_assert(strstr(heard, "WEIR_NVTX") && strstr(heard, why), "%s", heard);
}

Test(nvtx, a_library_that_is_missing_is_told_and_left_out)
{
    refuses("/nonexistent/libnvToolsExt.so.1", "No such file");
}

Test(nvtx, a_library_of_another_kind_is_told_and_left_out)
{
    refuses("libc.so.6", "is not an NVTX library");
}
