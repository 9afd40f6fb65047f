/* SPDX-License-Identifier: Apache-2.0 */
/* borrow.c - views of tiered buffers; the protocol is in place.h, and the letters B, W and V name its steps */
#include "base/options.h"
#include "pool/lease.h"
#include "pool/stream_issue.h"
#include "sync/reader.h"
#include "tier/place.h"

/* ---- holding a place ---- */

/* B1 to B4. The place in *out_word is held, and *slot names it. False: no memory for a slot. */
static bool hold_for_read(const struct wi_tier *tier, struct wi_place *place, struct wi_thread *self,
                          _Atomic uint64_t **slot, uint64_t *out_word)
{
    _Atomic uint64_t *mine = wi_reader_slot(self);
    if (WI_UNLIKELY(!mine)) return false;
    /* order(tier-word): acquire; pairs with the mover's swap. What it copied is seen. */
    uint64_t word = wi_load(&place->word, acquire);
    while (true) {
        wi_store(mine, wi_place_name(tier, word), release); /* order(reader-clear): who cleared the slot before is done */
        wi_reader_fence(); /* B3: against the mover's membarrier */
        uint64_t again = wi_load(&place->word, acquire);
        if (WI_LIKELY(((again ^ word) & WI_PLACE_MASK) == 0)) break;
        word = again;
    }
    *slot = mine;
    *out_word = word;
    return true;
}

/* W1, W2: while writers is not 0 no move succeeds, so no hazard slot is needed. False: too many writers. */
static bool hold_for_write(struct wi_place *place, uint64_t *out_word)
{
    uint64_t word = wi_load(&place->word, acquire);
    while (true) {
        if ((word & WI_WRITER_MASK) == WI_WRITER_MASK) return false;
        if (!wi_load(&place->dirty, relaxed)) wi_store(&place->dirty, 1, seq_cst); /* before the swap: see mover.c */
        uint64_t held = word + WI_WRITER_ONE + WI_VERSION_ONE;
        /* order(tier-word): acq_rel; pairs with the mover's. */
        if (wi_cas(&place->word, &word, held, acq_rel)) {
            *out_word = held;
            return true;
        }
        word = wi_load(&place->word, acquire); /* dirty is to be looked at after what has changed the word */
    }
}

static void let_go(struct wi_place *place, uint64_t token)
{
    if (token) {
        /* order(reader-clear): release; pairs with the scan. What was read through the view is over. */
        wi_store((_Atomic uint64_t *)(uintptr_t)token, 0, release);
    } else {
        /* order(tier-word): release; pairs with the mover's load of a word without writers. */
        wi_sub(&place->word, WI_WRITER_ONE, release);
    }
}

static inline void touch(struct wi_tier *tier, uint32_t index)
{
    uint32_t period = wi_load(&tier->period, relaxed);
    if (wi_load(&tier->touched[index], relaxed) != period) wi_store(&tier->touched[index], period, relaxed);
}

/* ---- borrow ---- */

static bool suits(uint32_t tier, enum weir_where where)
{
    switch (where) {
    case WEIR_WHERE_HOST: return tier != WEIR_TIER_DEVICE;
    case WEIR_WHERE_DEVICE: return tier != WEIR_TIER_PAGEABLE;
    default: return true;
    }
}

static int no_slot(enum weir_access access)
{
    if (access & WEIR_WRITE)
        return WI_FAIL(EXCEEDS, .limit = "writers of one buffer", .limit_value = (1u << WI_WRITER_BITS) - 1,
                       .setting = "fewer writers at once");
    return WI_FAIL(NOMEM, .call = "calloc", .detail = "hazard slots of the thread");
}

static int hold(struct wi_tier *tier, struct wi_place *place, enum weir_where where, enum weir_access access,
                uint64_t deadline_ns, uint64_t *out_word, uint64_t *out_token)
{
    struct wi_thread *self = wi_thread_self();
    while (true) {
        _Atomic uint64_t *slot = NULL;
        uint64_t word = 0;
        bool held = access & WEIR_WRITE ? hold_for_write(place, &word) : hold_for_read(tier, place, self, &slot, &word);
        if (WI_UNLIKELY(!held)) return no_slot(access);
        *out_token = (uint64_t)(uintptr_t)slot;
        *out_word = word;
        if (WI_LIKELY(suits(wi_place_tier(word), where))) return 0;
        let_go(place, *out_token);
        struct wi_want want = {.index = place->index, .deadline_ns = deadline_ns,
                               .fastest = where == WEIR_WHERE_HOST ? WEIR_TIER_PINNED : WEIR_TIER_DEVICE,
                               .slowest = where == WEIR_WHERE_HOST ? WEIR_TIER_PAGEABLE : WEIR_TIER_PINNED};
        WI_TRY(wi_demand_wait(tier, &want));
    }
}

