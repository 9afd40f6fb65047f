/* SPDX-License-Identifier: Apache-2.0 */
/* ticks.c - see ticks.h for the picture; the letters I, C, R, P and K name its steps */
#include "pool/ticks.h"

#include "base/alloc.h"
#include "base/log.h"
#include "pool/marks.h"
#include "pool/store.h"
#include "sync/cpu.h"
#include "sync/futex.h"

#include <sched.h>

static struct wi_stream *stream_of(struct wi_context *context, uint64_t mark)
{
    return wi_load(&context->stream[wi_mark_stream(mark)], acquire);
}

static bool mark_passed(struct wi_context *context, uint64_t mark)
{
    struct wi_stream *stream = stream_of(context, mark);
    /* order(tick-passed): acquire; pairs with the store in advance(). The device's work is seen done. */
    return wi_load(&stream->passed, acquire) >= wi_mark_tick(mark);
}

/* ---- issue ---- */

static struct wi_context *context_of(const struct wi_record *record)
{
    return record->store->context;
}

static _Atomic uint64_t *find_mark(struct wi_record *record, uint32_t number)
{
    struct wi_marks piece = wi_marks_first(record);
    do {
        for (unsigned i = 0; i < piece.count; i++) {
            uint64_t mark = wi_load(&piece.mark[i], relaxed);
            if (mark && wi_mark_stream(mark) == number) return &piece.mark[i];
        }
    } while (wi_marks_next(&piece));
    return NULL;
}

/*
 * A mark that has passed may give way to another stream's, but only where one thread at a time marks the record: another
 * could be about to raise the very mark that is replaced.
 */
static _Atomic uint64_t *claim_mark(struct wi_record *record, const struct wi_stream *stream)
{
    uint64_t        mine = wi_mark_make(stream->number, 0);
    bool            alone = !(wi_load(&record->attention, relaxed) & WI_ATTENTION_TIERED);
    struct wi_marks piece = wi_marks_first(record);
    do {
        for (unsigned i = 0; i < piece.count; i++) {
            uint64_t mark = wi_load(&piece.mark[i], relaxed);
            if (mark && !(alone && mark_passed(stream->context, mark))) continue;
            if (wi_cas(&piece.mark[i], &mark, mine, relaxed)) return &piece.mark[i];
            /* unreached: another thread has marked for the same stream meanwhile. */
            if (wi_mark_stream(mark) == stream->number) return &piece.mark[i];
        }
    } while (wi_marks_next(&piece));
    return NULL;
}

/* A piece with the mark of `stream`, at the end. Should another thread add one first, the caller finds room in that one. */
static int add_piece(struct wi_record *record, const struct wi_stream *stream)
{
    struct wi_marks        piece = wi_marks_first(record);
    struct wi_record_more *more = wi_calloc(1, sizeof *more), *none = NULL;
    if (!more)
        return WI_FAIL(NOMEM, .call = "calloc", .limit = "streams that mark one buffer without an allocation",
                       .limit_value = WI_MARKS, .wanted = WI_MARKS + 1);
    wi_store(&more->mark[0], wi_mark_make(stream->number, 0), relaxed);
    while (wi_marks_next(&piece)) {}
    /* order(more): release; pairs with the load in wi_marks_next(). */
    if (!wi_cas(piece.more, &none, more, acq_rel)) wi_free(more);
    return 0;
}

int wi_mark_reserve(struct wi_record *record, const struct wi_stream *stream)
{
    while (!find_mark(record, stream->number) && !claim_mark(record, stream)) WI_TRY(add_piece(record, stream));
    return 0;
}

uint64_t wi_mark_now(struct wi_stream *stream)
{
    /*
     * I2 order(tick-fence): the operation is enqueued before the open tick is read; pairs with the fence in
     * wi_tick_close(), which raises the tick before it records. So the event of the tick that is read here
     * is recorded after the operation.
     */
    wi_fence(seq_cst);
    return wi_mark_make(stream->number, wi_load(&stream->open, relaxed));
}

bool wi_mark_same_stream(uint64_t mark, uint64_t other)
{
    return wi_mark_stream(mark) == wi_mark_stream(other);
}

