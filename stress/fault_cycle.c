/* SPDX-License-Identifier: Apache-2.0 */
#include "fault_cycle.h"

#include "base/alloc.h"
#include "base/atomic.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <weir/cuda.h>
#include <weir/tier.h>
#include <weir/weir.h>

#define BUFFER_BYTES ((size_t)16 << 10)
#define BUFFERS_MIN  4
#define BUFFERS_MAX  12
#define FLYING       2
#define TIER_BYTES   4096
#define MS           UINT64_C(1000000)

struct run {
    struct fault_cycle  *cycle;
    uint64_t             fired_before;
    uint64_t             fired_seen; /* when the latest step ended */
    bool                 named; /* an error or a log line has named the call that failed */
    struct weir_runtime *rt;
    struct weir_pool    *pool;
    struct weir_stream  *stream;
    struct weir_event   *event;
    uint64_t             device[FLYING];
    struct weir_buffer  *lease[BUFFERS_MAX];
    size_t               leases;
};

/* ---- what the library says ---- */

static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static char            said[32 << 10];
static size_t          said_bytes;

static void hear(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx, (void)level;
    pthread_mutex_lock(&said_lock);
    int length = snprintf(said + said_bytes, sizeof said - said_bytes, "%s: %s\n", component, message);
    if (length > 0 && said_bytes + (size_t)length < sizeof said) said_bytes += (size_t)length;
    pthread_mutex_unlock(&said_lock);
}

static void hear_nothing(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx, (void)level, (void)component, (void)message;
}

static bool was_said(const char *text)
{
    pthread_mutex_lock(&said_lock);
    bool found = strstr(said, text) != NULL;
    pthread_mutex_unlock(&said_lock);
    return found;
}

static void print_said(void)
{
    pthread_mutex_lock(&said_lock);
    if (said_bytes) fprintf(stderr, "the log:\n%s", said);
    pthread_mutex_unlock(&said_lock);
}

/* ---- steps ---- */

static bool has_fired(const struct run *run, const char **call)
{
    int32_t thread;
    return run->cycle->source->fired(call, &thread) != run->fired_before;
}

static int step(struct run *run, const char *what, int err)
{
    const char *call = NULL;
    char        text[512];
    int32_t     thread = 0;
    uint64_t    fired = run->cycle->source->fired(&call, &thread);
    bool        fired_here = fired != run->fired_seen && thread == gettid();
    run->fired_seen = fired;
    if (err >= 0) return err;
    (void)weir_error_text(text, sizeof text);
    if (!has_fired(run, &call)) {
        print_said();
        fault_broken("%s answers %s before anything has failed: %s", what, weir_errname(err), text);
    }
    if (strstr(text, call)) {
        run->named = true;
    } else if (fired_here && !run->cycle->loses) {
        fault_broken("%s failed by %s, and says: %s", what, call, text);
    }
    hear(NULL, 0, what, text);
    return err;
}

/* The name of the function is enough to tell which step it was. */
#define STEP(call) step(run, __func__, call)
#define TRY_STEP(call)                                                                             \
    do {                                                                                           \
        int err_ = STEP(call);                                                                     \
        if (err_ < 0) return err_;                                                                 \
    } while (0)

/* Long while all is well, because the machine may be slow; short when nothing may ever come. */
static uint64_t patience(const struct run *run)
{
    const char *call;
    return weir_deadline_after_ns(has_fired(run, &call) ? 300 * MS : 20000 * MS);
}

static void keep(struct run *run, struct weir_buffer *buffer)
{
    run->lease[run->leases++] = buffer;
}

static void release_all(struct run *run)
{
    while (run->leases > 0) (void)STEP(weir_buffer_release(run->lease[--run->leases]));
}

static void expect_bytes(const void *at, int byte, size_t bytes, const char *what)
{
    const unsigned char *seen = at;
    for (size_t i = 0; i < bytes; i++) {
        if (seen[i] == (unsigned char)byte) continue;
        print_said();
        fault_broken("%s: byte %zu is %02x and not %02x", what, i, seen[i], byte);
    }
}

static bool is_lost(struct run *run)
{
    struct weir_runtime_stats stats = {.struct_size = sizeof stats};
    return run->rt && weir_runtime_stats_read(run->rt, &stats) == 0 && stats.lost;
}

