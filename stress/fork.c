/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork - a process that forks while its threads use weir
 *
 * Imitates a server that starts a helper program, or a multiprocessing library that forks workers. A child may
 * only exec: every call of weir there must answer FORKED at once, whatever the parent's threads were doing
 * at the moment of the fork, and must not touch what the parent shares with it. The parent must not notice.
 *
 * Run for 3 s as a smoke test, 5 min before a merge.
 */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/stream.h>

#define BUFFER_BYTES 4096
#define NS_PER_S     UINT64_C(1000000000)
#define MS           UINT64_C(1000000)

static uint64_t buffers = 6;

static const struct stress_option options[] = {
    {"buffers", &buffers, "buffers of the pool"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "fork",
    .imitates = "a server that forks helpers while its threads use weir",
    .seconds = 3,
    .threads = 4,
    .options = options,
};

static struct weir_runtime *rt;
static _Atomic uint64_t     leases, children;

/* ---- the parent's threads ---- */

static void use_buffer(struct stress_thread *self, struct weir_pool *pool)
{
    struct weir_buffer *buffer;
    uint64_t            deadline_ns = weir_deadline_after_ns(stress_below(self, 3 * MS));
    int                 err = weir_buffer_acquire(pool, deadline_ns, &buffer);
    if (err == WEIR_ETIMEDOUT) return;
    stress_ok(err);
    stress_take(self, buffer);
    stress_pause(self);
    struct weir_stream *stream;
    if (weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream) == 0) {
        stress_ok(weir_stream_delay(stream, stress_below(self, MS / 4)));
        stress_ok(weir_buffer_guard(buffer, stream));
        stress_ok(weir_stream_release(stream));
    }
    stress_put(self, buffer);
    stress_ok(weir_buffer_release(buffer));
    wi_add(&leases, 1, relaxed);
}

static void use_own_pool(struct stress_thread *self)
{
    struct weir_pool *pool;
    stress_ok(weir_pool_create(rt,
                               WEIR_OPTS(pool, .name = "own", .buffer_bytes = BUFFER_BYTES,
                                         .buffers_min = 2, .buffers_max = 16),
                               &pool));
    stress_ok(weir_pool_reserve(pool, 1 + stress_below(self, 16)));
    weir_pool_destroy(pool);
}

static void work(struct stress_thread *self)
{
    while (stress_going(self)) {
        if (stress_below(self, 32) == 0) {
            use_own_pool(self);
        } else {
            use_buffer(self, self->ctx);
        }
        stress_step(self);
    }
}

/* ---- the child ---- */

/* What a child has to use: all from before the fork. */
struct heirloom {
    struct weir_pool   *pool;
    struct weir_buffer *buffer;
    struct weir_buffer *guarded; /* by work that may be pending */
    struct weir_stream *stream;
};

/* Only what may be called in the child of a process with threads: no memory, no stdio. Returns which call was wrong. */
static int ask_everything(const struct heirloom *from)
{
    struct weir_runtime *made;
    struct weir_pool    *pool;
    struct weir_buffer  *buffer;
    struct weir_stream  *stream;
    if (weir_buffer_acquire(from->pool, WEIR_NOW, &buffer) != WEIR_EFORKED) return 1;
    if (weir_buffer_acquire(from->pool, WEIR_FOREVER, &buffer) != WEIR_EFORKED) return 2;
    if (weir_buffers_acquire(from->pool, 2, WEIR_FOREVER, &buffer) != WEIR_EFORKED) return 3;
    if (weir_buffer_acquire_with(from->pool, NULL, WEIR_FOREVER, &buffer) != WEIR_EFORKED) return 4;
    if (weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream) != WEIR_EFORKED)
        return 5;
    if (weir_runtime_create(NULL, &made) != WEIR_EFORKED) return 6;
    if (weir_pool_create(rt, NULL, &pool) != WEIR_EFORKED) return 7;
    if (weir_pool_reserve(from->pool, 3) != WEIR_EFORKED) return 8;
    if (weir_pool_trim(from->pool, 0, WEIR_FOREVER) != WEIR_EFORKED) return 9;
    if (weir_buffer_guard(from->buffer, from->stream) != WEIR_EFORKED) return 10;
    if (weir_stream_sync(from->stream, WEIR_FOREVER) != WEIR_EFORKED) return 11;
    if (weir_stream_upload(from->stream, 4096, weir_slice_all(from->buffer)) != WEIR_EFORKED)
        return 12;
    if (weir_buffer_release(from->buffer) != WEIR_EFORKED) return 13;
    if (weir_buffer_release(from->buffer) != WEIR_EFORKED) return 14;
    if (weir_buffer_release(from->guarded) != WEIR_EFORKED) return 15;
    if (weir_stream_release(from->stream) != WEIR_EFORKED) return 16;
    if (weir_runtime_sync(rt, 0, WEIR_FOREVER) != WEIR_EFORKED) return 17;
    if (weir_buffer_sync(from->buffer, WEIR_FOREVER) != WEIR_EFORKED) return 18;
    weir_pool_destroy(from->pool);
    weir_runtime_destroy(rt);
    weir_thread_detach();
    return 0;
}

