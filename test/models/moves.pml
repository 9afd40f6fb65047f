/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moves.pml - one buffer that moves between tiers while it is borrowed (lib/tier/place.h, borrow.c, mover.c)
 *
 * What is modelled
 *   The word place | writers | version; the hazard slots, whose plain stores stay in a store buffer until they drain
 *   or somebody's membarrier drains them; host reads, host writes, device reads and writes on streams with ticks;
 *   a view that another thread returns, while its first thread borrows again; the mover: word, write marks, copy,
 *   swap, limbo, membarrier, scan, marks, free; the home block that keeps its bytes while nothing is written higher
 *   up (dirty); a buffer that is released, dropped home without a copy, and leased again; a stream that hangs.
 *   Place 0 is the home; the others are blocks that are used again. The copy is made by somebody else, in two steps.
 *
 * How it is written
 *   Every step between two semicolons is one shared access; an atomic block holds one shared access plus private
 *   and ghost bookkeeping. A load followed by a compare-and-swap on the same word is one step. A read-modify-write
 *   and a fence drain their thread's store buffer. A tick is closed and recorded in one step: ticks.pml has the steps.
 *   The mover tries again, and looks at its limbo again, once anything has changed, which `stale` says.
 *
 * What is asserted
 *   safety   no place is read, written, or copied to or from, by anyone after it was freed
 *   bytes    a read sees every write that had ended when its borrow began; no write is lost
 *   liveness when nothing can move any more all borrows have ended, the mover has made all its moves, and has freed
 *            every place that it left, but for what a hanging stream may still use
 *
 * Assumed: sequential consistency but for the slots; the version does not wrap within one copy.
 *
 * Shape
 *   READS WRITES          host reads, one after the other; host writes
 *   DEVICE_READ DEVICE_WRITE DEVICE_WRITE_TOO    stream + 1 of a device read and of device writes
 *   HANDED                the first read's view is returned by another thread; that thread's slots: 2
 *   MOVES BLOCKS STREAMS  sizes; blocks without the home
 *   START_UP              the buffer begins in a block
 *   WRITE_MARKS           room for marks of device writes
 *   ADOPTED HANG          masks of streams: only the issuer closes ticks, after every operation; nothing on it is done
 *   RELEASE               the writer releases the buffer, and another lease writes it
 *   BUG_...               a planted bug, see the places marked by the name
 */
#ifndef READS
#define READS 0
#endif
#ifndef WRITES
#define WRITES 0
#endif
#ifndef DEVICE_READ
#define DEVICE_READ 0
#endif
#ifndef DEVICE_WRITE
#define DEVICE_WRITE 0
#endif
#ifndef DEVICE_WRITE_TOO
#define DEVICE_WRITE_TOO 0
#endif
#ifndef MOVES
#define MOVES 1
#endif
#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef STREAMS
#define STREAMS 1
#endif
#ifdef START_UP
#define START 1
#else
#define START 0
#endif
#ifndef WRITE_MARKS
#define WRITE_MARKS 1
#endif
#ifndef ADOPTED
#define ADOPTED 0
#endif
#ifndef HANG
#define HANG 0
#endif
#define PLACES (BLOCKS + 1)
#define TICKS  6

#ifdef HANDED
#define READER_SLOTS 2
#else
#define READER_SLOTS 1
#endif
#define DEVICE_SLOT READER_SLOTS
#define SLOTS       (READER_SLOTS + 1)

/* ---- The words ---- */

byte place = START;
byte writers, version; /* one word with place: accessed in one step */
bit  dirty;
byte slot[SLOTS];             /* place + 1; 0: none */
byte buffered[SLOTS];         /* on its way to the slot ... */
bit  waiting[SLOTS];          /* ... if so */

byte mark[STREAMS];
byte write_stream[WRITE_MARKS], write_tick[WRITE_MARKS]; /* one word: stream + 1 | tick */
bit  many_writers;

byte open[STREAMS], passed[STREAMS];
byte event[STREAMS * TICKS];
byte queued[STREAMS], finished[STREAMS];
chan queue[STREAMS] = [2] of { byte, byte }; /* place, bits to write */

byte copy_from, copy_to;
bit  copying;

byte limbo[PLACES];               /* 0, UNSCANNED or UNREAD */
byte limbo_mark[PLACES * STREAMS];
#define UNSCANNED 1
#define UNREAD    2

#ifdef RELEASE
byte released_place, released_version;
bit  released;
#endif
bit  stale = 1;

