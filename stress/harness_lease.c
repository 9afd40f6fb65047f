/* SPDX-License-Identifier: Apache-2.0 */
/* harness_lease.c - stamps in buffers, the watch over pools, and histograms; see harness.h */
#include "harness.h"
#include "harness_parts.h"

#include <pthread.h>
#include <string.h>

#define POOLS_MAX 16
#define ASLEEP_S                                                                                   \
    10 /* so long may a pool stand still with a waiter and something free, on a busy machine */
#define AT_REST_S  30
#define NS_PER_S   UINT64_C(1000000000)
#define NOBODY     UINT64_C(0)
#define ON_ITS_WAY UINT64_MAX /* given, and not received yet */

/* ---- stamps ---- */

/* At the front of a held buffer. `owner` is valid at any time; the rest belongs to the owner. */
struct stamp {
    _Atomic uint64_t owner; /* thread index + 1, NOBODY or ON_ITS_WAY */
    uint64_t         serial;
    uint64_t         pattern[STRESS_STAMP_BYTES / 8 - 2];
};

_Static_assert(sizeof(struct stamp) == STRESS_STAMP_BYTES, "a stamp has no padding");

static struct stamp *front_of(const struct weir_buffer *buffer)
{
    return buffer->host;
}

static uint64_t *back_of(const struct weir_buffer *buffer)
{
    return (uint64_t *)((char *)buffer->host + buffer->bytes - STRESS_STAMP_BYTES);
}

