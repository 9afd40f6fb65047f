/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conformance_traffic.c - many threads at once, and a device that is lost
 *
 * Traffic: each thread sends stamped blocks up on one stream and down on another, tied by an event, as fast as
 * it can, and checks every byte that comes back.
 */
#include "device/conformance.h"

#include <sched.h>
#include <string.h>

#define THREADS 4
#define ROUNDS  60
#define BLOCK   ((size_t)16 << 10)

struct sender {
    struct bench  *bench;
    pthread_t      thread;
    uint32_t       seed;
    int            err;     /* of the call that failed */
    uint32_t       corrupt; /* rounds whose bytes were wrong */
    unsigned char *host;    /* two blocks, pinned */
};

static int send_round(struct sender *sender, uint64_t address, void *const streams[2], void *event,
                      uint32_t round)
{
    const struct wi_device_ops *ops = sender->bench->ops;
    struct wi_device           *device = sender->bench->device;
    struct wi_copy              up = {
                     .dst = address, .src = (uintptr_t)sender->host, .bytes = BLOCK, .kind = WI_COPY_UP};
    struct wi_copy down = {.dst = (uintptr_t)sender->host + BLOCK,
                           .src = address,
                           .bytes = BLOCK,
                           .kind = WI_COPY_DOWN};
    int            err;

    pattern_fill(sender->host, BLOCK, sender->seed + round);
    WI_TRY(ops->copy(device, &up, streams[0]));
    WI_TRY(ops->event_record(device, event, streams[0]));
    WI_TRY(ops->stream_wait(device, streams[1], event));
    WI_TRY(ops->copy(device, &down, streams[1]));
    WI_TRY(ops->event_record(device, event, streams[1]));
    if (round % 2 == 0) {
        WI_TRY(ops->event_sync(device, event));
    } else {
        while ((err = ops->event_query(device, event)) == WEIR_EAGAIN) sched_yield();
        WI_TRY(err);
    }
    if (!pattern_matches(sender->host + BLOCK, BLOCK, sender->seed + round)) sender->corrupt++;
    return 0;
}

static int send_all(struct sender *sender)
{
    const struct wi_device_ops *ops = sender->bench->ops;
    struct wi_device           *device = sender->bench->device;
    uint64_t                    address = 0;
    void                       *streams[2] = {NULL, NULL}, *event = NULL;

    WI_TRY(ops->device_alloc(device, BLOCK, &address));
    WI_TRY(ops->stream_create(device, 0, &streams[0]));
    WI_TRY(ops->stream_create(device, 0, &streams[1]));
    WI_TRY(ops->event_create(device, 0, &event));
    for (uint32_t round = 0; round < ROUNDS; round++)
        WI_TRY(send_round(sender, address, streams, event, round));
    WI_TRY(ops->event_destroy(device, event));
    WI_TRY(ops->stream_destroy(device, streams[1]));
    WI_TRY(ops->stream_destroy(device, streams[0]));
    return ops->device_free(device, address);
}

static void *run_sender(void *arg)
{
    struct sender *sender = arg;

    sender->err = send_all(sender);
    return NULL;
}

