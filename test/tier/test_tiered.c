/* SPDX-License-Identifier: Apache-2.0 */
/* Tiered pools: real bytes move, under readers and writers, within budgets. */
#include "pool/fixture.h"

#include "base/atomic.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <weir/tier.h>

#define MS    UINT64_C(1000000)
#define BYTES 8192

static struct weir_runtime *rt;
static struct weir_pool    *pool;
static uint64_t             now_ns;

/* Each test says which buffers it wants where: this policy moves what the test put on its list. */
static struct weir_policy_move wanted[64];
static size_t                  wanted_count;
static uint32_t                placed_tier[64];

static void on_place(void *ctx, const struct weir_policy_place *place)
{
    (void)ctx;
    placed_tier[place->object] = place->tier;
}

static void on_remove(void *ctx, uint32_t object)
{
    (void)ctx, (void)object;
}

static void on_resize(void *ctx, const size_t capacity[WEIR_BOUNDARIES])
{
    (void)ctx, (void)capacity;
}

static size_t on_period(void *ctx, const struct weir_policy_period *period, struct weir_policy_move *moves)
{
    size_t count = wanted_count;
    (void)ctx, (void)period;
    memcpy(moves, wanted, count * sizeof *moves);
    wanted_count = 0;
    return count;
}

static const struct weir_policy scripted = {.struct_size = sizeof scripted, .name = "scripted", .place = on_place,
                                            .remove = on_remove, .resize = on_resize, .period = on_period};

static void open_tiers(size_t buffers, size_t device, size_t pinned, uint32_t flags)
{
    rt = make_runtime();
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .buffer_bytes = BYTES, .buffers_max = buffers, .device_buffers = device,
                                      .pinned_buffers = pinned, .policy = &scripted,
                                      .flags = WEIR_TIER_MANUAL | flags), &pool));
}

static void close_tiers(void)
{
    assert_law(pool);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}

static struct weir_tier_stats tier_stats(void)
{
    struct weir_tier_stats stats = {.struct_size = sizeof stats};
    ok(weir_tier_stats_read(pool, &stats));
    return stats;
}

static struct weir_buffer *take(void)
{
    struct weir_buffer *buffer;
    ok(weir_buffer_acquire(pool, WEIR_NOW, &buffer));
    return buffer;
}

static uint32_t tier_of(struct weir_buffer *buffer)
{
    struct weir_place_info info = {.struct_size = sizeof info};
    ok(weir_buffer_place_read(buffer, &info));
    return info.tier;
}

static uint32_t index_of(struct weir_buffer *buffer)
{
    static uint64_t         first = UINT64_MAX;
    struct weir_buffer_info info = {.struct_size = sizeof info};
    ok(weir_buffer_info_read(buffer, &info));
    if (info.id < first) first = info.id;
    return (uint32_t)(info.id - first);
}

static void step(void)
{
    ok(weir_tier_step(pool, now_ns += 100 * MS));
}

/* pre: the first buffer taken in the test is the pool's first. */
static void move(struct weir_buffer *buffer, uint16_t to)
{
    wanted[wanted_count++] = (struct weir_policy_move){index_of(buffer), (uint16_t)tier_of(buffer), to};
}

static void fill(struct weir_buffer *buffer, int byte)
{
    struct weir_view view;
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_WRITE, NULL, WEIR_FOREVER, &view));
    memset(view.host, byte, view.bytes);
    ok(weir_view_return(&view));
}

/* The device tier of the host backend can be read through its address. */
static const char *bytes_of(const struct weir_view *view)
{
    return view->host ? view->host : (const char *)(uintptr_t)view->device;
}

static void expect(struct weir_buffer *buffer, int byte)
{
    struct weir_view view;
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_ANY, WEIR_READ, NULL, WEIR_NOW, &view));
    for (size_t i = 0; i < view.bytes; i++) cr_assert_eq(bytes_of(&view)[i], (char)byte, "byte %zu is %d", i, bytes_of(&view)[i]);
    ok(weir_view_return(&view));
}

