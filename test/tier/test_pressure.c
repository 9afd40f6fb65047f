/* SPDX-License-Identifier: Apache-2.0 */
/* Memory pressure: parsing, levels with hysteresis, and what pools do about it. Text and clocks are the test's own. */
#include "pool/fixture.h"

#include "base/atomic.h"
#include "tier/pressure.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define S UINT64_C(1000000000)

static char directory[64];

static void write_file(const char *name, const char *text)
{
    char path[256];
    if (!directory[0]) {
        snprintf(directory, sizeof directory, "/tmp/weir-pressure-XXXXXX");
        cr_assert_not_null(mkdtemp(directory));
    }
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

Test(pressure, psi_text)
{
    uint32_t x100 = 7;
    ok(wi_pressure_parse_psi("some avg10=12.34 avg60=1.00 avg300=0.10 total=5\nfull avg10=0.00 avg60=0 avg300=0 total=0\n", &x100));
    cr_assert_eq(x100, 1234);
    static const char *const bad[] = {"", "full avg10=1.00 \n", "some avg60=1.00\n", "some avg10=x \n", "some avg10=-1.0 \n",
                                      "some avg10=200.00 \n", "some avg10=1.2"};
    for (size_t i = 0; i < WI_ARRAY_COUNT(bad); i++) {
        answers(wi_pressure_parse_psi(bad[i], &x100), INVAL);
        cr_assert_eq(x100, 1234);
    }
}

/* Each number is looked for on its own line, and in its own form. */
Test(pressure, psi_text_that_is_nearly_right)
{
    uint32_t x100 = 7;
    static const char *const bad[] = {"some avg60=1.00\nfull avg10=2.00 avg60=0.00\n", "awesome avg10=1.00 \n", "some avg10=1e1 \n",
                                      "some avg10=0x1 \n", "some avg10=1. \n", "some avg10=100.01 \n", "some avg10=99999999999999999999999 \n"};
    for (size_t i = 0; i < WI_ARRAY_COUNT(bad); i++) {
        answers(wi_pressure_parse_psi(bad[i], &x100), INVAL);
        cr_assert_eq(x100, 7);
    }
    ok(wi_pressure_parse_psi("full avg10=2.00 avg60=0.00\nsome avg10=100.00 avg60=1.00\n", &x100));
    cr_assert_eq(x100, 10000);
    ok(wi_pressure_parse_psi("some avg10=5\n", &x100));
    cr_assert_eq(x100, 500);
}

Test(pressure, byte_counts)
{
    uint64_t bytes;
    ok(wi_pressure_parse_bytes("max\n", &bytes));
    cr_assert_eq(bytes, UINT64_MAX);
    ok(wi_pressure_parse_bytes("4096\n", &bytes));
    cr_assert_eq(bytes, 4096);
    answers(wi_pressure_parse_bytes("-1\n", &bytes), INVAL);
    answers(wi_pressure_parse_bytes("12x\n", &bytes), INVAL);
    answers(wi_pressure_parse_bytes("99999999999999999999999\n", &bytes), INVAL);
    answers(wi_pressure_parse_bytes("", &bytes), INVAL);
}

Test(pressure, finds_its_cgroup)
{
    char path[128];
    ok(wi_pressure_cgroup_path("0::/user.slice/a\n", "/sys/fs/cgroup", path, sizeof path));
    cr_assert_str_eq(path, "/sys/fs/cgroup/user.slice/a");
    ok(wi_pressure_cgroup_path("5:cpu:/x\n4:memory:/y/z\n0::/u\n", "/r", path, sizeof path));
    cr_assert_str_eq(path, "/r/memory/y/z");
    answers(wi_pressure_cgroup_path("garbage\n", "/r", path, sizeof path), NOENT);
}

/* A path that is cut off is some other group's. */
Test(pressure, a_cgroup_path_is_whole_or_not_taken)
{
    char text[2048], path[1024];
    for (size_t length = 900; length < 1100; length++) {
        (void)snprintf(text, sizeof text, "0::/%0*d\n", (int)length - 1, 0);
        int err = wi_pressure_cgroup_path(text, "/r", path, sizeof path);
        cr_assert_eq(err, length + 2 < sizeof path ? 0 : WEIR_ENOENT, "%zu characters: %d", length, err);
        if (err == 0) cr_assert_eq(strlen(path), length + 2);
    }
}

/* As after its limit was lowered. */
Test(pressure, a_cgroup_far_above_its_limit_is_critical)
{
    for (unsigned shift = 0; shift < 52; shift++) {
        struct weir_pressure cgroup = {.sources = WEIR_SOURCE_CGROUP, .cgroup_bytes = UINT64_C(4096) << shift, .cgroup_bytes_max = 4096};
        cr_assert_eq(wi_pressure_judge(&cgroup, false), WEIR_CRITICAL, "%u", shift);
    }
}

static uint32_t judge_psi(uint32_t x100)
{
    struct weir_pressure reading = {.sources = WEIR_SOURCE_PSI, .psi_some_x100 = x100};
    return wi_pressure_judge(&reading, false);
}

Test(pressure, each_source_has_its_levels)
{
    cr_assert_eq(judge_psi(499), WEIR_CALM);
    cr_assert_eq(judge_psi(500), WEIR_TIGHT);
    cr_assert_eq(judge_psi(2000), WEIR_HIGH);
    cr_assert_eq(judge_psi(4000), WEIR_CRITICAL);
    static const uint64_t share[] = {849, 850, 930, 970};
    for (uint32_t i = 0; i < 4; i++) {
        struct weir_pressure cgroup = {.sources = WEIR_SOURCE_CGROUP, .cgroup_bytes = share[i], .cgroup_bytes_max = 1000};
        cr_assert_eq(wi_pressure_judge(&cgroup, false), i);
    }
    static const uint64_t left[] = {31, 30, 15, 5};
    for (uint32_t i = 0; i < 4; i++) {
        struct weir_pressure device = {.sources = WEIR_SOURCE_DEVICE, .device_bytes_free = left[i], .device_bytes_total = 1000};
        cr_assert_eq(wi_pressure_judge(&device, false), i);
    }
    struct weir_pressure pinned = {.sources = WEIR_SOURCE_PINNED, .pinned_bytes = 100, .pinned_bytes_max = 100};
    cr_assert_eq(wi_pressure_judge(&pinned, false), WEIR_TIGHT);
    struct weir_pressure unread = {.psi_some_x100 = 9999, .cgroup_bytes = 1, .cgroup_bytes_max = 1};
    cr_assert_eq(wi_pressure_judge(&unread, false), WEIR_CALM, "a source that could not be read says nothing");
}

Test(pressure, rises_at_once_and_falls_a_step_a_cooldown)
{
    struct wi_pressure_state state = {.cooldown_ns = 5 * S};
    struct weir_pressure     reading = {.sources = WEIR_SOURCE_PSI, .read_at_ns = 100 * S, .psi_some_x100 = 5000};
    cr_assert(wi_pressure_step(&state, &reading));
    cr_assert_eq(state.level, WEIR_CRITICAL);
    reading.psi_some_x100 = 0;
    for (uint32_t level = WEIR_CRITICAL; level > WEIR_CALM; level--) {
        reading.read_at_ns = state.changed_ns + 5 * S - 1;
        cr_assert_not(wi_pressure_step(&state, &reading));
        reading.read_at_ns++;
        cr_assert(wi_pressure_step(&state, &reading));
        cr_assert_eq(state.level, level - 1);
    }
}

Test(pressure, never_oscillates_faster_than_the_cooldown)
{
    struct wi_pressure_state state = {.cooldown_ns = 5 * S};
    uint64_t                 rises[64];
    size_t                   count = 0;
    for (uint64_t ms = 0; ms < 60000; ms += 100) {
        struct weir_pressure reading = {.sources = WEIR_SOURCE_PSI, .read_at_ns = S + ms * 1000000,
                                        .psi_some_x100 = ms / 100 % 2 ? 600 : 0};
        uint32_t before = state.level;
        if (wi_pressure_step(&state, &reading) && state.level > before) rises[count++] = reading.read_at_ns;
    }
    cr_assert_gt(count, 2);
    for (size_t i = 1; i < count; i++) cr_assert_geq(rises[i] - rises[i - 1], 5 * S);
}

Test(pressure, stays_up_while_just_below_the_threshold)
{
    struct wi_pressure_state state = {.cooldown_ns = S};
    struct weir_pressure     reading = {.sources = WEIR_SOURCE_PSI, .read_at_ns = S, .psi_some_x100 = 500};
    cr_assert(wi_pressure_step(&state, &reading));
    for (uint64_t i = 2; i < 20; i++) {
        reading.read_at_ns = i * S;
        reading.psi_some_x100 = 450;
        cr_assert_not(wi_pressure_step(&state, &reading));
    }
    reading.read_at_ns = 21 * S;
    reading.psi_some_x100 = 390;
    cr_assert(wi_pressure_step(&state, &reading));
    cr_assert_eq(state.level, WEIR_CALM);
}

Test(pressure, garbage_leaves_a_source_out_and_is_counted)
{
    struct weir_pressure reading = {0};
    write_file("psi", "nonsense\n");
    write_file("memory.max", "lots\n");
    wi_pressure_sources_read(path_of("psi"), directory, &reading);
    cr_assert_eq(reading.sources & (WEIR_SOURCE_PSI | WEIR_SOURCE_CGROUP), 0);
    cr_assert_eq(reading.unreadable, 2);
    reading = (struct weir_pressure){0};
    wi_pressure_sources_read("/nonexistent/psi", "/nonexistent", &reading);
    cr_assert_eq(reading.unreadable, 2);
}

Test(pressure, reads_both_kinds_of_cgroup)
{
    struct weir_pressure reading = {0};
    write_file("psi", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    write_file("memory.limit_in_bytes", "1000\n");
    write_file("memory.usage_in_bytes", "940\n");
    char psi[256];
    snprintf(psi, sizeof psi, "%s", path_of("psi"));
    wi_pressure_sources_read(psi, directory, &reading);
    cr_assert_eq(wi_pressure_judge(&reading, false), WEIR_HIGH);
    write_file("memory.max", "1000\n");
    write_file("memory.current", "10\n");
    reading = (struct weir_pressure){0};
    wi_pressure_sources_read(psi, directory, &reading);
    cr_assert_eq(reading.cgroup_bytes, 10);
    write_file("memory.max", "max\n");
    reading = (struct weir_pressure){0};
    wi_pressure_sources_read(psi, directory, &reading);
    cr_assert_eq(reading.sources & WEIR_SOURCE_CGROUP, 0);
}

/* ---- a runtime under injected pressure ---- */

static _Atomic uint32_t heard;
static _Atomic uint32_t calls;

static void on_change(void *ctx, const struct weir_pressure *now)
{
    cr_assert_eq(ctx, &heard);
    wi_store(&heard, now->level, relaxed);
    wi_add(&calls, 1, release);
}

static void psi_is(const char *avg10)
{
    char text[128];
    snprintf(text, sizeof text, "some avg10=%s avg60=0.00 avg300=0.00 total=0\n", avg10);
    write_file("psi", text);
}

static uint32_t level_of(struct weir_runtime *rt)
{
    struct weir_pressure now = {.struct_size = sizeof now};
    ok(weir_pressure_read(rt, &now));
    return now.level;
}

Test(pressure, pools_act_and_recover)
{
    struct weir_runtime *rt = make_runtime();
    struct weir_pool    *pool;
    struct weir_watch   *watch;
    struct weir_buffer  *buffer[8], *none;
    psi_is("0.00");
    write_file("memory.max", "max\n");
    char psi[256];
    snprintf(psi, sizeof psi, "%s", path_of("psi"));
    ok(weir_pressure_set(rt, WEIR_OPTS(pressure, .psi_path = psi, .cgroup_path = directory, .period_ns = 10000000,
                                       .cooldown_ns = 200000000)));
    ok(weir_pressure_watch(rt, on_change, &heard, &watch));
    ok(weir_pool_create(rt, WEIR_OPTS(pool, .buffer_bytes = 65536, .buffers_min = 2, .buffers_max = 64), &pool));
    ok(weir_pool_reserve(pool, 8));

    psi_is("6.00");
    eventually(wi_load(&heard, relaxed) == WEIR_TIGHT);
    for (int i = 0; i < 8; i++) ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i]));
    answers(weir_buffer_acquire(pool, weir_deadline_after_ns(50000000), &none), TIMEDOUT);
    cr_assert_eq(pool_stats(pool).total, 8, "grew under pressure");

    psi_is("50.00");
    eventually(wi_load(&heard, relaxed) == WEIR_CRITICAL);
    ok(weir_buffer_release(buffer[7]));
    answers(weir_buffer_acquire_with(pool, WEIR_OPTS(acquire, .priority = WEIR_PRIORITY_LOW), WEIR_NOW, &none), PRESSURE);
    for (int i = 0; i < 7; i++) ok(weir_buffer_release(buffer[i]));
    eventually(pool_stats(pool).total == 2);

    psi_is("0.00");
    eventually(level_of(rt) == WEIR_CALM);
    eventually(wi_load(&heard, relaxed) == WEIR_CALM);
    cr_assert_geq(wi_load(&calls, acquire), 5);
    for (int i = 0; i < 8; i++) ok(weir_buffer_acquire(pool, WEIR_FOREVER, &buffer[i])); /* grows again */
    ok(weir_buffers_release(buffer, 8));
    weir_watch_destroy(watch);
    weir_pool_destroy(pool);
    weir_runtime_destroy(rt);
}
