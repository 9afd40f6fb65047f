/* SPDX-License-Identifier: Apache-2.0 */
/* test_host.c - the host backend: conformance, and what it promises beyond */
#include "device/host.h"

#include "device/conformance.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static int open_host(struct wi_device **out)
{
    return wi_device_open("host", 0, out);
}

static void lose(struct wi_device *device)
{
    wi_emu_lose(wi_host_emu(device));
}

static void capture(struct wi_device *device, void *stream, bool on)
{
    if (on)
        wi_emu_capture_begin(wi_host_emu(device), stream);
    else
        wi_emu_capture_end(wi_host_emu(device), stream);
}

static const struct conformance host = {
    .name = "host", .open = open_host, .lose = lose, .capture = capture};

#define X(name)                                                                                    \
    Test(conformance, name, .timeout = 30)                                                         \
    {                                                                                              \
        conformance_##name(&host);                                                                 \
    }
CONFORMANCE_TESTS(X)
#undef X
