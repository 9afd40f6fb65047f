/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lost - a device that is lost while threads use it
 *
 * Imitates a GPU that falls off the bus: in each round a runtime is made, threads stage through it, wait for it and
 * keep leases, and then the emulated device is lost, now or at some use of some operation. From then on every
 * acquire and every waiter must be told DEVICE, releases must still work, what the device was using must never be
 * handed out again, and the runtime must end. The next round starts with a new device.
 *
 * Run for 3 s as a smoke test, 5 min before a merge. Over the emulated device only.
 */
#include "harness.h"

#include "device/host.h"
#include "pool/context.h"

#include <pthread.h>
#include <stdlib.h>
#include <weir/stream.h>

#define THREADS_MAX  64
#define BUFFER_BYTES 4096
#define BODY_BYTES   (BUFFER_BYTES - 2 * STRESS_STAMP_BYTES)
#define NS_PER_S     UINT64_C(1000000000)
#define MS           UINT64_C(1000000)

static uint64_t buffers = 6;

static const struct stress_option options[] = {
    {"buffers", &buffers, "buffers of the pool"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "lost",
    .imitates = "a device that is lost while threads stage through it",
    .seconds = 3,
    .threads = 6,
    .options = options,
};

/* One round; the barriers make what is plain here visible. */
static pthread_barrier_t    met;
static struct weir_runtime *rt;
static struct weir_pool    *pool;
static uint64_t             address[THREADS_MAX]; /* device memory of each thread */
static bool                 over;
static _Atomic uint64_t     rounds, told_lost, leases, released_after;

/* True when the device is lost: nothing else may be wrong. */
static bool is_lost(int err)
{
    if (err >= 0 || err == WEIR_ETIMEDOUT || err == WEIR_EAGAIN) return false;
    stress_require(err == WEIR_EDEVICE, "a call was told %s", weir_errname(err));
    return true;
}

static bool stage(struct stress_thread *self, struct weir_stream *stream)
{
    struct weir_buffer *buffer;
    uint64_t deadline_ns = stress_below(self, 2) ? WEIR_FOREVER : weir_deadline_after_ns(MS);
    stress_doing(self, "acquiring");
    int err = weir_buffer_acquire(pool, deadline_ns, &buffer);
    if (err < 0) return is_lost(err);
    stress_take(self, buffer);
    wi_add(&leases, 1, relaxed);
    struct weir_slice body = weir_slice(buffer, STRESS_STAMP_BYTES, BODY_BYTES);
    bool              lost = is_lost(weir_stream_delay(stream, stress_below(self, MS / 4)));
    lost |= is_lost(weir_stream_upload(stream, address[self->number], body));
    lost |= is_lost(weir_stream_download(stream, body, address[self->number]));
    if (stress_below(self, 4) == 0) {
        stress_doing(self, "waiting for its buffer");
        lost |= is_lost(weir_buffer_sync(buffer, WEIR_FOREVER));
    }
    stress_put(self, buffer);
    stress_ok(weir_buffer_release(buffer));
    if (lost) wi_add(&released_after, 1, relaxed);
    return lost;
}

static void use_until_lost(struct stress_thread *self)
{
    struct weir_stream *stream = NULL;
    bool                lost = false;
    while (!lost) {
        stress_doing(self, "waiting for a stream");
        int err = weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream);
        if (err < 0) {
            lost = is_lost(err);
            continue;
        }
        for (uint64_t left = 1 + stress_below(self, 8); left > 0 && !lost; left--)
            lost = stage(self, stream);
        if (!lost && stress_below(self, 4) == 0) {
            stress_doing(self, "waiting for its stream");
            lost = is_lost(weir_stream_sync(stream, WEIR_FOREVER));
        }
        stress_ok(weir_stream_release(stream));
        stress_step(self);
    }
    wi_add(&told_lost, 1, relaxed);
}

