/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for device work when the runtime is destroyed: told CLOSED, or that the work is done; and nothing is freed under him. */
#include "pool/fixture.h"
#include "pool/context.h"
#include "pool/ticks.h"
#include "runtime/runtime.h"

#include <pthread.h>

#define HOUR_NS UINT64_C(3600000000000)
#define MS      UINT64_C(1000000)

static struct weir_runtime *rt;
static struct weir_stream  *stream;
static struct weir_buffer  *buffer;
static struct weir_event   *event;

static _Atomic uint32_t returned;

static void *sync_runtime(void *answer)
{
    *(int *)answer = weir_runtime_sync(rt, 0, WEIR_FOREVER);
    wi_add(&returned, 1, seq_cst);
    return NULL;
}

static void *sync_stream(void *answer)
{
    *(int *)answer = weir_stream_sync(stream, WEIR_FOREVER);
    return NULL;
}

static void *sync_buffer(void *answer)
{
    *(int *)answer = weir_buffer_sync(buffer, WEIR_FOREVER);
    return NULL;
}

static void *sync_event(void *answer)
{
    *(int *)answer = weir_event_sync(event, WEIR_FOREVER);
    return NULL;
}

static uint32_t sleepers(void)
{
    struct wi_context *context = wi_context_of(rt);
    uint32_t           count = 0;
    for (uint32_t i = 0; i < wi_load(&context->streams, acquire); i++)
        count += wi_load(&wi_load(&context->stream[i], acquire)->sleepers, seq_cst);
    return count;
}

Test(sync_closed, work_that_outlasts_the_runtime)
{
    void *(*const calls[])(void *) = {sync_runtime, sync_runtime, sync_stream, sync_buffer, sync_event};
    enum { CALLS = sizeof calls / sizeof *calls };
    struct weir_pool *pool;
    pthread_t         thread[CALLS];
    int               answer[CALLS] = {0};
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "host", .drain_ns = MS), &rt));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096, .buffers_min = 1), &pool));
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    ok(weir_event_acquire(rt, 0, WEIR_NOW, &event));
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    ok(weir_stream_delay(stream, HOUR_NS));
    ok(weir_buffer_guard(buffer, stream));
    ok(weir_event_record(event, stream));
    for (int i = 0; i < CALLS; i++) cr_assert_eq(pthread_create(&thread[i], NULL, calls[i], &answer[i]), 0);
    eventually(sleepers() == CALLS - 1 && __atomic_load_n(&rt->polls, __ATOMIC_RELAXED)); /* the keeper has the event's */
    weir_runtime_destroy(rt);
    for (int i = 0; i < CALLS; i++) {
        pthread_join(thread[i], NULL);
        cr_assert_eq(answer[i], WEIR_ECLOSED, "call %d answered %s", i, weir_errname(answer[i]));
    }
    answers(weir_buffer_release(buffer), CLOSED);
}

/* Who has returned is read first: he must not count twice. */
static bool all_have_come(uint32_t count)
{
    uint32_t back = wi_load(&returned, seq_cst);
    return back + wi_load(&wi_context_of(rt)->syncs, seq_cst) == count;
}

Test(sync_closed, of_a_shared_stream)
{
    pthread_t thread;
    int       answer = 0;
    ok(weir_runtime_create(WEIR_OPTS(runtime, .backend = "host", .drain_ns = MS), &rt));
    ok(weir_stream_share(rt, WEIR_STREAM_COMPUTE, &stream));
    ok(weir_stream_delay(stream, 1000 * MS)); /* the device is closed when it is done, and the stream freed before */
    cr_assert_eq(pthread_create(&thread, NULL, sync_stream, &answer), 0);
    eventually(sleepers() == 1);
    weir_runtime_destroy(rt);
    pthread_join(thread, NULL);
    cr_assert(answer == 0 || answer == WEIR_ECLOSED, "%s", weir_errname(answer));
}

/* Each runtime has streams of its own besides the one that is busy: who syncs looks at them all, also while it is destroyed. */
Test(sync_closed, work_that_ends_in_time)
{
    enum { SYNCERS = 3 };
    for (int round = 0; round < 30; round++) {
        pthread_t thread[SYNCERS];
        int       answer[SYNCERS];
        rt = make_runtime();
        wi_store(&returned, 0, relaxed);
        ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
        ok(weir_stream_delay(stream, 5 * MS));
        for (int i = 0; i < SYNCERS; i++) cr_assert_eq(pthread_create(&thread[i], NULL, sync_runtime, &answer[i]), 0);
        eventually(all_have_come(SYNCERS));
        ok(weir_stream_release(stream));
        weir_runtime_destroy(rt);
        for (int i = 0; i < SYNCERS; i++) {
            pthread_join(thread[i], NULL);
            cr_assert(answer[i] == 0 || answer[i] == WEIR_ECLOSED, "%s", weir_errname(answer[i]));
        }
    }
}