/* ---- Ghosts ---- */

byte content[PLACES];
byte freed = ((1 << PLACES) - 1) & ~1 & ~(1 << START); /* a set */
byte committed;                        /* writes that have ended */
byte ended, borrowers;
byte moves = MOVES;
byte handed;                           /* slot + 1 of a view on its way to another thread */
byte handed_place;

#define IN(set, x) (((set) >> (x)) & 1)
#define SET(x)     (1 << (x))
#define NEWS       stale = 1
#define MARKED(p, s) limbo_mark[(p) * STREAMS + (s)]

inline touch(p) { assert(!IN(freed, p)) }

/* ---- Slots ---- */

inline put(i, name) { atomic { buffered[i] = name; waiting[i] = 1 } }

/* Inside an atomic block. */
inline drain(i)
{
    if
    :: waiting[i] -> slot[i] = buffered[i]; buffered[i] = 0; waiting[i] = 0; NEWS
    :: else
    fi
}

inline membarrier()
{
    atomic {
        k = 0;
        do
        :: k < SLOTS -> drain(k); k++
        :: else -> break
        od;
        k = 0
    }
}

/* ---- Borrowing ---- */

/* B1 to B4. p: the place that is held. */
inline hold_for_read(i)
{
#ifdef BUG_NAME_LATE
    do
    :: p = place;
        if
        :: place == p -> break
        :: place != p
        fi
    od;
    put(i, p + 1)
#elif defined(BUG_NO_SECOND_LOOK)
    p = place;
    put(i, p + 1)
#else
    p = place;
    do
    :: put(i, p + 1);
        atomic {
            if
            :: place == p -> break
            :: else -> p = place
            fi
        }
    od
#endif
}

/* W1 and W2. */
inline hold_for_write()
{
    do
    :: atomic { p = place; seen = version }
#ifndef BUG_DIRTY_LATE
        if
        :: dirty
        :: !dirty -> dirty = 1
        fi;
#endif
        atomic {
            if
#ifdef BUG_WRITE_ADDS
            :: true -> writers++; version++; break
#elif defined(BUG_VERSION_ONLY)
            :: place == p && version == seen -> version++; break
#elif defined(BUG_NO_VERSION)
            :: place == p && version == seen -> writers++; break
#else
            :: place == p && version == seen -> writers++; version++; break
#endif
            :: else
            fi
        }
    od;
    seen = 0
}

inline let_go_of_write()
{
#ifdef BUG_VERSION_ONLY
    atomic { version++; NEWS }
#else
    atomic { writers--; NEWS }
#endif
#ifdef BUG_DIRTY_LATE
    dirty = 1
#endif
}

proctype reader()
{
    byte p, want, got, left = READS, i;
    do
    :: atomic { left == 0 -> break }
    :: atomic { left > 0 -> left--; want = committed }
        /* A slot of this thread that is 0, as the thread itself sees it. */
#if defined(HANDED) && !defined(BUG_SLOT_REUSED)
        atomic { i = ((waiting[0] -> buffered[0] : slot[0]) == 0 -> 0 : 1) }
#endif
        hold_for_read(i);
#ifdef HANDED
        if
        :: left > 0 && !handed -> /* given away by a synchronizing means: what was stored is seen */
            atomic { drain(i); handed_place = p; handed = i + 1; p = 0; want = 0; i = 0 }
        :: left == 0 || handed ->
#endif
            touch(p);
            atomic { got = content[p]; assert((got & want) == want) }
            atomic { touch(p); got = 0; p = 0; want = 0 }
            put(i, 0)
#ifdef HANDED
        fi
#endif
    od;
    ended++
}

#ifdef HANDED
proctype returner()
{
    byte i;
    atomic { handed -> i = handed - 1 }
    touch(handed_place);
    atomic { touch(handed_place); handed_place = 0 }
    atomic { slot[i] = 0; NEWS; i = 0 }
    ended++
}
#endif

proctype writer()
{
    byte p, seen, left = WRITES;
    do
    :: atomic { left == 0 -> break }
    :: atomic { left > 0 -> left-- }
        hold_for_write();
        atomic { touch(p); assert((content[p] & committed) == committed); content[p] = content[p] | SET(left) }
        atomic { touch(p); committed = committed | SET(left); p = 0 }
        let_go_of_write()
#ifdef RELEASE
        /* The bytes are of no use any more; the word is noted for the mover. Then comes the next lease. */
        ;
        if
        :: atomic { left == 0 -> skip }
        :: atomic { left > 0 -> committed = 0; released_place = place; released_version = version }
            atomic { released = 1; NEWS }
        fi
#endif
    od;
    ended++
}