Test(tiered, bytes_move_through_every_tier)
{
    open_tiers(4, 2, 2, WEIR_TIER_POISON);
    struct weir_buffer *buffer = take();
    cr_assert_eq(tier_of(buffer), WEIR_TIER_PAGEABLE);
    fill(buffer, 17);
    static const uint16_t route[] = {WEIR_TIER_PINNED, WEIR_TIER_DEVICE, WEIR_TIER_PINNED, WEIR_TIER_PAGEABLE,
                                     WEIR_TIER_DEVICE, WEIR_TIER_PAGEABLE};
    for (size_t i = 0; i < 6; i++) {
        move(buffer, route[i]);
        step();
        cr_assert_eq(tier_of(buffer), route[i], "hop %zu", i);
        expect(buffer, 17);
    }
    struct weir_tier_stats stats = tier_stats();
    cr_assert_eq(stats.promotions_device, 2);
    cr_assert_eq(stats.promotions_pinned, 1);
    cr_assert_eq(stats.demotions, 3);
    cr_assert_eq(stats.bytes_moved, 6 * BYTES);
    step();
    cr_assert_eq(tier_stats().limbo, 0);
    ok(weir_buffer_release(buffer));
    close_tiers();
}

Test(tiered, a_clean_buffer_goes_home_without_a_copy)
{
    open_tiers(2, 1, 0, 0);
    struct weir_buffer *buffer = take();
    fill(buffer, 1);
    move(buffer, WEIR_TIER_DEVICE);
    step();
    move(buffer, WEIR_TIER_PAGEABLE);
    step();
    cr_assert_eq(tier_stats().demotions_clean, 1);
    expect(buffer, 1);
    move(buffer, WEIR_TIER_DEVICE);
    step();
    struct weir_view view;
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_ANY, WEIR_WRITE, NULL, WEIR_NOW, &view));
    memset((char *)(uintptr_t)view.device, 2, BYTES);
    ok(weir_view_return(&view));
    move(buffer, WEIR_TIER_PAGEABLE);
    step();
    cr_assert_eq(tier_stats().demotions_clean, 1, "what was written must be copied");
    expect(buffer, 2);
    ok(weir_buffer_release(buffer));
    close_tiers();
}

Test(tiered, a_writer_stops_a_move)
{
    struct weir_view view;
    open_tiers(2, 1, 1, 0);
    struct weir_buffer *buffer = take();
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_WRITE, NULL, WEIR_NOW, &view));
    move(buffer, WEIR_TIER_PINNED);
    step();
    cr_assert_eq(tier_of(buffer), WEIR_TIER_PAGEABLE);
    cr_assert_eq(tier_stats().moves_dropped, 1);
    cr_assert_eq(placed_tier[index_of(buffer)], WEIR_TIER_PAGEABLE, "the policy is told that the move did not happen");
    ok(weir_view_return(&view));
    move(buffer, WEIR_TIER_PINNED);
    step();
    cr_assert_eq(tier_of(buffer), WEIR_TIER_PINNED);
    ok(weir_buffer_release(buffer));
    close_tiers();
}

Test(tiered, a_reader_keeps_the_old_place)
{
    struct weir_view view;
    open_tiers(2, 1, 1, WEIR_TIER_POISON);
    struct weir_buffer *buffer = take();
    fill(buffer, 5);
    move(buffer, WEIR_TIER_PINNED);
    step();
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_NOW, &view));
    move(buffer, WEIR_TIER_DEVICE);
    step();
    cr_assert_eq(tier_of(buffer), WEIR_TIER_DEVICE);
    for (int i = 0; i < 5; i++) step();
    cr_assert_eq(tier_stats().limbo, 1);
    for (size_t i = 0; i < BYTES; i++) cr_assert_eq(((char *)view.host)[i], 5, "freed under a reader");
    char *old = view.host;
    ok(weir_view_return(&view));
    step();
    cr_assert_eq(tier_stats().limbo, 0);
    cr_assert_neq(old[0], 5, "what a move left behind is poisoned");
    expect(buffer, 5);
    ok(weir_buffer_release(buffer));
    close_tiers();
}