void conformance_traffic_of_many_threads(const struct conformance *backend)
{
    struct bench  bench = bench_open(backend);
    struct pinned pinned = pinned_create(&bench, THREADS * 2 * BLOCK);
    struct sender senders[THREADS];

    for (uint32_t i = 0; i < THREADS; i++) {
        senders[i] =
            (struct sender){.bench = &bench, .seed = i << 16, .host = pinned.host + i * 2 * BLOCK};
        EXPECT(pthread_create(&senders[i].thread, NULL, run_sender, &senders[i]) == 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) pthread_join(senders[i].thread, NULL);
    for (uint32_t i = 0; i < THREADS; i++) {
        EXPECT_OK(senders[i].err);
        EXPECT(senders[i].corrupt == 0);
    }
    pinned_destroy(&bench, &pinned);
    bench_close(&bench);
}

/*
 * ---- a lost device ----
 *
 * It is closed without the driver, so nobody waits for the host function that stands in the gate: gates are static.
 */

static void do_nothing(void *ctx)
{
    (void)ctx;
}

static void note(void *ctx)
{
    wi_store((_Atomic uint32_t *)ctx, 1, relaxed);
}

/* Every operation answers DEVICE, `lost` answers true, and the driver is not called. */
void conformance_lost_is_sticky(const struct conformance *backend)
{
    struct bench                bench = bench_open(backend);
    const struct wi_device_ops *ops = bench.ops;
    struct wi_device           *device = bench.device;
    struct wi_copy              copy = {.bytes = 1, .kind = WI_COPY_UP};
    uint64_t                    address = 77, other = 77, calls;
    bool                        capturing = true;
    unsigned char              *pages = pages_create(4096);
    void                       *stream = NULL, *event = NULL, *base = NULL;

    EXPECT_OK(ops->stream_create(device, 0, &stream));
    EXPECT_OK(ops->event_create(device, WI_EVENT_TIMING, &event));
    EXPECT(wi_load(&device->lost, acquire) == 0);
    if (backend->lose != NULL) {
        void *made = NULL;

        backend->lose(device);
        /* The first call notices. */
        EXPECT_CODE(ops->stream_query(device, stream), WEIR_EDEVICE);
        EXPECT(wi_load(&device->lost, acquire) == 1);
        calls = wi_load(&device->calls, relaxed);
        EXPECT_CODE(ops->memory(device, &address, &other), WEIR_EDEVICE);
        EXPECT_CODE(ops->host_register(device, pages, 4096, &address), WEIR_EDEVICE);
        EXPECT_CODE(ops->host_unregister(device, pages, 4096), WEIR_EDEVICE);
        EXPECT_CODE(ops->host_alloc(device, 4096, &base, &address), WEIR_EDEVICE);
        EXPECT_CODE(ops->host_free(device, pages, 4096), WEIR_EDEVICE);
        EXPECT_CODE(ops->device_alloc(device, 4096, &address), WEIR_EDEVICE);
        EXPECT_CODE(ops->device_free(device, 4096), WEIR_EDEVICE);
        EXPECT_CODE(ops->stream_create(device, 0, &made), WEIR_EDEVICE);
        EXPECT_CODE(ops->stream_query(device, stream), WEIR_EDEVICE);
        EXPECT_CODE(ops->stream_wait(device, stream, event), WEIR_EDEVICE);
        EXPECT_CODE(ops->stream_capture(device, stream, &capturing), WEIR_EDEVICE);
        EXPECT_CODE(ops->event_create(device, 0, &made), WEIR_EDEVICE);
        EXPECT_CODE(ops->event_record(device, event, stream), WEIR_EDEVICE);
        EXPECT_CODE(ops->event_query(device, event), WEIR_EDEVICE);
        EXPECT_CODE(ops->event_sync(device, event), WEIR_EDEVICE);
        EXPECT_CODE(ops->event_elapsed(device, event, event, &address), WEIR_EDEVICE);
        EXPECT_CODE(ops->copy(device, &copy, stream), WEIR_EDEVICE);
        if (ops->copy_batch != NULL)
            EXPECT_CODE(ops->copy_batch(device, &copy, 1, stream), WEIR_EDEVICE);
        EXPECT_CODE(ops->fill(device, 4096, 0, 1, stream), WEIR_EDEVICE);
        EXPECT_CODE(ops->call(device, do_nothing, NULL, stream), WEIR_EDEVICE);
        EXPECT_CODE(ops->delay(device, 1, stream), WEIR_EDEVICE);
        EXPECT_CODE(ops->event_destroy(device, event), WEIR_EDEVICE);
        EXPECT_CODE(ops->stream_destroy(device, stream), WEIR_EDEVICE);
        EXPECT(wi_load(&device->calls, relaxed) == calls);
        EXPECT(address == 77 && other == 77 && base == NULL && made == NULL && capturing);
    } else {
        EXPECT_OK(ops->event_destroy(device, event));
        EXPECT_OK(ops->stream_destroy(device, stream));
    }
    bench_close(&bench);
    pages_destroy(pages, 4096);
}

void conformance_lost_fails_pending_events(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    void        *stream = NULL, *event = NULL;
    static struct gate gate;

    if (backend->lose != NULL) {
        EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
        EXPECT_OK(bench.ops->event_create(bench.device, 0, &event));
        gate_shut(&bench, stream, &gate);
        EXPECT_OK(bench.ops->event_record(bench.device, event, stream));
        EXPECT_CODE(bench.ops->event_query(bench.device, event), WEIR_EAGAIN);
        backend->lose(bench.device);
        EXPECT_CODE(bench.ops->event_query(bench.device, event), WEIR_EDEVICE);
        EXPECT(wi_load(&bench.device->lost, acquire) == 1);
        gate_open(&gate);
    }
    bench_close(&bench);
}

void conformance_lost_drops_host_functions(const struct conformance *backend)
{
    struct bench     bench = bench_open(backend);
    static _Atomic uint32_t ran;
    void            *stream = NULL;
    static struct gate gate;

    if (backend->lose != NULL) {
        EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
        gate_shut(&bench, stream, &gate);
        EXPECT_OK(bench.ops->call(bench.device, note, &ran, stream));
        backend->lose(bench.device);
        gate_open(&gate);
    }
    /* Close waits for the function that stood in the gate; after it, nothing runs any more. */
    bench_close(&bench);
    EXPECT(wi_load(&ran, relaxed) == 0);
}

struct loser {
    const struct conformance *backend;
    struct bench             *bench;
};

static void *lose_later(void *arg)
{
    struct loser *loser = arg;

    for (int i = 0; i < 100; i++) sched_yield();
    loser->backend->lose(loser->bench->device);
    return NULL;
}

void conformance_lost_ends_event_sync(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    struct loser loser = {.backend = backend, .bench = &bench};
    void        *stream = NULL, *event = NULL;
    pthread_t    thread;
    static struct gate gate;

    if (backend->lose != NULL) {
        EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
        EXPECT_OK(bench.ops->event_create(bench.device, 0, &event));
        gate_shut(&bench, stream, &gate);
        EXPECT_OK(bench.ops->event_record(bench.device, event, stream));
        EXPECT(pthread_create(&thread, NULL, lose_later, &loser) == 0);
        EXPECT_CODE(bench.ops->event_sync(bench.device, event), WEIR_EDEVICE);
        pthread_join(thread, NULL);
        gate_open(&gate);
    }
    bench_close(&bench);
}

/* With everything alive and work pending. */
void conformance_lost_device_can_be_closed(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);

    if (backend->lose != NULL) {
        struct pinned pinned = pinned_create(&bench, 1 << 20);
        uint64_t      address = 0;
        void         *stream = NULL, *event = NULL;

        EXPECT_OK(bench.ops->device_alloc(bench.device, 1 << 20, &address));
        EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
        EXPECT_OK(bench.ops->event_create(bench.device, 0, &event));
        for (int i = 0; i < 50; i++) {
            EXPECT_OK(bench.ops->copy(bench.device,
                                      &(struct wi_copy){.dst = address,
                                                        .src = (uintptr_t)pinned.host,
                                                        .bytes = pinned.bytes,
                                                        .kind = WI_COPY_UP},
                                      stream));
            EXPECT_OK(bench.ops->event_record(bench.device, event, stream));
        }
        backend->lose(bench.device);
        /* The memory stays mapped: nobody knows what the device still does with it. */
        bench_close(&bench);
    } else {
        bench_close(&bench);
    }
}