/* ---- Device borrows ---- */

inline enqueue(s, p, bits)
{
    atomic { queue[s]!p, bits; queued[s]++ }
}

/* Inside an atomic block: close the open tick. */
inline close(s)
{
    assert(open[s] < TICKS);
    event[s * TICKS + open[s]] = queued[s];
    open[s]++;
    NEWS
}

/* The fence of wi_mark_now(), then the open tick. */
inline mark_now(s, i)
{
    atomic { drain(i); tick = open[s] }
}

inline mark_record(s)
{
    atomic { mark[s] = (mark[s] < tick -> tick : mark[s]); drain(DEVICE_SLOT) }
}

inline mark_write(s)
{
#ifdef BUG_LAST_WRITER
    atomic { write_stream[0] = s + 1; write_tick[0] = tick }
#else
    i = 0;
    do
    :: i == WRITE_MARKS -> many_writers = 1; break
    :: atomic { i < WRITE_MARKS && write_stream[i] == 0 -> write_stream[i] = s + 1; write_tick[i] = tick; break }
    :: atomic { i < WRITE_MARKS && write_stream[i] == s + 1 -> write_tick[i] = (write_tick[i] < tick -> tick : write_tick[i]); break }
    :: atomic { i < WRITE_MARKS && write_stream[i] != 0 && write_stream[i] != s + 1 -> i++ }
    od;
    i = 0
#endif
}

inline count_operation(s)
{
#if ADOPTED
    if
    :: atomic { IN(ADOPTED, s) -> close(s) }
    :: atomic { !IN(ADOPTED, s) -> skip }
    fi
#else
    skip
#endif
}

proctype device_reader(byte s)
{
    byte p, tick;
    hold_for_read(DEVICE_SLOT);
    enqueue(s, p, 0);
#ifdef BUG_SLOT_BEFORE_MARK
    put(DEVICE_SLOT, 0);
#endif
    mark_now(s, DEVICE_SLOT);
    mark_record(s);
    count_operation(s);
#ifndef BUG_SLOT_BEFORE_MARK
    put(DEVICE_SLOT, 0);
#endif
    atomic { p = 0; tick = 0; ended++ }
}

proctype device_writer(byte s; byte bits)
{
    byte p, seen, tick, i;
    hold_for_write();
    enqueue(s, p, bits);
#ifdef BUG_WRITERS_BEFORE_MARK
    let_go_of_write();
#endif
    atomic { tick = open[s] }
#ifdef BUG_WRITE_MARK_AFTER_CLOSE
    mark_record(s);
    count_operation(s);
    atomic { tick = open[s] }
    mark_write(s);
#else
#ifndef BUG_NO_WRITE_MARK
    mark_write(s);
#endif
    mark_record(s);
    count_operation(s);
#endif
#ifndef BUG_WRITERS_BEFORE_MARK
    let_go_of_write();
#endif
    atomic { p = 0; tick = 0; ended++ }
}

proctype stream(byte s)
{
    byte p, bits;
end:
    do
    :: atomic { !IN(HANG, s) && queue[s]?[p, bits] ->
            queue[s]?p, bits;
            touch(p);
            content[p] = content[p] | bits;
            committed = committed | bits;
            finished[s]++;
            p = 0;
            bits = 0
        }
    :: atomic { passed[s] + 1 < open[s] && finished[s] >= event[s * TICKS + passed[s] + 1] -> passed[s]++; NEWS }
    od
}

/* Store buffers drain by themselves at any time. */
proctype drainer()
{
end:
    do
    :: atomic { waiting[0] -> drain(0) }
    :: atomic { waiting[1] -> drain(1) }
#if SLOTS > 2
    :: atomic { waiting[2] -> drain(2) }
#endif
    od
}

/* ---- The mover ---- */

proctype copier()
{
    byte bytes;
end:
    do
    :: atomic { copying -> touch(copy_from); touch(copy_to); bytes = content[copy_from] }
        atomic { touch(copy_from); touch(copy_to); content[copy_to] = bytes; bytes = 0; copying = 0 }
    od
}

