/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.h - what is noted about a copy: its bytes, its device time now and then, and who wrote meanwhile
 *
 *     begin   counts the copy; if it is a sample, records a timing event before it; if writes are checked, sums its bytes
 *     end     behind the copy: the second event, and the check (check.h). Both come before the buffer is marked, so
 *             that the mark covers them
 *
 * Samples. One copy in opts.sample_every of each buffer, the first included, is timed with two events that the pool
 * owns; WI_SAMPLES can be under way at a time, a sample that finds none free is taken by the next copy. They are
 * read, without waiting, by snapshots, and by the next sampler, which asks the driver only where their ticks are known to
 * have passed; never by the keeper.
 */
#ifndef WI_TRANSFER_H
#define WI_TRANSFER_H

#include "base/atomic.h"
#include "base/base.h"

#include <weir/pool.h>

#define WI_SAMPLES              4
#define WI_SAMPLES_PATIENCE     64 /* samples missed before the driver is asked nevertheless */
#define WI_SAMPLE_EVERY_DEFAULT 1024

struct wi_record;
struct wi_stream;
struct wi_side;
struct wi_seal;

enum wi_sample_state { WI_SAMPLE_IDLE = 0, WI_SAMPLE_TAKEN, WI_SAMPLE_QUEUED };

struct wi_sample {
    _Atomic uint32_t  state; /* who changes it to TAKEN owns the rest */
    uint32_t          reserved;
    void             *start; /* timing events of the device; made on first use */
    void             *end;
    struct wi_record *record;
    uint64_t          bytes;
    uint64_t          copies; /* timed together */
    struct wi_stream *stream; /* when this tick of it has passed, the end has; streams live as long as their runtime */
    uint64_t          tick;
};

struct wi_transfer {
    struct wi_record *record;
    struct wi_stream *stream;
    struct wi_side   *side;
    struct wi_sample *sample; /* NULL: not timed */
    struct wi_seal   *seal;   /* NULL: not checked */
    size_t            offset;
    size_t            bytes;
    size_t            position; /* in a batch: only the first is timed, on behalf of all */
    uint32_t          kind;     /* enum wi_copy_kind, UP or DOWN */
    uint32_t          captured; /* 1: it goes into a graph, which may run later and more than once: neither timed nor checked */
};

/* pre: record, stream, offset, bytes and kind are filled in, and checked. Fails: NOMEM. */
int  wi_transfer_begin(struct wi_transfer *transfer);
/* The first of a batch, before wi_transfer_end(): its sample is of so many copies and bytes. */
void wi_transfer_share(struct wi_transfer *transfer, size_t copies, uint64_t bytes);
/* The copy is queued. Before wi_mark(). */
void wi_transfer_end(struct wi_transfer *transfer);
/* The copy was refused. */
void wi_transfer_drop(struct wi_transfer *transfer);

/* Read what samples have passed. Does not wait. Makes no call of a lost device, nor after the runtime's end. */
void wi_samples_read(struct weir_pool *pool);
/* pre: nobody copies. */
void wi_samples_free(struct weir_pool *pool);

#endif
