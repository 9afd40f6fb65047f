/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/pool.h - pools of equal buffers, and leases on them
 *
 * A lease is a pointer to a buffer: yours from acquire to release. Release never blocks, and never
 * lets the memory go to a new owner while the device may still touch it: copies issued through weir
 * and weir_buffer_guard() mark the buffer, and a marked buffer waits in RETIRING until that work is done.
 *
 * Law, at rest:  buffers = leased + free + retiring + quarantined.
 *
 * What excludes what: weir_pool_destroy() must not run beside another call given the same pool,
 * except calls waiting inside weir and releases. All other calls run beside each other.
 *
 * Unless a call says otherwise:
 * Thread:   any.
 *
 * Example, given struct weir_runtime *rt; struct weir_pool *pool; struct weir_buffer *buffer; struct weir_stream *stream:
 *
 *     int err = weir_pool_create(rt, WEIR_OPTS(pool, .name = "staging", .buffer_bytes = 1 << 20, .buffers_max = 64), &pool);
 *     if (err < 0) return err;
 *     err = weir_buffer_acquire(pool, weir_deadline_after_ns(50000000), &buffer);
 *     if (err < 0) return err;
 *     memset(buffer->host, 0, buffer->bytes);
 *     err = weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW);
 *     (void)weir_buffer_release(buffer);
 */
#ifndef WEIR_POOL_H
#define WEIR_POOL_H

#include <weir/base.h>

WEIR_BEGIN_DECLS

/* Where a buffer's bytes are. */
enum weir_memory {
    WEIR_MEMORY_PINNED = 1, /* page-locked host memory that the device can address (UVA) */
    WEIR_MEMORY_DEVICE = 2,
    WEIR_MEMORY_PAGEABLE = 3
};

/* Which free buffer an acquire takes. */
enum weir_strategy {
    WEIR_STRATEGY_MOST_RECENT = 1, /* default: the one released last on this CPU; warm memory */
    WEIR_STRATEGY_ROUND_ROBIN,     /* each in turn */
    WEIR_STRATEGY_LEAST_RECENT,    /* the one released longest ago */
    WEIR_STRATEGY_PRIORITY         /* as MOST_RECENT, with headroom that only HIGH may take */
};

/* Order among waiters: a higher class is served first, within a class the oldest. */
enum weir_priority { WEIR_PRIORITY_LOW = 1, WEIR_PRIORITY_NORMAL, WEIR_PRIORITY_HIGH };

enum weir_pool_flags {
    WEIR_POOL_SCRUB = 1,          /* zero a buffer's bytes before it becomes free again, and its mirror before it is used again */
    WEIR_POOL_PAGEABLE_OK = 2,    /* prefer pinned, accept pageable where pinning fails; see weir_pool_stats.memory */
    WEIR_POOL_IGNORE_GUARDS = 4,  /* UNSAFE, for tests of the caller's own checks: release ignores guards */
    WEIR_POOL_CHECK_WRITES = 8    /* report host writes into a buffer that the device is reading; WEIR_CHECK=3 sets it */
};

/* What a buffer's bytes are. X(name, number, bytes of one, text). */
#define WEIR_DTYPE_MAP(X)                                                                          \
    X(BOOL, 1, 1, "bool")                                                                          \
    X(U8, 2, 1, "uint8")                                                                           \
    X(I8, 3, 1, "int8")                                                                            \
    X(U16, 4, 2, "uint16")                                                                         \
    X(I16, 5, 2, "int16")                                                                          \
    X(U32, 6, 4, "uint32")                                                                         \
    X(I32, 7, 4, "int32")                                                                          \
    X(U64, 8, 8, "uint64")                                                                         \
    X(I64, 9, 8, "int64")                                                                          \
    X(F16, 10, 2, "float16")                                                                       \
    X(BF16, 11, 2, "bfloat16")                                                                     \
    X(F32, 12, 4, "float32")                                                                       \
    X(F64, 13, 8, "float64")                                                                       \
    X(F8_E4M3, 14, 1, "float8_e4m3")                                                               \
    X(F8_E5M2, 15, 1, "float8_e5m2")                                                               \
    X(C64, 16, 8, "complex64")

