/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mix - every operation of weir beside every other
 *
 * Imitates a program in which nobody knows what the others do: 64 threads draw their next operation from all that there
 * are. Leases one at a time, in batches, by callback and by eventfd, with preemption; copies, events, streams by key,
 * shared, current, adopted; graphs; tensors, stepped arrays, rows, exports; tiered buffers; pools that grow, are trimmed,
 * cleared and destroyed; statistics. At the end all must be at home, and each operation must have happened.
 *
 * Run for 10 s as a smoke test, and for 60 s under AddressSanitizer and under ThreadSanitizer before a merge.
 */
#include "mix.h"

#include "device/device.h"
#include "pool/context.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NS_PER_S  UINT64_C(1000000000)
#define BATCH_MAX 4
#define OPS_MAX   64

static const struct stress_spec spec = {
    .name = "mix",
    .imitates = "a program in which every operation runs beside every other",
    .seconds = 10,
    .threads = 64,
};

struct mix mix;

/* ---- leases ---- */

bool mix_got(struct stress_thread *self, int err)
{
    (void)self;
    if (err == WEIR_EAGAIN || err == WEIR_ETIMEDOUT || err == WEIR_EBUSY || err == WEIR_EPRESSURE) return false;
    stress_ok(err);
    return true;
}

uint64_t mix_soon(struct stress_thread *self)
{
    return stress_below(self, 4) == 0 ? WEIR_NOW : weir_deadline_after_ns(stress_below(self, 4 * MIX_MS));
}

struct weir_pool *mix_any_pool(struct stress_thread *self)
{
    return mix.pool[stress_below(self, MIX_POOLS)];
}

struct weir_buffer *mix_take(struct stress_thread *self, struct weir_pool *pool)
{
    struct weir_buffer *buffer;
    uint32_t            priority = (uint32_t)stress_below(self, WEIR_PRIORITY_HIGH + 1);
    if (!mix_got(self, weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = priority), mix_soon(self),
                                                &buffer)))
        return NULL;
    stress_take(self, buffer);
    return buffer;
}

void mix_put(struct stress_thread *self, struct weir_buffer *buffer)
{
    stress_put(self, buffer);
    stress_ok(weir_buffer_release(buffer));
}

static void lease_one(struct stress_thread *self)
{
    struct weir_buffer *buffer = mix_take(self, mix_any_pool(self));
    if (!buffer) return;
    stress_pause(self);
    mix_put(self, buffer);
}

/* Without a limit of time: nothing is held meanwhile. */
static void lease_patiently(struct stress_thread *self)
{
    struct weir_buffer *buffer;
    stress_ok(weir_buffer_acquire(mix_any_pool(self), WEIR_FOREVER, &buffer));
    stress_take(self, buffer);
    mix_put(self, buffer);
}

static void lease_batch(struct stress_thread *self)
{
    struct weir_buffer *held[BATCH_MAX];
    size_t              count = 1 + stress_below(self, BATCH_MAX);
    if (!mix_got(self, weir_buffers_acquire(mix_any_pool(self), count, mix_soon(self), held))) return;
    for (size_t i = 0; i < count; i++) stress_take(self, held[i]);
    stress_pause(self);
    for (size_t i = 0; i < count; i++) stress_put(self, held[i]);
    stress_ok(weir_buffers_release(held, count));
}

static void lease_some(struct stress_thread *self)
{
    struct weir_buffer *held[BATCH_MAX];
    int                 count = weir_buffers_acquire_some(mix_any_pool(self), BATCH_MAX, held);
    if (!mix_got(self, count)) return;
    for (int i = 0; i < count; i++) stress_take(self, held[i]);
    for (int i = 0; i < count; i++) mix_put(self, held[i]);
}

/* ---- asynchronous leases ---- */

static void on_acquired(void *ctx, int result, struct weir_buffer *buffer)
{
    struct stress_thread callback = {.index = 1000000, .random = (uint64_t)(uintptr_t)ctx};
    if (result == 0) {
        stress_take(&callback, buffer);
        mix_put(&callback, buffer);
    } else {
        stress_require(result == WEIR_ETIMEDOUT || result == WEIR_EAGAIN, "%d", result);
    }
    wi_sub(&mix.outstanding, 1, release);
}

