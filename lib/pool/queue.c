/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - waiting for the free store: first come, first served, by direct hand-off
 *
 * The obvious order (count yourself, look once more, then queue) loses wake-ups: a releaser between the
 * look and the queueing finds nobody to serve. So: queue and count first; the look is made while
 * leaving the queue's lock.
 *
 * The lock and its pending flag are one word. A releaser that sees a waiter sets LOCKED | PENDING in one step: if
 * the lock was held it leaves, because the holder cannot leave without seeing PENDING; else it is the
 * holder and serves. An acquirer that enters may sleep for the lock (SLEEPERS).
 *
 *   operation         progress
 *   wi_store_serve    wait-free when the lock is held; else at most WI_SERVE_ROUNDS rounds
 *   wi_queue_wait     blocks until given, shut, or the deadline
 *
 * A waiter's word is its futex. After it says GIVEN the waiter belongs to its thread again and is not touched.
 * The lock is entered until the deadline by who is not queued yet; a waiter that has timed out must
 * enter to leave the queue, and waits for the holder's bounded work.
 *
 * Order names: given, release-gate, permit. Model: test/models/store_home.pml.
 * Sources: direct hand-off after Solaris turnstiles (Mauro and McDougall, "Solaris Internals").
 */
#include "pool/bias.h"
#include "sync/futex.h"

#include <sched.h>

enum { LOCKED = 1, PENDING = 2, SLEEPERS = 4 };
enum { WAKES = 16, ENTER_SPINS = 64 };

/* Futex words of waiters that were served; woken after the lock is free, as far as the room goes. */
struct wakes {
    _Atomic uint32_t *word[WAKES];
    unsigned          count;
};

static void wake_all(struct wakes *wakes)
{
    for (unsigned i = 0; i < wakes->count; i++) wi_futex_wake(wakes->word[i], 1);
    wakes->count = 0;
}

static void kick(struct wi_store *store)
{
    if (store->owner.kick) store->owner.kick(store->owner.ctx);
}

/* ---- permits: headroom that lower classes may not take ---- */

static int64_t reserved_for_higher(const struct wi_store *store, uint32_t priority)
{
    return priority == 0 ? 0 : (int64_t)store->headroom;
}

static bool permit(struct wi_store *store, uint32_t need, uint32_t priority)
{
    if (WI_LIKELY(!store->headroom)) return true;
    int64_t available = wi_load(&store->available, relaxed);
    while (available - (int64_t)need >= reserved_for_higher(store, priority)) {
        /* order(permit): acquire; pairs with the add in wi_store_gated(). */
        if (wi_cas(&store->available, &available, available - (int64_t)need, acquire)) return true;
    }
    return false;
}

bool wi_queue_permit(struct wi_store *store, const struct wi_ask *ask)
{
    return permit(store, ask->need, ask->priority);
}

void wi_queue_unpermit(struct wi_store *store, uint32_t count)
{
    if (store->headroom) wi_add(&store->available, (int64_t)count, seq_cst);
}

/* ---- the lists; the lock is held ---- */

static void append_locked(struct wi_store *store, struct wi_waiter *waiter)
{
    uint32_t class = waiter->priority;
    waiter->next = NULL;
    waiter->prev = store->tail[class];
    if (waiter->prev) {
        waiter->prev->next = waiter;
    } else {
        store->head[class] = waiter;
    }
    store->tail[class] = waiter;
}

static void unlink_locked(struct wi_store *store, struct wi_waiter *waiter)
{
    uint32_t class = waiter->priority;
    if (waiter->prev) {
        waiter->prev->next = waiter->next;
    } else {
        store->head[class] = waiter->next;
    }
    if (waiter->next) {
        waiter->next->prev = waiter->prev;
    } else {
        store->tail[class] = waiter->prev;
    }
}

static void detach_locked(struct wi_store *store, struct wi_waiter *waiter)
{
    unlink_locked(store, waiter);
    wi_sub(&store->gate, 1, relaxed);
}

/* Who has waited longer than the setting moves up a class, so that no class starves. */
static void age_locked(struct wi_store *store)
{
    if (!store->head[1] && !store->head[2]) return;
    if (!store->head[0] && !(store->head[1] && store->head[2])) return;
    uint64_t now_ns = weir_clock_ns();
    for (uint32_t class = 1; class < WI_CLASSES; class++) {
        struct wi_waiter *waiter = store->head[class];
        while (waiter && now_ns - waiter->since_ns > store->age_ns) {
            unlink_locked(store, waiter);
            waiter->priority = class - 1;
            append_locked(store, waiter);
            waiter = store->head[class];
        }
    }
}

static struct wi_waiter *first_locked(const struct wi_store *store)
{
    for (uint32_t class = 0; class < WI_CLASSES; class++) {
        if (store->head[class]) return store->head[class];
    }
    return NULL;
}

