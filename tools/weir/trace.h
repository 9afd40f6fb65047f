/* SPDX-License-Identifier: Apache-2.0 */
/* trace.h - the parts of workload_read() that tests look at by themselves */
#ifndef WEIR_TOOL_TRACE_H
#define WEIR_TOOL_TRACE_H

#include <stdint.h>

#include "workload.h"

enum trace_form {
    TRACE_FORM_MS = 1, /* timestamp_ms,context_tokens,generated_tokens */
    TRACE_FORM_AZURE   /* 2023-11-16 18:15:46.6805900,374,44 */
};

/*
 * Parse one line without its end. Returns NULL and fills *out, or the reason why the line is bad. For
 * TRACE_FORM_AZURE arrival_ns counts from 1970.
 */
const char *trace_parse(const char *line, enum trace_form form, struct workload_request *out);

#endif
