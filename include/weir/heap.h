/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/heap.h - variable-size pinned memory, by calls like those of malloc; library libweir_heap (-lweir_heap)
 *
 * Sizes up to 14 KiB are rounded to jemalloc's classes, four for each doubling, and larger ones to pages of 4 KiB: never
 * to powers of two. Memory is pinned in segments under a hard limit and under the runtime's budget. Every
 * allocation lies in one registration: the device and any copy can use it as a whole.
 *
 * When is freed memory reused? At once if the heap knows of no device work on it. It knows of copies issued by
 * weir_heap_upload() and weir_heap_download(), and of what weir_heap_guard() tells it of: then weir_heap_free() does not
 * wait, but the memory retires, and is reused when that work is done. For work that the heap was not told of, free
 * with weir_heap_free_on(). Memory whose device work failed is never reused.
 *
 * Each thread keeps up to cache_bytes_max of what it has freed, in sizes up to 32 KiB, until it ends.
 *
 * What excludes what: weir_heap_destroy() runs beside no other call given the same heap. One allocation is used by one
 * thread at a time. All else runs beside each other. A heap ends before its runtime. Threads may come and go.
 *
 * A call that answers a pointer answers NULL when it fails, and weir_last_error() has the code and the cause.
 *
 * Debian builds jemalloc so that a library that needs it cannot be opened by dlopen(): link libweir_heap, or set
 * GLIBC_TUNABLES=glibc.rtld.optional_static_tls=8192. libweir itself has no such limit.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 * Progress: takes locks.
 *
 * Example:
 *
 *     #include <string.h>
 *     #include <weir/heap.h>
 *     #include <weir/weir.h>
 *
 *     int send_text(struct weir_heap *heap, struct weir_stream *stream, uint64_t device, const char *text)
 *     {
 *         size_t bytes = strlen(text);
 *         char  *message = weir_heap_malloc(heap, bytes);
 *         if (!message) return WEIR_ENOMEM;
 *         memcpy(message, text, bytes);
 *         struct weir_heap_part all = {message, 0, bytes};
 *         int err = weir_heap_upload(heap, stream, device, all);
 *         (void)weir_heap_free(heap, message);
 *         return err;
 *     }
 */
#ifndef WEIR_HEAP_H
#define WEIR_HEAP_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

struct weir_heap;

struct weir_heap_opts {
    size_t      struct_size;
    const char *name;            /* copied; shown in logs; NULL: "heap" */
    size_t      bytes_max;       /* hard limit of pinned bytes; 0: the runtime's budget of that memory, as it is now */
    size_t      segment_bytes;   /* memory is pinned in pieces that grow with the heap up to this; 0: 8 MiB */
    size_t      cache_bytes_max; /* freed bytes that each thread keeps; 0: 2 MiB; SIZE_MAX: none */
    uint64_t    numa_mask;       /* bit per node; 0: the device's node */
    uint64_t    drain_ns;        /* how long weir_heap_destroy() waits for the device; 0: 5 s */
    uint32_t    memory;          /* enum weir_memory: PINNED or PAGEABLE; 0: pinned */
    uint32_t    flags;           /* must be 0 */
};

/*
 * weir_heap_create - make a heap; nothing is pinned before the first allocation
 *
 * Progress: takes locks, and reserves addresses.  Owner: the caller, until weir_heap_destroy().
 * Fails:  INVAL, OPTS, NOMEM, EXCEEDS, NOSYS (this jemalloc lacks what is needed), CLOSED, FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_heap_create(struct weir_runtime *rt, const struct weir_heap_opts *opts,
                                              struct weir_heap **out);

/*
 * weir_heap_destroy - end a heap and all its memory, allocated or not
 *
 * Waits up to drain_ns for device work that the heap knows of. If that does not end, all of the heap's memory stays
 * mapped and charged, with a line in the log. NULL is accepted. Cannot fail.
 * Thread: any, once.  Progress: blocks, up to drain_ns and in the driver.
 */
WEIR_API void weir_heap_destroy(struct weir_heap *heap);

/*
 * weir_heap_malloc - bytes of pinned memory, at a multiple of 16; its contents are undefined. 0 bytes: a pointer of its own
 *
 * Thread:   any.
 * Progress: up to 32 KiB from the thread's cache: wait-free, no lock, no system call. Else takes locks, and pins a
 *           segment when the heap has no room.
 * Owner:    the caller, until weir_heap_free().
 * Fails:    EXCEEDS (names the limit and its setting), NOMEM, DEVICE, CLOSED, FORKED, INVAL.
 */
WEIR_API WEIR_MUST_CHECK void *weir_heap_malloc(struct weir_heap *heap, size_t bytes);

/* weir_heap_calloc - as weir_heap_malloc(), for an array, zeroed. Fails also: INVAL (the product overflows). */
WEIR_API WEIR_MUST_CHECK void *weir_heap_calloc(struct weir_heap *heap, size_t count, size_t bytes);

/*
 * weir_heap_aligned_alloc - as weir_heap_malloc(), at a multiple of alignment, a power of two up to 1 MiB
 *
 * Above 16 it is not served from the thread's cache.  Fails also: INVAL (alignment).
 */
WEIR_API WEIR_MUST_CHECK void *weir_heap_aligned_alloc(struct weir_heap *heap, size_t alignment, size_t bytes);

