/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ticks.h - when the device has finished with a buffer
 *
 * Each stream counts ticks. Work that is queued belongs to the open tick; closing the tick records one
 * timing-free event behind that work. A buffer that work uses is marked with (stream, open tick). Once the
 * event of that tick, or of a later one, has passed, the device is done with the buffer: a stream is in order.
 *
 *      issue:  enqueue -> fence -> read open tick -> mark the buffer
 *      close:  take the tick (open + 1) -> fence -> record -> publish
 *      reap:   query the oldest published tick; passed: everything marked up to it may go
 *
 * Released buffers that are still marked wait in the stream's retire queue: a lock-free inbox (push by
 * anyone) and buckets by tick (the reaper). The keeper closes the open tick itself when a retired buffer waits
 * for it, and polls only streams that are armed.
 *
 * Exclusion: issue and close run beside each other and beside everything; reap takes reap_lock (try);
 * destroy needs that nobody issues on the stream. handle_lock guards {handle, gone} against the keeper.
 *
 * Progress: issue, release: lock-free. close: lock-free but for its driver call. reap: bounded.
 * A closer that stalls between taking and publishing its tick holds up nobody: later ticks cover it. The ring
 * slot that it owns is reused only after it has published.
 *
 * If recording or querying fails, every buffer whose mark has not passed is quarantined: fail closed.
 *
 * Orders: tick-fence (issue's fence against close's), tick-publish, tick-passed, arm.
 * Model: test/models/ticks.pml.
 */
#ifndef WI_TICKS_H
#define WI_TICKS_H

#include "pool/blame.h"
#include "pool/context.h"
#include "pool/record.h"

#define WI_TICKS         64  /* events in flight on one stream */
#define WI_BUCKETS       128 /* more than distinct ticks that can be pending */
#define WI_TICK_BITS     48
#define WI_TICK_OPS      8   /* an owned stream closes its tick after so many operations ... */
#define WI_TICK_BYTES    ((uint64_t)8 << 20) /* ... or bytes: too late an event would delay reuse */

_Static_assert(WI_BUCKETS >= WI_TICKS + 2, "pending ticks are passed+1 .. passed+WI_TICKS+1");
_Static_assert(WI_STREAMS_MAX < (1 << (64 - WI_TICK_BITS)), "a stream number fits beside its tick");

/*
 * state says whose the slot is: 2t: free for tick t. 2t+1: tick t's event is recorded and published. While
 * it is 2t and `open` is beyond t, the closer of t owns it.
 */
struct wi_tick_slot {
    _Atomic uint64_t state;
    void            *event; /* made by the slot's first closer; kept */
};

struct wi_stream_stat {
    _Atomic uint64_t acquires, active_ns, acquired_ns, released_ns;
    _Atomic uint64_t copies, bytes_up, bytes_down, events_recorded, syncs, shares;
};

struct wi_stream {
    /* Fixed while bound. */
    struct wi_context *context;
    void              *handle;
    struct wi_record  *record; /* its lease, NULL for the monitor's own */
    uint32_t           number; /* in context->stream */
    uint32_t           stream_class;
    _Atomic int32_t    priority;
    uint32_t           adopted; /* 1: the handle belongs to the host program */
    _Atomic uint32_t   held;    /* 1: there is no handle; ticks pass by wi_stream_pass() only */
    struct wi_thread  *thread; /* a per-thread default stream: whose; else NULL */
    struct wi_stream  *graph;  /* what is captured belongs to it; the holder's */
    uint64_t           graph_generation; /* of the graph's lease */
    /* 1: the handle is known outside weir: every operation closes its tick on the issuing thread. Always with adopted. */
    _Atomic uint32_t   outside;

    _Atomic uint64_t open WI_CACHELINE; /* the tick that new work belongs to; from 1 */
    _Atomic uint64_t latest;            /* the highest tick that work belongs to */
    _Atomic uint32_t ops;               /* since the last close; approximate: only when a tick is due */
    _Atomic uint64_t ops_bytes;

    _Atomic uint64_t passed WI_CACHELINE; /* the device is done with all ticks up to this one */
    _Atomic uint32_t failed;              /* 1: a record or query failed */
    struct wi_blame  blame;               /* which, for those who wait */
    _Atomic uint32_t gone;                /* 1: the handle must not be used any more; under handle_lock */
    _Atomic uint32_t drain;               /* 1: poll until all is done, though nobody waits for it */

    _Atomic(struct wi_record *) inbox WI_CACHELINE; /* retired records, newest first */
    _Atomic uint32_t            armed;              /* 1: the keeper polls this stream */
    _Atomic uint32_t            sleepers;           /* threads in wi_stream_wait() */
    _Atomic uint32_t            advanced;           /* their futex: grows when `passed` does, or on failure */

    pthread_mutex_t handle_lock;

    /* Owned by whoever holds reap_lock. */
    _Atomic uint32_t  reap_lock WI_CACHELINE;
    uint64_t          recycled; /* ring slots of ticks up to this one have been given back */
    struct wi_record *bucket[WI_BUCKETS]; /* by tick */
    struct wi_record *ready;              /* their tick here has passed */
    uint64_t          waiting;            /* records in buckets and ready */
    unsigned          gallop;             /* how far ahead of the oldest pending tick to ask: 2^gallop ticks */

    struct wi_tick_slot ring[WI_TICKS];

    /* Written by issuers, who may be several on a shared stream. Only counted. */
    struct wi_stream_stat stat WI_CACHELINE;
};

/* Make a stream on the device and give it a number. Fails: DEVICE, NOMEM, EXCEEDS (WI_STREAMS_MAX). */
int  wi_stream_make(struct wi_context *context, uint32_t stream_class, int32_t priority,
                    struct wi_stream **out);