/* As many as a thread's first chunk of hazard slots: not one of them may be passed over. */
Test(tiered, a_reader_of_many_keeps_each_old_place)
{
    enum { MANY = 64 };
    struct weir_buffer *buffer[MANY];
    struct weir_view    view[MANY];
    open_tiers(MANY, 0, MANY, WEIR_TIER_POISON);
    for (int i = 0; i < MANY; i++) {
        buffer[i] = take();
        fill(buffer[i], i + 1);
    }
    for (int i = 0; i < MANY; i++)
        ok(weir_buffer_borrow(buffer[i], WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_NOW, &view[i]));
    for (int i = 0; i < MANY; i++) move(buffer[i], WEIR_TIER_PINNED);
    for (int i = 0; i < 3; i++) step();
    cr_assert_eq(tier_stats().limbo, MANY);
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(tier_of(buffer[i]), WEIR_TIER_PINNED);
        cr_assert_eq(((char *)view[i].host)[BYTES - 1], i + 1, "freed under reader %d", i);
        ok(weir_view_return(&view[i]));
    }
    step();
    cr_assert_eq(tier_stats().limbo, 0);
    for (int i = 0; i < MANY; i++) ok(weir_buffer_release(buffer[i]));
    close_tiers();
}

/* A slot that is free again is found, wherever in the chunk it lies. */
Test(tiered, a_reader_of_many_uses_its_slots_again)
{
    enum { MANY = 64 };
    struct weir_view view[MANY];
    open_tiers(1, 0, 1, WEIR_TIER_POISON);
    struct weir_buffer *buffer = take();
    fill(buffer, 5);
    for (int i = 0; i < MANY; i++) ok(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_NOW, &view[i]));
    for (int i = 0; i < MANY; i++) {
        int at = i * 37 % MANY; /* far from the last in every round */
        ok(weir_view_return(&view[at]));
        ok(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_NOW, &view[at]));
        cr_assert_eq(((char *)view[at].host)[BYTES - 1], 5);
    }
    move(buffer, WEIR_TIER_PINNED);
    step();
    cr_assert_eq(tier_stats().limbo, 1);
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(((char *)view[i].host)[BYTES - 1], 5, "freed under reader %d", i);
        ok(weir_view_return(&view[i]));
    }
    step();
    cr_assert_eq(tier_stats().limbo, 0);
    ok(weir_buffer_release(buffer));
    close_tiers();
}

Test(tiered, device_work_keeps_the_old_place)
{
    struct weir_view    view;
    struct weir_stream *stream;
    open_tiers(2, 1, 1, WEIR_TIER_POISON);
    struct weir_buffer *buffer = take();
    fill(buffer, 6);
    move(buffer, WEIR_TIER_PINNED);
    step();
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_DEVICE, WEIR_READ, stream, WEIR_NOW, &view));
    char *old = view.host;
    ok(weir_stream_delay(stream, 250 * MS)); /* stands for a kernel that reads view.device */
    ok(weir_view_return(&view));
    move(buffer, WEIR_TIER_DEVICE);
    step();
    cr_assert_eq(tier_of(buffer), WEIR_TIER_DEVICE, "readers do not stop a move");
    for (int i = 0; i < 3; i++) step();
    cr_assert_eq(old[0], 6, "freed while the device still read it");
    cr_assert_eq(tier_stats().limbo, 1);
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    step();
    cr_assert_eq(tier_stats().limbo, 0);
    ok(weir_stream_release(stream));
    ok(weir_buffer_release(buffer));
    close_tiers();
}

Test(tiered, device_writes_are_waited_for_before_a_copy)
{
    struct weir_view    view;
    struct weir_stream *stream;
    open_tiers(2, 1, 1, 0);
    struct weir_buffer *buffer = take();
    fill(buffer, 7);
    move(buffer, WEIR_TIER_PINNED);
    step();
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_DEVICE, WEIR_WRITE, stream, WEIR_NOW, &view));
    ok(weir_stream_delay(stream, 250 * MS));
    ok(weir_view_return(&view));
    move(buffer, WEIR_TIER_DEVICE);
    step();
    cr_assert_eq(tier_of(buffer), WEIR_TIER_PINNED, "copied before the device had written");
    ok(weir_stream_sync(stream, WEIR_FOREVER));
    move(buffer, WEIR_TIER_DEVICE);
    step();
    cr_assert_eq(tier_of(buffer), WEIR_TIER_DEVICE);
    ok(weir_stream_release(stream));
    ok(weir_buffer_release(buffer));
    close_tiers();
}