static void ask_by_callback(struct stress_thread *self)
{
    struct weir_request *request;
    uint64_t deadline_ns = stress_below(self, 2) ? WEIR_FOREVER : mix_soon(self);
    wi_add(&mix.outstanding, 1, relaxed);
    stress_ok(weir_buffer_acquire_async(mix_any_pool(self), NULL, deadline_ns, on_acquired,
                                        (void *)(uintptr_t)stress_random(self), NULL));
    if (stress_below(self, 4)) return;
    wi_add(&mix.outstanding, 1, relaxed);
    /* One that is never called before it is cancelled, because its pool has nothing: its pointer stays good. */
    struct weir_pool   *pool;
    struct weir_buffer *only;
    stress_ok(weir_pool_create(mix.rt, WEIR_OPTS(pool, .name = "one", .buffer_bytes = MIX_BUFFER_BYTES, .buffers_min = 1),
                               &pool));
    stress_ok(weir_buffer_acquire(pool, WEIR_NOW, &only));
    stress_ok(weir_buffer_acquire_async(pool, NULL, WEIR_FOREVER, on_acquired, NULL, &request));
    stress_ok(weir_request_cancel(request));
    wi_sub(&mix.outstanding, 1, relaxed);
    stress_ok(weir_buffer_release(only));
    weir_pool_destroy(pool);
}

static void ask_by_eventfd(struct stress_thread *self)
{
    struct weir_request *request;
    struct weir_buffer  *buffer = NULL;
    int                  told = eventfd(0, EFD_CLOEXEC), err;
    stress_require(told >= 0);
    stress_ok(weir_buffer_acquire_eventfd(mix_any_pool(self), NULL, mix_soon(self), told, &request));
    bool cancelled = stress_below(self, 3) == 0 && weir_request_cancel(request) == 0;
    while (!cancelled && (err = weir_request_take(request, &buffer)) == WEIR_EAGAIN) {
        struct pollfd wait = {.fd = told, .events = POLLIN};
        uint64_t      count;
        if (poll(&wait, 1, 1) == 1) stress_require(read(told, &count, sizeof count) == sizeof count);
        err = weir_request_take(request, &buffer);
        if (err != WEIR_EAGAIN) break;
    }
    if (!cancelled && mix_got(self, err)) {
        stress_take(self, buffer);
        mix_put(self, buffer);
    }
    close(told);
}

/* ---- preemption ---- */

/*
 * A lease that may be taken away while its holder does not touch it. The word is {number of the lease, phase}; `user`
 * is {thread, number}, which stays meaningful when the lease has ended.
 */
enum phase { MINE, OFFERED, TAKEN, ENDED };

static struct offer {
    _Atomic uint64_t      word;
    struct stress_thread *holder;
} offer[MIX_THREADS_MAX] __attribute__((aligned(128)));
static _Atomic uint64_t   gave_up;

static uint32_t on_preempt(void *ctx, struct weir_buffer *buffer, uint64_t user)
{
    struct offer *its = &offer[user >> 32];
    uint64_t      number = user & UINT32_MAX, offered = number << 2 | OFFERED;
    (void)ctx;
    if (number % 4 == 0) return WEIR_PREEMPT_REFUSE;
    if (number % 4 == 1) return WEIR_PREEMPT_LATER;
    if (!wi_cas(&its->word, &offered, number << 2 | TAKEN, acq_rel)) return WEIR_PREEMPT_LATER;
    stress_put(its->holder, buffer);
    wi_add(&gave_up, 1, relaxed);
    return WEIR_PREEMPT_NOW;
}

static void hold_what_may_be_taken(struct stress_thread *self)
{
    struct offer       *mine = &offer[self->number];
    uint64_t            number = ((wi_load(&mine->word, relaxed) >> 2) + 1) & UINT32_MAX;
    uint64_t            offered = number << 2 | OFFERED;
    struct weir_buffer *buffer;
    /* Written once: whoever was offered the lease before may still read it. */
    if (mine->holder != self) mine->holder = self;
    wi_store(&mine->word, number << 2 | MINE, relaxed);
    if (!mix_got(self, weir_buffer_acquire_with(mix.preempting,
                                                WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_LOW,
                                                          .user = (uint64_t)self->number << 32 | number),
                                                mix_soon(self), &buffer)))
        return;
    stress_take(self, buffer);
    wi_store(&mine->word, offered, release);
    for (int i = 0; i < 20 && wi_load(&mine->word, relaxed) == offered; i++) {
        int wanted = weir_buffer_wanted(buffer); /* it may have ended: any answer but a crash */
        if (wanted == 1 && number % 4 == 1) break;
        stress_sleep_ns(stress_below(self, MIX_MS / 4));
    }
    if (wi_cas(&mine->word, &offered, number << 2 | ENDED, acq_rel)) mix_put(self, buffer);
}

