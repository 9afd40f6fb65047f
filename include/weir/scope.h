/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/scope.h - leases that end with their scope (gcc and clang)
 *
 *     weir_auto(buffer) buffer = NULL;
 *     int err = weir_buffer_acquire(pool, WEIR_FOREVER, &buffer);
 *
 * Initialise at the declaration; do not mix with goto cleanup; declare in order of need. Safe with
 * asynchronous work, because release never outruns the device. weir_take() moves a lease out of its scope.
 */
#ifndef WEIR_SCOPE_H
#define WEIR_SCOPE_H

#include <weir/runtime.h>
#include <weir/stream.h>
#include <weir/tensor.h>

#define WEIR_DEFINE_AUTO_(kind, end)                                                               \
    static inline void weir_auto_##kind##_(struct weir_##kind **held)                              \
    {                                                                                              \
        if (*held) (void)weir_##kind##_##end(*held);                                               \
    }
#define WEIR_DEFINE_AUTO_VOID_(kind, end)                                                          \
    static inline void weir_auto_##kind##_(struct weir_##kind **held)                              \
    {                                                                                              \
        if (*held) weir_##kind##_##end(*held);                                                     \
    }
WEIR_DEFINE_AUTO_VOID_(runtime, destroy)
WEIR_DEFINE_AUTO_VOID_(pool, destroy)
WEIR_DEFINE_AUTO_(buffer, release)
WEIR_DEFINE_AUTO_(stream, release)
WEIR_DEFINE_AUTO_(event, release)
WEIR_DEFINE_AUTO_VOID_(tensor, destroy)
WEIR_DEFINE_AUTO_VOID_(stepped, destroy)
WEIR_DEFINE_AUTO_VOID_(rows, destroy)

#define weir_auto(kind) __attribute__((cleanup(weir_auto_##kind##_))) struct weir_##kind *
#define weir_take(held)                                                                            \
    (__extension__({                                                                               \
        __typeof__(held) weir_taken_ = (held);                                                     \
        (held) = NULL;                                                                             \
        weir_taken_;                                                                               \
    }))

#endif
