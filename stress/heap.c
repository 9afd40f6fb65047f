/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.c - threads that share a pinned heap, hand memory to each other, and free it while the device reads it
 *
 * Imitates a server whose requests stage messages of any size: each thread allocates, fills, uploads, and frees at
 * once or hands the memory to another thread, which checks and frees it. The device's copies are checked at the end of
 * each upload's stream: had memory been reused too early, the copy would show another message's bytes. Threads end
 * and start again. At the end nothing is allocated, and after a trim nothing is pinned.
 *
 * usage: heap [--seconds N] [--threads N] [--seed N] [--early 1]       5 s before a commit, an hour under TSan
 * --early 1 writes into memory that is still to be read, as the next owner of memory reused too early would: it has to fail.
 */
#include "base/atomic.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/heap.h>
#include <weir/weir.h>

#define THREADS_MAX 32
#define BOXES       256
#define DEVICE_BYTES ((size_t)64 << 10)

struct message {
    uint64_t bytes; /* of all, this header included */
    uint64_t seed;
    unsigned char body[];
};

static struct weir_runtime      *rt;
static struct weir_heap         *heap;
static _Atomic(struct message *) box[BOXES];
static _Atomic uint64_t          made, checked, wrong, exhausted;
static uint64_t                  until_ns;
static int                       early;

static void need(int answer, const char *what)
{
    char text[512];
    if (answer >= 0) return;
    (void)weir_error_text(text, sizeof text);
    fprintf(stderr, "heap: %s: %s\n", what, text);
    exit(1);
}
#define NEED(call) need((call), #call)

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static unsigned char byte_of(uint64_t seed, size_t at)
{
    return (unsigned char)((seed >> 8) + at * (seed | 1));
}

static bool is_intact(const struct message *message)
{
    size_t body = message->bytes - sizeof *message;
    size_t stride = body / 64 + 1;
    for (size_t at = 0; at < body; at += stride) {
        if (message->body[at] != byte_of(message->seed, at)) return false;
    }
    return true;
}

static struct message *make(uint64_t *state)
{
    size_t          body = next_random(state) % ((size_t)1 << (4 + next_random(state) % 12)) + 1;
    struct message *message = weir_heap_malloc(heap, sizeof *message + body);
    if (!message) {
        struct weir_error error = {.struct_size = sizeof error};
        (void)weir_last_error(&error);
        if (error.code != WEIR_EEXCEEDS) NEED(error.code);
        wi_add(&exhausted, 1, relaxed);
        return NULL;
    }
    message->bytes = sizeof *message + body;
    message->seed = next_random(state);
    for (size_t at = 0; at < body; at++) message->body[at] = byte_of(message->seed, at);
    wi_add(&made, 1, relaxed);
    return message;
}

static void check_and_free(struct message *message)
{
    if (!message) return;
    if (!is_intact(message)) wi_add(&wrong, 1, relaxed);
    wi_add(&checked, 1, relaxed);
    NEED(weir_heap_free(heap, message));
}

/* Upload, free while the copy is under way, and see what arrived. */
static void send(struct weir_stream *stream, uint64_t device, struct message *message, struct message *back)
{
    size_t bytes = message->bytes;
    NEED(weir_stream_delay(stream, 200000));
    NEED(weir_heap_upload(heap, stream, device, (struct weir_heap_part){message, 0, bytes}));
    if (early) memset(message->body, 0x5a, bytes - sizeof *message);
    NEED(weir_heap_free(heap, message));
    NEED(weir_heap_download(heap, stream, (struct weir_heap_part){back, 0, bytes}, device));
}

