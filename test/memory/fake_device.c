/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct fake_device *fake_of(struct wi_device *device)
{
    return (struct fake_device *)device;
}

/* Counts an operation; returns its planned failure or 0. */
static int step(struct fake_device *fake)
{
    if (wi_load(&fake->device.lost, relaxed)) {
        fake->wrong++;
        return WI_FAIL(DEVICE, .call = "fake", .detail = "an operation on a lost device");
    }
    if (++fake->operations != fake->fail_at) return 0;
    if (fake->fail_code == WEIR_EDEVICE) wi_store(&fake->device.lost, 1, release);
    return wi_fail_at(
        fake->fail_code, __FILE__, __LINE__,
        &(const struct wi_cause){.call = "fake", .driver_code = 2, .detail = "planned"});
}

static bool is_populated(const void *base, size_t bytes)
{
    size_t         pages = bytes / (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *present = malloc(pages);
    bool           all = present && mincore((void *)(uintptr_t)base, bytes, present) == 0;
    for (size_t page = 0; all && page < pages; page++) all = present[page] & 1;
    free(present);
    return all;
}

static void fake_info(struct wi_device *device, struct weir_runtime_info *out)
{
    size_t struct_size = out->struct_size;
    *out = (struct weir_runtime_info){.struct_size = struct_size,
                                      .numa_node = fake_of(device)->numa_node};
}

static int fake_register(struct wi_device *device, void *base, size_t bytes, uint64_t *address)
{
    struct fake_device *fake = fake_of(device);
    uintptr_t           page_mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
    if (fake->no_register) return WI_FAIL(NOSYS, .call = "fake_register");
    int err = step(fake);
    if (err < 0) return err;
    fake->register_calls++;
    if (bytes > fake->register_bytes_max) fake->register_bytes_max = bytes;
    if (bytes == 0 || (((uintptr_t)base | bytes) & page_mask) || !is_populated(base, bytes))
        fake->wrong++;
    for (size_t at = 0; at < fake->registered; at++) {
        const struct fake_range *range = &fake->range[at];
        if ((char *)base < range->base + range->bytes && range->base < (char *)base + bytes)
            fake->wrong++;
    }
    wi_require(fake->registered < FAKE_RANGES_MAX);
    fake->range[fake->registered++] = (struct fake_range){base, bytes};
    *address = (uint64_t)(uintptr_t)base + FAKE_DEVICE_OFFSET;
    if (fake->scattered) *address += fake->register_calls << 40;
    return 0;
}

static int fake_unregister(struct wi_device *device, void *base, size_t bytes)
{
    struct fake_device *fake = fake_of(device);
    int                 err = step(fake);
    if (err < 0) return err;
    for (size_t at = 0; at < fake->registered; at++) {
        if (fake->range[at].base != base) continue;
        if (fake->range[at].bytes != bytes || !is_populated(base, bytes)) fake->wrong++;
        fake->range[at] = fake->range[--fake->registered];
        return 0;
    }
    fake->wrong++;
    return WI_FAIL(INVAL, .call = "fake_unregister", .detail = "not registered");
}

static int fake_host_alloc(struct wi_device *device, size_t bytes, void **base, uint64_t *address)
{
    struct fake_device *fake = fake_of(device);
    if (fake->no_host_alloc) return WI_FAIL(NOSYS, .call = "fake_host_alloc");
    int err = step(fake);
    if (err < 0) return err;
    /*
     * Neither libc's memory, which a sanitizer keeps, nor the library's mmap, which a test may
     * count.
     */
    void *memory = (void *)syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    if (memory == MAP_FAILED) return WI_FAIL(NOMEM, .call = "mmap", .sys_errno = errno);
    fake->driver_allocations++;
    *base = memory;
    *address = (uint64_t)(uintptr_t)memory + FAKE_DEVICE_OFFSET;
    return 0;
}

static int fake_host_free(struct wi_device *device, void *base, size_t bytes)
{
    struct fake_device *fake = fake_of(device);
    int                 err = step(fake);
    if (err < 0) return err;
    if (syscall(SYS_munmap, base, bytes) != 0) fake->wrong++;
    fake->driver_allocations--;
    return 0;
}

static int fake_device_alloc(struct wi_device *device, size_t bytes, uint64_t *address)
{
    struct fake_device *fake = fake_of(device);
    int                 err = step(fake);
    (void)bytes;
    if (err < 0) return err;
    fake->device_allocations++;
    *address = FAKE_DEVICE_OFFSET * 2;
    return 0;
}

static int fake_device_free(struct wi_device *device, uint64_t address)
{
    struct fake_device *fake = fake_of(device);
    int                 err = step(fake);
    if (err < 0) return err;
    if (address != FAKE_DEVICE_OFFSET * 2) fake->wrong++;
    fake->device_allocations--;
    return 0;
}

static const struct wi_device_ops fake_ops = {
    .name = "fake",
    .info = fake_info,
    .host_register = fake_register,
    .host_unregister = fake_unregister,
    .host_alloc = fake_host_alloc,
    .host_free = fake_host_free,
    .device_alloc = fake_device_alloc,
    .device_free = fake_device_free,
};

void fake_device_init(struct fake_device *fake)
{
    memset(fake, 0, sizeof *fake);
    fake->device.ops = &fake_ops;
    fake->numa_node = -1;
}

bool fake_device_covers(const struct fake_device *fake, const void *host, size_t bytes)
{
    const char *start = host;
    for (size_t at = 0; at < fake->registered; at++) {
        const struct fake_range *range = &fake->range[at];
        if (start >= range->base && start + bytes <= range->base + range->bytes) return true;
    }
    return false;
}
