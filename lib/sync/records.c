/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/records.h"

#include "base/alloc.h"
#include "base/settings.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

struct wi_record_arena wi_record_arena;

struct hole {
    struct wi_record_range range;
    struct hole           *next;
};

/* Under lock, but for what is fixed once `span_bytes` is set. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t          span_bytes;    /* one face of the arena; 0: not reserved yet */
static _Atomic uint64_t handed_bytes; /* from the base on; read by anyone */
static bool            faces;
static struct hole    *holes;         /* ranges that came back */

static size_t span_wanted(void)
{
    /* A multiple of the page and of the record: every face begins on both. */
    size_t unit = (size_t)sysconf(_SC_PAGESIZE) * 3;
    return wi_round_up((size_t)wi_settings()->records_max * WI_RECORD_BYTES, unit);
}

static int no_arena(const char *call)
{
    return WI_FAIL(NOMEM, .call = call, .sys_errno = errno, .detail = "address space for the records",
                   .setting = "WEIR_RECORDS_MAX");
}

static int reserve_plain_locked(size_t span)
{
    void *base = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return no_arena("mmap");
    wi_record_arena.base = (uintptr_t)base;
    return 0;
}

static int reserve_faces_locked(size_t span)
{
    int fd = memfd_create("weir-records", MFD_CLOEXEC);
    if (fd < 0) return no_arena("memfd_create");
    char *base = MAP_FAILED;
    if (ftruncate(fd, (off_t)span) == 0)
        base = mmap(NULL, span * WI_RECORD_FACES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (unsigned face = 0; base != MAP_FAILED && face < WI_RECORD_FACES; face++) {
        void *at = mmap(base + face * span, span, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0);
        if (at == MAP_FAILED) {
            (void)munmap(base, span * WI_RECORD_FACES);
            base = MAP_FAILED;
        }
    }
    int err = base == MAP_FAILED ? no_arena("mmap") : 0;
    (void)close(fd);
    if (err < 0) return err;
    (void)madvise(base, span * WI_RECORD_FACES, MADV_DONTFORK);
    wi_record_arena.base = (uintptr_t)base;
    return 0;
}

static int reserve_arena_locked(void)
{
    size_t span = span_wanted();
    bool   want_faces = wi_settings()->check >= 2;
    WI_TRY(want_faces ? reserve_faces_locked(span) : reserve_plain_locked(span));
    faces = want_faces;
    span_bytes = span;
    return 0;
}

/* First fit; the rest of a larger hole stays. */
static bool take_hole_locked(size_t count, struct wi_record_range *out)
{
    for (struct hole **link = &holes; *link; link = &(*link)->next) {
        struct hole *hole = *link;
        if (hole->range.count < count) continue;
        *out = (struct wi_record_range){hole->range.base, count};
        hole->range.base = (struct wi_record *)((char *)hole->range.base + count * WI_RECORD_BYTES);
        hole->range.count -= count;
        if (hole->range.count == 0) {
            *link = hole->next;
            wi_free(hole);
        }
        return true;
    }
    return false;
}

static int extend_locked(size_t count, struct wi_record_range *out)
{
    size_t handed = wi_load(&handed_bytes, relaxed);
    size_t left = (span_bytes - handed) / WI_RECORD_BYTES;
    WI_ENSURE(count <= left, EXCEEDS, .limit = "records_max", .limit_value = wi_settings()->records_max,
              .wanted = handed / WI_RECORD_BYTES + count, .setting = "WEIR_RECORDS_MAX");
    char  *from = (char *)wi_record_arena.base + handed;
    size_t bytes = count * WI_RECORD_BYTES;
    if (!faces) {
        size_t    page = (size_t)sysconf(_SC_PAGESIZE);
        uintptr_t first = (uintptr_t)from / page * page;
        size_t    length = wi_round_up((uintptr_t)from + bytes - first, page);
        WI_ENSURE(mprotect((void *)first, length, PROT_READ | PROT_WRITE) == 0, NOMEM, .call = "mprotect",
                  .sys_errno = errno, .detail = "memory for records");
    }
    wi_store(&handed_bytes, handed + bytes, release);
    /* order(records): release, relaxed at the reader: a pointer handed out later carries the range with it. */
    if (!faces) wi_store(&wi_record_arena.used_bytes, handed + bytes, release);
    *out = (struct wi_record_range){(struct wi_record *)from, count};
    return 0;
}

int wi_records_reserve(size_t count, struct wi_record_range *out)
{
    int err = 0;
    wi_assert(count > 0);
    pthread_mutex_lock(&lock);
    if (!span_bytes) err = reserve_arena_locked();
    if (err >= 0 && !take_hole_locked(count, out)) err = extend_locked(count, out);
    pthread_mutex_unlock(&lock);
    return err;
}

void wi_records_return(const struct wi_record_range *range)
{
    struct hole *hole = wi_calloc(1, sizeof *hole);
    if (!hole) return; /* the range stays unused for good: address space only */
    hole->range = *range;
    pthread_mutex_lock(&lock);
    hole->next = holes;
    holes = hole;
    pthread_mutex_unlock(&lock);
}

bool wi_record_valid_cold(const void *lease)
{
    uint64_t handed = wi_load(&handed_bytes, acquire); /* nonzero: faces and span_bytes are set */
    uint64_t offset = (uintptr_t)lease - wi_record_arena.base;
    return handed && faces && offset / span_bytes < WI_RECORD_FACES && offset % span_bytes < handed &&
           offset % span_bytes % WI_RECORD_BYTES == 0;
}

struct wi_record *wi_record_plain(const void *lease, unsigned *face)
{
    uintptr_t offset = (uintptr_t)lease - wi_record_arena.base;
    if (face) *face = faces ? (unsigned)(offset / span_bytes) : 0;
    if (!faces) return (struct wi_record *)(uintptr_t)lease;
    return (struct wi_record *)(wi_record_arena.base + offset % span_bytes);
}

void *wi_record_face(struct wi_record *record, unsigned face)
{
    return faces ? (char *)record + face * span_bytes : (void *)record;
}

uint64_t wi_record_index(const struct wi_record *record)
{
    return ((uintptr_t)record - wi_record_arena.base) / WI_RECORD_BYTES;
}