/* Work that has just been queued belongs to this tick, or to an earlier one. */
static void note_work(struct wi_stream *stream, uint64_t tick)
{
    uint64_t latest = wi_load(&stream->latest, relaxed);
    if (wi_load(&stream->held, relaxed)) return; /* it passes by its owner's word */
    /* order(tick-latest): release, a maximum; pairs with the load in wi_stream_end_tick(). */
    while (latest < tick && !wi_cas(&stream->latest, &latest, tick, release)) {}
}

void wi_mark_also(struct wi_record *record, struct wi_stream *stream)
{
    uint64_t          mine = wi_mark_now(stream);
    _Atomic uint64_t *place = find_mark(record, stream->number);
    wi_assert(place != NULL); /* reserved before the enqueue */
    uint64_t mark = wi_load(place, relaxed);
    /* I4: a maximum. Numbers are equal, so words compare as ticks. */
    while (mark < mine && !wi_cas(place, &mark, mine, relaxed)) {}
    if (!(wi_load(&record->attention, relaxed) & WI_ATTENTION_GUARD))
        (void)wi_or(&record->attention, WI_ATTENTION_GUARD, relaxed);
    note_work(stream, wi_mark_tick(mine));
}

void wi_mark_end(struct wi_record *record, struct wi_stream *stream)
{
    uint64_t          tick = wi_stream_end_tick(stream);
    uint64_t          mine = wi_mark_make(stream->number, tick);
    _Atomic uint64_t *place = find_mark(record, stream->number);
    if (!tick) return;
    wi_assert(place != NULL);
    uint64_t mark = wi_load(place, relaxed);
    while (mark < mine && !wi_cas(place, &mark, mine, relaxed)) {}
    (void)wi_or(&record->attention, WI_ATTENTION_GUARD, relaxed);
}

/*
 * The ring is full: sleep until the open tick has its slot. The slot may be behind a closer that was preempted before
 * it published, so what is waited for is the slot and not a tick. The keeper reaps, and tells. Fails: DEVICE.
 */
static int wait_for_room(struct wi_stream *stream)
{
    int err = 0;
    wi_add(&stream->sleepers, 1, seq_cst);
    while (true) {
        uint32_t seen = wi_load(&stream->advanced, seq_cst); /* order(advanced) */
        uint64_t tick = wi_load(&stream->open, acquire);
        if (wi_load(&stream->ring[tick % WI_TICKS].state, acquire) == 2 * tick) break;
        if (wi_load(&stream->failed, acquire)) {
            /* unreached: the stream fails while somebody waits for room in its ring. */
            err = WI_FAIL_BLAMED(DEVICE, &stream->blame, .detail = "work on the stream failed");
            break;
        }
        if (!wi_exchange(&stream->armed, 1, seq_cst)) wi_kick(&stream->context->keeper);
        (void)wi_futex_wait(&stream->advanced, seen, WEIR_FOREVER);
    }
    wi_sub(&stream->sleepers, 1, seq_cst);
    return err;
}

/*
 * I5 on a stream that is known outside: nobody but this thread may record what it has just queued. A full ring is
 * back-pressure: the keeper reaps, which needs the ring's events and not the handle.
 */
static void close_here(struct wi_stream *stream)
{
    uint64_t mine = wi_load(&stream->open, acquire);
    while (wi_load(&stream->open, acquire) <= mine && wi_tick_close(stream) == WEIR_EAGAIN) {
        if (wait_for_room(stream) < 0) return;
    }
}

static void count_operation(struct wi_stream *stream, uint64_t bytes)
{
    if (wi_load(&stream->held, relaxed)) return;
    uint32_t ops = wi_add(&stream->ops, 1, relaxed) + 1;
    uint64_t ops_bytes = wi_add(&stream->ops_bytes, bytes, relaxed) + bytes;
    if (wi_load(&stream->outside, relaxed)) {
        close_here(stream);
    } else if (ops >= WI_TICK_OPS || ops_bytes >= WI_TICK_BYTES) {
        (void)wi_tick_close(stream);
    }
}

void wi_mark(struct wi_record *record, struct wi_stream *stream, uint64_t bytes)
{
    wi_mark_also(record, stream);
    count_operation(stream, bytes);
}

void wi_stream_touch(struct wi_stream *stream)
{
    note_work(stream, wi_mark_tick(wi_mark_now(stream)));
    count_operation(stream, 0);
}

void wi_stream_queued(struct wi_stream *stream)
{
    note_work(stream, wi_mark_tick(wi_mark_now(stream)));
}

