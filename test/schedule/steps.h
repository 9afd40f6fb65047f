/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps.h - lib/base/atomic.h of the deterministic scheduler: every atomic access is a step that asks first
 *
 * A step tells the scheduler where it stands and what it is about to do. The scheduler may run other fibers before
 * it lets the step happen, may hold a store back in the fiber's store buffer, and may leave the step
 * out, or answer wrongly, where a bug is planted (plant.c).
 *
 * Outside a fiber (a scenario is set up or judged) an access is an access.
 */
#ifndef SCHEDULE_STEPS_H
#define SCHEDULE_STEPS_H

#include <stddef.h>
#include <stdint.h>

extern unsigned schedule_serve_rounds; /* WI_SERVE_ROUNDS of lib/pool/store.h: a scenario may want another */

enum schedule_kind {
    SCHEDULE_LOAD,
    SCHEDULE_STORE,
    SCHEDULE_RMW, /* locked: exchange, add, or, compare-and-swap */
    SCHEDULE_FENCE,
    SCHEDULE_EVENT /* no access: a system call, an operation of the scenario */
};

enum schedule_order { SCHEDULE_relaxed, SCHEDULE_acquire, SCHEDULE_release, SCHEDULE_acq_rel, SCHEDULE_seq_cst };

struct schedule_site {
    const char *file;
    const char *function;
    const char *what; /* "load &store->gate" */
    uint32_t    line;
    uint8_t     kind;
    uint8_t     order;
};

enum schedule_answer {
    SCHEDULE_DO,     /* as written */
    SCHEDULE_LEAVE,  /* planted: do nothing, answer 0 */
    SCHEDULE_LATE,   /* planted: do it when the fiber sleeps next, answer 0 */
    SCHEDULE_FORCE   /* planted: a compare-and-swap that does not compare */
};

enum schedule_answer schedule_step(const struct schedule_site *site, const volatile void *at, size_t bytes);
/* After a step that stores: at once, or by the store buffer. */
void schedule_put(volatile void *at, const void *value, size_t bytes, enum schedule_order order);
/* A planted delay of `*at += value`, for 4 and 8 bytes. */
void schedule_later(volatile void *at, uint64_t value, size_t bytes);
/* The fiber cannot go on until another one has written something. */
void schedule_yield(void);

#define SCHEDULE_SITE(kind_, order_, what_)                                                        \
    ({                                                                                             \
        static const struct schedule_site site_ = {__FILE__, __func__, what_, __LINE__, kind_, order_}; \
        &site_;                                                                                    \
    })

#define SCHEDULE_VALUE(p) __typeof__(atomic_load_explicit((p), memory_order_relaxed))

#define wi_load(p, order)                                                                          \
    ({                                                                                             \
        __auto_type at_ = (p);                                                                     \
        enum schedule_answer answer_ = schedule_step(                                              \
            SCHEDULE_SITE(SCHEDULE_LOAD, SCHEDULE_##order, "load " #p " " #order), at_, sizeof *at_); \
        SCHEDULE_VALUE(at_) value_ = atomic_load_explicit(at_, memory_order_##order);              \
        answer_ == SCHEDULE_DO ? value_ : (SCHEDULE_VALUE(at_))0;                                  \
    })

#define wi_store(p, value, order)                                                                  \
    ({                                                                                             \
        __auto_type at_ = (p);                                                                     \
        SCHEDULE_VALUE(at_) value_ = (value);                                                      \
        if (schedule_step(SCHEDULE_SITE(SCHEDULE_STORE, SCHEDULE_##order, "store " #p " = " #value " " #order), at_, \
                          sizeof *at_) == SCHEDULE_DO)                                             \
            schedule_put(at_, &value_, sizeof value_, SCHEDULE_##order);                           \
    })

#define SCHEDULE_CHANGE(name, builtin, p, value, order)                                            \
    ({                                                                                             \
        __auto_type at_ = (p);                                                                     \
        SCHEDULE_VALUE(at_) value_ = (value);                                                      \
        enum schedule_answer answer_ = schedule_step(                                              \
            SCHEDULE_SITE(SCHEDULE_RMW, SCHEDULE_##order, name " " #p ", " #value " " #order), at_, sizeof *at_); \
        if (answer_ == SCHEDULE_DO) {                                                              \
            value_ = builtin(at_, value_, memory_order_##order);                                   \
        } else {                                                                                   \
            if (answer_ == SCHEDULE_LATE) schedule_later(at_, (uint64_t)value_, sizeof value_);    \
            value_ = (SCHEDULE_VALUE(at_))0;                                                       \
        }                                                                                          \
        value_;                                                                                    \
    })

#define wi_exchange(p, value, order) SCHEDULE_CHANGE("exchange", atomic_exchange_explicit, p, value, order)
#define wi_add(p, value, order)      SCHEDULE_CHANGE("add", atomic_fetch_add_explicit, p, value, order)
#define wi_sub(p, value, order)      SCHEDULE_CHANGE("sub", atomic_fetch_sub_explicit, p, value, order)
#define wi_or(p, value, order)       SCHEDULE_CHANGE("or", atomic_fetch_or_explicit, p, value, order)
#define wi_and(p, value, order)      SCHEDULE_CHANGE("and", atomic_fetch_and_explicit, p, value, order)

#define wi_cas(p, expected, desired, order)                                                        \
    ({                                                                                             \
        __auto_type at_ = (p);                                                                     \
        __auto_type expected_ = (expected);                                                        \
        SCHEDULE_VALUE(at_) desired_ = (desired);                                                  \
        enum schedule_answer answer_ = schedule_step(                                              \
            SCHEDULE_SITE(SCHEDULE_RMW, SCHEDULE_##order, "cas " #p ", " #desired " " #order), at_, sizeof *at_); \
        if (answer_ == SCHEDULE_FORCE) atomic_store_explicit(at_, desired_, memory_order_relaxed); \
        answer_ != SCHEDULE_DO ||                                                                  \
            atomic_compare_exchange_strong_explicit(at_, expected_, desired_, memory_order_##order, \
                                                    memory_order_relaxed);                         \
    })

#define wi_fence(order) ((void)schedule_step(SCHEDULE_SITE(SCHEDULE_FENCE, SCHEDULE_##order, "fence " #order), NULL, 0))

#endif