static void want_what_others_hold(struct stress_thread *self)
{
    struct weir_buffer *buffer;
    uint64_t            deadline_ns = weir_deadline_after_ns(stress_below(self, 10 * MIX_MS));
    /* Number 0 refuses: this lease is of the highest class and never asked for. */
    if (!mix_got(self, weir_buffer_acquire_with(mix.preempting, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_HIGH),
                                                deadline_ns, &buffer)))
        return;
    stress_take(self, buffer);
    mix_put(self, buffer);
}

/* ---- sizes ---- */

static void resize(struct stress_thread *self)
{
    struct weir_pool *pool = mix.pool[MIX_GROWING];
    switch (stress_below(self, 4)) {
    case 0: (void)!mix_got(self, weir_pool_trim(pool, stress_below(self, 48), mix_soon(self))); break;
    case 1: stress_ok(weir_pool_reserve(pool, stress_below(self, 48))); break;
    case 2: (void)!mix_got(self, weir_runtime_trim(mix.rt, WEIR_MEMORY_PINNED, UINT64_C(1) << 20, mix_soon(self))); break;
    default: stress_ok(weir_runtime_set_budget(mix.rt, WEIR_MEMORY_PAGEABLE, UINT64_C(1) << (30 + stress_below(self, 4)))); break;
    }
}

static void clear(struct stress_thread *self)
{
    stress_ok(weir_pool_clear(mix_any_pool(self)));
    stress_ok(weir_event_clear(mix.rt));
    stress_ok(weir_stream_clear_affinity(mix.rt));
    stress_ok(weir_stream_set_affinity(mix.rt, stress_below(self, 4) ? WEIR_AFFINITY_ON : WEIR_AFFINITY_OFF));
}

static void own_pool(struct stress_thread *self)
{
    struct weir_pool   *pool;
    struct weir_buffer *buffer, *single;
    stress_ok(weir_pool_create(mix.rt, WEIR_OPTS(pool, .name = "own", .buffer_bytes = MIX_BUFFER_BYTES,
                                                 .buffers_min = 1 + stress_below(self, 4)),
                               &pool));
    stress_ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    stress_take(self, buffer);
    weir_pool_destroy(pool); /* with a lease out */
    mix_put(self, buffer);
    stress_ok(weir_buffer_create(mix.rt, MIX_BUFFER_BYTES, WEIR_DTYPE_U8, &single));
    stress_take(self, single);
    stress_put(self, single);
    weir_buffer_destroy(single);
}

static void own_runtime(struct stress_thread *self)
{
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    (void)self;
    stress_ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_compute = 1, .streams_comm = 1, .streams_high = 1,
                                            .events_max = 4, .events_min = 1),
                                  &rt));
    stress_ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = MIX_BUFFER_BYTES, .buffers_min = 1), &pool));
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static void look(struct stress_thread *self)
{
    char                   text[1 << 15];
    uint32_t               format = stress_below(self, 2) ? WEIR_FORMAT_JSON : WEIR_FORMAT_PROMETHEUS;
    struct weir_pressure   pressure = {.struct_size = sizeof pressure};
    struct weir_tier_stats tiers = {.struct_size = sizeof tiers};
    stress_require(weir_stats_format(mix.rt, format, text, sizeof text) > 0);
    stress_ok(weir_pressure_read(mix.rt, &pressure));
    stress_ok(weir_tier_stats_read(mix.tiers, &tiers));
    weir_thread_detach();
}

