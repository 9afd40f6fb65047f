/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_home.pml - the free store with home slots, and its waiters (lib/pool/store.h, queue.c)
 *
 * What is modelled
 *   A record is one word: state | HOME. A slot is a hint at a record. An acquire claims a record that a hint
 *   names by a compare-and-swap on the record's word; hints may be as old as they like. The lane is filled by
 *   the keeper. The commons is a set whose dequeue may answer "empty" wrongly, with a count. The queue has a
 *   lock with a pending bit in one word; the gate counts the waiters and says "closed".
 *   Releases with device marks go to a retire queue; the keeper, or an acquirer that found nothing, brings
 *   those records home. Tries (NOW), batches with a pile, permits (headroom), timeouts also while entering
 *   the lock, asynchronous waiters, and destroy.
 *
 * How it is written
 *   Every step between two semicolons is one shared access; an atomic block holds one shared access plus
 *   private and ghost bookkeeping. A load followed by a compare-and-swap on the same word is one step: whoever
 *   fails the comparison saw, at that moment, a word that makes the attempt pointless.
 *   Ghost variables: holder, moving, settled, ahead. They only feed assertions.
 *
 * What is asserted
 *   one owner        claim and dequeue find holder == 0
 *   exact            whoever believes "empty" (a try that fails, a lock holder that leaves waiters asleep) does
 *                    so only when no record is settled: free, and no release in progress answers for it
 *   liveness         when nothing can move any more all threads have finished and every record is home
 *   fifo             with -DFIFO: nobody is served while one of his class who queued before he came still waits
 *
 * Assumed: sequential consistency; the commons is a set, not ck_fifo's code; a lie is finite (LIES of them).
 *
 * Shape
 *   THREADS OBJECTS SLOTS ROUNDS   sizes; SLOTS 0 sends everything through the commons
 *   START_HOME START_RETIRING      how many records start in slots, and as retiring; the rest in the commons
 *   HIGH BATCH TIMED NOW MARKS ASYNC DOUBLE    masks of threads: high class; wants two at once; may time out;
 *                                  never waits; releases with device marks; asynchronous waiter; releases twice
 *   LIES TRIES                     false answers of the commons, and dequeues in one look
 *   KEEPER REAPER QUARANTINE       keeper runs; empty-handed acquirers reap; device work may fail
 *   PERMITS                        headroom: the low class leaves PERMITS records to the high one
 *   DESTROY                        somebody closes the store and collects the records
 *   FIFO                           check the order of service
 *   BUG_...                        a planted bug, see the places marked by the name
 */
#ifndef THREADS
#define THREADS 3
#endif
#ifndef OBJECTS
#define OBJECTS 2
#endif
#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef START_HOME
#define START_HOME SLOTS
#endif
#ifndef START_RETIRING
#define START_RETIRING 0
#endif
#ifndef HIGH
#define HIGH 0
#endif
#ifndef BATCH
#define BATCH 0
#endif
#ifndef TIMED
#define TIMED 0
#endif
#ifndef NOW
#define NOW 0
#endif
#ifndef MARKS
#define MARKS 0
#endif
#ifndef ASYNC
#define ASYNC 0
#endif
#ifndef DOUBLE
#define DOUBLE 0
#endif
#ifndef LIES
#define LIES 0
#endif
#ifndef TRIES
#define TRIES 2
#endif
#if MARKS || START_RETIRING || ASYNC || LIES
#define KEEPER
#endif
#if BATCH
#define PILED
#endif
#if SLOTS == 0
#define SLOT_ROOM 1
#else
#define SLOT_ROOM SLOTS
#endif

/* ---- The words ---- */

#define FREE        1
#define LEASED      2
#define RETIRING    3
#define QUARANTINED 4
#define GONE        5
#define HOME        8

#define WAITING 0
#define GIVEN   1
#define SHUT    2

#define WAITERS THREADS
#define KEEPER_ID    (THREADS)
#define DESTROYER_ID (THREADS + 1)

byte word[OBJECTS + 1]; /* record 0 is the null pointer */
byte slot[SLOT_ROOM];
byte lane;              /* a set of records, as are commons, retired and pile */
byte commons;
byte commons_count;
byte retired;
byte quarantined;
bit  reap_lock;

byte gate;
bit  closed;
bit  locked, pending; /* one word: accessed in one step */
bit  kick;
bit  collect_kick;

byte queue[2 * WAITERS]; /* private to the lock's holder, as is the pile */
byte queued[2];
byte pile;
byte waiter[WAITERS];
byte gift[WAITERS];
#ifdef PERMITS
short available; /* records published and not promised */
bit   paid[WAITERS];
byte  promised; /* ghost: records promised by a permit, or whose permit is on its way back */
#endif
#if DOUBLE
byte generation[OBJECTS + 1]; /* part of the word: compared and changed with it */
byte double_object, double_lease;
#endif
#if ASYNC
byte delivery; /* asynchronous waiters that were given and whose callback the keeper has yet to run */
#endif