/* What word `at` of a buffer's stamps is to hold: differs from every other place, buffer and lease. */
static uint64_t word_of(const struct weir_buffer *buffer, uint64_t serial, unsigned at)
{
    uint64_t mixed = (uint64_t)(uintptr_t)buffer->host ^ serial * UINT64_C(0x9E3779B97F4A7C15) ^ at;
    return (mixed ^ mixed >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
}

static void own(struct stress_thread *self, struct weir_buffer *buffer, uint64_t from)
{
    struct stamp *stamp = front_of(buffer);
    uint64_t      seen = from;
    stress_require(wi_cas(&stamp->owner, &seen, self->index + UINT64_C(1), relaxed),
                   "buffer %p came to thread %u, but its owner word is %llu (thread + 1)",
                   (void *)buffer, self->index, (unsigned long long)seen);
}

static void disown(struct stress_thread *self, struct weir_buffer *buffer, uint64_t to)
{
    struct stamp *stamp = front_of(buffer);
    uint64_t      seen = self->index + UINT64_C(1);
    stress_require(wi_cas(&stamp->owner, &seen, to, relaxed),
                   "buffer %p is thread %u's, but its owner word is %llu (thread + 1)",
                   (void *)buffer, self->index, (unsigned long long)seen);
}

void stress_take(struct stress_thread *self, struct weir_buffer *buffer)
{
    struct stamp *stamp = front_of(buffer);
    uint64_t     *back = back_of(buffer);
    own(self, buffer, NOBODY);
    stamp->serial = stress_random(self);
    for (unsigned at = 0; at < STRESS_STAMP_BYTES / 8 - 2; at++)
        stamp->pattern[at] = word_of(buffer, stamp->serial, at);
    for (unsigned at = 0; at < STRESS_STAMP_BYTES / 8; at++)
        back[at] = word_of(buffer, stamp->serial, 100 + at);
}

void stress_check(struct stress_thread *self, const struct weir_buffer *buffer)
{
    const struct stamp *stamp = front_of(buffer);
    const uint64_t     *back = back_of(buffer);
    uint64_t            owner = wi_load(&stamp->owner, relaxed);
    stress_require(owner == self->index + UINT64_C(1),
                   "buffer %p is thread %u's, but its owner word is %llu (thread + 1)",
                   (const void *)buffer, self->index, (unsigned long long)owner);
    for (unsigned at = 0; at < STRESS_STAMP_BYTES / 8 - 2; at++)
        stress_require(stamp->pattern[at] == word_of(buffer, stamp->serial, at),
                       "front of buffer %p, word %u", (const void *)buffer, at);
    for (unsigned at = 0; at < STRESS_STAMP_BYTES / 8; at++)
        stress_require(back[at] == word_of(buffer, stamp->serial, 100 + at),
                       "back of buffer %p, word %u", (const void *)buffer, at);
}

void stress_put(struct stress_thread *self, struct weir_buffer *buffer)
{
    stress_check(self, buffer);
    disown(self, buffer, NOBODY);
}

void stress_give(struct stress_thread *self, struct weir_buffer *buffer)
{
    stress_check(self, buffer);
    disown(self, buffer, ON_ITS_WAY);
}

void stress_receive(struct stress_thread *self, struct weir_buffer *buffer)
{
    own(self, buffer, ON_ITS_WAY);
    stress_check(self, buffer);
}

/* ---- pools ---- */

struct watched {
    const char       *name;
    struct weir_pool *pool;
    uint64_t          reserved;
    uint64_t          acquires_before;
    uint64_t          stood_ns; /* for so long: a waiter, something free, and no acquire */
};

static pthread_mutex_t watched_lock = PTHREAD_MUTEX_INITIALIZER;
static struct watched  watched[POOLS_MAX];
static unsigned        watched_count;

static struct weir_pool_stats stats_of(struct weir_pool *pool)
{
    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    return stats;
}

int stress_pool_text(struct weir_pool *pool, char *text, size_t capacity)
{
    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    int                    length = 0;
    if (weir_pool_stats_read(pool, &stats) < 0) return snprintf(text, capacity, "unreadable");
#define X(name, help)                                                                              \
    length += snprintf(text + length, (size_t)length < capacity ? capacity - (size_t)length : 0,   \
                       " " #name " %llu", (unsigned long long)stats.name);
    WEIR_POOL_GAUGES(X)
    WEIR_POOL_COUNTERS(X)
#undef X
    return length;
}

void stress_print_pools(FILE *file)
{
    char text[1024];
    for (unsigned at = 0; at < watched_count; at++) {
        (void)stress_pool_text(watched[at].pool, text, sizeof(text));
        fprintf(file, "  pool %s:%s\n", watched[at].name, text);
    }
}

static struct watched *find_locked(const struct weir_pool *pool)
{
    for (unsigned at = 0; at < watched_count; at++) {
        if (watched[at].pool == pool) return &watched[at];
    }
    return NULL;
}

void stress_watch(const char *name, struct weir_pool *pool, uint64_t reserved)
{
    pthread_mutex_lock(&watched_lock);
    if (!find_locked(pool)) {
        stress_require(watched_count < POOLS_MAX);
        watched[watched_count++] =
            (struct watched){.name = name, .pool = pool, .reserved = reserved};
    }
    pthread_mutex_unlock(&watched_lock);
}

void stress_unwatch(struct weir_pool *pool)
{
    pthread_mutex_lock(&watched_lock);
    struct watched *found = find_locked(pool);
    if (found) *found = watched[--watched_count];
    pthread_mutex_unlock(&watched_lock);
}

void stress_watch_pools(uint64_t period_ns)
{
    pthread_mutex_lock(&watched_lock);
    for (unsigned at = 0; at < watched_count; at++) {
        struct watched        *one = &watched[at];
        struct weir_pool_stats stats = stats_of(one->pool);
        bool                   stands = stats.waiting > 0 && stats.free > one->reserved &&
                      stats.acquires == one->acquires_before;
        one->acquires_before = stats.acquires;
        one->stood_ns = stands ? one->stood_ns + period_ns : 0;
        stress_require(one->stood_ns < ASLEEP_S * NS_PER_S,
                       "pool %s: %llu wait though %llu are free", one->name,
                       (unsigned long long)stats.waiting, (unsigned long long)stats.free);
    }
    pthread_mutex_unlock(&watched_lock);
}

void stress_check_rest(struct weir_pool *pool)
{
    uint64_t               until_ns = weir_deadline_after_ns(AT_REST_S * NS_PER_S);
    struct weir_pool_stats stats = stats_of(pool);
    while (stats.total != stats.free + stats.quarantined && weir_clock_ns() < until_ns) {
        stress_sleep_ns(1000000);
        stats = stats_of(pool);
    }
    stress_require(stats.total == stats.leased + stats.free + stats.retiring + stats.quarantined,
                   "%s: total %llu, leased %llu, free %llu, retiring %llu, quarantined %llu",
                   stats.name, (unsigned long long)stats.total, (unsigned long long)stats.leased,
                   (unsigned long long)stats.free, (unsigned long long)stats.retiring,
                   (unsigned long long)stats.quarantined);
    stress_require(stats.leased == 0, "%s: %llu", stats.name, (unsigned long long)stats.leased);
    stress_require(stats.retiring == 0, "%s: %llu", stats.name, (unsigned long long)stats.retiring);
    stress_require(stats.waiting == 0, "%s: %llu", stats.name, (unsigned long long)stats.waiting);
}

/* ---- latency ---- */

/* Below 16 each number has a bucket; above, each power of two has 16. */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < 16) return (unsigned)ns;
    unsigned octave = 63 - (unsigned)__builtin_clzll(ns);
    return (octave - 3) * 16 + (unsigned)(ns >> (octave - 4) & 15);
}

static uint64_t bucket_end(unsigned bucket)
{
    if (bucket < 16) return bucket;
    unsigned octave = bucket / 16 + 3;
    return ((UINT64_C(17) + bucket % 16) << (octave - 4)) - 1;
}

_Static_assert(STRESS_BUCKETS >= (63 - 3) * 16 + 16, "every 64-bit time has a bucket");

void stress_histogram_add(struct stress_histogram *histogram, uint64_t ns)
{
    histogram->bucket[bucket_of(ns)]++;
    histogram->count++;
    if (ns > histogram->max_ns) histogram->max_ns = ns;
}

void stress_histogram_merge(struct stress_histogram *into, const struct stress_histogram *from)
{
    for (unsigned at = 0; at < STRESS_BUCKETS; at++) into->bucket[at] += from->bucket[at];
    into->count += from->count;
    if (from->max_ns > into->max_ns) into->max_ns = from->max_ns;
}

uint64_t stress_histogram_quantile(const struct stress_histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)histogram->count);
    uint64_t seen = 0;
    for (unsigned at = 0; at < STRESS_BUCKETS; at++) {
        seen += histogram->bucket[at];
        if (seen > wanted)
            return bucket_end(at) < histogram->max_ns ? bucket_end(at) : histogram->max_ns;
    }
    return histogram->max_ns;
}
