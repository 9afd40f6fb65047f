/* SPDX-License-Identifier: Apache-2.0 */
/* test_settings.c - WEIR_* variables: values, defaults and warnings */
#include "base/log.h"
#include "base/settings.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 32

static char   lines[LINES_MAX][256];
static size_t lines_count;

static void keep_line(void *ctx, uint32_t level, const char *component, const char *message)
{
    (void)ctx;
    cr_assert_eq(level, WEIR_LOG_WARN);
    cr_assert_str_eq(component, "settings");
    cr_assert_lt(lines_count, LINES_MAX);
    snprintf(lines[lines_count++], sizeof(lines[0]), "%s", message);
}

static bool warned(const char *line)
{
    for (size_t i = 0; i < lines_count; i++) {
        if (strcmp(lines[i], line) == 0) return true;
    }
    return false;
}

/* No variable of ours is set at the start of a test, and warnings are kept. */
static void clear_environment(void)
{
#define X(field, variable, kind, fallback, help) unsetenv(variable);
    WI_SETTINGS(X)
#undef X
    lines_count = 0;
    weir_log_set(keep_line, NULL);
}

TestSuite(settings, .init = clear_environment);

Test(settings, defaults)
{
    const struct wi_settings *settings = wi_settings();

    cr_assert_eq(settings->given, 0);
    cr_assert_str_eq(settings->backend, "");
    cr_assert_str_eq(settings->log, "warn");
    cr_assert_eq(settings->slots, 0);
    cr_assert_eq(settings->records_max, 4194304);
    cr_assert_eq(settings->pinned_bytes_max, 0);
    cr_assert_eq(settings->drain_ms, 5000);
    cr_assert_str_eq(settings->cuda_library, "libcuda.so.1");
    cr_assert_eq(lines_count, 0, "%s", lines[0]);
}

Test(settings, every_default_of_the_table_is_good)
{
    /* A bad one would panic. */
    wi_settings_reload_for_test();
    cr_assert_eq(lines_count, 0);
}

Test(settings, values_of_each_kind)
{
    setenv("WEIR_SLOTS", "0", 1);
    setenv("WEIR_PINNED_BYTES_MAX", "1.5G", 1);
    setenv("WEIR_MONITOR_MS", "250", 1);
    setenv("WEIR_BACKEND", "host", 1);
    setenv("WEIR_STATS", "", 1);
    wi_settings_reload_for_test();
    cr_assert(wi_setting_given(WI_SETTING_slots));
    cr_assert_eq(wi_settings()->slots, 0);
    cr_assert_eq(wi_settings()->pinned_bytes_max, UINT64_C(3) << 29);
    cr_assert_eq(wi_settings()->monitor_ms, 250);
    cr_assert_str_eq(wi_settings()->backend, "host");
    cr_assert(wi_setting_given(WI_SETTING_backend));
    cr_assert_not(wi_setting_given(WI_SETTING_stats), "an empty value is none");
    cr_assert_not(wi_setting_given(WI_SETTING_leaks));
    cr_assert_eq(lines_count, 0, "%s", lines[0]);
}

Test(settings, texts_outlive_the_environment)
{
    setenv("WEIR_BACKEND", "host", 1);
    wi_settings_reload_for_test();
    setenv("WEIR_BACKEND", "elsewhere", 1);
    cr_assert_str_eq(wi_settings()->backend, "host", "read once");
}

Test(settings, bad_values_are_warned_about_and_the_default_holds)
{
    setenv("WEIR_EVENTS_MAX", "many", 1);
    setenv("WEIR_DRAIN_MS", "-1", 1);
    setenv("WEIR_RECORDS_MAX", "18446744073709551616", 1);
    setenv("WEIR_DEVICE_BYTES_MAX", "10%", 1);
    wi_settings_reload_for_test();
    cr_assert_eq(wi_settings()->events_max, 1024);
    cr_assert_eq(wi_settings()->drain_ms, 5000);
    cr_assert_eq(wi_settings()->records_max, 4194304);
    cr_assert_eq(wi_settings()->device_bytes_max, 0);
    cr_assert_eq(wi_settings()->given, 0);
    cr_assert_eq(lines_count, 4);
    cr_assert(warned("WEIR_EVENTS_MAX: \"many\" is not usable; the default holds: \"1024\""));
    cr_assert(warned("WEIR_DRAIN_MS: \"-1\" is not usable; the default holds: \"5000\""));
}

Test(settings, text_without_room_is_refused)
{
    static char overlong[8192];

    memset(overlong, 'x', sizeof(overlong) - 1);
    setenv("WEIR_HOST_MODEL", overlong, 1);
    setenv("WEIR_STATS_AT_EXIT", "json", 1);
    wi_settings_reload_for_test();
    cr_assert_str_eq(wi_settings()->host_model, "");
    cr_assert_str_eq(wi_settings()->stats_at_exit, "json");
    cr_assert_eq(lines_count, 1);
}