/* What has been asked for and checked. */
struct borrow {
    struct weir_buffer *buffer;
    struct weir_stream *stream;
    enum weir_access    access;
};

static inline void show(const struct wi_tier *tier, const struct borrow *borrow, uint64_t word, uint64_t token,
                        struct weir_view *out)
{
    struct wi_block block = wi_tier_block(tier, word);
    *out = (struct weir_view){.buffer = borrow->buffer,
                              .host = block.host,
                              .device = block.device,
                              .bytes = tier->opts.buffer_bytes,
                              .stream = borrow->stream,
                              .tier = wi_place_tier(word),
                              .access = borrow->access,
                              .token = token};
}

/*
 * Most borrows: to read, no stream, of a lease that needs no closer look, in a tier that suits, and no move between B1
 * and B4. Calls nothing, but for uneven slabs, so that little is saved on the stack. False: the long way.
 */
static inline bool borrow_at_once(const struct borrow *borrow, enum weir_where where, struct weir_view *out)
{
    struct wi_record *record = wi_lease_tiered(borrow->buffer);
    struct wi_thread *self = wi_thread_record;
    if (WI_UNLIKELY(!record || !self)) return false;
    _Atomic uint64_t *slot = wi_reader_slot_near(self);
    if (WI_UNLIKELY(!slot)) return false;
    struct wi_tier  *tier = wi_tier_of(record);
    struct wi_place *place = record->object;
    if (!(borrow->access & WEIR_PEEK)) touch(tier, place->index);
    uint64_t word = wi_load(&place->word, acquire); /* order(tier-word), as in hold_for_read() */
    if (WI_UNLIKELY(!suits(wi_place_tier(word), where))) return false;
    wi_store(slot, wi_place_name(tier, word), release); /* order(reader-clear), as in hold_for_read() */
    wi_reader_fence();
    if (WI_UNLIKELY((wi_load(&place->word, acquire) ^ word) & WI_PLACE_MASK)) {
        wi_store(slot, 0, relaxed); /* nothing was read */
        return false;
    }
    show(tier, borrow, word, (uint64_t)(uintptr_t)slot, out);
    return true;
}

static __attribute__((noinline)) int borrow_slowly(struct weir_buffer *buffer, enum weir_where where, enum weir_access access,
                                                   struct weir_stream *stream_lease, uint64_t deadline_ns,
                                                   struct weir_view *out)
{
    struct wi_record *record;
    struct wi_stream *stream = NULL;
    uint64_t          word = 0, token = 0;
    WI_ENSURE(out, INVAL, .detail = "out is NULL");
    WI_ENSURE(where >= WEIR_WHERE_HOST && where <= WEIR_WHERE_ANY, INVAL, .detail = "where is not one of enum weir_where");
    WI_ENSURE((access & (WEIR_READ | WEIR_WRITE)) && access <= (WEIR_READ | WEIR_WRITE | WEIR_PEEK), INVAL,
              .detail = "access is not READ, WRITE or both");
    WI_TRY(wi_lease_buffer(buffer, &record));
    struct wi_tier *tier = wi_tier_of(record);
    WI_ENSURE(tier, KIND, .detail = "the buffer is not of a tiered pool");
    if (where == WEIR_WHERE_DEVICE) {
        WI_TRY(wi_lease_stream(stream_lease, &stream));
        WI_TRY(wi_issue_check(stream)); /* a graph would keep an address that moves */
        WI_TRY(wi_mark_reserve(record, stream));
    } else {
        WI_ENSURE(!stream_lease, INVAL, .detail = "a stream is for borrows with WEIR_WHERE_DEVICE");
    }
    struct wi_place *place = record->object;
    if (!(access & WEIR_PEEK)) touch(tier, place->index);
    WI_TRY(hold(tier, place, where, access, deadline_ns, &word, &token));
    show(tier, &(struct borrow){buffer, stream_lease, access}, word, token, out);
    return 0;
}

int weir_buffer_borrow(struct weir_buffer *buffer, enum weir_where where, enum weir_access access,
                       struct weir_stream *stream, uint64_t deadline_ns, struct weir_view *out)
{
    bool plain = (access & ~(unsigned)WEIR_PEEK) == WEIR_READ && (where == WEIR_WHERE_ANY || where == WEIR_WHERE_HOST);
    if (WI_LIKELY(plain && !stream && out) && borrow_at_once(&(struct borrow){buffer, NULL, access}, where, out)) return 0;
    return borrow_slowly(buffer, where, access, stream, deadline_ns, out);
}

/* ---- return ---- */