static int open_all(struct run *run)
{
    uint32_t unsafe = run->cycle->plant == FAULT_PLANT_REUSE ? WEIR_POOL_IGNORE_GUARDS : 0;
    TRY_STEP(weir_runtime_create(WEIR_OPTS(runtime, .backend = "cuda", .streams_compute = 1, .streams_comm = 1,
                                           .streams_high = 1, .events_max = 2, .drain_ns = 500 * MS,
                                           .monitor_period_ns = 20 * MS),
                                 &run->rt));
    TRY_STEP(weir_pool_create(run->rt, WEIR_OPTS(pool, .name = "swept", .buffer_bytes = BUFFER_BYTES,
                                                 .buffers_min = BUFFERS_MIN, .buffers_max = BUFFERS_MAX,
                                                 .grow_cooldown_ns = MS, .flags = unsafe),
                              &run->pool));
    TRY_STEP(weir_stream_acquire(run->rt, WEIR_STREAM_COMM, WEIR_NOW, &run->stream));
    TRY_STEP(weir_event_acquire(run->rt, 0, WEIR_NOW, &run->event));
    for (int i = 0; i < FLYING; i++) TRY_STEP(weir_device_alloc(run->rt, BUFFER_BYTES, &run->device[i]));
    return 0;
}

/* Whatever can be had while copies are in flight is none of their memory, and is overwritten. */
static void take_the_rest(struct run *run, void *const *flying, size_t count)
{
    struct weir_buffer *buffer[BUFFERS_MAX];
    size_t              room = BUFFERS_MAX - run->leases;
    int                 taken = weir_buffers_acquire_some(run->pool, room, buffer);
    for (int i = 0; i < taken; i++) {
        for (size_t j = 0; j < count; j++)
            if (buffer[i]->host == flying[j]) fault_broken("memory in flight was handed out");
        memset(buffer[i]->host, 0xEE, BUFFER_BYTES);
        keep(run, buffer[i]);
    }
}

static int upload(struct run *run, int i, void **flying)
{
    struct weir_buffer *buffer;
    TRY_STEP(weir_buffer_acquire(run->pool, WEIR_NOW, &buffer));
    void *host = buffer->host;
    memset(host, 0x10 + i, BUFFER_BYTES);
    int err = STEP(weir_stream_upload(run->stream, run->device[i], weir_slice_all(buffer)));
    if (err >= 0) *flying = host;
    (void)STEP(weir_buffer_release(buffer));
    return err;
}

static int copy_up(struct run *run)
{
    void  *flying[FLYING];
    int    target[FLYING];
    size_t count = 0;
    run->cycle->driver->hold(NULL);
    for (int i = 0; i < FLYING; i++) {
        if (upload(run, i, &flying[count]) < 0) continue;
        target[count++] = i;
    }
    (void)STEP(weir_event_record(run->event, run->stream));
    take_the_rest(run, flying, count);
    run->cycle->driver->release(NULL);
    (void)STEP(weir_stream_sync(run->stream, patience(run)));
    (void)STEP(weir_event_sync(run->event, patience(run)));
    (void)run->cycle->driver->run();
    if (!is_lost(run)) {
        for (size_t i = 0; i < count; i++)
            expect_bytes((const void *)(uintptr_t)run->device[target[i]], 0x10 + target[i], BUFFER_BYTES, "uploaded");
    }
    release_all(run);
    return 0;
}

static int copy_down(struct run *run)
{
    struct weir_buffer *buffer;
    TRY_STEP(weir_buffer_acquire(run->pool, patience(run), &buffer));
    keep(run, buffer);
    memset(buffer->host, 0xDD, BUFFER_BYTES);
    TRY_STEP(weir_stream_download(run->stream, weir_slice_all(buffer), run->device[1]));
    TRY_STEP(weir_buffer_guard(buffer, run->stream));
    TRY_STEP(weir_buffer_sync(buffer, patience(run)));
    const char *call;
    if (!has_fired(run, &call)) expect_bytes(buffer->host, 0x11, BUFFER_BYTES, "downloaded");
    release_all(run);
    TRY_STEP(weir_stream_delay(run->stream, 1000));
    TRY_STEP(weir_stream_wait_event(run->stream, run->event));
    TRY_STEP(weir_runtime_sync(run->rt, 0, patience(run)));
    return 0;
}