Test(tiered, pinned_buffers_stay)
{
    open_tiers(2, 1, 1, 0);
    struct weir_buffer *buffer = take();
    fill(buffer, 1);
    struct weir_buffer_info info = {.struct_size = sizeof info};
    ok(weir_buffer_set_pinned(buffer, 1));
    ok(weir_buffer_info_read(buffer, &info));
    cr_assert_eq(info.flags, WEIR_BUFFER_PINNED);
    move(buffer, WEIR_TIER_DEVICE);
    step();
    cr_assert_eq(tier_of(buffer), WEIR_TIER_PAGEABLE);
    ok(weir_buffer_set_pinned(buffer, 0));
    ok(weir_buffer_info_read(buffer, &info));
    cr_assert_eq(info.flags, 0);
    move(buffer, WEIR_TIER_DEVICE);
    step();
    cr_assert_eq(tier_of(buffer), WEIR_TIER_DEVICE);
    ok(weir_buffer_release(buffer));
    close_tiers();
}

Test(tiered, a_borrow_in_the_wrong_tier_moves_by_deadline_and_never_now)
{
    struct weir_view    view;
    struct weir_stream *stream;
    open_tiers(3, 1, 1, 0);
    struct weir_buffer *buffer = take(), *other = take();
    fill(buffer, 9);
    fill(other, 10);
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    answers(weir_buffer_borrow(buffer, WEIR_WHERE_DEVICE, WEIR_READ, stream, WEIR_NOW, &view), AGAIN);
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_DEVICE, WEIR_READ, stream, WEIR_FOREVER, &view));
    cr_assert_eq(view.tier, WEIR_TIER_PINNED);
    cr_assert_neq(view.device, 0);
    ok(weir_view_return(&view));
    ok(weir_buffer_prefetch(buffer, WEIR_TIER_DEVICE, WEIR_FOREVER));
    cr_assert_eq(tier_of(buffer), WEIR_TIER_DEVICE);
    answers(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_NOW, &view), AGAIN);
    ok(weir_buffer_prefetch(other, WEIR_TIER_DEVICE, WEIR_FOREVER)); /* the colder one makes room */
    cr_assert_eq(tier_of(other), WEIR_TIER_DEVICE);
    cr_assert_eq(tier_of(buffer), WEIR_TIER_PAGEABLE);
    ok(weir_buffer_borrow(other, WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_FOREVER, &view));
    cr_assert_not_null(view.host);
    ok(weir_view_return(&view));
    ok(weir_buffer_set_pinned(buffer, 0));
    expect(buffer, 9);
    expect(other, 10);
    ok(weir_stream_release(stream));
    ok(weir_buffer_release(buffer));
    ok(weir_buffer_release(other));
    close_tiers();
}

Test(tiered, refuses_what_it_cannot_do_by_name)
{
    struct weir_view   view;
    struct weir_pool  *fixed;
    struct weir_buffer *plain, *buffer;
    open_tiers(2, 1, 0, 0);
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 4096), &fixed));
    ok(weir_buffer_acquire(fixed, WEIR_NOW, &plain));
    answers(weir_buffer_borrow(plain, WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_NOW, &view), KIND);
    answers(weir_tier_step(fixed, 1), KIND);
    buffer = take();
    answers(weir_buffer_borrow(buffer, 9, WEIR_READ, NULL, WEIR_NOW, &view), INVAL);
    answers(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, 0, NULL, WEIR_NOW, &view), INVAL);
    answers(weir_tier_set_budget(pool, (struct weir_tier_budget){.device_buffers = 2}), EXCEEDS);
    step();
    answers(weir_tier_step(pool, now_ns - 1), INVAL);
    ok(weir_buffer_release(buffer));
    answers(weir_buffer_borrow(buffer, WEIR_WHERE_HOST, WEIR_READ, NULL, WEIR_NOW, &view), NOTLEASED);
    ok(weir_buffer_release(plain));
    weir_pool_destroy(fixed);
    close_tiers();
}

Test(tiered, a_released_buffer_goes_home)
{
    open_tiers(2, 1, 0, 0);
    struct weir_buffer *buffer = take();
    fill(buffer, 1);
    move(buffer, WEIR_TIER_DEVICE);
    step();
    cr_assert_eq(tier_stats().buffers_device, 1);
    ok(weir_buffer_release(buffer));
    step();
    cr_assert_eq(tier_stats().buffers_device, 0);
    step();
    cr_assert_eq(tier_stats().limbo, 0);
    close_tiers();
}

