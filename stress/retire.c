/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retire - buffers that are released while the device still works on them
 *
 * Imitates request threads that stage data to and from the device and never wait for it: each fills a buffer,
 * queues a copy or a kernel that reads it, behind work that keeps the stream busy, and releases it at once.
 * Whoever leases the buffer next overwrites it. The device side checks, in stream order, that it saw what the
 * owner at the time of queueing wrote; the next owner checks that no late download writes into what is now his.
 *
 *     upload      the buffer is copied to device memory, and a host function behind the copy looks there
 *     download    device memory is copied into the buffer
 *     guard       a host function reads the buffer itself, as a kernel of the caller's would; weir_buffer_guard()
 *     two         as guard, with a second stream that reads it later
 *
 *     --ignore 1  WEIR_POOL_IGNORE_GUARDS: buffers are reused early, and the run has to fail
 *
 * WEIR_BACKEND chooses the device. Random delays disturb the order of completion. On a device whose memory
 * the host cannot read, uploads are read back by a download.
 * Over the driver double with FAKECUDA=clock=virtual,seed=N a thread of this program lets the device do one
 * operation after the other, in the order of that seed.
 * Run for 4 s as a smoke test, 5 min before a merge, also over the driver double, and until 1e6 operations on a GPU.
 */
#include "harness.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <weir/stream.h>

#define FLIGHTS     16 /* of a thread, on the device at once */
#define THREADS_MAX 256
#define NS_PER_S    UINT64_C(1000000000)

static uint64_t buffers = 12, buffer_bytes = 4096, ignore;

static const struct stress_option options[] = {
    {"buffers", &buffers, "buffers of the pool"},
    {"bytes", &buffer_bytes, "bytes of a buffer"},
    {"ignore", &ignore, "1: the pool ignores guards; the run must fail"},
    {NULL, NULL, NULL},
};

static const struct stress_spec spec = {
    .name = "retire",
    .imitates = "request threads that release staging buffers while the device still uses them",
    .seconds = 4,
    .threads = 8,
    .options = options,
};

/* One operation on the device: what it is to find, and where. Its thread's while not busy. */
struct flight {
    _Atomic uint32_t busy;  /* host functions that have not run yet */
    bool             alone; /* on one stream only */
    const void      *stream;
    uint64_t         address;
    const uint64_t  *host;
    uint64_t         stamp;
};

struct place {
    struct flight flight[FLIGHTS];
    uint64_t      source; /* device memory that only downloads read */
};

static struct weir_runtime *rt;
static bool                 device_is_host;
static struct place         place[THREADS_MAX];
static _Atomic uint64_t     uploads, downloads, guards, seen;

static size_t body_words(void)
{
    return (buffer_bytes - 2 * STRESS_STAMP_BYTES) / 8;
}

static uint64_t *body_of(const struct weir_buffer *buffer)
{
    return (uint64_t *)((char *)buffer->host + STRESS_STAMP_BYTES);
}

static struct weir_slice body_slice(struct weir_buffer *buffer)
{
    return weir_slice(buffer, STRESS_STAMP_BYTES, body_words() * 8);
}

static void fill(uint64_t *words, uint64_t stamp)
{
    for (size_t at = 0; at < body_words(); at++) words[at] = stamp + at;
}

static void verify(const uint64_t *words, uint64_t stamp, const char *what)
{
    for (size_t at = 0; at < body_words(); at++)
        stress_require(words[at] == stamp + at, "%s: word %zu is %llx, not %llx", what, at,
                       (unsigned long long)words[at], (unsigned long long)(stamp + at));
}

/* ---- on the device, in stream order ---- */

static void look(void *ctx, const char *what)
{
    struct flight *flight = ctx;
    verify(flight->host, flight->stamp, what);
    wi_add(&seen, 1, relaxed);
    wi_sub(&flight->busy, 1, release);
}

static void look_at_upload(void *ctx)
{
    look(ctx, "what was uploaded");
}

static void look_at_buffer(void *ctx)
{
    look(ctx, "what a kernel read in the buffer");
}

/* ---- the threads ---- */

static struct flight *free_flight(struct stress_thread *self, struct weir_stream *stream)
{
    struct flight *flights = place[self->number].flight;
    for (;;) {
        for (unsigned at = 0; at < FLIGHTS; at++) {
            if (wi_load(&flights[at].busy, acquire) == 0) return &flights[at];
        }
        stress_doing(self, "waiting for its stream");
        stress_ok(weir_stream_sync(stream, weir_deadline_after_ns(30 * NS_PER_S)));
    }
}

static void keep_busy(struct stress_thread *self, struct weir_stream *stream)
{
    uint64_t roll = stress_below(self, 8);
    if (roll == 0) stress_ok(weir_stream_delay(stream, stress_below(self, 400000)));
    if (roll == 1) stress_ok(weir_stream_delay(stream, stress_below(self, 20000)));
}

static struct weir_stream *some_stream(struct stress_thread *self)
{
    struct weir_stream *stream;
    uint32_t stream_class = WEIR_STREAM_COMPUTE + (uint32_t)stress_below(self, WEIR_STREAM_HIGH);
    stress_doing(self, "waiting for a stream");
    stress_ok(weir_stream_acquire(rt, stream_class, WEIR_FOREVER, &stream));
    return stream;
}