enum weir_dtype {
    WEIR_DTYPE_NONE = 0,
#define X(name, number, bytes, text) WEIR_DTYPE_##name = (number),
    WEIR_DTYPE_MAP(X)
#undef X
};

/* weir_dtype_bytes - bytes of one element; 0 for NONE and for what is no dtype. Progress: wait-free. */
WEIR_API size_t weir_dtype_bytes(uint32_t dtype);
/* weir_dtype_name - such as "float32"; "none", or "unknown" for what is no dtype. Progress: wait-free. */
WEIR_API const char *weir_dtype_name(uint32_t dtype);

/*
 * Told how far a pool's memory is, while weir_pool_create() or weir_pool_reserve() makes it: on the caller's thread,
 * last with ready == total. Nonzero cancels: what was made is undone, and the call answers CANCELED. It may read
 * stats, but must not reserve, trim, clear or destroy. It starts again from 0 where another way to pin is tried.
 */
typedef int weir_progress_fn(void *ctx, size_t bytes_ready, size_t bytes_total);

/* What the holder of a lease answers when a higher priority wants its buffer. */
enum weir_preempt_answer {
    WEIR_PREEMPT_REFUSE = 0, /* no; another holder may be asked     */
    WEIR_PREEMPT_LATER,      /* the holder will release it soon     */
    WEIR_PREEMPT_NOW         /* weir releases it as this returns: the holder must not touch it any more */
};

/*
 * Asks the holder of a lease of lower priority to give it up, because an acquire waits. Called on weir's
 * callback thread, on no lock; the lease may end meanwhile, so look at `user` (weir_acquire_opts.user) and not at
 * memory that the holder frees. Memory that the device still uses is reused only when it is done. Not called any
 * more once weir_pool_destroy() has returned, which must not be called from here.
 */
typedef uint32_t weir_preempt_fn(void *ctx, struct weir_buffer *buffer, uint64_t user);

/* What a pool asks of its memory source. Lives for the call only. */
struct weir_memory_request {
    size_t   struct_size;
    size_t   bytes;           /* whole pages */
    size_t   alignment_bytes; /* of its first byte: a page */
    uint64_t numa_mask;       /* as in weir_pool_opts; 0: none was given */
};

/*
 * Host memory for the buffers of a pool: readable, writable, and nobody else's until it is given back. 0: *out is set.
 * Negative: there is none; the growth fails with that code, and nothing is left behind.
 */
typedef int weir_memory_take_fn(void *ctx, const struct weir_memory_request *request, void **out);

/* Nothing reaches the memory any more: once for each that was taken, with the address and the length of then. */
typedef void weir_memory_give_fn(void *ctx, void *address, size_t bytes);

/*
 * Where a pool's memory comes from, in the place of the system: memory that others have mapped, that an engine has registered,
 * or that is special otherwise. One piece for each slab.
 *
 * The pool populates the memory (what is in it may be lost), pins it as it does its own, and charges it to the same budget. It is
 * neither bound to NUMA nodes nor advised, and is not looked for among what the system has available: that is the source's part. Memory
 * that a lost device may still reach, or that holds quarantined buffers, is never given back.
 *
 * Both are called on whichever thread grows or shrinks, as slab hooks are (weir/slab.h): of a pool one at a time, of several pools at
 * once. They may block, and must not call what makes, grows, shrinks or ends a pool of the runtime. A pool that was destroyed
 * may give back later: by the end of weir_runtime_destroy() at the latest, but for memory of buffers that are still leased or in use
 * then, which is never given back.
 */
struct weir_memory_source {
    size_t               struct_size;
    weir_memory_take_fn *take;
    weir_memory_give_fn *give;
    void                *ctx;
};

