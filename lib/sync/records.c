/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/records.h"

#include "base/alloc.h"
#include "base/settings.h"
#include "sync/annotate.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct wi_record_arena wi_record_arena;

/* Fixed once `reserved`; read without the lock by those who have a record, or saw used_faces. */
static size_t span_bytes; /* one face of the arena */
static bool   faces;
static int    memory_fd = -1; /* of the faces; kept for a forked child's copy */

/* Under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool            reserved;
static uint64_t        used; /* records handed out so far */
static uint64_t        lent; /* ranges that are out */
static uint64_t        records_max;

/*
 * Ranges that came back: sorted by address, and no two of them touch. Between two there is a range
 * that is lent, so there are at most lent + 1, and a return never needs memory.
 */
static struct wi_record_range *holes;
static size_t                  holes_count;
static size_t                  holes_capacity;

/* As `used`, for the check of faces. */
static _Atomic uint64_t used_faces;

static struct wi_record *record_at(struct wi_record *base, size_t count)
{
    return (struct wi_record *)((char *)base + count * WI_RECORD_BYTES);
}

/* ---- the range of addresses ---- */

static int no_arena(const char *call, int sys_errno)
{
    return WI_FAIL(NOMEM, .call = call, .sys_errno = sys_errno, .setting = "WEIR_RECORDS_MAX",
                   .detail = "no address space for the records", .wanted = records_max);
}

static int reserve_plain_locked(size_t span)
{
    void *base = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return no_arena("mmap", errno);
    wi_store(&wi_record_arena.base, (uintptr_t)base, relaxed);
    return 0;
}

/* Map every face of the object over a range that is reserved for them. */
static bool map_faces(char *base, size_t span, int fd, int sharing)
{
    for (unsigned face = 0; face < WI_RECORD_FACES; face++) {
        if (mmap(base + face * span, span, PROT_READ | PROT_WRITE,
                 sharing | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED)
            return false;
    }
    return true;
}

/*
 * Shared mappings would let a child write into its parent's records, so they are left out of it.
 * The child gets a private view in their place, because it must be able to ask and be told FORKED.
 * Runs in the child behind handlers that were registered before, those of the runtimes: they touch no record.
 */
static void child_after_fork(void)
{
    char *base = (char *)wi_load(&wi_record_arena.base, relaxed);
    if (memory_fd >= 0) (void)map_faces(base, span_bytes, memory_fd, MAP_PRIVATE);
}

static int reserve_faces_locked(size_t span)
{
    size_t bytes;
    if (__builtin_mul_overflow(span, WI_RECORD_FACES, &bytes)) return no_arena("mmap", ENOMEM);
    int fd = memfd_create("weir-records", MFD_CLOEXEC);
    if (fd < 0) return no_arena("memfd_create", errno);
    int err = 0;
    if (ftruncate(fd, (off_t)span) != 0) {
        err = no_arena("ftruncate", errno);
        goto close_memory;
    }
    char *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        err = no_arena("mmap", errno);
        goto close_memory;
    }
    const char *call = NULL;
    if (!map_faces(base, span, fd, MAP_SHARED)) {
        call = "mmap";
    } else if (madvise(base, bytes, MADV_DONTFORK) != 0) {
        call = "madvise";
    } else if ((errno = pthread_atfork(NULL, NULL, child_after_fork)) != 0) {
        call = "pthread_atfork";
    }
    if (call) {
        err = no_arena(call, errno);
        goto unmap_faces;
    }
    span_bytes = span;
    memory_fd = fd;
    wi_store(&wi_record_arena.base, (uintptr_t)base, relaxed);
    return 0;

unmap_faces:
    (void)munmap(base, bytes);
close_memory:
    (void)close(fd);
    return err;
}

static int reserve_arena_locked(void)
{
    /* A multiple of the page and of the record: every face begins on both. */
    size_t unit = (size_t)sysconf(_SC_PAGESIZE) * 3;
    size_t span;
    bool   want_faces = wi_settings()->check >= 2;
    records_max = wi_settings()->records_max;
    WI_ENSURE(records_max > 0, EXCEEDS, .limit = "records_max", .setting = "WEIR_RECORDS_MAX",
              .wanted = 1, .detail = "the process may have no records at all");
    if (__builtin_mul_overflow((size_t)records_max, WI_RECORD_BYTES, &span) ||
        span > SIZE_MAX / 2 - unit)
        return no_arena("mmap", ENOMEM);
    span = wi_round_up(span, unit);
    WI_TRY(want_faces ? reserve_faces_locked(span) : reserve_plain_locked(span));
    faces = want_faces;
    span_bytes = span;
    reserved = true;
    return 0;
}

/* ---- holes ---- */

static bool holes_are_sound_locked(void)
{
    const struct wi_record *end =
        record_at((struct wi_record *)wi_load(&wi_record_arena.base, relaxed), used);
    if (holes_count > lent + 1 || holes_count > holes_capacity) return false;
    for (size_t at = 0; at < holes_count; at++) {
        const struct wi_record *behind = record_at(holes[at].base, holes[at].count);
        if (holes[at].count == 0 || behind > end) return false;
        if (at + 1 < holes_count && behind >= holes[at + 1].base) return false;
    }
    return true;
}

/* Room for the holes that there may be once one more range is lent. */
static int prepare_holes_locked(void)
{
    if (holes_capacity >= lent + 2) return 0;
    size_t                  capacity = 2 * holes_capacity + 16;
    struct wi_record_range *larger = wi_calloc(capacity, sizeof(*larger));
    if (!larger) return WI_FAIL(NOMEM, .detail = "no memory for the list of free records");
    if (holes_count > 0) memcpy(larger, holes, holes_count * sizeof(*larger));
    wi_free(holes);
    holes = larger;
    holes_capacity = capacity;
    return 0;
}