/* Does work belong to the tick that is open? */
static bool is_open_used(const struct wi_stream *stream)
{
    /* The tick first: read the other way round, work that comes with a new tick in between would be missed. */
    uint64_t open = wi_load(&stream->open, acquire);
    return wi_load(&stream->latest, acquire) >= open;
}

void wi_stream_expose(struct wi_stream *stream)
{
    if (wi_load(&stream->outside, relaxed)) return;
    wi_store(&stream->outside, 1, seq_cst);
    if (is_open_used(stream)) close_here(stream);
}

void wi_stream_watch(struct wi_stream *stream)
{
    /* order(arm): as a push to the inbox; the keeper looks at it again after it has disarmed. */
    wi_store(&stream->drain, 1, seq_cst);
    if (!wi_exchange(&stream->armed, 1, seq_cst)) wi_kick(&stream->context->keeper);
}

void wi_stream_wake(struct wi_stream *stream)
{
    /* order(advanced): after `passed`, `failed` or the context's `closed`; pairs with the loads in wi_stream_wait(). */
    wi_add(&stream->advanced, 1, seq_cst);
    if (wi_load(&stream->sleepers, seq_cst)) wi_futex_wake(&stream->advanced, INT32_MAX);
}

static void fail_stream(struct wi_stream *stream, const char *what)
{
    char text[256];
    (void)weir_error_text(text, sizeof text);
    wi_blame_keep(&stream->blame);
    /* order(tick-failed): release; the reaper then quarantines what has not passed. */
    if (!wi_exchange(&stream->failed, 1, acq_rel))
        wi_log(ERROR, "pool", "stream %u: %s failed; its buffers in flight are quarantined: %s", stream->number, what,
               text);
    wi_stream_wake(stream);
    wi_store(&stream->armed, 1, seq_cst);
    wi_kick(&stream->context->keeper);
}

int wi_tick_close(struct wi_stream *stream)
{
    struct wi_context          *context = stream->context;
    const struct wi_device_ops *ops = context->device->ops;
    if (wi_load(&stream->failed, acquire)) return WEIR_EDEVICE;

    /* C0, C1: take the open tick if the ring has its slot free. */
    uint64_t             tick = wi_load(&stream->open, relaxed);
    struct wi_tick_slot *slot;
    do {
        slot = &stream->ring[tick % WI_TICKS];
        if (wi_load(&slot->state, acquire) != 2 * tick) {
            if (wi_load(&stream->open, relaxed) != tick) {
                /* unreached: another thread has closed it between the two looks; the schedule `closers` is not counted. */
                tick = wi_load(&stream->open, relaxed);
                continue;
            }
            return WEIR_EAGAIN;
        }
        if (wi_cas(&stream->open, &tick, tick + 1, seq_cst)) break;
    } while (true);
    /* These only say when a tick is due: a closer that is slow here clears what was counted for a later one. */
    wi_store(&stream->ops, 0, relaxed);
    wi_store(&stream->ops_bytes, 0, relaxed);

    wi_fence(seq_cst); /* C2 order(tick-fence) */
    int err = slot->event ? 0 : ops->event_create(context->device, 0, &slot->event);
    if (err >= 0) err = ops->event_record(context->device, slot->event, stream->handle); /* C3 */
    if (err < 0) {
        fail_stream(stream, "recording an event"); /* C4: publishes nothing */
        return err;
    }
    wi_add(&context->ticks_recorded, 1, relaxed);
    /* C4 order(tick-publish): release; pairs with the load in oldest_published(). An unpublished event is never queried. */
    wi_store(&slot->state, 2 * tick + 1, release);
    return 0;
}

static uint64_t first_pending(struct wi_record *record);

/* ---- waiting for the device ---- */

bool wi_stream_busy(const struct wi_stream *stream)
{
    return wi_stream_end_tick(stream) != 0;
}

uint64_t wi_stream_end_tick(const struct wi_stream *stream)
{
    /* order(tick-latest): acquire. */
    uint64_t latest = wi_load(&stream->latest, acquire);
    return latest > wi_load(&stream->passed, acquire) ? latest : 0;
}