/* ---- Ghosts ---- */

#define BY_PILE   60
#define BY_DEVICE 61
#define BY_CLOSER 62

byte holder[OBJECTS + 1]; /* 0: free */
byte moving[OBJECTS + 1]; /* processes whose call in progress answers for the record */
byte settled;             /* records that are free, with nobody answering for them */
byte lies = LIES;
byte finished;
#ifdef DESTROY
byte sections;            /* not a ghost: processes between a word that says HOME and the end of its exchange */
#endif
bit  gone;                /* the destroyer has everything and has returned */
#ifdef FIFO
byte ahead[THREADS];      /* who was queued when this thread's acquire began and still is */
#endif

/* ---- Small words for small things ---- */

#define IN(set, x)  (((set) >> (x)) & 1)
#define SET(x)      (1 << (x))
#define CLASS(w)    (IN(HIGH, w) -> 0 : 1)
#define KEEP(w)     (IN(HIGH, w) -> 0 : PERMITS)
#define IN_A_SLOT(x) (slot[0] == (x) || slot[SLOT_ROOM - 1] == (x))
#define QUEUE_EMPTY (queued[0] + queued[1] == 0)
#define NEED(w)     (1 + IN(BATCH, w))

#if OBJECTS == 1
#define SIZE(set) IN(set, 1)
#elif OBJECTS == 2
#define SIZE(set) (IN(set, 1) + IN(set, 2))
#else
#define SIZE(set) (IN(set, 1) + IN(set, 2) + IN(set, 3))
#endif

/* Any member of a set that is not empty. */
inline pick(set, x)
{
    x = 1;
    do
    :: IN(set, x) -> break
    :: (set) >> (x + 1) -> x++
    od
}

inline pick_slot(s)
{
    if
    :: s = 0
#if SLOTS > 1
    :: s = 1
#endif
    fi
}

inline ghost_taken(x, by)
{
    assert(holder[x] == 0);
    holder[x] = by;
    settled = settled & ~SET(x)
}

/* The calling process answers for x until its call returns. */
inline ghost_freed(x, owner)
{
    assert(holder[x] == owner);
    holder[x] = 0;
#ifdef PERMITS
    if
    :: owner != BY_PILE -> promised++; owes++ /* its permit is yet to come */
    :: else
    fi;
#endif
    moving[x] = moving[x] | SET(id)
}

