/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bias.pml - a record that belongs to one CPU for a while (lib/pool/bias.h)
 *
 * What is modelled
 *   One record, which every look finds. Its word is generation | CPU | BIASED | state. Two CPUs, each with a store
 *   buffer of two plain stores, which drain when they like; locked operations, fences and a change of threads drain
 *   their CPU's. Several threads on each CPU: the scheduler takes a CPU from a thread between any two steps, and may move
 *   a thread that does not run. A section whose thread lost its CPU, or whose CPU was fenced, begins again. Leases and
 *   releases by sections, by compare-and-swap, revocations, grants; waiters with the gate and the queue's lock
 *   (whose pending bit is store_home.pml's matter: here it is a lock that is waited for). Two releases of one lease.
 *
 * How it is written
 *   Every atomic block holds one shared access plus private and ghost bookkeeping, and runs only while its thread has its CPU.
 *   A load followed by a compare-and-swap on the same word is one step where a failed comparison starts over.
 *
 * What is asserted
 *   one owner       a lease finds holder == 0, a release its own
 *   double release  of two releases of one lease exactly one succeeds
 *   liveness        when nothing can move any more all threads have finished
 *
 * Shape
 *   THREADS ROUNDS  two or three; thread 0 starts on CPU 0, thread 1 on CPU 1, thread 2 on CPU THIRD
 *   MOVES           how often threads are moved to the other CPU
 *   DOUBLE          thread 0's first lease is released by thread 1, too
 *   START_BIASED    the record begins biased to CPU 0
 *   BUG_...         a planted bug, see the places marked by the name
 */
#ifndef THREADS
#define THREADS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef MOVES
#define MOVES 1
#endif
#ifndef THIRD
#define THIRD 0
#endif

#define FREE   1
#define LEASED 2
#define STATE  3
#define BIASED 4
#define CPU1   8
#define GEN    16
#define FLAGS  15

#define HOME(w)       (((w) & CPU1) / CPU1)
#define PLAIN(w)      ((w) & ~(BIASED | CPU1))
#define GEN_OF(w)     ((w) / GEN)
#define OWN(state, c) ((state) | BIASED | ((c) * CPU1))

#ifdef START_BIASED
short word = FREE | BIASED;
byte  biased = 1;
#else
short word = FREE;
byte  biased;
#endif
byte stops, gate;
bit  lock;

/* The store buffers: entry 0 is the older. */
short buffer[4];
byte  buffered[2];

/* Threads and CPUs. */
byte cpu_of[THREADS];
byte running[2];
bit  asleep[THREADS], ended[THREADS];
bit  inside[THREADS], aborted[THREADS];
byte moves = MOVES;

byte queue[THREADS]; /* who waits, oldest first; under the lock */
byte queued;
bit  given[THREADS];

/* Ghosts. */
byte holder; /* thread + 1 */
byte finished;
#ifdef DOUBLE
byte double_generation;
bit  double_offered, double_over;
byte double_good;
#endif

#define NOBODY    THREADS
#define MY_TURN   (running[cpu_of[id]] == id)
#define HERE      cpu_of[id]
#define SEEN_HERE (buffered[HERE] == 0 -> word : buffer[HERE * 2 + buffered[HERE] - 1])

inline drain(c)
{
    if
    :: buffered[c] -> word = buffer[(c) * 2 + buffered[c] - 1]; buffered[c] = 0; buffer[(c) * 2] = 0; buffer[(c) * 2 + 1] = 0
    :: else
    fi
}

inline abort_on(c)
{
    if
    :: running[c] != NOBODY && inside[running[c]] -> aborted[running[c]] = 1
    :: else
    fi
}

/* membarrier for one CPU: its stores are out, its section starts over. Also a barrier for the caller. */
inline fence(c)
{
    atomic {
        MY_TURN ->
        drain(HERE);
#ifndef BUG_NO_FENCE
        drain(c);
#ifndef BUG_FENCE_WITHOUT_RESTART
        abort_on(c)
#endif
#endif
    }
}

/* ---- Revoking ---- */

inline clear_stopped()
{
    do
    :: atomic { MY_TURN -> w = SEEN_HERE;
           if
           :: w & BIASED -> at = HOME(w)
           :: else -> break
           fi }
        if
        :: fenced & (1 << at) ->
            atomic { MY_TURN -> drain(HERE);
                if
                :: word == w -> word = PLAIN(w); cleared = 1
                :: else
                fi }
            if
            :: cleared -> atomic { MY_TURN -> biased--; cleared = 0; w = PLAIN(w) } break
            :: !cleared
            fi
        :: !(fenced & (1 << at)) -> fence(at); fenced = fenced | (1 << at)
        fi
    od;
    at = 0
}

inline revoke()
{
#ifndef BUG_NO_STOPS
    atomic { MY_TURN -> drain(HERE); stops++ }
#endif
#ifdef BUG_FENCE_FIRST
    atomic { MY_TURN -> drain(HERE); stops-- }
    fenced = 0;
    fence(0); fence(1);
    fenced = 3;
    atomic { MY_TURN -> drain(HERE); stops++ }
#else
    fenced = 0;
#endif
    clear_stopped();
    fenced = 0;
#ifndef BUG_NO_STOPS
    atomic { MY_TURN -> drain(HERE); stops-- }
#endif
}

/* ---- Sections ---- */

inline store_plain(value)
{
    if
    :: buffered[HERE] == 2 -> word = buffer[HERE * 2]; buffer[HERE * 2] = buffer[HERE * 2 + 1]; buffered[HERE] = 1
    :: else
    fi;
    buffer[HERE * 2 + buffered[HERE]] = value;
    buffered[HERE]++
}

#ifdef BUG_NO_ABORT
#define LOST false
#else
#define LOST aborted[id]
#endif

inline leave_section()
{
    inside[id] = 0;
    aborted[id] = 0
}

/* state: what the word must say. ok: the store was made. */
inline section(state, by, to, lease_now)
{
    ok = 0;
    atomic { MY_TURN -> inside[id] = 1; aborted[id] = 0; at = HERE }
#ifndef BUG_STOPS_LATE
    atomic { MY_TURN -> seen_stops = stops }
#endif
    atomic { MY_TURN -> w = SEEN_HERE }
    if
#ifdef BUG_ANY_CPU
    :: (w & (STATE | BIASED)) == (state | BIASED) && (lease_now || GEN_OF(w) == lease) ->
#else
    :: (w & FLAGS) == OWN(state, at) && (lease_now || GEN_OF(w) == lease) ->
#endif
#ifdef BUG_STOPS_LATE
        atomic { MY_TURN -> seen_stops = stops }
#endif
        atomic { MY_TURN -> seen_gate = gate }
#ifdef BUG_NO_STOPS_CHECK
        seen_stops = 0;
#endif
#ifdef BUG_NO_GATE_CHECK
        seen_gate = 0;
#endif
        atomic {
            MY_TURN ->
            if
            :: !LOST && seen_stops == 0 && seen_gate == 0 ->
                store_plain(w + (to) - (state) + ((lease_now) * GEN));
                assert(holder == ((lease_now) -> 0 : by));
                holder = ((lease_now) -> by : 0);
                ok = 1
            :: else
            fi;
            leave_section()
        }
    :: else -> atomic { leave_section() }
    fi;
    seen_stops = 0;
    seen_gate = 0;
    at = 0
}

/* ---- By compare-and-swap ---- */

/* Lease the record for `by`, if it is free. */
inline claim(by)
{
    ok = 0;
    do
    :: atomic { MY_TURN -> w = SEEN_HERE;
           if
           :: (w & STATE) != FREE -> break
           :: else
           fi }
        if
#ifndef BUG_CAS_BIASED
        :: w & BIASED -> revoke()
        :: !(w & BIASED) ->
#else
        :: true ->
#endif
            atomic { MY_TURN -> drain(HERE);
                if
                :: word == w ->
                    word = w + LEASED - FREE + GEN;
                    assert(holder == 0);
                    holder = by;
                    ok = 1
                :: else
                fi }
            if
            :: ok -> break
            :: !ok
            fi
        fi
    od
}

inline enter()
{
    atomic { MY_TURN && !lock -> drain(HERE); lock = 1 }
}

inline leave()
{
    atomic { MY_TURN -> drain(HERE); lock = 0 }
}

/* The gate has left 0 by the caller, who holds the lock and will look. */
inline gate_raised()
{
#ifndef BUG_NO_GATE_FENCE
    atomic { MY_TURN -> seen_biased = biased }
    if
    :: seen_biased ->
        if
        :: true -> skip /* its record may be in no slot */
        :: atomic { MY_TURN -> drain(HERE); stops++; stopped = 1 }
        fi;
        fence(0);
        fence(1);
        if
        :: stopped -> fenced = 3; clear_stopped(); fenced = 0; atomic { MY_TURN -> drain(HERE); stops--; stopped = 0 }
        :: !stopped
        fi
    :: !seen_biased
    fi;
#endif
    seen_biased = 0
}

/* Give what is free to the first who waits. The lock is held. */
inline serve()
{
    if
    :: queued ->
        first = queue[0];
        claim(first + 1);
        if
        :: ok ->
            atomic {
                MY_TURN -> drain(HERE);
                gate--;
                i = 1;
                do
                :: i < queued -> queue[i - 1] = queue[i]; i++
                :: else -> break
                od;
                queued--;
                queue[queued] = 0;
                i = 0
            }
            atomic { MY_TURN -> given[first] = 1; asleep[first] = 0 }
        :: !ok
        fi;
        first = 0
    :: !queued
    fi
}

inline wait()
{
    enter();
    atomic { MY_TURN -> drain(HERE); queue[queued] = id; queued++; raised = (gate == 0); gate++ }
    if
    :: raised -> raised = 0; gate_raised()
    :: !raised
    fi;
    serve();
    leave();
    atomic { MY_TURN -> asleep[id] = !given[id] }
    atomic { MY_TURN && given[id] -> given[id] = 0 }
}

/* ---- Threads ---- */

inline acquire()
{
    section(FREE, id + 1, LEASED, 1);
    if
    :: ok
    :: !ok ->
        claim(id + 1);
        if
        :: ok
        :: !ok -> wait()
        fi
    fi;
    /* The holder reads its own lease. */
    atomic { MY_TURN -> lease = GEN_OF(SEEN_HERE) }
}

/* The lease's holder lets this CPU have the record. */
inline grant()
{
    atomic { MY_TURN -> w = SEEN_HERE; at = HERE }
    if
    :: !(w & BIASED) && (w & STATE) == LEASED && GEN_OF(w) == lease ->
        atomic { MY_TURN -> drain(HERE); biased++ }
        atomic { MY_TURN -> drain(HERE);
            if
            :: word == w -> word = w | BIASED | (at * CPU1); cleared = 1
            :: else
            fi }
        if
        :: !cleared -> atomic { MY_TURN -> drain(HERE); biased-- }
        :: cleared
        fi;
        cleared = 0
    :: else
    fi;
    at = 0
}

/* owner: whose lease it is. ok: it was released. */
inline release(owner)
{
    section(LEASED, owner, FREE, 0);
    done = ok;
    if
    :: done
    :: !done ->
        do
        :: atomic { MY_TURN -> w = SEEN_HERE;
               if
               :: (w & STATE) != LEASED || GEN_OF(w) != lease -> break
               :: else
               fi }
            if
#ifndef BUG_CAS_BIASED
            :: w & BIASED -> revoke()
            :: !(w & BIASED) ->
#else
            :: true ->
#endif
                atomic { MY_TURN -> drain(HERE);
                    if
                    :: word == w ->
                        word = w + FREE - LEASED;
                        assert(holder == owner);
                        holder = 0;
                        done = 1
                    :: else
                    fi }
                if
                :: done ->
                    atomic { MY_TURN -> seen_gate = gate }
                    if
                    :: seen_gate -> enter(); serve(); leave()
                    :: !seen_gate
                    fi;
                    seen_gate = 0;
                    break
                :: !done
                fi
            fi
        od
    fi;
    ok = done;
    done = 0
}

proctype leaser(byte id)
{
    byte  rounds = ROUNDS, i, at, fenced, seen_stops, seen_gate, seen_biased, first, lease;
    short w;
    bit   ok, cleared, raised, done, stopped;

    do
    :: rounds ->
        acquire();
        if
        :: true -> skip
        :: true -> grant()
        fi;
#ifdef DOUBLE
        if
        :: id == 0 && !double_offered -> atomic { MY_TURN -> double_generation = lease; double_offered = 1 }
        :: else
        fi;
#endif
        release(id + 1);
#ifdef DOUBLE
        if
        :: id == 0 && lease == double_generation && !double_over -> atomic { double_good = double_good + ok; double_over = 1 }
        :: else -> assert(ok)
        fi;
#else
        assert(ok);
#endif
        atomic { w = 0; lease = 0; ok = 0; rounds-- }
    :: else -> break
    od;
    atomic { MY_TURN -> ended[id] = 1; asleep[id] = 1; finished++ }
}

#ifdef DOUBLE
/* Releases thread 0's first lease a second time. Its release serves whom it finds, as any. */
proctype releaser(byte id)
{
    byte  i, at, fenced, seen_stops, seen_gate, seen_biased, first, lease;
    short w;
    bit   ok, cleared, raised, done, stopped;

    atomic { MY_TURN && double_offered -> lease = double_generation }
    release(1);
    atomic { double_good = double_good + ok }
    atomic { MY_TURN -> ended[id] = 1; asleep[id] = 1; finished++ }
}
#endif

#define CAN_RUN(t, c) ((t) < THREADS && cpu_of[t] == (c) && !asleep[t])

inline start(c, t)
{
    atomic { running[c] == NOBODY && CAN_RUN(t, c) -> running[c] = t }
}

/* Takes a CPU from its thread, moves threads, drains buffers. Blocked when all are asleep: a lost wake-up is an invalid end. */
proctype scheduler(byte c)
{
    do
    :: atomic {
           buffered[c] ->
           word = buffer[c * 2];
           buffer[c * 2] = buffer[c * 2 + 1];
           buffer[c * 2 + 1] = 0;
           buffered[c]--
       }
    :: atomic { running[c] != NOBODY -> abort_on(c); drain(c); running[c] = NOBODY }
    :: start(c, 0)
    :: start(c, 1)
#if THREADS > 2
    :: start(c, 2)
#endif
    :: atomic { moves && running[1 - c] != 0 && CAN_RUN(0, 1 - c) -> cpu_of[0] = c; moves-- }
    :: atomic { moves && running[1 - c] != 1 && CAN_RUN(1, 1 - c) -> cpu_of[1] = c; moves-- }
    :: atomic { finished == THREADS -> break }
    od
}

init {
    atomic {
        cpu_of[1] = 1;
        running[1] = 1;
#if THREADS > 2
        cpu_of[2] = THIRD;
#endif
        run scheduler(0);
        run scheduler(1);
        run leaser(0);
#ifdef DOUBLE
        run releaser(1);
#else
        run leaser(1);
#endif
#if THREADS > 2
        run leaser(2);
#endif
    }
    atomic {
        finished == THREADS ->
        assert(gate == 0 && stops == 0 && holder == 0 && !lock && queued == 0);
#ifdef DOUBLE
        assert(double_good == 1)
#endif
    }
}
