/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handoff - buffers that one thread acquires and another releases
 *
 * Imitates a server in which reader threads fill staging buffers and pass them to sender threads. There
 * are fewer buffers than threads, so the readers wait, and what a sender releases goes straight to a
 * waiting reader. A buffer must never be in two hands, and what the reader wrote must be what the sender reads.
 *
 * Run for 4 s as a smoke test, 5 min before a merge, 1 h under ThreadSanitizer before a release.
 */
#include "harness.h"

#include <sched.h>
#include <string.h>

#define MAILBOXES    64
#define BUFFER_BYTES 1024
#define LOAD_BYTES   (BUFFER_BYTES - 2 * STRESS_STAMP_BYTES)

static uint64_t buffers = 6;

static const struct stress_option options[] = {
    {"buffers", &buffers, "buffers of the pool"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "handoff",
    .imitates = "reader threads that pass filled buffers to sender threads, which release them",
    .seconds = 4,
    .threads = 16,
    .options = options,
};

static _Atomic(struct weir_buffer *) mailbox[MAILBOXES];
static _Atomic uint64_t              readers_left, passed, taken;

static uint64_t *load_of(const struct weir_buffer *buffer)
{
    return (uint64_t *)((char *)buffer->host + STRESS_STAMP_BYTES);
}

/* Put the buffer where a sender finds it. */
static void pass(struct stress_thread *self, struct weir_buffer *buffer)
{
    for (;;) {
        struct weir_buffer *none = NULL;
        if (wi_cas(&mailbox[stress_below(self, MAILBOXES)], &none, buffer, release)) return;
        sched_yield();
    }
}

static void read_requests(struct stress_thread *self)
{
    struct weir_pool *pool = self->ctx;
    while (stress_going(self)) {
        struct weir_buffer *buffer;
        uint64_t            value = stress_random(self);
        stress_doing(self, "waiting for a buffer");
        stress_ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        stress_take(self, buffer);
        for (unsigned at = 0; at < LOAD_BYTES / 8; at++) load_of(buffer)[at] = value + at;
        stress_pause(self);
        stress_give(self, buffer);
        stress_doing(self, "passing a buffer on");
        pass(self, buffer);
        wi_add(&passed, 1, relaxed);
        stress_step(self);
    }
    wi_sub(&readers_left, 1, seq_cst);
}

static bool send_one(struct stress_thread *self)
{
    struct weir_buffer *buffer =
        wi_exchange(&mailbox[stress_below(self, MAILBOXES)], NULL, acquire);
    if (!buffer) return false;
    stress_receive(self, buffer);
    uint64_t value = load_of(buffer)[0];
    for (unsigned at = 0; at < LOAD_BYTES / 8; at++)
        stress_require(load_of(buffer)[at] == value + at, "word %u of buffer %p", at,
                       (void *)buffer);
    stress_pause(self);
    stress_put(self, buffer);
    stress_ok(weir_buffer_release(buffer));
    wi_add(&taken, 1, relaxed);
    stress_step(self);
    return true;
}

static void send_requests(struct stress_thread *self)
{
    /* The readers wait for buffers without end, so the senders stay until the last has left. */
    while (wi_load(&readers_left, seq_cst) > 0 ||
           wi_load(&taken, relaxed) < wi_load(&passed, relaxed)) {
        stress_doing(self, "looking for a buffer");
        if (!send_one(self)) sched_yield();
    }
}

int main(int count, char **words)
{
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    stress_begin(&spec, count, words);
    stress_require(stress_threads() >= 2);
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_pool_create(
        rt,
        WEIR_OPTS(pool, .name = "handoff", .buffer_bytes = BUFFER_BYTES, .buffers_min = buffers),
        &pool));
    stress_watch("handoff", pool, 0);
    uint64_t readers = stress_threads() / 2;
    wi_store(&readers_left, readers, relaxed);
    stress_start(read_requests, pool, readers);
    stress_start(send_requests, pool, stress_threads() - readers);
    stress_join();
    stress_check_rest(pool);

    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    stress_require(wi_load(&taken, relaxed) == wi_load(&passed, relaxed));
    stress_require(stats.acquires == wi_load(&passed, relaxed), "%llu leases",
                   (unsigned long long)stats.acquires);
    stress_note("passed", (double)wi_load(&passed, relaxed));
    stress_note("handoffs", (double)stats.handoffs);
    stress_note("wait_p50_ns", (double)stats.wait.p50_ns);
    stress_note("wait_p999_ns", (double)stats.wait.p999_ns);
    stress_unwatch(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return stress_end();
}
