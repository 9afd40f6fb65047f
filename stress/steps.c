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
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <weir/weir.h>

void     wi_sched_point(void);
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

int main(void)
{
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