struct weir_pool_opts {
    size_t      struct_size;
    const char *name;                 /* copied; shown in stats, logs and leak reports; NULL: "pool" */
    size_t      buffer_bytes;         /* usable bytes of each buffer; 0: 16 MiB */
    size_t      buffers_min;          /* made at once, never shrunk below; 0: 4 */
    size_t      buffers_max;          /* growth stops here; 0: buffers_min (no growth) */
    uint32_t    memory;               /* enum weir_memory; 0: pinned */
    uint32_t    strategy;             /* enum weir_strategy; 0: MOST_RECENT */
    uint32_t    flags;                /* enum weir_pool_flags */
    uint32_t    headroom;             /* PRIORITY: buffers that only HIGH may take */
    uint32_t    grow_factor_percent;  /* size after growth, in percent of before; 0: 200 */
    uint32_t    low_water_percent;    /* grow when fewer are free; 0: 10 */
    uint32_t    shrink_percent;       /* shrink when fewer are in use for a cooldown; 0: 25 */
    uint32_t    dtype;                /* enum weir_dtype; buffer_bytes is a multiple of its size; 0: none */
    uint64_t    grow_cooldown_ns;     /* least time between growths; 0: 10 ms */
    uint64_t    shrink_cooldown_ns;   /* least time between shrinks, and since growth; 0: 5 s */
    uint64_t    numa_mask;            /* bit per node; 0: the device's node */
    weir_preempt_fn *preempt;         /* NULL: leases are never asked for. With it every acquire takes the long path */
    void       *preempt_ctx;
    weir_progress_fn *progress;       /* NULL: none */
    void       *progress_ctx;
    uint64_t    sample_every;         /* measure the device time of one copy in so many of each buffer, the first
                                         included; 0: 1024; UINT64_MAX: the first only */
    const struct weir_memory_source *source; /* of host memory; copied; NULL: the system */
};

/* Read-only for callers. Only weir allocates it, so fields may be appended. */
struct weir_buffer {
    void    *host;   /* pinned or pageable bytes; NULL for a pool of device memory      */
    uint64_t device; /* the same bytes as the device addresses them; 0: not addressable */
    size_t   bytes;  /* usable bytes                                                    */
};

/* Part of a buffer: by value, no object. */
struct weir_slice {
    struct weir_buffer *buffer;
    size_t              offset;
    size_t              bytes;
};

/* weir_slice - bytes of a buffer, from offset on; checked where it is used. Progress: wait-free. */
static inline struct weir_slice weir_slice(struct weir_buffer *buffer, size_t offset, size_t bytes)
{
    struct weir_slice slice = {buffer, offset, bytes};
    return slice;
}

/* weir_slice_all - all bytes of a buffer. Progress: wait-free. */
static inline struct weir_slice weir_slice_all(struct weir_buffer *buffer)
{
    struct weir_slice slice = {buffer, 0, buffer->bytes};
    return slice;
}

/*
 * weir_pool_create - make a pool with buffers_min buffers; with NULL opts, 4 of 16 MiB
 *
 * Thread:   any.  Progress: blocks (pins memory).
 * Owner:    the caller, until weir_pool_destroy().
 * Fails:    INVAL, OPTS, EXCEEDS (names the budget), NOMEM, DEVMEM, DEVICE, CLOSED, CANCELED, FORKED; or what the source answered.
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_create(struct weir_runtime *rt, const struct weir_pool_opts *opts,
                                              struct weir_pool **out);

/*
 * weir_pool_destroy - close the pool
 *
 * Waiters end with CLOSED. What is leased comes home later and is freed then by the monitor. NULL is
 * accepted. Cannot fail; leases still out are counted in the log.
 * Thread: any, once.  Progress: waits for growth under way and for a preempt callback that runs; for no lease and no device work.
 */
WEIR_API void weir_pool_destroy(struct weir_pool *pool);

/*
 * weir_buffer_acquire - lease a buffer
 *
 * Waits until deadline_ns: WEIR_NOW does not wait, WEIR_FOREVER waits without limit. Waiters are
 * served first come, first served, each by direct hand-off; nobody barges. Answers AGAIN or TIMEDOUT
 * only if no buffer was free at some moment during the call. Asks for growth when nothing is free.
 *
 * Thread:   any.
 * Progress: lock-free when a buffer is free, with no driver call or allocation, and no system call but a membarrier(2) once
 *           in many thousands of leases, to take back a buffer that belongs to another CPU (WEIR_BIAS); may block otherwise.
 * Owner:    the caller, until weir_buffer_release().
 * Fails:    AGAIN (WEIR_NOW), TIMEDOUT, PRESSURE, CLOSED, DEVICE, FORKED, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_acquire(struct weir_pool *pool, uint64_t deadline_ns,
                                                 struct weir_buffer **out);

/*
 * weir_buffer_release - give a lease back
 *
 * Never blocks and makes no driver call. A buffer that the device still uses retires first. NULL is
 * accepted. A pointer that is not leased, or is not weir's, is answered with an error and harms nothing.
 *
 * Thread:   any, also another than the one that acquired.
 * Progress: wait-free, but for bounded work on behalf of waiters.
 * Fails:    NOTLEASED (double release), FOREIGN, STALE and KIND (check mode), CLOSED (runtime destroyed), FORKED.
 */