inline ghost_returned()
{
#ifdef PERMITS
    promised = promised - owes;
    owes = 0;
#endif
    i = 1;
    do
    :: i <= OBJECTS ->
        moving[i] = moving[i] & ~SET(id);
        if
        :: holder[i] == 0 && moving[i] == 0 && !gone -> settled = settled | SET(i)
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

/* ---- Taking ---- */

#if DOUBLE
#define SAME_LEASE(x) (generation[x] == lease)
#define NEW_LEASE(x)  generation[x]++
#else
#define SAME_LEASE(x) true
#define NEW_LEASE(x)  skip
#endif

#ifdef BUG_CLAIM_IGNORES_HOME
#define CLAIMABLE(x) (word[x] == (FREE | HOME) || word[x] == FREE)
#else
#define CLAIMABLE(x) (word[x] == (FREE | HOME))
#endif

/* The compare-and-swap {FREE|HOME} -> {LEASED|HOME} on what a hint names. */
inline claim(by)
{
    atomic {
        if
        :: hint != 0 && CLAIMABLE(hint) ->
            word[hint] = LEASED | HOME;
            NEW_LEASE(hint);
            ghost_taken(hint, by);
            if
            :: IN_A_SLOT(hint) -> moving[hint] = 0
            :: else
            fi;
            found = hint
        :: else
        fi;
        hint = 0
    }
}

/* A record that came out of the lane or the commons has one owner, who needs no compare-and-swap. */
inline own(by)
{
#if !defined(BUG_CLAIM_IGNORES_HOME) && !defined(BUG_HOME_KEPT)
    assert(word[found] == FREE);
#endif
    word[found] = LEASED;
#ifndef BUG_GENERATION_KEPT
    NEW_LEASE(found);
#endif
    ghost_taken(found, by);
    moving[found] = 0
}

inline look(by)
{
    found = 0;
    lied = 0;
    /* The lane. */
    atomic {
        if
        :: lane -> pick(lane, found); lane = lane & ~SET(found); own(by)
        :: else
        fi;
        tries = 0
    }
    /* The commons. */
    do
    :: atomic { found || tries == TRIES -> break }
    :: atomic { !found && tries < TRIES && commons_count == 0 -> break }
    :: atomic { !found && tries < TRIES && commons_count != 0 -> tries++ }
        atomic {
            if
            :: commons && lies -> lies--
            :: commons -> pick(commons, found); commons = commons & ~SET(found); own(by)
            :: commons == 0
            fi
        }
        if
        :: found -> commons_count--
        :: !found -> lied = 1
        fi
    od;
    tries = 0;
#if SLOTS
    /* Everyone's slots. */
    do
    :: atomic { found || at == SLOTS -> at = 0; break }
    :: atomic { !found && at < SLOTS -> hint = slot[at]; at++ }
        if
        :: hint -> claim(by)
        :: !hint
        fi
    od
#endif
}

/* ---- Bringing home ---- */

#ifdef BUG_RETIRING_KEEPS_HOME
#define HOME_IN_USE(w) (((w) & HOME) && (w) != (FREE | HOME) && (w) != (RETIRING | HOME))
#else
#define HOME_IN_USE(w) (((w) & HOME) && (w) != (FREE | HOME))
#endif

inline commons_put(x)
{
#ifdef BUG_COUNT_LATE
    atomic { commons = commons | SET(x) }
    commons_count++
#else
    commons_count++;
    atomic { assert(!IN(commons, x)); commons = commons | SET(x) }
#endif
}

/*
 * `displaced` has just left the slot by this process's exchange: only this process may clear its HOME.
 * A record that is in use goes on without; a free one goes to the commons.
 */
inline unhome()
{
#ifdef BUG_UNHOME_STORE
    seen = word[displaced];
    atomic {
        if
        :: seen == (FREE | HOME) -> word[displaced] = FREE
        :: seen != (FREE | HOME) ->
            word[displaced] = seen & ~HOME;
            moving[displaced] = moving[displaced] & ~SET(id);
            displaced = 0
        fi;
        seen = 0
    }
#else
    atomic {
        assert(!gone);
        if
#ifdef BUG_HOME_KEPT
        :: word[displaced] == (FREE | HOME)
#else
        :: word[displaced] == (FREE | HOME) -> word[displaced] = FREE
#endif
        :: HOME_IN_USE(word[displaced]) ->
#ifndef BUG_LEASED_KEEPS_HOME
            word[displaced] = word[displaced] & ~HOME;
#endif
            moving[displaced] = moving[displaced] & ~SET(id);
            displaced = 0
        :: else ->
#if !defined(BUG_EXCHANGE_FIRST) && !defined(BUG_RETIRING_KEEPS_HOME)
            assert(false); /* a record leaves a slot with HOME, and once */
#endif
            moving[displaced] = moving[displaced] & ~SET(id);
            displaced = 0
        fi
    }
#endif
    if
    :: displaced -> commons_put(displaced); displaced = 0
    :: !displaced
    fi
}

/* slot := x, and what it named before is this process's to deal with. */
inline exchange(x)
{
    atomic {
        assert(!gone);
        displaced = slot[own_slot];
        slot[own_slot] = x;
        if
        :: displaced -> moving[displaced] = moving[displaced] | SET(id); settled = settled & ~SET(displaced)
        :: else
        fi
    }
}

/* {from} -> {to} for a record without HOME; any other word is a misuse. */
inline cas_homeless(x, from, to, owner)
{
    atomic {
        if
        :: word[x] == from && SAME_LEASE(x) -> word[x] = to; ghost_freed(x, owner)
        :: else -> assert(DOUBLE); x = 0
        fi
    }
}

/*
 * Publish x, which the caller owns in state `from`. x = 0 afterwards: the word said otherwise, a misuse.
 * Stays false when the record was home: then there is nothing to place.
 */
inline publish(x, from, owner)
{
    homeless = 0;
    pick_slot(own_slot);
#ifdef BUG_RELEASE_STORE
    seen = word[x];
    if
    :: seen == (from | HOME) -> atomic { word[x] = FREE | HOME; ghost_freed(x, owner) }
    :: seen == from -> homeless = 1
    fi;
    seen = 0;
#else
    atomic {
        if
        :: word[x] == (from | HOME) && SAME_LEASE(x) -> word[x] = FREE | HOME; ghost_freed(x, owner)
        :: word[x] == from && SAME_LEASE(x) -> homeless = 1
        :: else -> assert(DOUBLE); x = 0
        fi
    }
#endif
    if
    :: !homeless
    :: homeless ->
#if SLOTS
        hint = slot[own_slot];
        atomic {
            if
            :: hint == 0 || word[hint] != (FREE | HOME) -> place = 1
            :: else
            fi;
            hint = 0
        }
        if
        :: place ->
            place = 0;
#ifdef DESTROY
            sections = sections | SET(id);
#endif
#ifdef BUG_EXCHANGE_FIRST
            exchange(x);
            cas_homeless(x, from, FREE | HOME, owner);
            if
            :: displaced -> unhome()
            :: !displaced
            fi;
#else
            cas_homeless(x, from, FREE | HOME, owner);
            if
            :: x ->
                exchange(x);
                if
                :: displaced -> unhome()
                :: !displaced
                fi
            :: !x
            fi;
#endif
#ifdef DESTROY
            sections = sections & ~SET(id)
#endif
        :: !place ->
#endif
            cas_homeless(x, from, FREE, owner);
            if
            :: x -> commons_put(x)
            :: !x
            fi
#if SLOTS
        fi
#endif
    fi;
    homeless = 0;
    own_slot = 0
}

/* After publishing: a permit for whoever waits for one. */
#ifdef PERMITS
inline permit_back(count)
{
    available = available + (count)
}
#endif

/* ---- The queue ---- */

inline append(w)
{
    queue[CLASS(w) * WAITERS + queued[CLASS(w)]] = w;
    queued[CLASS(w)]++
}

inline detach(w)
{
    i = CLASS(w) * WAITERS;
    do
    :: queue[i] == w -> break
    :: else -> i++
    od;
    do
    :: i + 1 < CLASS(w) * WAITERS + queued[CLASS(w)] -> queue[i] = queue[i + 1]; i++
    :: else -> break
    od;
    queue[i] = 0;
    queued[CLASS(w)]--;
#ifdef FIFO
    i = 0;
    do
    :: i < THREADS -> ahead[i] = ahead[i] & ~SET(w); i++
    :: else -> break
    od;
#endif
    i = 0
}

#ifdef PERMITS
/* A permit for everything that w wants, if that leaves the headroom of its class. */
inline pay(w)
{
    atomic {
        if
        :: available - NEED(w) >= KEEP(w) ->
            available = available - NEED(w);
            paid[w] = 1;
            promised = promised + NEED(w)
        :: else
        fi
    }
}

/* Only under the lock, or before a hand-off. */
inline pay_back(w)
{
    if
    :: atomic { paid[w] -> paid[w] = 0; available = available + NEED(w); promised = promised - NEED(w) }
    :: atomic { !paid[w] -> skip }
    fi
}

/* w sleeps rightly while records are free: what nobody answers for is promised, or headroom. */
#define UNPAID(w) (!paid[w] && SIZE(settled) < promised + NEED(w) + KEEP(w))
#else
#define UNPAID(w) false
#endif

/* The lock is held. Serve the queue until it, or the store, has nothing left. */
inline serve()
{
    do
    :: atomic { QUEUE_EMPTY -> head = 0; break }
    :: atomic { !QUEUE_EMPTY -> head = (queued[0] -> queue[0] : queue[WAITERS]) }
#ifdef PERMITS
        if
        :: atomic { paid[head] -> skip }
        :: atomic { !paid[head] -> skip }
            pay(head)
        fi;
        if
        :: atomic { paid[head] -> skip }
        :: atomic { !paid[head] -> head = 0; break }
        fi;
#endif
        do
        :: atomic { SIZE(pile) >= NEED(head) -> break }
        :: atomic { SIZE(pile) < NEED(head) -> skip }
            look(BY_PILE);
            atomic {
                if
                :: found -> pile = pile | SET(found); found = 0
                :: else -> break
                fi
            }
        od;
        if
        :: atomic { SIZE(pile) < NEED(head) -> head = 0 }
            if
            :: lied -> kick = 1; lied = 0
            :: !lied
            fi;
            break
        :: atomic { SIZE(pile) >= NEED(head) ->
#ifdef FIFO
                assert((ahead[head] & (CLASS(head) -> ~(HIGH) : HIGH)) == 0);
#endif
                detach(head);
#ifdef PERMITS
                paid[head] = 0;
                promised = promised - NEED(head)
#endif
            }
            gate--;
            atomic { /* the objects are written first; this is the futex word */
                tries = NEED(head);
                do
                :: tries ->
                    pick(pile, found);
                    pile = pile & ~SET(found);
                    holder[found] = head + 1;
                    gift[head] = gift[head] | SET(found);
                    tries--
                :: else -> break
                od;
                found = 0;
                waiter[head] = GIVEN
            }
#if ASYNC
            if
            :: IN(ASYNC, head) ->
#ifdef BUG_KICK_BEFORE_DELIVERY
                kick = 1; delivery = delivery | SET(head)
#else
                delivery = delivery | SET(head); kick = 1
#endif
            :: !IN(ASYNC, head)
            fi;
#endif
            head = 0
#ifdef BUG_SERVE_ONE
            ; break
#endif
        fi
    od;
#if defined(PILED) && !defined(BUG_PILE_KEPT)
    /* Nobody is left to gather for. Before the lock is free: an object in the pile is out of sight. */
    do
    :: atomic { !QUEUE_EMPTY || pile == 0 -> break }
    :: atomic { QUEUE_EMPTY && pile -> pick(pile, object); pile = pile & ~SET(object) }
        /* The permits for these went back when their waiter gave up, so publishing raises nothing. */
        publish(object, LEASED, BY_PILE);
#ifdef BUG_PILE_RAISES
        permit_back(1);
#endif
        object = 0
    od
#endif
}

/* Unless somebody holds the lock and so will look again: whoever sleeps now sleeps rightly. */
inline assert_exact()
{
    assert(locked || QUEUE_EMPTY || settled == 0 || lies < LIES || UNPAID((queued[0] -> queue[0] : queue[WAITERS])))
}

/* Leave the lock: serve, and free it only if nobody has set PENDING meanwhile. */
inline leave()
{
#if defined(BUG_PENDING_IGNORED)
    pending = 0;
    serve();
    locked = 0
#elif defined(BUG_PENDING_BEFORE_UNLOCK)
    do
    :: pending = 0;
        serve();
        if
        :: pending
        :: !pending -> break
        fi
    od;
    locked = 0
#else
    do
    :: pending = 0;
        serve();
        atomic {
            if
            :: pending
            :: else ->
                ghost_returned();
                locked = 0;
                assert_exact();
                break
            fi
        }
    od
#endif
}

/* One fetch_or(LOCKED | PENDING). Found it locked: the holder serves. */
inline hand_off()
{
    atomic { busy = locked; locked = 1; pending = 1 }
    if
    :: busy -> busy = 0
    :: !busy -> leave()
    fi
}

inline after_publish()
{
#ifdef BUG_GATE_FIRST
    if
    :: early -> early = 0; hand_off()
    :: !early
    fi;
#else
    if
    :: gate -> hand_off()
    :: !gate
    fi;
#endif
#ifdef DESTROY
    if
    :: closed -> collect_kick = 1
    :: !closed
    fi;
#endif
    atomic { ghost_returned(); assert_exact() }
}

/* ---- Bringing home what the device had ---- */

/* The reap lock is held. x leaves the retire queue and is published; the keeper has the lane. */
inline reap_one(lane_too)
{
    atomic { pick(retired, object); retired = retired & ~SET(object) }
    if
    :: lane_too ->
        atomic {
            if
            :: word[object] == (RETIRING | HOME) -> word[object] = FREE | HOME; ghost_freed(object, BY_DEVICE); lane_put = 0
            :: word[object] == RETIRING -> lane_put = 1
            :: else -> assert(false)
            fi
        }
        if
        :: lane_put ->
            lane_put = 0;
            atomic { assert(word[object] == RETIRING); word[object] = FREE; ghost_freed(object, BY_DEVICE) }
            lane = lane | SET(object)
        :: !lane_put
        fi;
#ifdef PERMITS
        permit_back(1)
#endif
    :: !lane_too ->
        publish(object, RETIRING, BY_DEVICE)
#ifdef PERMITS
        ; permit_back(1)
#endif
#ifdef QUARANTINE
    :: atomic { /* the device work failed; the state changes, HOME does not */
            word[object] = QUARANTINED | (word[object] & HOME);
            holder[object] = BY_DEVICE
        }
        quarantined++
#endif
    fi;
    object = 0
}

#define WORK_VARIABLES                                                                             \
    byte id, i, at, tries, hint, found, displaced, own_slot, object, head, seen, owes, lease;      \
    bit lied, homeless, place, busy, early, lane_put

/* ---- A thread that acquires and releases ---- */

proctype worker(byte me)
{
    WORK_VARIABLES;
    byte rounds = ROUNDS, mine;
    bit leaving, empty_handed, in_lock;
    id = me;
    do
    :: atomic { rounds == 0 -> break }
    :: atomic { rounds > 0 -> rounds--; mine = 0; empty_handed = 0
#ifdef FIFO
            ; i = 0;
            ahead[me] = 0;
            do
            :: i < queued[CLASS(me)] -> ahead[me] = ahead[me] | SET(queue[CLASS(me) * WAITERS + i]); i++
            :: else -> break
            od;
            i = 0
#endif
        }
        /* The hit, and the look of a miss. Batches and asynchronous waiters queue at once. */
#if BATCH || ASYNC
        if
        :: atomic { IN(BATCH, me) || IN(ASYNC, me) -> skip }
        :: atomic { !IN(BATCH, me) && !IN(ASYNC, me) -> skip }
#endif
#ifdef BUG_BARGING
        if
        :: true ->
#else
        if
        :: atomic { gate -> skip }
        :: atomic { !gate -> skip }
#endif
#ifdef PERMITS
            pay(me);
            if
            :: atomic { !paid[me] -> skip }
            :: atomic { paid[me] -> skip }
#endif
#if SLOTS
            pick_slot(at);
            hint = slot[at];
            at = 0;
            claim(me + 1);
            if
            :: found
            :: !found -> look(me + 1)
            fi;
#else
            look(me + 1);
#endif
            atomic {
                lied = 0;
                if
                :: found -> mine = SET(found); found = 0
#ifdef FIFO
                    ; assert((ahead[me] & (CLASS(me) -> ~(HIGH) : HIGH)) == 0)
#endif
                :: else
                fi
#ifdef PERMITS
                ; if
                :: mine -> paid[me] = 0; promised--
                :: else
                fi
#endif
            }
#ifdef PERMITS
            if
            :: mine
            :: !mine -> /* a permit given back is news for whoever waits for one */
                atomic { paid[me] = 0; available++; owes++ }
#ifndef BUG_PERMIT_BACK_SILENT
                if
                :: gate -> hand_off()
                :: !gate
                fi;
#endif
                atomic { ghost_returned(); assert_exact() }
            fi
            fi
#endif
        fi;
#if BATCH || ASYNC
        fi;
#endif
#ifdef REAPER
        /* Empty-handed: bring home what the device has finished with, if nobody else is at it. */
        if
        :: mine || retired == 0
        :: atomic { !mine && retired && !reap_lock -> reap_lock = 1 }
            do
            :: atomic { retired == 0 -> break }
            :: retired -> reap_one(false); in_lock = 1
            :: break
            od;
            reap_lock = 0;
            if
            :: in_lock -> in_lock = 0; after_publish()
            :: !in_lock
            fi
        :: !mine && retired && reap_lock
        fi;
#endif
        leaving = 0;
        do
        :: atomic { mine || empty_handed -> break }
        :: atomic { !mine && !empty_handed -> skip }
            /* Enter the lock, to queue or, later, to leave the queue. */
            in_lock = 0;
            if
            :: atomic { !locked -> locked = 1; in_lock = 1 }
            :: atomic { IN(TIMED, me) && !leaving -> empty_handed = 1 } /* the deadline holds here too */
            fi;
            if
            :: !in_lock
            :: in_lock ->
                in_lock = 0;
                if
                :: leaving ->
                    /* Given meanwhile: keep it. */
                    if
                    :: waiter[me] != WAITING
                    :: waiter[me] == WAITING ->
                        atomic { detach(me); empty_handed = 1 }
                        gate--;
#ifdef PERMITS
                        pay_back(me)
#endif
                    fi
                :: !leaving ->
                    if
                    :: closed -> empty_handed = 1
                    :: !closed ->
                        atomic { append(me); waiter[me] = WAITING; gift[me] = 0 }
#ifndef BUG_GATE_LATE
                        gate++;
#endif
#if NOW
                        if
                        :: atomic { !IN(NOW, me) -> skip }
                        :: atomic { IN(NOW, me) -> skip }
                            do
                            :: pending = 0;
                                serve();
                                if
                                :: atomic { waiter[me] != WAITING -> break }
                                :: atomic { waiter[me] == WAITING -> skip }
                                    atomic {
                                        if
#ifndef BUG_NOW_ONE_LOOK
                                        :: pending
#endif
                                        :: !pending ->
                                            ghost_returned();
                                            assert(settled == 0 || lies < LIES || UNPAID(me));
                                            break
#ifdef BUG_NOW_ONE_LOOK
                                        :: pending ->
                                            ghost_returned();
                                            assert(settled == 0 || lies < LIES || UNPAID(me));
                                            break
#endif
                                        fi
                                    }
                                fi
                            od;
                            if
                            :: atomic { waiter[me] != WAITING -> skip }
                            :: atomic { waiter[me] == WAITING -> detach(me); empty_handed = 1 }
                                gate--;
#ifdef PERMITS
                                pay_back(me)
#endif
                            fi
                        fi
#endif
                    fi
                fi;
                leave();
#ifdef BUG_GATE_LATE
                if
                :: atomic { leaving || empty_handed -> skip }
                :: atomic { !leaving && !empty_handed -> gate++ }
                fi
#endif
            fi;
            /* Sleep on the waiter's word. */
            if
            :: atomic { empty_handed -> skip }
            :: atomic { !empty_handed && !IN(ASYNC, me) && waiter[me] == GIVEN -> mine = gift[me]; gift[me] = 0; waiter[me] = 0 }
            :: atomic { !empty_handed && waiter[me] == SHUT -> empty_handed = 1; waiter[me] = 0 }
            :: atomic { !empty_handed && !leaving && IN(TIMED, me) ->
#ifdef BUG_TIMEOUT_UNLOCKED
                    skip }
                if
                :: waiter[me] == WAITING ->
                    atomic { !locked -> locked = 1 }
                    atomic {
                        if
                        :: waiter[me] == WAITING -> detach(me); gate--
                        :: else
                        fi;
                        empty_handed = 1
                    }
                    leave()
                :: waiter[me] != WAITING
                fi
#else
                    leaving = 1 }
#endif
#if ASYNC
            :: atomic { !empty_handed && IN(ASYNC, me) -> empty_handed = 1; rounds = 0 } /* the keeper does the rest */
#endif
            fi;
#ifdef BUG_TIMEOUT_DROPS_GIFT
            if
            :: atomic { leaving && mine -> mine = 0; empty_handed = 1 }
            :: atomic { else -> skip }
            fi
#endif
        od;
        leaving = 0;
        /* Leased. Give it back. */
        do
        :: atomic { mine == 0 -> break }
        :: atomic { mine -> pick(mine, object); mine = mine & ~SET(object); assert(holder[object] == me + 1) }
#if MARKS
            if
            :: atomic { !IN(MARKS, me) -> skip }
            :: atomic { IN(MARKS, me) ->
                    assert((word[object] & 7) == LEASED);
                    word[object] = RETIRING | (word[object] & HOME);
                    holder[object] = BY_DEVICE
                }
                atomic { retired = retired | SET(object); object = 0 }
            fi;
            if
            :: atomic { !object -> skip }
            :: atomic { object -> skip }
#endif
#ifdef BUG_GATE_FIRST
            early = (gate != 0);
#endif
#if DOUBLE
            atomic {
                lease = generation[object];
                if
                :: IN(DOUBLE, me) -> double_object = object; double_lease = lease
                :: else
                fi
            }
#endif
            publish(object, LEASED, me + 1);
#ifdef PERMITS
            permit_back(1);
#endif
            object = 0;
            after_publish()
#if MARKS
            fi
#endif
        od
    od;
    finished++
}

