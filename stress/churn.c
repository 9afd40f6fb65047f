/* SPDX-License-Identifier: Apache-2.0 */
/*
 * churn - threads that come, take a buffer or two, and go
 *
 * Imitates a server that starts a thread for each connection. A thread may end in the middle: by returning, by
 * pthread_exit(), cancelled, with a lease that its starter releases, or with a lease in
 * thread-specific storage, whose destructor releases it after weir's own has run. What weir keeps for a thread
 * goes to the next one: in the end there are no more of these records than there were threads at a time.
 *
 * Run for 3 s as a smoke test, 5 min before a merge, 1 h under ThreadSanitizer before a release.
 */
#include "harness.h"

#include "sync/thread.h"

#include <pthread.h>
#include <stdlib.h>

#define BUFFER_BYTES 512
#define GUESTS       6 /* short-lived threads of a starter at a time */

static uint64_t buffers = 26;

static const struct stress_option options[] = {
    {"buffers", &buffers, "buffers of the pool"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "churn",
    .imitates = "a server that starts a thread for each connection",
    .seconds = 3,
    .threads = 4,
    .options = options,
};

/* A short-lived thread. It stamps as its starter would, so that the starter may release what it leaves. */
struct guest {
    struct stress_thread self;
    struct weir_pool    *pool;
    struct weir_buffer  *left; /* for the starter to release */
    pthread_t            thread;
};

static pthread_key_t    key;
static _Atomic uint64_t guests, cancelled, by_destructor, leases;

static void release(struct stress_thread *self, struct weir_buffer *buffer)
{
    stress_put(self, buffer);
    stress_ok(weir_buffer_release(buffer));
}

static struct weir_buffer *acquire(struct guest *guest)
{
    struct weir_buffer *buffer;
    stress_ok(weir_buffer_acquire(guest->pool, WEIR_FOREVER, &buffer));
    stress_take(&guest->self, buffer);
    wi_add(&leases, 1, relaxed);
    return buffer;
}

static void destructor(void *arg)
{
    struct guest *guest = arg;
    release(&guest->self, guest->left);
    guest->left = NULL;
    wi_add(&by_destructor, 1, relaxed);
}

static void *visit(void *arg)
{
    struct guest *guest = arg;
    if (stress_below(&guest->self, 4) > 0) release(&guest->self, acquire(guest));
    if (stress_below(&guest->self, 4) == 0) {
        weir_thread_detach();
        release(&guest->self, acquire(guest));
    }
    switch (stress_below(&guest->self, 5)) {
    case 0:
        guest->left = acquire(guest);
        break;
    case 1:
        guest->left = acquire(guest);
        pthread_exit(NULL);
    case 2:
        guest->left = acquire(guest);
        stress_require(pthread_setspecific(key, guest) == 0);
        break;
    case 3:
        guest->left = acquire(guest);
        stress_require(pthread_cancel(pthread_self()) == 0);
        /* Not by a call that blocks: ThreadSanitizer overlooks what a thread does that was cancelled in one. */
        pthread_testcancel();
        break;
    default:
        weir_thread_detach();
        break;
    }
    return NULL;
}

static void start_guests(struct stress_thread *self)
{
    static _Atomic uint32_t serial;
    while (stress_going(self)) {
        struct guest *guest = aligned_alloc(_Alignof(struct guest), GUESTS * sizeof(*guest));
        uint64_t      count = 1 + stress_below(self, GUESTS);
        stress_require(guest != NULL);
        for (uint64_t at = 0; at < count; at++) {
            guest[at] = (struct guest){.pool = self->ctx};
            guest[at].self.random = stress_random(self);
            guest[at].self.index = 100000 + wi_add(&serial, 1, relaxed);
            stress_require(pthread_create(&guest[at].thread, NULL, visit, &guest[at]) == 0);
        }
        for (uint64_t at = 0; at < count; at++) {
            void *result;
            stress_require(pthread_join(guest[at].thread, &result) == 0);
            if (result == PTHREAD_CANCELED) wi_add(&cancelled, 1, relaxed);
            if (guest[at].left) release(&guest[at].self, guest[at].left);
            wi_add(&guests, 1, relaxed);
            stress_step(self);
        }
        free(guest);
    }
}

static uint64_t count_records(void)
{
    uint64_t count = 0;
    for (const struct wi_thread *at = wi_thread_first(); at; at = at->next) count++;
    return count;
}

int main(int count, char **words)
{
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    stress_begin(&spec, count, words);
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_pool_create(
        rt, WEIR_OPTS(pool, .name = "churn", .buffer_bytes = BUFFER_BYTES, .buffers_min = buffers),
        &pool));
    /* A record for each starter, guest and helper thread of weir at a time. */
    uint64_t at_a_time = stress_threads() * (1 + GUESTS) + 16;
    /* A guest may leave its lease to a starter that still waits for another guest. */
    stress_require(buffers >= stress_threads() * GUESTS, "there must be a buffer for each guest");
    stress_require(pthread_key_create(&key, destructor) == 0);
    stress_watch("churn", pool, 0);
    stress_start(start_guests, pool, stress_threads());
    stress_join();
    stress_check_rest(pool);

    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    stress_require(stats.acquires == wi_load(&leases, relaxed), "%llu leases",
                   (unsigned long long)stats.acquires);
    stress_require(count_records() <= at_a_time, "%llu records of threads",
                   (unsigned long long)count_records());
    stress_note("threads", (double)wi_load(&guests, relaxed));
    stress_note("cancelled", (double)wi_load(&cancelled, relaxed));
    stress_note("released_by_destructor", (double)wi_load(&by_destructor, relaxed));
    stress_note("leases", (double)stats.acquires);
    stress_note("records", (double)count_records());
    stress_unwatch(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return stress_end();
}