static void remove_hole_locked(size_t at)
{
    memmove(&holes[at], &holes[at + 1], (holes_count - at - 1) * sizeof(*holes));
    holes_count--;
}

/* The lowest hole that is large enough; its rest stays. */
static bool take_hole_locked(size_t count, struct wi_record_range *out)
{
    for (size_t at = 0; at < holes_count; at++) {
        if (holes[at].count < count) continue;
        *out = (struct wi_record_range){holes[at].base, count};
        holes[at].base = record_at(holes[at].base, count);
        holes[at].count -= count;
        if (holes[at].count == 0) remove_hole_locked(at);
        return true;
    }
    return false;
}

static void add_hole_locked(const struct wi_record_range *range)
{
    size_t at = 0;
    while (at < holes_count && holes[at].base < range->base) at++;
    struct wi_record *behind = record_at(range->base, range->count);
    bool              before_touches =
        at > 0 && record_at(holes[at - 1].base, holes[at - 1].count) == range->base;
    bool behind_touches = at < holes_count && holes[at].base == behind;

    if (before_touches) {
        holes[at - 1].count += range->count;
        if (behind_touches) {
            holes[at - 1].count += holes[at].count;
            remove_hole_locked(at);
        }
    } else if (behind_touches) {
        holes[at].base = range->base;
        holes[at].count += range->count;
    } else {
        memmove(&holes[at + 1], &holes[at], (holes_count - at) * sizeof(*holes));
        holes[at] = *range;
        holes_count++;
    }
}

/* ---- handing out ---- */

/* Records of the hole that ends where the used part ends. */
static size_t tail_count_locked(char *base)
{
    if (holes_count == 0) return 0;
    const struct wi_record_range *last = &holes[holes_count - 1];
    const struct wi_record       *end = record_at((struct wi_record *)base, used);
    return record_at(last->base, last->count) == end ? last->count : 0;
}

/* pre: no hole is large enough. What a hole at the end lacks is added to it. */
static int extend_locked(size_t count, struct wi_record_range *out)
{
    char  *base = (char *)wi_load(&wi_record_arena.base, relaxed);
    size_t tail = tail_count_locked(base);
    size_t more = count - tail;
    WI_ENSURE(more <= records_max - used, EXCEEDS, .limit = "records_max",
              .setting = "WEIR_RECORDS_MAX", .limit_value = records_max, .wanted = used + more);
    if (!faces) {
        size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
        size_t from = (size_t)used * WI_RECORD_BYTES / page_bytes * page_bytes;
        size_t to = wi_round_up((size_t)(used + more) * WI_RECORD_BYTES, page_bytes);
        WI_ENSURE(mprotect(base + from, to - from, PROT_READ | PROT_WRITE) == 0, NOMEM,
                  .call = "mprotect", .sys_errno = errno, .detail = "no memory for records");
    }
    if (tail > 0) holes_count--;
    *out = (struct wi_record_range){record_at((struct wi_record *)base, used - tail), count};
    /* A record that is quarantined keeps what belongs to it for good. */
    wi_leak_root(base + used * WI_RECORD_BYTES, more * WI_RECORD_BYTES);
    used += more;
    /*
     * order(records): release; pairs with the acquire in wi_record_valid() and its cold part. The
     * base, the faces and the readable pages are there before a record counts as handed out.
     */
    wi_store(faces ? &used_faces : &wi_record_arena.used, used, release);
    return 0;
}

static int reserve_locked(size_t count, struct wi_record_range *out)
{
    if (!reserved) WI_TRY(reserve_arena_locked());
    WI_TRY(prepare_holes_locked());
    if (!take_hole_locked(count, out)) WI_TRY(extend_locked(count, out));
    lent++;
    if (WI_CHECK_LEVEL >= 2) wi_require(holes_are_sound_locked());
    return 0;
}

int wi_records_reserve(size_t count, struct wi_record_range *out)
{
    wi_assert(count > 0);
    pthread_mutex_lock(&lock);
    int err = reserve_locked(count, out);
    pthread_mutex_unlock(&lock);
    return err;
}

void wi_records_return(const struct wi_record_range *range)
{
    wi_assert(range->count > 0 && wi_record_valid(range->base));
    pthread_mutex_lock(&lock);
    wi_require(lent > 0);
    add_hole_locked(range);
    lent--;
    if (WI_CHECK_LEVEL >= 2) wi_require(holes_are_sound_locked());
    pthread_mutex_unlock(&lock);
}

/* ---- names of a record ---- */

bool wi_record_valid_cold(const void *lease)
{
    /* order(records): acquire; pairs with the store in extend_locked(). */
    uint64_t seen = wi_load(&used_faces, acquire);
    if (seen == 0) return false;
    uint64_t offset = (uintptr_t)lease - wi_load(&wi_record_arena.base, relaxed);
    return offset / span_bytes < WI_RECORD_FACES && wi_record_number(offset % span_bytes) < seen;
}

struct wi_record *wi_record_plain(const void *lease, unsigned *face)
{
    uintptr_t base = wi_load(&wi_record_arena.base, relaxed);
    uintptr_t offset = (uintptr_t)lease - base;
    if (face) *face = faces ? (unsigned)(offset / span_bytes) : 0;
    return (struct wi_record *)(faces ? base + offset % span_bytes : (uintptr_t)lease);
}

void *wi_record_face(struct wi_record *record, unsigned face)
{
    wi_assert(face < WI_RECORD_FACES);
    return faces ? (char *)record + face * span_bytes : (void *)record;
}

uint64_t wi_record_index(const struct wi_record *record)
{
    return ((uintptr_t)record - wi_load(&wi_record_arena.base, relaxed)) / WI_RECORD_BYTES;
}
