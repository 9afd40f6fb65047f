/* SPDX-License-Identifier: Apache-2.0 */
/* info_driver.h - the part of `weir info` that speaks of the CUDA driver */
#ifndef WEIR_TOOL_INFO_DRIVER_H
#define WEIR_TOOL_INFO_DRIVER_H

#include <jansson.h>

/* weir_driver_format() as JSON; NULL when memory is exhausted. */
json_t *info_driver_json(void);

/* As lines for people. `opened` is the ordinal of the device in use, or -1: then its link is not shown. */
void info_driver_print(const json_t *driver, int opened);

#endif
