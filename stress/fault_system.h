/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_system.h - the library's allocations and system calls: counted, and made to fail
 *
 * The linker puts these in the place of the named functions wherever the library and the program refer to
 * them (-Wl,--wrap); the C library's own calls and those of the driver double are not touched.
 */
#ifndef FAULT_SYSTEM_H
#define FAULT_SYSTEM_H

#include "base/atomic.h"
#include "base/base.h"

/* X(name, what it stands for). One use that fails is what a kernel may really answer. */
#define FAULT_CALLS(X)                                                                             \
    X(allocation, "ENOMEM, wi_alloc() and its like")                                               \
    X(mmap, "ENOMEM")                                                                              \
    X(munmap, "ENOMEM, as beyond vm.max_map_count")                                                \
    X(madvise, "ENOMEM")                                                                           \
    X(memfd_create, "EMFILE")                                                                      \
    X(ftruncate, "ENOSPC")                                                                         \
    X(pthread_atfork, "ENOMEM")                                                                    \
    X(pthread_create, "EAGAIN")                                                                    \
    X(futex, "EINTR: a sleep that ends at once")                                                   \
    X(membarrier, "EPERM, of the registration")                                                    \
    X(write, "EAGAIN: an eventfd that cannot be added to")

enum fault_call {
#define X(name, text) FAULT_##name,
    FAULT_CALLS(X)
#undef X
    FAULT_CALLS_COUNT
};

const char *fault_call_name(enum fault_call call);

/* Let the nth use from now of one call fail, once; 0: none. */
void fault_system_arm(enum fault_call call, uint64_t nth);
/* How many uses have failed since the program began, and on which thread the latest. */
uint64_t fault_system_fired(int32_t *thread);

/* Held now by the library: blocks of memory, and bytes of mappings. */
int64_t fault_blocks_live(void);
int64_t fault_bytes_mapped(void);

#endif
