/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_device.h - a device that only registers and allocates, checks how it is asked, and fails on
 * demand
 *
 * It holds the memory layer to the backend contract: whole pages, populated before they are
 * registered, no overlap, unregistered as they were registered, no call after the device is lost.
 * What is wrong is counted in `wrong`, because an assertion in the middle would hide what the
 * caller does next.
 */
#ifndef FAKE_DEVICE_H
#define FAKE_DEVICE_H

#include "device/device.h"

#define FAKE_RANGES_MAX 4096
/* Device addresses are not host addresses, so that a test sees which one it got. */
#define FAKE_DEVICE_OFFSET (UINT64_C(1) << 52)

struct fake_range {
    char  *base;
    size_t bytes;
};

struct fake_device {
    struct wi_device device; /* first */

    /* Set by the test. */
    int32_t  numa_node;
    bool     no_register;   /* host_register answers NOSYS */
    bool     no_host_alloc; /* host_alloc answers NOSYS    */
    bool     scattered;     /* every range that is registered has a device offset of its own */
    uint64_t fail_at;       /* the operation of this number fails; 0: none */
    int      fail_code;     /* with this code; WEIR_EDEVICE loses the device */

    /* Read by the test. */
    uint64_t          operations;
    uint64_t          wrong;
    size_t            registered; /* ranges now registered                     */
    size_t            driver_allocations;
    size_t            device_allocations;
    size_t            register_bytes_max; /* longest range ever registered     */
    uint64_t          register_calls;
    struct fake_range range[FAKE_RANGES_MAX]; /* the first `registered` are live */
};

void fake_device_init(struct fake_device *fake);
/* Does the whole of a block lie in one registered range? */
bool fake_device_covers(const struct fake_device *fake, const void *host, size_t bytes);

#endif
