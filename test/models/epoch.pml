/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoch.pml - epochs, deferred frees, and the records of threads that come and go (lib/sync/thread.c)
 *
 * What is modelled
 *   Threads attach to a record that a thread before them gave back, or register a new one; they read an object in a
 *   section, replace it, defer the old one, and exit. The keeper takes the whole list of what was deferred, waits for a
 *   grace period and frees. A second writer waits for a grace period of its own and frees at once, as the end of a slab
 *   does. Sections and grace periods are ck_epoch's own steps (0.7.1): the flag and the epoch of each record, the
 *   scan, two increments of the global epoch, and the short cut when another writer has moved it far enough.
 *
 * What is asserted
 *   safety   no object is read in a section after it was freed
 *   hand-over when nothing can move any more every object but the current one is freed, also those deferred by threads
 *            that have exited
 *
 * Assumed: sequential consistency, so ck_epoch's fences are there; the epoch does not wrap.
 *
 * Shape
 *   READERS LIVES SECTIONS   threads at once; threads one after the other; sections of each
 *   UPDATES                  mask of readers whose first life ends with an update
 *   DIRECT                   somebody frees after a grace period of his own
 *   BUG_...                  a planted bug, see the places marked by the name
 */
#ifndef READERS
#define READERS 2
#endif
#ifndef LIVES
#define LIVES 1
#endif
#ifndef SECTIONS
#define SECTIONS 1
#endif
#ifndef UPDATES
#define UPDATES 1
#endif
#define GRACE 3
#if defined(BUG_EXIT_EARLY) || defined(BUG_ATTACH_STORE)
#define SHARED
#endif

byte epoch = 1;
byte registered; /* records 0 to registered-1 are in the domain */
byte inside[READERS], observed[READERS];

byte listed; /* a set of records that attaching threads look through */
bit  used[READERS];

byte current, objects = 1;
byte deferred; /* a set, as are freed and lost */
bit  reclaim_lock;
#ifdef BUG_DEFERRED_IN_RECORD
byte own[READERS];
#endif

byte freed;
byte ended;

#define IN(set, x) (((set) >> (x)) & 1)
#define SET(x)     (1 << (x))

/* my: this thread's record. */
inline attach()
{
    my = 0;
    do
    :: atomic { my == READERS -> break }
    :: atomic { my < READERS && (!IN(listed, my) || used[my]) -> my++ }
    :: atomic { my < READERS && IN(listed, my) && !used[my] -> skip }
#ifdef BUG_ATTACH_STORE
        used[my] = 1;
        break
#else
        atomic {
            if
            :: !used[my] -> used[my] = 1; break
            :: else -> my++
            fi
        }
#endif
    od;
    if
    :: atomic { my < READERS -> skip }
    :: atomic { my == READERS -> my = registered; used[my] = 1; registered++ }
        listed = listed | SET(my)
    fi
}

/* The count is the owner's alone: a load and a store, which matters only where two share a record. */
inline enter()
{
    if
#ifdef SHARED
    :: atomic { inside[my] != 0 -> seen = inside[my] }
        atomic { inside[my] = seen + 1; seen = 0 }
#else
    :: atomic { inside[my] != 0 -> inside[my]++ }
#endif
    :: atomic { inside[my] == 0 -> inside[my] = 1 }
        seen = epoch;
        atomic { observed[my] = seen; seen = 0 }
    fi
}

inline leave()
{
#ifdef SHARED
    seen = inside[my];
    atomic { inside[my] = seen - 1; seen = 0 }
#else
    inside[my]--
#endif
}

inline replace()
{
    atomic { old = current; current = objects; objects++ }
}

/* The next record from cr on that is in a section and has not seen `delta`; registered: none. */
inline scan()
{
    do
    :: atomic { cr == limit -> break }
    :: atomic { cr < limit && inside[cr] == 0 -> cr++ }
    :: atomic { cr < limit && inside[cr] != 0 -> any = 1 }
        if
        :: atomic { observed[cr] != delta -> break }
        :: atomic { observed[cr] == delta -> cr++ }
        fi
    od
}