/* Close a tick on behalf of a sleeper, who may not be the issuer: under handle_lock, as the keeper does. */
static void close_for_sleeper(struct wi_stream *stream, uint64_t tick)
{
    if (wi_load(&stream->open, acquire) > tick || wi_load(&stream->outside, acquire)) return;
    pthread_mutex_lock(&stream->handle_lock);
    if (!wi_load(&stream->gone, acquire) && wi_load(&stream->open, acquire) <= tick) (void)wi_tick_close(stream);
    pthread_mutex_unlock(&stream->handle_lock);
}

int wi_stream_wait(struct wi_stream *stream, uint64_t tick, uint64_t deadline_ns)
{
    int err = 0;
    if (wi_load(&stream->passed, acquire) >= tick) return 0;
    WI_ENSURE(!wi_load(&stream->held, relaxed), CAPTURE, .detail = "it belongs to a graph until weir_graph_forget()");
    wi_add(&stream->sleepers, 1, seq_cst);
    while (true) {
        uint32_t seen = wi_load(&stream->advanced, seq_cst); /* order(advanced) */
        if (wi_load(&stream->passed, acquire) >= tick) break;
        if (wi_load(&stream->failed, acquire))
            err = WI_FAIL_BLAMED(DEVICE, &stream->blame, .detail = "work on the stream failed");
        else if (wi_load(&stream->context->closed, acquire) >= 2)
            err = WI_FAIL(CLOSED, .detail = "the runtime has ended, and device work was still pending");
        if (err < 0) break;
        close_for_sleeper(stream, tick);
        if (!wi_exchange(&stream->armed, 1, seq_cst)) wi_kick(&stream->context->keeper);
        if (wi_futex_wait(&stream->advanced, seen, deadline_ns) == -ETIMEDOUT) {
            if (wi_load(&stream->passed, acquire) >= tick) break;
            err = WI_FAIL(TIMEDOUT, .detail = "device work was still pending");
            break;
        }
    }
    wi_sub(&stream->sleepers, 1, seq_cst);
    return err;
}

int wi_stream_wait_driver(struct wi_stream *stream)
{
    struct wi_device *device = stream->context->device;
    uint64_t          tick = wi_stream_end_tick(stream);
    if (tick == 0) return 0;
    close_for_sleeper(stream, tick);
    struct wi_tick_slot *slot = &stream->ring[tick % WI_TICKS];
    if (wi_load(&slot->state, acquire) == 2 * tick + 1) WI_TRY(device->ops->event_sync(device, slot->event));
    return wi_stream_wait(stream, tick, WEIR_FOREVER);
}

/* ---- marks for the monitor ---- */

/* The first mark that has not passed, or 0. */
static uint64_t first_pending(struct wi_record *record)
{
    struct wi_context *context = context_of(record);
    struct wi_marks    piece = wi_marks_first(record);
    do {
        for (unsigned i = 0; i < piece.count; i++) {
            uint64_t mark = wi_load(&piece.mark[i], relaxed);
            if (mark && !mark_passed(context, mark)) return mark;
        }
    } while (wi_marks_next(&piece));
    return 0;
}

bool wi_mark_settled(struct wi_context *context, uint64_t mark)
{
    if (mark_passed(context, mark)) return true;
    struct wi_stream *stream = stream_of(context, mark);
    struct wi_reaper  reaper = {.home = context->home};
    if (!stream->adopted) close_for_sleeper(stream, wi_mark_tick(mark));
    (void)wi_reap(stream, &reaper);
    return mark_passed(context, mark);
}

bool wi_marks_settled(struct wi_record *record)
{
    for (uint64_t mark; (mark = first_pending(record)) != 0;) {
        if (!wi_mark_settled(context_of(record), mark)) return false;
    }
    return true;
}

bool wi_marks_copy(struct wi_record *record, uint64_t **out, size_t *out_count)
{
    struct wi_context *context = context_of(record);
    struct wi_marks    piece = wi_marks_first(record);
    size_t             capacity = WI_MARKS, count = 0;
    *out = NULL;
    *out_count = 0;
    if (!first_pending(record)) return true; /* nearly always */
    while (wi_marks_next(&piece)) capacity += piece.count;
    uint64_t *marks = wi_alloc(capacity * sizeof *marks);
    if (!marks) return false;
    piece = wi_marks_first(record);
    do {
        for (unsigned i = 0; i < piece.count && count < capacity; i++) {
            uint64_t mark = wi_load(&piece.mark[i], relaxed);
            if (mark && !mark_passed(context, mark)) marks[count++] = mark;
        }
    } while (wi_marks_next(&piece));
    *out = marks;
    *out_count = count;
    return true;
}