static void called_back(void *ctx, int result, struct weir_buffer *buffer)
{
    if (result >= 0) (void)weir_buffer_release(buffer);
    wi_store((_Atomic int *)ctx, 1, release);
}

static int ask_async(struct run *run)
{
    static _Atomic int   came; /* the callback may come after this function gave up on it */
    struct weir_request *request;
    struct weir_buffer  *buffer;
    int                  fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return 0;
    int err = STEP(weir_buffer_acquire_eventfd(run->pool, NULL, patience(run), fd, &request));
    if (err >= 0) {
        struct pollfd poll_for = {.fd = fd, .events = POLLIN};
        const char   *call;
        for (int i = 0; i < 200 && poll(&poll_for, 1, 100) == 0 && !has_fired(run, &call); i++) continue;
        do err = weir_request_take(request, &buffer);
        while (err == WEIR_EAGAIN && weir_request_cancel(request) == WEIR_EBUSY);
        if (err >= 0) keep(run, buffer);
        if (err != WEIR_EAGAIN) (void)step(run, "weir_request_take", err);
    }
    close(fd);
    release_all(run);
    wi_store(&came, 0, relaxed);
    TRY_STEP(weir_buffer_acquire_async(run->pool, NULL, patience(run), called_back, (void *)&came, NULL));
    for (uint64_t until_ns = patience(run); wi_load(&came, acquire) == 0 && weir_clock_ns() < until_ns;)
        (void)poll(NULL, 0, 1);
    if (wi_load(&came, acquire) == 0) fault_broken("an asynchronous acquire never ended");
    return 0;
}

static int grow_and_trim(struct run *run)
{
    struct weir_buffer *buffer;
    (void)STEP(weir_pool_reserve(run->pool, 8));
    take_the_rest(run, NULL, 0);
    if (run->leases < BUFFERS_MAX && STEP(weir_buffer_acquire(run->pool, patience(run), &buffer)) >= 0)
        keep(run, buffer);
    release_all(run);
    TRY_STEP(weir_pool_trim(run->pool, BUFFERS_MIN, patience(run)));
    return 0;
}

/* A driver's default stream stands for one of the host program. */
static int adopt(struct run *run)
{
    struct weir_stream *theirs;
    TRY_STEP(weir_stream_adopt_cuda(run->rt, WI_CU_STREAM_LEGACY, &theirs));
    (void)STEP(weir_stream_delay(theirs, 1000));
    (void)STEP(weir_stream_sync(theirs, patience(run)));
    (void)STEP(weir_stream_release(theirs));
    return 0;
}

/* In a pool that zeroes: its mirrors are filled. */
static int mirror(struct run *run)
{
    struct weir_pool   *pool;
    struct weir_buffer *buffer;
    uint64_t            address;
    TRY_STEP(weir_pool_create(run->rt, WEIR_OPTS(pool, .name = "zeroed", .buffer_bytes = BUFFER_BYTES, .buffers_min = 1,
                                                 .flags = WEIR_POOL_SCRUB),
                              &pool));
    if (STEP(weir_buffer_acquire(pool, patience(run), &buffer)) >= 0) {
        (void)STEP(weir_buffer_mirror(buffer, &address));
        (void)STEP(weir_buffer_release(buffer));
    }
    weir_pool_destroy(pool);
    return 0;
}

static int tell_time(struct run *run)
{
    struct weir_event *start, *end;
    uint64_t           ns;
    TRY_STEP(weir_event_acquire(run->rt, WEIR_EVENT_TIMING, patience(run), &start));
    if (STEP(weir_event_acquire(run->rt, WEIR_EVENT_TIMING, patience(run), &end)) >= 0) {
        if (STEP(weir_event_record(start, run->stream)) >= 0 && STEP(weir_event_record(end, run->stream)) >= 0 &&
            STEP(weir_event_sync(end, patience(run))) >= 0)
            (void)STEP(weir_event_elapsed_ns(start, end, &ns));
        (void)STEP(weir_event_release(end));
    }
    (void)STEP(weir_event_release(start));
    return 0;
}

/* ---- tiers ---- */

