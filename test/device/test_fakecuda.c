/* SPDX-License-Identifier: Apache-2.0 */
/* test_fakecuda.c - the driver double itself: misuse ends the process, and its controls do what they say */
#include "cuda_fixture.h"
#include "device/cuda.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

/* The host program's side only: weir would not do what is tested here. */
struct program {
    struct cuda_fixture cuda;
    struct wi_cu       *app;
    struct CUstream_st *stream;
    struct CUevent_st  *event;
    void               *pinned;
    wi_cu_address       address;
};

static void begin(struct program *program, const char *config)
{
    cuda_fixture_open(&program->cuda, config);
    program->app = &program->cuda.app;
    cr_assert_eq(program->app->context_push(wi_cuda_context(program->cuda.device)), 0);
    cr_assert_eq(program->app->stream_create(&program->stream, 1, 0), 0);
    cr_assert_eq(program->app->event_create(&program->event, 2), 0);
    cr_assert_eq(program->app->host_alloc(&program->pinned, PAGE, 0), 0);
    cr_assert_eq(program->app->device_alloc(&program->address, PAGE), 0);
}

/* A copy that does not begin. */
static void queue_held_copy(struct program *program)
{
    program->cuda.fake.hold(program->stream);
    cr_assert_eq(program->app->copy_up(program->address, program->pinned, PAGE, program->stream),
                 0);
}

/* ---- misuse: each must abort, and none of them otherwise ---- */

enum misuse {
    FREE_DEVICE_PENDING,
    FREE_HOST_PENDING,
    UNREGISTER_PENDING,
    COPY_ACROSS_EDGE,
    CALL_IN_HOST_FUNCTION,
    STREAM_TWICE,
    EVENT_TWICE,
    STREAM_AFTER,
    EVENT_AFTER,
    NULL_STREAM,
    FOREIGN_HANDLE,
    CONTEXT_IN_USE,
    CALL_AT_EXIT,
    EARLY_BATCH,
    MISUSES_COUNT
};

static struct program at_exit_program;

static void call_at_exit(void)
{
    (void)at_exit_program.cuda.app.event_query(at_exit_program.event);
}

static void call_the_driver(void *ctx)
{
    struct program *program = ctx;
    (void)program->app->event_query(program->event);
}

static void unregister_pending(struct program *program)
{
    void *page = aligned_alloc(PAGE, PAGE);
    (void)program->app->host_register(page, PAGE, 0);
    program->cuda.fake.hold(program->stream);
    (void)program->app->copy_up(program->address, page, PAGE, program->stream);
    (void)program->app->host_unregister(page);
}

static void copy_early(struct program *program)
{
    struct wi_cu_copy_attributes any_order = {.source_order = 3};
    wi_cu_address                src = (uintptr_t)program->pinned;
    size_t                       bytes = PAGE;
    size_t                       first = 0;
    (void)program->app->copy_batch(&program->address, &src, &bytes, 1, &any_order, &first, 1,
                                   program->stream);
}

static int commit(void *ctx)
{
    enum misuse    misuse = *(enum misuse *)ctx;
    struct program program;
    uint64_t       words[32] = {0};
    /* Registered before the driver starts, so that the driver is gone when it runs. */
    if (misuse == CALL_AT_EXIT) atexit(call_at_exit);
    if (freopen("/dev/null", "w", stderr) == NULL) return 9;
    begin(&program, "");
    struct wi_cu *app = program.app;
    switch (misuse) {
    case FREE_DEVICE_PENDING:
        queue_held_copy(&program);
        (void)app->device_free(program.address);
        break;
    case FREE_HOST_PENDING:
        queue_held_copy(&program);
        (void)app->host_free(program.pinned);
        break;
    case UNREGISTER_PENDING:
        unregister_pending(&program);
        break;
    case COPY_ACROSS_EDGE:
        (void)app->copy_up(program.address + 1, program.pinned, PAGE, program.stream);
        break;
    case CALL_IN_HOST_FUNCTION:
        (void)app->call(program.stream, call_the_driver, &program);
        (void)app->event_record(program.event, program.stream);
        (void)app->event_sync(program.event);
        break;
    case STREAM_TWICE:
        (void)app->stream_destroy(program.stream);
        (void)app->stream_destroy(program.stream);
        break;
    case EVENT_TWICE:
        (void)app->event_destroy(program.event);
        (void)app->event_destroy(program.event);
        break;
    case STREAM_AFTER:
        (void)app->stream_destroy(program.stream);
        (void)app->event_record(program.event, program.stream);
        break;
    case EVENT_AFTER:
        (void)app->event_destroy(program.event);
        (void)app->event_query(program.event);
        break;
    case NULL_STREAM:
        (void)app->event_record(program.event, NULL);
        break;
    case FOREIGN_HANDLE:
        (void)app->stream_query((struct CUstream_st *)words);
        break;
    case CONTEXT_IN_USE:
        (void)app->context_release(0);
        break;
    case CALL_AT_EXIT:
        at_exit_program = program;
        exit(0);
    case EARLY_BATCH:
        copy_early(&program);
        break;
    case MISUSES_COUNT:
        break;
    }
    return 0;
}

