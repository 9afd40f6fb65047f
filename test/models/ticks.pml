/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ticks.pml - when the device has finished with a buffer (lib/pool/ticks.h, ticks.c)
 *
 * What is modelled
 *   Issue, close, release, reap and the keeper's visit, by the letters of ticks.c: the ring whose slots say
 *   2t (free for tick t) or 2t+1 (published), taken by a compare-and-swap on `open`, given back in order;
 *   the inbox, the buckets by tick and `ready`; arming against disarming; threads that sleep until a stream has
 *   passed a tick, and close it themselves under handle_lock; a record or query that fails; the loss of the
 *   device; the end of a stream; adopted streams; a buffer used by several streams, which waits for each in turn.
 *   The device is a queue for each stream. An event is the number of operations in front of it, so an event
 *   that was never recorded, or not yet again, answers "done", as the driver does.
 *
 * How it is written
 *   Every step between two semicolons is one shared access; an atomic block holds one shared access plus
 *   private and ghost bookkeeping. What only the holder of reap_lock touches moves with his next step. The
 *   inbox is a set. The keeper sleeps until it is kicked or, while something is pending, for a period: it goes
 *   round again once anything has changed, which `stale` says. So a visit that achieves nothing is not repeated,
 *   and what nobody will ever do shows as a state in which nothing moves.
 *
 * What is asserted
 *   safety      a buffer comes home, and a sleeper returns, only when the device has done all their work
 *   handles     no event is recorded on a handle that is destroyed
 *   fail closed a buffer ends in quarantine only if its stream failed; nothing is left in RETIRING
 *   liveness    when nothing can move any more everyone has finished, all lists are empty, no stream is armed,
 *               and a stream that was ended is drained
 *
 * Assumed: sequential consistency; one thread at a time uses a lease (marks of one buffer by many: marks.pml);
 * the store behind "come home" is store_home.pml's.
 *
 * Shape
 *   USERS BUFFERS STREAMS ROUNDS OPERATIONS    sizes: one buffer, or one for each user or round; the
 *                                   operations of one lease are each on any stream
 *   TWICE                           mask of users: one operation more
 *   RING BATCH                      events in flight; operations after which an issuer closes the tick
 *   ADOPTED SYNC TIMED              mask of streams; masks of users: may sleep for his work; with a deadline
 *   REAPER                          empty-handed users reap
 *   FAILS LOST END WATCH            failures of driver calls; the device may be lost; the streams are ended;
 *                                   a released stream is polled until it has drained
 *   HELD                            the stream is a graph's: no handle, it passes by its owner's word; a buffer each
 *   BUG_...                         a planted bug, see the places marked by the name
 */
#ifndef USERS
#define USERS 2
#endif
#ifndef BUFFERS
#define BUFFERS 1
#endif
#ifndef STREAMS
#define STREAMS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef OPERATIONS
#define OPERATIONS 1
#endif
#ifndef TWICE
#define TWICE 0
#endif
#ifndef RING
#define RING 2
#endif
#ifndef BATCH
#define BATCH 2
#endif
#ifndef ADOPTED
#define ADOPTED 0
#endif
#ifndef SYNC
#define SYNC 0
#endif
#ifndef TIMED
#define TIMED 0
#endif
#ifndef FAILS
#define FAILS 0
#endif
#define BUCKETS (RING + 2)

/* ---- The words ---- */

#define FREE        0
#define LEASED      1
#define RETIRING    2
#define QUARANTINED 3