Test(tiered, every_released_buffer_goes_home_whatever_the_order)
{
    struct weir_buffer *buffer[3];
    open_tiers(3, 3, 0, 0);
    for (int i = 0; i < 3; i++) fill(buffer[i] = take(), i);
    for (int i = 0; i < 3; i++) move(buffer[i], WEIR_TIER_DEVICE);
    step();
    cr_assert_eq(tier_stats().buffers_device, 3);
    for (int i = 2; i >= 0; i--) ok(weir_buffer_release(buffer[i]));
    ok(weir_buffer_release(take())); /* leased and released again within the period */
    step();
    cr_assert_eq(tier_stats().buffers_device, 0);
    close_tiers();
}

static void *borrow_for_device(void *arg)
{
    struct weir_view    view;
    struct weir_stream *stream;
    ok(weir_stream_acquire(rt, WEIR_STREAM_COMPUTE, WEIR_NOW, &stream));
    int err = weir_buffer_borrow(arg, WEIR_WHERE_DEVICE, WEIR_READ, stream, WEIR_FOREVER, &view);
    ok(weir_stream_release(stream));
    return (void *)(intptr_t)err;
}

Test(tiered, destroy_ends_a_borrow_that_waits_for_a_move)
{
    struct weir_view view;
    pthread_t        thread;
    void            *answer;
    open_tiers(2, 1, 0, 0);
    struct weir_buffer *held = take(), *wanted_up = take();
    fill(held, 1);
    move(held, WEIR_TIER_DEVICE);
    step();
    ok(weir_buffer_borrow(held, WEIR_WHERE_ANY, WEIR_WRITE, NULL, WEIR_NOW, &view)); /* nothing can make room */
    cr_assert_eq(pthread_create(&thread, NULL, borrow_for_device, wanted_up), 0);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    weir_pool_destroy(pool);
    pthread_join(thread, &answer);
    cr_assert_eq((int)(intptr_t)answer, WEIR_ECLOSED);
    ok(weir_view_return(&view));
    ok(weir_buffer_release(held));
    ok(weir_buffer_release(wanted_up));
    weir_runtime_destroy(rt);
}

Test(tiered, a_demand_passes_over_what_is_being_written)
{
    struct weir_view view;
    open_tiers(3, 2, 0, 0);
    struct weir_buffer *written = take(), *idle = take(), *next = take();
    move(written, WEIR_TIER_DEVICE);
    step();
    move(idle, WEIR_TIER_DEVICE);
    step();
    ok(weir_buffer_borrow(written, WEIR_WHERE_ANY, WEIR_WRITE | WEIR_PEEK, NULL, WEIR_NOW, &view));
    ok(weir_buffer_prefetch(next, WEIR_TIER_DEVICE, WEIR_FOREVER));
    cr_assert_eq(tier_of(idle), WEIR_TIER_PAGEABLE);
    ok(weir_view_return(&view));
    ok(weir_buffer_set_pinned(idle, 1));
    answers(weir_buffer_prefetch(idle, WEIR_TIER_DEVICE, WEIR_FOREVER), BUSY);
    ok(weir_buffer_release(written));
    ok(weir_buffer_release(idle));
    ok(weir_buffer_release(next));
    close_tiers();
}

