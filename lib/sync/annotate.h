/* SPDX-License-Identifier: Apache-2.0 */
/*
 * annotate.h - orders that ThreadSanitizer cannot see, because they are made inside libck
 *
 * wi_order_release(at) and wi_order_acquire(at) tell it that what the one thread did before the first is
 * visible to the other thread after the second. Nothing in other builds.
 */
#ifndef WI_ANNOTATE_H
#define WI_ANNOTATE_H

#if defined(__SANITIZE_THREAD__)
#define WI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WI_TSAN 1
#endif
#endif

#ifdef WI_TSAN
void __tsan_acquire(void *at);
void __tsan_release(void *at);
#define wi_order_acquire(at) __tsan_acquire(at)
#define wi_order_release(at) __tsan_release(at)
#else
#define wi_order_acquire(at) ((void)(at))
#define wi_order_release(at) ((void)(at))
#endif

#endif
