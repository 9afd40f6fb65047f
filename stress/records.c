/* SPDX-License-Identifier: Apache-2.0 */
/*
 * records - the record arena under threads that take, use and give back ranges, while others ask
 *
 *     records [seconds] [threads] [seed]
 *
 * Imitates pools that come and go while releases of good, stale and foreign pointers are checked.
 * The first reserve races with the first questions. No record may be lent twice, every lent one
 * must be valid through each of its faces, a generation only grows, and no foreign address is ever
 * valid. Run for 2 s as a smoke test, with and without WEIR_CHECK=2; 1 min under ThreadSanitizer.
 */
#include "sync/records.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS_MAX 64

struct body {
    _Atomic uint64_t owner;
    uint64_t         generation; /* written by the owner alone */
    char             rest[WI_RECORD_BYTES - 16];
};

static uint64_t          deadline_ns;
static pthread_barrier_t start;
static _Atomic uint64_t  reserved, refused, asked;

struct worker {
    pthread_t thread;
    uint64_t  number; /* from 1 on */
    uint64_t  seed;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void use(struct wi_record *record, uint64_t number, unsigned face)
{
    struct body *body = wi_record_face(record, face);
    unsigned     told;
    wi_require(wi_record_valid(body));
    wi_require(wi_record_plain(body, &told) == record && (told == face || told == 0));
    wi_require(wi_exchange(&body->owner, number, relaxed) == 0);
    uint64_t generation = body->generation;
    body->generation = generation + 1;
    wi_require(((struct body *)record)->generation == generation + 1);
    wi_require(wi_exchange(&body->owner, 0, relaxed) == number);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    pthread_barrier_wait(&start);
    while (weir_clock_ns() < deadline_ns) {
        struct wi_record_range range;
        uint64_t               roll = next_random(&worker->seed);
        int                    err = wi_records_reserve(roll % 200 + 1, &range);
        wi_require(err == 0 || err == WEIR_EEXCEEDS);
        (void)wi_add(err == 0 ? &reserved : &refused, 1, relaxed);
        if (err < 0) continue;
        for (size_t at = 0; at < range.count; at++)
            use((struct wi_record *)((char *)range.base + at * WI_RECORD_BYTES), worker->number,
                (unsigned)(roll >> 40) % WI_RECORD_FACES);
        wi_records_return(&range);
    }
    return NULL;
}

static void *ask(void *arg)
{
    uint64_t here = 0;
    (void)arg;
    pthread_barrier_wait(&start);
    while (weir_clock_ns() < deadline_ns) {
        for (uintptr_t low = 0; low < 1000 * WI_RECORD_BYTES; low += WI_RECORD_BYTES)
            wi_require(!wi_record_valid((void *)low));
        wi_require(!wi_record_valid(&here));
        (void)wi_add(&asked, 1, relaxed);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct worker worker[THREADS_MAX];
    unsigned             seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 5;
    unsigned             threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 4;
    uint64_t             seed = argc > 3 ? strtoull(argv[3], NULL, 0) : weir_clock_ns();
    pthread_t            asker;
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    printf("records: %u threads for %u s, seed %llu\n", threads, seconds, (unsigned long long)seed);
    /* So few that the threads meet the limit; settings are read at the first use. */
    setenv("WEIR_RECORDS_MAX", "300", 1);
    deadline_ns = weir_deadline_after_ns(seconds * WI_NS_PER_S);
    wi_require(pthread_barrier_init(&start, NULL, threads + 1) == 0);
    wi_require(pthread_create(&asker, NULL, ask, NULL) == 0);
    for (unsigned at = 0; at < threads; at++) {
        worker[at].number = at + 1;
        worker[at].seed = (seed + at) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        wi_require(pthread_create(&worker[at].thread, NULL, work, &worker[at]) == 0);
    }
    for (unsigned at = 0; at < threads; at++)
        wi_require(pthread_join(worker[at].thread, NULL) == 0);
    wi_require(pthread_join(asker, NULL) == 0);

    struct wi_record_range whole;
    wi_require(wi_records_reserve(300, &whole) == 0); /* nothing was lost, and it is one piece */
    printf("records: %llu ranges reserved, %llu refused, %llu rounds of questions\n",
           (unsigned long long)wi_load(&reserved, relaxed),
           (unsigned long long)wi_load(&refused, relaxed),
           (unsigned long long)wi_load(&asked, relaxed));
    return wi_load(&reserved, relaxed) > 0 && wi_load(&asked, relaxed) > 0 ? 0 : 1;
}
