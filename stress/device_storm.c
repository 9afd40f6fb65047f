/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device_storm.c - many threads on one emulated device, in real time
 *
 * Imitates a process whose threads all use one device at once: each sends stamped blocks up, around and down on streams of
 * its own, which it also destroys under way, while shared events are recorded and waited for by everybody and a
 * disturber stops and releases streams. Every other round ends with the loss of the device.
 *
 * Checked: bytes; each host function has run once, or was dropped with the device; nothing is pending or counted
 * twice at the end; no misuse. Run it for 5 s as a smoke test, for 5 minutes before a merge, for an hour under
 * ThreadSanitizer before a release.
 *
 *     device_storm [seconds [threads [seed]]]
 */
#include "device/emu.h"

#include "base/alloc.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 32
#define STREAMS     3
#define SHARED      8
#define STEPS       300
#define BLOCK       ((size_t)2048)

struct storm {
    struct wi_emu       *emu;
    struct wi_emu_event *shared[SHARED];
    _Atomic uint32_t     ended; /* threads that have done their steps */
    uint32_t             threads;
    bool                 loses;
};

struct sailor {
    struct storm         *storm;
    pthread_t             thread;
    uint64_t              random;
    struct wi_emu_stream *streams[STREAMS];
    struct wi_emu_event  *event;
    unsigned char        *host; /* two blocks, registered */
    uint64_t              device;
    uint64_t              calls; /* host functions that were queued */
    _Atomic uint64_t      ran;
    uint64_t              corrupt;
    int                   err; /* DEVICE: the device was lost */
};

static uint64_t seed = 1;