static void wait_for_child(pid_t child)
{
    uint64_t until_ns = weir_deadline_after_ns(30 * NS_PER_S);
    int      status;
    pid_t    ended;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && weir_clock_ns() < until_ns)
        stress_sleep_ns(MS / 10);
    if (ended == 0) (void)kill(child, SIGABRT);
    stress_require(ended == child, "a child hangs");
    stress_require(WIFEXITED(status), "a child ended by signal %d", WTERMSIG(status));
    stress_require(WEXITSTATUS(status) == 0, "call %d in a child was not told FORKED",
                   WEXITSTATUS(status));
}

static void fork_children(struct stress_thread *self)
{
    struct heirloom own = {.pool = self->ctx};
    stress_ok(weir_buffer_acquire(own.pool, WEIR_FOREVER, &own.buffer));
    stress_take(self, own.buffer);
    stress_ok(weir_buffer_acquire(own.pool, WEIR_FOREVER, &own.guarded));
    stress_ok(weir_stream_acquire(rt, WEIR_STREAM_HIGH, WEIR_FOREVER, &own.stream));
    while (stress_going(self)) {
        stress_ok(weir_stream_delay(own.stream, stress_below(self, MS)));
        stress_ok(weir_buffer_guard(own.guarded, own.stream));
        pid_t child = fork();
        stress_require(child >= 0);
        if (child == 0) _exit(ask_everything(&own));
        wait_for_child(child);
        stress_check(self, own.buffer); /* the child's release was not the parent's */
        wi_add(&children, 1, relaxed);
        stress_step(self);
        stress_sleep_ns(stress_below(self, MS));
    }
    stress_ok(weir_stream_release(own.stream));
    stress_put(self, own.buffer);
    stress_ok(weir_buffer_release(own.buffer));
    stress_ok(weir_buffer_release(own.guarded));
    wi_add(&leases, 2, relaxed);
}

int main(int count, char **words)
{
    struct weir_pool *pool;
    stress_begin(&spec, count, words);
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_pool_create(
        rt, WEIR_OPTS(pool, .name = "fork", .buffer_bytes = BUFFER_BYTES, .buffers_min = buffers),
        &pool));
    stress_watch("fork", pool, 0);
    stress_start(work, pool, stress_threads());
    stress_start(fork_children, pool, 1);
    stress_join();
    stress_ok(weir_runtime_sync(rt, 0, weir_deadline_after_ns(30 * NS_PER_S)));
    stress_check_rest(pool);

    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    stress_require(stats.acquires == wi_load(&leases, relaxed), "%llu leases",
                   (unsigned long long)stats.acquires);
    stress_require(stats.misuses == 0, "%llu", (unsigned long long)stats.misuses);
    stress_note("children", (double)wi_load(&children, relaxed));
    stress_note("leases", (double)stats.acquires);
    stress_unwatch(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return stress_end();
}
