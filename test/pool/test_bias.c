/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers that belong to one CPU for a while: who gets them, and how everybody else gets them back. */
#include "pool/fixture.h"

#include "pool/bias.h"
#include "pool/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>

#define BUFFERS 64

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static int                  cpu[2];

/* Two CPUs that this process may use; skipped where there is one, or where no buffer can belong to a CPU. */
static void open_pool(void)
{
    cpu_set_t allowed;
    int       found = 0;
    setenv("WEIR_CHECK", "0", 1);
    setenv("WEIR_BIAS", "2", 1);
    cr_assert_eq(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    for (int i = 0; i < CPU_SETSIZE && found < 2; i++) {
        if (CPU_ISSET(i, &allowed)) cpu[found++] = i;
    }
    rt = make_runtime();
    size_t buffers = 2 * (size_t)wi_cpu_count() > BUFFERS ? 2 * (size_t)wi_cpu_count() : BUFFERS;
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = buffers), &pool));
    if (found < 2) cr_skip_test("one CPU");
    if (!pool->store.bias) cr_skip_test("no restartable sequences here");
}

static void close_pool(void)
{
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static void go_to(int number)
{
    cpu_set_t there;
    CPU_ZERO(&there);
    CPU_SET(number, &there);
    cr_assert_eq(sched_setaffinity(0, sizeof there, &there), 0);
}

static bool is_biased(const struct weir_buffer *buffer)
{
    return wi_load(&((const struct wi_record *)buffer)->word, relaxed) & WI_BIASED;
}

/* Lease and release here until the buffer leased belongs to this CPU. */
static struct weir_buffer *lease_biased(void)
{
    struct weir_buffer *buffer;
    for (int i = 0; i < 1000; i++) {
        ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
        if (is_biased(buffer)) return buffer;
        ok(weir_buffer_release(buffer));
    }
    cr_assert_fail("no buffer came to belong to this CPU");
    return NULL;
}

Test(bias, a_hit_makes_it_the_cpus_own, .init = open_pool, .fini = close_pool)
{
    go_to(cpu[0]);
    struct weir_buffer *buffer = lease_biased();
    uint64_t            revokes = wi_load(&pool->store.stat.revokes, relaxed);
    for (int i = 0; i < 10000; i++) {
        struct weir_buffer *again;
        ok(weir_buffer_release(buffer));
        ok(weir_buffer_acquire(pool, WEIR_NOW, &again));
        cr_assert(again == buffer && is_biased(again));
    }
    ok(weir_buffer_release(buffer));
    answers(weir_buffer_release(buffer), NOTLEASED);
    cr_assert_eq(wi_load(&pool->store.stat.revokes, relaxed), revokes + 1,
                 "the second release revokes, to be sure");
}

Test(bias, a_release_on_another_cpu_ends_it, .init = open_pool, .fini = close_pool)
{
    go_to(cpu[0]);
    struct weir_buffer *buffer = lease_biased();
    go_to(cpu[1]);
    ok(weir_buffer_release(buffer));
    cr_assert(!is_biased(buffer));
    answers(weir_buffer_release(buffer), NOTLEASED);
    cr_assert_eq(wi_load(&pool->store.biased, relaxed), 0);
}

Test(bias, clearing_the_pool_takes_it_back, .init = open_pool, .fini = close_pool)
{
    go_to(cpu[0]);
    struct weir_buffer *buffer = lease_biased();
    char               *host = buffer->host;
    host[100] = 7;
    ok(weir_buffer_release(buffer));
    cr_assert(is_biased(buffer));
    cr_assert_eq(weir_pool_clear(pool), 0);
    cr_assert(!is_biased(buffer));
    cr_assert_eq(host[100], 0);
    cr_assert_eq(wi_load(&pool->store.biased, relaxed), 0);
}

Test(bias, another_cpu_gets_every_buffer, .init = open_pool, .fini = close_pool)
{
    size_t               count = pool->opts.buffers_max;
    struct weir_buffer **all = calloc(count, sizeof *all);
    struct weir_buffer  *more;
    go_to(cpu[0]);
    ok(weir_buffer_release(lease_biased()));
    go_to(cpu[1]);
    for (size_t i = 0; i < count; i++) ok(weir_buffer_acquire(pool, WEIR_NOW, &all[i]));
    answers(weir_buffer_acquire(pool, WEIR_NOW, &more), AGAIN);
    for (size_t i = 0; i < count; i++) ok(weir_buffer_release(all[i]));
    free(all);
}

Test(bias, a_slot_whose_bias_ends_early_waits_longer, .init = open_pool, .fini = close_pool)
{
    pool->store.sample_mask = 1; /* half of the hits are timed, and slots learn again */
    go_to(cpu[0]);
    for (int i = 0; i < 10; i++) {
        struct weir_buffer *buffer = lease_biased();
        go_to(cpu[1]);
        ok(weir_buffer_release(buffer));
        go_to(cpu[0]);
        if (wi_load(&pool->store.slot[cpu[0]].patience, relaxed) >= 31) return;
    }
    cr_assert_fail("a slot that is revoked at each release is not made to wait");
}

/* ---- threads ---- */

#define ROUNDS 3000

static _Atomic uint32_t              turn, over;
static _Atomic uint64_t              good, refused;
static _Atomic(struct weir_buffer *) shared;

static void release_once(struct weir_buffer *buffer)
{
    int err = weir_buffer_release(buffer);
    cr_assert(err == 0 || err == WEIR_ENOTLEASED);
    wi_add(err == 0 ? &good : &refused, 1, relaxed);
}

static void *second_releaser(void *arg)
{
    (void)arg;
    go_to(cpu[1]);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        while (wi_load(&turn, acquire) != round) sched_yield();
        if (round % 3 == 0) go_to(cpu[round % 2]);
        release_once(wi_load(&shared, acquire));
        wi_add(&over, 1, seq_cst);
    }
    return NULL;
}