#ifdef KEEPER
/* Looks again after a lie, brings finished records home by the lane, and runs callbacks. */
proctype keeper()
{
    WORK_VARIABLES;
#if ASYNC
    byte who, mine;
#endif
    id = KEEPER_ID;
end:
    do
#ifndef BUG_NO_KEEPER
    :: atomic { kick -> kick = 0 }
#if ASYNC
        do
        :: atomic { delivery == 0 -> break }
        :: atomic { delivery ->
                who = 0;
                do
                :: IN(delivery, who) -> break
                :: else -> who++
                od;
                delivery = delivery & ~SET(who);
                mine = gift[who];
                gift[who] = 0
            }
            do
            :: atomic { mine == 0 -> break }
            :: atomic { mine -> pick(mine, object); mine = mine & ~SET(object) }
                publish(object, LEASED, who + 1);
                object = 0;
                after_publish()
            od;
            who = 0
        od;
#endif
        if
        :: gate -> hand_off()
        :: !gate
        fi
#endif
    :: atomic { retired && !reap_lock -> reap_lock = 1 }
        reap_one(true);
        reap_lock = 0;
#ifdef BUG_LANE_SILENT
        atomic { ghost_returned(); assert_exact() }
#else
        after_publish()
#endif
    od
}
#endif

#if DOUBLE
/* Releases once more what a worker is releasing, at any time: one of the two succeeds, the other does nothing. */
proctype doubler()
{
    WORK_VARIABLES;
    id = KEEPER_ID;
    atomic { double_object -> object = double_object; lease = double_lease }
    publish(object, LEASED, 1);
    object = 0;
    after_publish();
    finished++
}
#endif

