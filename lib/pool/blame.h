/* SPDX-License-Identifier: Apache-2.0 */
/* blame.h - which driver call failed, kept by the thread that saw it for those who learn of it later */
#ifndef WI_BLAME_H
#define WI_BLAME_H

#include "base/atomic.h"
#include "base/base.h"

struct wi_blame {
    _Atomic(const char *) call; /* static; NULL: nothing to blame */
    _Atomic int32_t       driver_code;
};

/* The calling thread's latest failure is to blame, unless something is already. */
static inline void wi_blame_keep(struct wi_blame *blame)
{
    struct weir_error error = {.struct_size = sizeof error};
    const char       *none = NULL;
    if (weir_last_error(&error) < 0 || !*error.call) return;
    if (wi_cas(&blame->call, &none, error.call, relaxed)) wi_store(&blame->driver_code, error.driver_code, relaxed);
}

/* Record a failure of this thread that another thread's call brought about. */
#define WI_FAIL_BLAMED(code, blame, ...)                                                           \
    WI_FAIL(code, .call = wi_load(&(blame)->call, relaxed),                                        \
            .driver_code = wi_load(&(blame)->driver_code, relaxed), __VA_ARGS__)

#endif