/*
 * weir_heap_realloc - resize, in place or by moving; ptr NULL: as weir_heap_malloc()
 *
 * On failure the memory stays as it was. The bytes are copied by the CPU at the call: wait with weir_heap_sync() for
 * downloads into it first. What was moved away from is freed as by weir_heap_free().
 */
WEIR_API WEIR_MUST_CHECK void *weir_heap_realloc(struct weir_heap *heap, void *ptr, size_t bytes);

/*
 * weir_heap_free - give memory back; NULL is accepted
 *
 * Never waits for the device. Memory with device work that the heap knows of retires first.
 *
 * Thread:   any, also another than the one that allocated.
 * Progress: up to 32 KiB into the thread's cache: wait-free. Else takes locks.
 * Fails:    FOREIGN (not memory of this heap), NOTLEASED (freed before, where that can be told: what is large, or
 *           retiring), FORKED, NOMEM. Misuse that is told harms nothing.
 */
WEIR_API int weir_heap_free(struct weir_heap *heap, void *ptr);

/*
 * weir_heap_free_on - give memory back, to be reused after everything queued on stream so far
 *
 * As weir_heap_guard() and weir_heap_free() in one. On failure the memory is still the caller's.
 * Fails: as these.
 */
WEIR_API int weir_heap_free_on(struct weir_heap *heap, void *ptr, struct weir_stream *stream);

/* weir_heap_usable_bytes - how much may be used at ptr, at least what was asked for; 0 for NULL and for foreign pointers. Progress: wait-free. */
WEIR_API size_t weir_heap_usable_bytes(struct weir_heap *heap, const void *ptr);

/* weir_heap_device - the device's address of a byte of the heap. Progress: lock-free. Fails: FOREIGN, KIND (pageable memory), INVAL. */
WEIR_API WEIR_MUST_CHECK int weir_heap_device(struct weir_heap *heap, const void *ptr, uint64_t *out);

/*
 * weir_heap_guard - memory is in use by everything queued on stream so far
 *
 * For kernels of one's own and for copies not issued here. Call it after they were queued, on the queueing thread or
 * ordered after it. stream NULL: the thread's current one. ptr is an allocation's first byte.
 *
 * Thread:   the holder of the allocation and the stream.  Progress: takes a lock.
 * Fails:    FOREIGN, NOTLEASED, CAPTURE, INVAL, DEVICE, NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_heap_guard(struct weir_heap *heap, void *ptr, struct weir_stream *stream);

/*
 * weir_heap_sync - wait until no device work that the heap knows of uses an allocation
 *
 * Thread: the holder of the allocation.  Progress: blocks until deadline_ns.
 * Fails:  TIMEDOUT, DEVICE, FOREIGN, NOTLEASED, FORKED, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_heap_sync(struct weir_heap *heap, void *ptr, uint64_t deadline_ns);

/* Part of an allocation: by value, no object. */
struct weir_heap_part {
    void  *ptr; /* an allocation's first byte */
    size_t offset;
    size_t bytes;
};

/*
 * weir_heap_upload - queue a copy to device memory, and guard the allocation
 *
 * Thread: the holder of the allocation and the stream.
 * Fails:  RANGE (outside the allocation), FOREIGN, NOTLEASED, CAPTURE, INVAL, DEVICE, NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_heap_upload(struct weir_heap *heap, struct weir_stream *stream, uint64_t device_dst,
                                              struct weir_heap_part src);

/* weir_heap_download - queue a copy from device memory, and guard the allocation. As weir_heap_upload(). */
WEIR_API WEIR_MUST_CHECK int weir_heap_download(struct weir_heap *heap, struct weir_stream *stream,
                                                struct weir_heap_part dst, uint64_t device_src);

/*
 * weir_heap_trim - give back what is not in use: this thread's cache, what has retired, whole segments
 *
 * Returns 0; the statistics tell how much is pinned still. Other threads' caches stay: see weir_heap_detach().
 * Progress: blocks in the driver.  Fails: FORKED, INVAL.
 */
WEIR_API int weir_heap_trim(struct weir_heap *heap);

/* weir_heap_detach - give back the calling thread's cache; by itself at thread exit. The next free makes a new one. */
WEIR_API void weir_heap_detach(struct weir_heap *heap);

/* X(name, help): one list makes the struct. */
#define WEIR_HEAP_COUNTERS(X)                                                                      \
    X(bytes_max, "limit of pinned bytes")                                                          \
    X(bytes_pinned, "bytes pinned")                                                                \
    X(bytes_pinned_peak, "most bytes pinned at one time")                                          \
    X(bytes_used, "bytes held by callers, rounded to their classes")                               \
    X(bytes_cached, "freed bytes in threads' caches")                                              \
    X(bytes_retiring, "freed bytes that the device still uses")                                    \
    X(bytes_quarantined, "freed bytes never reused because their device work failed")              \
    X(segments, "segments pinned")                                                                 \
    X(threads, "threads with a cache")                                                             \
    X(misses, "allocations that a thread's cache did not serve")                                   \
    X(retires, "frees that had to wait for the device")                                            \
    X(reaps, "retired frees that have ended")                                                      \
    X(failures, "allocations that failed")

struct weir_heap_stats {
    size_t struct_size;
#define X(name, help) uint64_t name;
    WEIR_HEAP_COUNTERS(X)
#undef X
};

/* weir_heap_stats_read - set out->struct_size first; exact at rest. Progress: wait-free. Fails: INVAL. */
WEIR_API int weir_heap_stats_read(struct weir_heap *heap, struct weir_heap_stats *out);

WEIR_END_DECLS

#endif