Test(fakecuda, misuse_ends_the_process)
{
    for (enum misuse misuse = 0; misuse < MISUSES_COUNT; misuse++) {
        int status = cuda_fixture_child(commit, &misuse);
        cr_expect_eq(status, -SIGABRT, "misuse %d ended with %d", (int)misuse, status);
    }
    enum misuse none = MISUSES_COUNT;
    cr_expect_eq(cuda_fixture_child(commit, &none), 0);
}

/* ---- what a driver documents ---- */

Test(fakecuda, needs_a_context)
{
    struct program   program;
    struct CUctx_st *popped = NULL;
    void            *more = NULL;
    begin(&program, "");
    cr_assert_eq(program.app->context_pop(&popped), 0);
    cr_expect_eq(program.app->host_alloc(&more, PAGE, 0), 201);
    cr_expect_eq(program.app->event_record(program.event, program.stream), 201);
    cr_expect_eq(program.app->event_query(program.event), 0);
    cr_expect_eq(program.app->context_pop(&popped), 201);
}

Test(fakecuda, other_contexts_stream)
{
    struct program   program;
    struct CUctx_st *other = NULL;
    begin(&program, "devices=2");
    cr_assert_eq(program.app->context_retain(&other, 1), 0);
    cr_assert_eq(program.app->context_push(other), 0);
    cr_expect_eq(program.app->event_record(program.event, program.stream), 400);
    cr_expect_eq(program.app->copy_up(program.address, program.pinned, PAGE, program.stream), 400);
}

Test(fakecuda, not_started)
{
    struct cuda_fixture cuda;
    int                 count = 0;
    cuda_fixture_init(&cuda, "");
    cr_expect_eq(cuda.app.device_count(&count), 3);
    cr_expect_eq(cuda.app.init(0), 0);
    cr_expect_eq(cuda.app.device_count(&count), 0);
}

static int start_again(void *ctx)
{
    struct cuda_fixture *cuda = ctx;
    int                  count = 0;
    if (cuda->app.init(0) != 3) return 1;
    return cuda->app.device_count(&count) == 3 ? 0 : 2;
}

Test(fakecuda, forked)
{
    struct cuda_fixture cuda;
    cuda_fixture_open(&cuda, "");
    cr_expect_eq(cuda_fixture_child(start_again, &cuda), 0);
}

Test(fakecuda, finds_symbols_as_a_driver_does)
{
    struct cuda_fixture cuda;
    cuda_fixture_init(&cuda, "version=12080,hide=cuEventQuery");
    void          *function = &cuda;
    unsigned       status = 9;
    wi_cu_find_fn *find = NULL;
    *(void **)&find = cuda.fake.exports("cuGetProcAddress");
    /* Newer than the driver: refused. */
    cr_expect_eq(find("cuMemcpyBatchAsync", &function, 13000, 1, &status), 1);
    cr_expect_eq(function, &cuda);
    /* Unknown: success, and nothing. */
    cr_expect_eq(find("cuNoSuchThing", &function, 12000, 1, &status), 0);
    cr_expect_null(function);
    cr_expect_eq(status, 1);
    cr_expect_eq(find("cuEventQuery", &function, 2000, 1, &status), 0);
    cr_expect_null(function);
    cr_expect_eq(status, 1);
    /* Known, but not as old as that. */
    cr_expect_eq(find("cuEventDestroy", &function, 2000, 1, &status), 0);
    cr_expect_null(function);
    cr_expect_eq(status, 2);
    /* The newest form that is not newer than asked. */
    cr_expect_eq(find("cuStreamGetCtx", &function, 12040, 1, &status), 0);
    cr_expect_eq(function, dlsym(cuda.fake.library, "cuStreamGetCtx"));
    cr_expect_eq(find("cuStreamGetCtx", &function, 12060, 1, &status), 0);
    cr_expect_eq(function, dlsym(cuda.fake.library, "cuStreamGetCtx_v2"));
}

Test(fakecuda, refuses_what_it_does_not_understand)
{
    struct fakecuda fake;
    cr_assert(fakecuda_open(FAKECUDA_LIBRARY, &fake));
    cr_expect_eq(fake.configure("devices=99"), -1);
    cr_expect_eq(fake.configure("colour=blue"), -1);
    cr_expect_eq(fake.configure("hide=cuNoSuchThing"), -1);
    cr_expect_eq(fake.configure("devices=2,memory=1G"), 0);
    cr_expect_not(fakecuda_open("libm.so.6", &fake));
    cr_expect_not(fakecuda_open("/nonexistent", &fake));
}

