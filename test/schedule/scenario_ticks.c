/* SPDX-License-Identifier: Apache-2.0 */
/* scenario_ticks.c - marks, ticks, retire queues and sleepers over a device that is a counter */
#include "pool/ticks.h"
#include "schedule/store_world.h"

/*
 * ---- the device ----
 *
 * Operations are numbered from 1 in the order of their queueing. The device is as slow as it can be: it has done nothing
 * but what an event that was asked for covers, and an event that is asked for may not have passed yet.
 */

static struct {
    struct wi_device device;
    _Atomic uint64_t queued, done;
    bool             destroyed, fails;
    uint64_t         event[WI_TICKS]; /* where it was recorded; 0: never */
    unsigned         events;
} gpu;

static struct wi_context context;
static struct wi_stream *stream;
static uint64_t          work[WORLD_RECORDS]; /* the last operation that uses the record */
static _Atomic uint32_t  homed;

static int event_create(struct wi_device *device, uint32_t flags, void **event)
{
    (void)device, (void)flags;
    schedule_require(gpu.events < WI_TICKS);
    *event = &gpu.event[gpu.events++];
    return 0;
}

static int event_record(struct wi_device *device, void *event, void *handle)
{
    (void)device, (void)handle;
    uint64_t queued = wi_load(&gpu.queued, seq_cst);
    schedule_require(!gpu.destroyed, "an event is recorded on a stream that is gone");
    if (gpu.fails) return WEIR_EDEVICE;
    *(uint64_t *)event = queued;
    return 0;
}

static int event_query(struct wi_device *device, void *event)
{
    uint64_t at = *(uint64_t *)event;
    (void)device;
    if (wi_load(&gpu.done, seq_cst) >= at) return 0;
    if (schedule_chance("(not yet done)")) return WEIR_EAGAIN;
    wi_store(&gpu.done, at, seq_cst);
    return 0;
}

static int stream_create(struct wi_device *device, int32_t priority, void **out)
{
    (void)device, (void)priority;
    *out = &gpu;
    return 0;
}

static int stream_destroy(struct wi_device *device, void *handle)
{
    (void)device, (void)handle;
    schedule_point("(the driver's stream is destroyed)");
    gpu.destroyed = true;
    return 0;
}

static const struct wi_device_ops ops = {.name = "counter",
                                         .stream_create = stream_create,
                                         .stream_destroy = stream_destroy,
                                         .event_create = event_create,
                                         .event_record = event_record,
                                         .event_query = event_query};

static void home(struct wi_reaper *reaper, struct wi_record *record)
{
    (void)reaper;
    uint64_t done = wi_load(&gpu.done, relaxed);
    schedule_require(done >= work[record->index], "record %u comes home with operation %llu, the device has done %llu",
                     record->index, (unsigned long long)work[record->index], (unsigned long long)done);
    wi_marks_clear(record);
    wi_store(&record->attention, 0, relaxed);
    schedule_require(wi_store_publish(&world.store, record, WI_RETIRING) == 0);
    (void)wi_add(&homed, 1, relaxed);
}

static void keeper(void)
{
    struct wi_reaper reaper = {.home = home};
    while (true) {
        uint32_t seen = wi_kick_begin(&context.keeper);
        bool     again = wi_load(&stream->armed, acquire) && wi_keep(stream, &reaper);
        if (again) {
            schedule_yield();
        } else {
            wi_kick_sleep(&context.keeper, seen, WEIR_FOREVER);
        }
    }
}

/* ---- users ---- */

/* The driver is not asked to order anything: an enqueue is a plain store of its one issuer. */
static void enqueue(uint32_t record)
{
    uint64_t number = wi_load(&gpu.queued, relaxed) + 1;
    work[record] = number;
    wi_store(&gpu.queued, number, release);
}

static void release_marked(struct wi_record *record)
{
    uint64_t word = wi_load(&record->word, relaxed);
    schedule_disown(&world.owner[record->index]);
    while (!wi_cas(&record->word, &word, wi_word_with(word, WI_RETIRING), seq_cst)) {}
    if (!wi_retire(record)) home(&(struct wi_reaper){0}, record);
}

static void use(struct wi_record *record)
{
    schedule_require(wi_mark_reserve(record, stream) == 0);
    enqueue(record->index);
    wi_mark(record, stream, 64);
}

static void use_and_release(void)
{
    struct wi_record *record = store_acquire(WEIR_FOREVER, 1);
    schedule_require(record);
    use(record);
    release_marked(record);
}

static void use_twice(void)
{
    use_and_release();
    use_and_release();
}

static void close_tick(void)
{
    (void)wi_tick_close(stream);
}

