/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/start.h"

#include "base/base.h"

#include <signal.h>

int wi_thread_start(pthread_t *out, void *(*begin)(void *), void *arg)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t         blocked, before;
    sigfillset(&blocked);
    for (size_t at = 0; at < WI_ARRAY_COUNT(own); at++) sigdelset(&blocked, own[at]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int err = pthread_create(out, NULL, begin, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}