static const struct mix_op lease_ops[] = {
    {"lease", lease_one, 200},
    {"lease_patiently", lease_patiently, 60},
    {"batch", lease_batch, 60},
    {"some", lease_some, 40},
    {"callback", ask_by_callback, 40},
    {"eventfd", ask_by_eventfd, 40},
    {"hold_preemptible", hold_what_may_be_taken, 30},
    {"want_preemptible", want_what_others_hold, 20},
    {"resize", resize, 20},
    {"clear", clear, 4},
    {"own_pool", own_pool, 8},
    {"own_runtime", own_runtime, 1},
    {"look", look, 8},
    {NULL, NULL, 0},
};

/* ---- the run ---- */

static const struct mix_op *op[OPS_MAX];
static _Atomic uint64_t     done[OPS_MAX];
static unsigned             ops, weights;

static void add_ops(const struct mix_op *list)
{
    for (; list->name; list++) {
        stress_require(ops < OPS_MAX);
        op[ops++] = list;
        weights += list->weight;
    }
}

static unsigned draw(struct stress_thread *self)
{
    uint64_t turn = stress_below(self, weights);
    unsigned at = 0;
    while (turn >= op[at]->weight) turn -= op[at++]->weight;
    return at;
}

static void work(struct stress_thread *self)
{
    unsigned at = self->number % ops; /* so that each operation comes at least once */
    for (; stress_going(self); at = draw(self)) {
        stress_doing(self, op[at]->name);
        op[at]->run(self);
        wi_add(&done[at], 1, relaxed);
        stress_step(self);
    }
}

static void make_pool(struct weir_pool **out, uint64_t reserved, const struct weir_pool_opts *opts)
{
    stress_ok(weir_pool_create(mix.rt, opts, out));
    stress_watch(opts->name, *out, reserved);
}

static void open_all(void)
{
    struct wi_device *device;
    stress_ok(weir_runtime_create(WEIR_OPTS(runtime, .streams_compute = 6, .streams_comm = 4, .streams_high = 2,
                                            .events_max = 64, .affinity_keys_max = 8),
                                  &mix.rt));
    for (uint32_t i = 0; i < MIX_POOLS; i++) {
        static const char *const name[] = {"recent", "robin", "oldest", "priority", "growing", "scrubbed"};
        static const uint32_t    strategy[] = {0, WEIR_STRATEGY_ROUND_ROBIN, WEIR_STRATEGY_LEAST_RECENT,
                                               WEIR_STRATEGY_PRIORITY, 0, 0};
        make_pool(&mix.pool[i], BATCH_MAX + 2,
                  WEIR_OPTS(pool, .name = name[i], .buffer_bytes = MIX_BUFFER_BYTES, .buffers_min = 8,
                            .buffers_max = i == MIX_GROWING ? 48 : 8, .strategy = strategy[i],
                            .headroom = i == MIX_PRIORITY ? 2 : 0, .sample_every = 16, .low_water_percent = 50,
                            .grow_cooldown_ns = MIX_MS, .shrink_cooldown_ns = 20 * MIX_MS,
                            .flags = i == MIX_SCRUBBED ? WEIR_POOL_SCRUB | WEIR_POOL_CHECK_WRITES : 0));
    }
    make_pool(&mix.preempting, 2, WEIR_OPTS(pool, .name = "preempting", .buffer_bytes = MIX_BUFFER_BYTES,
                                            .buffers_min = 3, .preempt = on_preempt));
    make_pool(&mix.tensors, BATCH_MAX + 2, WEIR_OPTS(pool, .name = "tensors", .buffer_bytes = MIX_BUFFER_BYTES,
                                                     .buffers_min = 32));
    stress_ok(weir_tier_create(mix.rt, WEIR_OPTS(tier, .name = "tiers", .buffer_bytes = MIX_BUFFER_BYTES,
                                                 .buffers_max = 32, .device_buffers = 8, .pinned_buffers = 8,
                                                 .period_ns = 20 * MIX_MS),
                               &mix.tiers));
    stress_watch("tiers", mix.tiers, 2);
    for (unsigned i = 0; i < MIX_THREADS_MAX; i++)
        stress_ok(weir_device_alloc(mix.rt, MIX_BUFFER_BYTES, &mix.device[i]));
    device = wi_context_of(mix.rt)->device;
    for (unsigned i = 0; i < MIX_HANDLES; i++) stress_ok(device->ops->stream_create(device, 0, &mix.handle[i]));
}

