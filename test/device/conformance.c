/* SPDX-License-Identifier: Apache-2.0 */
/* conformance.c - what the conformance tests stand on, and the tests of the device as a whole */
#include "device/conformance.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct bench bench_open(const struct conformance *backend)
{
    struct bench bench = {0};

    EXPECT_OK(backend->open(&bench.device));
    EXPECT(bench.device != NULL);
    bench.ops = bench.device->ops;
    return bench;
}

void bench_close(struct bench *bench)
{
    bench->ops->close(bench->device);
    *bench = (struct bench){0};
}

void bench_drain(struct bench *bench, void *stream)
{
    void *event = NULL;

    EXPECT_OK(bench->ops->event_create(bench->device, 0, &event));
    EXPECT_OK(bench->ops->event_record(bench->device, event, stream));
    EXPECT_OK(bench->ops->event_sync(bench->device, event));
    EXPECT_OK(bench->ops->event_destroy(bench->device, event));
}

unsigned char *pages_create(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    EXPECT(pages != MAP_FAILED);
    return pages;
}

void pages_destroy(void *pages, size_t bytes)
{
    munmap(pages, bytes);
}

struct pinned pinned_create(struct bench *bench, size_t bytes)
{
    struct pinned pinned = {.bytes = wi_round_up(bytes, (size_t)sysconf(_SC_PAGESIZE))};

    pinned.host = pages_create(pinned.bytes);
    memset(pinned.host, 0, pinned.bytes);
    EXPECT_OK(bench->ops->host_register(bench->device, pinned.host, pinned.bytes, &pinned.address));
    EXPECT(pinned.address != 0);
    return pinned;
}

void pinned_destroy(struct bench *bench, struct pinned *pinned)
{
    EXPECT_OK(bench->ops->host_unregister(bench->device, pinned->host, pinned->bytes));
    pages_destroy(pinned->host, pinned->bytes);
    *pinned = (struct pinned){0};
}

static void copy_now(struct bench *bench, const struct wi_copy *copy)
{
    void *stream = NULL;

    EXPECT_OK(bench->ops->stream_create(bench->device, 0, &stream));
    EXPECT_OK(bench->ops->copy(bench->device, copy, stream));
    bench_drain(bench, stream);
    EXPECT_OK(bench->ops->stream_destroy(bench->device, stream));
}

void device_write(struct bench *bench, uint64_t address, const void *from, size_t bytes)
{
    copy_now(bench,
             &(struct wi_copy){
                 .dst = address, .src = (uintptr_t)from, .bytes = bytes, .kind = WI_COPY_UP});
}

void device_read(struct bench *bench, uint64_t address, void *into, size_t bytes)
{
    copy_now(bench,
             &(struct wi_copy){
                 .dst = (uintptr_t)into, .src = address, .bytes = bytes, .kind = WI_COPY_DOWN});
}

static void stand_in_gate(void *ctx)
{
    struct gate *gate = ctx;

    pthread_mutex_lock(&gate->lock);
    gate->reached = true;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open) pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

