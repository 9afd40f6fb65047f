/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir/scope.h - leases that end with their scope (gcc and clang)
 *
 *     weir_auto(buffer) buffer = NULL;
 *     int err = weir_buffer_acquire(pool, WEIR_FOREVER, &buffer);
 *
 * Initialise at the declaration; do not mix with goto cleanup; declare in order of need. Safe with
 * asynchronous work, because release never outruns the device. weir_take() moves a lease out of its scope.
 *
 * Streams and events for the rest of a block, in one line each:
 *
 *     int err;
 *     weir_compute_scope(stream, err, rt, key, WEIR_FOREVER);
 *     if (err < 0) return err;
 *
 * The macros that take a lease are declarations: they stand where a declaration may.
 *
 * Example, given struct weir_runtime *rt; struct weir_pool *pool:
 *
 *     int err;
 *     weir_auto(buffer) buffer = NULL;
 *     weir_comm_scope(stream, err, rt, 0, WEIR_FOREVER);
 *     if (err == 0) err = weir_buffer_acquire(pool, WEIR_FOREVER, &buffer);
 *     if (err < 0) return err;
 *     memset(buffer->host, 0, buffer->bytes);
 *     return weir_buffer_to_device(weir_slice_all(buffer), stream, WEIR_NOW);
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
WEIR_DEFINE_AUTO_VOID_(graph, destroy)
WEIR_DEFINE_AUTO_VOID_(tensor, destroy)
WEIR_DEFINE_AUTO_VOID_(stepped, destroy)
WEIR_DEFINE_AUTO_VOID_(rows, destroy)

/* weir_auto - declare a lease, or an object, that ends with the block; NULL is left alone */
#define weir_auto(kind) __attribute__((cleanup(weir_auto_##kind##_))) struct weir_##kind *

/*
 * weir_stream_scope, weir_compute_scope, weir_comm_scope, weir_high_scope, weir_event_scope - declare `name` and lease a
 * stream, or an event, into it for the rest of the block; err, an int variable, is the answer. affinity_key 0: none.
 *
 * Waits and fails as weir_stream_acquire_with() and weir_event_acquire().
 */
#define weir_stream_scope(name, err, rt, stream_class, affinity_key, deadline_ns)                  \
    weir_auto(stream) name = NULL;                                                                 \
    (err) = weir_scope_stream_((rt), (stream_class), (affinity_key), (deadline_ns), &(name))
#define weir_compute_scope(name, err, rt, affinity_key, deadline_ns)                               \
    weir_stream_scope(name, err, rt, WEIR_STREAM_COMPUTE, affinity_key, deadline_ns)
#define weir_comm_scope(name, err, rt, affinity_key, deadline_ns)                                  \
    weir_stream_scope(name, err, rt, WEIR_STREAM_COMM, affinity_key, deadline_ns)
#define weir_high_scope(name, err, rt, deadline_ns)                                                \
    weir_stream_scope(name, err, rt, WEIR_STREAM_HIGH, 0, deadline_ns)
#define weir_event_scope(name, err, rt, flags, deadline_ns)                                        \
    weir_auto(event) name = NULL;                                                                  \
    (err) = weir_event_acquire((rt), (flags), (deadline_ns), &(name))

static inline int weir_scope_stream_(struct weir_runtime *rt, uint32_t stream_class, uint64_t affinity_key,
                                     uint64_t deadline_ns, struct weir_stream **out)
{
    struct weir_stream_opts opts;
    weir_opts_init(&opts, sizeof opts);
    opts.stream_class = stream_class;
    opts.affinity_key = affinity_key;
    return weir_stream_acquire_with(rt, &opts, deadline_ns, out);
}

/*
 * weir_current_scope - make `stream` this thread's current one for the rest of the block; err, an int variable, is the answer
 *
 * At the end of the block the one before is current again, or none if its lease has ended meanwhile.
 */
#define weir_current_scope(name, err, stream)                                                      \
    __attribute__((cleanup(weir_current_end_))) struct weir_current_ name = {NULL, 0};             \
    (err) = weir_current_begin_((stream), &(name))

struct weir_current_ {
    struct weir_stream *previous;
    int64_t             begun;
};

static inline int weir_current_begin_(struct weir_stream *stream, struct weir_current_ *scope)
{
    int err = weir_stream_set_current(stream, &scope->previous);
    scope->begun = err == 0;
    return err;
}

static inline void weir_current_end_(struct weir_current_ *scope)
{
    if (scope->begun && weir_stream_set_current(scope->previous, NULL) < 0)
        (void)weir_stream_set_current(NULL, NULL);
}

/* weir_take - move a lease out of its scope: the variable becomes NULL */
#define weir_take(held)                                                                            \
    (__extension__({                                                                               \
        __typeof__(held) weir_taken_ = (held);                                                     \
        (held) = NULL;                                                                             \
        weir_taken_;                                                                               \
    }))

#endif
