/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab_epoch.pml - a slab that leaves a pool and comes back while its buffers are used (lib/pool/grow.c, directory.c)
 *
 * What is modelled
 *   Records 1 to BLOCKS belong to the slab that comes and goes; the others, if any, stay. A record is a word, state |
 *   HOME, and its attention: DIVERT while the slab is being retired, FRESH while it is on the keeper's list. The free
 *   store is a slot with its hint, the lane and the commons, as in store_home.pml. The monitor marks the slab, takes
 *   what is at home, sweeps lane and commons under the queue's lock, settles until all records are GONE, takes the slab
 *   out of the directory, waits for a grace period, and unmaps it; or demand returns first and it revives the slab, or
 *   later grows a new one on the same records. Users lease, use and release; readers look an address up in a section.
 *
 * How it is written
 *   Every step between two semicolons is one shared access; an atomic block holds one shared access plus private and
 *   ghost bookkeeping. The monitor comes again when it is kicked or, while objects are on their way out, for a
 *   period: once anything has changed, which `stale` says.
 *
 * What is asserted
 *   safety   nobody uses, looks up or reads a slab that is unmapped; a record has one owner
 *   exact    who holds the queue's lock and finds nothing does so only when no record that stays is free
 *   liveness when nothing can move any more the slab is as the monitor was asked last: unmapped, with all its records
 *            GONE and without an object; or all records free and findable, none with DIVERT or FRESH. The total is right
 *
 * Assumed: sequential consistency; an epoch's grace period keeps its promise (epoch.pml).
 *
 * Shape
 *   BLOCKS STAYING USERS ROUNDS READERS    sizes; STAYING records that never leave
 *   PLAN                 what the monitor is asked for, in order, one bit each from the lowest: 1 in, 0 out
 *   STEPS                bits of PLAN
 *   SHOW                 somebody else publishes what is on the keeper's list
 *   BELIEVER             somebody looks under the queue's lock and believes "empty"
 *   BUG_...              a planted bug, see the places marked by the name
 */
#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef STAYING
#define STAYING 0
#endif
#ifndef USERS
#define USERS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef READERS
#define READERS 0
#endif
#ifndef PLAN
#define PLAN 0
#endif
#ifndef STEPS
#define STEPS 1
#endif
#define RECORDS (BLOCKS + STAYING)
#define OWNED(x) ((x) <= BLOCKS)

#define GONE     0
#define FREE     1
#define LEASED   2
#define RETIRING 3
#define HOME     8
#define STATE(w) ((w) & 7)

byte word[RECORDS + 1];
bit  divert[RECORDS + 1], fresh[RECORDS + 1]; /* one word: attention */
byte object[RECORDS + 1];                     /* the slab; 0: none */
byte slot;
byte lane, commons, list; /* sets; list is the keeper's */
bit  locked;              /* the queue's lock */
byte total;
bit  kick;
bit  stale = 1;

byte directory;           /* the slab that a look-up finds; 0: none */
byte section[READERS + 1]; /* odd: inside */

/* ---- Ghosts ---- */

byte mapped = 2; /* a set of slabs; slab 1 is there at the beginning */
byte slabs = 2;
byte holder[RECORDS + 1];
byte ended;
bit  wanted; /* the last thing the monitor was asked for */
byte steps;
#define MONITOR 90
#define KEEPER  91

#define IN(set, x) (((set) >> (x)) & 1)
#define SET(x)     (1 << (x))
#define NEWS       stale = 1
#define ATTENTION(x) (divert[x] || fresh[x])

inline pick(set, x)
{
    x = 1;
    do
    :: IN(set, x) -> break
    :: (set) >> (x + 1) -> x++
    od
}

inline touch(x) { assert(!OWNED(x) || (object[x] != 0 && IN(mapped, object[x]))) }

/* ---- The free store ---- */

inline put_commons(x)
{
    atomic { assert(!IN(commons, x) && !IN(lane, x)); commons = commons | SET(x); NEWS }
}

/* held has just left the slot by this process's exchange: only this process clears its HOME. */
inline displace()
{
    atomic {
        assert(word[held] & HOME);
        word[held] = word[held] & ~HOME;
        place = (STATE(word[held]) == FREE);
        NEWS
    }
    if
    :: atomic { !place -> held = 0 }
    :: atomic { place -> place = 0 }
        put_commons(held);
        held = 0
    fi
}