/* Ahead of use: the move is asked for, and the caller goes on. */
Test(tiered, a_prefetch_that_does_not_wait_asks_for_the_move)
{
    open_tiers(3, 1, 0, 0);
    struct weir_buffer *first = take(), *second = take();
    fill(first, 7);
    answers(weir_buffer_prefetch(first, WEIR_TIER_DEVICE, WEIR_NOW), AGAIN);
    for (int i = 0; i < 1000 && tier_of(first) != WEIR_TIER_DEVICE; i++) {
        int again = weir_buffer_prefetch(first, WEIR_TIER_DEVICE, WEIR_NOW);
        cr_assert(again == 0 || again == WEIR_EAGAIN);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    ok(weir_buffer_prefetch(first, WEIR_TIER_DEVICE, WEIR_NOW));
    /* With no room to be made the wish is dropped, and the next one is heard. */
    ok(weir_buffer_set_pinned(first, 1));
    answers(weir_buffer_prefetch(second, WEIR_TIER_DEVICE, WEIR_NOW), AGAIN);
    answers(weir_buffer_prefetch(second, WEIR_TIER_DEVICE, WEIR_FOREVER), EXCEEDS);
    ok(weir_buffer_set_pinned(first, 0));
    for (int i = 0; i < 1000 && tier_of(second) != WEIR_TIER_DEVICE; i++) {
        (void)!weir_buffer_prefetch(second, WEIR_TIER_DEVICE, WEIR_NOW);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    cr_assert_eq(tier_of(second), WEIR_TIER_DEVICE);
    cr_assert_eq(tier_of(first), WEIR_TIER_PAGEABLE);
    ok(weir_buffer_release(first));
    ok(weir_buffer_release(second));
    close_tiers();
}

/* ---- budgets, and what was touched ---- */

static void budgets_are(size_t device, size_t pinned)
{
    struct weir_tier_stats stats = tier_stats();
    cr_assert_eq(stats.budget_device, device, "%lu", (unsigned long)stats.budget_device);
    cr_assert_eq(stats.budget_pinned, pinned, "%lu", (unsigned long)stats.budget_pinned);
}

Test(tiered, budgets_in_buffers_bytes_or_percent)
{
    rt = make_runtime();
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .buffer_bytes = 4096, .buffers_max = 70, .device_bytes = 10 * 4096 + 4095,
                                      .pinned_percent = 20, .flags = WEIR_TIER_MANUAL), &pool));
    budgets_are(10, 14);
    ok(weir_tier_set_budget(pool, (struct weir_tier_budget){.device_percent = 5, .pinned_bytes = 4096}));
    budgets_are(3, 1);
    ok(weir_tier_set_budget(pool, (struct weir_tier_budget){.device_buffers = 2}));
    budgets_are(2, 0);
    answers(weir_tier_set_budget(pool, (struct weir_tier_budget){.device_bytes = 11 * 4096}), EXCEEDS);
    answers(weir_tier_set_budget(pool, (struct weir_tier_budget){.pinned_percent = 21.5}), EXCEEDS);
    answers(weir_tier_set_budget(pool, (struct weir_tier_budget){.device_bytes = 4096, .device_buffers = 1}), INVAL);
    answers(weir_tier_set_budget(pool, (struct weir_tier_budget){.pinned_bytes = 4095}), INVAL);
    answers(weir_tier_set_budget(pool, (struct weir_tier_budget){.pinned_percent = 1}), INVAL);
    answers(weir_tier_set_budget(pool, (struct weir_tier_budget){.pinned_percent = -1}), INVAL);
    answers(weir_tier_set_budget(pool, (struct weir_tier_budget){.pinned_percent = 100.5}), INVAL);
    answers(weir_tier_set_budget(pool, (struct weir_tier_budget){.pinned_percent = NAN}), INVAL);
    budgets_are(2, 0);
    weir_pool_destroy(pool);

    struct weir_pool *none = NULL;
    answers(weir_tier_create(rt, WEIR_OPTS(tier, .buffers_max = 4, .device_percent = 10), &none), INVAL);
    answers(weir_tier_create(rt, WEIR_OPTS(tier, .buffers_max = 4, .pinned_bytes = 1), &none), INVAL);
    cr_assert_null(none);
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .buffer_bytes = 4096, .buffers_max = 4, .device_bytes = 1 << 30,
                                      .pinned_percent = 100, .flags = WEIR_TIER_MANUAL), &pool));
    budgets_are(4, 4); /* all of them */
    close_tiers();
}

static uint64_t touches_of(struct weir_buffer *buffer)
{
    struct weir_place_info info = {.struct_size = sizeof info};
    ok(weir_buffer_place_read(buffer, &info));
    return info.touches;
}

static void use(struct weir_buffer *buffer, enum weir_access access)
{
    struct weir_view view;
    ok(weir_buffer_borrow(buffer, WEIR_WHERE_ANY, access, NULL, WEIR_NOW, &view));
    ok(weir_view_return(&view));
}

