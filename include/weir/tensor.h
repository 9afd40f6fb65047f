/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/tensor.h - arrays of a shape and a type on pooled buffers
 *
 *   tensor    one leased buffer and its device mirror, with a shape; can be shared through DLPack
 *   stepped   a plain host array, the truth, of which every step publishes a device view of its own
 *   rows      writes to single rows of a device tensor, gathered and applied in one batch
 *
 * Arrays are dense, the last index runs fastest. Work that weir queues is known to it; for work of your own say so:
 * weir_tensor_guard() and weir_stepped_used(). Destroying is safe while work is in flight: the memory is used again
 * only when the device is done with it.
 *
 * What excludes what: one object is used by one thread at a time. Deleters of exports run beside anything.
 *
 * Unless a call says otherwise:
 * Thread:   the only one that uses the object at that time.
 * Progress: may allocate and call the driver; waits for no device work.
 *
 * Example, given struct weir_pool *pool; struct weir_stream *stream; float values[4][8]:
 *
 *     struct weir_tensor *tensor;
 *     int err = weir_tensor_create(pool, WEIR_OPTS(tensor, .dtype = WEIR_DTYPE_F32, .rank = 2, .shape = {4, 8}), WEIR_FOREVER,
 *                                  &tensor);
 *     if (err < 0) return err;
 *     err = weir_tensor_fill(tensor, values, sizeof values, WEIR_FOREVER);
 *     if (err == 0) err = weir_tensor_to_device(tensor, stream);
 *     weir_tensor_destroy(tensor);
 */
#ifndef WEIR_TENSOR_H
#define WEIR_TENSOR_H

#include <weir/base.h>
#include <weir/pool.h>

WEIR_BEGIN_DECLS

struct weir_tensor;
struct weir_stepped;
struct weir_rows;

#define WEIR_RANK_MAX 8

/* ---- tensors ---- */

struct weir_tensor_opts {
    size_t   struct_size;
    uint32_t dtype;                /* enum weir_dtype; 0: the pool's */
    uint32_t rank;                 /* up to WEIR_RANK_MAX; 0: a single element */
    int64_t  shape[WEIR_RANK_MAX]; /* the first `rank` of them are used, each at least 1 */
};

/*
 * weir_tensor_create - lease a buffer of the pool and give it a shape and a type
 *
 * Waits for a buffer as weir_buffer_acquire() does. The bytes are what the buffer held before.
 *
 * Thread:   any.
 * Progress: as weir_buffer_acquire(), and allocates.
 * Owner:    the caller, until weir_tensor_destroy().
 * Fails:    INVAL (dtype, rank or shape; the message names them), EXCEEDS (larger than the pool's buffers), KIND (the pool
 *           is of another dtype, or tiered), NOMEM, and as weir_buffer_acquire().
 */
WEIR_API WEIR_MUST_CHECK int weir_tensor_create(struct weir_pool *pool, const struct weir_tensor_opts *opts,
                                                uint64_t deadline_ns, struct weir_tensor **out);

/*
 * weir_tensor_destroy - give the buffer back, unless exports still hold it: then the last deleter does
 *
 * Never blocks. NULL is accepted. May be called after the pool and the runtime were destroyed. Cannot fail.
 */
WEIR_API void weir_tensor_destroy(struct weir_tensor *tensor);

/*
 * weir_tensor_fill - copy the caller's bytes into the tensor, when no device work uses it any more
 *
 * bytes is that of the whole tensor.  Progress: blocks until deadline_ns while copies or guards are pending.
 * Fails: INVAL (the message names what was expected), and as weir_buffer_write().
 */
WEIR_API WEIR_MUST_CHECK int weir_tensor_fill(struct weir_tensor *tensor, const void *data, size_t bytes,
                                              uint64_t deadline_ns);

/* A caller's array that says what it is. */
struct weir_array {
    const void *data;
    uint32_t    dtype; /* enum weir_dtype */
    uint32_t    rank;
    int64_t     shape[WEIR_RANK_MAX];
};

/* weir_tensor_fill_array - as weir_tensor_fill(), from an array that must have the tensor's dtype and shape */
WEIR_API WEIR_MUST_CHECK int weir_tensor_fill_array(struct weir_tensor *tensor, const struct weir_array *array,
                                                    uint64_t deadline_ns);

/* weir_tensor_read - copy the tensor's bytes out, when no device work uses it any more. As weir_tensor_fill(). */
WEIR_API WEIR_MUST_CHECK int weir_tensor_read(struct weir_tensor *tensor, void *data, size_t bytes,
                                              uint64_t deadline_ns);