inline synchronize()
{
#ifndef BUG_NO_GRACE
    atomic { delta = epoch; goal = epoch + GRACE; round = 0 }
    do
    :: atomic { round == GRACE - 1 -> break }
    :: atomic { round < GRACE - 1 -> cr = 0; any = 0; limit = registered }
        scan();
        do
        :: atomic { cr == limit -> break }
        :: atomic { cr < limit -> skip }
            if
            :: atomic { epoch == delta -> any = 1 }
#ifdef BUG_ACTIVE_FORGOTTEN
                any = 0;
#endif
                scan()
            :: atomic { epoch != delta ->
                    delta = epoch;
                    if
                    :: delta >= goal -> goto left
                    :: else -> cr = 0; any = 0; limit = registered
                    fi
                }
                scan()
            fi
        od;
        if
        :: atomic { !any -> break }
        :: atomic { any ->
                if
                :: epoch == delta -> epoch++; delta++
                :: else -> delta = epoch
                fi;
#ifdef BUG_ONE_TICK
                round = GRACE - 1
#else
                round++
#endif
            }
        fi
    od;
left:
    atomic { delta = 0; goal = 0; round = 0; cr = 0; any = 0; limit = 0 }
#else
    skip
#endif
}

#define SYNCHRONIZE_VARIABLES byte delta, goal, round, cr, limit; bit any

proctype reader(byte me)
{
    byte lives = LIVES, sections, my, seen, old;
    do
    :: atomic { lives == 0 -> break }
    :: atomic { lives > 0 -> lives--; sections = SECTIONS }
        attach();
        do
        :: atomic { sections == 0 -> break }
        :: atomic { sections > 0 -> sections-- }
#ifdef BUG_READ_FIRST
            old = current;
            enter();
#else
            enter();
            old = current;
#endif
            assert(!IN(freed, old));
#ifdef BUG_EXIT_EARLY
            if
            :: sections == 0 -> used[my] = 0
            :: sections > 0
            fi;
#endif
            atomic { assert(!IN(freed, old)); old = 0 }
            leave()
        od;
        if
        :: atomic { !IN(UPDATES, me) || lives != LIVES - 1 -> skip }
        :: atomic { IN(UPDATES, me) && lives == LIVES - 1 -> skip }
            replace();
#ifdef BUG_DEFERRED_IN_RECORD
            atomic { own[my] = own[my] | SET(old); old = 0 }
#else
            atomic { deferred = deferred | SET(old); old = 0 }
#endif
        fi;
        /* The thread exits. */
#ifdef BUG_DEFERRED_IN_RECORD
        own[my] = 0;
#endif
        atomic { used[my] = 0; my = 0 }
    od;
    ended++
}

proctype keeper()
{
    byte due;
    SYNCHRONIZE_VARIABLES;
end:
    do
    :: atomic { deferred && !reclaim_lock -> reclaim_lock = 1 }
#ifdef BUG_GRACE_FIRST
        synchronize();
        atomic { due = deferred; deferred = 0 }
#else
        atomic { due = deferred; deferred = 0 }
        synchronize();
#endif
        atomic { freed = freed | due; due = 0 }
        reclaim_lock = 0
    od
}

#ifdef DIRECT
proctype direct()
{
    byte old;
    SYNCHRONIZE_VARIABLES;
    replace();
    synchronize();
    atomic { freed = freed | SET(old); ended++ }
}
#endif

init
{
    byte x;
    atomic {
        do
        :: x < READERS -> run reader(x); x++
        :: else -> break
        od;
        run keeper();
#ifdef DIRECT
        run direct();
        ended--;
#endif
        x = 0
    }
    timeout;
    assert(ended == READERS);
    assert(deferred == 0 && !reclaim_lock);
    assert(freed == ((1 << objects) - 1 & ~(1 << current)));
}