static uint64_t random_next(uint64_t *state)
{
    uint64_t mixed = (*state += UINT64_C(0x9e3779b97f4a7c15));

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

_Noreturn static void stop(const char *what)
{
    fprintf(stderr, "device_storm: seed %llu: %s\n", (unsigned long long)seed, what);
    _exit(1);
}

static void must(int err, const char *what)
{
    if (err < 0) stop(what);
}

static void count(void *ctx)
{
    wi_add((_Atomic uint64_t *)ctx, 1, relaxed);
}

/* Pass a loss on; anything else that fails is a bug. */
static int took(struct sailor *sailor, int err)
{
    if (err == WEIR_EDEVICE && sailor->storm->loses) return err;
    must(err, wi_emu_reason());
    return 0;
}

/* Up on one stream, down on another, tied by an event; then every byte is looked at. */
static int round_trip(struct sailor *sailor)
{
    struct wi_emu        *emu = sailor->storm->emu;
    struct wi_emu_stream *first = sailor->streams[random_next(&sailor->random) % STREAMS];
    struct wi_emu_stream *second = sailor->streams[random_next(&sailor->random) % STREAMS];
    unsigned char         stamp = (unsigned char)random_next(&sailor->random);
    struct wi_copy        up = {
               .dst = sailor->device, .src = (uintptr_t)sailor->host, .bytes = BLOCK, .kind = WI_COPY_UP};
    struct wi_copy down = {.dst = (uintptr_t)sailor->host + BLOCK,
                           .src = sailor->device,
                           .bytes = BLOCK,
                           .kind = WI_COPY_DOWN};

    memset(sailor->host, stamp, BLOCK);
    WI_TRY(took(sailor, wi_emu_copy(emu, &up, first)));
    WI_TRY(took(sailor, wi_emu_event_record(emu, sailor->event, first)));
    WI_TRY(took(sailor, wi_emu_stream_wait(emu, second, sailor->event)));
    WI_TRY(took(sailor, wi_emu_copy(emu, &down, second)));
    WI_TRY(took(sailor, wi_emu_event_record(emu, sailor->event, second)));
    WI_TRY(took(sailor, wi_emu_event_sync(emu, sailor->event)));
    for (size_t i = 0; i < BLOCK; i++) sailor->corrupt += sailor->host[BLOCK + i] != stamp;
    return 0;
}

/* Its work goes on behind its back. */
static int replace_stream(struct sailor *sailor)
{
    struct wi_emu_stream **stream = &sailor->streams[random_next(&sailor->random) % STREAMS];
    struct wi_emu         *emu = sailor->storm->emu;
    struct wi_emu_stream  *made;
    int                    err = wi_emu_stream_create(emu, 0, &made);

    if (err == 0) err = wi_emu_stream_destroy(emu, *stream);
    if (err == 0) *stream = made;
    return took(sailor, err);
}

static int step(struct sailor *sailor)
{
    struct wi_emu        *emu = sailor->storm->emu;
    uint64_t              number = random_next(&sailor->random);
    struct wi_emu_stream *stream = sailor->streams[number % STREAMS];
    struct wi_emu_event  *event = sailor->storm->shared[(number >> 8) % SHARED];
    int                   err;

    switch ((number >> 16) % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        return round_trip(sailor);
    case 5:
    case 6:
        WI_TRY(took(sailor, wi_emu_call(emu, count, &sailor->ran, stream)));
        sailor->calls++;
        return 0;
    case 7:
        return took(sailor, wi_emu_delay(emu, number % 50000, stream));
    case 8:
    case 9:
        return took(sailor, wi_emu_event_record(emu, event, stream));
    case 10:
    case 11:
        err = wi_emu_stream_wait(emu, stream, event);
        break;
    case 12:
        err = wi_emu_event_query(emu, event);
        break;
    case 13:
        return replace_stream(sailor);
    case 14:
        err = wi_emu_stream_query(emu, stream);
        break;
    default:
        err = wi_emu_event_destroy(emu, sailor->event);
        if (err == 0) err = wi_emu_event_create(emu, 0, &sailor->event);
        break;
    }
    if (err == WEIR_EAGAIN || err == 0) return 0;
    return took(sailor, err);
}

static void *sail(void *arg)
{
    struct sailor *sailor = arg;

    for (int i = 0; i < STEPS && sailor->err == 0; i++) sailor->err = step(sailor);
    wi_add(&sailor->storm->ended, 1, relaxed);
    return NULL;
}

static void sailor_launch(struct sailor *sailor, struct storm *storm)
{
    struct wi_emu *emu = storm->emu;

    for (size_t i = 0; i < STREAMS; i++)
        must(wi_emu_stream_create(emu, 0, &sailor->streams[i]), "stream");
    must(wi_emu_event_create(emu, 0, &sailor->event), "event");
    must(wi_emu_device_alloc(emu, BLOCK, &sailor->device), "device_alloc");
    sailor->host = wi_alloc(2 * BLOCK);
    if (sailor->host == NULL) stop("no memory");
    must(wi_emu_host_register(emu, sailor->host, 2 * BLOCK), "register");
    sailor->storm = storm;
}

/* The whole device stands and goes on, at random, until everybody is through. */
static void disturb(struct storm *storm, uint64_t *random)
{
    while (wi_load(&storm->ended, relaxed) < storm->threads) {
        wi_emu_hold(storm->emu, NULL);
        nanosleep(&(struct timespec){.tv_nsec = (long)(random_next(random) % 200000)}, NULL);
        wi_emu_release(storm->emu, NULL);
        nanosleep(&(struct timespec){.tv_nsec = (long)(random_next(random) % 2000000)}, NULL);
        if (storm->loses && random_next(random) % 4 == 0) wi_emu_lose(storm->emu);
    }
}

static void check_end(const struct storm *storm, const struct sailor *sailors,
                      const struct wi_emu_stats *last)
{
    uint64_t calls = 0, ran = 0;

    for (uint32_t i = 0; i < storm->threads; i++) {
        if (sailors[i].corrupt > 0) stop("wrong bytes came back");
        if (wi_load(&sailors[i].ran, relaxed) > sailors[i].calls) stop("a host function ran twice");
        calls += sailors[i].calls;
        ran += wi_load(&sailors[i].ran, relaxed);
    }
    if (!last->lost && ran != calls) stop("a host function was not run");
    if (!last->lost && last->dropped > 0) stop("work was dropped");
    if (last->pending > 0) stop("work is pending at the end");
    if (last->misuses > 0) stop("the emulation counted a misuse");
    if (last->workers > WI_EMU_WORKERS_MAX) stop("too many workers");
}

static uint64_t run_round(uint32_t threads, bool loses, uint64_t *random)
{
    static struct sailor sailors[THREADS_MAX];
    struct wi_emu_opts   opts = {.clock = WI_EMU_REAL};
    struct storm         storm = {.threads = threads, .loses = loses};
    struct wi_emu_stats  last;

    wi_emu_model_init(&opts.model);
    opts.model.latency_ns = random_next(random) % 10000;
    must(wi_emu_create(&opts, &storm.emu), "create");
    for (size_t i = 0; i < SHARED; i++)
        must(wi_emu_event_create(storm.emu, 0, &storm.shared[i]), "event");
    for (uint32_t i = 0; i < threads; i++) {
        sailors[i] = (struct sailor){.random = random_next(random)};
        sailor_launch(&sailors[i], &storm);
    }
    for (uint32_t i = 0; i < threads; i++)
        if (pthread_create(&sailors[i].thread, NULL, sail, &sailors[i]) != 0) stop("no thread");
    disturb(&storm, random);
    for (uint32_t i = 0; i < threads; i++) pthread_join(sailors[i].thread, NULL);
    wi_emu_destroy(storm.emu, &last);
    check_end(&storm, sailors, &last);
    for (uint32_t i = 0; i < threads; i++) wi_free(sailors[i].host);
    return last.finished;
}

int main(int argc, char **argv)
{
    unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 5;
    uint32_t threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 8;
    uint64_t until_ns, random, rounds = 0, finished = 0;

    seed = argc > 3 ? strtoull(argv[3], NULL, 10) : weir_clock_ns();
    if (threads == 0 || threads > THREADS_MAX) stop("1 to 32 threads");
    printf("device_storm: %u s, %u threads, seed %llu\n", seconds, threads,
           (unsigned long long)seed);
    fflush(stdout);
    random = seed;
    until_ns = weir_clock_ns() + seconds * WI_NS_PER_S;
    do {
        finished += run_round(threads, rounds % 2 == 1, &random);
        rounds++;
    } while (weir_clock_ns() < until_ns);
    printf("device_storm: %llu rounds, %llu operations finished\n", (unsigned long long)rounds,
           (unsigned long long)finished);
    return 0;
}