WEIR_API int weir_buffer_release(struct weir_buffer *buffer);

struct weir_acquire_opts {
    size_t   struct_size;
    uint32_t priority; /* enum weir_priority; 0: NORMAL */
    uint32_t flags;    /* none yet: must be 0 */
    uint64_t user;     /* given to the pool's preempt callback */
};

/* weir_buffer_acquire_with - as weir_buffer_acquire(), with options; NULL opts: all defaults. Fails also: OPTS. */
WEIR_API WEIR_MUST_CHECK int weir_buffer_acquire_with(struct weir_pool               *pool,
                                                      const struct weir_acquire_opts *opts,
                                                      uint64_t deadline_ns, struct weir_buffer **out);

/*
 * weir_buffers_acquire - lease exactly count buffers, or none
 *
 * Nobody holds and waits: the batch is gathered by the queue, so batches cannot deadlock each other.
 * Progress: takes the queue's lock; blocks until deadline_ns.  Owner: the caller of each, until it is released.
 * Fails: as weir_buffer_acquire(), and EXCEEDS when count is more than the pool may ever have.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffers_acquire(struct weir_pool *pool, size_t count,
                                                  uint64_t deadline_ns, struct weir_buffer **out);

/*
 * weir_buffers_acquire_some - lease up to count buffers without waiting; returns how many
 *
 * Progress: lock-free as long as buffers are free.  Owner: the caller of each, until it is released.
 * Fails:    as weir_buffer_acquire() with WEIR_NOW: AGAIN for none.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffers_acquire_some(struct weir_pool *pool, size_t count,
                                                       struct weir_buffer **out);

/* weir_buffers_release - release each, as weir_buffer_release(); returns 0 or the first error, after trying all */
WEIR_API int weir_buffers_release(struct weir_buffer *const *buffers, size_t count);

/*
 * weir_buffer_create - one pinned buffer on its own, leased to the caller; dtype may be 0
 *
 * It is used like any lease, but ended with weir_buffer_destroy().
 * Progress: blocks (pins memory).  Owner: the caller, until weir_buffer_destroy().
 * Fails: as weir_pool_create(); INVAL if bytes is 0 or no multiple of the dtype's size.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_create(struct weir_runtime *rt, size_t bytes, uint32_t dtype,
                                                struct weir_buffer **out);

/*
 * weir_buffer_destroy - end a buffer of weir_buffer_create()
 *
 * Its memory goes when the device is done with it. NULL is accepted. Cannot fail: what is not a leased buffer of
 * weir_buffer_create() is left alone and told in the log.
 * Thread: the holder of the lease, once.  Progress: takes locks; waits for no device work.
 */
WEIR_API void weir_buffer_destroy(struct weir_buffer *buffer);

/* ---- bytes in and out ---- */

/*
 * weir_buffer_write - copy bytes into the buffer at offset, when no device work uses it any more
 *
 * Thread: the holder of the lease.  Progress: blocks until deadline_ns while copies or guards are pending.
 * Fails:  BUSY (WEIR_NOW, work is pending), TIMEDOUT, RANGE, KIND (no host memory), NOTLEASED, INVAL, DEVICE.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_write(struct weir_buffer *buffer, size_t offset, const void *src,
                                               size_t bytes, uint64_t deadline_ns);

/* weir_buffer_read - copy bytes out of the buffer, when no device work uses it any more. As weir_buffer_write(). */
WEIR_API WEIR_MUST_CHECK int weir_buffer_read(struct weir_buffer *buffer, size_t offset, void *dst,
                                              size_t bytes, uint64_t deadline_ns);

