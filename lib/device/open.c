/* SPDX-License-Identifier: Apache-2.0 */
/* open.c - which backend serves a device */
#include "device/device.h"

#include "base/log.h"
#include "base/settings.h"

#include <string.h>

static int open_cuda(uint32_t ordinal, struct wi_device **out)
{
#ifdef WI_CUDA
    return wi_device_cuda.open(ordinal, out);
#else
    (void)ordinal;
    (void)out;
    return WI_FAIL(NODRIVER, .detail = "this weir was built without the cuda backend");
#endif
}

/* cuda where it works. A device that the driver does not have is an answer, and not a reason to emulate one. */
static int open_any(uint32_t ordinal, struct wi_device **out)
{
    int err = open_cuda(ordinal, out);

    if (err != WEIR_ENODRIVER) return err;
    wi_log(INFO, "device", "no CUDA driver; device %u is emulated by the host backend", ordinal);
    return wi_device_host.open(ordinal, out);
}

int wi_device_open(const char *backend, uint32_t ordinal, struct wi_device **out)
{
    if (backend == NULL || *backend == '\0') backend = wi_settings()->backend;
    if (backend == NULL || *backend == '\0') return open_any(ordinal, out);
    if (strcmp(backend, wi_device_host.name) == 0) return wi_device_host.open(ordinal, out);
    if (strcmp(backend, "cuda") == 0) return open_cuda(ordinal, out);
    return WI_FAIL_TEXT(INVAL, "no backend is called \"%s\"; there are cuda and host", backend);
}