byte open[STREAMS];
byte passed[STREAMS];
byte slot[STREAMS * RING]; /* 2t or 2t+1 */
byte ops[STREAMS];
byte latest[STREAMS]; /* the tick of the latest work, as the mark of a buffer */
bit  failed[STREAMS];
bit  gone[STREAMS];
#ifdef WATCH
bit  drain[STREAMS]; /* poll until all is done, though nobody waits for it */
#endif
byte inbox[STREAMS]; /* sets of buffers, as are bucket and ready */
bit  armed[STREAMS];
byte sleepers[STREAMS], advanced[STREAMS];
byte asleep[STREAMS]; /* users that the kernel holds on `advanced` */
bit  handle_lock[STREAMS];
bit  reap_lock[STREAMS];
byte recycled[STREAMS];
byte bucket[STREAMS * BUCKETS];
byte ready[STREAMS];
byte waiting[STREAMS];

byte state[BUFFERS];
byte mark[BUFFERS * STREAMS];

bit  kick;
bit  stale;

/* ---- The device ---- */

byte queued[STREAMS];
byte finished[STREAMS];
byte event[STREAMS * RING]; /* how many operations are in front of it */
bit  dead[STREAMS];         /* the handle is destroyed */
bit  lost;
byte fails = FAILS;

/* ---- Ghosts ---- */

byte used[BUFFERS * STREAMS]; /* the last operation that uses the buffer */
byte ended;
byte quiet; /* users who issue nothing any more */

/* ---- Small words for small things ---- */

#define IN(set, x)    (((set) >> (x)) & 1)
#define SET(x)        (1 << (x))
#define SLOT(s, t)    ((s) * RING + (t) % RING)
#define BUCKET(s, t)  ((s) * BUCKETS + (t) % BUCKETS)
#define MARK(b, s)    ((b) * STREAMS + (s))
#define OWN           ((USERS == 1 -> rounds : me) % BUFFERS)
#define NEWS          stale = 1
#define STUCK         (lost || failed[0] || failed[STREAMS - 1])

inline come_home(b)
{
    atomic {
        assert(state[b] == RETIRING);
        k = 0;
        do
        :: k < STREAMS ->
            assert(used[MARK(b, k)] <= finished[k]);
            used[MARK(b, k)] = 0;
            mark[MARK(b, k)] = 0;
            k++
        :: else -> break
        od;
        k = 0;
        state[b] = FREE
    }
}

/* After `passed` or `failed`. */
inline wake_sleepers(s)
{
#if SYNC
    atomic { advanced[s]++; NEWS }
    if
    :: sleepers[s] -> asleep[s] = 0
    :: !sleepers[s]
    fi
#else
    skip
#endif
}

inline fail(s)
{
    atomic { failed[s] = 1; NEWS }
    wake_sleepers(s);
    atomic { armed[s] = 1; NEWS }
    kick = 1
}

/* ---- Close ---- */

/* C0 and C1: take the open tick if the ring has its slot free. no_slot: it has not, and the tick stays open. */
inline take_tick(s)
{
    t = open[s];
    do
    :: atomic { slot[SLOT(s, t)] != 2 * t -> skip }
        if
        :: atomic { open[s] == t -> no_slot = 1; break }
        :: atomic { open[s] != t -> t = open[s] }
        fi
    :: atomic { slot[SLOT(s, t)] == 2 * t -> skip }
#ifdef BUG_RECORD_FIRST
        event[SLOT(s, t)] = queued[s];
#endif
        atomic {
            if
            :: open[s] == t -> open[s]++; NEWS; break
            :: else -> t = open[s]
            fi
        }
    od
}

/* C3 and C4. A failed record publishes nothing. */
inline record_tick(s)
{
#ifdef BUG_PUBLISH_FIRST
    atomic { slot[SLOT(s, t)] = 2 * t + 1; NEWS }
#endif
    if
    :: atomic { !lost ->
            assert(!dead[s]);
#ifndef BUG_RECORD_FIRST
            event[SLOT(s, t)] = queued[s]
#endif
        }
#ifndef BUG_PUBLISH_FIRST
        atomic { slot[SLOT(s, t)] = 2 * t + 1; NEWS }
#endif
    :: atomic { lost || fails -> fails = (lost -> fails : fails - 1) }
#ifdef BUG_FAILED_PUBLISHED
        atomic { slot[SLOT(s, t)] = 2 * t + 1; NEWS }
#else
        fail(s)
#endif
    fi
}