/* ---- controls ---- */

Test(fakecuda, faults_fire_at_their_use)
{
    struct program program;
    begin(&program, "");
    struct fakecuda_fault third = {.symbol = "cuEventQuery", .nth = 3, .result = 801};
    program.cuda.fake.fail(&third);
    for (int i = 1; i <= 5; i++)
        cr_expect_eq(program.app->event_query(program.event), i == 3 ? 801 : 0, "use %d", i);
    struct fakecuda_fault onward = {
        .symbol = "cuEventQuery", .nth = 2, .result = 801, .flags = FAKECUDA_ALWAYS};
    program.cuda.fake.fail(&onward);
    for (int i = 1; i <= 4; i++)
        cr_expect_eq(program.app->event_query(program.event), i >= 2 ? 801 : 0, "use %d", i);
    program.cuda.fake.clear();
    cr_expect_eq(program.app->event_query(program.event), 0);
    struct fakecuda_fault sticky = {
        .symbol = "cuEventQuery", .nth = 1, .result = 714, .flags = FAKECUDA_STICKY};
    program.cuda.fake.fail(&sticky);
    cr_expect_eq(program.app->event_query(program.event), 714);
    cr_expect_eq(program.app->stream_query(program.stream), 714);
    program.cuda.fake.clear();
    cr_expect_eq(program.app->event_destroy(program.event), 714);
}

static void *query_once(void *ctx)
{
    struct program *program = ctx;
    return (void *)(uintptr_t)program->app->event_query(program->event);
}

Test(fakecuda, stall)
{
    struct program program;
    pthread_t      thread;
    void          *result = &program;
    begin(&program, "");
    struct fakecuda_fault stall = {.symbol = "cuEventQuery", .nth = 1, .flags = FAKECUDA_STALL};
    program.cuda.fake.fail(&stall);
    cr_assert_eq(pthread_create(&thread, NULL, query_once, &program), 0);
    while (program.cuda.fake.stalled() == 0) sched_yield();
    /* Others go on. */
    cr_expect_eq(program.app->event_query(program.event), 0);
    cr_expect_eq(program.cuda.fake.stalled(), 1);
    program.cuda.fake.resume();
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_expect_null(result);
}

Test(fakecuda, hold_and_permit)
{
    struct program program;
    begin(&program, "");
    program.cuda.fake.hold(NULL);
    cr_assert_eq(program.app->copy_up(program.address, program.pinned, PAGE, program.stream), 0);
    cr_assert_eq(program.app->event_record(program.event, program.stream), 0);
    program.cuda.fake.run();
    cr_expect_eq(program.app->event_query(program.event), 600);
    program.cuda.fake.permit(program.stream, 2);
    cr_expect_eq(program.app->event_sync(program.event), 0);
    program.cuda.fake.release(NULL);
    cr_expect_eq(program.app->copy_up(program.address, program.pinned, PAGE, program.stream), 0);
    program.cuda.fake.run();
    cr_expect_eq(program.app->stream_query(program.stream), 0);
}

/* Which of two streams gets on first, 16 times, as bits. */
static int order_of_seed(void *ctx)
{
    struct program      program;
    struct CUstream_st *second = NULL;
    struct CUevent_st  *later = NULL;
    unsigned            bits = 0;
    begin(&program, ctx);
    if (program.app->stream_create(&second, 1, 0) != 0) return 255;
    if (program.app->event_create(&later, 2) != 0) return 255;
    for (int i = 0; i < 6; i++) {
        (void)program.app->fill(program.address, 1, 8, program.stream);
        (void)program.app->event_record(program.event, program.stream);
        (void)program.app->fill(program.address + 8, 1, 8, second);
        (void)program.app->event_record(later, second);
        while (program.app->event_query(program.event) == 600 &&
               program.app->event_query(later) == 600)
            program.cuda.fake.step();
        bits = bits << 1 | (program.app->event_query(later) == 0);
        program.cuda.fake.run();
    }
    return (int)bits;
}

Test(fakecuda, seed_decides_the_order)
{
    int  first = cuda_fixture_child(order_of_seed, "clock=virtual,seed=1");
    bool differs = false;
    cr_assert_geq(first, 0);
    cr_assert_lt(first, 64);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(cuda_fixture_child(order_of_seed, "clock=virtual,seed=1"), first);
    static const char *const seeds[] = {"clock=virtual,seed=2", "clock=virtual,seed=3",
                                        "clock=virtual,seed=4", "clock=virtual,seed=5"};
    for (size_t i = 0; i < WI_ARRAY_COUNT(seeds); i++)
        differs |= cuda_fixture_child(order_of_seed, (void *)seeds[i]) != first;
    cr_expect(differs);
}
