/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.c - the variable-size heap, as two programs: weir-peer-heap on libweir_heap, and with HEAP_PLAIN weir-peer-heap_plain,
 * whose malloc and free are jemalloc's, with its own thread cache
 *
 * --case pairs     CPU time of an allocation and its free, in the thread's cache (up to 32 KiB), beyond it, and in bursts
 * --case pinned    sizes of requests in turn, each with a message of 4 bytes a token and a block of 256 (128 KiB for 512
 *                  tokens); a random request ends when another begins. Pinned at most, against what was live at most, and
 *                  against a pool that rounds to powers of two and keeps what it has pinned, as PyTorch's does
 * --arrivals FILE  sizes from a trace: second column of a CSV, also gzipped. Without it sizes are drawn
 */
#include "../peer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#ifndef HEAP_PLAIN
#include <weir/heap.h>
#include <weir/weir.h>
#endif

enum { REQUESTS_MOST = 100000, LIVE_MOST = 4096, BURST = 500, SHIFTS = 48 };

#ifdef HEAP_PLAIN
#define NAME "heap_plain"
static void *take(size_t bytes)
{
    return malloc(bytes);
}
static void give(void *ptr)
{
    free(ptr);
}
static void open_heap(void) {}
#else
#define NAME "heap"
static struct weir_heap *heap;
static void *take(size_t bytes)
{
    return weir_heap_malloc(heap, bytes);
}
static void give(void *ptr)
{
    (void)weir_heap_free(heap, ptr);
}
static void open_heap(void)
{
    static struct weir_runtime *rt;
    char text[512];
    if (weir_runtime_create(WEIR_OPTS(runtime), &rt) >= 0 && weir_heap_create(rt, NULL, &heap) >= 0) return;
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "weir-peer-" NAME ": %s\n", text);
    _exit(EXIT_FAILURE);
}
#endif

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "weir-peer-" NAME ": %s\n", what);
    _exit(EXIT_FAILURE);
}

static double cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The least of several rounds: what disturbs only adds. */
static double pair_ns(size_t bytes, unsigned pairs, unsigned burst)
{
    static void *held[BURST];
    double       least = 0;
    for (unsigned round = 0; round < 7; round++) {
        double begin_ns = cpu_ns();
        for (unsigned i = 0; i < pairs; i += burst) {
            for (unsigned k = 0; k < burst; k++) {
                held[k] = take(bytes);
                if (!held[k]) fail("an allocation failed");
                __asm__ volatile("" : : "r"(held[k]) : "memory");
            }
            for (unsigned k = 0; k < burst; k++) give(held[k]);
        }
        double ns = (cpu_ns() - begin_ns) / pairs;
        if (round == 0 || ns < least) least = ns;
    }
    return least;
}

static void run_pairs(void)
{
    static const size_t cached[] = {64, 256, 1024, 4096, 16384, 32768}, beyond[] = {65536, 1048576, 4194304};
    double cached_ns = 0, beyond_ns = 0, burst_ns = 0;
    char   key[64];
    for (size_t i = 0; i < WI_ARRAY_COUNT(cached); i++) {
        double ns = pair_ns(cached[i], 200000, 1);
        snprintf(key, sizeof key, "pair_%zu_ns", cached[i]);
        peer_line_number(key, ns);
        cached_ns += ns / WI_ARRAY_COUNT(cached);
        burst_ns += pair_ns(cached[i], 20 * BURST, BURST) / WI_ARRAY_COUNT(cached);
    }
    for (size_t i = 0; i < WI_ARRAY_COUNT(beyond); i++) {
        double ns = pair_ns(beyond[i], 20000, 1);
        snprintf(key, sizeof key, "pair_%zu_ns", beyond[i]);
        peer_line_number(key, ns);
        beyond_ns += ns / WI_ARRAY_COUNT(beyond);
    }
    peer_line_number("cached_pair_ns", cached_ns);
    peer_line_number("beyond_pair_ns", beyond_ns);
    peer_line_number("burst_pair_ns", burst_ns);
}