Test(bias, of_two_releases_at_once_one_is_refused, .init = open_pool, .fini = close_pool,
     .timeout = 60)
{
    pthread_t thread;
    go_to(cpu[0]);
    cr_assert_eq(pthread_create(&thread, NULL, second_releaser, NULL), 0);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        struct weir_buffer *buffer = lease_biased();
        uint64_t            refused_before = wi_load(&refused, relaxed);
        wi_store(&shared, buffer, release);
        wi_store(&turn, round, release);
        for (uint32_t i = 0; i < round % 64; i++) wi_pause();
        release_once(buffer);
        while (wi_load(&over, seq_cst) != round) sched_yield();
        cr_assert_eq(wi_load(&refused, relaxed), refused_before + 1);
    }
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(wi_load(&good, relaxed), ROUNDS);
}

/* All but one are taken away; returns them. */
static struct weir_buffer **take_all_but_one(void)
{
    size_t               count = pool->opts.buffers_max;
    struct weir_buffer **all = calloc(count, sizeof *all);
    for (size_t i = 0; i + 1 < count; i++) ok(weir_buffer_acquire(pool, WEIR_NOW, &all[i]));
    return all;
}

static void give_all_but_one(struct weir_buffer **all)
{
    for (size_t i = 0; i + 1 < pool->opts.buffers_max; i++) ok(weir_buffer_release(all[i]));
    free(all);
}

static void *wait_there(void *arg)
{
    struct weir_buffer *buffer;
    go_to(cpu[1]);
    int err = weir_buffer_acquire(pool, weir_deadline_after_ns(UINT64_C(20000000000)), &buffer);
    if (err == 0) ok(weir_buffer_release(buffer));
    *(int *)arg = err;
    return NULL;
}

/* Its release reads no gate that is raised beside it, so it must not be this CPU's own any more: bias.h, B3. */
Test(bias, ends_when_somebody_waits, .init = open_pool, .fini = close_pool, .timeout = 60)
{
    pthread_t thread;
    int       answer = 1;
    go_to(cpu[0]);
    struct weir_buffer **all = take_all_but_one();
    struct weir_buffer  *buffer = lease_biased();
    cr_assert_eq(pthread_create(&thread, NULL, wait_there, &answer), 0);
    eventually(pool_stats(pool).waiting == 1);
    eventually(!is_biased(buffer));
    ok(weir_buffer_release(buffer));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(answer, 0, "who waited answered %s", weir_errname(answer));
    give_all_but_one(all);
}

static void on_signal(int number)
{
    (void)number;
}

/* Signals at every place of a section: each lease is given once and taken once. */
Test(bias, signals_interrupt_nothing_halfway, .init = open_pool, .fini = close_pool, .timeout = 60)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct itimerval often = {.it_interval = {.tv_usec = 50}, .it_value = {.tv_usec = 50}},
                     off = {{0}, {0}};
    go_to(cpu[0]);
    ok(weir_buffer_release(lease_biased()));
    cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
    cr_assert_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
    uint64_t before = pool_stats(pool).acquires;
    for (int i = 0; i < 2000000; i++) {
        struct weir_buffer *buffer;
        int                 acquired = weir_buffer_acquire(pool, WEIR_NOW, &buffer);
        if (acquired < 0 || weir_buffer_release(buffer) < 0) cr_assert_fail("a lease was lost");
    }
    cr_assert_eq(setitimer(ITIMER_REAL, &off, NULL), 0);
    cr_assert_eq(pool_stats(pool).acquires, before + 2000000);
}
