/* SPDX-License-Identifier: Apache-2.0 */
/* start.h - weir's own threads */
#ifndef WI_START_H
#define WI_START_H

#include <pthread.h>

/*
 * As pthread_create(), with the host's signals blocked from the thread's first moment on: a handler of the host
 * must not find itself on a thread that the host knows nothing of, nor keep one of weir's from its work.
 * Signals that a thread brings on itself, such as SIGSEGV, still reach the host's handler. Returns 0 or an errno.
 */
int wi_thread_start(pthread_t *out, void *(*begin)(void *), void *arg);

#endif
