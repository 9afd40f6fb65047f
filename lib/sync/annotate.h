/* SPDX-License-Identifier: Apache-2.0 */
/*
 * annotate.h - what sanitizers cannot see by themselves
 *
 * wi_leak_root(base, bytes) tells the leak checker that what this memory points to is not lost.
 *
 * Orders that ThreadSanitizer cannot see, because they are made inside libck:
 * wi_order_release(at) and wi_order_acquire(at) tell it that what the one thread did before the first is
 * visible to the other thread after the second. Nothing in other builds.
 *
 * wi_copy_unwatched(to, from, bytes) copies what another thread may be writing: a move that a writer crosses is torn, and
 * dropped because its word has changed. ThreadSanitizer cannot know that, so it does not watch this copy.
 */
#ifndef WI_ANNOTATE_H
#define WI_ANNOTATE_H

#include <stddef.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define WI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WI_TSAN 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#define WI_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WI_ASAN 1
#endif
#endif

#ifdef WI_ASAN
void __lsan_register_root_region(const void *base, size_t bytes);
#define wi_leak_root(base, bytes) __lsan_register_root_region((base), (bytes))
#else
#define wi_leak_root(base, bytes) ((void)(base), (void)(bytes))
#endif

#ifdef WI_TSAN
void __tsan_acquire(void *at);
void __tsan_release(void *at);
#define wi_order_acquire(at) __tsan_acquire(at)
#define wi_order_release(at) __tsan_release(at)

__attribute__((no_sanitize("thread"), unused)) static void wi_copy_unwatched(void *to, const void *from, size_t bytes)
{
    volatile char       *target = to;
    const volatile char *source = from;
    for (size_t i = 0; i < bytes; i++) target[i] = source[i];
}
#else
#define wi_order_acquire(at) ((void)(at))
#define wi_order_release(at) ((void)(at))

static inline void wi_copy_unwatched(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}
#endif

#endif
