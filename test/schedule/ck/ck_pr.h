/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ck_pr.h of the deterministic scheduler - found before Concurrency Kit's own, which it includes
 *
 * The accesses that ck_fifo, ck_ring and ck_epoch's inline part make become steps (steps.h), each with the line of CK's
 * header that it stands on. As on x86, where CK's fences between loads and between stores are none.
 * An operation that is missing here still works, but is no step: add it.
 */
#ifndef SCHEDULE_CK_PR_H
#define SCHEDULE_CK_PR_H

#include_next <ck_pr.h>

#include "schedule/steps.h"

#define SCHEDULE_CK(kind, order, what, at, bytes)                                                  \
    (void)schedule_step(SCHEDULE_SITE(kind, order, what), (at), (bytes))

#undef ck_pr_load_ptr
#undef ck_pr_load_uint
#undef ck_pr_store_ptr
#undef ck_pr_store_uint

#define ck_pr_load_ptr(from)                                                                       \
    ({                                                                                             \
        SCHEDULE_CK(SCHEDULE_LOAD, SCHEDULE_relaxed, "load " #from, (from), sizeof(void *));       \
        (__typeof__(*(from)))ck_pr_md_load_ptr((from));                                            \
    })
#define ck_pr_load_uint(from)                                                                      \
    ({                                                                                             \
        SCHEDULE_CK(SCHEDULE_LOAD, SCHEDULE_relaxed, "load " #from, (from), sizeof(unsigned));     \
        ck_pr_md_load_uint((from));                                                                \
    })
#define ck_pr_store_ptr(at, value)                                                                 \
    ({                                                                                             \
        const void *stored_ = (value);                                                             \
        SCHEDULE_CK(SCHEDULE_STORE, SCHEDULE_release, "store " #at " = " #value, (at), sizeof(void *)); \
        schedule_put((at), &stored_, sizeof stored_, SCHEDULE_release);                            \
    })
#define ck_pr_store_uint(at, value)                                                                \
    ({                                                                                             \
        unsigned stored_ = (value);                                                                \
        SCHEDULE_CK(SCHEDULE_STORE, SCHEDULE_release, "store " #at " = " #value, (at), sizeof(unsigned)); \
        schedule_put((at), &stored_, sizeof stored_, SCHEDULE_release);                            \
    })
#define ck_pr_fas_ptr(at, value)                                                                   \
    ({                                                                                             \
        SCHEDULE_CK(SCHEDULE_RMW, SCHEDULE_seq_cst, "exchange " #at, (at), sizeof(void *));        \
        (ck_pr_fas_ptr)((at), (value));                                                            \
    })
#define ck_pr_fas_uint(at, value)                                                                  \
    ({                                                                                             \
        SCHEDULE_CK(SCHEDULE_RMW, SCHEDULE_seq_cst, "exchange " #at, (at), sizeof(unsigned));      \
        (ck_pr_fas_uint)((at), (value));                                                           \
    })
#define ck_pr_inc_uint(at)                                                                         \
    ({                                                                                             \
        SCHEDULE_CK(SCHEDULE_RMW, SCHEDULE_seq_cst, "add " #at ", 1", (at), sizeof(unsigned));     \
        (ck_pr_inc_uint)((at));                                                                    \
    })
#define ck_pr_cas_ptr(at, seen, value)                                                             \
    ({                                                                                             \
        SCHEDULE_CK(SCHEDULE_RMW, SCHEDULE_seq_cst, "cas " #at ", " #value, (at), sizeof(void *)); \
        (ck_pr_cas_ptr)((at), (seen), (value));                                                    \
    })
#define ck_pr_cas_uint(at, seen, value)                                                            \
    ({                                                                                             \
        SCHEDULE_CK(SCHEDULE_RMW, SCHEDULE_seq_cst, "cas " #at ", " #value, (at), sizeof(unsigned)); \
        (ck_pr_cas_uint)((at), (seen), (value));                                                   \
    })
#define ck_pr_cas_uint_value(at, seen, value, was)                                                 \
    ({                                                                                             \
        SCHEDULE_CK(SCHEDULE_RMW, SCHEDULE_seq_cst, "cas " #at ", " #value, (at), sizeof(unsigned)); \
        (ck_pr_cas_uint_value)((at), (seen), (value), (was));                                      \
    })
#define ck_pr_cas_ptr_2(at, seen, value)                                                           \
    ({                                                                                             \
        SCHEDULE_CK(SCHEDULE_RMW, SCHEDULE_seq_cst, "cas2 " #at ", " #value, (at), 2 * sizeof(void *)); \
        (ck_pr_cas_ptr_2)((at), (seen), (value));                                                  \
    })
#define ck_pr_fence_memory() SCHEDULE_CK(SCHEDULE_FENCE, SCHEDULE_seq_cst, "fence memory", NULL, 0)
#define ck_pr_fence_store_load() SCHEDULE_CK(SCHEDULE_FENCE, SCHEDULE_seq_cst, "fence store-load", NULL, 0)

#endif