/* Publish x, which the caller owns in state `from`. */
inline put(x, from)
{
    atomic {
        assert(STATE(word[x]) == from && holder[x] == id);
        if
        :: word[x] & HOME -> word[x] = FREE | HOME; holder[x] = 0; NEWS
        :: else -> place = 1
        fi
    }
    if
    :: atomic { !place -> skip }
    :: atomic { place -> place = 0; held = slot }
        atomic { place = (held == 0 || STATE(word[held]) != FREE); held = 0 }
        if
        :: atomic { place -> place = 0; assert(word[x] == from); word[x] = FREE | HOME; holder[x] = 0; NEWS }
            atomic { held = slot; slot = x; NEWS }
            if
            :: atomic { held != 0 -> skip }
                displace()
            :: atomic { held == 0 -> skip }
            fi
        :: atomic { !place -> assert(word[x] == from); word[x] = FREE; holder[x] = 0 }
            put_commons(x)
        fi
    fi
}

/* The owner of x takes it out of the pool. */
inline make_gone(x)
{
    atomic {
        assert(holder[x] == id);
#ifdef BUG_GONE_HOMELESS
        word[x] = GONE;
#else
        word[x] = (word[x] & HOME) | GONE;
#endif
        holder[x] = 0;
        NEWS
    }
    total--;
    kick = 1
}

/* found = 0: there is nothing, or it went out of the pool. */
inline lease_taken()
{
    if
    :: atomic { divert[found] -> skip }
        make_gone(found);
        found = 0
    :: atomic { !divert[found] -> assert(word[found] == FREE); word[found] = LEASED }
    fi
}

inline take_from(set)
{
    atomic {
        if
        :: set -> pick(set, found); set = set & ~SET(found); assert(holder[found] == 0); holder[found] = id; NEWS
        :: else -> found = 0
        fi
    }
}

inline claim(hint, to)
{
    atomic {
        if
        :: hint != 0 && word[hint] == (FREE | HOME) ->
            assert(holder[hint] == 0);
            holder[hint] = id;
            word[hint] = to | HOME;
            found = hint;
            NEWS
        :: else
        fi
    }
}

proctype user(byte me)
{
    byte id, rounds = ROUNDS, found, held;
    bit place;
    id = me + 1;
    do
    :: atomic { rounds == 0 -> break }
    :: atomic { rounds > 0 -> rounds-- }
        if
        :: atomic { held = slot }
            claim(held, LEASED);
            held = 0
        :: true ->
            take_from(lane);
            if
            :: atomic { found != 0 -> skip }
                lease_taken()
            :: atomic { found == 0 -> skip }
            fi
        :: true ->
            take_from(commons);
            if
            :: atomic { found != 0 -> skip }
                lease_taken()
            :: atomic { found == 0 -> skip }
            fi
        fi;
        if
        :: atomic { found == 0 -> skip }
        :: atomic { found != 0 -> touch(found) }
            atomic { touch(found); place = ATTENTION(found) }
            if
            :: atomic { place -> place = 0 }
                atomic { word[found] = (word[found] & HOME) | RETIRING; NEWS }
                touch(found);
                if
                :: atomic { divert[found] -> skip }
                    make_gone(found)
                :: atomic { !divert[found] -> skip }
                    put(found, RETIRING)
                fi
            :: atomic { !place -> skip }
                put(found, LEASED)
            fi;
            found = 0
        fi
    od;
    ended++
}

/* ---- The keeper ---- */

proctype keeper()
{
    byte id = KEEPER, x;
    bit homeless;
end:
    do
    :: atomic { list -> pick(list, x); list = list & ~SET(x); assert(holder[x] == 0); holder[x] = id }
        atomic {
            assert(STATE(word[x]) == GONE && object[x] != 0);
            homeless = !(word[x] & HOME);
            word[x] = (word[x] & HOME) | FREE;
            holder[x] = 0;
            NEWS
        }
        if
        :: atomic { homeless -> homeless = 0; assert(!IN(lane, x) && !IN(commons, x)); lane = lane | SET(x); NEWS }
        :: atomic { !homeless -> skip }
        fi;
        atomic { fresh[x] = 0; NEWS }
#ifndef BUG_KEEPER_SILENT
        /* The monitor passes over a FRESH record: if it has become GONE meanwhile he must look again. */
        if
        :: atomic { STATE(word[x]) == GONE -> kick = 1 }
        :: atomic { STATE(word[x]) != GONE -> skip }
        fi;
#endif
        x = 0
    od
}

#ifdef SHOW
/* Somebody who wants to see the new objects at once publishes what is on the list, by the ordinary way. */
proctype shower()
{
    byte id = KEEPER + 1, x, held;
    bit place;
    do
    :: atomic { list == 0 -> break }
    :: atomic { list -> pick(list, x); list = list & ~SET(x); assert(holder[x] == 0); holder[x] = id }
        put(x, GONE);
        atomic { fresh[x] = 0; NEWS }
        if
        :: atomic { STATE(word[x]) == GONE -> kick = 1 }
        :: atomic { STATE(word[x]) != GONE -> skip }
        fi;
        x = 0
    od;
    ended++
}
#endif

