/* SPDX-License-Identifier: Apache-2.0 */
/* test_host.c - the host backend: conformance, and what it promises beyond */
#include "device/conformance.h"
#include "device/host.h"

#include <weir/log.h>

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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
    Test(conformance, name, .timeout = 240)                                                         \
    {                                                                                              \
        conformance_##name(&host);                                                                 \
    }
CONFORMANCE_TESTS(X)
#undef X

/* ---- beyond the contract ---- */

static struct weir_error last_error(void)
{
    struct weir_error error = {.struct_size = sizeof(error)};

    cr_assert_eq(weir_last_error(&error), 0);
    return error;
}

Test(host, ordinals_end)
{
    struct wi_device *device = NULL;

    for (uint32_t ordinal = 0; ordinal < WI_HOST_DEVICES_COUNT; ordinal++) {
        cr_assert_eq(wi_device_open("host", ordinal, &device), 0);
        cr_assert_eq(device->ordinal, ordinal);
        device->ops->close(device);
    }
    device = NULL;
    cr_assert_eq(wi_device_open("host", WI_HOST_DEVICES_COUNT, &device), WEIR_ENOENT);
    cr_assert_null(device);
    cr_assert_eq(last_error().wanted, WI_HOST_DEVICES_COUNT);
}

/* Each device has memory of its own, and knows nothing of another's registrations. */
Test(host, devices_are_apart)
{
    struct wi_device *first = NULL, *second = NULL;
    unsigned char    *pages = pages_create(4096);
    uint64_t          address = 0, before = 0, after = 0, total = 0;

    cr_assert_eq(wi_device_open("host", 0, &first), 0);
    cr_assert_eq(wi_device_open("host", 1, &second), 0);
    cr_assert_eq(second->ops->memory(second, &before, &total), 0);
    cr_assert_eq(first->ops->host_register(first, pages, 4096, &address), 0);
    cr_assert_eq(second->ops->host_register(second, pages, 4096, &address), 0);
    cr_assert_eq(first->ops->host_unregister(first, pages, 4096), 0);
    cr_assert_eq(second->ops->host_unregister(second, pages, 4096), 0);
    cr_assert_eq(first->ops->device_alloc(first, 4096, &address), 0);
    cr_assert_eq(second->ops->memory(second, &after, &total), 0);
    cr_assert_eq(after, before);
    cr_assert_eq(second->ops->device_free(second, address), WEIR_ENOENT);
    cr_assert_eq(first->ops->device_free(first, address), 0);
    wi_emu_lose(wi_host_emu(first));
    cr_assert_eq(second->ops->memory(second, &after, &total), 0);
    first->ops->close(first);
    second->ops->close(second);
    pages_destroy(pages, 4096);
}

Test(host, backend_is_chosen_by_name)
{
    struct wi_device *device = NULL;

    cr_assert_eq(wi_device_open("metal", 0, &device), WEIR_EINVAL);
    cr_assert(strstr(last_error().detail, "metal") != NULL);
    cr_assert_null(device);
}

Test(host, backend_is_chosen_by_the_environment)
{
    struct wi_device *device = NULL;

    cr_assert_eq(setenv("WEIR_BACKEND", "host", 1), 0);
    cr_assert_eq(wi_device_open(NULL, 0, &device), 0);
    cr_assert_eq(device->ops, &wi_device_host);
    device->ops->close(device);
    cr_assert_eq(wi_device_open("", 0, &device), 0);
    cr_assert_eq(device->ops, &wi_device_host);
    device->ops->close(device);
}

Test(host, backend_of_the_environment_must_exist)
{
    struct wi_device *device = NULL;

    cr_assert_eq(setenv("WEIR_BACKEND", "metal", 1), 0);
    cr_assert_eq(wi_device_open(NULL, 0, &device), WEIR_EINVAL);
    /* What is asked for explicitly goes first. */
    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    device->ops->close(device);
}

/* Where there is no driver: the choice falls on the host, and asking for cuda names the reason. */
Test(host, backend_without_a_driver)
{
    struct wi_device *device = NULL;

    cr_assert_eq(setenv("WEIR_CUDA_LIBRARY", "libthere-is-no-such-driver.so.1", 1), 0);
    cr_assert_eq(unsetenv("WEIR_BACKEND"), 0);
    cr_assert_eq(wi_device_open(NULL, 0, &device), 0);
    cr_assert_eq(device->ops, &wi_device_host);
    device->ops->close(device);
    device = NULL;
    cr_assert_eq(wi_device_open("cuda", 0, &device), WEIR_ENODRIVER);
    cr_assert(last_error().detail[0] != '\0');
    cr_assert_null(device);
}