/* settled = 0 unless the stream has passed the tick. The mover closes the open tick of weir's own streams. */
inline settle_mark(s, t)
{
    if
    :: passed[s] >= t
    :: passed[s] < t ->
        settled = 0;
#ifndef BUG_NO_CLOSE
        atomic {
            if
            :: open[s] <= t && !IN(ADOPTED, s) -> close(s)
            :: else
            fi
        }
#endif
    fi
}

inline read_write_marks()
{
    settled = 1;
    k = 0;
    do
    :: atomic { k == WRITE_MARKS -> k = 0; break }
    :: atomic { k < WRITE_MARKS && write_stream[k] == 0 -> k++ }
    :: atomic { k < WRITE_MARKS && write_stream[k] != 0 -> s = write_stream[k] - 1; t = write_tick[k] }
        settle_mark(s, t);
        k++
    od;
    s = 0;
    t = 0;
#ifndef BUG_MANY_IGNORED
    if
    :: !many_writers
    :: many_writers ->
        do
        :: atomic { s == STREAMS -> s = 0; break }
        :: atomic { s < STREAMS -> t = mark[s] }
            settle_mark(s, t);
            s++
        od;
        t = 0
    fi
#endif
}

inline swap_to(target)
{
    atomic {
        if
#ifdef BUG_VERSION_ONLY
        :: version == was_version -> place = target; version++; moved = 1; NEWS
#elif defined(BUG_NO_VERSION)
        :: place == from && writers == 0 -> place = target; moved = 1; NEWS
#elif defined(BUG_DROP_UNCHECKED)
        :: place == from && writers == 0 && (dropping || version == was_version) -> place = target; version++; moved = 1; NEWS
#else
        :: place == from && writers == 0 && version == was_version -> place = target; version++; moved = 1; NEWS
#endif
        :: else
        fi
    }
}

/* After a swap that came off. */
inline enter_limbo()
{
    if
    :: to == 0 -> dirty = 0
    :: to != 0
#ifdef BUG_DIRTY_AFTER_SWAP
        -> dirty = 0
#endif
    fi;
#ifdef BUG_MARKS_AT_SWAP
    take_marks(from);
#endif
    limbo[from] = UNSCANNED
}

inline take_marks(left)
{
    s = 0;
    do
    :: atomic { s == STREAMS -> s = 0; break }
    :: atomic { s < STREAMS -> MARKED(left, s) = mark[s]; s++ }
    od
}

/* One move, up to a free block or home. moved = 0: it is dropped, and made later. */
inline attempt()
{
    moved = 0;
#ifdef BUG_WRITE_MARK_FIRST
    read_write_marks();
#endif
    atomic { from = place; was_version = version; busy = (writers != 0) }
#ifndef BUG_DIRTY_AFTER_SWAP
    if
    :: atomic { from == 0 -> dirty = 0 }
        atomic { from = place; was_version = version; busy = (writers != 0) } /* M1 */
    :: atomic { from != 0 -> skip }
    fi;
#endif
    if
    :: atomic { busy -> skip }
    :: atomic { !busy -> skip }
#ifndef BUG_WRITE_MARK_FIRST
        read_write_marks(); /* M2 */
#endif
        atomic {
            to = 0;
            if
            :: true ->
                do
                :: to < BLOCKS -> to++; if :: IN(freed, to) -> break :: else fi
                :: else -> to = 0; break
                od
            :: from != 0
            fi;
            /* A block is free to take, or the home always is. */
            if
            :: settled && (to != 0 || from != 0) ->
                if
                :: to != 0 -> freed = freed & ~SET(to); content[to] = 0
                :: else
                fi
            :: else -> busy = 1
            fi
        }
        if
        :: atomic { busy -> skip }
        :: atomic { !busy -> skip }
#ifdef BUG_SWAP_BEFORE_COPY
            swap_to(to);
#endif
            if
            :: to == 0 && !dirty /* the home has the same bytes */
            :: to != 0 || dirty ->
                atomic { copy_from = from; copy_to = to; copying = 1 }
#ifndef BUG_ABORT_EARLY
                !copying /* M3 */
#endif
            fi;
#ifndef BUG_SWAP_BEFORE_COPY
#ifdef BUG_MEMBARRIER_EARLY
            membarrier();
#endif
            swap_to(to); /* M4 */
#endif
            if
            :: atomic { moved -> skip }
                enter_limbo() /* M5 */
            :: atomic { !moved -> freed = freed | (to -> SET(to) : 0) }
            fi
        fi
    fi;
    atomic { from = 0; to = 0; was_version = 0; busy = 0; settled = 0 }
}

