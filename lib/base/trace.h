/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - what tracing and profiling tools can see: static probes, and ranges and names for NVIDIA's tools
 *
 * WI_TRACE_POINT(acquire, pool, buffer) is one no-op instruction that bpftrace, perf or SystemTap can
 * turn into a probe weir:acquire with these arguments (integers and pointers, at most 6). Built without <sys/sdt.h>
 * or with WEIR_TRACE=OFF it is nothing, and the arguments are not evaluated. Which there are: weir_trace(7).
 *
 * WI_TRACE_RANGE_BEGIN(what, name) and WI_TRACE_RANGE_END() enclose something long on one thread: they are never on a hit. They, and
 * the names, go to an NVTX library that WEIR_NVTX names, and are one load where it names none.
 */
#ifndef WI_TRACE_H
#define WI_TRACE_H

#include "base/base.h"

#ifdef WI_TRACE
#define SDT_USE_VARIADIC 1
#include <sys/sdt.h>
#define WI_TRACE_POINT(name, ...) STAP_PROBEV(weir, name, ##__VA_ARGS__)
#else
#define WI_TRACE_POINT(name, ...) ((void)0)
#endif

#ifdef WI_TRACE_OFF /* WEIR_TRACE=OFF; and where every atomic access is a step of a schedule */
#define WI_TRACE_RANGE_BEGIN(what, name) ((void)0)
#define WI_TRACE_RANGE_END()             ((void)0)
#else
#define WI_TRACE_RANGE_BEGIN(what, name) wi_nvtx_push(what, name)
#define WI_TRACE_RANGE_END()             wi_nvtx_pop()
#endif

/* Open the library that WEIR_NVTX names, once. What goes wrong is told in the log. */
void wi_nvtx_start(void);
/* "weir what name"; both are copied. */
void wi_nvtx_push(const char *what, const char *name);
void wi_nvtx_pop(void);
/* Name the calling thread, and a stream of the driver. */
void wi_nvtx_name_thread(const char *name);
void wi_nvtx_name_stream(void *stream, const char *name);

#endif
