/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps - one call that happens between any two steps of another
 *
 * Imitates a thread that is stopped in the middle of a call while another thread makes one of its own. The library calls
 * wi_sched_point() before each atomic step (WI_SCHED): at the n-th step of the first call the second is made, for every n
 * that there is. All of it on one thread, so it is the same each time. A call that holds a mutex or the queue's lock at
 * some step cannot be interrupted so: only calls that hold none are here.
 *
 * Runs in a moment; there is nothing to choose.
 */
#include "base/atomic.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir/tier.h>
#include <weir/weir.h>

unsigned wi_cpu_hint(void);

static __thread unsigned until; /* steps until the second call; 0: there is none to make */
static void (*second_call)(void);
static const char *now = "";
static unsigned    now_step;

void wi_sched_point(void)
{
    if (until == 0 || --until > 0) return;
    second_call();
}

unsigned wi_cpu_hint(void)
{
    return 0;
}

static void check(int holds, const char *what)
{
    char text[512];
    if (holds) return;
    (void)weir_error_text(text, sizeof text);
    printf("FAILED %s at step %u: %s; weir's last error: %s\n", now, now_step, what, text);
    exit(1);
}

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static struct weir_buffer  *buffer;
static struct weir_event   *event;
static unsigned             done, refused;

static struct weir_pool_stats stats_of(void)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    check(weir_pool_stats_read(pool, &stats) == 0, "the pool tells its numbers");
    return stats;
}

static void release(void)
{
    int err = weir_buffer_release(buffer);
    check(err == 0 || err == WEIR_ENOTLEASED, "a release answers 0 or NOTLEASED");
    done += err == 0;
    refused += err < 0;
}

static void unhold(void)
{
    check(weir_buffer_unhold(buffer) == 0, "a hold ends");
}

static void lose(void)
{
    check(weir_buffer_unhold_lost(buffer) == 0, "a hold ends, lost");
}

static void hold_once(void)
{
    check(weir_buffer_hold(buffer) == 0, "a hold begins");
}

static void hold_twice(void)
{
    hold_once();
    hold_once();
}

static void nothing(void) {}

static void is_home(void)
{
    check(done == 1 && refused == 0, "one release of one lease");
    check(stats_of().free == 1, "the buffer came home");
}

static void is_home_once(void)
{
    check(done == 1 && refused == 1, "of two releases of one lease one is refused");
    check(stats_of().free == 1, "the buffer came home");
}

static void take_event(void)
{
    check(weir_event_acquire(rt, 0, WEIR_NOW, &event) == 0, "an event is there for the next");
}

static void release_event(void)
{
    int err = weir_event_release(event);
    check(err == 0 || err == WEIR_ENOTLEASED, "an event's release answers 0 or NOTLEASED");
    done += err == 0;
    refused += err < 0;
}

static void event_is_home_once(void)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    check(done == 1 && refused == 1, "of two releases of one lease one is refused");
    check(weir_event_stats_read(rt, &stats) == 0 && stats.leased == 0 && stats.free == stats.total, "the event came home");
    check(weir_buffer_release(buffer) == 0, "the buffer, too");
}

static void is_quarantined(void)
{
    check(done == 1 && refused == 0, "one release of one lease");
    check(stats_of().quarantined == 1, "a buffer whose use was lost is quarantined");
}

static const struct pair {
    const char *name;
    void (*before)(void);
    void (*first)(void);
    void (*second)(void);
    void (*judge)(void);
} pairs[] = {
    {"a release, and the end of a hold", hold_once, release, unhold, is_home},
    {"the end of a hold, and a release", hold_once, unhold, release, is_home},
    {"the end of a hold, and a release where another is left", hold_twice, unhold, release, NULL},
    {"a release, and a hold that is lost", hold_once, release, lose, is_quarantined},
    {"a hold that is lost, and a release", hold_once, lose, release, is_quarantined},
    {"a release, and another of the same lease", nothing, release, release, is_home_once},
    {"an event's release, and another of the same lease", take_event, release_event, release_event, event_is_home_once},
};

static void set_up(void)
{
    check(weir_runtime_create(NULL, &rt) == 0, "a runtime is made");
    check(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1, .buffers_max = 1), &pool) == 0,
          "a pool is made");
}

