/* SPDX-License-Identifier: Apache-2.0 */
/* Ticks over a device that does nothing: a closer that stalls between taking a tick and publishing it. */
#include "pool/fixture.h"

#include "pool/ticks.h"

#include <pthread.h>
#include <semaphore.h>

static struct wi_context context;
static struct wi_stream *stream;
static _Atomic uint32_t  stalls; /* 1: the next record does */
static sem_t             has_stalled, go_on;
static char              handles[WI_TICKS + 1];
static unsigned          made;

static int stream_create(struct wi_device *device, int32_t priority, void **out)
{
    (void)device, (void)priority;
    *out = &handles[WI_TICKS];
    return 0;
}

static int event_create(struct wi_device *device, uint32_t flags, void **out)
{
    (void)device, (void)flags;
    *out = &handles[made++];
    return 0;
}

static int nothing(struct wi_device *device, void *handle)
{
    (void)device, (void)handle;
    return 0;
}

static int event_record(struct wi_device *device, void *event, void *handle)
{
    (void)device, (void)event, (void)handle;
    if (wi_exchange(&stalls, 0, acq_rel)) {
        sem_post(&has_stalled);
        while (sem_wait(&go_on) != 0) {}
    }
    return 0;
}

static const struct wi_device_ops ops = {
    .stream_create = stream_create,
    .stream_destroy = nothing,
    .event_create = event_create,
    .event_destroy = nothing,
    .event_record = event_record,
    .event_query = nothing,
};
static struct wi_device device = {.ops = &ops};

static void *close_tick(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)wi_tick_close(stream);
}

static void none_comes_home(struct wi_reaper *reaper, struct wi_record *record)
{
    (void)reaper, (void)record;
    cr_assert_fail("nothing was retired");
}

/* Later ticks cover its work, so it holds up nobody. Its slot, and those behind it, are given back once it has published. */
Test(ticks, a_closer_that_stalls_holds_up_nobody)
{
    struct wi_reaper reaper = {.home = none_comes_home};
    pthread_t        slow;
    void            *answer;
    context.device = &device;
    pthread_mutex_init(&context.stream_lock, NULL);
    sem_init(&has_stalled, 0, 0);
    sem_init(&go_on, 0, 0);
    ok(wi_stream_make(&context, WEIR_STREAM_COMPUTE, 0, &stream));

    wi_store(&stalls, 1, release);
    cr_assert_eq(pthread_create(&slow, NULL, close_tick, NULL), 0);
    while (sem_wait(&has_stalled) != 0) {}
    ok(wi_tick_close(stream)); /* the second one */
    (void)wi_reap(stream, &reaper);
    cr_assert_eq(wi_load(&stream->passed, relaxed), 2);
    cr_assert_eq(stream->recycled, 0, "the slot of the first belongs to its closer");
    uint32_t advanced = wi_load(&stream->advanced, relaxed);

    sem_post(&go_on);
    pthread_join(slow, &answer);
    cr_assert_eq((int)(intptr_t)answer, 0);
    (void)wi_reap(stream, &reaper);
    cr_assert_eq(stream->recycled, 2);
    cr_assert_eq(wi_load(&stream->advanced, relaxed), advanced + 1, "who waits for room is not told");
    for (uint64_t tick = 1; tick <= 2; tick++)
        cr_assert_eq(wi_load(&stream->ring[tick].state, relaxed), 2 * (tick + WI_TICKS));

    wi_stream_end(stream);
    wi_stream_free(stream);
}
