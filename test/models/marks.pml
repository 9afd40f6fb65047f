/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marks.pml - the marks of one record: a few entries, and pieces of more (lib/pool/ticks.c, marks.h)
 *
 * What is modelled
 *   wi_mark_reserve() before an operation is queued, wi_mark_also() after it, and the look for the first mark
 *   that has not passed. An entry is one word, stream | tick. Where no entry can be had, a piece whose first entry is the
 *   asker's is put at the end of the chain by a compare-and-swap; who loses looks again. A stream is a tick
 *   counter that is closed at any time, and passes what it has closed: how that is done is ticks.pml's.
 *
 * What is asserted
 *   room     a mark that was reserved finds its place, so marking cannot fail after the operation is queued
 *   safety   when no mark is pending the device has done all that used the record
 *   liveness whoever waits for the marks gets to the end
 *
 * Assumed: sequential consistency.
 *
 * Shape: STREAMS, ENTRIES, PIECE (entries of each piece), HOLDERS (threads that use the record at once), OPERATIONS of each, CLOSES (ticks of
 * each stream that are closed unasked), FILLED (an entry is taken already). BUG_...: a planted bug.
 */
#ifndef STREAMS
#define STREAMS 2
#endif
#ifndef ENTRIES
#define ENTRIES 1
#endif
#ifndef PIECE
#define PIECE 1
#endif
#ifndef HOLDERS
#define HOLDERS 2
#endif
#ifndef OPERATIONS
#define OPERATIONS 1
#endif
#ifndef CLOSES
#define CLOSES 1
#endif

#define PLACES (ENTRIES + (STREAMS + HOLDERS) * PIECE) /* two holders may each give one stream a place */
#define NONE   PLACES

byte owner[PLACES]; /* stream + 1; one word with tick */
byte tick[PLACES];
byte places = ENTRIES; /* that there are: those in the record, and those of pieces in the chain */

byte open[STREAMS], passed[STREAMS], queued[STREAMS], done_to[STREAMS];
bit  wanted[STREAMS];
byte used[STREAMS]; /* ghost: the last operation on the record */
byte holders = HOLDERS;
bit  released;

inline find(s)
{
    place = 0;
    do
    :: atomic { place == places -> place = NONE; break }
    :: atomic { place < places && owner[place] == s + 1 -> break }
    :: atomic { place < places && owner[place] != s + 1 -> place++ }
    od
}

/* place: NONE if no entry could be had. */
inline claim(s)
{
    place = 0;
    do
    :: atomic { place == places -> place = NONE; break }
    :: atomic { place < places -> saw = owner[place]; saw_tick = tick[place] }
        if
        :: atomic { saw == 0 -> skip }
#ifdef BUG_CLAIM_PASSED
        :: atomic { saw != 0 && passed[saw - 1] >= saw_tick -> skip }
        :: atomic { saw != 0 && passed[saw - 1] < saw_tick -> place++; saw = 255 }
#else
        :: atomic { saw != 0 -> place++; saw = 255 }
#endif
        fi;
        if
        :: atomic { saw == 255 -> saw = 0 }
        :: atomic { saw != 255 ->
                if
                :: owner[place] == saw && tick[place] == saw_tick ->
                    owner[place] = s + 1;
                    tick[place] = 0;
                    saw = 0;
                    break
                :: else ->
                    saw = 0;
                    if
                    :: owner[place] == s + 1 -> break
                    :: else -> place++
                    fi
                fi
            }
        fi
    od;
    saw_tick = 0
}

/* The end of the chain was at `place`. */
inline add_piece(s)
{
    place = places;
    assert(place < PLACES);
#ifdef BUG_PIECE_STORE
    /* Over one that another has put there meanwhile. */
    atomic {
        owner[place] = s + 1;
        tick[place] = 0;
        places = place + PIECE
    }
#else
    atomic {
        if
        :: places == place ->
            owner[place] = s + 1;
            tick[place] = 0;
            places = place + PIECE
        :: else
        fi
    }
#endif
}

inline reserve(s)
{
    do
    :: find(s);
        if
        :: place != NONE -> break
        :: place == NONE ->
            claim(s);
            if
            :: place != NONE -> break
            :: place == NONE -> add_piece(s)
            fi
        fi
    od;
    place = 0
}

inline mark(s)
{
    now = open[s];
    find(s);
    assert(place != NONE);
#ifdef BUG_PLAIN_MARK
    atomic { owner[place] = s + 1; tick[place] = now };
#else
    atomic { /* the words are compared whole */
        if
        :: owner[place] < s + 1 || (owner[place] == s + 1 && tick[place] < now) ->
            owner[place] = s + 1;
            tick[place] = now
        :: else
        fi
    };
#endif
    now = 0;
    place = 0
}

proctype holder(byte me)
{
    byte left = OPERATIONS, s, place, saw, saw_tick, now;
    do
    :: atomic { left == 0 -> break }
    :: atomic { left > 0 -> left--;
            if
            :: s = 0
            :: s = 1
#if STREAMS > 2
            :: s = 2
#endif
            fi
        }
        reserve(s);
        atomic { queued[s]++; used[s] = queued[s] }
        mark(s)
    od;
    atomic { holders--; s = 0 }
    /* The last one releases the record, and waits for each mark in turn. */
    if
    :: holders > 0 || released
    :: atomic { holders == 0 && !released -> released = 1 }
        do
        :: place = 0;
            do
#ifdef BUG_PIECES_IGNORED
            :: atomic { place == ENTRIES -> break }
#else
            :: atomic { place == places -> break }
#endif
            :: atomic { place < places && owner[place] && passed[owner[place] - 1] < tick[place] -> s = owner[place]; break }
            :: atomic { place < places && !(owner[place] && passed[owner[place] - 1] < tick[place]) -> place++ }
            od;
            if
            :: s == 0 -> break
            :: s != 0 ->
                now = passed[s - 1];
                wanted[s - 1] = 1;
                passed[s - 1] > now;
                s = 0;
                now = 0
            fi
        od;
        atomic {
            do
            :: s < STREAMS -> assert(used[s] <= done_to[s]); s++
            :: else -> break
            od;
            s = 0;
            released = 0;
            holders = 255
        }
    fi
}

proctype stream(byte s)
{
    byte limit;
end:
    do
    :: atomic { open[s] <= CLOSES || (wanted[s] && passed[s] + 1 == open[s]) -> open[s]++; wanted[s] = 0; limit = queued[s] }
        atomic { done_to[s] = limit; passed[s] = open[s] - 1; limit = 0 }
    od
}

init
{
    byte s;
    atomic {
        do
        :: s < STREAMS -> open[s] = 1; run stream(s); s++
        :: else -> break
        od;
#ifdef FILLED
        queued[0] = 1;
        used[0] = 1;
        owner[0] = 1;
        tick[0] = 1;
#endif
        s = 0;
        do
        :: s < HOLDERS -> run holder(s); s++
        :: else -> break
        od;
        s = 0
    }
    timeout;
    assert(holders == 255);
}