static struct weir_buffer *some_buffer(struct stress_thread *self)
{
    struct weir_buffer *buffer;
    stress_doing(self, "waiting for a buffer");
    stress_ok(weir_buffer_acquire(self->ctx, WEIR_FOREVER, &buffer));
    stress_take(self, buffer);
    return buffer;
}

static void release(struct stress_thread *self, struct weir_buffer *buffer)
{
    stress_put(self, buffer);
    stress_ok(weir_buffer_release(buffer));
}

/* Where the host cannot look into device memory: bring it back, and look at that. */
static void read_back(struct stress_thread *self, struct weir_stream *stream, uint64_t address,
                      uint64_t stamp)
{
    struct weir_buffer *buffer = some_buffer(self);
    stress_ok(weir_stream_download(stream, body_slice(buffer), address));
    stress_ok(weir_buffer_sync(buffer, weir_deadline_after_ns(30 * NS_PER_S)));
    verify(body_of(buffer), stamp, "what was uploaded and read back");
    wi_add(&seen, 1, relaxed);
    release(self, buffer);
}

static void upload(struct stress_thread *self, struct weir_stream *stream)
{
    struct flight      *flight = free_flight(self, stream);
    struct weir_buffer *buffer = some_buffer(self);
    flight->stamp = stress_random(self);
    flight->host = (const uint64_t *)(uintptr_t)flight->address;
    fill(body_of(buffer), flight->stamp);
    flight->alone = true;
    flight->stream = stream;
    keep_busy(self, stream);
    stress_ok(weir_stream_upload(stream, flight->address, body_slice(buffer)));
    release(self, buffer);
    if (device_is_host) {
        wi_store(&flight->busy, 1, relaxed);
        stress_ok(weir_stream_call(stream, look_at_upload, flight));
    } else {
        read_back(self, stream, flight->address, flight->stamp);
    }
    wi_add(&uploads, 1, relaxed);
}

static void download(struct stress_thread *self, struct weir_stream *stream)
{
    struct weir_buffer *buffer = some_buffer(self);
    bool                wait = stress_below(self, 4) == 0;
    keep_busy(self, stream);
    stress_ok(weir_stream_download(stream, body_slice(buffer), place[self->number].source));
    if (wait) {
        stress_doing(self, "waiting for a download");
        stress_ok(weir_buffer_sync(buffer, weir_deadline_after_ns(30 * NS_PER_S)));
        verify(body_of(buffer), self->number, "what was downloaded");
    }
    release(self, buffer);
    wi_add(&downloads, 1, relaxed);
}

static void guard(struct stress_thread *self, struct weir_stream *stream, struct weir_stream *other)
{
    struct flight      *flight = free_flight(self, stream);
    struct weir_buffer *buffer = some_buffer(self);
    flight->stamp = stress_random(self);
    flight->host = body_of(buffer);
    fill(body_of(buffer), flight->stamp);
    flight->alone = other == NULL;
    flight->stream = stream;
    wi_store(&flight->busy, other ? 2 : 1, relaxed);
    keep_busy(self, stream);
    stress_ok(weir_stream_call(stream, look_at_buffer, flight));
    stress_ok(weir_buffer_guard(buffer, stream));
    if (other) {
        keep_busy(self, other);
        stress_ok(weir_stream_call(other, look_at_buffer, flight));
        stress_ok(weir_buffer_guard(buffer, other));
    }
    release(self, buffer);
    wi_add(&guards, 1, relaxed);
}

/* A holder whose bytes nobody may touch: a late download of the last one would show. */
static void hold(struct stress_thread *self)
{
    struct weir_buffer *buffer = some_buffer(self);
    uint64_t            stamp = stress_random(self);
    fill(body_of(buffer), stamp);
    stress_pause(self);
    verify(body_of(buffer), stamp, "what its holder wrote");
    release(self, buffer);
}

/* After a sync nothing is under way, though the keeper closes ticks of the same stream meanwhile. */
static void sync_stream(struct stress_thread *self, struct weir_stream *stream)
{
    stress_doing(self, "waiting for its stream");
    stress_ok(weir_stream_sync(stream, weir_deadline_after_ns(30 * NS_PER_S)));
    for (unsigned at = 0; at < FLIGHTS; at++) {
        const struct flight *flight = &place[self->number].flight[at];
        bool                 here = flight->alone && flight->stream == stream;
        stress_require(!here || wi_load(&flight->busy, acquire) == 0,
                       "a sync has ended before the stream's work");
    }
}