/* The access count is public: periods in which the buffer was touched, however often in each. */
Test(tiered, periods_touched_are_counted)
{
    open_tiers(4, 1, 0, 0);
    struct weir_buffer *buffer = take(), *other = take();
    cr_assert_eq(touches_of(buffer), 0);
    for (uint64_t period = 1; period <= 20; period++) {
        for (int i = 0; i < 3; i++) use(buffer, i ? WEIR_READ : WEIR_READ | WEIR_WRITE);
        cr_assert_eq(touches_of(buffer), period - 1, "it is counted when the period ends");
        step();
        cr_assert_eq(touches_of(buffer), period);
    }
    use(buffer, WEIR_READ | WEIR_PEEK);
    step();
    step();
    cr_assert_eq(touches_of(buffer), 20, "a peek is no touch, and an idle period is none");
    cr_assert_eq(touches_of(other), 0);
    ok(weir_buffer_release(buffer));
    step();
    buffer = take();
    cr_assert_eq(touches_of(buffer), 0, "another lease counts anew");
    ok(weir_buffer_release(buffer));
    ok(weir_buffer_release(other));
    close_tiers();
}

/* ---- under load, with the default policy on the monitor ---- */

#define BUFFERS 256

static struct weir_buffer *shared[BUFFERS];
static pthread_mutex_t     writer_lock[BUFFERS];
static _Atomic uint32_t    stop, torn;

static void check_stamp(const uint64_t *words)
{
    for (size_t i = 1; i < BYTES / 8; i++) {
        if (words[i] != words[0]) {
            wi_add(&torn, 1, relaxed);
            return;
        }
    }
}

/* Writers of one buffer exclude each other and readers; moves exclude nobody. */
static void *churn(void *arg)
{
    unsigned            seed = (unsigned)(uintptr_t)arg * 7919 + 1;
    struct weir_view    view;
    struct weir_stream *stream = NULL;
    while (!wi_load(&stop, relaxed)) {
        unsigned roll = seed = seed * 1103515245 + 12345;
        size_t   at = (roll >> 8) % BUFFERS;
        if ((roll >> 20) % 4) at %= 16; /* some are hot */
        pthread_mutex_lock(&writer_lock[at]);
        enum weir_access access = (roll >> 24) % 4 == 0 ? WEIR_WRITE : WEIR_READ;
        ok(weir_buffer_borrow(shared[at], WEIR_WHERE_ANY, access, stream, WEIR_NOW, &view));
        uint64_t *words = (uint64_t *)(uintptr_t)bytes_of(&view);
        check_stamp(words);
        if (access == WEIR_WRITE) {
            for (size_t i = 0; i < BYTES / 8; i++) words[i] = roll;
        }
        ok(weir_view_return(&view));
        pthread_mutex_unlock(&writer_lock[at]);
    }
    return NULL;
}

Test(tiered, readers_and_writers_while_budgets_change, .timeout = 240)
{
    pthread_t thread[16];
    rt = make_runtime();
    ok(weir_tier_create(rt, WEIR_OPTS(tier, .buffer_bytes = BYTES, .buffers_max = BUFFERS, .device_buffers = 32,
                                      .pinned_buffers = 64, .period_ns = 5 * MS, .flags = WEIR_TIER_POISON), &pool));
    for (size_t i = 0; i < BUFFERS; i++) {
        shared[i] = take();
        pthread_mutex_init(&writer_lock[i], NULL);
        fill(shared[i], 0);
    }
    for (uintptr_t i = 0; i < 16; i++) cr_assert_eq(pthread_create(&thread[i], NULL, churn, (void *)i), 0);
    /* On a busy machine the monitor may take its time. */
    for (int i = 0; i < 30 || (tier_stats().demotions == 0 && i < 400); i++) {
        ok(weir_tier_set_budget(pool, (struct weir_tier_budget){.device_buffers = i % 3 * 16,
                                                               .pinned_buffers = i % 2 ? 64 : 8}));
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    wi_store(&stop, 1, relaxed);
    for (int i = 0; i < 16; i++) pthread_join(thread[i], NULL);
    struct weir_tier_stats stats = tier_stats();
    cr_assert_eq(wi_load(&torn, relaxed), 0);
    cr_log_info("periods %lu up %lu %lu down %lu dropped %lu", (unsigned long)stats.periods, (unsigned long)stats.promotions_device, (unsigned long)stats.promotions_pinned, (unsigned long)stats.demotions, (unsigned long)stats.moves_dropped);
    cr_assert_gt(stats.promotions_device + stats.promotions_pinned, 0);
    cr_assert_gt(stats.demotions, 0);
    for (size_t i = 0; i < BUFFERS; i++) ok(weir_buffer_release(shared[i]));
    close_tiers();
}
