/* SPDX-License-Identifier: Apache-2.0 */
/*
 * released.pml - the list of released buffers that the mover has yet to hear of (lib/tier/tiered.c)
 *
 * What is modelled
 *   A stack whose links also say who is in it: 0 is "not in the list", so the last one's link is NOBODY. Whoever
 *   releases a buffer takes its link from 0, writes what the mover needs, and pushes. A buffer that is in the list
 *   still is not pushed again. The mover takes the whole list, reads each link, and clears it.
 *
 * What is asserted
 *   When nothing can move any more the mover has heard of every release, and no buffer is in the list.
 *
 * Assumed: sequential consistency.
 *
 * Shape: BUFFERS, each released ROUNDS times by a thread of its own. BUG_...: a planted bug.
 */
#ifndef BUFFERS
#define BUFFERS 3
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#define NOBODY 255

byte head;          /* buffer + 1 */
byte link[BUFFERS]; /* buffer + 1, NOBODY, or 0 */
byte note[BUFFERS]; /* written before the push, read by the mover */
byte unheard;       /* ghost: a set */

#define IN(set, x) (((set) >> (x)) & 1)
#define SET(x)     (1 << (x))

proctype releaser(byte me)
{
    byte rounds = ROUNDS, seen;
    bit mine;
    do
    :: atomic { rounds == 0 -> break }
    :: atomic { rounds > 0 -> unheard = unheard | SET(me) }
#ifdef BUG_LINK_EXCHANGED
        atomic { mine = (link[me] == 0); link[me] = NOBODY }
#else
        atomic {
            mine = (link[me] == 0);
            link[me] = (mine -> NOBODY : link[me])
        }
#endif
        if
        :: atomic { !mine -> skip }
        :: atomic { mine -> skip }
#ifdef BUG_NOTE_LATE
            skip;
#else
            note[me] = rounds;
#endif
            seen = head;
            do
            :: link[me] = (seen -> seen : NOBODY);
                atomic {
                    if
                    :: head == seen -> head = me + 1; break
                    :: else -> seen = head
                    fi
                }
            od
#ifdef BUG_NOTE_LATE
            ;
            note[me] = rounds
#endif
        fi;
        atomic { rounds--; seen = 0; mine = 0 }
    od
}

proctype mover()
{
    byte at, b;
end:
    do
    :: atomic { head != 0 -> at = head; head = 0 }
        do
        :: atomic { at == 0 || at == NOBODY -> at = 0; break }
        :: atomic { at != 0 && at != NOBODY -> b = at - 1; assert(note[b] != 0) }
#ifdef BUG_CLEAR_FIRST
            atomic { at = 0 }
            link[b] = 0;
            at = link[b];
#else
            at = link[b];
            link[b] = 0;
#endif
            atomic { unheard = unheard & ~SET(b); b = 0 }
        od
    od
}

init
{
    byte x;
    atomic {
        do
        :: x < BUFFERS -> run releaser(x); x++
        :: else -> break
        od;
        run mover();
        x = 0
    }
    timeout;
    assert(head == 0 && unheard == 0);
    do
    :: x == BUFFERS -> break
    :: x < BUFFERS -> assert(link[x] == 0); x++
    od
}