/* Once one thread has been told, all must be: also who asks anew. */
static void ask_again(struct stress_thread *self)
{
    struct weir_buffer *buffer;
    struct weir_stream *stream;
    uint64_t            until_ns = weir_deadline_after_ns(30 * NS_PER_S);
    stress_doing(self, "asking again");
    /* The keeper closes the gates a moment after the first failed call. */
    int err;
    while ((err = weir_buffer_acquire(pool, WEIR_NOW, &buffer)) != WEIR_EDEVICE) {
        stress_require(weir_clock_ns() < until_ns, "buffers are handed out still");
        if (err == 0) stress_ok(weir_buffer_release(buffer));
        stress_sleep_ns(MS / 10);
    }
    err = weir_buffer_acquire(pool, WEIR_FOREVER, &buffer);
    stress_require(err == WEIR_EDEVICE, "%s", weir_errname(err));
    while ((err = weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &stream)) != WEIR_EDEVICE) {
        stress_require(weir_clock_ns() < until_ns, "streams are handed out still");
        if (err == 0) stress_ok(weir_stream_release(stream));
        stress_sleep_ns(MS / 10);
    }
}

static void work(struct stress_thread *self)
{
    while (true) {
        pthread_barrier_wait(&met);
        if (over) return;
        use_until_lost(self);
        pthread_barrier_wait(&met); /* all have been told */
        stress_step(self);
    }
}

static void lose(struct stress_thread *self, struct wi_emu *emu)
{
    static const uint32_t at[] = {WI_EMU_COPY,         WI_EMU_EVENT_RECORD, WI_EMU_EVENT_QUERY,
                                  WI_EMU_EVENT_CREATE, WI_EMU_EXECUTE,      WI_EMU_DELAY};
    stress_sleep_ns(stress_below(self, 3 * MS));
    if (stress_below(self, 3) == 0) {
        wi_emu_lose(emu);
        return;
    }
    struct wi_emu_fault fault = {.op = at[stress_below(self, sizeof(at) / sizeof(at[0]))],
                                 .flags = WI_EMU_FAULT_STICKY,
                                 .nth = 1 + stress_below(self, 20),
                                 .code = WEIR_EDEVICE};
    stress_require(wi_emu_fault_set(emu, &fault) == 0);
    /* An operation that happens not to be used must not keep the round from its end. */
    stress_sleep_ns(20 * MS);
    wi_emu_lose(emu);
}

static void play_round(struct stress_thread *self)
{
    struct weir_buffer *kept = NULL;
    stress_ok(
        weir_runtime_create(WEIR_OPTS(runtime, .backend = "host", .drain_ns = NS_PER_S), &rt));
    stress_ok(weir_pool_create(
        rt, WEIR_OPTS(pool, .name = "lost", .buffer_bytes = BUFFER_BYTES, .buffers_min = buffers),
        &pool));
    for (uint64_t at = 0; at < stress_threads(); at++)
        stress_ok(weir_device_alloc(rt, BODY_BYTES, &address[at]));
    if (stress_below(self, 2)) {
        stress_ok(weir_buffer_acquire(pool, WEIR_NOW, &kept));
        stress_take(self, kept);
    }
    pthread_barrier_wait(&met);
    lose(self, wi_host_emu(wi_context_of(rt)->device));
    pthread_barrier_wait(&met);
    ask_again(self);

    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    stress_require(stats.waiting == 0, "%llu wait still", (unsigned long long)stats.waiting);
    stress_require(stats.leased == (kept ? 1 : 0), "%llu leased", (unsigned long long)stats.leased);
    bool late = stress_below(self, 2);
    if (kept && !late) {
        stress_put(self, kept);
        stress_ok(weir_buffer_release(kept));
    }
    if (stress_below(self, 2)) weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    if (kept && late) {
        stress_put(self, kept);
        int err = weir_buffer_release(kept);
        stress_require(err == WEIR_ECLOSED, "a late release was told %s", weir_errname(err));
    }
    wi_add(&rounds, 1, relaxed);
    stress_step(self);
}

static void lead(struct stress_thread *self)
{
    while (stress_going(self)) play_round(self);
    over = true;
    pthread_barrier_wait(&met);
}

int main(int count, char **words)
{
    stress_begin(&spec, count, words);
    stress_expect_loss();
    stress_require(stress_threads() <= THREADS_MAX);
    pthread_barrier_init(&met, NULL, (unsigned)stress_threads() + 1);
    stress_start(lead, NULL, 1);
    stress_start(work, NULL, stress_threads());
    stress_join();
    pthread_barrier_destroy(&met);
    stress_note("rounds", (double)wi_load(&rounds, relaxed));
    stress_note("told_lost", (double)wi_load(&told_lost, relaxed));
    stress_note("leases", (double)wi_load(&leases, relaxed));
    stress_note("released_after", (double)wi_load(&released_after, relaxed));
    return stress_end();
}