void gate_shut(struct bench *bench, void *stream, struct gate *gate)
{
    *gate = (struct gate){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    EXPECT_OK(bench->ops->call(bench->device, stand_in_gate, gate, stream));
    pthread_mutex_lock(&gate->lock);
    while (!gate->reached) pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static unsigned char pattern_at(size_t index, uint32_t seed)
{
    uint32_t mixed = ((uint32_t)index ^ seed) * UINT32_C(2654435761);

    return (unsigned char)(mixed >> 24);
}

void pattern_fill(unsigned char *at, size_t bytes, uint32_t seed)
{
    for (size_t i = 0; i < bytes; i++) at[i] = pattern_at(i, seed);
}

bool pattern_matches(const unsigned char *at, size_t bytes, uint32_t seed)
{
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != pattern_at(i, seed)) return false;
    return true;
}

/* ---- the device as a whole ---- */

/* "else NULL in the table" is said of copy_batch only. */
void conformance_table_is_complete(const struct conformance *backend)
{
    struct bench                bench = bench_open(backend);
    const struct wi_device_ops *ops = bench.ops;

    EXPECT(ops->name != NULL && ops->open != NULL && ops->close != NULL);
    EXPECT(ops->info != NULL && ops->memory != NULL);
    EXPECT(ops->host_register != NULL && ops->host_unregister != NULL);
    EXPECT(ops->host_alloc != NULL && ops->host_free != NULL);
    EXPECT(ops->device_alloc != NULL && ops->device_free != NULL);
    EXPECT(ops->stream_create != NULL && ops->stream_destroy != NULL);
    EXPECT(ops->stream_query != NULL && ops->stream_wait != NULL && ops->stream_capture != NULL);
    EXPECT(ops->event_create != NULL && ops->event_destroy != NULL);
    EXPECT(ops->event_record != NULL && ops->event_query != NULL);
    EXPECT(ops->event_sync != NULL && ops->event_elapsed != NULL);
    EXPECT(ops->copy != NULL && ops->fill != NULL && ops->call != NULL && ops->delay != NULL);
    EXPECT(wi_load(&bench.device->lost, acquire) == 0);
    bench_close(&bench);
}

void conformance_info_describes_the_device(const struct conformance *backend)
{
    struct bench             bench = bench_open(backend);
    struct weir_runtime_info info = {.struct_size = sizeof(info)};
    uint64_t                 bytes_free = 0, bytes_total = 0;

    bench.ops->info(bench.device, &info);
    EXPECT(strcmp(info.backend, bench.ops->name) == 0);
    EXPECT(info.device_name[0] != '\0');
    EXPECT(info.device_bytes_total > 0);
    EXPECT(info.stream_priority_least >= info.stream_priority_greatest);
    EXPECT(info.numa_node >= -1);
    EXPECT(((info.flags & WEIR_INFO_COPY_BATCH) != 0) == (bench.ops->copy_batch != NULL));

    EXPECT_OK(bench.ops->memory(bench.device, &bytes_free, &bytes_total));
    EXPECT(bytes_total > 0);
    EXPECT(bytes_free <= bytes_total);
    bench_close(&bench);
}

void conformance_calls_are_counted(const struct conformance *backend)
{
    struct bench bench = bench_open(backend);
    uint64_t     before = wi_load(&bench.device->calls, relaxed);
    void        *event = NULL;

    EXPECT_OK(bench.ops->event_create(bench.device, 0, &event));
    EXPECT(wi_load(&bench.device->calls, relaxed) == before + 1);
    EXPECT_OK(bench.ops->event_query(bench.device, event));
    EXPECT(wi_load(&bench.device->calls, relaxed) == before + 2);
    EXPECT_OK(bench.ops->event_destroy(bench.device, event));
    EXPECT(wi_load(&bench.device->calls, relaxed) == before + 3);
    bench_close(&bench);
}

/* And "outputs are written only on success". */
void conformance_failure_is_recorded(const struct conformance *backend)
{
    struct bench      bench = bench_open(backend);
    struct weir_error error = {.struct_size = sizeof(error)};
    uint64_t          address = 77;

    EXPECT_CODE(bench.ops->device_alloc(bench.device, SIZE_MAX / 4, &address), WEIR_EDEVMEM);
    EXPECT(address == 77);
    EXPECT_OK(weir_last_error(&error));
    EXPECT(error.code == WEIR_EDEVMEM);
    EXPECT(error.call[0] != '\0');
    EXPECT(error.detail[0] != '\0');
    EXPECT(error.line > 0);
    bench_close(&bench);
}

struct passing {
    struct bench *bench;
    void         *stream;
    void         *event;
    int           err;
};

static void *record_elsewhere(void *arg)
{
    struct passing *passing = arg;

    passing->err =
        passing->bench->ops->event_record(passing->bench->device, passing->event, passing->stream);
    if (passing->err == 0)
        passing->err = passing->bench->ops->event_sync(passing->bench->device, passing->event);
    return NULL;
}

void conformance_handles_pass_between_threads(const struct conformance *backend)
{
    struct bench   bench = bench_open(backend);
    struct passing passing = {.bench = &bench};
    pthread_t      thread;

    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &passing.stream));
    EXPECT_OK(bench.ops->event_create(bench.device, 0, &passing.event));
    EXPECT(pthread_create(&thread, NULL, record_elsewhere, &passing) == 0);
    pthread_join(thread, NULL);
    EXPECT_OK(passing.err);
    EXPECT_OK(bench.ops->event_query(bench.device, passing.event));
    EXPECT_OK(bench.ops->event_destroy(bench.device, passing.event));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, passing.stream));
    bench_close(&bench);
}

/* A handle that was destroyed while it had work is gone by the time of close, and the work has run. */
void conformance_close_frees_what_is_lost_sight_of(const struct conformance *backend)
{
    struct bench  bench = bench_open(backend);
    struct pinned pinned = pinned_create(&bench, 1 << 20);
    uint64_t      address = 0;
    void         *stream = NULL, *event = NULL;

    EXPECT_OK(bench.ops->device_alloc(bench.device, pinned.bytes, &address));
    EXPECT_OK(bench.ops->stream_create(bench.device, 0, &stream));
    EXPECT_OK(bench.ops->event_create(bench.device, 0, &event));
    EXPECT_OK(bench.ops->fill(bench.device, address, 0x5a, pinned.bytes, stream));
    EXPECT_OK(bench.ops->copy(bench.device,
                              &(struct wi_copy){.dst = (uintptr_t)pinned.host,
                                                .src = address,
                                                .bytes = pinned.bytes,
                                                .kind = WI_COPY_DOWN},
                              stream));
    EXPECT_OK(bench.ops->event_record(bench.device, event, stream));
    EXPECT_OK(bench.ops->stream_destroy(bench.device, stream));
    EXPECT_OK(bench.ops->event_sync(bench.device, event));
    EXPECT_OK(bench.ops->event_destroy(bench.device, event));
    for (size_t i = 0; i < pinned.bytes; i++) EXPECT(pinned.host[i] == 0x5a);
    EXPECT_OK(bench.ops->device_free(bench.device, address));
    pinned_destroy(&bench, &pinned);
    bench_close(&bench);
}