/* ---- release ---- */

bool wi_marks_pending(const struct wi_record *record)
{
    return first_pending((struct wi_record *)record) != 0;
}

int wi_marks_wait(struct wi_record *record, uint64_t deadline_ns)
{
    for (uint64_t mark; (mark = first_pending(record)) != 0;)
        WI_TRY(wi_stream_wait(stream_of(context_of(record), mark), wi_mark_tick(mark), deadline_ns));
    return 0;
}

void wi_marks_free(struct wi_record *record)
{
    struct wi_record_more *more = wi_load(&record->more, relaxed);
    wi_store(&record->more, NULL, relaxed);
    while (more) {
        struct wi_record_more *next = wi_load(&more->more, relaxed);
        wi_free(more);
        more = next;
    }
}

void wi_marks_clear(struct wi_record *record)
{
    struct wi_marks piece = wi_marks_first(record);
    do {
        for (unsigned i = 0; i < piece.count; i++) {
            if (wi_load(&piece.mark[i], relaxed)) wi_store(&piece.mark[i], 0, relaxed);
        }
    } while (wi_marks_next(&piece));
}

static void push_inbox(struct wi_stream *stream, struct wi_record *record)
{
    struct wi_record *head = wi_load(&stream->inbox, relaxed);
    do {
        record->next = head;
    } while (!wi_cas(&stream->inbox, &head, record, seq_cst)); /* R2 order(arm): before armed is read */
    /* R3: pairs with K4 and K5: the reaper disarms, then looks at the inbox again. */
    if (!wi_load(&stream->armed, seq_cst) && !wi_exchange(&stream->armed, 1, seq_cst))
        wi_kick(&stream->context->keeper);
}

bool wi_retire(struct wi_record *record)
{
    uint64_t mark = first_pending(record); /* R1 */
    if (!mark) return false;
    push_inbox(stream_of(context_of(record), mark), record);
    return true;
}

/* ---- reap; reap_lock is held ---- */

/* Only the reaper moves `passed`, so a record filed as ready or in a bucket stays rightly filed. */
static void file_locked(struct wi_stream *stream, struct wi_record *record)
{
    _Atomic uint64_t  *place = find_mark(record, stream->number);
    uint64_t           tick = place ? wi_mark_tick(wi_load(place, relaxed)) : 0;
    bool               ready = tick <= wi_load(&stream->passed, relaxed);
    struct wi_record **list = ready ? &stream->ready : &stream->bucket[tick % WI_BUCKETS];
    record->next = *list;
    *list = record;
    stream->waiting++;
}

static void harvest_locked(struct wi_stream *stream)
{
    struct wi_record *record = wi_exchange(&stream->inbox, NULL, acq_rel); /* P1 */
    while (record) {
        struct wi_record *next = record->next;
        file_locked(stream, record);
        record = next;
    }
}

static uint64_t oldest_published(const struct wi_stream *stream)
{
    uint64_t open = wi_load(&stream->open, acquire);
    for (uint64_t tick = wi_load(&stream->passed, relaxed) + 1; tick < open; tick++) {
        /* order(tick-publish): acquire; pairs with the store in wi_tick_close(). Gaps are skipped: a later event covers them. */
        if (wi_load(&stream->ring[tick % WI_TICKS].state, acquire) == 2 * tick + 1) return tick;
    }
    return 0;
}

/* Give back ring slots of passed ticks, in order, as far as they are published. Returns whether there were any. */
static bool recycle_locked(struct wi_stream *stream)
{
    uint64_t before = stream->recycled;
    uint64_t passed = wi_load(&stream->passed, relaxed);
    while (stream->recycled < passed) {
        uint64_t             tick = stream->recycled + 1;
        struct wi_tick_slot *slot = &stream->ring[tick % WI_TICKS];
        if (wi_load(&slot->state, acquire) != 2 * tick + 1) break; /* its closer is still at it */
        wi_store(&slot->state, 2 * (tick + WI_TICKS), release);
        stream->recycled = tick;
    }
    return stream->recycled > before;
}