/* ---- The monitor ---- */

inline push_fresh(x)
{
    fresh[x] = 1;
    total++;
    atomic { assert(!IN(list, x)); list = list | SET(x); NEWS }
}

/* `gone`: the record is out of the pool, and not on the keeper's list. */
inline look_gone(x)
{
#ifdef BUG_WORD_FIRST
    gone = (STATE(word[x]) == GONE);
    if
    :: gone -> gone = !fresh[x]
    :: !gone
    fi
#elif defined(BUG_FRESH_IGNORED)
    gone = (STATE(word[x]) == GONE)
#else
    gone = !fresh[x];
    if
    :: gone -> gone = (STATE(word[x]) == GONE)
    :: !gone
    fi
#endif
}

inline restore_gone()
{
    x = 1;
    do
    :: atomic { x > BLOCKS -> x = 0; gone = 0; break }
    :: atomic { x <= BLOCKS -> skip }
        look_gone(x);
        if
        :: atomic { gone -> skip }
            push_fresh(x)
        :: atomic { !gone -> skip }
        fi;
        x++
    od
}

inline take_free()
{
    x = 1;
    do
    :: atomic { x > BLOCKS -> x = 0; break }
    :: atomic { x <= BLOCKS -> skip }
        claim(x, GONE);
        if
        :: atomic { found != 0 -> holder[found] = 0; found = 0 }
            total--
        :: atomic { found == 0 -> skip }
        fi;
        x++
    od
}

inline sweep()
{
    atomic { todo = 0; k = 1;
        do
        :: k <= RECORDS -> todo = todo + IN(lane, k) + IN(commons, k); k++
        :: else -> break
        od;
        k = 0
    }
    do
    :: atomic { todo == 0 -> break }
    :: atomic { todo > 0 -> todo-- }
#ifndef BUG_SWEEP_UNLOCKED
        atomic { !locked -> locked = 1 }
#endif
        take_from(lane);
        if
        :: atomic { found != 0 -> skip }
        :: atomic { found == 0 -> skip }
            take_from(commons)
        fi;
        if
        :: atomic { found == 0 -> skip }
        :: atomic { found != 0 -> skip }
            if
            :: atomic { divert[found] -> skip }
                make_gone(found)
            :: atomic { !divert[found] -> holder[found] = 0 }
                put_commons(found)
            fi;
            found = 0
        fi;
#ifndef BUG_SWEEP_UNLOCKED
        atomic { locked = 0; NEWS }
#endif
    od
}

inline count_out()
{
    out = 0;
    x = 1;
    do
    :: atomic { x > BLOCKS -> x = 0; gone = 0; break }
    :: atomic { x <= BLOCKS -> skip }
#ifdef BUG_LEASED_FORGOTTEN
        gone = (STATE(word[x]) != FREE);
#else
        look_gone(x);
#endif
        atomic { out = out + !gone; x++ }
    od
}

/* Every section that is open now ends. */
inline synchronize()
{
#if READERS
    k = 0;
    do
    :: atomic { k == READERS -> k = 0; break }
    :: atomic { k < READERS -> seen = section[k] }
        if
        :: atomic { !(seen & 1) -> k++ }
        :: atomic { (seen & 1) && section[k] != seen -> k++ }
        fi
    od;
    seen = 0
#else
    skip
#endif
}

inline end_slab()
{
#ifdef BUG_DIRECTORY_LATE
    synchronize();
    directory = 0;
#else
    directory = 0;
#ifndef BUG_NO_GRACE
    synchronize();
#endif
#endif
    x = 1;
    do
    :: atomic { x > BLOCKS -> x = 0; break }
    :: atomic { x <= BLOCKS -> assert(holder[x] == 0 && !IN(list, x)); divert[x] = 0; fresh[x] = 0 }
        atomic { was = object[x]; object[x] = 0; x++ }
    od;
    atomic { mapped = mapped & ~SET(was); was = 0; retiring = 0; there = 0 }
}

inline grow()
{
    atomic { was = slabs; slabs++; mapped = mapped | SET(was) }
    x = 1;
    do
    :: atomic { x > BLOCKS -> x = 0; break }
    :: atomic { x <= BLOCKS -> assert(object[x] == 0); object[x] = was }
        atomic { divert[x] = 0; fresh[x] = 0; x++ }
    od;
    directory = was;
    x = 1;
    do
    :: atomic { x > BLOCKS -> x = 0; break }
    :: atomic { x <= BLOCKS -> skip }
        push_fresh(x);
        x++
    od;
    atomic { was = 0; there = 1 }
}

