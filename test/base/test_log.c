/* SPDX-License-Identifier: Apache-2.0 */
/* test_log.c - which lines come, and where they go */
#include "base/log.h"
#include "base/settings.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void set_levels(const char *levels)
{
    setenv("WEIR_LOG", levels, 1);
    wi_settings_reload_for_test();
}

/* What standard error receives between the two calls. */
static int catch_pipe[2];
static int catch_saved;

static void catch_begin(void)
{
    cr_assert_eq(pipe2(catch_pipe, O_NONBLOCK), 0);
    catch_saved = dup(STDERR_FILENO);
    dup2(catch_pipe[1], STDERR_FILENO);
}

static void catch_end(char *text, size_t capacity)
{
    ssize_t bytes = read(catch_pipe[0], text, capacity - 1);

    dup2(catch_saved, STDERR_FILENO);
    text[bytes > 0 ? bytes : 0] = '\0';
}

Test(log, warnings_by_default)
{
    unsetenv("WEIR_LOG");
    wi_settings_reload_for_test();
    cr_assert(wi_log_enabled(WEIR_LOG_ERROR, "pool"));
    cr_assert(wi_log_enabled(WEIR_LOG_WARN, "pool"));
    cr_assert_not(wi_log_enabled(WEIR_LOG_INFO, "pool"));
}

Test(log, levels_of_components)
{
    set_levels("error,pool:debug,device:off");
    cr_assert(wi_log_enabled(WEIR_LOG_DEBUG, "pool"));
    cr_assert_not(wi_log_enabled(WEIR_LOG_WARN, "pools"));
    cr_assert_not(wi_log_enabled(WEIR_LOG_WARN, "poo"));
    cr_assert(wi_log_enabled(WEIR_LOG_ERROR, "memory"));
    cr_assert_not(wi_log_enabled(WEIR_LOG_ERROR, "device"));
}

Test(log, component_alone_keeps_the_general_default)
{
    set_levels("pool:debug");
    cr_assert(wi_log_enabled(WEIR_LOG_DEBUG, "pool"));
    cr_assert(wi_log_enabled(WEIR_LOG_WARN, "memory"));
    cr_assert_not(wi_log_enabled(WEIR_LOG_INFO, "memory"));
}

Test(log, order_of_entries_does_not_matter)
{
    set_levels("pool:info,debug");
    cr_assert_not(wi_log_enabled(WEIR_LOG_DEBUG, "pool"));
    cr_assert(wi_log_enabled(WEIR_LOG_DEBUG, "memory"));
}

Test(log, bad_entries_are_found_and_passed_over)
{
    size_t length = 0;

    cr_assert_null(wi_log_find_bad("", &length));
    cr_assert_null(wi_log_find_bad("warn,pool:debug,device:off", &length));
    cr_assert_str_eq(wi_log_find_bad("warn,loud", &length), "loud");
    cr_assert_eq(length, 4);
    cr_assert_str_eq(wi_log_find_bad("pool:,warn", &length), "pool:,warn");
    cr_assert_eq(length, 5);
    cr_assert_not_null(wi_log_find_bad(":warn", &length));
    cr_assert_not_null(wi_log_find_bad("warn,,info", &length));
    weir_log_set(NULL, NULL);
    set_levels("info,pool:loud");
    cr_assert(wi_log_enabled(WEIR_LOG_INFO, "pool"));
}

Test(log, one_line_on_standard_error)
{
    char text[256];

    set_levels("warn");
    catch_begin();
    wi_log(WARN, "pool", "%s grew to %d", "staging", 64);
    wi_log(DEBUG, "pool", "not wanted");
    catch_end(text, sizeof(text));
    cr_assert_str_eq(text, "weir: warn: pool: staging grew to 64\n");
}

Test(log, overlong_line_is_cut_and_ended)
{
    char text[8192];

    set_levels("warn");
    catch_begin();
    wi_log(ERROR, "pool", "%05000d", 1);
    catch_end(text, sizeof(text));
    cr_assert_lt(strlen(text), 2000);
    cr_assert_gt(strlen(text), 1000);
    cr_assert_eq(text[strlen(text) - 1], '\n');
    cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1);
}

struct seen {
    int         count;
    uint32_t    level;
    const char *component;
    char        message[64];
};

static void see(void *ctx, uint32_t level, const char *component, const char *message)
{
    struct seen *seen = ctx;

    seen->count++;
    seen->level = level;
    seen->component = component;
    snprintf(seen->message, sizeof(seen->message), "%s", message);
}

Test(log, function_gets_the_lines_instead)
{
    struct seen seen = {0};
    char        text[64];

    set_levels("info");
    weir_log_set(see, &seen);
    catch_begin();
    wi_log(INFO, "runtime", "device %d is lost", 3);
    wi_log(DEBUG, "runtime", "not wanted");
    catch_end(text, sizeof(text));
    cr_assert_str_eq(text, "");
    cr_assert_eq(seen.count, 1);
    cr_assert_eq(seen.level, WEIR_LOG_INFO);
    cr_assert_str_eq(seen.component, "runtime");
    cr_assert_str_eq(seen.message, "device 3 is lost");

    weir_log_set(NULL, NULL);
    catch_begin();
    wi_log(WARN, "runtime", "back");
    catch_end(text, sizeof(text));
    cr_assert_str_eq(text, "weir: warn: runtime: back\n");
    cr_assert_eq(seen.count, 1);
}

Test(log, others_write_lines_too)
{
    struct seen seen = {0};

    set_levels("info,ucx:warn");
    weir_log_set(see, &seen);
    weir_log_write(WEIR_LOG_WARN, "ucx", "100 %s of it");
    weir_log_write(WEIR_LOG_INFO, "ucx", "not wanted");
    weir_log_write(WEIR_LOG_OFF, "ucx", "not a level");
    weir_log_write(WEIR_LOG_WARN, "ucx", NULL);
    weir_log_set(NULL, NULL);
    cr_assert_eq(seen.count, 1);
    cr_assert_str_eq(seen.message, "100 %s of it");
}