#ifdef DESTROY
/*
 * Closes the gate, ends the sleepers, and takes what is free until everything is here: out of the lane, out of
 * the commons, and every record that is FREE|HOME by its word, wherever it is. Then a grace period.
 */
proctype destroyer()
{
    WORK_VARIABLES;
    byte out;
    id = DESTROYER_ID;
    atomic { !locked -> locked = 1 }
    atomic { /* the CLOSED bit: the gate never falls to 0 again */
        gate++;
#ifndef BUG_DESTROY_OPEN
        closed = 1
#endif
    }
    do
    :: atomic { QUEUE_EMPTY -> break }
    :: atomic { !QUEUE_EMPTY -> head = (queued[0] -> queue[0] : queue[WAITERS]); detach(head) }
        gate--;
#ifdef PERMITS
        pay_back(head);
#endif
        atomic { waiter[head] = SHUT; head = 0 }
    od;
    leave();
    do
    :: collect_kick = 0;
        do
        :: atomic { lane == 0 -> break }
        :: atomic { lane ->
                pick(lane, found);
                lane = lane & ~SET(found);
                own(BY_CLOSER);
                word[found] = GONE;
                found = 0
            }
        od;
        do
        :: commons_count == 0 -> break
        :: commons_count != 0 ->
            atomic {
                if
                :: commons && lies -> lies--; collect_kick = 1; break
                :: commons -> pick(commons, found); commons = commons & ~SET(found); own(BY_CLOSER); word[found] = GONE
                :: commons == 0 -> collect_kick = 1; break
                fi
            }
            commons_count--;
            found = 0
        od;
        found = 0;
        out = 0;
        at = 1;
        do
        :: atomic { at > OBJECTS -> at = 0; break }
        :: atomic { at <= OBJECTS ->
                if
                :: word[at] == (FREE | HOME) -> word[at] = GONE | HOME; ghost_taken(at, BY_CLOSER)
                :: (word[at] & ~HOME) == GONE || (word[at] & ~HOME) == QUARANTINED
                :: else -> out++
                fi;
                at++
            }
        od;
        if
        :: atomic { out == 0 -> break }
        :: atomic { out != 0 -> skip }
            collect_kick /* whoever brings a record home kicks a closed store's monitor */
        fi
    od;
#ifndef BUG_NO_GRACE
    /* A releaser may still hold a record that it took out of a slot, or is about to put into one. */
    do
    :: atomic { i == DESTROYER_ID -> i = 0; break }
    :: atomic { i < DESTROYER_ID && !IN(sections, i) -> i++ }
    od;
#endif
    atomic {
        /* The records go to another pool: words and slots are set anew, by plain stores. */
        gone = 1;
        i = 1;
        do
        :: i <= OBJECTS ->
            assert((word[i] & ~HOME) == QUARANTINED || holder[i] == BY_CLOSER);
            assert(!(word[i] & HOME) == !IN_A_SLOT(i));
            assert(!IN(commons, i) && !IN(lane, i) && !IN(retired, i) && !IN(pile, i));
            i++
        :: else -> break
        od;
        i = 0
    }
    finished++
}
#endif