static void tear_down(void)
{
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

/* Returns whether the first call had so many steps. */
static int run(const struct pair *pair, unsigned step)
{
    now_step = step;
    done = refused = 0;
    check(weir_buffer_acquire(pool, WEIR_NOW, &buffer) == 0, "what came home is there for the next");
    pair->before();
    second_call = pair->second;
    until = step;
    pair->first();
    int reached = until == 0;
    until = 0;
    if (!reached) pair->second(); /* one after the other */
    if (pair->judge) {
        pair->judge();
    } else {
        check(stats_of().retiring == 1, "it retires until the last hold ends");
        unhold();
        is_home();
    }
    return reached;
}

/* ---- a view is returned while its buffer moves ---- */

#define VIEW_BYTES 4096

static struct weir_stream *stream;
static struct weir_view    view;
static uint16_t            move_to; /* for the next period; WEIR_TIERS: nowhere */
static _Atomic int         gate;
static uint64_t            time_ns;

static void on_place(void *ctx, const struct weir_policy_place *place)
{
    (void)ctx, (void)place;
}

static void on_remove(void *ctx, uint32_t object)
{
    (void)ctx, (void)object;
}

static void on_resize(void *ctx, const size_t capacity[WEIR_BOUNDARIES])
{
    (void)ctx, (void)capacity;
}

static size_t on_period(void *ctx, const struct weir_policy_period *period, struct weir_policy_move *moves)
{
    (void)ctx, (void)period;
    if (move_to == WEIR_TIERS) return 0;
    moves[0] = (struct weir_policy_move){.to = move_to}; /* the only buffer there is */
    move_to = WEIR_TIERS;
    return 1;
}

static const struct weir_policy mover = {.struct_size = sizeof mover, .name = "steps", .place = on_place,
                                         .remove = on_remove, .resize = on_resize, .period = on_period};

static void step_tiers(void)
{
    check(weir_tier_step(pool, time_ns += 100000000) == 0, "a period passes");
}

static void move_buffer(uint16_t to)
{
    move_to = to;
    step_tiers();
}

static void wait_for_gate(void *ctx)
{
    (void)ctx;
    while (!wi_load(&gate, acquire)) nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void return_view(void)
{
    check(weir_view_return(&view) == 0, "a view is returned");
}

/* The old place is free, and poisoned, as soon as nobody is known to use it. */
static void move_away(void)
{
    move_buffer(WEIR_TIER_PAGEABLE);
    step_tiers();
    step_tiers();
}

static int run_view(unsigned step)
{
    struct weir_view fill;
    now_step = step;
    check(weir_buffer_borrow(buffer, WEIR_WHERE_ANY, WEIR_WRITE, NULL, WEIR_NOW, &fill) == 0, "a view to write");
    memset(fill.host, 7, VIEW_BYTES);
    check(weir_view_return(&fill) == 0, "it is returned");
    move_buffer(WEIR_TIER_PINNED);
    check(weir_buffer_borrow(buffer, WEIR_WHERE_DEVICE, WEIR_READ, stream, WEIR_NOW, &view) == 0, "a view for the device");
    const char *place = view.host;
    wi_store(&gate, 0, release);
    check(weir_stream_call(stream, wait_for_gate, NULL) == 0, "work that stands for a kernel that reads the view");
    second_call = move_away;
    until = step;
    return_view();
    int reached = until == 0;
    until = 0;
    if (!reached) move_away();
    check(place[VIEW_BYTES - 1] == 7, "the device may read a place until its work is done");
    wi_store(&gate, 1, release);
    check(weir_stream_sync(stream, WEIR_FOREVER) == 0, "the device is done");
    step_tiers();
    return reached;
}

static void view_steps(void)
{
    unsigned step = 1;
    now = "the return of a view, and moves of its buffer";
    check(weir_runtime_create(NULL, &rt) == 0, "a runtime is made");
    check(weir_tier_create(rt,
                           WEIR_OPTS(tier, .buffer_bytes = VIEW_BYTES, .buffers_max = 1, .pinned_buffers = 1, .policy = &mover,
                                     .flags = WEIR_TIER_MANUAL | WEIR_TIER_POISON),
                           &pool) == 0,
          "a tiered pool is made");
    check(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream) == 0, "a stream");
    check(weir_buffer_acquire(pool, WEIR_NOW, &buffer) == 0, "a buffer");
    while (run_view(step)) step++;
    printf("%-56s %3u steps\n", now, step - 1);
    check(weir_buffer_release(buffer) == 0 && weir_stream_release(stream) == 0, "all is given back");
    tear_down();
}

int main(void)
{
    view_steps();
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const struct pair *pair = &pairs[i];
        unsigned           step = 0;
        now = pair->name;
        set_up();
        do {
            if (pair->judge == is_quarantined && step > 0) {
                tear_down();
                set_up();
            }
            step++;
        } while (run(pair, step));
        printf("%-56s %3u steps\n", pair->name, step - 1);
        tear_down();
        check(step > 3, "the library has steps: is it built with WI_SCHED?");
    }
    return 0;
}
