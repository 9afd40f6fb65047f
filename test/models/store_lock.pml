/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_lock.pml - the queue's lock: LOCKED | PENDING | SLEEPERS in one futex word (lib/pool/queue.c)
 *
 * What is modelled
 *   Entering: a try, then sleeping on the word with a deadline. A releaser's hand-off: one fetch_or of
 *   LOCKED | PENDING that never waits. Leaving: serve, and free the word only while PENDING is clear; after
 *   CAP rounds free it with PENDING still set and kick the keeper. The futex: waiting compares the word with
 *   what the sleeper saw, one sleeper is woken, a timed sleeper may leave by himself, and one who was woken
 *   may find his deadline passed. The free store behind the lock is a counter; the queue is a set.
 *
 * What is asserted
 *   When nothing can move any more everyone has finished, so no wake-up is lost: neither a waiter's (an object
 *   is free and he sleeps) nor one of the lock itself (it is free and somebody sleeps on it).
 *
 * Assumed: sequential consistency; a futex wake reaches a thread that sleeps at that moment.
 *
 * Shape: THREADS, OBJECTS, ROUNDS, CAP; TIMED a mask of threads with a deadline. BUG_...: a planted bug.
 */
#ifndef THREADS
#define THREADS 3
#endif
#ifndef OBJECTS
#define OBJECTS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef CAP
#define CAP 1
#endif
#ifndef TIMED
#define TIMED 0
#endif

#define LOCKED   1
#define PENDING  2
#define SLEEPERS 4

byte lock;
byte asleep; /* threads that the kernel holds on the lock's word */
byte gate, queue;
byte items = OBJECTS;
byte given;
bit  kick;
byte finished;

#define IN(set, x) (((set) >> (x)) & 1)
#define SET(x)     (1 << (x))

/* FUTEX_WAKE of one sleeper, any. */
inline wake_one()
{
    atomic {
        i = 0;
        do
        :: i < THREADS && IN(asleep, i) -> asleep = asleep & ~SET(i); break
        :: i < THREADS && (!IN(asleep, i) || (asleep >> (i + 1))) -> i++
        :: i == THREADS -> break
        od;
        i = 0
    }
}

inline serve()
{
    do
    :: atomic { queue == 0 -> break }
    :: atomic { queue != 0 -> skip }
        atomic {
            if
            :: items > 0 -> items--
            :: else -> break
            fi
        }
        gate--;
        atomic {
            i = 0;
            do
            :: IN(queue, i) -> break
            :: queue >> (i + 1) -> i++
            od;
            queue = queue & ~SET(i);
            given = given | SET(i);
            i = 0
        }
    od
}

/* At most CAP rounds; then the keeper goes on. */
inline leave()
{
    rounds = 0;
    do
    :: lock = lock & ~PENDING;
        serve();
        atomic {
            saw = lock;
            if
            :: !(lock & PENDING) -> lock = 0
            :: else
            fi
        }
        if
        :: !(saw & PENDING) -> break
        :: atomic { (saw & PENDING) && rounds + 1 < CAP -> rounds++ }
        :: (saw & PENDING) && rounds + 1 >= CAP ->
#ifdef BUG_CAP_DROPS_PENDING
            atomic { saw = lock; lock = 0 }
#else
            atomic { saw = lock; lock = lock & ~(LOCKED | SLEEPERS) }
#ifndef BUG_CAP_NO_KICK
            kick = 1;
#endif
#endif
            break
        fi
    od;
    rounds = 0;
    if
    :: saw & SLEEPERS -> wake_one()
    :: !(saw & SLEEPERS)
    fi;
    saw = 0
}

inline hand_off()
{
    atomic { saw = lock; lock = lock | LOCKED | PENDING }
    if
    :: saw & LOCKED -> saw = 0
    :: !(saw & LOCKED) -> leave()
    fi
}

/* in = 1: the lock is held. in = 0: the deadline has passed. */
inline enter()
{
    late = 0;
    atomic { saw = lock; lock = lock | LOCKED }
    do
    :: !(saw & LOCKED) -> in = 1; break
    :: saw & LOCKED ->
#ifdef BUG_SLEEP_UNANNOUNCED
        /* Sleeps without SLEEPERS in the word. */
        saw = lock;
#else
        /* Say that somebody sleeps; the word must still be locked for that to be heard. */
        atomic {
            if
            :: lock & LOCKED -> lock = lock | SLEEPERS
            :: else
            fi;
            saw = lock
        }
#endif
        if
        :: !(saw & LOCKED)
        :: saw & LOCKED ->
            atomic { /* FUTEX_WAIT: sleeps only if the word is what was seen */
                if
                :: lock == saw -> asleep = asleep | SET(me)
                :: else
                fi
            }
            if
            :: !IN(asleep, me)
            :: atomic { IN(TIMED, me) && IN(asleep, me) -> asleep = asleep & ~SET(me); late = 1 }
            fi
        fi;
#ifdef BUG_DEADLINE_BEFORE_RETRY
        if
        :: atomic { IN(TIMED, me) -> in = 0; break }
        :: atomic { !late -> skip }
        fi;
#endif
        /* A woken thread tries with SLEEPERS: it cannot know that it was the last one. Only then may it give up. */
        atomic { saw = lock; lock = lock | LOCKED | SLEEPERS }
        if
        :: !(saw & LOCKED)
        :: saw & LOCKED
#ifndef BUG_DEADLINE_BEFORE_RETRY
        :: atomic { (saw & LOCKED) && IN(TIMED, me) -> in = 0; break }
#endif
        fi
    od;
    saw = 0;
    late = 0
}

proctype worker(byte me)
{
    byte left = ROUNDS, i, saw, rounds;
    bit in, late;
    do
    :: atomic { left == 0 -> break }
    :: atomic { left > 0 -> left-- }
        enter();
        if
        :: !in
        :: in ->
            in = 0;
            atomic { queue = queue | SET(me) }
            gate++;
            leave();
            atomic { IN(given, me) -> given = given & ~SET(me) }
            /* Release. */
            items++;
            if
            :: gate -> hand_off()
            :: !gate
            fi
        fi
    od;
    finished++
}

proctype keeper()
{
    byte i, saw, rounds;
end:
    do
    :: atomic { kick -> kick = 0 }
        if
        :: gate -> hand_off()
        :: !gate
        fi
    od
}

init
{
    byte x;
    atomic {
        do
        :: x < THREADS -> run worker(x); x++
        :: else -> break
        od;
        run keeper();
        x = 0
    }
    timeout;
    assert(finished == THREADS);
    assert(asleep == 0 && queue == 0 && gate == 0 && items == OBJECTS && !(lock & LOCKED))
}