Test(host, model_comes_from_the_environment)
{
    struct wi_device        *device = NULL;
    struct weir_runtime_info info = {.struct_size = sizeof(info)};
    uint64_t                 bytes_free = 0, bytes_total = 0;

    cr_assert_eq(setenv("WEIR_HOST_MODEL", "up=3G,latency=9us,memory=64M", 1), 0);
    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    device->ops->info(device, &info);
    cr_assert_str_eq(info.model, "up 3 GiB/s, down 25 GB/s, latency 9 us, memory 64 MiB");
    cr_assert_eq(info.device_bytes_total, 64 << 20);
    cr_assert_eq(device->ops->memory(device, &bytes_free, &bytes_total), 0);
    cr_assert_eq(bytes_total, 64 << 20);
    device->ops->close(device);
}

Test(host, wrong_model_is_named)
{
    struct wi_device *device = NULL;

    cr_assert_eq(setenv("WEIR_HOST_MODEL", "up=fast", 1), 0);
    cr_assert_eq(wi_device_open("host", 0, &device), WEIR_EINVAL);
    cr_assert_str_eq(last_error().setting, "WEIR_HOST_MODEL");
    cr_assert_null(device);
}

Test(host, no_device_memory_says_how_much_there_is)
{
    struct wi_device *device = NULL;
    struct weir_error error;
    uint64_t          address = 0;

    cr_assert_eq(setenv("WEIR_HOST_MODEL", "memory=1M", 1), 0);
    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    cr_assert_eq(device->ops->device_alloc(device, 2 << 20, &address), WEIR_EDEVMEM);
    error = last_error();
    cr_assert_eq(error.limit_value, 1 << 20);
    cr_assert_eq(error.wanted, 2 << 20);
    cr_assert_str_eq(error.setting, "WEIR_HOST_MODEL");
    device->ops->close(device);
}

Test(host, registering_wants_whole_pages)
{
    struct wi_device *device = NULL;
    unsigned char    *pages = pages_create(8192);
    uint64_t          address = 77;

    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    cr_assert_eq(device->ops->host_register(device, pages + 512, 4096, &address), WEIR_EINVAL);
    cr_assert_eq(device->ops->host_register(device, pages, 5000, &address), WEIR_EINVAL);
    cr_assert_eq(address, 77);
    device->ops->close(device);
    pages_destroy(pages, 8192);
}

struct lines {
    unsigned count;
    char     last[256];
};

static void keep_line(void *ctx, uint32_t level, const char *component, const char *message)
{
    struct lines *lines = ctx;

    if (strcmp(component, "device") != 0 || level > WEIR_LOG_WARN) return;
    lines->count++;
    snprintf(lines->last, sizeof(lines->last), "%s", message);
}

Test(host, what_is_left_at_close_is_logged)
{
    struct wi_device *device = NULL;
    struct lines      lines = {0};
    uint64_t          address = 0;
    void             *stream = NULL;

    weir_log_set(keep_line, &lines);
    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    device->ops->close(device);
    cr_assert_eq(lines.count, 0);
    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    cr_assert_eq(device->ops->stream_create(device, 0, &stream), 0);
    cr_assert_eq(device->ops->device_alloc(device, 1, &address), 0);
    device->ops->close(device);
    cr_assert_eq(lines.count, 1);
    cr_assert(strstr(lines.last, "1 streams, 0 events, 1 device allocations") != NULL);
    /* A lost device keeps everything, and that is nobody's leak. */
    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    cr_assert_eq(device->ops->stream_create(device, 0, &stream), 0);
    wi_emu_lose(wi_host_emu(device));
    device->ops->close(device);
    cr_assert_eq(lines.count, 1);
    weir_log_set(NULL, NULL);
}

Test(host, misuse_is_logged_and_recorded)
{
    struct wi_device *device = NULL;
    struct lines      lines = {0};
    void             *stream = NULL;

    weir_log_set(keep_line, &lines);
    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    cr_assert_eq(device->ops->stream_create(device, 0, &stream), 0);
    cr_assert_eq(device->ops->stream_destroy(device, stream), 0);
    cr_assert_eq(device->ops->stream_destroy(device, stream), WEIR_EINTERNAL);
    cr_assert_eq(lines.count, 1);
    cr_assert(strstr(last_error().detail, "stream") != NULL);
    device->ops->close(device);
    weir_log_set(NULL, NULL);
}

/* The parent's threads are not in the child, so nothing could ever finish there. */
Test(host, a_forked_child_is_told)
{
    struct wi_device *device = NULL, *another = NULL;
    void             *event = NULL;
    int               status = 0;
    pid_t             child;

    cr_assert_eq(wi_device_open("host", 0, &device), 0);
    cr_assert_eq(device->ops->event_create(device, 0, &event), 0);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        bool told = device->ops->event_query(device, event) == WEIR_EFORKED &&
                    device->ops->event_destroy(device, event) == WEIR_EFORKED &&
                    wi_device_open("host", 0, &another) == WEIR_EFORKED;

        device->ops->close(device);
        _exit(told ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    cr_assert_eq(device->ops->event_query(device, event), 0);
    cr_assert_eq(device->ops->event_destroy(device, event), 0);
    device->ops->close(device);
}
