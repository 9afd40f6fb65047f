/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/populate.h"

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/log.h"
#include "memory/numa.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

struct wi_populate {
    /* Fixed after start. */
    char    *base;
    size_t   bytes;
    size_t   page_bytes;
    size_t   pieces;
    uint64_t nodes;
    bool     creator_helps;
    uint32_t helpers;

    /* Any member of the crew. */
    _Atomic uint32_t no_populate; /* 1: the kernel has no MADV_POPULATE_WRITE */
    _Atomic uint32_t huge;        /* 1: huge pages are being asked for        */

    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t  progress;
    size_t          next;   /* pieces taken; law: ready <= next <= pieces */
    size_t          ready;  /* pieces filled, without a gap               */
    int             failed; /* errno of the first failure                 */
    bool            stop;

    pthread_t     helper[WI_POPULATE_THREADS_MAX];
    unsigned char filled[]; /* per piece */
};

static size_t piece_bytes(const struct wi_populate *crew, size_t piece)
{
    size_t left = crew->bytes - piece * WI_POPULATE_PIECE_BYTES;
    return left < WI_POPULATE_PIECE_BYTES ? left : WI_POPULATE_PIECE_BYTES;
}

/*
 * Returns 0 or an errno. Nobody else uses the memory yet, so zeroing a byte of each page changes
 * nothing.
 */
static int fill(struct wi_populate *crew, char *base, size_t bytes)
{
    if (!wi_load(&crew->no_populate, relaxed)) {
        if (madvise(base, bytes, MADV_POPULATE_WRITE) == 0) return 0;
        if (errno == EINVAL || errno == ENOSYS)
            wi_store(&crew->no_populate, 1, relaxed);
        else if (errno != EINTR && errno != EAGAIN)
            return errno;
    }
    for (size_t at = 0; at < bytes; at += crew->page_bytes) *(volatile char *)(base + at) = 0;
    return 0;
}

/*
 * On a fragmented system the kernel compacts memory for each huge page and filling falls from
 * gigabytes per second to gigabytes per minute. What is not filled yet then goes on with small
 * pages.
 */
static WI_COLD void give_up_huge(struct wi_populate *crew, size_t piece, uint64_t took_ns)
{
    if (!wi_exchange(&crew->huge, 0, relaxed)) return;
    size_t from = (piece + 1) * WI_POPULATE_PIECE_BYTES;
    if (from < crew->bytes) (void)madvise(crew->base + from, crew->bytes - from, MADV_NOHUGEPAGE);
    wi_log(INFO, "memory", "huge pages come slowly (%zu MiB took %llu ms): going on without",
           piece_bytes(crew, piece) >> 20, (unsigned long long)(took_ns / WI_NS_PER_MS));
}

static int fill_piece(struct wi_populate *crew, size_t piece)
{
    size_t   bytes = piece_bytes(crew, piece);
    uint64_t start_ns = weir_clock_ns();
    int      err = fill(crew, crew->base + piece * WI_POPULATE_PIECE_BYTES, bytes);
    if (err == 0 && bytes >= WI_HUGE_PAGE_BYTES && wi_load(&crew->huge, relaxed)) {
        uint64_t took_ns = weir_clock_ns() - start_ns;
        if (took_ns > (bytes >> 20) * WI_POPULATE_HUGE_NS_PER_MIB)
            give_up_huge(crew, piece, took_ns);
    }
    return err;
}

/*
 * Take, fill and report one piece. False: none is left to take. Called and left with the lock held.
 */
static bool work_locked(struct wi_populate *crew)
{
    if (crew->stop || crew->failed || crew->next == crew->pieces) return false;
    size_t piece = crew->next++;
    pthread_mutex_unlock(&crew->lock);
    int err = fill_piece(crew, piece);
    pthread_mutex_lock(&crew->lock);
    if (err && !crew->failed) crew->failed = err;
    crew->filled[piece] = err == 0;
    while (crew->ready < crew->next && crew->filled[crew->ready]) crew->ready++;
    pthread_cond_broadcast(&crew->progress);
    return true;
}