static int move_about(struct run *run, struct weir_buffer *buffer)
{
    struct weir_view view;
    TRY_STEP(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_WRITE, NULL, patience(run), &view));
    memset(view.host, 0x77, view.bytes);
    TRY_STEP(weir_view_return(&view));
    (void)STEP(weir_buffer_prefetch(buffer, WEIR_TIER_DEVICE, patience(run)));
    if (run->stream && STEP(weir_buffer_borrow(buffer, WEIR_WHERE_DEVICE, WEIR_READ, run->stream, patience(run),
                                               &view)) >= 0)
        (void)STEP(weir_view_return(&view));
    TRY_STEP(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_READ, NULL, patience(run), &view));
    expect_bytes(view.host, 0x77, view.bytes, "moved");
    TRY_STEP(weir_view_return(&view));
    return 0;
}

static int tiers(struct run *run)
{
    struct weir_pool   *pool;
    struct weir_buffer *buffer;
    TRY_STEP(weir_tier_create(run->rt, WEIR_OPTS(tier, .name = "tiers", .buffer_bytes = TIER_BYTES, .buffers_max = 8,
                                                 .device_buffers = 2, .pinned_buffers = 2,
                                                 .flags = WEIR_TIER_MANUAL),
                              &pool));
    if (STEP(weir_buffer_acquire(pool, patience(run), &buffer)) >= 0) {
        (void)move_about(run, buffer);
        (void)STEP(weir_tier_step(pool, weir_clock_ns()));
        (void)STEP(weir_buffer_release(buffer));
    }
    (void)STEP(weir_tier_step(pool, weir_clock_ns()));
    weir_pool_destroy(pool);
    return 0;
}

/* ---- the end ---- */

static uint64_t quarantined(struct run *run)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    uint64_t               sum = 0;
    if (run->pool && weir_pool_stats_read(run->pool, &stats) >= 0) sum += stats.quarantined;
    for (uint32_t class = WEIR_STREAM_COMPUTE; run->rt && class <= WEIR_STREAM_HIGH; class++)
        if (weir_stream_stats_read(run->rt, class, &stats) >= 0) sum += stats.quarantined;
    return sum;
}

/* What was just made is on its way to the free ones. */
static void check_law(struct run *run)
{
    struct weir_pool_stats stats = {.struct_size = sizeof stats};
    uint64_t               sum = 0;
    if (!run->pool) return;
    for (uint64_t until_ns = weir_deadline_after_ns(5000 * MS); weir_clock_ns() < until_ns; (void)poll(NULL, 0, 1)) {
        if (weir_pool_stats_read(run->pool, &stats) < 0) return;
        sum = stats.leased + stats.free + stats.retiring + stats.quarantined;
        if (stats.leased == 0 && stats.total == sum) return;
    }
    if (stats.leased > 0 || stats.total != sum)
        fault_broken("at rest, total %lu, leased %lu, free %lu, retiring %lu, quarantined %lu",
                     (unsigned long)stats.total, (unsigned long)stats.leased, (unsigned long)stats.free,
                     (unsigned long)stats.retiring, (unsigned long)stats.quarantined);
}

/* A lost device answers so to everybody, as soon as the keeper knows; nobody waits for what cannot come. */
static void check_lost(struct run *run)
{
    struct weir_buffer *buffer = NULL;
    struct weir_stream *stream = NULL;
    int                 buffers = WEIR_EDEVICE, streams = 0;
    for (uint64_t until_ns = weir_deadline_after_ns(5000 * MS); weir_clock_ns() < until_ns; (void)poll(NULL, 0, 1)) {
        if (run->pool) buffers = weir_buffer_acquire(run->pool, WEIR_FOREVER, &buffer);
        streams = weir_stream_acquire(run->rt, WEIR_STREAM_COMPUTE, WEIR_FOREVER, &stream);
        if (run->pool && buffers >= 0) (void)weir_buffer_release(buffer);
        if (streams >= 0) (void)weir_stream_release(stream);
        if (buffers == WEIR_EDEVICE && streams == WEIR_EDEVICE) return;
    }
    print_said();
    fault_broken("a lost device: a buffer is answered with %s, a stream with %s", weir_errname(buffers),
                 weir_errname(streams));
}

/* A thread that was inside a call when the device was lost comes out of it. */
static uint64_t calls_at_rest(const struct fakecuda *driver)
{
    uint64_t calls = driver->calls(NULL), before;
    do {
        before = calls;
        (void)poll(NULL, 0, 5);
        calls = driver->calls(NULL);
    } while (calls != before);
    return calls;
}

