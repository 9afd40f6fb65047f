/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_wake.c - how long from a release to the waiter that it wakes
 *
 * One object, two threads. The holder waits until the other must be asleep in acquire, reads the
 * counter and releases; the waiter reads the counter when it has the object. Then roles start over:
 * the waiter releases, the holder takes the object again and only then lets the waiter come back.
 */
#include "peer_parts.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

enum { TURN_HOLDER, TURN_WAITER, TURN_WAITING };

static struct {
    struct peer_run       *run;
    struct bench_histogram wake;
    WI_CACHELINE _Atomic uint32_t turn;
    WI_CACHELINE _Atomic uint64_t released_ticks;
} game;

static void nap(uint64_t ns)
{
    bench_sleep_until_ns(bench_now_ns() + ns);
}

static bool over(void)
{
    return wi_load(&game.run->phase, relaxed) == PEER_STOP;
}

/* Sleeps in small steps, so that neither thread keeps the other's CPU busy. False: the run is over. */
static bool wait_for_turn(uint32_t turn)
{
    while (wi_load(&game.turn, acquire) != turn) {
        if (over()) return false;
        nap(20 * WI_NS_PER_US);
    }
    return true;
}

static void *waiter(void *argument)
{
    (void)argument;
    if (peer_here.enter != NULL) peer_here.enter(1);
    while (wait_for_turn(TURN_WAITER)) {
        /* order(wake-turn): release; pairs with the acquire in wait_for_turn(). */
        wi_store(&game.turn, TURN_WAITING, release);
        void *object = peer_here.wait();
        uint64_t woken_ticks = bench_ticks_end();
        uint64_t released_ticks = wi_load(&game.released_ticks, relaxed);
        bench_histogram_add(&game.wake,
                            woken_ticks > released_ticks ? woken_ticks - released_ticks : 0);
        peer_here.release(object);
        wi_store(&game.turn, TURN_HOLDER, release);
    }
    return NULL;
}

int peer_case_wake(struct peer_run *run, double ticks_per_ns)
{
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t deadline_ns = bench_now_ns() + run->config.window_ns;
    pthread_t id;

    game.run = run;
    if (peer_here.enter != NULL) peer_here.enter(0);
    void *object = peer_here.wait();
    int err = pthread_create(&id, NULL, waiter, NULL);
    if (err != 0) return -err;
    while (bench_now_ns() < deadline_ns) {
        wi_store(&game.turn, TURN_WAITER, release);
        if (!wait_for_turn(TURN_WAITING)) break;
        /* Long enough to be asleep, and never in step with a timer of the peer. */
        nap((100 + peer_random(&random) % 300) * WI_NS_PER_US);
        wi_store(&game.released_ticks, bench_ticks_begin(), relaxed);
        peer_here.release(object);
        if (!wait_for_turn(TURN_HOLDER)) break;
        object = peer_here.wait();
    }
    wi_store(&run->phase, PEER_STOP, relaxed);
    if (bench_histogram_total(&game.wake) == 0) {
        fprintf(stderr, "weir-peer-%s: nobody was woken\n", peer_here.name);
        return -EIO;
    }
    peer_line_histogram("wake_ns", &game.wake, ticks_per_ns);
    return 0;
}