inline close(s)
{
    no_slot = 0;
    if
    :: failed[s]
    :: !failed[s] ->
        take_tick(s);
        if
        :: no_slot
        :: !no_slot ->
            ops[s] = 0;
            record_tick(s)
        fi
    fi;
    t = 0
}

/* ---- Issue ---- */

/* I1 to I5. b is leased, and s is neither gone nor anybody's to end. */
inline issue(b, s)
{
#ifdef HELD
    /* One thread at a time uses a graph. */
    atomic {
        queued[s]++;
        used[MARK(b, s)] = queued[s];
        mark[MARK(b, s)] = (mark[MARK(b, s)] < open[s] -> open[s] : mark[MARK(b, s)])
    }
#else
#ifdef BUG_READ_FIRST
    tick = open[s];
#endif
    atomic { queued[s]++; used[MARK(b, s)] = queued[s]; mine = queued[s] }
#ifndef BUG_READ_FIRST
    tick = open[s];
#endif
    atomic { mark[MARK(b, s)] = (mark[MARK(b, s)] < tick -> tick : mark[MARK(b, s)]) }
#if SYNC
    atomic { latest[s] = (latest[s] < tick -> tick : latest[s]); tick = 0 }
#else
    tick = 0;
#endif
    atomic { ops[s]++; due = (ops[s] >= BATCH || IN(ADOPTED, s)) }
#ifdef BUG_ADOPTED_BATCH
    due = (due && ops[s] >= BATCH);
#endif
    if
    :: due ->
        due = 0;
        close(s);
#if ADOPTED && !defined(BUG_ADOPTED_FULL)
        /* Nobody else may record here, so a full ring is back-pressure. */
        do
        :: atomic { !no_slot || !IN(ADOPTED, s) -> break }
        :: atomic { no_slot && IN(ADOPTED, s) -> skip }
#ifdef BUG_ADOPTED_WAITS
            /* Until the next tick passes: it may be the open one. */
            atomic { tick = passed[s] + 1; due = 1 }
            wait(s);
            tick = 0;
            due = 0;
#else
            await_slot(s);
#endif
            close(s)
        od;
#endif
        no_slot = 0
    :: !due
    fi
#endif
}

/* Sleep until the ring has a slot for the open tick. Arming makes the keeper poll, and the sleeper's count keeps it so. */
inline await_slot(s)
{
    atomic { sleepers[s]++; armed[s] = 1; kick = 1; NEWS }
    atomic { slot[SLOT(s, open[s])] == 2 * open[s] || failed[s] -> sleepers[s]-- }
}

/* ---- Release ---- */

/* R1: the first stream whose mark has not passed; STREAMS: none. */
inline find_pending(b)
{
    to = 0;
    do
    :: atomic { to == STREAMS -> break }
    :: atomic { to < STREAMS && mark[MARK(b, to)] <= passed[to] -> to++ }
    :: atomic { to < STREAMS && mark[MARK(b, to)] > passed[to] -> break }
    od
}

inline arm(s)
{
    if
    :: armed[s]
    :: !armed[s] ->
        atomic { was = armed[s]; armed[s] = 1; NEWS }
        if
        :: atomic { was -> was = 0 }
#ifdef BUG_NO_KICK
        :: atomic { !was -> skip }
#else
        :: atomic { !was -> kick = 1 }
#endif
        fi
    fi
}

/* b is RETIRING and the caller's: to the next stream, or home. R2, then R3. */
inline retire(b)
{
    find_pending(b);
    if
    :: to == STREAMS -> come_home(b)
    :: to < STREAMS ->
#ifdef BUG_ARM_FIRST
        arm(to);
        atomic { inbox[to] = inbox[to] | SET(b); NEWS }
#else
        atomic { inbox[to] = inbox[to] | SET(b); NEWS }
        arm(to)
#endif
    fi;
    to = 0
}