inline settle_limbo()
{
    seen = 0;
    do
    :: atomic { from == PLACES -> from = 0; break }
    :: atomic { from < PLACES -> seen = seen | (limbo[from] == UNSCANNED); from++ }
    od;
    if
    :: atomic { !seen -> skip }
    :: atomic { seen -> seen = 0 }
#if !defined(BUG_NO_MEMBARRIER) && !defined(BUG_MEMBARRIER_EARLY)
        membarrier(); /* M6 */
#endif
        k = 0;
        do
        :: atomic { k == SLOTS -> k = 0; break }
        :: atomic { k < SLOTS -> seen = seen | (slot[k] -> SET(slot[k] - 1) : 0); k++ }
        od;
        do
        :: atomic { from == PLACES -> from = 0; seen = 0; break }
        :: atomic { from < PLACES && (limbo[from] != UNSCANNED || IN(seen, from)) -> from++ }
        :: atomic { from < PLACES && limbo[from] == UNSCANNED && !IN(seen, from) -> limbo[from] = UNREAD; NEWS }
#ifndef BUG_MARKS_AT_SWAP
            take_marks(from) /* M8: only now */
#endif
        od
    fi;
    do
    :: atomic { from == PLACES -> from = 0; break }
    :: atomic { from < PLACES && limbo[from] != UNREAD -> from++ }
    :: atomic { from < PLACES && limbo[from] == UNREAD -> settled = 1 }
#ifndef BUG_NO_MARKS
#ifdef BUG_LIMBO_WAITS
        do
        :: settled = 1;
#endif
            do
            :: atomic { s == STREAMS -> s = 0; break }
            :: atomic { s < STREAMS -> t = MARKED(from, s) }
                settle_mark(s, t);
                s++
            od;
            t = 0;
#ifdef BUG_LIMBO_WAITS
            if
            :: atomic { settled -> break }
            :: atomic { !settled && stale -> stale = 0 }
            fi
        od;
#endif
#endif
        atomic {
            if
            :: settled -> /* M9 */
                limbo[from] = 0;
                s = 0;
                do
                :: s < STREAMS -> MARKED(from, s) = 0; s++
                :: else -> break
                od;
                s = 0;
                freed = freed | (from -> SET(from) : 0);
                NEWS
            :: else
            fi;
            from++;
            settled = 0
        }
    od
}

proctype mover()
{
    byte from, to, was_version, k, s, t, seen;
    bit busy, moved, settled, dropping;
end:
    do
    :: atomic { stale -> stale = 0 }
#ifdef RELEASE
        if
        :: !released
        :: atomic { released -> released = 0; from = released_place; was_version = released_version }
            /* Home without a copy, unless somebody has borrowed it for writing since. */
            if
            :: atomic { from == 0 -> skip }
            :: atomic { from != 0 -> moved = 0; to = 0; dropping = 1 }
                swap_to(0);
                if
                :: atomic { moved -> skip }
                    enter_limbo()
                :: atomic { !moved -> skip }
                fi;
                dropping = 0
            fi;
            atomic { from = 0; was_version = 0; moved = 0 }
        fi;
#endif
        if
        :: atomic { moves == 0 -> skip }
        :: atomic { moves > 0 -> skip }
            attempt();
            atomic { moves = moves - moved; moved = 0 }
        fi;
        settle_limbo()
    od
}

init
{
    byte s;
    atomic {
        do
        :: s < STREAMS -> open[s] = 1; s++; run stream(s - 1)
        :: else -> break
        od;
        run drainer();
        run copier();
        run mover();
#if READS
        run reader();
        borrowers++;
#endif
#ifdef HANDED
        run returner();
        borrowers++;
#endif
#if WRITES
        run writer();
        borrowers++;
#endif
#if DEVICE_READ
        run device_reader(DEVICE_READ - 1);
        borrowers++;
#endif
#if DEVICE_WRITE
        run device_writer(DEVICE_WRITE - 1, 16);
        borrowers++;
#endif
#if DEVICE_WRITE_TOO
        run device_writer(DEVICE_WRITE_TOO - 1, 32);
        borrowers++;
#endif
        s = 0
    }
    timeout;
    assert(ended == borrowers);
    assert(moves == 0);
    assert(!IN(freed, place) && writers == 0);
    assert((content[place] & committed) == committed);
    do
    :: s == PLACES -> break
    :: s < PLACES -> assert(limbo[s] == 0 || HANG); assert(s == 0 || s == place || limbo[s] || IN(freed, s)); s++
    od
}