/* As wi_stream_make() without a handle: gone until it is bound. Fails: NOMEM, EXCEEDS. */
int  wi_stream_make_bare(struct wi_context *context, uint32_t stream_class, struct wi_stream **out);
/* May a gone stream be bound to another handle? Only when all its ticks have passed, and never after a failure. */
bool wi_stream_drained(const struct wi_stream *stream);
/* pre: gone, drained, and nobody else binds. A handle of the host program; NULL: none, the stream is held. Ticks go on. */
void wi_stream_bind(struct wi_stream *stream, void *handle);
/* D1: waits for at most one record call; afterwards nobody uses the handle. */
void wi_stream_let_go(struct wi_stream *stream);
/* pre: nobody issues. Marks the handle gone, closes the last tick, destroys the driver's stream. Blocks in the driver. */
void wi_stream_end(struct wi_stream *stream);
/* Free events and memory. pre: gone, everything reaped or abandoned, and the keeper has stopped. */
void wi_stream_free(struct wi_stream *stream);

/*
 * Make room for a mark of `stream` in the record before anything is enqueued, so that marking cannot fail
 * afterwards. Fails: NOMEM.
 */
int  wi_mark_reserve(struct wi_record *record, const struct wi_stream *stream);
/* After the enqueue: mark the record as in use up to the open tick. Closes the tick when it is due. */
void wi_mark(struct wi_record *record, struct wi_stream *stream, uint64_t bytes);
/* As wi_mark() without counting an operation: for a second buffer of the same operation. */
void wi_mark_also(struct wi_record *record, struct wi_stream *stream);
/* Mark the record as in use by what is queued now, if anything is pending. Counts no operation. pre: reserved. */
void wi_mark_end(struct wi_record *record, struct wi_stream *stream);
/* Is any mark of the record not passed yet? */
bool wi_marks_pending(const struct wi_record *record);
void wi_marks_clear(struct wi_record *record);
/* Frees what marks beyond the record's own lie in. pre: nobody looks at the record. */
void wi_marks_free(struct wi_record *record);

/* For work that is already enqueued: the mark that covers it. I2 and I3. */
uint64_t wi_mark_now(struct wi_stream *stream);
bool     wi_mark_same_stream(uint64_t mark, uint64_t other);
/*
 * Has the device passed the mark? If not, and its tick is open, the tick is closed; the stream is reaped. For the
 * monitor: makes driver calls.
 */
bool     wi_mark_settled(struct wi_context *context, uint64_t mark);
bool     wi_marks_settled(struct wi_record *record);
/* A copy of all marks that are pending, for the caller to wi_free(). False: no memory. */
bool     wi_marks_copy(struct wi_record *record, uint64_t **out, size_t *out_count);

/* Close the open tick. Returns 0, AGAIN (the ring is full: the tick stays open), or DEVICE. */
int  wi_tick_close(struct wi_stream *stream);

/* Count an operation that uses no buffer. On a stream known outside this closes its tick, and may wait for room. */
void wi_stream_touch(struct wi_stream *stream);
/* Something is queued for which no tick may be closed yet: the stream is busy. Counts no operation. */
void wi_stream_queued(struct wi_stream *stream);
/* The handle is about to be known outside. From here on nobody but an issuing thread records on it. */
void wi_stream_expose(struct wi_stream *stream);
/* The keeper polls until the stream has drained. */
void wi_stream_watch(struct wi_stream *stream);
/* Is anything queued that has not been seen done? Makes no driver call. */
bool wi_stream_busy(const struct wi_stream *stream);
/* The tick that covers all that is queued now; 0: nothing is pending. */
uint64_t wi_stream_end_tick(const struct wi_stream *stream);
/*
 * Sleep until the stream has passed a tick, closing it if it is open still. The keeper does the polling.
 * Fails: TIMEDOUT, DEVICE, CLOSED.
 */
int  wi_stream_wait(struct wi_stream *stream, uint64_t tick, uint64_t deadline_ns);
/* Sleepers of wi_stream_wait() look again. */
void wi_stream_wake(struct wi_stream *stream);
/* As above for all that is queued, in the driver and without a deadline. For the monitor. Fails: DEVICE. */
int  wi_stream_wait_driver(struct wi_stream *stream);
/* Sleep until nothing marked on the record is pending. Fails: TIMEDOUT, DEVICE. */
int  wi_marks_wait(struct wi_record *record, uint64_t deadline_ns);

/*
 * pre: the record's word is RETIRING and the caller owns it. Pushes it to the first stream that it still waits
 * for; returns false when there is none: the caller brings it home.
 */
bool wi_retire(struct wi_record *record);

/* What to do with a record whose device work has passed, or failed. Set by the pool layer. */
struct wi_reaper {
    void (*home)(struct wi_reaper *reaper, struct wi_record *record);
    uint64_t homed;
};

/*
 * Reap one stream: harvest the inbox, query, send home. Returns true while records wait. Non-blocking: does nothing
 * when another thread is at it.
 */
bool wi_reap(struct wi_stream *stream, struct wi_reaper *reaper);
/* The keeper's visit: K1 to K6. Returns true while the stream must be polled again. */
bool wi_keep(struct wi_stream *stream, struct wi_reaper *reaper);
/* A held stream: everything marked up to now has passed. Sends home on the calling thread. */
void wi_stream_pass(struct wi_stream *stream, struct wi_reaper *reaper);
/* The device is lost: nothing in flight will ever be reported done. Quarantines all that waits. */
void wi_abandon(struct wi_stream *stream);

#endif