/* ---- Reap; reap_lock is held ---- */

inline harvest(s)
{
    atomic {
        k = 0;
        do
        :: k < BUFFERS ->
            if
            :: IN(inbox[s], k) ->
                assert(state[k] == RETIRING);
                if
                :: mark[MARK(k, s)] <= passed[s] -> ready[s] = ready[s] | SET(k)
                :: else -> bucket[BUCKET(s, mark[MARK(k, s)])] = bucket[BUCKET(s, mark[MARK(k, s)])] | SET(k)
                fi;
                waiting[s]++;
                NEWS
            :: else
            fi;
            k++
        :: else -> break
        od;
        k = 0;
        inbox[s] = 0
    }
}

inline send_home(s, list)
{
    atomic { going = list; list = 0 }
    do
    :: atomic { going == 0 -> break }
    :: atomic { going ->
            do
            :: IN(going, b) -> break
            :: else -> b++
            od;
            going = going & ~SET(b);
            waiting[s]--;
            NEWS
        }
#ifdef BUG_ONE_STREAM
        come_home(b);
#else
        retire(b);
#endif
        b = 0
    od
}

/* Give back the slots of passed ticks, in order, as far as they are published. */
inline recycle(s)
{
    do
    :: atomic { recycled[s] >= passed[s] -> break }
#ifdef BUG_RECYCLE_UNPUBLISHED
    :: atomic { recycled[s] < passed[s] ->
            recycled[s]++;
            slot[SLOT(s, recycled[s])] = 2 * (recycled[s] + RING);
            NEWS
        }
#else
    :: atomic { recycled[s] < passed[s] && slot[SLOT(s, recycled[s] + 1)] != 2 * (recycled[s] + 1) + 1 ->
#ifdef BUG_RECYCLE_SKIPS
            recycled[s]++
#else
            break
#endif
        }
    :: atomic { recycled[s] < passed[s] && slot[SLOT(s, recycled[s] + 1)] == 2 * (recycled[s] + 1) + 1 ->
            recycled[s]++;
            slot[SLOT(s, recycled[s])] = 2 * (recycled[s] + RING);
            room = 1;
            NEWS
        }
#endif
    od
}

inline quarantine(s)
{
    atomic {
        k = 0;
        going = ready[s];
        do
        :: k < BUCKETS -> going = going | bucket[s * BUCKETS + k]; bucket[s * BUCKETS + k] = 0; k++
        :: else -> break
        od;
        ready[s] = 0;
        k = 0;
        do
        :: k < BUFFERS ->
            if
            :: IN(going, k) -> assert(state[k] == RETIRING); state[k] = QUARANTINED; waiting[s]--; NEWS
            :: else
            fi;
            k++
        :: else -> break
        od;
        k = 0;
        going = 0
    }
}

/* P2: the oldest or the newest tick that is published; 0: none. Gaps are skipped: a later event covers them. */
inline find_published(s)
{
    limit = open[s];
    if
    :: atomic { !newest -> t = passed[s] + 1 }
        do
        :: atomic { t >= limit -> t = 0; break }
        :: atomic { t < limit && slot[SLOT(s, t)] == 2 * t + 1 -> break }
        :: atomic { t < limit && slot[SLOT(s, t)] != 2 * t + 1 -> t++ }
        od
    :: atomic { newest -> t = limit - 1 }
        do
        :: atomic { t <= passed[s] -> t = 0; break }
        :: atomic { t > passed[s] && slot[SLOT(s, t)] == 2 * t + 1 -> break }
        :: atomic { t > passed[s] && slot[SLOT(s, t)] != 2 * t + 1 -> t-- }
        od
    fi;
    limit = 0
}