/*
 * weir_tensor_to_device - queue a copy of the tensor to its device view, which is made at the first call and kept
 *
 * stream NULL: the thread's current one.  Fails: as weir_buffer_to_device() with WEIR_NOW.
 */
WEIR_API WEIR_MUST_CHECK int weir_tensor_to_device(struct weir_tensor *tensor, struct weir_stream *stream);

/* weir_tensor_to_host - queue a copy back. Fails: as weir_tensor_to_device(), and NOENT (no device view yet). */
WEIR_API WEIR_MUST_CHECK int weir_tensor_to_host(struct weir_tensor *tensor, struct weir_stream *stream);

/* weir_tensor_guard - both views are in use by everything queued on stream so far. Fails: as weir_buffer_guard(). */
WEIR_API WEIR_MUST_CHECK int weir_tensor_guard(struct weir_tensor *tensor, struct weir_stream *stream);

/*
 * weir_tensor_sync - wait until no device work known so far uses the tensor
 *
 * Progress: blocks until deadline_ns.  Fails: TIMEDOUT, DEVICE, CAPTURE, INVAL.
 */
WEIR_API WEIR_MUST_CHECK int weir_tensor_sync(struct weir_tensor *tensor, uint64_t deadline_ns);

struct weir_tensor_info {
    size_t              struct_size;
    struct weir_buffer *buffer; /* the lease: for weir_buffer_guard() while exports live; not for release */
    void               *host;   /* NULL in a pool of device memory */
    uint64_t            device; /* the device view; 0: not made yet */
    size_t              bytes;
    uint32_t            dtype;
    uint32_t            rank;
    int64_t             shape[WEIR_RANK_MAX];
};

/* weir_tensor_info_read - what a tensor is; set out->struct_size first. Progress: wait-free.  Fails: INVAL. */
WEIR_API int weir_tensor_info_read(const struct weir_tensor *tensor, struct weir_tensor_info *out);

/* ---- DLPack ---- */

/* The structs of the DLPack standard; <dlpack/dlpack.h>, where there is one, says what is in them. */
struct DLManagedTensor;
struct DLManagedTensorVersioned;

enum weir_dlpack_flags {
    WEIR_DLPACK_PINNED = 1,    /* say that the host view is page-locked (kDLCUDAHost); not every consumer takes that */
    WEIR_DLPACK_DEVICE = 2,    /* the device view (kDLCUDA; kDLCPU where the device is emulated) */
    WEIR_DLPACK_READ_ONLY = 4, /* ask consumers not to write; versioned exports only */
    WEIR_DLPACK_UNORDERED = 8  /* export though device work is pending: the consumer comes after it by other means */
};

/*
 * weir_tensor_dlpack - share the tensor without a copy, as a capsule named "dltensor" wants it
 *
 * The host view by default, as kDLCPU. The export holds the lease: its deleter may run on any thread, after the tensor,
 * the pool and the runtime were destroyed. Device work of the consumer must be made known before the deleter runs,
 * by weir_buffer_guard() on weir_tensor_info.buffer.
 *
 * Owner:  the caller, until the export's own deleter is called.
 * Fails:  BUSY (device work is pending: weir_tensor_sync() first), KIND (no such view, or memory that is not pinned),
 *         NOENT (no device view yet), NOSYS (the standard has no such dtype), INVAL, OPTS, NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_tensor_dlpack(struct weir_tensor *tensor, uint32_t flags,
                                                struct DLManagedTensor **out);

/* weir_tensor_dlpack_versioned - as weir_tensor_dlpack(), as a capsule named "dltensor_versioned" wants it (DLPack 1.x) */
WEIR_API WEIR_MUST_CHECK int weir_tensor_dlpack_versioned(struct weir_tensor *tensor, uint32_t flags,
                                                          struct DLManagedTensorVersioned **out);

/* ---- stepped: a host array with a device view for each step ---- */

struct weir_stepped_opts {
    size_t   struct_size;
    uint32_t dtype; /* these three as in struct weir_tensor_opts */
    uint32_t rank;
    int64_t  shape[WEIR_RANK_MAX];
    size_t   depth_max; /* views at one time; 0: the pool's buffers_max */
};

/*
 * weir_stepped_create - a host array of zeros, whose device views come from buffers of the pool
 *
 * No buffer is leased before the first weir_stepped_publish().  Thread: any.  Progress: allocates.
 * Owner: the caller, until weir_stepped_destroy().  Fails: as weir_tensor_create(), but for those of the lease.
 */
WEIR_API WEIR_MUST_CHECK int weir_stepped_create(struct weir_pool *pool, const struct weir_stepped_opts *opts,
                                                 struct weir_stepped **out);