/* End a wait. The waiter is not touched afterwards, but for an asynchronous one, which its owner frees after notify. */
static void end_locked(struct wi_waiter *waiter, enum wi_waiter_word word, struct wakes *wakes)
{
    void (*notify)(struct wi_waiter *) = waiter->notify;
    _Atomic uint32_t *futex = &waiter->word;
    /* order(given): release; pairs with the loads in wi_queue_wait(). The objects are written before the word. */
    wi_store(futex, word, release);
    if (notify) {
        notify(waiter);
        return;
    }
    if (wakes->count == WAKES) wake_all(wakes);
    wakes->word[wakes->count++] = futex;
}

static bool gather_locked(struct wi_store *store, uint32_t need, bool *lied)
{
    while (store->pile_count < need) {
        struct wi_record *record = wi_store_claim_own(store);
        if (!record) record = wi_store_look(store, lied);
        if (!record) return false;
        store->pile[store->pile_count++] = record;
    }
    return true;
}

/* Serve until waiters or objects run out. Returns whether the commons claimed to hold more than it gave. */
static bool serve_locked(struct wi_store *store, struct wakes *wakes)
{
    struct wi_waiter *waiter;
    bool              lied = false;
    /* order(release-gate): the waiter's gate count (mine or theirs) is visible before this look. */
    wi_fence(seq_cst);
    if (wi_load(&store->gate, relaxed) & WI_GATE_QUEUED) age_locked(store);
    while ((waiter = first_locked(store))) {
        if (!waiter->paid) {
            if (!permit(store, waiter->need, waiter->priority)) break;
            waiter->paid = 1;
        }
        if (!gather_locked(store, waiter->need, &lied)) {
            if (lied || store->headroom) kick(store);
            break;
        }
        detach_locked(store, waiter);
        wi_add(&store->handoffs, 1, relaxed);
        for (uint32_t i = 0; i < waiter->need; i++)
            waiter->out[i] = store->pile[--store->pile_count];
        end_locked(waiter, WI_GIVEN, wakes);
    }
    if (!waiter) {
        while (store->pile_count > 0) {
            wi_add(&store->stat.ungiven, 1, relaxed);
            /* No permit is raised: the waiter who gathered it has given its permits back himself. */
            (void)wi_store_put(store, store->pile[--store->pile_count], WI_LEASED);
        }
    }
    return lied;
}

/* ---- the lock ---- */

/* Returns false when the deadline passed before the lock was had. */
static bool enter_until(struct wi_store *store, uint64_t deadline_ns)
{
    uint32_t word = wi_load(&store->lock, relaxed);
    uint32_t mine = LOCKED;
    for (int spins = 0;;) {
        if (!(word & LOCKED)) {
            /* order(queue-lock): acquire; pairs with the compare-and-swap in leave(). */
            if (wi_cas(&store->lock, &word, word | mine, acquire)) return true;
            continue;
        }
        if (spins < ENTER_SPINS) {
            spins++;
            wi_pause();
            word = wi_load(&store->lock, relaxed);
            continue;
        }
        if (!(word & SLEEPERS) && !wi_cas(&store->lock, &word, word | SLEEPERS, relaxed)) continue;
        if (wi_futex_wait(&store->lock, word | SLEEPERS, deadline_ns) == -ETIMEDOUT) return false;
        mine = LOCKED | SLEEPERS; /* others may sleep still */
        word = wi_load(&store->lock, relaxed);
    }
}

void wi_queue_enter(struct wi_store *store)
{
    (void)enter_until(store, WEIR_FOREVER);
}

static void leave(struct wi_store *store, struct wakes *wakes)
{
    for (unsigned round = 1;; round++) {
        wi_and(&store->lock, ~(uint32_t)PENDING, seq_cst);
        (void)serve_locked(store, wakes);
        uint32_t word = wi_load(&store->lock, relaxed);
        while (!(word & PENDING) || round >= WI_SERVE_ROUNDS) {
            /* order(queue-lock): release; with PENDING left standing the keeper comes and serves. */
            if (!wi_cas(&store->lock, &word, word & PENDING, acq_rel)) continue;
            if (word & SLEEPERS) wi_futex_wake(&store->lock, 1);
            if (word & PENDING) kick(store);
            wake_all(wakes);
            return;
        }
    }
}

void wi_queue_leave(struct wi_store *store)
{
    struct wakes wakes = {.count = 0};
    leave(store, &wakes);
}

void wi_store_serve(struct wi_store *store)
{
    if (wi_or(&store->lock, LOCKED | PENDING, acq_rel) & LOCKED) return;
    wi_queue_leave(store);
}

/* ---- waiting ---- */

static int shut_code(uint32_t gate)
{
    if (gate & WI_GATE_FORKED) return WI_FAIL(FORKED, .detail = "a forked child may only exec");
    if (gate & WI_GATE_LOST) return WI_FAIL(DEVICE, .detail = "the device was lost; rebuild the runtime");
    return WI_FAIL(CLOSED, .detail = "the pool or its runtime was destroyed");
}

static void queue_locked(struct wi_store *store, const struct wi_ask *ask, struct wi_waiter *waiter,
                         struct wi_record **out)
{
    wi_store(&waiter->word, WI_WAITING, relaxed);
    waiter->priority = ask->priority;
    waiter->need = ask->need;
    waiter->paid = 0;
    waiter->out = out;
    append_locked(store, waiter);
    /* order(release-gate): queue and count first, then look; pairs with the gate load of a release. */
    if (wi_add(&store->gate, 1, seq_cst) == 0) wi_bias_gate(store);
}