static void *help(void *arg)
{
    struct wi_populate *crew = arg;
    cpu_set_t           cpus;
    /*
     * The first to touch a page decides its node where binding is refused, and zeroes it fastest
     * from nearby.
     */
    if (crew->nodes && wi_numa_cpus(crew->nodes, &cpus))
        (void)sched_setaffinity(0, sizeof cpus, &cpus);
    pthread_mutex_lock(&crew->lock);
    while (work_locked(crew)) {
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

unsigned wi_populate_threads(size_t bytes, uint32_t threads_max)
{
    cpu_set_t cpus;
    size_t    threads = bytes / WI_POPULATE_BYTES_PER_THREAD;
    size_t    most = WI_POPULATE_THREADS_MAX;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && (size_t)CPU_COUNT(&cpus) < most)
        most = (size_t)CPU_COUNT(&cpus);
    if (threads_max && threads_max < most) most = threads_max;
    if (threads > most) threads = most;
    return threads < 1 ? 1 : (unsigned)threads;
}

/* Helpers that cannot be had are done without. */
static void hire(struct wi_populate *crew, uint32_t helpers)
{
    sigset_t all, before;
    /* Signals belong to the host program's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (crew->helpers < helpers &&
           pthread_create(&crew->helper[crew->helpers], NULL, help, crew) == 0)
        crew->helpers++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int wi_populate_start(const struct wi_populate_opts *opts, struct wi_populate **out)
{
    size_t pieces = wi_round_up(opts->bytes, WI_POPULATE_PIECE_BYTES) / WI_POPULATE_PIECE_BYTES;
    struct wi_populate *crew = wi_calloc(1, sizeof *crew + pieces);
    if (!crew) return WI_FAIL(NOMEM, .detail = "no memory for the list of pieces to populate");
    crew->base = opts->base;
    crew->bytes = opts->bytes;
    crew->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    crew->pieces = pieces;
    crew->nodes = opts->nodes;
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->progress, NULL);
    if (!opts->unadvised && opts->bytes >= WI_HUGE_PAGE_BYTES && madvise(opts->base, opts->bytes, MADV_HUGEPAGE) == 0)
        wi_store(&crew->huge, 1, relaxed);

    unsigned threads = wi_populate_threads(opts->bytes, opts->threads_max);
    hire(crew, opts->nodes ? threads : threads - 1);
    /* The creator may be far from the nodes; it fills only if nobody nearer can. */
    crew->creator_helps = opts->nodes == 0 || crew->helpers == 0;
    *out = crew;
    return 0;
}

size_t wi_populate_ready(struct wi_populate *crew)
{
    pthread_mutex_lock(&crew->lock);
    size_t pieces = crew->ready;
    pthread_mutex_unlock(&crew->lock);
    return pieces == crew->pieces ? crew->bytes : pieces * WI_POPULATE_PIECE_BYTES;
}

int wi_populate_step(struct wi_populate *crew)
{
    pthread_mutex_lock(&crew->lock);
    size_t before = crew->ready;
    /* The helpers may have filled the rest since the caller looked. */
    if (!crew->creator_helps || !work_locked(crew)) {
        while (crew->ready == before && before < crew->pieces && !crew->failed)
            pthread_cond_wait(&crew->progress, &crew->lock);
    }
    int failed = crew->failed;
    pthread_mutex_unlock(&crew->lock);
    if (!failed) return 0;
    return WI_FAIL(NOMEM, .call = "madvise(MADV_POPULATE_WRITE)", .sys_errno = failed,
                   .detail =
                       "the system has no pages for the slab; a cgroup or NUMA node may be full",
                   .wanted = crew->bytes);
}

void wi_populate_end(struct wi_populate *crew)
{
    if (!crew) return;
    pthread_mutex_lock(&crew->lock);
    crew->stop = true;
    pthread_mutex_unlock(&crew->lock);
    for (uint32_t at = 0; at < crew->helpers; at++) pthread_join(crew->helper[at], NULL);
    pthread_cond_destroy(&crew->progress);
    pthread_mutex_destroy(&crew->lock);
    wi_free(crew);
}