static void close_all(struct run *run)
{
    struct fault_cycle *cycle = run->cycle;
    release_all(run);
    /* Plain device memory is freed by who knows that the device is done with it. */
    (void)cycle->driver->run();
    for (int i = 0; i < FLYING; i++)
        if (run->device[i]) (void)STEP(weir_device_free(run->rt, run->device[i]));
    if (run->event) (void)STEP(weir_event_release(run->event));
    if (run->stream) (void)STEP(weir_stream_release(run->stream));
    cycle->lost = is_lost(run);
    if (cycle->lost) check_lost(run);
    check_law(run);
    cycle->abandoned |= cycle->lost || quarantined(run) > 0;
    weir_pool_destroy(run->pool);
    if (cycle->plant == FAULT_PLANT_OBJECT && cycle->source->fired(&(const char *){NULL}, &(int32_t){0}) != run->fired_before)
        return;
    uint64_t calls = cycle->lost ? calls_at_rest(cycle->driver) : 0;
    weir_runtime_destroy(run->rt);
    if (cycle->lost && cycle->driver->calls(NULL) != calls)
        fault_broken("destroying the runtime of a lost device made %lu driver calls",
                     (unsigned long)(cycle->driver->calls(NULL) - calls));
}

/* What the driver refused to take back is all that may be left, with the context around it. */
static void check_live(struct fault_cycle *cycle, const char *call)
{
    static const char *const gives_back[] = {"cuStreamDestroy", "cuEventDestroy", "cuMemFree", "cuMemFreeHost",
                                             "cuMemHostUnregister", "cuDevicePrimaryCtxRelease"};
    struct fakecuda_live live;
    uint64_t             allowed = 0;
    bool                 refused = false;
    cycle->driver->live(&live);
    for (size_t i = 0; cycle->fired && i < sizeof gives_back / sizeof gives_back[0]; i++)
        refused |= strcmp(call, gives_back[i]) == 0;
    /* Entering a call may have been what failed, of one that gives back. */
    bool thread_state = cycle->fired && (strncmp(call, "cuCtx", 5) == 0 || strncmp(call, "cuThread", 8) == 0);
    if (refused || thread_state) allowed = 1;
    cycle->left = live.contexts > 0;
    uint64_t objects = live.streams + live.events + live.device_allocations + live.host_allocations + live.registrations;
    if (objects > allowed || live.contexts > allowed || live.pending > 0)
        fault_broken("left behind: %lu contexts, %lu streams, %lu events, %lu device and %lu host allocations, "
                     "%lu registrations, %lu operations",
                     (unsigned long)live.contexts, (unsigned long)live.streams, (unsigned long)live.events,
                     (unsigned long)live.device_allocations, (unsigned long)live.host_allocations,
                     (unsigned long)live.registrations, (unsigned long)live.pending);
}

void fault_cycle_run(struct fault_cycle *cycle)
{
    struct run  run_ = {.cycle = cycle};
    struct run *run = &run_;
    const char *call = NULL;
    int32_t     thread;
    said_bytes = 0;
    said[0] = '\0';
    weir_log_set(hear, NULL);
    run->fired_before = run->fired_seen = cycle->source->fired(&call, &thread);
    if (cycle->plant == FAULT_PLANT_SILENCE) weir_log_set(hear_nothing, NULL);
    if (open_all(run) >= 0) {
        (void)copy_up(run);
        (void)copy_down(run);
        (void)ask_async(run);
        (void)grow_and_trim(run);
        (void)mirror(run);
        (void)adopt(run);
        (void)tell_time(run);
        (void)tiers(run);
    }
    close_all(run);
    cycle->fired = has_fired(run, &call);
    cycle->abandoned |= was_said("stay with a device") || was_said("its context stays") || was_said("is lost");
    /* Of two threads in a call when the device is lost, one learns it from the fault and one from the device. */
    bool named = run->named || was_said(call) || (cycle->loses && was_said("is lost: cu"));
    if (cycle->fired && !named && !cycle->silent_ok) {
        print_said();
        fault_broken("no failure and no line of the log names %s", call);
    }
    if (cycle->fired && cycle->plant == FAULT_PLANT_LEAK && wi_alloc(64) == NULL) return;
    if (!cycle->abandoned) check_live(cycle, call);
    weir_log_set(NULL, NULL);
}
