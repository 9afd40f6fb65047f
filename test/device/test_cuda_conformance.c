/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cuda_conformance.c - the conformance suite on the cuda backend, over the driver double
 *
 * Over a real driver the suite runs as a plain program: stress/conformance.c with --backend cuda.
 */
#include "cuda_fixture.h"
#include "device/conformance.h"
#include "device/cuda.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void conformance_fail(const char *file, unsigned line, const char *format, ...)
{
    char    text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    cr_assert_fail("%s:%u: %s", file, line, text);
    abort(); /* not reached */
}

static struct cuda_fixture cuda;

static const struct wi_device_ops *backend_ops;
static struct wi_device_ops        settling_ops;

/*
 * A lost device is closed without the driver, so nobody has waited for the host function that was running
 * then, and a test keeps what that function uses on its stack.
 */
static void close_and_settle(struct wi_device *device)
{
    (void)cuda.fake.run();
    backend_ops->close(device);
}

static int open_cuda(struct wi_device **out)
{
    struct wi_device *device = NULL;
    int               err = wi_device_open("cuda", 0, &device);

    if (err < 0) return err;
    backend_ops = device->ops;
    settling_ops = *backend_ops;
    settling_ops.close = close_and_settle;
    device->ops = &settling_ops;
    *out = device;
    return 0;
}

static void lose(struct wi_device *device)
{
    (void)device;
    cuda.fake.lose(WI_CU_LAUNCH_FAILED);
}

/* By the host program's own calls, on a thread that is in no capture otherwise. */
static void capture(struct wi_device *device, void *stream, bool on)
{
    struct CUctx_st   *popped = NULL;
    struct CUgraph_st *graph = NULL;

    cr_assert_eq(cuda.app.context_push(wi_cuda_context(device)), 0);
    if (on) {
        cr_assert_eq(cuda.begin_capture(stream, WI_CU_CAPTURE_RELAXED), 0);
    } else {
        cr_assert_eq(cuda.end_capture(stream, &graph), 0);
        cr_assert_eq(cuda.destroy_graph(graph), 0);
    }
    cr_assert_eq(cuda.app.context_pop(&popped), 0);
}

static const struct conformance backend = {
    .name = "cuda", .open = open_cuda, .lose = lose, .capture = capture};

/* The suite breaks one rule on purpose and wants it refused, as a driver does. */
#define X(name)                                                                                    \
    Test(conformance, name, .timeout = 240)                                                         \
    {                                                                                              \
        cuda_fixture_init(&cuda, "edges=refuse");                                                  \
        conformance_##name(&backend);                                                              \
    }
CONFORMANCE_TESTS(X)
#undef X

/* The same on a driver that has fewer functions and other addresses. */
#define X(name)                                                                                    \
    Test(conformance_of_an_old_driver, name, .timeout = 240)                                        \
    {                                                                                              \
        cuda_fixture_init(&cuda, "edges=refuse,version=12000,host_pointer=0");                     \
        conformance_##name(&backend);                                                              \
    }
CONFORMANCE_TESTS(X)
#undef X