inline advance(s)
{
#ifdef BUG_WAKE_FIRST
    wake_sleepers(s);
#endif
    atomic { from = passed[s] + 1; passed[s] = t; NEWS }
    recycle(s);
    do
    :: atomic { from > t -> from = 0; room = 0; break }
    :: atomic { from <= t -> skip }
        send_home(s, bucket[BUCKET(s, from)]);
        from++
    od
#ifndef BUG_WAKE_FIRST
    ;
    wake_sleepers(s)
#endif
}

inline reap(s)
{
    harvest(s);
    send_home(s, ready[s]);
    do
    :: failed[s] -> break
    :: !failed[s] ->
        /* How far ahead is asked is a guess, and how often the reaper's choice: any will do. */
        if
        :: atomic { tried -> newest = 0 }
        :: atomic { !tried -> newest = 0 }
        :: atomic { !tried -> newest = 1 }
        fi;
        find_published(s);
        if
        :: t == 0 -> break
        :: t != 0 ->
            if
            :: atomic { !lost && event[SLOT(s, t)] > finished[s] && newest -> tried = 1; t = 0 }
            :: atomic { !lost && event[SLOT(s, t)] > finished[s] -> t = 0; break }
            :: atomic { !lost && event[SLOT(s, t)] <= finished[s] -> skip }
                advance(s);
                if
                :: atomic { t = 0; break }
                :: skip
                fi
            :: atomic { lost || fails -> fails = (lost -> fails : fails - 1); t = 0 }
#ifdef BUG_QUERY_PASSES
                atomic { t = passed[s] + 1 }
                advance(s)
#else
                fail(s);
                break
#endif
            fi;
            t = 0
        fi
    od;
    atomic { newest = 0; tried = 0 }
    room = 0;
    recycle(s);
#if SYNC && !defined(BUG_RECYCLE_SILENT)
    /* A closer that was slow to publish held slots back, and a sleeper may have found no room for his tick. */
    if
    :: room -> wake_sleepers(s)
    :: !room
    fi;
#endif
    room = 0;
#ifndef BUG_FAIL_IGNORED
    if
    :: failed[s] ->
        harvest(s);
        send_home(s, ready[s]);
        quarantine(s)
    :: !failed[s]
    fi
#endif
}

/* ---- The keeper's visit ---- */

/* K2. Only streams that weir owns, and only while their handle is alive. */
inline close_for_waiters(s)
{
    atomic { limit = open[s]; due = (bucket[BUCKET(s, limit)] != 0); limit = 0 }
#ifdef HELD
    due = 0;
#endif
#ifdef WATCH
    if
    :: due || !drain[s]
    :: !due && drain[s] -> due = (ops[s] != 0)
    fi;
#endif
#ifdef BUG_NO_KEEPER_CLOSE
    due = 0;
#endif
    if
    :: !due
    :: due ->
        due = 0;
        if
        :: atomic { IN(ADOPTED, s) || handle_lock[s] -> skip }
        :: atomic { !IN(ADOPTED, s) && !handle_lock[s] -> handle_lock[s] = 1 }
            if
            :: gone[s]
            :: !gone[s] -> close(s)
            fi;
            no_slot = 0;
            handle_lock[s] = 0
        fi
    fi
}

/* due: the stream must be polled again. */
inline find_wanted(s)
{
#ifndef BUG_DISARM_WAITING
    due = (waiting[s] != 0);
#endif
#ifdef HELD
    due = 0; /* it passes by its owner's word, who sends home what waits */
#endif
    if
    :: due || failed[s]
    :: !due && !failed[s] ->
#if SYNC && !defined(BUG_DISARM_SLEEPERS)
        due = (sleepers[s] != 0);
#endif
#if defined(END) || defined(WATCH)
        was = (passed[s] + 1 < open[s]);
#endif
#ifdef END
        if
        :: due || !was
        :: !due && was -> due = gone[s]
        fi;
#endif
#ifdef WATCH
        if
        :: due || !drain[s]
        :: !due && drain[s] ->
#ifdef BUG_DRAIN_LATE
            /* `was` may be older than the work that is to be drained. */
            if
            :: was || ops[s] -> due = 1
            :: !was && !ops[s] -> drain[s] = 0
            fi
#else
            /* Cleared first: who asks again comes after his work. */
            drain[s] = 0;
            if
            :: ops[s] -> due = 1
            :: !ops[s] -> due = (passed[s] + 1 < open[s])
            fi;
            if
            :: due -> drain[s] = 1
            :: !due
            fi
#endif
        fi;
#endif
        was = 0
    fi
}