/*
 * weir_buffer_mirror - the device mirror of a host buffer: device memory of the same size
 *
 * Made at first use under the budget of device memory, kept over all leases of the buffer, and freed with it. What
 * guards the buffer guards its mirror.
 *
 * Thread:   the holder of the lease.
 * Progress: blocks in the driver the first time; in a pool with WEIR_POOL_SCRUB, the first time of each lease.
 * Fails:    KIND (no host memory), EXCEEDS, DEVMEM, NOMEM, NOTLEASED, DEVICE.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_mirror(struct weir_buffer *buffer, uint64_t *out);

/*
 * weir_buffer_to_device - copy a part of the buffer to the same place of its mirror
 *
 * WEIR_NOW queues the copy and returns. Else waits until the copy is done: TIMEDOUT leaves it queued.
 * Thread:   the holder of both leases.
 * Progress: blocks until deadline_ns, and in the driver where weir_buffer_mirror() does.
 * Fails:    as weir_stream_upload() and weir_buffer_mirror(); TIMEDOUT.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_to_device(struct weir_slice part, struct weir_stream *stream,
                                                   uint64_t deadline_ns);

/* weir_buffer_to_host - copy a part of the mirror back. As weir_buffer_to_device(). Fails also: NOENT (no mirror yet). */
WEIR_API WEIR_MUST_CHECK int weir_buffer_to_host(struct weir_slice part, struct weir_stream *stream,
                                                 uint64_t deadline_ns);

/*
 * weir_buffer_reset - zero the buffer's host bytes and its counters, when no device work uses it any more
 *
 * Thread: the holder of the lease.  Progress: blocks until deadline_ns while copies or guards are pending.
 * Fails:  BUSY (WEIR_NOW, work is pending), TIMEDOUT, KIND (no host memory), NOTLEASED, NOMEM, DEVICE.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_reset(struct weir_buffer *buffer, uint64_t deadline_ns);

/*
 * weir_buffer_guard - the buffer is in use by everything queued on stream so far
 *
 * For the caller's own kernels. Call after enqueueing them, on the enqueueing thread or ordered after it.
 *
 * Thread:   the holder of both leases.
 * Progress: no driver call, but for streams whose handle is known outside weir: there an event is recorded.
 * Fails:    NOTLEASED, FOREIGN, INVAL (no stream), CAPTURE, DEVICE, NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_guard(struct weir_buffer *buffer, struct weir_stream *stream);

/*
 * weir_buffer_hold - something that is no stream is about to use the buffer: a network card, a disk, another process
 *
 * For engines whose completions are not in the order of a stream. Until each hold has been ended the buffer is not
 * reused: released meanwhile, it retires, and the end of the last hold brings it home. A tiered buffer moves, and cannot be held.
 * weir_buffer_sync(), write, read and reset wait for device work only, not for holds.
 *
 * Thread:   the holder of the lease, or who has ended no hold of it yet.
 * Progress: lock-free.
 * Fails:    NOTLEASED, FOREIGN, STALE, KIND, EXCEEDS (32767 holds of one buffer), FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_hold(struct weir_buffer *buffer);

/*
 * weir_buffer_unhold - one use of the buffer has ended; once for each hold
 *
 * Nothing that the use did to the buffer comes after it. Never blocks and makes no driver call.
 *
 * Thread:   any.
 * Progress: lock-free, but for bounded work on behalf of waiters when the buffer comes home.
 * Fails:    NOTLEASED (it has no hold), FOREIGN, CLOSED (runtime destroyed; the hold is ended), FORKED.
 */
WEIR_API int weir_buffer_unhold(struct weir_buffer *buffer);

/*
 * weir_buffer_unhold_lost - nobody will ever know whether this use has ended: the buffer is never reused
 *
 * As weir_buffer_unhold(), but once released, and when its other uses have ended, the buffer goes to quarantine.
 */
WEIR_API int weir_buffer_unhold_lost(struct weir_buffer *buffer);

/*
 * weir_buffer_wanted - has a higher priority asked for this lease?
 *
 * For holders that poll instead of acting in the pool's preempt callback. 1: yes, release it soon; 0: no.
 * Progress: wait-free.  Fails: FOREIGN, NOTLEASED, STALE.
 */
WEIR_API int weir_buffer_wanted(struct weir_buffer *buffer);

