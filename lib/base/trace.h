/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - static trace points, such as weir:acquire
 *
 * WI_TRACE_POINT(acquire, pool, buffer) is one no-op instruction that bpftrace, perf or SystemTap can
 * turn into a probe with these arguments (integers and pointers, at most 6). Built without <sys/sdt.h>
 * or with WEIR_TRACE=OFF it is nothing, and the arguments are not evaluated.
 */
#ifndef WI_TRACE_H
#define WI_TRACE_H

#ifdef WI_TRACE
#include <sys/sdt.h>
#define WI_TRACE_POINT(name, ...) STAP_PROBEV(weir, name, ##__VA_ARGS__)
#else
#define WI_TRACE_POINT(name, ...) ((void)0)
#endif

#endif
