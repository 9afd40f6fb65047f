/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cancel.h - weir's calls are no cancellation points
 *
 * A thread that is cancelled inside a call would take a lock with it, or leave a thing half made. In a function
 * whose first declaration is WI_UNCANCELLABLE a cancellation waits until it returns. For functions that
 * reach a cancellation point (files, joins, condition variables, the host's callbacks); acquire and release reach none.
 */
#ifndef WI_CANCEL_H
#define WI_CANCEL_H

#include <pthread.h>

static inline int wi_cancel_off(void)
{
    int before;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

static inline void wi_cancel_back(const int *before)
{
    int ours;
    (void)pthread_setcancelstate(*before, &ours);
}

#define WI_UNCANCELLABLE                                                                           \
    const int wi_cancel_before_ __attribute__((cleanup(wi_cancel_back), unused)) = wi_cancel_off()

#endif