static void ticks_set_up(uint32_t records)
{
    store_set_up(&(struct store_shape){.records = records, .slots = 1});
    gpu.device.ops = &ops;
    context.device = &gpu.device;
    context.home = home;
    world.store.context = &context;
    schedule_require(wi_stream_make(&context, 0, 0, &stream) == 0);
    schedule_quiet(&context.ticks_recorded, 2 * sizeof context.ticks_recorded);
}

static void ticks_judge(void)
{
    schedule_require(stream->waiting == 0, "%llu records wait still", (unsigned long long)stream->waiting);
    schedule_require(!wi_load(&stream->inbox, relaxed), "a record is in the inbox still");
    schedule_require(!wi_load(&stream->armed, relaxed), "the stream is polled for nothing");
    store_judge();
}

static void one_set_up(void)
{
    ticks_set_up(1);
}

SCENARIO(retire, .about = "a buffer is used, released and used again: never before the device is done",
         .fibers = {{"user", use_twice}, {"keeper", keeper, .daemon = 1}}, .set_up = one_set_up,
         .judge = ticks_judge, .bound = 2, .full_bound = 3, .weak = 1);

/* ---- an acquirer with empty hands reaps, too ---- */

static void reap(void *ctx)
{
    struct wi_reaper reaper = {.home = home};
    (void)ctx;
    (void)wi_reap(stream, &reaper);
}

static void reapers_set_up(void)
{
    ticks_set_up(1);
    world.store.owner.reap = reap;
}

SCENARIO(reapers, .about = "an acquirer and the keeper reap the same stream",
         .fibers = {{"user", use_twice}, {"keeper", keeper, .daemon = 1}}, .set_up = reapers_set_up,
         .judge = ticks_judge, .bound = 2, .full_bound = 3);

/* ---- sleepers ---- */

static void use_and_wait(void)
{
    struct wi_record *record = store_acquire(WEIR_FOREVER, 1);
    use(record);
    uint64_t tick = wi_stream_end_tick(stream);
    schedule_require(tick != 0 || wi_load(&gpu.done, relaxed) >= work[record->index],
                     "nothing is pending, but the device is not done");
    if (tick) schedule_require(wi_stream_wait(stream, tick, WEIR_FOREVER) == 0);
    schedule_require(wi_load(&gpu.done, relaxed) >= work[record->index], "a wait ends before the device is done");
    release_marked(record);
}

SCENARIO(wait, .about = "a thread sleeps until the device is done",
         .fibers = {{"user", use_and_wait}, {"keeper", keeper, .daemon = 1}}, .set_up = one_set_up,
         .judge = ticks_judge, .bound = 2, .full_bound = 3, .weak = 1);

SCENARIO(closers, .about = "ticks are closed beside the issue of work",
         .fibers = {{"user", use_and_release}, {"closer", close_tick}, {"keeper", keeper, .daemon = 1}},
         .set_up = one_set_up, .judge = ticks_judge, .bound = 2, .full_bound = 3, .weak = 1);

static void use_twice_and_wait(void)
{
    use_and_release();
    use_and_wait();
}


SCENARIO(sync, .about = "a sync beside a closer that is slow to say so",
         .fibers = {{"closer", close_tick}, {"user", use_twice_and_wait}, {"keeper", keeper, .daemon = 1}},
         .set_up = one_set_up, .judge = ticks_judge, .bound = 1, .full_bound = 2);

/* ---- the end of a stream ---- */

static void use_and_end(void)
{
    use_and_release();
    wi_stream_end(stream);
}

static void end_judge(void)
{
    schedule_require(wi_stream_drained(stream), "a stream that is gone has not drained");
    ticks_judge();
}

SCENARIO(stream_end, .about = "a stream ends with work pending; nobody records on it afterwards",
         .fibers = {{"user", use_and_end}, {"keeper", keeper, .daemon = 1}}, .set_up = one_set_up,
         .judge = end_judge, .bound = 2, .full_bound = 3, .weak = 1);

static void fail_some_time(void)
{
    schedule_point("(recording fails from now on)");
    gpu.fails = true;
}

static void failed_judge(void)
{
    uint64_t state = wi_word_state(wi_load(&world.record[0].word, relaxed));
    schedule_require(state == WI_FREE || state == WI_QUARANTINED, "state %llu", (unsigned long long)state);
    schedule_require(stream->waiting == 0 && !wi_load(&stream->inbox, relaxed), "a record waits for ever");
}

SCENARIO(failure, .about = "recording fails: what has not passed is quarantined, nothing waits for ever",
         .fibers = {{"user", use_and_release}, {"keeper", keeper, .daemon = 1}, {"fate", fail_some_time}},
         .set_up = one_set_up, .judge = failed_judge, .bound = 2, .full_bound = 3);
