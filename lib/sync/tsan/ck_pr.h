/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ck_pr.h of the ThreadSanitizer build - found before Concurrency Kit's own, which it includes
 *
 * CK's atomic accesses are inline assembly, which ThreadSanitizer does not see: correct code is then full of
 * false reports. This header replaces those that weir uses (through ck_fifo, ck_ring and ck_epoch's
 * inline part) by calls of ThreadSanitizer's own entry points. Calls, and not the compiler's builtins, because
 * ck_cc.h of this folder takes CK's functions out of the instrumentation that would turn builtins into them.
 *
 * Loads acquire, stores release, and the rest does both. ThreadSanitizer takes no account of fences, so an order that CK
 * makes with a fence must be in the access itself. Hence two limits: a fence that CK lacks is not found,
 * and what weir publishes through CK counts as ordered. Weir's own atomics keep their exact orders.
 * Fences stay CK's.
 *
 * An operation that is missing here still works, but may cause false reports: add it.
 */
#ifndef WI_TSAN_CK_PR_H
#define WI_TSAN_CK_PR_H

#include_next <ck_pr.h>

/* ThreadSanitizer's interface; gcc ships no header for it. The order is memory_order as int. */
enum { WI_TSAN_ACQUIRE = 2, WI_TSAN_RELEASE = 3, WI_TSAN_ACQ_REL = 4 };

unsigned __tsan_atomic32_load(const volatile void *at, int order);
void     __tsan_atomic32_store(volatile void *at, unsigned value, int order);
unsigned __tsan_atomic32_exchange(volatile void *at, unsigned value, int order);
unsigned __tsan_atomic32_fetch_add(volatile void *at, unsigned value, int order);
unsigned __tsan_atomic32_compare_exchange_val(volatile void *at, unsigned expected, unsigned value,
                                              int order, int failure_order);
unsigned long     __tsan_atomic64_load(const volatile void *at, int order);
void              __tsan_atomic64_store(volatile void *at, unsigned long value, int order);
unsigned long     __tsan_atomic64_exchange(volatile void *at, unsigned long value, int order);
unsigned long     __tsan_atomic64_compare_exchange_val(volatile void *at, unsigned long expected,
                                                       unsigned long value, int order,
                                                       int failure_order);
unsigned __int128 __tsan_atomic128_compare_exchange_val(volatile void    *at,
                                                        unsigned __int128 expected,
                                                        unsigned __int128 value, int order,
                                                        int failure_order);

#define WI_TSAN_INLINE __attribute__((unused, always_inline, no_sanitize("thread"))) static inline

WI_TSAN_INLINE void *wi_tsan_load_ptr(const void *at)
{
    return (void *)__tsan_atomic64_load(at, WI_TSAN_ACQUIRE);
}

WI_TSAN_INLINE void wi_tsan_store_ptr(void *at, const void *value)
{
    __tsan_atomic64_store(at, (unsigned long)value, WI_TSAN_RELEASE);
}

WI_TSAN_INLINE void *wi_tsan_fas_ptr(void *at, const void *value)
{
    return (void *)__tsan_atomic64_exchange(at, (unsigned long)value, WI_TSAN_ACQ_REL);
}

/* As CK's: *seen is what was there, also on success. */
WI_TSAN_INLINE bool wi_tsan_cas_ptr_value(void *at, const void *expected, const void *value,
                                          void *seen)
{
    unsigned long was = __tsan_atomic64_compare_exchange_val(
        at, (unsigned long)expected, (unsigned long)value, WI_TSAN_ACQ_REL, WI_TSAN_ACQUIRE);
    *(void **)seen = (void *)was;
    return was == (unsigned long)expected;
}

WI_TSAN_INLINE bool wi_tsan_cas_ptr(void *at, const void *expected, const void *value)
{
    void *seen;
    return wi_tsan_cas_ptr_value(at, expected, value, &seen);
}

WI_TSAN_INLINE bool wi_tsan_cas_uint_value(unsigned *at, unsigned expected, unsigned value,
                                           unsigned *seen)
{
    *seen =
        __tsan_atomic32_compare_exchange_val(at, expected, value, WI_TSAN_ACQ_REL, WI_TSAN_ACQUIRE);
    return *seen == expected;
}

WI_TSAN_INLINE bool wi_tsan_cas_uint(unsigned *at, unsigned expected, unsigned value)
{
    unsigned seen;
    return wi_tsan_cas_uint_value(at, expected, value, &seen);
}

/* The three point at pairs of pointers; `at` is 16-byte aligned. */
WI_TSAN_INLINE bool wi_tsan_cas_ptr_2_value(void *at, const void *expected, const void *value,
                                            void *seen)
{
    unsigned __int128 wanted, next, was;
    __builtin_memcpy(&wanted, expected, sizeof(wanted));
    __builtin_memcpy(&next, value, sizeof(next));
    was = __tsan_atomic128_compare_exchange_val(at, wanted, next, WI_TSAN_ACQ_REL, WI_TSAN_ACQUIRE);
    __builtin_memcpy(seen, &was, sizeof(was));
    return was == wanted;
}

WI_TSAN_INLINE bool wi_tsan_cas_ptr_2(void *at, const void *expected, const void *value)
{
    unsigned __int128 seen;
    return wi_tsan_cas_ptr_2_value(at, expected, value, &seen);
}

#undef ck_pr_load_ptr
#undef ck_pr_load_uint
#undef ck_pr_store_ptr
#undef ck_pr_store_uint
#define ck_pr_load_ptr(at)          ((__typeof__(*(at)))wi_tsan_load_ptr(at))
#define ck_pr_load_uint(at)         __tsan_atomic32_load((at), WI_TSAN_ACQUIRE)
#define ck_pr_store_ptr(at, value)  wi_tsan_store_ptr((at), (value))
#define ck_pr_store_uint(at, value) __tsan_atomic32_store((at), (value), WI_TSAN_RELEASE)
#define ck_pr_fas_ptr(at, value)    wi_tsan_fas_ptr((at), (value))
#define ck_pr_fas_uint(at, value)   __tsan_atomic32_exchange((at), (value), WI_TSAN_ACQ_REL)
#define ck_pr_inc_uint(at)          ((void)__tsan_atomic32_fetch_add((at), 1, WI_TSAN_ACQ_REL))
#define ck_pr_cas_ptr               wi_tsan_cas_ptr
#define ck_pr_cas_ptr_value         wi_tsan_cas_ptr_value
#define ck_pr_cas_uint              wi_tsan_cas_uint
#define ck_pr_cas_uint_value        wi_tsan_cas_uint_value
#define ck_pr_cas_ptr_2             wi_tsan_cas_ptr_2
#define ck_pr_cas_ptr_2_value       wi_tsan_cas_ptr_2_value

#endif