/* The default of a later text needs no room that an earlier one could take. */
Test(settings, a_text_that_fills_the_room_leaves_the_defaults)
{
    static char fills[4096];
    char        long_one[200];

    memset(long_one, 'y', sizeof(long_one) - 1);
    long_one[sizeof(long_one) - 1] = '\0';
    for (size_t bytes = 4000; bytes < sizeof(fills); bytes++) {
        memset(fills, 'x', bytes);
        fills[bytes] = '\0';
        setenv("WEIR_BACKEND", fills, 1);
        setenv("WEIR_HOST_MODEL", long_one, 1);
        lines_count = 0;
        wi_settings_reload_for_test();
        cr_assert_str_eq(wi_settings()->backend, fills);
        cr_assert_str_eq(wi_settings()->log, "warn");
        cr_assert_str_eq(wi_settings()->host_model, "");
        cr_assert_str_eq(wi_settings()->cuda_library, "libcuda.so.1");
        cr_assert_eq(lines_count, 1);
    }
}

Test(settings, unknown_names_and_the_nearest_known_one)
{
    setenv("WEIR_SLOT", "4", 1);
    setenv("WEIR_PINNED_BYTE_MAXX", "4", 1);
    setenv("WEIR_COMPLETELY_DIFFERENT", "4", 1);
    wi_settings_reload_for_test();
    cr_assert_eq(lines_count, 3);
    cr_assert(warned("WEIR_SLOT is not a setting; did you mean WEIR_SLOTS?"));
    cr_assert(
        warned("WEIR_PINNED_BYTE_MAXX is not a setting; did you mean WEIR_PINNED_BYTES_MAX?"));
    cr_assert(warned("WEIR_COMPLETELY_DIFFERENT is not a setting"));
}

Test(settings, overlong_unknown_name)
{
    char name[300] = "WEIR_";

    memset(name + 5, 'A', sizeof(name) - 6);
    setenv(name, "1", 1);
    wi_settings_reload_for_test();
    cr_assert_eq(lines_count, 1);
    cr_assert_lt(strlen(lines[0]), 100);
}

Test(settings, bad_log_levels)
{
    setenv("WEIR_LOG", "warn,pool:loud,debug", 1);
    wi_settings_reload_for_test();
    cr_assert(warned("WEIR_LOG: \"pool:loud\" is not a level or component:level"));
    cr_assert_eq(lines_count, 1);
}

static void *read_settings(void *out)
{
    const struct wi_settings *settings = wi_settings();

    cr_assert_str_eq(settings->backend, "host");
    *(const struct wi_settings **)out = settings;
    return NULL;
}

Test(settings, first_read_by_many_threads)
{
    pthread_t                 threads[8];
    const struct wi_settings *seen[8];

    setenv("WEIR_BACKEND", "host", 1);
    setenv("WEIR_SLOT", "4", 1);
    for (size_t i = 0; i < 8; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, read_settings, &seen[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 8; i++) cr_assert_eq(seen[i], wi_settings());
    cr_assert_eq(lines_count, 1, "one thread warns, once");
}

struct bytes_case {
    const char *text;
    uint64_t    whole;
    uint64_t    bytes;
};

Test(bytes, good)
{
    static const struct bytes_case cases[] = {
        {"0", 0, 0},
        {"512", 0, 512},
        {"64K", 0, 65536},
        {"64k", 0, 65536},
        {"3M", 0, 3 << 20},
        {"2G", 0, UINT64_C(2) << 30},
        {"1T", 0, UINT64_C(1) << 40},
        {"1.5G", 0, UINT64_C(3) << 29},
        {"0.25K", 0, 256},
        {".5K", 0, 512},
        {"2.9", 0, 2},
        {"10%", 1000, 100},
        {"12.5%", 1000, 125},
        {"100%", UINT64_MAX, UINT64_MAX},
        {"0%", 1000, 0},
        {"18446744073709551615", 0, UINT64_MAX},
    };

    for (size_t i = 0; i < WI_ARRAY_COUNT(cases); i++) {
        uint64_t bytes = 77;

        cr_assert_eq(wi_parse_bytes(cases[i].text, cases[i].whole, &bytes), 0, "%s", cases[i].text);
        cr_assert_eq(bytes, cases[i].bytes, "%s: %llu", cases[i].text, (unsigned long long)bytes);
    }
}

Test(bytes, bad)
{
    static const char *const cases[] = {
        "",
        " ",
        "K",
        ".",
        "%",
        "-1",
        "+1",
        "1 K",
        "1KB",
        "1x",
        "1..5",
        "1.5.",
        "0x10",
        "101%",
        "1%%",
        "1K%",
        " 1",
        "1 ",
        "16777216T",
        "18446744073709551616",
        "999999999999999999999999",
        "1.0000000001G",
    };

    for (size_t i = 0; i < WI_ARRAY_COUNT(cases); i++) {
        uint64_t bytes = 77;

        cr_assert_eq(wi_parse_bytes(cases[i], 1000, &bytes), WEIR_EINVAL, "%s", cases[i]);
        cr_assert_eq(bytes, 77, "outputs are written only on success");
    }
    cr_assert_eq(wi_parse_bytes("10%", 0, &(uint64_t){0}), WEIR_EINVAL, "a share of nothing");
}