/* The device is done with these as far as this stream goes. */
static void send_home_locked(struct wi_stream *stream, struct wi_record **list, struct wi_reaper *reaper)
{
    struct wi_record *record = *list;
    *list = NULL;
    while (record) {
        struct wi_record *next = record->next;
        stream->waiting--;
        if (!wi_retire(record)) { /* no other stream uses it */
            reaper->homed++;
            reaper->home(reaper, record);
        }
        record = next;
    }
}

/* P3, P4: everything up to `tick` is done. */
static void advance_locked(struct wi_stream *stream, uint64_t tick, struct wi_reaper *reaper)
{
    uint64_t from = wi_load(&stream->passed, relaxed);
    /* order(tick-passed): release; pairs with the load in mark_passed(). */
    wi_store(&stream->passed, tick, release);
    (void)recycle_locked(stream);
    for (uint64_t done = from + 1; done <= tick; done++)
        send_home_locked(stream, &stream->bucket[done % WI_BUCKETS], reaper);
    wi_stream_wake(stream);
}

static uint64_t quarantine_list_locked(struct wi_stream *stream, struct wi_record **list)
{
    uint64_t count = 0;
    for (struct wi_record *record; (record = *list) != NULL; count++) {
        *list = record->next;
        uint64_t word = wi_load(&record->word, relaxed);
        while (!wi_cas(&record->word, &word, wi_word_with(word, WI_QUARANTINED), seq_cst)) {}
        stream->waiting--;
    }
    return count;
}

static void quarantine_locked(struct wi_stream *stream)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < WI_BUCKETS; i++) count += quarantine_list_locked(stream, &stream->bucket[i]);
    if (count > 0)
        wi_log(ERROR, "pool", "stream %u: %llu objects quarantined", stream->number, (unsigned long long)count);
}

/* The newest published tick of the first 2^gallop pending ones, else the oldest there is. */
static uint64_t published_ahead(const struct wi_stream *stream)
{
    uint64_t passed = wi_load(&stream->passed, relaxed);
    uint64_t tick = wi_load(&stream->open, acquire) - 1;
    if (tick > passed + (UINT64_C(1) << stream->gallop)) tick = passed + (UINT64_C(1) << stream->gallop);
    for (; tick > passed; tick--) {
        if (wi_load(&stream->ring[tick % WI_TICKS].state, acquire) == 2 * tick + 1) return tick; /* order(tick-publish) */
    }
    return oldest_published(stream);
}

/*
 * Galloping: each tick that has passed doubles the reach of the next question, one that has not passed takes it back to
 * the oldest. `all`: until the oldest has not passed. Else the keeper is content once something has come home, or nothing
 * waits: it comes again after its first pause. So a stream costs it about one query a visit.
 * Source: Bentley and Yao, "An almost optimal algorithm for unbounded searching" (1976).
 */
static void query_locked(struct wi_stream *stream, struct wi_reaper *reaper, bool all)
{
    struct wi_context *context = stream->context;
    uint64_t           homed = reaper->homed;
    bool               more = true;
    while (more) {
        uint64_t tick = wi_load(&stream->failed, acquire) ? 0 : published_ahead(stream);
        if (tick == 0) break;
        wi_add(&context->ticks_queried, 1, relaxed);
        int err = context->device->ops->event_query(context->device, stream->ring[tick % WI_TICKS].event);
        if (err == WEIR_EAGAIN) {
            stream->gallop = 0;
            more = tick != oldest_published(stream);
        } else if (err < 0) {
            fail_stream(stream, "querying an event");
            break;
        } else {
            advance_locked(stream, tick, reaper);
            if (UINT64_C(1) << stream->gallop < WI_TICKS) stream->gallop++;
        }
        if (!all && (reaper->homed > homed || stream->waiting == 0)) more = false;
    }
}

static void reap_locked(struct wi_stream *stream, struct wi_reaper *reaper, bool all)
{
    harvest_locked(stream);
    send_home_locked(stream, &stream->ready, reaper);
    query_locked(stream, reaper, all);
    /* A closer that was slow to publish held slots back, and a sleeper may have found no room for his tick. */
    if (recycle_locked(stream)) wi_stream_wake(stream);
    if (wi_load(&stream->failed, acquire)) { /* order(tick-failed) */
        harvest_locked(stream);
        send_home_locked(stream, &stream->ready, reaper);
        quarantine_locked(stream);
    }
}

