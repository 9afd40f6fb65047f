/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kick.pml - waking the keeper and the monitor: a word that grows, and a flag that says somebody sleeps (lib/sync/kick.c)
 *
 * What is modelled
 *   The sleeper reads the word, looks for work, raises the flag, and sleeps if the word has not moved. A kick raises the
 *   word, and makes a system call only if the flag is up. Only the sleeper takes the flag down, after he slept: a kicker
 *   that did could do it late, for a sleep that begins with his word already seen. The futex: waiting compares the word
 *   with what was seen; a sleeper with a deadline may leave by himself.
 *
 * What is asserted
 *   When nothing can move any more all work that a kick told of is done.
 *
 * Assumed: sequential consistency; the word does not wrap while the sleeper looks for work.
 *
 * Shape: KICKERS, KICKS of each; TIMED: the sleeper may have a deadline. BUG_...: a planted bug.
 */
#ifndef KICKERS
#define KICKERS 2
#endif
#ifndef KICKS
#define KICKS 2
#endif

byte word;
bit  asleep; /* the flag */
bit  held;   /* the kernel holds the sleeper */
byte work, ended;

proctype kicker()
{
    byte left = KICKS;
    bit was;
    do
    :: atomic { left == 0 -> break }
    :: atomic { left > 0 -> left-- }
#ifdef BUG_WORK_LATE
        skip;
#else
        work = 1;
#endif
#ifdef BUG_FLAG_FIRST
        was = asleep;
        word++;
#else
        word++;
        was = asleep;
#endif
#ifdef BUG_KICKER_LOWERS
        atomic { was = was && asleep; asleep = (was -> 0 : asleep) }
#endif
        if
        :: !was
        :: was -> held = 0 /* FUTEX_WAKE */
        fi;
#ifdef BUG_WORK_LATE
        work = 1;
#endif
        was = 0
    od;
    ended++
}

proctype sleeper()
{
    byte seen;
end:
    do
    ::
#ifdef BUG_SEEN_LATE
        work = 0;
        seen = word;
#else
        seen = word;
        work = 0;
#endif
#ifndef BUG_FLAG_LATE
        asleep = 1;
#endif
        if
        :: atomic { word != seen -> skip }
        :: atomic { word == seen -> skip }
            atomic { held = (word == seen) } /* FUTEX_WAIT */
#ifdef BUG_FLAG_LATE
            asleep = 1;
#endif
end_asleep:
            if
            :: !held
#ifdef TIMED
            :: atomic { held && work -> held = 0 }
#endif
            fi
        fi;
        asleep = 0
    od
}

init
{
    byte x;
    atomic {
        do
        :: x < KICKERS -> run kicker(); x++
        :: else -> break
        od;
        run sleeper();
        x = 0
    }
    timeout;
    assert(ended == KICKERS && work == 0);
}