inline keep(s)
{
    harvest(s);
    close_for_waiters(s);
    reap(s);
    find_wanted(s);
    if
    :: due -> due = 0
    :: !due -> /* K4 and K5 */
#ifdef BUG_LOOK_FIRST
        due = (inbox[s] != 0);
        armed[s] = 0;
#else
        armed[s] = 0;
        due = (inbox[s] != 0);
#endif
#ifndef BUG_LOOK_ONCE
        if
        :: due
        :: !due -> find_wanted(s)
        fi;
#endif
        if
        :: due -> atomic { armed[s] = 1; due = 0 }
        :: !due
        fi
    fi
}

/* The device is lost: nothing in flight will ever be reported done. */
inline abandon(s)
{
    atomic { failed[s] = 1; NEWS }
    wake_sleepers(s);
    atomic { !reap_lock[s] -> reap_lock[s] = 1 }
    harvest(s);
    quarantine(s);
    reap_lock[s] = 0
}

#define WORK_VARIABLES                                                  \
    byte t, to, b, k, tick, mine, from, limit, going;                   \
    bit no_slot, due, was, room, newest, tried

proctype keeper()
{
    WORK_VARIABLES;
    byte s;
    bit pending;
#ifdef LOST
    bit declared;
#endif
end:
    do
    :: atomic { kick || (pending && stale) -> kick = 0; stale = 0; pending = 0 }
#ifdef LOST
        if
        :: atomic { lost && !declared -> declared = 1 }
            do
            :: atomic { s == STREAMS -> s = 0; break }
            :: s < STREAMS -> abandon(s); s++
            od
        :: !lost || declared
        fi;
#endif
        do
        :: atomic { s == STREAMS -> s = 0; break }
        :: atomic { s < STREAMS && !armed[s] -> s++ }
        :: atomic { s < STREAMS && armed[s] -> skip }
            if
            :: atomic { reap_lock[s] -> pending = 1 }
            :: atomic { !reap_lock[s] -> reap_lock[s] = 1 }
                keep(s);
                atomic { pending = pending | armed[s] }
                reap_lock[s] = 0
            fi;
            s++
        od
    od
}

/* ---- Sleeping until the device is done ---- */

/* Which tick covers all that this thread has queued; 0: nothing is pending. */
inline find_end(s)
{
#if defined(BUG_OPS_LAST)
    /* The count of operations since the last close, read after the tick. */
    atomic { limit = passed[s] }
    tick = open[s];
    if
    :: ops[s]
    :: !ops[s] -> tick = (limit + 1 < tick -> tick - 1 : 0)
    fi;
    limit = 0
#elif defined(BUG_OPS_FIRST)
    /* The same count, read first: a closer that was slow to clear it clears what came later. */
    if
    :: ops[s] -> tick = open[s]
    :: !ops[s] ->
        limit = passed[s];
        tick = open[s];
        tick = (limit + 1 < tick -> tick - 1 : 0);
        limit = 0
    fi
#else
    tick = latest[s]
#endif
}