#ifndef HEAP_PLAIN
static uint64_t state = UINT64_C(88172645463325252);

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static size_t read_tokens(const char *path, size_t *tokens)
{
    size_t count = 0;
    char   line[256];
    if (!path) {
        /* 64 to 8191 tokens, as many in each doubling. */
        for (; count < 20000; count++) tokens[count] = (64 + next_random() % 64) << next_random() % 7;
        return count;
    }
    gzFile file = gzopen(path, "re");
    if (!file) fail("the arrivals cannot be opened");
    while (count < REQUESTS_MOST && gzgets(file, line, sizeof line)) {
        char         *comma = strchr(line, ',');
        unsigned long value = comma ? strtoul(comma + 1, NULL, 10) : 0;
        if (value > 0) tokens[count++] = value;
    }
    gzclose(file);
    if (count == 0) fail("the arrivals have no lines");
    return count;
}

struct live {
    void  *ptr[2];
    size_t bytes[2];
};

static size_t shift_of(size_t bytes)
{
    size_t shift = 0;
    while ((size_t)1 << shift < bytes) shift++;
    return shift;
}

static void run_pinned(const size_t *tokens, size_t count, size_t live_most)
{
    static struct live slot[LIVE_MOST];
    uint64_t           live = 0, live_peak = 0, rounded = 0, used[SHIFTS] = {0}, pooled[SHIFTS] = {0};
    char               key[64];
    memset(slot, 0, sizeof slot);
    for (size_t i = 0; i < count; i++) {
        struct live *at = &slot[i < live_most ? i : next_random() % live_most];
        for (size_t part = 0; part < 2; part++) {
            if (at->ptr[part]) {
                give(at->ptr[part]);
                live -= at->bytes[part];
                used[shift_of(at->bytes[part])]--;
            }
            at->bytes[part] = tokens[i] * (part ? 256 : 4);
            at->ptr[part] = take(at->bytes[part]);
            if (!at->ptr[part]) fail("an allocation failed");
            live += at->bytes[part];
            size_t shift = shift_of(at->bytes[part]);
            if (++used[shift] > pooled[shift]) pooled[shift] = used[shift];
        }
        if (live > live_peak) live_peak = live;
    }
    for (size_t shift = 0; shift < SHIFTS; shift++) rounded += pooled[shift] << shift;
    struct weir_heap_stats stats = {.struct_size = sizeof stats};
    if (weir_heap_stats_read(heap, &stats) < 0) fail("no statistics");
    snprintf(key, sizeof key, "requested_%zu", live_most);
    peer_line_u64(key, live_peak);
    snprintf(key, sizeof key, "pinned_vs_requested_%zu", live_most);
    peer_line_number(key, (double)stats.bytes_pinned_peak / (double)live_peak);
    snprintf(key, sizeof key, "pinned_vs_powers_of_two_%zu", live_most);
    peer_line_number(key, (double)stats.bytes_pinned_peak / (double)rounded);
    snprintf(key, sizeof key, "powers_of_two_vs_requested_%zu", live_most);
    peer_line_number(key, (double)rounded / (double)live_peak);
    weir_heap_destroy(heap);
}

static void pinned(const char *path)
{
    static size_t       tokens[REQUESTS_MOST];
    static const size_t live[] = {64, 256, 1024};
    size_t              count = read_tokens(path, tokens);
    peer_line_u64("requests", count);
    for (size_t i = 0; i < WI_ARRAY_COUNT(live); i++) {
        open_heap();
        run_pinned(tokens, count, live[i]);
    }
}
#endif

int main(int count, char **arguments)
{
    const char *which = "pairs", *path = NULL;
    for (int i = 1; i + 1 < count; i++) {
        if (!strcmp(arguments[i], "--case")) which = arguments[++i];
        else if (!strcmp(arguments[i], "--arrivals")) path = arguments[++i];
    }
    peer_line_text("peer", NAME);
    if (!strcmp(which, "pairs")) {
        open_heap();
        run_pairs();
#ifndef HEAP_PLAIN
    } else if (!strcmp(which, "pinned")) {
        pinned(path);
#endif
    } else {
        (void)path;
        fprintf(stderr, "there is no case %s\n", which);
        _exit(3);
    }
    int err = peer_line_end();
    _exit(err < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