/* weir_stepped_destroy - free the host array and give the views back, in flight or not. NULL is accepted. Cannot fail. */
WEIR_API void weir_stepped_destroy(struct weir_stepped *stepped);

/* weir_stepped_host - the host array: plain memory, to be written at any time. NULL for NULL. Progress: wait-free. */
WEIR_API void *weir_stepped_host(struct weir_stepped *stepped);

/*
 * weir_stepped_publish - put what the host array holds now into a device view that no step in flight uses
 *
 * Copies into a staging buffer and queues its upload on stream; *out_device is for work that is queued on that stream
 * after it. Queue that work, and call weir_stepped_used(), before the next publish: until then the view is left alone
 * if the pool has another buffer, afterwards it is overwritten when its known work is done. There are as many
 * views as steps in flight: one more is leased when none is idle, and those that the last 64 to 128 steps did not need
 * go back to the pool. When depth_max or the pool is reached, waits for the oldest step.
 *
 * Progress: blocks until deadline_ns for a view; copies bytes on the CPU; calls the driver.
 * Fails:  BUSY (WEIR_NOW, all views are in flight), TIMEDOUT, and as weir_buffer_acquire() and weir_buffer_to_device().
 */
WEIR_API WEIR_MUST_CHECK int weir_stepped_publish(struct weir_stepped *stepped, struct weir_stream *stream,
                                                  uint64_t deadline_ns, uint64_t *out_device);

/*
 * weir_stepped_used - the view published last is in use by everything queued on stream so far
 *
 * Call it for every stream whose work reads the view, after that work was queued.
 * Fails: NOENT (nothing was published), and as weir_buffer_guard().
 */
WEIR_API WEIR_MUST_CHECK int weir_stepped_used(struct weir_stepped *stepped, struct weir_stream *stream);

struct weir_stepped_info {
    size_t   struct_size;
    size_t   bytes;      /* of the host array and of each view */
    uint64_t steps;      /* published */
    uint64_t depth;      /* views now */
    uint64_t depth_peak;
    uint64_t in_flight;  /* views that device work uses; asks the driver */
    uint64_t grows;      /* views leased */
    uint64_t falls;      /* views given back because they were not needed */
    uint64_t waits;      /* steps that waited for an older one */
};

/* weir_stepped_info_read - counts of a stepped array; set out->struct_size first. Fails: INVAL. */
WEIR_API int weir_stepped_info_read(const struct weir_stepped *stepped, struct weir_stepped_info *out);

/* ---- rows: staged writes ---- */

struct weir_rows_opts {
    size_t              struct_size;
    struct weir_tensor *tensor;    /* whose device view is written; its rows are those of its first dimension. Held */
    uint64_t            device;    /* or plain device memory of the caller's ... */
    size_t              rows;      /* ... of so many rows ... */
    size_t              row_bytes; /* ... of this size, one after the other */
};

/*
 * weir_rows_create - gather writes to rows of a device tensor; staging buffers come from the pool
 *
 * Thread: any.  Progress: allocates.  Owner: the caller, until weir_rows_destroy().
 * Fails:  INVAL, OPTS, EXCEEDS (a row is larger than a buffer), KIND, NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_rows_create(struct weir_pool *pool, const struct weir_rows_opts *opts,
                                              struct weir_rows **out);

/* weir_rows_destroy - what was staged and not applied is forgotten. NULL is accepted. Cannot fail. */
WEIR_API void weir_rows_destroy(struct weir_rows *rows);

/*
 * weir_rows_stage - keep the new bytes of a row for the next apply; of several for one row the last counts
 *
 * Progress: the first after an apply leases the staging buffer, and waits for one until deadline_ns.
 * Fails: RANGE (no such row), INVAL (bytes is not a row's), EXCEEDS (the staging buffer is full: apply), BUSY (an apply
 *        that failed has copies under way), and as weir_buffer_acquire().
 */
WEIR_API WEIR_MUST_CHECK int weir_rows_stage(struct weir_rows *rows, size_t row, const void *data, size_t bytes,
                                             uint64_t deadline_ns);

/* weir_rows_staged - rows that wait for the next apply; 0 for NULL. Progress: wait-free. */
WEIR_API size_t weir_rows_staged(const struct weir_rows *rows);

/*
 * weir_rows_apply - queue all staged writes on stream in one batch; nothing staged: nothing is done
 *
 * Rows staged one after the other that are neighbours travel as one copy. The tensor is guarded. After a failure all
 * rows are still staged, and some may have been written.  Fails: as weir_stream_upload_batch(), NOMEM.
 */
WEIR_API WEIR_MUST_CHECK int weir_rows_apply(struct weir_rows *rows, struct weir_stream *stream);

WEIR_END_DECLS

#endif