static bool try_reap_lock(struct wi_stream *stream)
{
    return !wi_load(&stream->reap_lock, relaxed) && !wi_exchange(&stream->reap_lock, 1, acquire);
}

static void reap_unlock(struct wi_stream *stream)
{
    wi_store(&stream->reap_lock, 0, release);
}

bool wi_reap(struct wi_stream *stream, struct wi_reaper *reaper)
{
    if (!try_reap_lock(stream)) return true;
    reap_locked(stream, reaper, true);
    bool waiting = stream->waiting > 0;
    reap_unlock(stream);
    return waiting;
}

/* A stream that was released while it was being captured: recording on it would put the event into the graph. */
static bool is_captured(struct wi_stream *stream)
{
    struct wi_device *device = stream->context->device;
    bool              capturing = false;
    if (!wi_load(&stream->outside, acquire)) return false;
    return device->ops->stream_capture(device, stream->handle, &capturing) < 0 || capturing;
}

/* K2: retired records wait for the tick that is open: close it, if the handle is weir's and alive. */
static void close_for_waiters_locked(struct wi_stream *stream)
{
    uint64_t open = wi_load(&stream->open, acquire);
    bool     drain = wi_load(&stream->drain, acquire) && is_open_used(stream);
    if (!stream->bucket[open % WI_BUCKETS] && !drain) return;
    if (stream->adopted || pthread_mutex_trylock(&stream->handle_lock) != 0) return;
    if (!wi_load(&stream->gone, acquire) && !is_captured(stream)) (void)wi_tick_close(stream);
    pthread_mutex_unlock(&stream->handle_lock);
}

/* Must the stream be polled again, whoever waits for it? */
static bool is_wanted_locked(struct wi_stream *stream)
{
    if (wi_load(&stream->held, seq_cst)) return false; /* it passes by its owner's word, who sends home what waits */
    if (stream->waiting > 0) return true;
    if (wi_load(&stream->failed, acquire)) return false;
    if (wi_load(&stream->sleepers, seq_cst)) return true;
    bool pending = wi_load(&stream->passed, relaxed) + 1 < wi_load(&stream->open, acquire);
    if (pending && wi_load(&stream->gone, acquire)) return true;
    /* Cleared first: who asks again comes after his work. */
    if (!wi_load(&stream->drain, seq_cst) || !wi_exchange(&stream->drain, 0, seq_cst)) return false;
    if (wi_stream_end_tick(stream) == 0) return false;
    wi_store(&stream->drain, 1, seq_cst);
    return true;
}

bool wi_keep(struct wi_stream *stream, struct wi_reaper *reaper)
{
    if (!try_reap_lock(stream)) return true;
    harvest_locked(stream); /* K1 */
    close_for_waiters_locked(stream);
    reap_locked(stream, reaper, wi_load(&stream->sleepers, relaxed) != 0); /* K3 */
    if (!is_wanted_locked(stream)) {
        wi_store(&stream->armed, 0, seq_cst); /* K4 order(arm) */
        if (wi_load(&stream->inbox, seq_cst) || is_wanted_locked(stream)) wi_store(&stream->armed, 1, seq_cst); /* K5 */
    }
    bool again = wi_load(&stream->armed, relaxed) != 0;
    reap_unlock(stream); /* K6 */
    return again;
}

void wi_stream_pass(struct wi_stream *stream, struct wi_reaper *reaper)
{
    wi_assert(wi_load(&stream->held, relaxed));
    uint64_t tick = wi_add(&stream->open, 1, seq_cst);
    wi_fence(seq_cst); /* C2 order(tick-fence) */
    while (!try_reap_lock(stream)) sched_yield();
    harvest_locked(stream);
    wi_store(&stream->ring[tick % WI_TICKS].state, 2 * tick + 1, release); /* for its slot to be given back */
    if (!wi_load(&stream->failed, acquire)) advance_locked(stream, tick, reaper);
    reap_unlock(stream);
}

void wi_abandon(struct wi_stream *stream)
{
    wi_store(&stream->failed, 1, release);
    wi_stream_wake(stream);
    while (!try_reap_lock(stream)) wi_pause();
    harvest_locked(stream);
    (void)quarantine_list_locked(stream, &stream->ready);
    quarantine_locked(stream);
    reap_unlock(stream);
}