/* Close for a sleeper, who need not be the issuer: under handle_lock. */
inline close_for_sleeper(s)
{
    if
    :: open[s] > tick || IN(ADOPTED, s)
    :: open[s] <= tick && !IN(ADOPTED, s) ->
#ifndef BUG_SLEEPER_UNLOCKED
        atomic { !handle_lock[s] -> handle_lock[s] = 1 }
#endif
        if
        :: gone[s] || open[s] > tick
        :: !gone[s] && open[s] <= tick -> close(s)
        fi;
#ifndef BUG_SLEEPER_UNLOCKED
        atomic { handle_lock[s] = 0; NEWS }
#endif
        no_slot = 0
    fi
}

inline wait(s)
{
    if
    :: passed[s] >= tick
    :: passed[s] < tick ->
#ifndef BUG_SLEEP_UNCOUNTED
        atomic { sleepers[s]++; NEWS }
#endif
        do
        :: from = advanced[s];
            if
            :: passed[s] >= tick -> break
            :: passed[s] < tick
            fi;
            if
            :: failed[s] -> mine = 0; break
            :: !failed[s]
            fi;
            close_for_sleeper(s);
#ifndef BUG_SLEEPER_NO_ARM
            arm(s);
#endif
#ifdef BUG_SEEN_LATE
            from = advanced[s];
#endif
#ifdef BUG_SLEEP_UNCOUNTED
            atomic { sleepers[s]++; NEWS }
#endif
            atomic { /* FUTEX_WAIT: sleeps only if the word is what was seen */
                if
                :: advanced[s] == from -> asleep[s] = asleep[s] | SET(me)
                :: else
                fi
            }
            if
            :: !IN(asleep[s], me)
            :: atomic { IN(TIMED, me) && IN(asleep[s], me) -> asleep[s] = asleep[s] & ~SET(me) }
                if
                :: passed[s] >= tick -> break
                :: passed[s] < tick -> mine = 0; break
                fi
            fi
#ifdef BUG_SLEEP_UNCOUNTED
            ; sleepers[s]--
#endif
        od;
        from = 0;
#ifndef BUG_SLEEP_UNCOUNTED
        atomic { sleepers[s]--; NEWS }
#endif
    fi
}

proctype user(byte me)
{
    WORK_VARIABLES;
    byte rounds = ROUNDS, left, s, held, last;
    do
    :: atomic { rounds == 0 -> break }
    :: atomic { rounds > 0 -> rounds--; left = OPERATIONS + IN(TWICE, me) }
#ifdef REAPER
        do
        :: atomic { s == STREAMS || state[OWN] == FREE -> s = 0; break }
        :: atomic { s < STREAMS && state[OWN] != FREE -> skip }
            if
            :: atomic { !armed[s] || reap_lock[s] -> skip }
            :: atomic { armed[s] && !reap_lock[s] -> reap_lock[s] = 1 }
                reap(s);
                atomic { reap_lock[s] = 0; NEWS }
            fi;
            s++
        od;
#endif
        if
        :: atomic { state[OWN] == FREE -> held = OWN; state[held] = LEASED }
        :: atomic { STUCK && state[OWN] != FREE -> rounds = 0; break }
        fi;
        do
        :: atomic { left == 0 || lost -> left = 0; break }
        :: atomic { left > 0 && !lost -> left--; s = 0 }
#if STREAMS > 1
            if
            :: s = 0
            :: s = 1
            fi;
#endif
            issue(held, s)
        od;
#if defined(END) || defined(HELD)
        quiet++;
#endif
#if SYNC
        if
        :: true
        :: atomic { IN(SYNC, me) -> skip }
            find_end(s);
            wait(s);
            atomic { assert(lost || mine <= finished[s]); tick = 0 }
        fi;
#endif
        atomic { assert(state[held] == LEASED); state[held] = RETIRING; mine = 0; tick = 0; last = s; s = 0 }
        retire(held);
        held = 0
#ifdef WATCH
        ;
        /* The stream is released with work pending. */
        atomic { drain[last] = 1; NEWS }
        arm(last)
#endif
    od;
#ifdef END
    if
    :: quiet < USERS && left > 0 -> quiet++
    :: else
    fi;
#endif
    ended++
}