/* V3 for a write: the place is written up to the open tick. As wi_mark_also(), in the place's own marks. */
static void mark_write(struct wi_place *place, struct wi_stream *stream)
{
    uint64_t mine = wi_mark_now(stream);
    for (unsigned i = 0; i < WI_WRITE_MARKS; i++) {
        uint64_t mark = wi_load(&place->write_mark[i], relaxed);
        if (!mark && wi_cas(&place->write_mark[i], &mark, mine, relaxed)) return;
        if (!wi_mark_same_stream(mark, mine)) continue;
        while (mark < mine && !wi_cas(&place->write_mark[i], &mark, mine, relaxed)) {}
        return;
    }
    (void)wi_or(&place->flags, WI_PLACE_MANY_WRITERS, relaxed); /* the mover then waits for every mark of the record */
}

static __attribute__((noinline)) int return_slowly(struct weir_view *view)
{
    struct wi_record *record;
    WI_ENSURE(view, INVAL, .detail = "view is NULL");
    if (!view->buffer) return 0;
    WI_TRY(wi_lease_buffer(view->buffer, &record));
    struct wi_place *place = record->object;
    if (view->stream) {
        struct wi_stream *stream;
        WI_TRY(wi_lease_stream(view->stream, &stream));
        /* Marks before the slot is cleared, and before writers is lowered. The last of them closes the tick of a stream
           that is known outside, where nobody else may. */
        if (view->access & WEIR_WRITE) mark_write(place, stream);
        wi_mark(record, stream, 0);
    }
    let_go(place, view->token);
    *view = (struct weir_view){0};
    return 0;
}

int weir_view_return(struct weir_view *view)
{
    struct wi_record *record = WI_LIKELY(view && !view->stream) ? wi_lease_tiered(view->buffer) : NULL;
    if (WI_UNLIKELY(!record)) return return_slowly(view);
    let_go(record->object, view->token);
    *view = (struct weir_view){0};
    return 0;
}

/* ---- the rest of a place ---- */

static int tiered_lease(const struct weir_buffer *buffer, struct wi_record **out)
{
    WI_TRY(wi_lease_buffer(buffer, out));
    WI_ENSURE(wi_tier_of(*out), KIND, .detail = "the buffer is not of a tiered pool");
    return 0;
}

int weir_buffer_prefetch(struct weir_buffer *buffer, enum weir_tier to, uint64_t deadline_ns)
{
    struct wi_record *record;
    WI_ENSURE(to <= WEIR_TIER_PAGEABLE, INVAL, .detail = "tier is not one of enum weir_tier");
    WI_TRY(tiered_lease(buffer, &record));
    struct wi_tier  *tier = wi_tier_of(record);
    struct wi_place *place = record->object;
    touch(tier, place->index);
    if (wi_place_tier(wi_load(&place->word, acquire)) <= to) return 0;
    struct wi_want want = {.index = place->index, .fastest = WEIR_TIER_DEVICE, .slowest = to, .deadline_ns = deadline_ns};
    if (deadline_ns != WEIR_NOW) return wi_demand_wait(tier, &want);
    WI_TRY(wi_demand_ask(tier, &want));
    return WI_FAIL(AGAIN, .detail = "the buffer is in another tier; its move was asked for");
}

int weir_buffer_set_pinned(struct weir_buffer *buffer, int pinned)
{
    struct wi_record *record;
    WI_TRY(tiered_lease(buffer, &record));
    struct wi_tier  *tier = wi_tier_of(record);
    struct wi_place *place = record->object;
    pthread_mutex_lock(&tier->lock); /* a move under way ends before this returns */
    if (pinned) {
        (void)wi_or(&place->flags, WI_PLACE_STAYS, seq_cst);
    } else {
        (void)wi_and(&place->flags, ~(uint32_t)WI_PLACE_STAYS, seq_cst);
    }
    if (tier->known[place->index]) {
        struct weir_policy_place now = {.object = place->index,
                                        .tier = wi_place_tier(wi_load(&place->word, acquire)),
                                        .flags = pinned ? WEIR_PLACE_PINNED : 0};
        tier->policy.place(tier->policy_ctx, &now);
    }
    pthread_mutex_unlock(&tier->lock);
    return 0;
}

int weir_buffer_place_read(const struct weir_buffer *buffer, struct weir_place_info *out)
{
    WI_ENSURE(wi_record_valid(buffer), FOREIGN, .detail = "not a buffer of this process's weir");
    WI_TRY(wi_process_check());
    const struct wi_record *record = wi_record_plain(buffer, NULL);
    const struct wi_tier   *tier = wi_tier_of(record);
    WI_ENSURE(tier, KIND, .detail = "the buffer is not of a tiered pool");
    const struct wi_place *place = record->object;
    struct weir_place_info info = {
        .tier = wi_place_tier(wi_load(&place->word, acquire)),
        .pinned = (wi_load(&place->flags, relaxed) & WI_PLACE_STAYS) != 0,
        .touches = wi_load(&tier->touches[place->index], relaxed),
    };
    return wi_snapshot_export(out, &info, sizeof info);
}