proctype monitor()
{
    byte id = MONITOR, x, found, held, todo, out, k, was, seen;
    bit gone, retiring, revived, there, place;
    there = 1;
end:
    do
    :: atomic { steps > 0 || kick || (out > 0 && stale) -> kick = 0; stale = 0 }
        if
        :: atomic { steps == 0 -> skip }
        :: atomic { steps > 0 -> wanted = (PLAN >> (STEPS - steps)) & 1; steps-- }
            if
            :: atomic { wanted && !there -> skip }
                grow()
            :: atomic { wanted && there && retiring -> retiring = 0; x = 1 }
                do
                :: atomic { x > BLOCKS -> x = 0; break }
#ifdef BUG_REVIVED_DIVERT
                :: atomic { x <= BLOCKS -> x++ }
#else
                :: atomic { x <= BLOCKS -> divert[x] = 0; x++ }
#endif
                od;
                restore_gone();
                revived = 1
            :: atomic { wanted && there && !retiring -> skip }
            :: atomic { !wanted && there && !retiring -> retiring = 1; x = 1 }
                do
                :: atomic { x > BLOCKS -> x = 0; break }
                :: atomic { x <= BLOCKS -> divert[x] = 1; x++ }
                od;
                take_free();
                sweep()
            :: atomic { !wanted && (!there || retiring) -> skip }
            fi
        fi;
        /* Settle. */
        out = 0;
        if
        :: atomic { !retiring -> skip }
        :: atomic { retiring -> skip }
            take_free();
            count_out();
            if
            :: atomic { out == 0 -> skip }
            :: atomic { out != 0 -> skip }
                sweep();
                count_out()
            fi;
            if
            :: atomic { out != 0 -> skip }
            :: atomic { out == 0 -> skip }
                end_slab()
            fi
        fi;
#ifndef BUG_NO_RESTORE
        if
        :: atomic { retiring || !revived || !there -> skip }
        :: atomic { !retiring && revived && there -> skip }
            restore_gone()
        fi
#endif
    od
}

/* ---- Looking on ---- */

#if READERS
proctype reader(byte me)
{
    byte slab;
#ifndef BUG_LOOKUP_OUTSIDE
    section[me]++;
#endif
    slab = directory;
    if
    :: atomic { slab == 0 -> skip }
    :: atomic { slab != 0 -> assert(IN(mapped, slab)) }
        atomic { assert(IN(mapped, slab)); slab = 0 }
    fi;
#ifndef BUG_LOOKUP_OUTSIDE
    section[me]++;
#endif
    ended++
}
#endif

#ifdef BELIEVER
/* Only the monitor and the keeper move records meanwhile; the one that stays is free all the time. */
proctype believer()
{
    byte found;
    atomic { !locked -> locked = 1 }
    found = lane & ~((1 << (BLOCKS + 1)) - 1);
    if
    :: found
    :: !found -> found = commons & ~((1 << (BLOCKS + 1)) - 1)
    fi;
    if
    :: found
    :: !found -> found = (slot > BLOCKS)
    fi;
    assert(found != 0);
    atomic { locked = 0; ended++ }
}
#endif

init
{
    byte x;
    atomic {
        x = 1;
        do
        :: x <= RECORDS ->
            if
            :: OWNED(x) -> object[x] = 1
            :: else
            fi;
            if
            :: x == 1 -> word[x] = FREE | HOME; slot = x
            :: else -> word[x] = FREE; commons = commons | SET(x)
            fi;
            total++;
            x++
        :: else -> break
        od;
        directory = 1;
        steps = STEPS;
        x = 0;
        do
        :: x < USERS -> run user(x); x++
        :: else -> break
        od;
#if READERS
        x = 0;
        do
        :: x < READERS -> run reader(x); x++; ended--
        :: else -> break
        od;
#endif
#ifdef BELIEVER
        run believer();
        ended--;
#endif
#ifdef SHOW
        run shower();
        ended--;
#endif
        run keeper();
        run monitor();
        x = 0
    }
    timeout;
    assert(ended == USERS && steps == 0 && list == 0 && !locked);
    x = 1;
    do
    :: x > RECORDS -> break
    :: x <= RECORDS ->
        assert(holder[x] == 0 && !fresh[x] && !divert[x]);
        if
        :: OWNED(x) && !wanted ->
            assert(STATE(word[x]) == GONE && object[x] == 0 && !IN(lane, x) && !IN(commons, x))
        :: else ->
            assert(!OWNED(x) || (object[x] != 0 && IN(mapped, object[x])));
            if
            :: word[x] == (FREE | HOME) -> assert(slot == x && !IN(lane, x) && !IN(commons, x))
            :: word[x] == FREE -> assert(IN(lane, x) + IN(commons, x) == 1 && slot != x)
            :: else -> assert(false)
            fi
        fi;
        x++
    od;
    assert(total == (wanted -> RECORDS : STAYING));
    assert(wanted || mapped == 0)
}