proctype device()
{
end:
    do
    :: atomic { !lost && finished[0] < queued[0] -> finished[0]++; NEWS }
#if STREAMS > 1
    :: atomic { !lost && finished[1] < queued[1] -> finished[1]++; NEWS }
#endif
    od
}

#ifdef LOST
proctype loser()
{
    atomic { lost = 1; kick = 1; NEWS }
}
#endif

#ifdef END
/* Nobody issues any more. Buffers may still be leased or retiring, and users may sleep. */
proctype ender()
{
    WORK_VARIABLES;
    byte s;
    quiet == USERS;
    do
    :: atomic { s == STREAMS -> s = 0; break }
    :: s < STREAMS ->
#ifdef BUG_END_UNLOCKED
        gone[s] = 1;
#else
        atomic { !handle_lock[s] -> handle_lock[s] = 1 }
        atomic { gone[s] = 1; NEWS }
        atomic { handle_lock[s] = 0; NEWS }
#endif
#ifdef BUG_DESTROY_FIRST
        dead[s] = 1;
#endif
#ifndef BUG_END_OPEN
        /* On adopted streams every operation has closed its tick. */
        if
        :: IN(ADOPTED, s)
        :: !IN(ADOPTED, s) ->
            close(s);
#ifndef BUG_END_FULL
            do
            :: !no_slot -> break
            :: no_slot -> await_slot(s); close(s)
            od;
#endif
            no_slot = 0
        fi;
#endif
        dead[s] = 1;
#ifndef BUG_END_UNARMED
        atomic { armed[s] = 1; NEWS }
        kick = 1;
#endif
        s++
    od;
    ended++
}
#endif

#ifdef HELD
/* A stream without a handle: all that is marked up to now passes, by the owner's word. Once at any time, once at the end. */
proctype owner()
{
    WORK_VARIABLES;
    byte s;
    bit last;
    do
    :: atomic { !last || quiet == USERS -> finished[s] = queued[s]; t = open[s]; open[s]++; last = (quiet == USERS) }
#ifdef BUG_PASS_OPEN
        t++;
#endif
        atomic { !reap_lock[s] -> reap_lock[s] = 1 }
        harvest(s);
        slot[SLOT(s, t)] = 2 * t + 1;
        advance(s);
        atomic { reap_lock[s] = 0; t = 0; NEWS }
        if
        :: last -> break
        :: !last -> last = 1
        fi
    od;
    ended++
}
#endif

init
{
    byte s, x;
    atomic {
        do
        :: s < STREAMS ->
            open[s] = 1;
            x = 1;
            do
            :: x <= RING -> slot[SLOT(s, x)] = 2 * x; x++
            :: else -> break
            od;
            s++
        :: else -> break
        od;
        x = 0;
        do
        :: x < USERS -> run user(x); x++
        :: else -> break
        od;
        run keeper();
#ifndef HELD
        run device();
#endif
#ifdef LOST
        run loser();
#endif
#ifdef HELD
        run owner();
        ended--;
#endif
#ifdef END
        run ender();
        ended--; /* counted with the users */
#endif
        s = 0;
        x = 0
    }
    timeout;
    assert(ended == USERS);
    do
    :: s == STREAMS -> break
    :: s < STREAMS ->
        assert(inbox[s] == 0 && ready[s] == 0 && waiting[s] == 0 && sleepers[s] == 0);
        assert(!reap_lock[s] && !handle_lock[s] && !armed[s]);
        assert(!gone[s] || failed[s] || passed[s] + 1 == open[s]);
#ifdef WATCH
        assert(failed[s] || (passed[s] + 1 == open[s] && !ops[s]));
#endif
        s++
    od;
    do
    :: x == BUFFERS -> break
    :: x < BUFFERS -> assert(state[x] == FREE || (state[x] == QUARANTINED && STUCK)); x++
    od
}