static void give_up_locked(struct wi_store *store, struct wi_waiter *waiter)
{
    detach_locked(store, waiter);
    if (waiter->paid) wi_queue_unpermit(store, waiter->need);
}

/* The deadline has passed already: look with the gate up until nobody asks any more. Only here "empty" is believed. */
static int try_locked(struct wi_store *store, struct wi_waiter *waiter, struct wakes *wakes)
{
    for (unsigned round = 0; round < WI_NOW_ROUNDS; round++) {
        wi_and(&store->lock, ~(uint32_t)PENDING, seq_cst);
        bool lied = serve_locked(store, wakes);
        if (wi_load(&waiter->word, relaxed) != WI_WAITING) return 0;
        if (!lied && !(wi_load(&store->lock, seq_cst) & PENDING)) break;
        if (lied && round % 16 == 15) sched_yield(); /* an enqueuer was preempted half-way */
    }
    give_up_locked(store, waiter);
    return WEIR_EAGAIN;
}

static int sleep_until_given(struct wi_store *store, const struct wi_ask *ask, struct wi_waiter *waiter)
{
    for (;;) {
        /* order(given): acquire; pairs with end_locked(). */
        uint32_t word = wi_load(&waiter->word, acquire);
        if (word == WI_GIVEN) return 0;
        if (word == WI_SHUT) return shut_code(wi_load(&store->gate, relaxed));
        if (wi_futex_wait(&waiter->word, WI_WAITING, ask->deadline_ns) != -ETIMEDOUT) continue;
        wi_queue_enter(store);
        word = wi_load(&waiter->word, acquire);
        if (word == WI_WAITING) give_up_locked(store, waiter);
        wi_queue_leave(store);
        if (word == WI_WAITING) return WEIR_ETIMEDOUT;
    }
}

int wi_queue_wait(struct wi_store *store, const struct wi_ask *ask, struct wi_waiter *waiter,
                  struct wi_record **out)
{
    uint64_t entry_ns = ask->deadline_ns == WEIR_NOW ? WEIR_FOREVER : ask->deadline_ns;
    uint32_t gate = wi_load(&store->gate, relaxed);
    waiter->notify = NULL;
    /* In a forked child the lock may belong to a thread that is not there. */
    if (WI_UNLIKELY(gate & WI_GATE_FORKED)) return shut_code(gate);
    if (!enter_until(store, entry_ns)) return WEIR_ETIMEDOUT;
    gate = wi_load(&store->gate, relaxed);
    if (gate & WI_GATE_SHUT) {
        wi_queue_leave(store);
        return shut_code(gate);
    }
    queue_locked(store, ask, waiter, ask->need == 1 ? &waiter->one : out);
    int err;
    if (ask->deadline_ns == WEIR_NOW) {
        struct wakes wakes = {.count = 0};
        err = try_locked(store, waiter, &wakes);
        leave(store, &wakes);
        if (err == 0 && ask->need == 1) *out = waiter->one;
        return err;
    }
    wi_queue_leave(store); /* its serve is the look */
    /* Only now: whoever is asked and refuses looks at the gate to learn whether the next is to be asked. */
    if (store->owner.contend && wi_load(&waiter->word, acquire) == WI_WAITING)
        store->owner.contend(store->owner.ctx, ask->priority);
    err = sleep_until_given(store, ask, waiter);
    if (err == 0 && ask->need == 1) *out = waiter->one;
    return err;
}

int wi_queue_submit(struct wi_store *store, const struct wi_ask *ask, struct wi_waiter *waiter,
                    struct wi_record **out)
{
    wi_assert(waiter->notify != NULL);
    waiter->since_ns = weir_clock_ns();
    wi_queue_enter(store);
    uint32_t gate = wi_load(&store->gate, relaxed);
    if (gate & WI_GATE_SHUT) {
        wi_queue_leave(store);
        return shut_code(gate);
    }
    queue_locked(store, ask, waiter, out);
    wi_queue_leave(store);
    return 0;
}

int wi_queue_cancel(struct wi_store *store, struct wi_waiter *waiter)
{
    wi_queue_enter(store);
    bool waiting = wi_load(&waiter->word, acquire) == WI_WAITING;
    if (waiting) {
        give_up_locked(store, waiter);
        wi_store(&waiter->word, WI_LEFT, release);
    }
    wi_queue_leave(store);
    return waiting ? 0 : WEIR_EBUSY;
}

void wi_store_shut(struct wi_store *store, uint32_t bits)
{
    struct wakes      wakes = {.count = 0};
    struct wi_waiter *waiter;
    wi_queue_enter(store);
    if (wi_or(&store->gate, bits, seq_cst) == 0) wi_bias_gate(store);
    while ((waiter = first_locked(store))) {
        give_up_locked(store, waiter);
        end_locked(waiter, WI_SHUT, &wakes);
    }
    leave(store, &wakes);
}