/*
 * weir_buffer_sync - wait until no device work marked so far uses the buffer
 *
 * Thread: the holder of the lease.  Progress: blocks until deadline_ns.  Fails: TIMEDOUT, DEVICE, CAPTURE, NOTLEASED, CLOSED.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_sync(struct weir_buffer *buffer, uint64_t deadline_ns);

/* States of a buffer. Readable at any time; only what you hold stays as read. */
enum weir_buffer_state {
    WEIR_BUFFER_FREE = 1,
    WEIR_BUFFER_ACQUIRED,
    WEIR_BUFFER_COPYING,    /* acquired, with device work or holds pending */
    WEIR_BUFFER_RETIRING,   /* released, with device work or holds pending */
    WEIR_BUFFER_QUARANTINED /* its device work failed, or a hold was lost: never reused */
};

/* Beside the state. */
enum weir_buffer_flags {
    WEIR_BUFFER_PINNED = 1 /* stays in the memory where it is: always, but in tiered pools, see weir_buffer_set_pinned() */
};

struct weir_buffer_info {
    size_t            struct_size;
    uint64_t          id;           /* stable for the life of the runtime */
    struct weir_pool *pool;
    uint64_t          acquires;     /* times leased so far */
    uint64_t          bytes_up;     /* bytes uploaded from this buffer */
    uint64_t          bytes_down;   /* bytes downloaded into it */
    uint64_t          last_use_ns;  /* of the latest copy, or start of the monitor period it was last acquired in */
    uint32_t          state;        /* enum weir_buffer_state; 0: it has no memory now */
    uint32_t          flags;        /* enum weir_buffer_flags */
    uint64_t          mirror;       /* device address of its mirror; 0: not made */
    uint64_t          transfers;    /* copies to and from the device */
    uint64_t          peak_bytes;   /* how far into the buffer copies have reached */
    uint64_t          timed;        /* copies whose device time was measured; see weir_pool_opts.sample_every */
    uint64_t          timed_bytes;  /* bytes of those */
    uint64_t          timed_ns;     /* device time of those */
    uint64_t          transfer_ns;  /* average device time of a copy */
    uint64_t          transfer_bytes_per_s; /* average bandwidth of a copy */
    uint32_t          memory;       /* enum weir_memory */
    uint32_t          dtype;        /* enum weir_dtype; 0: none */
};

/*
 * weir_buffer_info_read - what a buffer is and has done; set out->struct_size first
 *
 * At any time, leased or not.
 * While nothing but hits happens in a runtime whose monitor sleeps, last_use_ns may be as many as 255 leases behind.
 * Progress: asks the driver about copies whose end it has not seen; never waits.  Fails: FOREIGN, INVAL.
 */
WEIR_API int weir_buffer_info_read(const struct weir_buffer *buffer, struct weir_buffer_info *out);

/*
 * weir_buffer_find - the buffer whose host bytes contain an address
 *
 * Does not lease it. Fails: NOENT.  Progress: lock-free.
 */
WEIR_API WEIR_MUST_CHECK int weir_buffer_find(struct weir_runtime *rt, const void *host,
                                              struct weir_buffer **out);

/*
 * weir_pool_reserve - grow now to at least buffers, at most buffers_max; what was made is free when it returns
 *
 * Progress: blocks (pins memory).  Fails: EXCEEDS, NOMEM, DEVMEM, DEVICE, CANCELED, FORKED, INVAL; or what the source
 * of the pool's memory answered.
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_reserve(struct weir_pool *pool, size_t buffers);

/*
 * weir_pool_trim - give memory back to the system, down to buffers, never below buffers_min
 *
 * Progress: blocks up to deadline_ns for buffers that are leased or in flight.
 * Fails:    TIMEDOUT (what could be freed was; the rest goes as it comes home), FORKED, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_trim(struct weir_pool *pool, size_t buffers, uint64_t deadline_ns);

/*
 * weir_pool_clear - reset every idle buffer: zero its host bytes and its counters; and zero the pool's counters
 *
 * Returns how many buffers were left alone, because they were leased, or retiring, or quarantined. Buffers are taken
 * out one at a time, so others go on being served.
 * Progress: blocks.  Fails: KIND (a tiered pool), CLOSED, NOMEM, FORKED.
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_clear(struct weir_pool *pool);

WEIR_END_DECLS

#endif
