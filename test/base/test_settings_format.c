/* SPDX-License-Identifier: Apache-2.0 */
/* test_settings_format.c - the table of settings as JSON: every row, its value and its source */
#include "base/settings.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <weir/stats.h>

static json_t *format(void)
{
    int   length = weir_settings_format(NULL, 0);
    char *text = malloc((size_t)length + 1);

    cr_assert(length > 0);
    cr_assert_eq(weir_settings_format(text, (size_t)length + 1), length);
    cr_assert_eq(strlen(text), (size_t)length);
    json_t *array = json_loads(text, 0, NULL);
    cr_assert(json_is_array(array), "%s", text);
    free(text);
    return array;
}

static const json_t *find(const json_t *array, const char *variable)
{
    size_t  index;
    json_t *row;

    json_array_foreach(array, index, row) {
        if (!strcmp(json_string_value(json_object_get(row, "variable")), variable)) return row;
    }
    cr_assert_fail("no row %s", variable);
    return NULL;
}

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

Test(settings_format, has_every_row_with_help)
{
    json_t *array = format();
    size_t  index;
    json_t *row;

    cr_assert_eq(json_array_size(array), WI_SETTINGS_COUNT);
    json_array_foreach(array, index, row) {
        cr_assert(strncmp(text_of(row, "variable"), "WEIR_", 5) == 0);
        cr_assert(strlen(text_of(row, "help")) > 0);
    }
    json_decref(array);
}

Test(settings_format, tells_what_came_from_the_environment)
{
    setenv("WEIR_MONITOR_MS", "123", 1);
    setenv("WEIR_PINNED_BYTES_MAX", "2M", 1);
    setenv("WEIR_HOST_MODEL", "a \"b\" c", 1);
    unsetenv("WEIR_DRAIN_MS");
    unsetenv("WEIR_SLOTS");

    json_t       *array = format();
    const json_t *monitor = find(array, "WEIR_MONITOR_MS");
    const json_t *pinned = find(array, "WEIR_PINNED_BYTES_MAX");
    const json_t *drain = find(array, "WEIR_DRAIN_MS");

    cr_assert_eq(json_integer_value(json_object_get(monitor, "value")), 123);
    cr_assert_str_eq(text_of(monitor, "source"), "environment");
    cr_assert_eq(json_integer_value(json_object_get(pinned, "value")), 2 << 20);
    cr_assert_str_eq(text_of(find(array, "WEIR_HOST_MODEL"), "value"), "a \"b\" c");
    cr_assert_eq(json_integer_value(json_object_get(drain, "value")), 5000);
    cr_assert_str_eq(text_of(drain, "source"), "default");
    cr_assert_str_eq(text_of(find(array, "WEIR_SLOTS"), "value"), "");
    json_decref(array);
}
