/* SPDX-License-Identifier: Apache-2.0 */
/* format.h - numbers as people read them. Each returns text. */
#ifndef WEIR_TOOL_FORMAT_H
#define WEIR_TOOL_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define FORMAT_BYTES 32

/* 19366 -> "19,366" */
const char *format_count(uint64_t value, char text[FORMAT_BYTES]);

/* 1234 -> "1.23 us"; three digits count */
const char *format_ns(uint64_t ns, char text[FORMAT_BYTES]);

/* 57344 -> "56.0 KiB" */
const char *format_size(uint64_t bytes, char text[FORMAT_BYTES]);

#endif