static void stage(struct stress_thread *self)
{
    while (stress_going(self)) {
        struct weir_stream *stream = some_stream(self);
        for (uint64_t left = 1 + stress_below(self, 16); left > 0; left--) {
            switch (stress_below(self, 5)) {
            case 0:
            case 1:
                upload(self, stream);
                break;
            case 2:
                download(self, stream);
                break;
            case 3:
                guard(self, stream, NULL);
                break;
            default:
                hold(self);
                break;
            }
            stress_step(self);
        }
        if (stress_below(self, 2)) sync_stream(self, stream);
        struct weir_stream *other = NULL;
        if (weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_NOW, &other) == 0) {
            guard(self, stream, other);
            stress_ok(weir_stream_release(other));
        }
        stress_ok(weir_stream_release(stream));
        stress_pause(self);
    }
    stress_doing(self, "waiting for its last work");
    for (unsigned at = 0; at < FLIGHTS; at++) {
        while (wi_load(&place[self->number].flight[at].busy, acquire) > 0) stress_sleep_ns(100000);
    }
}

/* ---- the driver double with virtual time ---- */

static int (*double_step)(void);
static _Atomic bool stop_stepping;

static void *step(void *arg)
{
    (void)arg;
    while (!wi_load(&stop_stepping, relaxed)) {
        if (!double_step()) stress_sleep_ns(20000);
    }
    return NULL;
}

/* Start the stepping thread where it is needed. pre: the runtime has opened the driver. */
static bool start_stepping(pthread_t *thread)
{
    const char *settings = getenv("FAKECUDA");
    const char *path = getenv("WEIR_CUDA_LIBRARY");
    if (!settings || !path || !strstr(settings, "clock=virtual")) return false;
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    stress_require(library, "%s is not loaded", path);
    *(void **)&double_step = dlsym(library, "fakecuda_step");
    stress_require(double_step, "%s is not the driver double", path);
    stress_require(pthread_create(thread, NULL, step, NULL) == 0);
    return true;
}

/* ---- set up ---- */

static void make_places(struct weir_pool *pool)
{
    for (uint64_t number = 0; number < stress_threads(); number++) {
        struct place       *one = &place[number];
        struct weir_stream *stream;
        struct weir_buffer *buffer;
        for (unsigned at = 0; at < FLIGHTS; at++)
            stress_ok(weir_device_alloc(rt, body_words() * 8, &one->flight[at].address));
        stress_ok(weir_device_alloc(rt, body_words() * 8, &one->source));
        stress_ok(weir_stream_acquire(rt, WEIR_STREAM_COMM, WEIR_FOREVER, &stream));
        stress_ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer));
        fill(body_of(buffer), number);
        stress_ok(weir_stream_upload(stream, one->source, body_slice(buffer)));
        stress_ok(weir_stream_sync(stream, WEIR_FOREVER));
        stress_ok(weir_buffer_release(buffer));
        stress_ok(weir_stream_release(stream));
    }
}

static void free_places(void)
{
    for (uint64_t number = 0; number < stress_threads(); number++) {
        for (unsigned at = 0; at < FLIGHTS; at++)
            stress_ok(weir_device_free(rt, place[number].flight[at].address));
        stress_ok(weir_device_free(rt, place[number].source));
    }
}

int main(int count, char **words)
{
    struct weir_pool        *pool;
    struct weir_runtime_info info = {.struct_size = sizeof(info)};
    stress_begin(&spec, count, words);
    stress_require(stress_threads() <= THREADS_MAX);
    stress_ok(weir_runtime_create(NULL, &rt));
    stress_ok(weir_runtime_info_read(rt, &info));
    device_is_host = info.flags & WEIR_INFO_DEVICE_IS_HOST;
    stress_ok(weir_pool_create(rt,
                               WEIR_OPTS(pool, .name = "retire", .buffer_bytes = buffer_bytes,
                                         .buffers_min = buffers,
                                         .flags = ignore ? WEIR_POOL_IGNORE_GUARDS : 0),
                               &pool));
    pthread_t stepper;
    bool      stepping = start_stepping(&stepper);
    make_places(pool);
    stress_watch("retire", pool, 0);
    stress_start(stage, pool, stress_threads());
    stress_join();
    stress_ok(weir_runtime_sync(rt, 0, weir_deadline_after_ns(30 * NS_PER_S)));
    stress_check_rest(pool);

    struct weir_pool_stats stats = {.struct_size = sizeof(stats)};
    stress_ok(weir_pool_stats_read(pool, &stats));
    stress_require(stats.quarantined == 0);
    stress_require(stats.reaps == stats.retires, "%llu retired, %llu came home",
                   (unsigned long long)stats.retires, (unsigned long long)stats.reaps);
    struct weir_runtime_stats runtime = {.struct_size = sizeof(runtime)};
    stress_ok(weir_runtime_stats_read(rt, &runtime));
    stress_note("uploads", (double)wi_load(&uploads, relaxed));
    stress_note("downloads", (double)wi_load(&downloads, relaxed));
    stress_note("guards", (double)wi_load(&guards, relaxed));
    stress_note("looked_at_on_the_device", (double)wi_load(&seen, relaxed));
    stress_note("retires", (double)stats.retires);
    stress_note("ticks_recorded", (double)runtime.ticks_recorded);
    stress_note("ticks_queried", (double)runtime.ticks_queried);
    free_places();
    wi_store(&stop_stepping, true, relaxed);
    if (stepping) pthread_join(stepper, NULL);
    stress_unwatch(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
    return stress_end();
}