/* ---- Start, and rest ---- */

init
{
    byte x, s;
    bit in_slot, in_set;
    atomic {
        x = 1;
        do
        :: x <= OBJECTS ->
            if
            :: x <= START_HOME -> word[x] = FREE | HOME; slot[x - 1] = x; settled = settled | SET(x)
            :: x > START_HOME && x <= START_HOME + START_RETIRING ->
                word[x] = RETIRING; holder[x] = BY_DEVICE; retired = retired | SET(x)
            :: else -> word[x] = FREE; commons = commons | SET(x); commons_count++; settled = settled | SET(x)
            fi;
            x++
        :: else -> break
        od;
#ifdef PERMITS
        available = OBJECTS - START_RETIRING;
#endif
        x = 0;
        do
        :: x < THREADS -> run worker(x); x++
        :: else -> break
        od;
#ifdef KEEPER
        run keeper();
#endif
#if DOUBLE
        run doubler();
#endif
#ifdef DESTROY
        run destroyer();
#endif
        x = 0
    }
    /* Nothing can move any more: everyone has finished, and every record is where an acquire finds it. */
    timeout;
#if DOUBLE
    finished--;
#endif
#ifdef DESTROY
    assert(gone);
    gate--;
    finished--;
#endif
    assert(finished == THREADS);
    assert(gate == 0 && pile == 0 && QUEUE_EMPTY && retired == 0);
    assert(!locked && !reap_lock);
    assert(commons_count == SIZE(commons));
    if
    :: gone
    :: !gone ->
#ifdef PERMITS
        assert(available == OBJECTS - quarantined);
#endif
        x = 1;
        do
        :: x > OBJECTS -> break
        :: x <= OBJECTS ->
            in_slot = (SLOTS > 0 && IN_A_SLOT(x));
            in_set = (IN(commons, x) || IN(lane, x));
            assert(!(IN(commons, x) && IN(lane, x)));
            if
            :: word[x] == (FREE | HOME) -> assert(in_slot && !in_set)
            :: word[x] == FREE -> assert(in_set && !in_slot)
            :: word[x] == QUARANTINED -> assert(!in_slot && !in_set)
            :: word[x] == (QUARANTINED | HOME) -> assert(in_slot && !in_set)
            :: else -> assert(false)
            fi;
            x++
        od
    fi
}
