/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait - how long, and how evenly, many threads wait for few buffers
 *
 * Imitates an overloaded server: 256 request threads share 4 buffers and hold each for 20 us. The same
 * is done with a mutex, a condition variable and a stack of free buffers, in turns, so that both meet the same load.
 * Reported are the time from asking to having (p50, p99, p99.9), the pairs a second, and how many pairs the
 * slowest thread had against the fastest.
 *
 *     --strict 1   fail if a target is missed: p99.9 at most 0.05 x that of mutex and condition variable, the slowest
 *                  thread at least half the fastest; pairs a second at least 1.2 x
 *
 * Run for 4 s as a smoke test. To measure: --strict 1 --rounds 5 --seconds 100, so that each turn lasts 10 s.
 */
#include "harness.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define BUFFER_BYTES 512
#define ROUNDS_MAX   7
#define BUFFERS_MAX  1024

static uint64_t buffers = 4, hold_ns = 20000, rounds = 1, strict;

static const struct stress_option options[] = {
    {"buffers", &buffers, "buffers that the threads share"},
    {"hold", &hold_ns, "nanoseconds for which a buffer is held"},
    {"rounds", &rounds, "turns of each kind; the time is shared out, medians are reported"},
    {"strict", &strict, "1: fail if a target is missed"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "wait",
    .imitates = "an overloaded server whose request threads wait for few buffers",
    .seconds = 4,
    .threads = 256,
    .options = options,
};

/* ---- the other pool: mutex, condition variable, stack ---- */

static pthread_mutex_t     cond_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t      cond_free = PTHREAD_COND_INITIALIZER;
static struct weir_buffer *cond_stack[BUFFERS_MAX];
static uint64_t            cond_count;

static struct weir_buffer *cond_acquire(void)
{
    pthread_mutex_lock(&cond_lock);
    while (cond_count == 0) pthread_cond_wait(&cond_free, &cond_lock);
    struct weir_buffer *buffer = cond_stack[--cond_count];
    pthread_mutex_unlock(&cond_lock);
    return buffer;
}

static void cond_release(struct weir_buffer *buffer)
{
    pthread_mutex_lock(&cond_lock);
    cond_stack[cond_count++] = buffer;
    pthread_cond_signal(&cond_free);
    pthread_mutex_unlock(&cond_lock);
}

/* ---- one turn ---- */

struct place {
    struct stress_histogram wait;
    uint64_t                pairs;
};

struct turn {
    struct weir_pool *pool; /* NULL: the other pool */
    struct place     *place;
};

static void serve(struct stress_thread *self)
{
    struct turn  *turn = self->ctx;
    struct place *place = &turn->place[self->number];
    stress_doing(self, turn->pool ? "weir" : "mutex and condition variable");
    while (stress_going(self)) {
        struct weir_buffer *buffer;
        uint64_t            asked_ns = weir_clock_ns();
        if (turn->pool) {
            stress_ok(weir_buffer_acquire(turn->pool, WEIR_FOREVER, &buffer));
        } else {
            buffer = cond_acquire();
        }
        stress_histogram_add(&place->wait, weir_clock_ns() - asked_ns);
        stress_take(self, buffer);
        stress_spin_ns(hold_ns);
        stress_put(self, buffer);
        if (turn->pool) {
            stress_ok(weir_buffer_release(buffer));
        } else {
            cond_release(buffer);
        }
        place->pairs++;
        stress_step(self);
    }
}

struct result {
    double p50_ns, p99_ns, p999_ns, pairs_per_s, evenness;
};

static struct result take_turn(struct weir_pool *pool, uint64_t turn_ns)
{
    static struct stress_histogram all;
    struct turn turn = {.pool = pool, .place = calloc(stress_threads(), sizeof(*turn.place))};
    stress_require(turn.place != NULL);
    stress_start(serve, &turn, stress_threads());
    uint64_t start_ns = weir_clock_ns();
    stress_join_for(turn_ns);
    double   seconds = (double)(weir_clock_ns() - start_ns) / 1e9;
    uint64_t pairs = 0, least = UINT64_MAX, most = 0;
    all = (struct stress_histogram){.count = 0};
    for (uint64_t at = 0; at < stress_threads(); at++) {
        const struct place *place = &turn.place[at];
        stress_histogram_merge(&all, &place->wait);
        pairs += place->pairs;
        if (place->pairs < least) least = place->pairs;
        if (place->pairs > most) most = place->pairs;
    }
    free(turn.place);
    struct result result = {
        .p50_ns = (double)stress_histogram_quantile(&all, 0.5),
        .p99_ns = (double)stress_histogram_quantile(&all, 0.99),
        .p999_ns = (double)stress_histogram_quantile(&all, 0.999),
        .pairs_per_s = (double)pairs / seconds,
        .evenness = most ? (double)least / (double)most : 0,
    };
    printf("  %-5s %9.0f pairs/s, wait p50 %.3f ms, p99 %.3f ms, p99.9 %.3f ms, max %.3f ms, "
           "slowest/fastest %llu/%llu\n",
           pool ? "weir" : "cond", result.pairs_per_s, result.p50_ns / 1e6, result.p99_ns / 1e6,
           result.p999_ns / 1e6, (double)all.max_ns / 1e6, (unsigned long long)least,
           (unsigned long long)most);
    fflush(stdout);
    return result;
}

/* ---- the whole ---- */

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The median of one field over the rounds. */
static double median(const struct result *results, size_t field)
{
    double value[ROUNDS_MAX];
    for (uint64_t at = 0; at < rounds; at++)
        value[at] = *(const double *)((const char *)&results[at] + field);
    qsort(value, rounds, sizeof(value[0]), compare);
    return value[rounds / 2];
}

#define MEDIAN(results, field) median((results), offsetof(struct result, field))

int main(int count, char **words)
{
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    struct result        weir[ROUNDS_MAX], cond[ROUNDS_MAX];
    stress_begin(&spec, count, words);
    stress_require(rounds >= 1 && rounds <= ROUNDS_MAX && buffers <= BUFFERS_MAX);
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_pool_create(
        rt, WEIR_OPTS(pool, .name = "wait", .buffer_bytes = BUFFER_BYTES, .buffers_min = buffers),
        &pool));
    stress_watch("wait", pool, 0);
    stress_spin_ns(0);
    for (uint64_t at = 0; at < rounds; at++) {
        uint64_t turn_ns = stress_seconds() * UINT64_C(1000000000) / (2 * rounds);
        weir[at] = take_turn(pool, turn_ns);
        stress_check_rest(pool);
        /* The other pool has the same buffers: weir lends them for the turn. */
        stress_ok(weir_buffers_acquire(pool, buffers, WEIR_NOW, cond_stack));
        cond_count = buffers;
        cond[at] = take_turn(NULL, turn_ns);
        stress_require(cond_count == buffers);
        stress_ok(weir_buffers_release(cond_stack, buffers));
    }
    double p999 = MEDIAN(weir, p999_ns) / MEDIAN(cond, p999_ns);
    double throughput = MEDIAN(weir, pairs_per_s) / MEDIAN(cond, pairs_per_s);
    stress_note("weir_wait_p50_ns", MEDIAN(weir, p50_ns));
    stress_note("weir_wait_p99_ns", MEDIAN(weir, p99_ns));
    stress_note("weir_wait_p999_ns", MEDIAN(weir, p999_ns));
    stress_note("cond_wait_p50_ns", MEDIAN(cond, p50_ns));
    stress_note("cond_wait_p99_ns", MEDIAN(cond, p99_ns));
    stress_note("cond_wait_p999_ns", MEDIAN(cond, p999_ns));
    stress_note("weir_pairs_per_s", MEDIAN(weir, pairs_per_s));
    stress_note("cond_pairs_per_s", MEDIAN(cond, pairs_per_s));
    stress_note("weir_slowest_to_fastest", MEDIAN(weir, evenness));
    stress_note("cond_slowest_to_fastest", MEDIAN(cond, evenness));
    stress_note("wait_p999_ratio", p999);
    stress_note("pairs_ratio", throughput);
    if (strict) {
        stress_require(p999 <= 0.05, "%.3f", p999);
        stress_require(MEDIAN(weir, evenness) >= 0.5, "%.3f", MEDIAN(weir, evenness));
        stress_require(throughput >= 1.2, "%.3f", throughput);
    }
    stress_check_rest(pool);
    stress_unwatch(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return stress_end();
}