static void *run(void *arg)
{
    uint64_t            state = (uintptr_t)arg * UINT64_C(0x9e3779b97f4a7c15) | 1, device;
    struct weir_stream *stream;
    struct message     *back = weir_heap_malloc(heap, DEVICE_BYTES);
    if (!back) return NULL;
    NEED(weir_device_alloc(rt, DEVICE_BYTES, &device));
    NEED(weir_stream_share(rt, WEIR_STREAM_COMM, &stream));
    for (int round = 0; round < 2000 && weir_clock_ns() < until_ns; round++) {
        struct message *message = make(&state);
        if (!message) {
            check_and_free(wi_exchange(&box[next_random(&state) % BOXES], NULL, acq_rel));
        } else if (next_random(&state) % 16 == 0) {
            send(stream, device, message, back);
            /* Others use the memory meanwhile, if the heap lets them. */
            for (int i = 0; i < 4; i++) check_and_free(make(&state));
            NEED(weir_heap_sync(heap, back, WEIR_FOREVER));
            if (!is_intact(back)) wi_add(&wrong, 1, relaxed);
            wi_add(&checked, 1, relaxed);
        } else {
            /* order: the exchange hands the message over, and takes another's. */
            check_and_free(wi_exchange(&box[next_random(&state) % BOXES], message, acq_rel));
        }
        if (next_random(&state) % 512 == 0) NEED(weir_heap_trim(heap));
    }
    NEED(weir_heap_free(heap, back));
    NEED(weir_stream_sync(stream, WEIR_FOREVER));
    NEED(weir_device_free(rt, device));
    return NULL;
}

int main(int count, char **arguments)
{
    uint64_t  seconds = 1, threads = 4, seed = (uint64_t)time(NULL), generation = 0;
    pthread_t thread[THREADS_MAX];
    for (int i = 1; i + 1 < count; i += 2) {
        uint64_t value = strtoull(arguments[i + 1], NULL, 0);
        if (!strcmp(arguments[i], "--seconds")) seconds = value;
        else if (!strcmp(arguments[i], "--threads")) threads = value < THREADS_MAX ? value : THREADS_MAX;
        else if (!strcmp(arguments[i], "--seed")) seed = value;
        else if (!strcmp(arguments[i], "--early")) early = (int)value;
        else return 2;
    }
    printf("heap: seed %llu, %llu threads, %llu s\n", (unsigned long long)seed, (unsigned long long)threads,
           (unsigned long long)seconds);
    NEED(weir_runtime_create(NULL, &rt));
    NEED(weir_heap_create(rt, WEIR_OPTS(heap, .bytes_max = 8 << 20), &heap));
    until_ns = weir_deadline_after_ns(seconds * UINT64_C(1000000000));
    do {
        for (uint64_t i = 0; i < threads; i++)
            NEED(-pthread_create(&thread[i], NULL, run, (void *)(uintptr_t)(seed + generation++)));
        for (uint64_t i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    } while (weir_clock_ns() < until_ns);
    for (int i = 0; i < BOXES; i++) check_and_free(wi_exchange(&box[i], NULL, acq_rel));

    struct weir_heap_stats stats = {.struct_size = sizeof stats};
    NEED(weir_heap_trim(heap));
    NEED(weir_heap_stats_read(heap, &stats));
    printf("heap: %llu messages, %llu checked, %llu wrong, %llu refused, %llu retired, at most %llu bytes pinned\n",
           (unsigned long long)made, (unsigned long long)checked, (unsigned long long)wrong,
           (unsigned long long)exhausted, (unsigned long long)stats.retires, (unsigned long long)stats.bytes_pinned_peak);
    bool clean = wrong == 0 && stats.bytes_used == 0 && stats.bytes_pinned == 0 && stats.bytes_retiring == 0 &&
                 stats.threads <= 1 && stats.bytes_quarantined == 0; /* this thread has freed */
    if (!clean)
        fprintf(stderr, "heap: used %llu, pinned %llu, retiring %llu, threads %llu\n", (unsigned long long)stats.bytes_used,
                (unsigned long long)stats.bytes_pinned, (unsigned long long)stats.bytes_retiring,
                (unsigned long long)stats.threads);
    weir_heap_destroy(heap);
    weir_runtime_destroy(rt);
    return clean && checked > 0 ? 0 : 1;
}