static void check_streams(uint32_t stream_class)
{
    struct weir_stream_totals totals = {.struct_size = sizeof totals};
    uint64_t                  until_ns = mix_far();
    do {
        stress_ok(weir_stream_totals_read(mix.rt, stream_class, &totals));
    } while (totals.busy > 0 && weir_clock_ns() < until_ns);
    stress_require(totals.acquired == 0 && totals.busy == 0 && totals.failed == 0 && totals.streams == totals.free,
                   "class %u: streams %llu, free %llu, acquired %llu, busy %llu, failed %llu", stream_class,
                   (unsigned long long)totals.streams, (unsigned long long)totals.free,
                   (unsigned long long)totals.acquired, (unsigned long long)totals.busy,
                   (unsigned long long)totals.failed);
}

static void check_rest(void)
{
    struct weir_pool_stats events = {.struct_size = sizeof events};
    uint64_t               until_ns = mix_far();
    while (wi_load(&mix.outstanding, acquire) > 0 && weir_clock_ns() < until_ns) stress_sleep_ns(MIX_MS);
    stress_require(wi_load(&mix.outstanding, acquire) == 0, "%llu requests have not ended",
                   (unsigned long long)wi_load(&mix.outstanding, relaxed));
    stress_ok(weir_runtime_sync(mix.rt, 0, mix_far()));
    for (unsigned i = 0; i < MIX_POOLS; i++) stress_check_rest(mix.pool[i]);
    stress_check_rest(mix.preempting);
    stress_check_rest(mix.tensors);
    stress_check_rest(mix.tiers);
    for (uint32_t class = WEIR_STREAM_COMPUTE; class <= WEIR_STREAM_HIGH; class++) check_streams(class);
    stress_ok(weir_event_stats_read(mix.rt, &events));
    stress_require(events.leased == 0 && events.total == events.free, "events: %llu leased, %llu free of %llu",
                   (unsigned long long)events.leased, (unsigned long long)events.free,
                   (unsigned long long)events.total);
}

static void close_all(void)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    struct wi_device         *device = wi_context_of(mix.rt)->device;
    struct weir_pool         *all[] = {mix.preempting, mix.tensors, mix.tiers};
    for (unsigned i = 0; i < MIX_HANDLES; i++) stress_ok(device->ops->stream_destroy(device, mix.handle[i]));
    for (unsigned i = 0; i < MIX_THREADS_MAX; i++) stress_ok(weir_device_free(mix.rt, mix.device[i]));
    for (unsigned i = 0; i < MIX_POOLS + 3; i++) {
        struct weir_pool *pool = i < MIX_POOLS ? mix.pool[i] : all[i - MIX_POOLS];
        stress_unwatch(pool);
        weir_pool_destroy(pool);
    }
    /* What was in flight when its pool was destroyed comes home, and the monitor frees it. */
    for (unsigned tries = 0; tries < 3000; tries++) {
        stress_ok(weir_runtime_stats_read(mix.rt, &stats));
        if (stats.pinned_bytes == 0 && stats.device_bytes == 0 && stats.pageable_bytes == 0) break;
        stress_sleep_ns(10 * MIX_MS);
    }
    stress_require(stats.pinned_bytes == 0 && stats.device_bytes == 0 && stats.pageable_bytes == 0,
                   "%llu pinned, %llu device, %llu pageable bytes stay", (unsigned long long)stats.pinned_bytes,
                   (unsigned long long)stats.device_bytes, (unsigned long long)stats.pageable_bytes);
    weir_runtime_destroy(mix.rt);
    stress_require(weir_runtime_reset(0, mix_far()) == 0, "leases of the process-wide runtime are out");
}

int main(int count, char **words)
{
    stress_begin(&spec, count, words);
    stress_require(stress_threads() <= MIX_THREADS_MAX);
    add_ops(lease_ops);
    add_ops(mix_device_ops);
    add_ops(mix_array_ops);
    open_all();
    stress_start(work, NULL, stress_threads());
    stress_join();
    check_rest();
    for (unsigned i = 0; i < ops; i++) {
        uint64_t times = wi_load(&done[i], relaxed);
        stress_require(times > 0 || stress_threads() < ops, "%s has never happened", op[i]->name);
        stress_note(op[i]->name, (double)times);
    }
    stress_note("given_up", (double)wi_load(&gave_up, relaxed));
    close_all();
    return stress_end();
}
